"""Variables that an iteration has from an earlier one, and the first one assigns under a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import UndefinedError
from tests.control.helpers import count

X = np.linspace(0.5, 1.5, 20)


def begun_by_a_test(x):
    for k in range(30):
        if k == 0:
            y = x * 2
        y = y + x[k % 20]
    return np.sum(y * y)


def read_in_a_branch(x):
    s = 0.0
    for k in range(30):
        if k % 5 == 0:
            y = x[k % 20]
        if k > 2:
            s += y * x[k % 7]
    return s


def begun_by_a_while(x):
    k, s = 0, 0.0
    while s < 20:
        if k == 0:
            y = x[0]
        y = y * 1.01
        s += y
        k += 1
    return s


def several(x):
    s = 0.0
    for k in range(30):
        if x[k % 20] > 0.6:
            y, n = x[k % 20], k
        elif k == 0:
            y, n = x[1], 3
        s += y * n
        if s > 300:
            break
    return s + y * n


def in_two_loops(x):
    s = 0.0
    for k in range(30):
        for j in range(20):
            if j == 0 and k == 0:
                y = x[0]
            s += y
            y = y * 0.99
    return s


@pytest.mark.parametrize(
    "f", [begun_by_a_test, read_in_a_branch, begun_by_a_while, several, in_two_loops])
def test_a_value_of_an_earlier_iteration(f: Callable[..., Any]) -> None:
    assert count(f, "loop", X) >= 1
    value, slope = gradc.compile(f).value_and_grad(X)
    np.testing.assert_allclose(value, f(X), rtol=1e-12)
    differences = [(f(X + step) - f(X - step)) / 2e-6 for step in 1e-6 * np.eye(20)]
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6)


def test_a_value_that_no_earlier_iteration_gave() -> None:
    def f(x: np.ndarray) -> Any:
        s = 0.0
        for k in range(30):
            if k == 2:
                y = x[0]
            s += y
        return s

    with pytest.raises(UndefinedError, match="`y` has no value") as caught:
        gradc.compile(f)(X)
    assert caught.value.where is not None
    assert caught.value.where.line == f.__code__.co_firstlineno + 5
