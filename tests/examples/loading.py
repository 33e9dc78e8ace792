"""The examples as modules, and what their tests have in common."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import gradc

EXAMPLES = Path(__file__).parents[2] / "examples"

Function = Callable[..., Any]


def load(name: str) -> ModuleType:
    """The example as a module: its functions, without what it prints."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dot(xs: Any, ys: Any) -> float:
    """The inner product of two tuples of arrays."""
    return sum(float(np.sum(x * y)) for x, y in zip(xs, ys, strict=True))


def difference(f: Function, at: Sequence[Any], direction: Sequence[Any], step: float) -> float:
    """The slope of ``f`` along a direction, by central differences of fourth order."""

    def moved(t: float) -> float:
        return float(f(*(x + t * step * v for x, v in zip(at, direction, strict=True))))

    return (8 * (moved(1) - moved(-1)) - (moved(2) - moved(-2))) / (12 * step)


def check(
    f: Function, at: Sequence[Any], fixed: Sequence[Any] = (), *, step: float = 3e-4,
    value: float = 1e-13, slope: float = 1e-8,
) -> Any:
    """Compare ``f(*at, *fixed)``, compiled, with NumPy's value, and its gradient in ``at`` with
    differences of NumPy's values and with forward mode, all along random directions.

    value, slope: the errors that are allowed, in the value and in parts of the gradient's length.
    Returns the gradient.
    """
    compiled = gradc.compile(f, argnums=tuple(range(len(at))))
    expected = f(*at, *fixed)
    np.testing.assert_allclose(compiled(*at, *fixed), expected, rtol=value)
    result, gradient = compiled.value_and_grad(*at, *fixed)

    @gradc.compile
    def tangent_of(at: Any, direction: Any, fixed: Any) -> Any:
        return gradc.jvp(lambda *x: f(*x, *fixed), at, direction)[1]

    np.testing.assert_allclose(result, expected, rtol=value)
    rng, length = np.random.default_rng(1), np.sqrt(dot(gradient, gradient))
    for _ in range(2):
        direction = tuple(rng.standard_normal(np.shape(x)) for x in at)
        along = dot(gradient, direction)
        by_differences = difference(lambda *x: f(*x, *fixed), at, direction, step)
        np.testing.assert_allclose(along, by_differences, rtol=0, atol=slope * length)
        tangent = tangent_of(tuple(at), direction, tuple(fixed))
        np.testing.assert_allclose(along, tangent, rtol=0, atol=1e-12 * length)
    return gradient


def lines(f: Function, argnums: tuple[int, ...], *arguments: Any) -> int:
    """How long the graph of the value and gradient is as traced, with its loops and branches."""
    text = gradc.compile(f, argnums=argnums).ir(*arguments, stage="adjoint")
    assert isinstance(text, str)
    return text.count("\n")
