"""Writes and views: the same function on plain arrays says what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradc.errors import CastingError, GradcError, ReadOnlyError
from tests.tracer.helpers import check, interpreted

X = np.arange(1.0, 7.0).reshape(2, 3)


def views_of_slices(x: Any) -> Any:
    a = np.zeros((4, 3))
    b = a[1:3]
    c = b[::-1, 1:]
    c[0] = x[0, :2]
    a[2, 2] = 7 * x[1, 1]
    b += 1
    return a, b, c


def a_view_taken_before_the_write(x: Any) -> Any:
    a = np.zeros(3)
    first, value = a[0:1], a[0]
    a[0] = x[0, 0]
    return first, value, a


def ellipsis_gives_a_view(x: Any) -> Any:
    a = np.zeros(2)
    element, value = a[0, ...], a[0]
    a[0] = x[0, 0]
    element += 1
    return element, value, a


def transposes(x: Any) -> Any:
    a = x.copy()
    a.T[0] = 9 * x[0, 0]
    a.T[1:] += x.T[1:]
    return a


def reshapes(x: Any) -> Any:
    a = x.copy()
    a.reshape(-1)[4] = x[0, 0]
    flat = a.ravel()
    flat *= 2
    a.reshape(3, 2)[:, 1] = 0
    return a, flat


def reshape_of_a_transpose_is_a_copy(x: Any) -> Any:
    a = x.copy()
    b = a.T.reshape(-1)
    b[0] = 100 * x[1, 1]
    return a, b


def reshape_of_a_slice(x: Any) -> Any:
    a = np.zeros((4, 6))
    rows, columns = a[1:3].reshape(-1), a[:, 1:3].reshape(-1)
    rows[0], columns[0] = x[0, 0], x[0, 1]
    inner = a[:, :4].reshape(4, 2, 2)
    inner[0] = x[0, 2]
    return a, rows, columns


def flatten_and_copy_are_copies(x: Any) -> Any:
    a = x.copy()
    b, c, d, e = a.flatten(), a.copy(), np.array(a), a + 0
    for copy in (b, c, d, e):
        copy[0] = -x[0, 0]
    return a, b, c, d, e


def asarray_is_the_same_array(x: Any) -> Any:
    a = x.copy()
    b = np.asarray(a)
    b[0, 0] = 5 * x[1, 1]
    return a, b


def in_place_operators(x: Any) -> Any:
    a = x.copy()
    same = a
    a += x
    a *= 2.0
    a -= 1
    a /= x
    a **= 2
    a //= 2
    a %= 3
    return a, same


def scalars_are_bound_anew(x: Any) -> Any:
    s = x.sum()
    t = s
    s += 1
    return s, t


def a_0d_array_is_written(x: Any) -> Any:
    s = np.array(1.0)
    t = s
    s += x[0, 0]
    s[...] = s * 2
    s[()] = s + x[1, 1]
    return s, t


def split_and_squeeze(x: Any) -> Any:
    a = np.zeros((2, 4))
    left, right = np.split(a, 2, axis=1)
    left[:] = x[0, 0]
    right[0] = x[0, :2]
    thin = np.expand_dims(a, 0)
    thin.squeeze()[1, 3] = 8 * x[0, 0]
    return a, left, right, thin


def flips(x: Any) -> Any:
    a = np.zeros((2, 3))
    np.flip(a)[0] = x[0]
    np.fliplr(a)[0] += x[1]
    np.rot90(a)[0, 0] = 3 * x[0, 0]
    np.moveaxis(a, 0, 1)[1] -= 1
    return a


def columns_and_rows(x: Any) -> Any:
    a = np.empty((3, 3))
    for i in range(3):
        a[:, i] = x[0] * i
        a[i] += x[1]
    return a


def masks_and_fills(x: Any) -> Any:
    a, b = x.copy(), x.copy()
    a[a > 3] = 0
    b[0].fill(x[1, 2])
    np.copyto(b[1], x[0])
    np.fill_diagonal(b, -x[0, 0])
    a.sort(axis=0)
    return a, b


def swaps(x: Any) -> Any:
    a = x.copy()
    a[0], a[1] = a[1].copy(), a[0].copy()
    a[[0, 1]] = a[[1, 0]]
    a[:, 0], a[:, 1] = a[:, 1] * 2, a[:, 0] * 3
    return a


def overlapping(x: Any) -> Any:
    a = np.zeros(6)
    a[:3] = x[0]
    a[1:] = a[:-1]
    a[::-1][:2] = a[:2]
    return a


def a_constant_becomes_traced(x: Any) -> Any:
    a = np.arange(6.0).reshape(2, 3)
    view = a.T[1]
    total = float(a.sum())
    n = int(a[1, 2])
    a[0, 1] = x[0, 0]
    return a, view, total, [n] * n


def constants_stay_numbers(x: Any) -> Any:
    out = x[0, 0]
    for k in np.arange(3):
        if k > 0:
            out = out + x[0, k] * range(5)[k]
    order = np.argsort(np.array([3, 1, 2]))
    weights = np.linspace(0, 1, 3)
    weights[weights > 0.6] = 0
    shape = np.array([3, 2])
    made = np.zeros(shape[0]), np.ones(tuple(shape))
    return out, x[0][order], weights * x, x.reshape(shape), *made


def writes_in_helpers(x: Any) -> Any:
    def put(array: Any, value: Any) -> None:
        array[...] = value

    a = np.zeros((2, 2))
    put(a[0], x[0, 0])
    put(a[:, 1], x[1, 1])
    return a


def out_arguments(x: Any) -> Any:
    a = np.zeros((2, 3))
    np.exp(x, out=a)
    np.sum(x, axis=0, out=a[1])
    np.cumsum(x[0], out=a[0])
    return a


PROGRAMS: list[Callable[[Any], Any]] = [
    views_of_slices, a_view_taken_before_the_write, ellipsis_gives_a_view, transposes, reshapes,
    reshape_of_a_transpose_is_a_copy, reshape_of_a_slice, flatten_and_copy_are_copies,
    asarray_is_the_same_array, in_place_operators, scalars_are_bound_anew, a_0d_array_is_written,
    split_and_squeeze, flips, columns_and_rows, masks_and_fills, swaps, overlapping,
    a_constant_becomes_traced, constants_stay_numbers, writes_in_helpers, out_arguments,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_program(program: Callable[[Any], Any]) -> None:
    check(program, X)


def write(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def program(x: Any) -> Any:
        function(x)
        return x

    return program


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.__setitem__(0, 1.0),
        lambda x: x.__iadd__(1.0),
        lambda x: x[0].__imul__(2.0),
        lambda x: x.T.__setitem__(0, 1.0),
        lambda x: x.reshape(-1).__setitem__(0, 1.0),
        lambda x: x.ravel().fill(0),
        lambda x: np.add(x, 1, out=x),
        lambda x: np.add.at(x, 0, 1.0),
        lambda x: np.asarray(x).__setitem__(0, 1.0),
        lambda x: np.copyto(x, 0.0),
        lambda x: x.sort(),
        lambda x: x.__setitem__(x > 0, 0.0),
    ],
)
def test_an_argument_is_not_written(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ReadOnlyError) as info:
        interpreted(write(function), X)
    assert "a write into the argument arg[0][0], which the caller would not see" in str(info.value)
    assert "copy it first" in str(info.value)
    assert "test_storage.py" in str(info.value)


def test_in_place_addition_casts_same_kind_only() -> None:
    def f(x: Any) -> Any:
        a = np.zeros((2, 3), dtype=np.int64)
        a += x
        return a

    with pytest.raises(CastingError, match="with casting rule 'same_kind'") as info:
        interpreted(f, X)
    assert isinstance(info.value, TypeError)

    def g(x: Any) -> Any:
        a = np.zeros((2, 3), np.float32)
        a += x
        return a

    check(g, X)


def test_in_place_addition_does_not_grow() -> None:
    def f(x: Any) -> Any:
        a = np.zeros(3)
        a += x
        return a

    with pytest.raises(ValueError, match="non-broadcastable output operand with shape"):
        interpreted(f, X)


OUTSIDE = np.zeros(3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: OUTSIDE.__setitem__(0, x[0, 0]),
        lambda x: OUTSIDE.__setitem__(slice(None), x[0]),
        lambda x: np.add(OUTSIDE, x[0], out=OUTSIDE),
        lambda x: OUTSIDE.__iadd__(x[0]),
        lambda x: np.asarray(OUTSIDE).__setitem__(0, x[0, 0]),
        lambda x: np.copyto(OUTSIDE, x[0]),
        lambda x: np.add.at(OUTSIDE, 0, x[0, 0]),
    ],
)
def test_an_array_from_outside_is_not_written(function: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as info:
        interpreted(write(function), X)
    assert isinstance(info.value, GradcError)
    assert "plain NumPy array" in str(info.value)
    assert "np.array(" in str(info.value)
    assert not OUTSIDE.any()


def test_a_copy_of_an_array_from_outside_is() -> None:
    def f(x: Any) -> Any:
        a, b, c = np.array(OUTSIDE), np.copy(OUTSIDE), np.zeros_like(OUTSIDE)
        for k, array in enumerate((a, b, c)):
            array[k] = x[0, k]
        return a, b, c

    check(f, X)


@pytest.mark.parametrize("function", [
    lambda x: np.broadcast_to(x, (4, 2, 3)).__setitem__(0, 1.0),
    lambda x: np.diagonal(x).__setitem__(0, 1.0),
])
def test_read_only_results(function: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        interpreted(write(function), X)


def test_a_scalar_is_not_written() -> None:
    with pytest.raises(ValueError, match="does not support item assignment"):
        interpreted(write(lambda x: x.sum().__setitem__((), 1.0)), X)
