"""What Python's for, while and if are rewritten to, with NumPy's aliasing of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.control import UNDEFINED, Range, branched, counted, repeated
from gradc.control.statements import UNROLLED
from gradc.errors import BranchError, CarryError, LoopError, ReadOnlyError, UndefinedError
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


def test_repeated() -> None:
    def f(x: float) -> Any:
        return repeated(lambda s: s[1] < 100, lambda s: (s[0] + 1, s[1] * x), (0, x), ("n", "y"))

    same(f, 3.0)
    assert count(f, "loop", 3.0) == 1


def test_what_is_known_while_tracing_is_done_in_python() -> None:
    def f(x: float) -> Any:
        (k,) = repeated(lambda s: s[0] < 100, lambda s: (s[0] * 2,), (1,), ("k",))
        (m,) = counted(MANY, lambda i, s: (s[0] + i,), (0,), ("m",))
        return np.zeros((k, m)) + x

    assert run(f, 1.0).shape == (128, sum(range(MANY)))


def test_halving_unrolls_as_shapes_depend_on_it() -> None:
    def f(x: np.ndarray) -> Any:
        def body(s: Any) -> Any:
            x, n = s
            return x[: n // 2] + x[n // 2 : n], n // 2

        return repeated(lambda s: s[1] > 1, body, (x, 16), ("x", "n"))[0]

    same(f, np.arange(16.0))


def test_a_while_that_never_ends_while_tracing() -> None:
    def f(x: float) -> Any:
        return repeated(lambda s: True, lambda s: (s[0] + x,), (0,), ("s",))

    with pytest.raises(LoopError, match="known while tracing"):
        run(f, 1.0)


def test_lists_unroll_or_are_refused() -> None:
    def f(x: np.ndarray, n: Any) -> Any:
        rows: list[Any] = []

        def body(i: Any, state: Any) -> Any:
            rows.append(x * i)
            return ()

        counted(n, body, (), ())
        return np.stack(rows)

    same(lambda x: f(x, MANY), X)
    with pytest.raises(LoopError, match="`rows` holds a list, dict or set that a loop changes"):
        run(lambda x: f(x, 10**6), X)
    with pytest.raises(LoopError, match="`rows` holds a list, dict or set that a loop changes"):
        run(lambda x, m: f(x, m.sum()), X, np.array([1, 2]))


def test_elements_of_lists_by_the_index_unroll() -> None:
    def f(x: np.ndarray) -> Any:
        layers = [x * k for k in range(MANY)]
        return counted(MANY, lambda i, s: (s[0] + layers[i],), (0,), ("s",))

    same(f, X)


def test_branched() -> None:
    def f(x: np.ndarray) -> Any:
        y, z = branched(x[0] > 0, lambda s: (s[0] + 1, x), lambda s: (s[0] * 2, -x), (0.5, 0),
                        ("y", "z"))
        return y, z

    for x in (X, -X):
        y, z = run(f, x)
        assert y == (1.5 if x[0] > 0 else 1.0)
        np.testing.assert_array_equal(z, X)


def test_a_variable_of_one_branch_only_may_not_be_used() -> None:
    def f(x: np.ndarray, use: Any) -> Any:
        (t,) = branched(x[0] > 0, lambda s: (x,), lambda s: s, (UNDEFINED,), ("t",))
        return use(t)

    assert count(lambda x: f(x, lambda t: x), "assigned", X) == 0
    for use in (lambda t: t + 1, lambda t: 1 + t, np.sin, lambda t: t[0], lambda t: t.sum()):
        np.testing.assert_array_equal(run(lambda x, use=use: f(x, use), X), use(X))
        with pytest.raises(UnboundLocalError, match="`t` has no value: the branch"):
            run(lambda x, use=use: f(x, use), -X)


def test_what_is_no_number_in_one_branch_only_may_not_be_used() -> None:
    def f(x: np.ndarray) -> Any:
        (t,) = branched(x[0] > 0, lambda s: ("no number",), lambda s: s, (UNDEFINED,), ("t",))
        return x if t == 1 else -x

    with pytest.raises(UndefinedError, match="`t` has a value in some branches only"):
        run(f, X)


def test_what_no_branch_touches_is_still_the_same_array() -> None:
    def f(x: np.ndarray) -> Any:
        a = x * 2
        same_a, s = branched(x[0] > 0, lambda s: (s[0], 1), lambda s: (s[0], 2), (a, 0), ("a", "s"))
        same_a[0] = 5.0
        return a, s

    a, s = run(f, X)
    assert (a[0], s) == (5.0, 1)


def test_branches_that_differ() -> None:
    with pytest.raises(BranchError, match="`y` is a number or array in the branch `else` and None"):
        run(lambda x: branched(x > 0, lambda s: (None,), lambda s: (x,), (0,), ("y",)), 1.0)
    with pytest.raises(BranchError, match=r"f64\[4\].*f64\[3\]"):
        run(lambda x: branched(x[0] > 0, lambda s: (x[1:],), lambda s: (x,), (0,), ("y",)), X)


def test_range() -> None:
    assert list(gradc.range(5)) == list(range(5))
    assert list(gradc.range(np.int64(9), 2, -3)) == list(range(9, 2, -3))
    assert len(gradc.range(2, 9, 3)) == gradc.range(2, 9, 3).trips == 3
    with pytest.raises(TypeError):
        gradc.range(2.5)
    with pytest.raises(ValueError):
        gradc.range(1, 2, 0)
    for lo, hi, step in [(0, 7, 2), (9, 2, -3), (3, 3, 1), (5, 1, 2), (-4, 5, 4)]:
        trips = run(lambda a: Range(a[0], a[1], a[2]).trips, np.array([lo, hi, step]))
        assert trips == len(range(lo, hi, step))
    with pytest.raises(LoopError, match="traced bound"):
        run(lambda a: list(gradc.range(a[0])), np.array([1]))


def test_a_branch_folded_away_leaves_the_one_in_it_its_operands() -> None:
    def f(x: float, y: float, q: float) -> Any:
        def inner(_: Any) -> Any:
            return branched(q < 0.3, lambda _: (np.sin(y),), lambda _: (x,), (0.0,), ("s",))

        return branched(q < q, lambda _: (1.0,), inner, (0.0,), ("s",))[0]

    same(f, 0.1, 5.0, 0.2)
    same(f, 0.1, 5.0, 0.8)
    assert gradc.compile(f)(0.1, 5.0, 0.2) == pytest.approx(np.sin(5.0))
