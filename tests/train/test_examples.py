"""What the training examples promise: their numbers, beyond that they run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import gradc

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "mpl"))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_digits(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    out = run("digits.py", tmp_path, monkeypatch, capsys)
    found = re.search(r"held back\s+([\d.]+)%", out)
    assert found is not None and float(found[1]) >= 97
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_eleven_lines(tmp_path, monkeypatch, capsys):
    out = run("eleven_lines.py", tmp_path, monkeypatch, capsys)
    found = re.search(r"largest difference of a weight\s+(\S+)", out)
    assert found is not None and float(found[1]) < 1e-9


def test_eleven_lines_of_any_seed():
    """60,000 full-batch steps as NumPy does them, by native training and as a loop."""
    example = runpy.run_path(str(EXAMPLES / "eleven_lines.py"))
    rng = np.random.default_rng(7)
    weights = 2 * rng.random((3, 4)) - 1, 2 * rng.random((4, 1)) - 1
    steps = example["STEPS"]
    expected = example["by_hand"](*weights, steps)

    def loss(weights, x, y):
        hidden = 1 / (1 + np.exp(-(x @ weights[0])))
        return np.sum((y - 1 / (1 + np.exp(-(hidden @ weights[1])))) ** 2) / 2

    trainer = gradc.train(loss, optimizer=gradc.optim.sgd(1.0))
    trained = trainer.fit(weights, (example["X"], example["y"]), epochs=steps).params
    looped = gradc.compile(example["descend"])(weights, 1.0, steps)
    for ours, by_hand in zip((*trained, *looped), (*expected, *expected), strict=True):
        np.testing.assert_allclose(ours, by_hand, rtol=0, atol=1e-9)
