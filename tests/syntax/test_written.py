"""Plain arrays from outside, copied or computed with and then written into, as NumPy runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc

B = np.linspace(0.5, 2.0, 6)
GRID = B.reshape(2, 3).copy()
TABLE = np.array([3, 1, 2, 0, 5, 4])


def copied(y: Any, i: Any) -> Any:
    x = B.copy()
    x[i] = y
    return x


def computed(y: Any, i: Any) -> Any:
    x = B * 2 + 1
    for k in range(6):
        x[k] = x[k] * y
    return x


def cast(y: Any, i: Any) -> Any:
    x = TABLE.astype(float)
    x[1] = y
    x[2:] += y
    return x


def picked(y: Any, i: Any) -> Any:
    x = B[[0, 2, 4]]
    x[i] += y
    return x


def made_again(y: Any, i: Any) -> Any:
    x = np.array(B)
    x[i] = y
    z = np.full_like(B, 2.0)
    z[i:] *= y
    return x + z


def negated(y: Any, i: Any) -> Any:
    x = -B
    x -= y
    return x


def of_a_view(y: Any, i: Any) -> Any:
    x = GRID.copy()
    row = x[1]
    row[i] = y
    x.T[0] += y
    return x


def reshaped(y: Any, i: Any) -> Any:
    x = GRID.copy().reshape(3, 2)
    x[i, 0] = y
    return x


def transposed(y: Any, i: Any) -> Any:
    x = GRID.T.copy()
    x[i] = y
    return x


def rows(y: Any, i: Any) -> Any:
    x = GRID * 1.0
    for row in x:
        row[i] = row[i - 1] * y
    return x


def two_names(y: Any, i: Any) -> Any:
    x = z = B.copy()
    x[i] = y
    a, b = B.copy(), B * 3
    a[i], b[0] = b[i], y
    a[0], a[1] = a[1], a[0]
    return x, z, a, b


def chosen(y: Any, i: Any) -> Any:
    x = B.copy() if y > 0 else B * 2
    x[i] = y
    return x


def handed_on(y: Any, i: Any) -> Any:
    def write(out: Any, value: Any) -> None:
        out[i] = value

    x = B.copy()
    write(x, y)
    return x


def with_out(y: Any, i: Any) -> Any:
    x = B.copy()
    np.multiply(B, y, out=x)
    z = np.sqrt(B)
    np.add.at(z, [0, 0, 1], y)
    return x + z


def under_a_test(y: Any, i: Any) -> Any:
    x = B.copy()
    if y > 1:
        x[i] = y
    else:
        x[0] += y
    while x[1] < 10:
        x[1] = x[1] * 2
    return x


def in_lists(y: Any, i: Any) -> Any:
    rows = [GRID[k] * 2 for k in range(2)]
    rows[1][i] = y
    held = {"b": B.copy()}
    held["b"] = B + 1
    held["b"][i] *= y
    return rows[0] + rows[1] * held["b"][:3]


def known(y: Any, i: Any) -> Any:
    x = TABLE + 0
    x[0] = 2
    order = x.argsort()
    order[1] = 0
    return y * B[x[0]] + [1.0, 2.0, 3.0][order[1]] + x[i]


PROGRAMS: list[Callable[[Any, Any], Any]] = [
    copied, computed, cast, picked, made_again, negated, of_a_view, reshaped, transposed, rows,
    two_names, chosen, handed_on, with_out, under_a_test, in_lists,
    known,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_arrays_that_were_made_of_those_from_outside(program: Callable[[Any, Any], Any]) -> None:
    before = B.copy(), GRID.copy(), TABLE.copy()
    compiled = gradc.compile(program)
    for y, i in ((1.5, 2), (0.25, 1)):
        expected, got = program(y, i), compiled(y, np.int64(i))
        if not isinstance(expected, tuple):
            expected, got = (expected,), (got,)
        for one, other in zip(expected, got, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-14)
    for array, held in zip((B, GRID, TABLE), before, strict=True):
        np.testing.assert_array_equal(array, held)

    def total(y: Any) -> Any:
        results = program(y, 2)
        return sum(np.sum(one) for one in (results if isinstance(results, tuple) else (results,)))

    difference = (total(1.5 + 1e-6) - total(1.5 - 1e-6)) / 2e-6
    assert gradc.grad(total)(1.5) == pytest.approx(difference, rel=1e-7)


def straight(i: Any) -> Any:
    return TABLE[i]


def of_any(table: Any, i: Any) -> Any:
    return table[i, 1:]


def last(table: Any) -> Any:
    return table[-1, 0] + table[:, 2][0] + table[1:][0, 2]


@pytest.mark.parametrize("compiled", [
    gradc.compile(lambda y, i: y * straight(i)), gradc.compile(lambda y, i: y * TABLE[i]),
    gradc.compile(lambda y, i: y * np.sum(of_any(GRID, i % 2)) + last(GRID)),
])  # fmt: skip
def test_helpers_without_loops_index_tables(compiled: Any) -> None:
    for i in range(6):
        assert compiled(2.5, np.int64(i)) == pytest.approx(compiled.__wrapped__(2.5, i))
        assert compiled.grad(2.5, np.int64(i)) == pytest.approx(
            compiled.__wrapped__(3.5, i) - compiled.__wrapped__(2.5, i))


def test_what_is_indexed_at_constants_alone_stays_as_it_is() -> None:
    from gradc.syntax.convert import STRAIGHT, family

    assert family(last) == STRAIGHT
    assert not isinstance(family(of_any), str)
