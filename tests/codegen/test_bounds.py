"""Which indices are proved to be inside, of loops whose bounds depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.ir.forms import ZERO, Form, Symbol, symbol

N = 12


def test_bounds_follow_from_those_of_older_symbols() -> None:
    i = symbol(low=[ZERO], high=[Form(N - 1)])
    j = symbol(low=[ZERO], high=[Form(N - 1).plus(i, -1)])  # j < n - i
    assert (i.plus(j).least(), i.plus(j).most()) == (0, N - 1)
    assert (i.plus(j, -1).least(), i.plus(j, -1).most()) == (-N + 1, N - 1)
    assert j.plus(i, -N).most() == N - 1
    assert symbol().most() is None
    assert symbol(low=[ZERO]).least() == 0


def test_what_is_zero() -> None:
    i = symbol(low=[ZERO])
    assert Form(0).is_zero()
    assert i.is_zero() is None
    assert i.plus(Form(1)).is_zero() is False
    assert i.plus(i, -1).is_zero()


def test_symbols_know_what_they_may_be_bounded_by() -> None:
    i = Symbol((ZERO,))
    j = Symbol((ZERO,), (Form(0, {i: 1}),))
    assert (i.rank, j.rank) == (1, 2)


def triangle(a: Any, n: int) -> Any:
    for i in gradc.range(N):
        for j in gradc.range(i):
            a[i, j] = a[j, i] + a[i - 1 - j, j]
    return a


def upper(a: Any, n: int) -> Any:
    for i in gradc.range(N - 1, -1, -1):
        for j in gradc.range(i + 1, N):
            a[i, j] = a[i, j] * a[N - j, j] + a[j - i, i + N - j]
    return a


def bounded_by_an_argument(a: Any, n: int) -> Any:
    for i in gradc.range(n):
        for j in gradc.range(i, n):
            a[i, i] = a[i, i] + a[j, j]
    return a


def below_in_the_first_iteration(a: Any, n: int) -> Any:
    for i in gradc.range(N):
        for j in gradc.range(i):
            a[i, j] = a[i, j] + a[j - 1, i]
    return a


def by_a_quotient(a: Any, n: int) -> Any:
    for i in gradc.range(N):
        for j in gradc.range(i, N):
            a[i, j] = a[i, j] + a[j - i, j + 1 - j // (N - 1)]
    return a


@pytest.mark.parametrize(("function", "checked", "wrapped"), [
    (triangle, 0, 0), (upper, 0, 0), (bounded_by_an_argument, 1, 0),
    (below_in_the_first_iteration, 0, 1), (by_a_quotient, 1, 0),
])
def test_what_is_checked(function: Callable[..., Any], checked: int, wrapped: int) -> None:
    a = np.random.default_rng(0).uniform(0.5, 1.0, (N, N))

    def f(a: Any, n: int) -> Any:
        return function(a.copy(), n)

    compiled = gradc.compile(f)
    np.testing.assert_array_equal(compiled(a, N), f(a, N))
    text = compiled.ir(a, N, stage="loops", grad=False)
    assert (" checked" in text, " wrapped" in text) == (bool(checked), bool(wrapped))


def no_iteration(a: Any) -> Any:
    """What is handed on is read before the inner loop, which need not run: not beyond the end."""
    a = a.copy()
    for i in gradc.range(N):
        for j in gradc.range(i + 2, N):
            a[j] = a[j] + a[j - 1]
    return a


def test_nothing_is_read_where_no_iteration_runs() -> None:
    a = np.random.default_rng(1).uniform(0.5, 1.0, N)
    compiled = gradc.compile(no_iteration)
    np.testing.assert_array_equal(compiled(a), no_iteration(a))
    text = compiled.ir(a, stage="loops", grad=False)
    assert "# of the first iteration" in text
    assert "checked" not in text
    assert "select i1" in compiled.ir(a, stage="llvm", grad=False)
