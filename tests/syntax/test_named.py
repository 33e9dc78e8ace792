"""What asks a traced value for its truth, number or hash is named, wherever it stands."""

from __future__ import annotations

import bisect
import heapq
import itertools
import operator
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError

X = np.array([1.5, 0.5, 2.5])


@dataclass
class Box:
    value: Any

    @property
    def positive(self) -> Any:
        return self.value if self.value > 0 else -self.value  # property


def generator_if(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        for v in x:
            if v > 1:  # !
                yield v

    return sum(parts())


def generator_while(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        v = x[0]
        while v < 10:  # !
            yield v
            v = v * 2

    return sum(parts())


def generator_ternary(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        for v in x:
            yield v if v > 1 else -v  # !

    return sum(parts())


def generator_not(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        yield 1.0 if not x[0] else x[1]  # !

    return sum(parts())


def generator_and(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        yield x[0] and x[1]  # !

    return sum(parts())


def generator_chain(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        yield 0 < x[0] < 2  # !

    return sum(parts())


def generator_assert(x: Any) -> Any:
    def parts() -> Iterator[Any]:
        assert x[0] and x[1]  # !
        yield x

    return sum(parts())


def case_in_a_tuple(x: Any) -> Any:
    match (x[0], 1):
        case (1.5, 1):  # !
            return x
        case _:
            return -x


def case_in_a_class(x: Any) -> Any:
    match Box(x[0]):
        case Box(value=1.5):  # !
            return x
        case _:
            return -x


def case_in_a_dict(x: Any) -> Any:
    match {"k": x[0]}:
        case {"k": 0.5 | 1.5}:  # !
            return x
        case _:
            return -x


def case_with_a_guard(x: Any) -> Any:
    match (x[0], 1):
        case (p, 1) if p > 1:  # !
            return p
        case _:
            return -x


REFUSED: list[tuple[Callable[[Any], Any], str, str]] = [
    (generator_if, "truth of a traced value was asked for by `if`", "it is a generator"),
    (generator_while, "truth of a traced value was asked for by `while`", "it is a generator"),
    (generator_ternary, "asked for by a conditional expression", "it is a generator"),
    (generator_not, "truth of a traced value was asked for by ", "it is a generator"),
    (generator_and, "asked for by `and`", "it is a generator"),
    (generator_chain, "asked for by a chain of comparisons", "it is a generator"),
    (generator_assert, "asked for by `", "it is a generator"),
    (case_in_a_tuple, "asked for by `case [1.5, 1]`", "compare in an `if`"),
    (case_in_a_class, "asked for by `case Box(value=1.5)`", "compare in an `if`"),
    (case_in_a_dict, "asked for by `case {'k': 0.5 | 1.5}`", "compare in an `if`"),
    (case_with_a_guard, "asked for by the `if` of a `case`", "np.where"),
    (lambda x: Box(x[0]).positive, "asked for by a conditional expression", "nothing that gradc"),
    (lambda x: sorted(x, key=lambda v: -v), "`sorted", "np.sort"),
    (lambda x: sorted([(x[0], 1), (x[1], 2)]), "asked for by `sorted`", "np.sort"),
    (lambda x: sorted([1, 2], key=lambda k: x[k]), "`sorted(key=...)` of traced", "np.argsort"),
    (lambda x: list(x).sort(key=abs), "asked for by `list(x).sort(key=...)`", "np.argsort"),
    (lambda x: max("ab", key=lambda c: x[ord(c) - 97]), "`max(key=...)` of what are", "np.argmax"),
    (lambda x: list(x).sort(), "asked for by `list(x).sort`", "np.sort"),
    (lambda x: max([(x[0], 1), (x[1], 2)]), "asked for by `max`", "np.max"),
    (lambda x: sum(itertools.takewhile(lambda v: v < 2, x)), "by `itertools.takewhile`", "if"),
    (lambda x: [1.0, 1.5].index(x[0]), "asked for by `[1.0, 1.5].index`", "np.argmax"),
    (lambda x: [1.0, 1.5].count(x[0]), "asked for by `[1.0, 1.5].count`", "np.sum"),
    (lambda x: bisect.bisect([1.0, 2.0], x[0]), "by `bisect.bisect`", "np.searchsorted"),
    (lambda x: heapq.heapify(list(x)), "asked for by `heapq.heapify`", "np.sort"),
    (lambda x: operator.truth(x[0]), "asked for by `operator.truth`", "np.where"),
    (lambda x: (x[0], 1) == (1.5, 1), "truth of a traced value was asked for by `==`", "elements"),
    (lambda x: (x[0], 1) < (1.5, 1), "truth of a traced value was asked for by `<`", "elements"),
    (lambda x: x[0] in {1.5, 2.0}, "hash of a traced value was asked for by `in`", "tuple"),
    (lambda x: {x[0]: 1}, "hash of a traced value was asked for by a key of a dict", "a key"),
    (lambda x: {x[0], x[1]}, "hash of a traced value was asked for by a set", "a key"),
    (lambda x: Counter(x), "hash of a traced value was asked for by `Counter`", "a key"),
    (lambda x: int(x[0]), "int() of a traced value was asked for by `int`", "astype(int)"),
    (lambda x: np.ndim([x, x]), "plain NumPy array by `np.ndim`", "np.zeros"),
    (lambda x: np.vectorize(lambda v: v * 2)(x), "by `np.vectorize`", "np.array([f(v)"),
    (lambda x: np.fromiter(x, float), "float() of a traced value was asked for by `np.f", "np.arr"),
]


@pytest.mark.parametrize(("program", "what", "remedy"), REFUSED)
def test_named(program: Callable[[Any], Any], what: str, remedy: str) -> None:
    with pytest.raises(GradcError) as info:
        gradc.compile(program)(X)
    assert what in info.value.what
    assert remedy in info.value.remedy
    first = program.__code__.co_firstlineno
    lines = Path(__file__).read_text().splitlines()
    mark, start = ("# !", first - 1) if program.__name__ != "<lambda>" else ("", first - 1)
    if "positive" in lines[start]:
        mark, start = "# property", 0
    line = next(k for k in range(start, len(lines)) if lines[k].endswith(mark)) + 1
    assert info.value.where is not None
    assert (info.value.where.file, info.value.where.line) == (__file__, line)


def test_not_and_in_alone_are_rewritten() -> None:
    def f(x: Any) -> Any:
        return (not (x > 1)) * 2 + (x in (0.5, 2.0)) * 3

    for x in (0.5, 1.5):
        assert gradc.compile(f)(x) == f(x)
