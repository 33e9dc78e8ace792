"""``python -m gradc export``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gradc.__main__ import main
from gradc.commandline import types_of
from gradc.errors import ArgumentError

MODEL = """
import numpy as np
import gradc

def plain(x, n):
    for _ in range(n):
        x = x * x
    return x

@gradc.compile
def loss(w, data):
    x, y = data["x"], data["y"]
    return np.mean((x @ w - y) ** 2)

CONSTANT = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "its_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("", ()),
        ("f64", ("f64",)),
        ("f64[784],f64[10]", ("f64[784]", "f64[10]")),
        ("f32[3, 4], 'i64[]',", ("f32[3, 4]", "i64[]")),
        ('{"W": f64[3], "b": (f64, [u8[]])}, 3', ({"W": "f64[3]", "b": ("f64", ["u8[]"])}, 3)),
    ],
)
def test_types(text: str, types: Any) -> None:
    assert types_of(text) == types


@pytest.mark.parametrize("text", ["f64[784", "double", "f64[3] x", "__import__('os')"])
def test_what_are_no_types(text: str) -> None:
    with pytest.raises(ArgumentError, match="are no types"):
        types_of(text)


def test_a_module_and_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    types = ["--args", '"f64[3]", {"x": f64[5,3], "y": f64[5]}', "--formats", "h,o"]
    main(["export", "its_model:loss", *types, "--output", "out/model", "--target", "aarch64-linux"])
    assert "int64_t model_value_and_grad(const double *w, const double *data_x" in (
        capsys.readouterr().out
    )
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["model.h", "model.o"]
    assert "aarch64" in (folder / "out" / "model.h").read_text()
    main(["export", "its_model.py:plain", "--args", "f64[3], 2", "--formats", "ll"])
    assert (folder / "plain.ll").exists()
    main(["export", "its_model:loss.grad", *types, "--name", "mine"])
    assert "mine_grad(" in (folder / "loss.h").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["its_model"], "names no function(.|\n)*module:function"),
        (["no_such_module:f"], "there is no module 'no_such_module'"),
        (["none.py:f"], "there is no file none.py"),
        (["its_model:los"], "has no 'los'(.|\n)*one of loss"),
        (["its_model:CONSTANT"], "no function"),
        (["its_model:loss", "--args", "f64[3"], "are no types"),
        (["its_model:loss", "--args", "f64[3]"], "missing a required argument"),
        (["its_model:loss", "--formats", "exe"], "missing a required|no format"),
        (["its_model:plain", "--args", "f64, 1", "--target", "vax"], "no target 'vax'"),
    ],
)
def test_errors(
    arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["export", *arguments])
    assert stopped.value.code == 1
    text = capsys.readouterr().err
    assert re.search(words, text), text


def test_help_and_a_process(folder: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gradc", *arguments]
        paths = os.pathsep.join(p for p in sys.path if p)
        return subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONPATH": paths})

    assert "export" in run("--help").stdout and "cache" in run("--help").stdout
    assert "aarch64-linux" in run("export", "--help").stdout
    failed = run("export", "its_model:los")
    assert failed.returncode == 1
    assert failed.stderr.startswith("python -m gradc export: its_model has no 'los'\n  Try: ")
