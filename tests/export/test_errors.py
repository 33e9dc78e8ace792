"""What cannot be exported says so, and says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, LinkError, OptionError
from gradc.export import c_names, type_of_text
from gradc.ir.types import F32, F64, I64, TensorType


@gradc.compile
def f(x: Any) -> Any:
    return np.sum(x * x)


@pytest.mark.parametrize(
    ("text", "type_"),
    [
        ("f64[784]", TensorType(F64, (784,))), ("f32[3,4]", TensorType(F32, (3, 4))),
        ("f32[3, 4]", TensorType(F32, (3, 4))), ("f32[3,]", TensorType(F32, (3,))),
        ("i64[]", TensorType(I64)), (" f64 ", TensorType(F64, (), weak=True)),
        ("f32", TensorType(F32)), ("bool[2]", TensorType(np.dtype(bool), (2,))),
    ],
)
def test_types(text: str, type_: TensorType) -> None:
    assert type_of_text(text) == type_


@pytest.mark.parametrize("text", ["", "f16[3]", "f64[3", "f64[-1]", "f64[n]", "double", "f64[3]x"])
def test_what_is_no_type(text: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="is no type(.|\n)*f64\\[784\\]"):
        f.export(tmp_path / "f", text, formats="h")


def test_types_of_other_functions(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="missing a required argument"):
        f.export(tmp_path / "f", formats="h")
    with pytest.raises(ArgumentError, match="too many"):
        f.export(tmp_path / "f", "f64", "f64", formats="h")
    with pytest.raises(ArgumentError, match=r"needs the value of argument `n`(.|\n)*the number"):
        gradc.compile(lambda n: np.zeros(n)).export(tmp_path / "f", "i64", formats="h")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"formats": ("so", "exe")}, "no format 'exe'"),
        ({"target": "vax"}, "no target 'vax'(.|\n)*aarch64-linux"),
        ({"blas": "mkl"}, "blas='mkl'"),
        ({"name": "my-model"}, "cannot begin with 'my-model'(.|\n)*my_model"),
        ({"name": "3d"}, "cannot begin with"),
    ],
)
def test_options(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        f.export(tmp_path / "f", "f64[3]", **options)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written: (.|\n)*a path in a folder"):
        f.export(tmp_path / "file" / "f", "f64[3]", formats="h")


def test_without_a_linker_object_and_header_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LinkError, match=r"f\.o and .*f\.h were written(.|\n)*gradc\[export\]"):
        f.export(tmp_path / "f", "f64[3]", formats=("so",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h", "f.o"]
    with pytest.raises(LinkError, match="no linker for wasm32"):
        f.export(tmp_path / "f", "f64[3]", formats=("so",), target="wasm32")


def test_c_names() -> None:
    assert c_names(["params['W1']", "layers[0].b", "double"], ["params_W1", "3", "é"]) == [
        ["params_W1", "layers_0_b", "double_2"], ["params_W1_2", "x3", "x"],
    ]


def test_what_was_written_is_told(tmp_path: Path) -> None:
    made = f.export(tmp_path / "deep" / "f", "f64[3]", formats=("h", "o", "ll"))
    assert set(made.files) == {"h", "o", "ll"}
    assert all(path.parent == tmp_path / "deep" for path in made.files.values())
    assert "int64_t f_value(const double *x, double *out, void *workspace);" in str(made)
    assert f"{made.files['o']}: " in str(made)
