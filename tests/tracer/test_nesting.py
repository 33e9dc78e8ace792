"""Traces inside traces: captures, statics of the outer one, leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.errors import LeakedTracerError, ReadOnlyError, TracerError
from gradc.trace import inline
from gradc.tracer import Tracer
from tests.tracer.helpers import interpreted, trace_of


def inner_call(function: Any, *args: Any) -> list[Tracer]:
    """Trace a function inside a trace and inline it, as a transform does."""
    inner = trace_of(function, *(a.type for a in args))
    return inline(inner.graph, [*args, *inner.captures])


def test_an_outer_value_is_captured() -> None:
    def f(x: Any, y: Any) -> Any:
        z = y * 2
        (out,) = inner_call(lambda a: a * z + z, x)
        return out

    check_nested = interpreted(f, np.arange(3.0), np.ones(3))
    np.testing.assert_array_equal(check_nested, np.arange(3.0) * 2 + 2)


def test_captures_are_inputs_after_the_arguments() -> None:
    seen = []

    def f(x: Any, y: Any) -> Any:
        inner = trace_of(lambda a: a * y + y * x, x.type)
        seen.append(inner)
        return inline(inner.graph, [x, *inner.captures])

    got = interpreted(f, np.arange(3.0), np.full(3, 2.0))[0]
    np.testing.assert_array_equal(got, np.arange(3.0) * 4)
    (inner,) = seen
    names = [inner.graph.nodes[i].attrs["name"] for i in inner.graph.inputs]
    assert names == ["x0", "captured0", "captured1"]
    assert len(inner.captures) == 2


def test_two_levels_of_captures() -> None:
    def f(x: Any) -> Any:
        def middle(a: Any) -> Any:
            return inner_call(lambda b: b * x + a, a * 2)[0]

        return inner_call(middle, x + 1)[0]

    x = np.arange(3.0)
    np.testing.assert_array_equal(interpreted(f, x), 2 * (x + 1) * x + x + 1)


def test_a_captured_array_as_it_was() -> None:
    def f(x: Any) -> Any:
        a = x.copy()
        first = inner_call(lambda b: b + a, x)[0]
        a[0] = 100.0
        second = inner_call(lambda b: b + a[:2].sum(), x)[0]
        return first, second

    x = np.arange(3.0)
    first, second = interpreted(f, x)
    np.testing.assert_array_equal(first, x + x)
    np.testing.assert_array_equal(second, x + 101)


def test_constants_of_the_outer_trace_are_constants_of_the_inner() -> None:
    def f(x: Any) -> Any:
        grid, n = np.arange(3.0), np.array(2)
        inner = trace_of(lambda a: sum(a * grid for _ in range(n)), x.type)
        assert not inner.captures
        return inline(inner.graph, [x])

    np.testing.assert_array_equal(interpreted(f, np.ones(3))[0], 2 * np.arange(3.0))


@pytest.mark.parametrize("make", [lambda x: x.copy(), lambda x: np.zeros(3)])
def test_a_captured_array_is_not_written(make: Any) -> None:
    def f(x: Any) -> Any:
        a = make(x)

        def inner(b: Any) -> Any:
            a[0] = b[0]
            return b

        inner_call(inner, x)
        return a

    with pytest.raises(ReadOnlyError, match="from outside the function that is being traced"):
        interpreted(f, np.ones(3))


def test_a_captured_int_asks_the_outer_trace() -> None:
    def f(x: Any, n: int) -> Any:
        return inner_call(lambda a: sum((a * k for k in range(n)), 0 * a), x)[0]

    np.testing.assert_array_equal(interpreted(f, np.ones(3), 3), [3.0, 3.0, 3.0])


def test_a_captured_flag_asks_the_outer_trace() -> None:
    def f(x: Any, flag: bool) -> Any:
        return inner_call(lambda a: a if flag else -a, x)[0]

    np.testing.assert_array_equal(interpreted(f, np.ones(3), False), [-1.0, -1.0, -1.0])


def test_leaks() -> None:
    kept: list[Any] = []

    def f(x: Any) -> Any:
        kept.append(x * 2)
        return x

    interpreted(f, np.ones(3))
    for use in (lambda: kept[0] + 1, lambda: np.sin(kept[0]), lambda: kept[0][0],
                lambda: interpreted(lambda x: x + kept[0], np.ones(3)), lambda: kept[0].value):
        with pytest.raises(LeakedTracerError, match="outside the trace that it belongs to"):
            use()
    with pytest.raises(TracerError):
        np.asarray(kept[0])


def test_an_inner_value_does_not_leak_into_the_outer_trace() -> None:
    def f(x: Any) -> Any:
        kept: list[Any] = []
        inner_call(lambda a: kept.append(a * 2) or a, x)
        return kept[0] + 1

    with pytest.raises(LeakedTracerError):
        interpreted(f, np.ones(3))
