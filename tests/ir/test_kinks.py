"""The conventions where a derivative does not exist or is infinite."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Value
from gradc.ir.interp import run
from gradc.ir.passes import optimize, stabilize
from gradc.ir.types import F64, TensorType


def slopes(f: Callable[..., Value], *inputs: object, mode: str) -> list[np.ndarray]:
    """The gradient of the sum of f, by each mode; also after all passes."""
    arrays = [np.asarray(x, float) for x in inputs]
    builder = Builder("f")
    values = [builder.input(f"x{k}", TensorType(F64, a.shape)) for k, a in enumerate(arrays)]
    out = f(*values)
    graph = builder.build([ops.sum_(out, axes=tuple(range(len(out.shape))))])
    if mode == "stable":
        graph = stabilize(graph)
    if mode != "forward":
        adjoint = autodiff.value_and_grad(graph, range(len(arrays)))
        return run(optimize(adjoint) if mode != "reverse" else adjoint, arrays)[1:]
    forward = autodiff.jvp(graph, range(len(arrays)))
    result = [np.zeros_like(a) for a in arrays]
    for k, a in enumerate(arrays):
        for at in np.ndindex(a.shape):
            tangents = [np.zeros_like(b) for b in arrays]
            tangents[k][at] = 1
            result[k][at] = run(forward, [*arrays, *tangents])[1]
    return result


MODES = pytest.mark.parametrize("mode", ["forward", "reverse", "optimized", "stable"])


@MODES
def test_ties_share_the_slope(mode: str) -> None:
    for op in (ops.maximum, ops.minimum, ops.fmax, ops.fmin):
        for slope in slopes(op, [2.0, -1.0], [2.0, -1.0], mode=mode):
            np.testing.assert_array_equal(slope, [0.5, 0.5])


@MODES
def test_relu_at_zero_is_one_half(mode: str) -> None:
    got = slopes(lambda x: ops.maximum(x, ops.full_like(x, 0)), [-1.0, 0.0, 2.0], mode=mode)
    np.testing.assert_array_equal(got[0], [0, 0.5, 1])


@MODES
def test_reduced_extrema_share_among_ties(mode: str) -> None:
    for op in (ops.max_, ops.min_):
        got = slopes(lambda x, op=op: op(x, axes=(1,)), [[3.0, 3.0], [3.0, 3.0]], mode=mode)
        np.testing.assert_array_equal(got[0], np.full((2, 2), 0.5))


@MODES
def test_abs_at_zero_is_flat(mode: str) -> None:
    np.testing.assert_array_equal(slopes(ops.abs_, [0.0, -0.0, 2.0], mode=mode)[0], [0, 0, 1])


@MODES
def test_sqrt_at_zero_is_vertical(mode: str) -> None:
    assert slopes(ops.sqrt, 0.0, mode=mode)[0] == np.inf
    assert slopes(ops.sqrt, 4.0, mode=mode)[0] == 0.25


@MODES
def test_hypot_at_the_origin_is_flat(mode: str) -> None:
    x, y = slopes(ops.hypot, [0.0, -0.0, 3.0, 0.0], [0.0, 0.0, 4.0, -2.0], mode=mode)
    np.testing.assert_allclose(x, [0, 0, 0.6, 0])
    np.testing.assert_allclose(y, [0, 0, 0.8, -1])


@MODES
def test_atan2_has_no_slope_at_the_origin(mode: str) -> None:
    for slope in slopes(ops.atan2, [0.0], [0.0], mode=mode):
        assert np.isnan(slope).all()


@MODES
def test_the_branch_not_taken_leaks_nothing(mode: str) -> None:
    def safe(f: Callable[[Value], Value]) -> Callable[[Value], Value]:
        return lambda x: ops.where(x > 0, f(x), ops.full_like(x, 0))

    for f in (ops.sqrt, ops.log, lambda x: 1 / x, lambda x: x**0.5, lambda x: ops.log(x) * x):
        got = slopes(safe(f), [0.0, -1.0, 1.0], mode=mode)[0]
        assert np.isfinite(got).all()
        assert (got[:2] == 0).all()


@MODES
def test_steps_are_flat(mode: str) -> None:
    for op in (ops.floor, ops.ceil, ops.rint, ops.trunc, ops.sign):
        np.testing.assert_array_equal(slopes(op, [0.0, 0.5, 2.0], mode=mode)[0], [0, 0, 0])


@MODES
def test_powers_at_zero(mode: str) -> None:
    got = slopes(lambda x: x**2, [0.0, -3.0], mode=mode)[0]
    np.testing.assert_array_equal(got, [0, -6])
    base, exponent = slopes(ops.pow_, [0.0, 0.0, 2.0], [2.0, 0.0, 3.0], mode=mode)
    np.testing.assert_allclose(base, [0, 0, 12])
    np.testing.assert_allclose(exponent, [0, 0, 8 * np.log(2)])


@MODES
def test_saturated_tanh_and_sigmoid_keep_their_digits(mode: str) -> None:
    x = np.array([20.0, -30.0])
    np.testing.assert_allclose(slopes(ops.tanh, x, mode=mode)[0], 4 * np.exp(-2 * np.abs(x)))
    np.testing.assert_allclose(slopes(ops.sigmoid, x, mode=mode)[0], np.exp(-np.abs(x)))


@MODES
def test_products_with_zeros(mode: str) -> None:
    got = slopes(lambda x: ops.prod(x, axes=(0,)), [0.0, 3.0, 2.0], mode=mode)[0]
    np.testing.assert_array_equal(got, [6, 0, 0])
    got = slopes(lambda x: ops.cumprod(x, axis=0, reverse=False), [2.0, 0.0, 3.0], mode=mode)[0]
    np.testing.assert_array_equal(got, [1, 8, 0])
