"""Plain arrays from outside are read at traced places: tables of indices, weights, sequences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc

N = 40
RNG = np.random.default_rng(0)
ORDER = RNG.permutation(N)
PAIRS = RNG.integers(N, size=(2, N))
WEIGHTS = RNG.random((N, 3))
ENDS = np.sort(RNG.integers(2 * N, size=N + 1))
KINDS = [np.arange(N), RNG.random(N)]


def gathered(x: Any) -> Any:
    total = 0.0
    for i in range(N):
        total = total + x[ORDER[i]] * WEIGHTS[i, 1] * WEIGHTS[-1 - i, -1]
    return total


def chosen(x: Any) -> Any:
    total = 0.0
    for i in range(N):
        if PAIRS[0, i] < PAIRS[1, i]:
            total = total + x[PAIRS[0, i]] ** 2
    return total


def rows(x: Any) -> Any:
    total = 0.0
    for i in range(N):
        total = total + np.sum(WEIGHTS[i] * x[i]) + WEIGHTS[i, 1:] @ WEIGHTS[i, :-1]
    return total


def ragged(x: Any) -> Any:
    total = 0.0
    for i in range(N):
        for p in range(ENDS[i], ENDS[i + 1]):
            total = total + x[p % N] ** 2 * x[i]
    return total


def in_a_list(x: Any) -> Any:
    total = 0.0
    for i in range(N):
        total = total + x[KINDS[0][i]] * KINDS[1][i]
    return total


PROGRAMS: list[Callable[[Any], Any]] = [gathered, chosen, rows, ragged, in_a_list]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_loop_that_reads_a_table_is_one_loop(program: Callable[[Any], Any]) -> None:
    x = np.random.default_rng(1).random(N)
    compiled = gradc.compile(program)
    value, slope = compiled.value_and_grad(x)
    np.testing.assert_allclose(value, program(x), rtol=1e-13)
    direction = np.random.default_rng(2).standard_normal(N)
    difference = (program(x + 1e-5 * direction) - program(x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(slope @ direction, difference, rtol=1e-8)
    text = compiled.ir(x, stage="traced")
    assert "loop" in text
    assert len(text.splitlines()) < 60


def test_tables_keep_their_views_and_their_type() -> None:
    class Named(np.ndarray):
        pass

    seen = []

    def program(x: Any, k: Any) -> Any:
        for i in range(3):
            seen.append(type(named[i : i + 2]))
            seen.append(WEIGHTS[i : i + 2].base is WEIGHTS)
        return x * table[k]

    named, table = np.arange(5.0).view(Named), np.arange(5.0)
    assert gradc.compile(program)(2.0, np.int64(3)) == 6.0
    assert seen[:2] == [Named, True]


def test_an_index_beyond_a_table_is_an_error() -> None:
    def program(x: Any, k: Any) -> Any:
        for _ in range(1):
            x = x * ORDER[k]
        return x

    with pytest.raises(IndexError):
        gradc.compile(program)(2.0, np.int64(N))


GRID = np.arange(60.0).reshape(30, 2)


def _row(x):
    GRID[np.argmax(x)][0] = 5.0


def _window(x):
    w = GRID[np.argmax(x) : np.argmax(x) + 3]
    w *= 2


def _slice(x):
    w = GRID[: np.argmax(x)]
    w[0] = x[0]


def _rows_of_slice(x):
    for row in GRID[: np.argmax(x)].T:
        row[:] = 1.0


def _rows(x):
    for row in GRID:
        row[0] = x[0]


def _out(x):
    np.add(x[0], 1.0, out=GRID[np.argmax(x)])


@pytest.mark.parametrize("write", [_row, _window, _slice, _rows_of_slice, _rows, _out])
def test_views_at_traced_places_are_not_written(write):
    before = GRID.copy()

    def f(x):
        write(x)
        return np.sum(GRID) + x[0]

    with pytest.raises(gradc.errors.ReadOnlyError, match="a plain NumPy array from outside"):
        gradc.compile(f)(np.array([1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(GRID, before)


def test_copies_at_traced_places_are_written():
    def f(x):
        row = GRID[np.argmax(x)] * 1.0
        row[0] = x[0]
        copied = GRID[: np.argmax(x)].copy()
        copied[0] = x[1]
        some = GRID[:, 0][GRID[:, 1] > 2 * x[0]]
        some[0] = 0.0
        return np.sum(row) + np.sum(copied) + np.sum(some)

    x = np.array([1.0, 3.0, 2.0])
    assert gradc.compile(f)(x) == pytest.approx(f(x), rel=1e-13)
