"""Exported functions against the compiled ones, called through the Python loader."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.targets import host
from gradc.ir.types import LONG
from gradc.tree import flatten
from tests.export.programs import PROGRAMS, Program, first_above, limited

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(program: Program, folder: Path) -> ModuleType:
    made = gradc.compile(program.function).export(
        folder / "model", *program.types, formats=("so", "py")
    )
    return load(made.files["py"])


def leaves(value: Any) -> list[Any]:
    return flatten(value)[0]


def same(got: Any, expected: Any) -> None:
    assert len(leaves(got)) == len(leaves(expected))
    for a, b in zip(leaves(got), leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - {"product"}))
def test_values_are_equal_to_the_bit(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    module = exported(program, tmp_path)
    given = leaves(program.args)
    compiled = gradc.compile(program.function)
    same(module.value(*given), compiled(*program.args))
    if name in ("statistics",):
        assert not hasattr(module, "value_and_grad")
    else:
        same(module.value_and_grad(*given), compiled.value_and_grad(*program.args))


def test_arrays_of_any_alignment(tmp_path: Path) -> None:
    program = PROGRAMS["single"]
    module = exported(program, tmp_path)
    expected = module.value_and_grad(*program.args)
    for shift in (4, 12, 60):
        moved = []
        for array in program.args:
            space = np.empty(array.nbytes + 128, np.uint8)
            start = -space.ctypes.data % 64 + shift
            moved.append(space[start : start + array.nbytes].view("f4").reshape(array.shape))
            moved[-1][...] = array
        same(module.value_and_grad(*moved), expected)


def test_transforms(tmp_path: Path) -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(np.sin(x) * y), {"y": y}

    x, y = np.array([0.5, 1.0]), np.array([2.0, -1.0])
    gradient = gradc.grad(f, argnums=(1, 0), has_aux=True)
    made = gradient.export(tmp_path / "g", "f64[2]", y, formats=("so", "py"))
    assert "grad_y, double *grad_x,\n    double *aux_y, void" in made.functions[0]
    same(load(made.files["py"]).grad(x, y), gradient(x, y))

    second = gradc.grad(gradc.grad(lambda t: np.sin(t) * t))
    made = second.export(tmp_path / "second", "f64", formats=("so", "py"))
    assert made.functions == (
        "int64_t second_grad(double t, double *grad_t, void *workspace);",
    )
    same(load(made.files["py"]).grad(1.25), second(1.25))

    moved = gradc.compile(lambda x, v: gradc.jvp(np.sin, (x,), (v,)))
    made = moved.export(tmp_path / "moved", "f64[2]", "f64[2]", formats=("so", "py"))
    same(load(made.files["py"]).value(x, y), moved(x, y))


def test_failures_are_python_errors_with_the_line(tmp_path: Path) -> None:
    module = exported(PROGRAMS["picked"], tmp_path / "a")
    with pytest.raises(IndexError, match=r"out of bounds, at programs\.py:\d+ in picked"):
        module.value(np.ones(5), np.int32([5, 0, 0]))
    made = gradc.compile(limited).export(tmp_path / "b", "f64", formats=("so", "py"))
    limit = load(made.files["py"])
    with pytest.raises(RuntimeError, match="more than 20 times"):
        limit.value(1.0)
    assert limit.value(1e8) == 1e9
    made = gradc.compile(first_above).export(
        tmp_path / "c", "f64[4]", "f64", formats=("so", "py", "h"))
    first = load(made.files["py"])
    with pytest.raises(UnboundLocalError, match=r"`found` .*, at programs\.py:\d+ in first_above"):
        first.value(np.arange(4.0), 5.0)
    assert first.value(np.arange(4.0), 1.5) == 4.0
    assert "ERROR_UNASSIGNED = 7" in made.files["h"].read_text()


def test_the_loader_refuses_other_types(tmp_path: Path) -> None:
    module = exported(PROGRAMS["single"], tmp_path)
    x, w = PROGRAMS["single"].args
    with pytest.raises(TypeError, match="x is an array of float32, not of float64"):
        module.value(x.astype("f8"), w)
    with pytest.raises(ValueError, match=r"w has the shape \(7,\), not \(8,\)"):
        module.value(x, np.ones(8, "f4"))
    same(module.value(np.asfortranarray(x), w), module.value(x, w))
    assert "float32[33, 7]" in module.value.__doc__


def test_many_threads(tmp_path: Path) -> None:
    program = PROGRAMS["network"]
    module = exported(program, tmp_path)
    given = leaves(program.args)
    expected = [module.value_and_grad(*given[:-1], float(k)) for k in range(4)]
    wrong = []

    def run(k: int) -> None:
        for _ in range(200):
            got = module.value_and_grad(*given[:-1], float(k))
            if any(not np.array_equal(a, b) for a, b in zip(got, expected[k], strict=True)):
                wrong.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_large_products_need_no_blas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dataclasses.replace(host(), l2=1 << 12)
    monkeypatch.setattr("gradc.codegen.targets.host", lambda: small)
    program = PROGRAMS["product"]
    module = exported(program, tmp_path)
    a, b = program.args
    np.testing.assert_allclose(module.value(a, b), a @ b, rtol=1e-10, atol=1e-10)


def test_static_arguments_are_fixed(tmp_path: Path) -> None:
    def reduced(x: Any, how: str, power: int) -> Any:
        return {"f64": np.sum, "other": np.mean}[how](x**power)

    made = gradc.compile(reduced, static_argnums=("how", 2)).export(
        tmp_path / "model", "f64[3]", "f64", 2, formats=("so", "py")
    )
    assert made.functions[0].startswith("int64_t model_value(const double *x, double *out")
    assert load(made.files["py"]).value(np.array([1.0, 2.0, 3.0])) == 14.0


def test_a_number_that_the_trace_needs_is_fixed(tmp_path: Path) -> None:
    def power(x: Any, n: int) -> Any:
        for _ in range(n):
            x = x * x
        return np.sum(x)

    made = gradc.compile(power, rewrite=False).export(
        tmp_path / "p", "f64[3]", 2, formats=("so", "py")
    )
    assert "(const double *x, double *out" in made.functions[0]
    assert load(made.files["py"]).value(np.array([1.0, 2.0, 3.0])) == 1 + 16 + 81


@pytest.mark.parametrize("short", sorted(LONG))
def test_numbers_of_every_dtype(short: str, tmp_path: Path) -> None:
    """By value, also where a C compiler leaves the upper bits of a register as they were."""
    dtype = LONG[short]
    made = gradc.compile(lambda x, y, z: (z, y, x)).export(
        tmp_path / "model", f"{short}[]", f"{short}[2]", f"{short}[]", formats=("so", "py")
    )
    module = load(made.files["py"])
    least = -3 if dtype.kind in "if" else 0
    most = 1 if short == "bool" else 200 if dtype.kind == "u" else 100
    x, y, z = dtype.type(least), np.array([1, 0], dtype), dtype.type(most)
    same(tuple(module.value(x.item(), y, z.item())), (z, y, x))


def test_arrays_without_elements_and_no_arguments(tmp_path: Path) -> None:
    made = gradc.compile(lambda x: (x * 2, np.sum(x))).export(
        tmp_path / "model", "f64[0,3]", formats=("so", "py")
    )
    same(tuple(load(made.files["py"]).value(np.empty((0, 3)))), (np.empty((0, 3)), np.float64(0)))
    made = gradc.compile(lambda: np.arange(3.0)).export(tmp_path / "none", formats=("so", "py"))
    assert made.functions == ("int64_t none_value(double *out, void *workspace);",)
    same(load(made.files["py"]).value(), np.arange(3.0))


def test_methods(tmp_path: Path) -> None:
    class Scaled:
        def __init__(self) -> None:
            self.scale, self.kind = np.array([1.0, 3.0]), "plain"

        @gradc.compile
        def energy(self, x: Any) -> Any:
            return np.sum(self.scale * x * x) if self.kind == "plain" else x

    one = Scaled()
    made = one.energy.export(tmp_path / "model", "f64[2]", formats=("so", "py"))
    assert "(const double *self_scale, const double *x, double *out, " in made.functions[0]
    x = np.array([1.0, 2.0])
    same(load(made.files["py"]).value_and_grad(one.scale, x), one.energy.value_and_grad(x))
