"""Elements at places known outside a loop that runs perhaps no iteration: against plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from tests.control.helpers import count, text

N = 6
X = np.sin(np.arange(1.0, 37.0)).reshape(N, N)


def element(x: np.ndarray, n: int) -> Any:
    s, v = 0.0, x[1]
    for j in range(n, N):
        s += v[n] * v[j]
    return s


def column(x: np.ndarray, n: int) -> Any:
    s = 1.0
    for j in range(n, N):
        s += x[:, n] @ x[:, j] * x[n, j]
    return s


def window(x: np.ndarray, n: int) -> Any:
    s = 0.0
    for j in range(n, N - 2):
        s += np.sum(x[n : n + 3, 0] * x[j : j + 3, 1])
    return s


def view_of_view(x: np.ndarray, n: int) -> Any:
    s, rows = 0.0, x[::-1].T
    for j in range(n, N):
        row = rows[n]
        s += row[::2].sum() * row[n] * rows[j, 1]
    return s


def nested(x: np.ndarray, n: int) -> Any:
    s = 0.0
    for i in range(n):
        for j in range(i + 1, n):
            s += x[i + 1, 0] * x[n - 1, j]
        for k in range(n, N):
            for m in range(k, N):
                s += x[n, k] * x[k, m] * x[i, n]
    return s


def below(x: np.ndarray, n: int) -> Any:
    s = 0.0
    for i in gradc.range(1, N):
        for j in range(n, N - i):
            s += x[0, -i - 1] * x[j, i] * x[n + i, 0]
    return s


def written(x: np.ndarray, n: int) -> Any:
    x = x.copy()
    for i in range(n, N):
        x[n] = x[i] * x[n, 0]
        for j in range(i + 1, N):
            x[i + 1, j] -= x[n, i] * x[i + 1, 0]
    return np.sum(x * x)


def in_branch(x: np.ndarray, n: int) -> Any:
    s = 0.0
    if x[0, 0] > 0:
        for j in range(n, N):
            if j > n:
                s += x[n, j] * x[j, n]
            else:
                s -= x[n, n]
    return s


def backwards(x: np.ndarray, n: int) -> Any:
    s = 1.0
    for j in range(N - 1, n - 1, -1):
        s += x[n, 2] * x[j, 0] * s
    return s


def outside(x: np.ndarray, n: int) -> Any:
    x, s = x.copy(), 0.0
    for _ in range(n, N):
        s += x[n, 0]
        x[0] *= 0.5
    x[1] = s
    for j in range(n, N):
        s += x[1, n] * x[j, 1]
    return s


@pytest.mark.parametrize("n", [0, 2, 5, 6])
@pytest.mark.parametrize("f", [
    element, column, window, view_of_view, nested, below, written, in_branch, backwards, outside])
def test_a_loop_of_no_iteration_reads_nothing(f: Callable[..., Any], n: int) -> None:
    value, slope = gradc.compile(f).value_and_grad(X, n)
    np.testing.assert_allclose(value, f(X, n), rtol=1e-13)
    steps = 1e-6 * np.eye(X.size).reshape(X.size, *X.shape)
    differences = [(f(X + step, n) - f(X - step, n)) / 2e-6 for step in steps]
    np.testing.assert_allclose(slope.ravel(), differences, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("n", [N, -N - 1, N + 3])
def test_a_loop_that_runs_says_what_is_out_of_bounds(n: int) -> None:
    def f(x: np.ndarray, n: int, m: int) -> Any:
        s = 0.0
        for j in range(m):
            s += x[j, 0]
            s *= x[n, 1]
        return s

    g = gradc.compile(f)
    assert g(X, n, 0) == 0.0
    with pytest.raises(IndexError):
        f(X, n, 1)
    with pytest.raises(gradc.errors.IndexingError) as caught:
        g(X, n, 1)
    assert caught.value.where is not None
    assert caught.value.where.line == f.__code__.co_firstlineno + 4


def test_an_array_of_no_elements() -> None:
    def f(x: np.ndarray, n: int) -> Any:
        s = 0.0
        for j in range(n):
            s += x[n] * x[j]
        return s

    g = gradc.compile(f)
    assert g(np.zeros(0), 0) == f(np.zeros(0), 0) == 0.0
    with pytest.raises(gradc.errors.IndexingError):
        g(np.zeros(0), 1)


def test_it_is_read_once_before_the_loop() -> None:
    """At the place itself where bounds prove it inside, else where a test says so."""
    def proven(x: np.ndarray) -> Any:
        x, q = x.copy(), np.zeros((N, N))
        for k in gradc.range(N):
            q[:, k] = x[:, k] / x[k, k]
            for j in range(k + 1, N):
                x[:, j] -= q[:, k] * (q[:, k] @ x[:, j])
        return q

    assert count(proven, "where", X) == 0
    assert text(proven, X).split("loop")[2].count("gather captured") == 0
    assert count(element, "where", X, 2) > 0
    assert text(element, X, 2).split("loop")[1].count("gather captured") == 1
