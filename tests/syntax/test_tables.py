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
