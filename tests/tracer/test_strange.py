"""What knows no traced values, and so raises an error of its own: it becomes one with the line."""

from __future__ import annotations

import decimal
import fractions
import json
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError

X = np.array([1.5, 2.0])


class Positive:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value > 0


def by_a_method(x: Any) -> Any:
    return x if Positive(x[0]) else -x


@pytest.mark.parametrize(("program", "what", "remedy"), [
    (lambda x: memoryview(x), "not 'traced value'", "outside the compiled function"),
    (lambda x: np.frombuffer(x), "not 'traced value'", "outside the compiled function"),
    (lambda x: decimal.Decimal(x[0]), "from traced value to Decimal", "outside the compiled"),
    (lambda x: statistics.mean(x), "can't convert type 'traced value'", "outside the compiled"),
    (lambda x: json.dumps([x[0]]), "not JSON serializable", "outside the compiled function"),
    (lambda x: "a" + x[0], "traced value", "outside the compiled function"),
    (by_a_method, "__bool__ should return bool", "a method of another name than __bool__"),
    (lambda x: fractions.Fraction(x[0]), "the attribute .as_integer_ratio", "outside the compiled"),
    (lambda x: x[0].is_integer(), "the attribute .is_integer", "x == np.floor(x)"),
    (lambda x: x[0].hex(), "the attribute .hex", "outside the compiled function"),
])  # fmt: skip
def test_refused(program: Callable[[Any], Any], what: str, remedy: str) -> None:
    with pytest.raises((TypeError, AttributeError)) as info:
        gradc.compile(program)(X)
    error = info.value
    assert isinstance(error, GradcError)
    assert what in error.what
    assert remedy in error.remedy
    assert error.where is not None
    first = program.__code__.co_firstlineno
    assert (error.where.file, error.where.line) == (__file__, first + (program is by_a_method))


def test_errors_of_the_program_stay_as_they_are() -> None:
    def wrong(x: Any) -> Any:
        raise TypeError(f"no vector: {x}")

    with pytest.raises(TypeError, match="^no vector: Tracer<x: f64") as info:
        gradc.compile(wrong)(X)
    assert type(info.value) is TypeError

    def deleted(x: Any) -> Any:
        del x[0]
        return x

    with pytest.raises(ValueError, match="cannot delete array elements"):
        gradc.compile(deleted)(X)
