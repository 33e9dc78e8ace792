"""Builtins that choose, and functions that call what they are given: with traced values in them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

import gradc

A = np.array([1.5, -2.5, 2.0, 0.5])
Program = Callable[[Any, Any], Any]


def clipped(z: Any) -> Any:
    if z > 1:
        return z * z
    return z


def doubled(z: Any) -> Any:
    while abs(z) < 4:
        z = z * 2
    return z


def larger(p: Any, q: Any) -> Any:
    if p > q:
        return p
    return q


def by_place(x: Any, a: Any) -> Any:
    calls = []

    def key(v: Any) -> Any:
        calls.append(1)
        return -v

    return max([3.0, 1.0, 2.0], key=key) * x * len(calls) + sorted([3, 1, 2], key=key)[0]


def of_equal_keys(x: Any, a: Any) -> Any:
    first = max([x, -x, x * 2], key=lambda v: v * 0)
    last = sorted([(1, x), (1, 2 * x), (0, x)], key=lambda p: p[0], reverse=True)[1][1]
    return first + 10 * last


def of_a_method(x: Any, a: Any) -> Any:
    table = {"a": x, "b": a[1], "c": 0.5}
    return max(table.values()) - min(table.values()) + (x in table.values())


@pytest.mark.parametrize("program", [
    lambda x, a: max(a, key=abs) + min(a, key=abs) * x,
    lambda x, a: max([x, -2.0, a[0]], key=lambda v: v * v),
    lambda x, a: max(x, a[1], a[2], key=clipped) + min([x, 3], key=clipped),
    lambda x, a: max([a, a * x], key=np.sum)[0] + min((v * x for v in a), key=doubled),
    lambda x, a: max([x, 1.0], default=0.0) + max([], default=x) + max([], key=abs, default=x),
    lambda x, a: max(map(clipped, a)) + min({x: 1 for x in (2.0, 1.0)}) + max([2, 1]) * x,
    lambda x, a: max(["a", "bcd", "ef"], key=len).count("c") * x + ord(max("ab", key="ba".index)),
    lambda x, a: (x in range(4)) + 2.0 * (np.argmax(a) in range(3)) + (x * 2 in range(9, 0, -2)),
    lambda x, a: sum(map(clipped, a)) + sum(map(doubled, a)) + sum(map(larger, a, a[::-1])),
    lambda x, a: reduce(larger, a) + functools.reduce(max, a, x) + reduce(lambda p, q: p * q, a),
    lambda x, a: sum(itertools.accumulate(a, larger)) + sum(itertools.accumulate(a, func=max)),
    lambda x, a: sum(itertools.accumulate(a)) + sum(itertools.starmap(larger, [a[:2], a[2:]])),
    by_place, of_equal_keys, of_a_method,
])  # fmt: skip
@pytest.mark.parametrize("x", [0.5, 1.7, 2.0])
def test_as_in_python(program: Program, x: float) -> None:
    compiled = gradc.compile(program)
    assert float(compiled(x, A)) == pytest.approx(float(program(x, A)), rel=1e-14)
    if x == 1.7:
        slope = (float(program(x + 1e-6, A)) - float(program(x - 1e-6, A))) / 2e-6
        assert compiled.grad(x, A) == pytest.approx(slope, rel=1e-6, abs=1e-7)
