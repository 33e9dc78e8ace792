"""The line of an error is the user's, where a module of Python's own asks a traced value for it."""

from __future__ import annotations

import heapq
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError


@dataclass(order=True, frozen=True)
class Point:
    x: Any


@pytest.mark.parametrize("asks", [
    lambda x: Counter(x), lambda x: heapq.nlargest(2, x), lambda x: statistics.median(x),
    lambda x: statistics.fmean(x), lambda x: Point(x[0]) == Point(x[1]),
    lambda x: Point(x[0]) < Point(x[1]), lambda x: {Point(x[0])},
])
def test_of_pythons_own_modules(asks: Callable[[Any], Any]) -> None:
    with pytest.raises(GradcError) as info:
        gradc.compile(asks)(np.arange(3.0))
    assert info.value.where is not None
    assert info.value.where.file == __file__
    assert info.value.where.line == asks.__code__.co_firstlineno
