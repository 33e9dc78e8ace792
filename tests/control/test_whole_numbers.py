"""Python's integers in loops, where 64 bits do not hold them: against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from tests.control.helpers import count

X = np.array([0.5, -1.25])


def series(x: np.ndarray) -> Any:
    total, factorial = np.zeros_like(x), 1
    for k in range(1, 100):
        factorial *= k
        total += x**k / factorial
    return total


def series_by_while(x: np.ndarray) -> Any:
    total, k, factorial = np.zeros_like(x), 1, 1
    while k < 100:
        factorial *= k
        total += x**k / factorial
        k += 1
    return total


def series_that_stops(x: np.ndarray) -> Any:
    total, factorial = np.zeros_like(x), 1
    for k in range(1, 90):
        if k > 80:
            break
        factorial *= k
        total += x**k / factorial
    return total


def fibonacci(x: np.ndarray) -> Any:
    a, b = 0, 1
    for _ in range(120):
        a, b = b, a + b
        x = x * 0.5 + a / b
    return x


def doubled_now_and_then(x: np.ndarray) -> Any:
    n = 1
    for k in range(200):
        if k % 2 == 0:
            n *= 2
        x = x + 1.0 / n
    return x


def powers(x: np.ndarray) -> Any:
    for k in range(0, 2000, 8):
        x = x + 1.0 / (k + 1) ** 6 + (k * k * k * k * k * k) / 1e30
    return x


@pytest.mark.parametrize("f", [
    series, series_by_while, series_that_stops, fibonacci, doubled_now_and_then, powers])
def test_integers_that_grow_out_of_64_bits(f: Callable[..., Any]) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(gradc.compile(f)(X), f(X), rtol=1e-12)


def test_a_forced_loop_says_where() -> None:
    def f(x: np.ndarray) -> Any:
        n = 1
        for k in gradc.range(1, 30):
            n *= k
            x = x + 1.0 / n
        return x

    with pytest.raises(gradc.errors.LoopError, match="more than 64 bits") as caught:
        gradc.compile(f)(X)
    assert caught.value.where is not None
    assert caught.value.where.line == f.__code__.co_firstlineno + 3


def within(x: np.ndarray) -> Any:
    n, seed, digits = 1, 7, 0
    for k in range(3000):
        n = n * 5 % 1009
        seed = (1103515245 * seed + 12345) % 2**31
        digits += k**3 - 7 * k
        x = x * 0.9 + seed / 2**31 + n / 1009 + digits * 1e-15
    return x


def until(x: np.ndarray) -> Any:
    n, k = 1, 0
    while n < 2**62:
        n *= 2
        x = x * 0.5 + n * 1e-15
        k += 1
    return x


@pytest.mark.parametrize("f", [within, until])
def test_integers_that_stay_within_64_bits_are_carried(f: Callable[..., Any]) -> None:
    assert count(f, "loop", X) == 1
    np.testing.assert_allclose(gradc.compile(f)(X), f(X), rtol=1e-12)
