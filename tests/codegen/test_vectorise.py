"""Loops whose iterations go in vectors: which do, and that every bit is as one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc

N = 40
Loop = Callable[[Any, Any, Any, int], Any]


def elementwise(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        b[i] = 0.5 * a[i] + a[n - 1 - i] * b[i]
    return b


def from_the_last_on(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n - 1, -1, -1):
        b[i] = a[i] * a[n - 1 - i] + i
    return b


def triangle(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(N):
        for j in gradc.range(i):
            m[i, j] = m[i, j] - b[j] * m[j, i]
    return m


def into_other_rows(a: Any, b: Any, m: Any, n: int) -> Any:
    """That no row is another one's follows from the bounds."""
    for i in gradc.range(N):
        for k in gradc.range(i):
            for j in gradc.range(i, N):
                m[i, j] -= m[i, k] * m[k, j]
    return m


def from_ahead(a: Any, b: Any, m: Any, n: int) -> Any:
    """What is read is overwritten by a later iteration only."""
    for i in gradc.range(n):
        a[i] = 0.5 * a[i + 1] + 0.25 * a[i + 3]
    return a


def from_far_behind(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(16, N):
        a[i] = 0.5 * a[i - 16] + b[i]
    return a


def from_behind(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(2, n):
        a[i] = 0.5 * a[i - 2] + b[i]
    return a


def from_behind_and_from_the_last_on(a: Any, b: Any, m: Any, n: int) -> Any:
    """From the last on, what is behind is ahead."""
    for i in gradc.range(n - 1, 1, -1):
        a[i] = 0.5 * a[i - 2] + b[i]
    return a


def mirrored(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        a[i] = 0.5 * a[n - 1 - i] + b[i]
    return a


def later_statement(a: Any, b: Any, m: Any, n: int) -> Any:
    """An iteration reads what a later statement of the one before wrote."""
    for i in gradc.range(n):
        b[i] = 0.5 * a[i] * b[i]
        a[i + 3] = b[i] + 1.0
    return a + b


def earlier_statement(a: Any, b: Any, m: Any, n: int) -> Any:
    """An iteration reads what an earlier statement of one before wrote."""
    for i in gradc.range(3, n):
        a[i] = b[i] * b[i]
        b[i] = 0.5 * a[i - 3] + b[i]
    return b


def two_writes(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        a[i] = b[i] * 2.0 + b[i] * b[i]
        a[i + 2] = b[i] * 3.0 - b[i]
    return a


def sum_of_roots(a: Any, b: Any, m: Any, n: int) -> Any:
    """The sum goes one by one, what is summed in vectors."""
    s = 0.0
    for i in gradc.range(n):
        s += np.exp(-a[i] * b[i])
        b[i] = s * 0.5
    return s + b


def last_one(a: Any, b: Any, m: Any, n: int) -> Any:
    """The scalar of an iteration is what the next begins with, and of the last the result."""
    s = 0.25
    for i in gradc.range(n):
        b[i] = np.exp(a[i]) + s
        s = a[i] * 2.0
    return s + b


def every_second(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(N // 2):
        b[i] = np.exp(a[2 * i]) * np.exp(b[i])
    return b


def down_a_column(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(N):
        m[i, 3] = np.exp(-m[i, 3]) * np.exp(a[i])
    return m


def with_numbers(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        b[i] = np.where(i % 3 == 0, a[i] * i, b[i] + 0.5)
    return b


def product(a: Any, b: Any, m: Any, n: int) -> Any:
    """Of each element of several columns the sum in its order."""
    c = np.zeros((N, N))
    for i in gradc.range(N):
        for j in gradc.range(N):
            for k in gradc.range(N):
                c[i, j] += m[i, k] * m[k, j]
    return c


def eliminated(a: Any, b: Any, m: Any, n: int) -> Any:
    """What is read is of other rows than what is written, or of columns that are done."""
    for i in gradc.range(N):
        for j in gradc.range(i, N):
            for k in gradc.range(i):
                m[i, j] -= m[i, k] * m[k, j]
    return m


def from_the_last_column_on(a: Any, b: Any, m: Any, n: int) -> Any:
    for j in gradc.range(N - 1, -1, -1):
        s = a[j] * 2.0
        for k in gradc.range(N - 1, -1, -1):
            s = s * 0.5 + m[k, j] * j
        b[j] = s
    return b


def two_sums(a: Any, b: Any, m: Any, n: int) -> Any:
    for j in gradc.range(N):
        s, t = 0.0, a[j]
        for k in gradc.range(3):
            s += m[k, j]
            t = np.maximum(t, s * m[k + 1, j])
        for k in gradc.range(N):
            t -= m[k, j] * b[k]
        a[j] = s * t
    return a


def of_columns_before(a: Any, b: Any, m: Any, n: int) -> Any:
    """A later column needs what an earlier one became."""
    for j in gradc.range(2, N):
        for k in gradc.range(N):
            a[j] -= a[j - 2] * m[k, j]
    return a


def as_often_as_the_column(a: Any, b: Any, m: Any, n: int) -> Any:
    for j in gradc.range(N):
        for k in gradc.range(j):
            a[j] -= m[k, j]
    return a


def of_rows(a: Any, b: Any, m: Any, n: int) -> Any:
    """What lies far apart is not worth it."""
    for i in gradc.range(N):
        for k in gradc.range(N):
            b[i] += m[i, k]
    return b


def of_every_row_twice(a: Any, b: Any, m: Any, n: int) -> Any:
    """What the loop inside is given does not change in it, but does around it, and not evenly."""
    for i in gradc.range(N):
        for k in gradc.range(N - 1, -1, -1):
            a[i] -= 0.12 * (m[i // 2, 0] + b[k])
    return a


def from_a_remainder_on(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(N):
        for k in gradc.range(N - 8):
            a[i] += b[(i * i) % 7 + k] * m[i // 2, k]
    return a


def a_sum(a: Any, b: Any, m: Any, n: int) -> Any:
    """Waits for the addition before: vectors gain nothing."""
    s = 0.0
    for i in gradc.range(n):
        s += a[i] * b[i]
    return s


WIDE = [elementwise, from_the_last_on, triangle, into_other_rows, from_ahead, from_far_behind,
        from_behind_and_from_the_last_on, sum_of_roots, last_one, every_second, down_a_column,
        with_numbers, product, eliminated, from_the_last_column_on, two_sums]
NARROW = [from_behind, mirrored, later_statement, two_writes, a_sum, of_columns_before,
          as_often_as_the_column, of_rows, of_every_row_twice, from_a_remainder_on]


def given(dtype: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.25, 1.0, (2, N + 4)).astype(dtype)
    return a, b, (rng.uniform(0.0, 0.5, (N, N)) / N).astype(dtype)


def on_copies(loop: Loop) -> Loop:
    return lambda a, b, m, n: loop(a.copy(), b.copy(), m.copy(), n)


@pytest.mark.parametrize("loop", [*WIDE, *NARROW, earlier_statement])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bits(loop: Loop, dtype: str) -> None:
    exact = "exp" not in loop.__code__.co_names
    compiled = gradc.compile(on_copies(loop))
    for n in (0, 1, 3, 4, 7, 8, 9, 16, 31, 37):
        got, want = compiled(*given(dtype), n), on_copies(loop)(*given(dtype), n)
        if exact:
            np.testing.assert_array_equal(got, want)
        else:
            np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("loop", [*WIDE, *NARROW])
def test_which_go_in_vectors(loop: Loop) -> None:
    text = gradc.compile(on_copies(loop)).ir(*given("float64"), N - 3, stage="loops", grad=False)
    assert ("at a time" in text) == (loop in WIDE), text


@pytest.mark.parametrize("loop", [of_every_row_twice, from_a_remainder_on])
def test_gradients_where_places_do_not_move_evenly(loop: Loop) -> None:
    def loss(a: Any, b: Any, m: Any) -> Any:
        return np.sum(loop(a.copy(), b, m, N) ** 2)

    point = given("float64")
    value, grads = gradc.value_and_grad(loss, argnums=(0, 1, 2))(*point)
    np.testing.assert_allclose(value, loss(*point), rtol=1e-13)
    rng = np.random.default_rng(1)
    for k, grad in enumerate(grads):
        # central differences are exact but for rounding: the loss is quadratic in each argument
        direction = rng.normal(size=point[k].shape)
        ahead, behind = (
            loss(*(x + h * direction if j == k else x for j, x in enumerate(point)))
            for h in (0.5, -0.5)
        )
        np.testing.assert_allclose(np.sum(grad * direction), ahead - behind, rtol=1e-10)


def decays(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        b[i] = np.exp(-a[i]) * np.tanh(b[i])
    return b


def test_vectors_and_what_is_left_over_are_one_by_one() -> None:
    """A function of the vector math gives the same bits in whatever lane, and alone."""
    compiled = gradc.compile(on_copies(decays))
    a, b, m = given("float64")
    assert "at a time" in compiled.ir(a, b, m, N, stage="loops", grad=False)
    whole = compiled(a, b, m, 37)
    alone = [compiled(np.roll(a, -k), np.roll(b, -k), m, 1)[0] for k in range(37)]
    np.testing.assert_array_equal(whole[:37], alone)


def beyond_the_end(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        b[i] = a[i + 4] * b[i] + 0.5 * a[i]
    return b


@pytest.mark.parametrize("n", [N, N + 1, N + 5])
def test_an_index_outside_is_found_as_one_by_one(n: int) -> None:
    compiled = gradc.compile(on_copies(beyond_the_end))
    if n == N:
        np.testing.assert_array_equal(
            compiled(*given("float64"), n), on_copies(beyond_the_end)(*given("float64"), n))
    else:
        with pytest.raises(IndexError):
            compiled(*given("float64"), n)


def wrapped(a: Any, b: Any, m: Any, n: int) -> Any:
    for i in gradc.range(n):
        b[i] = a[i - 2] * b[i] + 0.5 * a[i]
    return b


def test_indices_from_the_end_are_wrapped() -> None:
    compiled = gradc.compile(on_copies(wrapped))
    np.testing.assert_array_equal(
        compiled(*given("float64"), N), on_copies(wrapped)(*given("float64"), N))


def test_what_is_added_up_and_used_again() -> None:
    """The adjoint of y[i] is set to zero, added to, and added to itself, in vectors."""

    def loss(x: Any, y: Any, w: Any) -> Any:
        x, y = x.copy(), y.copy()
        for i in gradc.range(1, N - 1):
            y[i] = y[i] * w[i]
            y[i] = y[i]
            x[i] = y[i]
        return np.sum(np.sin(x)) + np.sum(y * y)

    x, y, w = np.random.default_rng(5).normal(size=(3, N))
    inner = slice(1, N - 1)
    moved = y.copy()
    moved[inner] *= w[inner]
    slopes = 2 * moved
    slopes[inner] += np.cos(moved[inner])
    expected_x = np.cos(x)
    expected_x[inner] = 0
    expected_y, expected_w = slopes.copy(), np.zeros(N)
    expected_y[inner] *= w[inner]
    expected_w[inner] = slopes[inner] * y[inner]
    found = gradc.grad(loss, argnums=(0, 1, 2))(x, y, w)
    for got, expected in zip(found, (expected_x, expected_y, expected_w), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-13)
