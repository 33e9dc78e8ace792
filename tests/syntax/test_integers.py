"""Int arguments that loops and branches test are data: one compilation serves all their values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc

X = np.random.default_rng(3).random(5)


def limited(x: Any, n: Any) -> Any:
    i = 0
    while i < n and x < 1e9:
        x = x * 1.5
        i += 1
    return x


def counted_down(x: Any, n: Any) -> Any:
    while n:
        x = np.sin(x) + n
        n -= 1
    return x


def divisor(x: Any, n: Any) -> Any:
    a, b = n, 12
    while b:
        a, b = b, a % b
    return x * a


def every_third(x: Any, n: Any) -> Any:
    if n % 3 == 0:
        x = x * 2
    return x * (0.5 if n > 4 else 2.0)


def between(x: Any, n: Any) -> Any:
    if 2 <= n < 5 and not n % 3:
        return x + 1
    return x - 1


def in_a_loop(x: Any, n: Any) -> Any:
    for i in range(20):
        if n > 3 or n == 1:
            x = x + i * 0.01
    return x


def stacked(x: Any, n: Any) -> Any:
    for _ in range(n):
        if n > 2:
            x = x * 0.5
    return x


def differentiated(x: Any, n: Any) -> Any:
    return gradc.grad(lambda y: y * y if n > 2 else y)(x)


DATA: list[Callable[..., Any]] = [
    limited, counted_down, divisor, every_third, between, in_a_loop, stacked, differentiated,
]  # fmt: skip


@pytest.mark.parametrize("program", DATA)
@pytest.mark.parametrize("integer", [int, np.int32])
def test_one_compilation(program: Callable[..., Any], integer: Any) -> None:
    traces = []

    def noted(x: Any, n: Any) -> Any:
        traces.append(n)
        return program(x, n)

    compiled = gradc.compile(noted)
    for k in range(8):
        n = integer(k)
        expected = program(0.7, n)
        assert compiled(0.7, n) == pytest.approx(float(expected), rel=1e-14)
    assert len(traces) == 1


def shaped(x: Any, n: Any) -> Any:
    k = 5 if n > 3 else 1
    return np.sum(x.reshape(k, -1)[0])


def shaped_later(x: Any, n: Any) -> Any:
    if n > 3:
        k = 5
        x = x * 2
    else:
        k = 1
    return np.sum(x.reshape(k, -1)[0])


def padded(x: Any, n: Any) -> Any:
    if n > 3:
        x = np.append(x, x)
    return np.sum(x)


def listed(x: Any, n: Any) -> Any:
    out = []
    while n > 0:
        out.append(x * n)
        n -= 1
    return sum(out, np.zeros(5))


def checked(x: Any, n: Any) -> Any:
    if n < 0:
        raise ValueError("negative")
    return x * n


def named_later(x: Any, n: Any) -> Any:
    if n > 3:
        y = x * 2
    if n > 2 and n != 3:
        return y
    return x


def recursive(x: Any, n: Any) -> Any:
    if n == 0:
        return x * 0 + 1
    return x * recursive(x, n - 1)


def listed_in_a_loop(x: Any, n: Any) -> Any:
    out = []
    for i in range(30):
        x = x + 0.1 * i
        if n > 2:
            out.append(x)
    return sum(out, x)


def described(x: Any, n: Any) -> Any:
    return {"few" if n < 4 else "many": x}


KNOWN: list[Callable[..., Any]] = [
    shaped, shaped_later, padded, listed, checked, named_later, recursive, listed_in_a_loop,
    described,
]  # fmt: skip


@pytest.mark.parametrize("program", KNOWN)
def test_what_needs_the_value_gets_it(program: Callable[..., Any]) -> None:
    compiled = gradc.compile(program)
    for n in (5, 2, 0, 5):
        expected, got = program(X, n), compiled(X, n)
        if program is described:
            assert got.keys() == expected.keys()
            (expected,), (got,) = expected.values(), got.values()
        np.testing.assert_allclose(got, expected, rtol=1e-14)


def test_an_error_of_the_function_is_the_one_raised() -> None:
    compiled = gradc.compile(checked)
    with pytest.raises(ValueError, match="negative") as info:
        compiled(X, -1)
    assert not isinstance(info.value, gradc.GradcError)
    np.testing.assert_array_equal(compiled(X, 2), X * 2)


def test_an_inner_function_that_needs_what_only_the_run_knows() -> None:
    def inner(x: Any, n: Any) -> Any:
        if n > 3:
            x = np.append(x, x)
        return np.sum(x)

    def outer(x: Any, y: Any) -> Any:
        return gradc.grad(inner)(x, np.int64(2) * (y > 0))

    with pytest.raises(gradc.GradcError, match="`x` is"):
        gradc.compile(outer)(X, 1.0)


def test_a_variable_without_a_value_is_not_returned_from_a_branch() -> None:
    def f(x: Any) -> Any:
        if x > 3:
            y = x * 2
        if x > 2:
            return y
        return x

    compiled = gradc.compile(f)
    assert [compiled(x) for x in (1.0, 3.5)] == [1.0, 7.0]
    with pytest.raises(UnboundLocalError, match="`y` has no value") as info:
        compiled(2.5)
    assert isinstance(info.value, gradc.GradcError)
    assert info.value.where.line == f.__code__.co_firstlineno + 4
