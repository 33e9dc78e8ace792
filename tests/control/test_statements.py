"""What Python's for, while and if are rewritten to, with NumPy's aliasing of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.control import UNDEFINED, branched, counted
from gradc.control.statements import UNROLLED
from gradc.errors import CarryError, ReadOnlyError, UndefinedError
from tests.control.helpers import count, run, same

X = np.array([0.5, -1.25, 2.0, 1.0])
MANY = UNROLLED + 4


def test_counted() -> None:
    def f(x: Any) -> Any:
        return counted(MANY, lambda i, s: (s[0] + x * i,), (0,), ("s",))[0]

    same(f, 2.5)
    same(f, X)
    assert count(f, "loop", X) == 1


def test_short_loops_unroll_unless_forced() -> None:
    def f(x: float, forced: bool) -> Any:
        return counted(UNROLLED, lambda i, s: (s[0] * x,), (1,), ("s",), forced=forced)

    assert count(lambda x: f(x, False), "loop", 2.0) == 0
    assert count(lambda x: f(x, True), "loop", 2.0) == 1
    same(lambda x: f(x, True), 2.0)


def test_counted_by_a_traced_number() -> None:
    def f(x: np.ndarray, m: np.ndarray) -> Any:
        return counted(m.sum(), lambda i, s: (s[0] + x * i,), (0,), ("s",))[0]

    for m in (np.array([2, 3]), np.array([0, 0])):
        expected = np.zeros(4) + X * sum(range(m.sum()))
        np.testing.assert_allclose(run(f, X, m), expected)


def test_an_argument_that_counts_is_static_unless_the_loop_is_forced() -> None:
    def f(x: float, n: int, forced: bool) -> Any:
        return counted(n, lambda i, s: (s[0] * x,), (1,), ("s",), forced=forced)[0]

    assert count(lambda x, n: f(x, n, False), "loop", 2.0, 3) == 0
    assert count(lambda x, n: f(x, n, True), "loop", 2.0, 3) == 1
    assert run(lambda x, n: f(x, n, True), 2.0, 3) == 8.0


def test_a_variable_that_begins_in_the_loop() -> None:
    def f(x: float) -> Any:
        s, last, pair = counted(
            MANY, lambda i, s: (s[0] + x, s[0] * i, (i, x)), (0.0, UNDEFINED, UNDEFINED),
            ("s", "last", "pair"))
        return s, last, pair

    s, last, pair = run(f, 1.5)
    assert (s, last) == (1.5 * MANY, 1.5 * (MANY - 1) ** 2)
    assert (pair[0], pair[1]) == (MANY - 1, 1.5)


def test_a_variable_without_a_value_names_itself_when_used() -> None:
    def f(x: float) -> Any:
        return counted(MANY, lambda i, s: (s[0] + x,), (UNDEFINED,), ("s",))[0]

    with pytest.raises(UndefinedError, match="may have no value"):
        run(f, 1.5)
    with pytest.raises(UnboundLocalError):
        run(f, 1.5)


def swapped(x: np.ndarray, steps: Any) -> Any:
    a, b = x.copy(), x * 2

    def body(i: Any, state: Any) -> Any:
        a, b = state
        b[1:-1] = 0.5 * (a[:-2] + a[2:])
        a, b = b, a
        return a, b

    return steps(body, (a, b), ("a", "b"))


def loops(body: Any, state: Any, names: Any) -> Any:
    return counted(MANY, body, state, names)


def test_arrays_that_change_places() -> None:
    same(lambda x: swapped(x, loops), X)
    assert count(lambda x: swapped(x, loops), "loop", X) == 1


def test_other_names_of_arrays_that_change_places_are_void() -> None:
    def f(x: np.ndarray) -> Any:
        kept = []

        def steps(body: Any, state: Any, names: Any) -> Any:
            kept.append(state[0][1:])
            return counted(100_000, body, state, names)

        a, _ = swapped(x, steps)
        return a + kept[0].sum()

    with pytest.raises(ReadOnlyError, match="an array was used that a loop wrote into as `a`"):
        run(f, X)


def test_an_array_of_two_names_that_is_written_into_is_refused() -> None:
    def f(x: np.ndarray, share: Any) -> Any:
        a, b = share(x)

        def body(i: Any, state: Any) -> Any:
            a, b = state
            b[0] += a[1]
            a, b = b, a
            return a, b

        return counted(100_000, body, (a, b), ("a", "b"))

    def twice(x: np.ndarray) -> Any:
        y = x * 2
        return y, y

    with pytest.raises(CarryError, match="is at times the same array as another.*: `[ab]`"):
        run(lambda x: f(x, twice), X)

    def g(x: np.ndarray) -> Any:
        a, b = x * 2, x * 3
        c = a[1:]

        def body(i: Any, state: Any) -> Any:
            a, b = state
            b[0] += c[0]
            a, b = b, a
            return a, b

        return counted(100_000, body, (a, b), ("a", "b"))

    with pytest.raises(CarryError, match="one that the loop uses"):
        run(g, X)


def test_an_array_that_is_written_into_keeps_its_views() -> None:
    def f(x: np.ndarray) -> Any:
        a = np.zeros(4)
        tail = a[1:]

        def body(i: Any, state: Any) -> Any:
            a, s = state
            a += x * i
            tail[0] *= 0.5
            return a, s + a[1] + tail[2]

        a2, s = counted(MANY, body, (a, 0.0), ("a", "s"))
        return a, a2, tail, s

    same(f, X)


def test_arrays_around_the_loop_are_written_into() -> None:
    def f(x: np.ndarray) -> Any:
        a, b = np.zeros(4), x.reshape(2, 2).copy()
        column = b[:, 1]

        def body(i: Any, state: Any) -> Any:
            (s,) = state
            a[1:] += column[0] * x[1:]
            column[:] = column[::-1] + i
            np.add.at(a, [0, 0, 1], x[0])
            np.multiply(b, 0.5, out=b)
            return (s + a.sum(),)

        (s,) = counted(MANY, body, (0,), ("s",))
        return a, b, s

    same(f, X)


def test_nested_loops_write_into_arrays_around_them() -> None:
    def f(x: np.ndarray) -> Any:
        a, b = np.zeros((3, 4)), np.ones(4)

        def outer(i: Any, state: Any) -> Any:
            def inner(j: Any, state: Any) -> Any:
                (t,) = state
                a[1] += b * j

                def then(state: Any) -> Any:
                    b[1:] += x[1:]
                    return (state[0] + 1,)

                return branched(x[0] + t > 3, then, lambda s: (s[0] + 0.5,), (t,), ("t",))

            (t,) = counted(MANY, inner, (state[0],), ("t",))
            b[0] = t
            return (t * 0.5,)

        (t,) = counted(MANY, outer, (0.0,), ("t",))
        return a, b, t

    def by_python(x: np.ndarray) -> Any:
        a, b, t = np.zeros((3, 4)), np.ones(4), 0.0
        for _ in range(MANY):
            for j in range(MANY):
                a[1] += b * j
                if x[0] + t > 3:
                    b[1:] += x[1:]
                    t = t + 1
                else:
                    t = t + 0.5
            b[0] = t
            t = t * 0.5
        return a, b, t

    for got, wanted in zip(run(f, X), by_python(X), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-13)
    assert count(f, "loop", X) == 2


def test_arguments_are_not_written_into() -> None:
    def f(x: np.ndarray) -> Any:
        def body(i: Any, state: Any) -> Any:
            x[0] = i
            return ()

        counted(100_000, body, (), ())
        return x

    with pytest.raises(ReadOnlyError, match="the argument arg"):
        run(f, X)

    def g(x: np.ndarray) -> Any:
        def body(i: Any, state: Any) -> Any:
            (x,) = state
            x[0] = i
            return (x,)

        return counted(100_000, body, (x,), ("x",))

    with pytest.raises(ReadOnlyError, match="the argument arg"):
        run(g, X)

    def moved(x: np.ndarray) -> Any:
        def body(i: Any, state: Any) -> Any:
            a, b = state
            b[0] = i
            return b, a

        return counted(100_000, body, (x, x * 2), ("a", "b"))

    with pytest.raises(ReadOnlyError, match="the argument arg"):
        run(moved, X)


def test_a_view_that_comes_out_of_a_loop_stays_a_view_or_is_refused() -> None:
    def f(x: np.ndarray, use: Any) -> Any:
        a = x * 2.0
        (v,) = counted(MANY, lambda i, s: (a[1:],), (UNDEFINED,), ("v",))
        return use(a, v)

    def reads(a: Any, v: Any) -> Any:
        return a + v[0]

    def writes(a: Any, v: Any) -> Any:
        v[0] = 1.0
        return a

    def reads_late(a: Any, v: Any) -> Any:
        a[1] = 5.0
        return a + v[0]

    same(lambda x: reads(x * 2, x[1:] * 2), X)
    np.testing.assert_allclose(run(lambda x: f(x, reads), X), X * 2 + X[1] * 2)
    with pytest.raises(ReadOnlyError, match="may be another name for an array"):
        run(lambda x: f(x, writes), X)
    with pytest.raises(ReadOnlyError, match="used after an array that it may be a view of"):
        run(lambda x: f(x, reads_late), X)


def test_a_variable_may_be_assigned_anew_though_its_old_array_was_written_to() -> None:
    def f(x: np.ndarray) -> Any:
        a = x * 2.0
        v: Any = UNDEFINED
        s = 0.0
        for k in range(2):
            def body(i: Any, state: Any, k: int = k) -> Any:
                return a[1:] * (k + 1) if k else a[1:], state[1] + a[2]

            v, s = counted(MANY, body, (v, s), ("v", "s"))
            a[2] = 7.0
        return s

    assert run(f, X) == pytest.approx(MANY * 4.0 + MANY * 7.0)
