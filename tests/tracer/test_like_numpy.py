"""Corners where NumPy has an answer of its own: dtypes, scalars, indices, comparisons."""

from __future__ import annotations

import platform

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError
from gradc.ir.types import F64, TensorType
from tests.tracer.helpers import check, interpreted, trace_of

X = np.arange(3.0) + 1
VECTOR = TensorType(F64, (3,))
HELD = np.ones(3)


def test_integer_sequences_as_indices():
    y = np.array([0, 2, 1])
    check(lambda p, y: p[range(3), y], np.arange(9.0).reshape(3, 3), y)
    check(lambda p: (p[(0, 1), (1, 2)], p[range(2)], p[[0, 2], 1:], p[(0, 1),]), np.eye(3))
    check(lambda p: (np.eye(3)[range(3), (0, 1, 2)] * p, p[range(0)]), X)


@pytest.mark.parametrize("compare", [
    lambda a, b: (a < b, a <= b, a > b, a >= b, a == b, a != b),
    lambda a, b: (b < a, b <= a, b > a, b >= a, b == a, b != a),
])
def test_signed_against_unsigned(compare):
    signed = np.array([-1, 0, 5, 2**62, -(2**63)])
    unsigned = np.array([2**64 - 1, 0, 4, 2**62, 2**63], dtype=np.uint64)
    check(compare, signed, unsigned)
    check(compare, np.int64(-3), unsigned)


@pytest.mark.parametrize("axis", [0, -1, ()])
def test_scalars_have_an_axis_for_reductions(axis):
    def function(x):
        t = np.sum(x)
        return (np.sum(t, axis), np.max(t, axis), np.prod(t, axis), np.any(t, axis),
                np.min(t, axis, keepdims=True))

    check(function, X)


def test_scans_of_scalars():
    check(lambda x: (np.cumsum(x[0], axis=0), np.argmax(x[0], axis=0)), X)
    check(lambda x: (np.tril(x), np.triu(x, 1), np.median(x[:0])), X)


def test_dtypes_of_powers():
    check(lambda b: (b**2, b**3, b[0] ** 2), np.array([True, False]))


def test_python_numbers_where_numpy_makes_arrays():
    single = np.ones(2, np.float32)
    check(lambda a, b: (np.dot(a, b), np.inner(a, b), np.outer(a, b)), 2.5, single)
    check(lambda a, b: (np.dot(a, b), np.clip(a, 0, b)), 3, np.int8(3))


def test_rounding_of_scalars():
    def function(x):
        return round(x), round(x) * np.float32(2), round(x, 1), round(np.sum(x)) // 2

    check(function, 2.6)
    check(lambda x: round(x) * np.float32(2), np.float64(2.6))


def test_arithmetic_of_truths():
    def function(a, b):
        low, high = a > 0, b > 0
        return low + high, low - high, low * a, sum([low, high]), -low, low & high, low / high

    check(function, 1.0, 2.0)
    check(lambda a, b: (a + b, a * b, a * 2.0, a & b), True, True)
    check(lambda a, b: (a + b, a * b), np.bool_(True), np.bool_(True))
    check(lambda a: a * np.float32(1) * (a > 0), 1.5)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8"])
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="1/0 is x86-64's")
def test_reciprocals_of_integers(dtype):
    check(np.reciprocal, np.array([0, 1, 2, 5]).astype(dtype))


def test_padding_by_an_argument():
    check(lambda x, p: np.pad(x, p), X, 2)
    check(lambda x, p: np.pad(x, (p, 1), mode="edge"), X, 2)


@pytest.mark.parametrize("function", [
    lambda x: np.insert(x, 1, 7.0),
    lambda x: np.insert(x, [0, 2], [7.0, 8.0]),
    lambda x: np.insert(x, 1, x),
    lambda x: np.insert(np.outer(x, x), 1, x, axis=1),
    lambda x: np.insert(np.outer(x, x), [1], x[:, None], axis=1),
    lambda x: np.insert(np.outer(x, x), slice(0, 2), 0.0, axis=0),
    lambda x: np.logaddexp.reduce(x),
    lambda x: np.logaddexp.reduce(np.outer(x, x), axis=1),
    lambda x: HELD.clip(0, x),
])
def test_functions(function):
    check(function, X)


@pytest.mark.skipif(not hasattr(np, "unstack"), reason="newer than this NumPy")
def test_newer_functions():
    def function(x):
        m = np.outer(x, x)
        return (np.unstack(m, axis=1), np.cumulative_sum(x), np.cumulative_prod(m, axis=1),
                np.cumulative_sum(m, axis=1, include_initial=True))

    check(function, X)


def test_deviations_have_slope_zero_at_zero():
    constant = np.full(4, 3.0)
    for function in (np.std, np.var, np.nanstd):
        assert gradc.grad(function)(constant).tolist() == [0.0] * 4
        check(function, constant)
        check(function, X)


@pytest.mark.parametrize(("function", "remedy"), [
    (lambda x: HELD.dot(x), "X @ w or np.dot"),
    (lambda x: np.exp([x[0], x[1]]), "np.exp(np.array([a, b]))"),
    (lambda x: np.float32(x[0]), "x.astype(np.float32)"),
    (lambda x: x[x > 1], "out[: x.shape[0]] = x"),
])
def test_remedies(function, remedy):
    with pytest.raises(GradcError) as info:
        trace_of(function, VECTOR)
    assert remedy in str(info.value)


def test_in_place_products_of_arrays_from_outside():
    held = np.eye(3)

    def function(x):
        m = held
        m @= x
        return m

    with pytest.raises(GradcError, match="m = m @ x"):
        trace_of(function, TensorType(F64, (3, 3)))


def test_printed_structures(capfd):
    @gradc.compile
    def function(x):
        gradc.debug_print("{} and {!r}", {"a": x, "b": [np.ones(1), 2]}, (x * 2, "{}"))
        return x

    function(1.5)
    assert "{'a': 1.5, 'b': [array([1.]), 2]} and (3.0, '{}')" in capfd.readouterr().out.replace(
        "array(1.5)", "1.5").replace("array(3.)", "3.0").replace("np.float64(1.5)", "1.5").replace(
        "np.float64(3.0)", "3.0")


def test_read_only_views_follow_their_base():
    def function(x):
        a = np.diag(x).copy()
        d, b, e = np.diagonal(a), np.broadcast_to(a[0], (2, 3)), a.diagonal(1)
        v = a.view()
        a[0, 0] = 5.0
        v[0, 1] = x[2]
        return d, b, e, d.sum(), b * 2, np.require(v), np.diag(a, -1)

    check(function, X)
    for write in (
        lambda x: np.diagonal(np.outer(x, x)).__setitem__(0, x[0]),
        lambda x: np.diagonal(np.eye(3)).__setitem__(0, 1.0),
        lambda x: np.broadcast_to(np.ones(3), (2, 3)).__setitem__(0, 1.0),
        lambda x: np.einsum("ii->i", np.outer(x, x)).__setitem__(0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"read-only|does not follow"):
            trace_of(write, VECTOR)


def test_interpreted_is_used():
    assert interpreted(lambda x: round(x), 2.6) == 3
