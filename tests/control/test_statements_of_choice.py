"""What rewritten `while` and `if` statements call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.control import UNDEFINED, Range, branched, counted, repeated
from gradc.control.statements import UNROLLED
from gradc.errors import BranchError, LoopError, UndefinedError
from tests.control.helpers import count, run, same

X = np.array([0.5, -1.25, 2.0, 1.0])
MANY = UNROLLED + 4


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


def test_iterations_that_are_known_before_one_that_is_left() -> None:
    def found(x: np.ndarray) -> Any:
        i = 0
        for i in gradc.range(20):
            if i % 3 == 0:
                continue
            if x[i] > 0.53:
                break
        return i * x[i]

    def written(x: np.ndarray) -> Any:
        x = x.copy()
        for i in range(20):
            if i < 2:
                continue
            x[i] += x[i - 1]
            if x[i] > 4.01:
                break
        return np.sum(x * x)

    def never(x: np.ndarray) -> Any:
        s = 1.0
        for i in gradc.range(20):
            if i % 4 < 3:
                continue
            s *= x[i]
            if s < -1:
                break
        else:
            s += 1.0
        return s

    x = np.arange(1.0, 21.0) / 16
    for f in (found, written, never):
        value, slope = gradc.compile(f).value_and_grad(x)
        np.testing.assert_allclose(value, f(x), rtol=1e-14)
        differences = [(f(x + step) - f(x - step)) / 2e-6 for step in 1e-6 * np.eye(20)]
        np.testing.assert_allclose(slope, differences, atol=1e-7)


SINGLE, WHOLE = np.array([0.1, 2.5], np.float32), np.array([3, -4])


def expression(x: np.ndarray, y: np.ndarray) -> Any:
    return np.sum(x if x[0] > 0 else y) * 2


def statement(x: np.ndarray, y: np.ndarray) -> Any:
    s = y
    if x[0] > 0:
        s = x * 2
    return np.sum(s)


def early(x: np.ndarray, y: np.ndarray) -> Any:
    if x[0] > 0:
        return np.sum(y)
    return np.sum(x)


def anded(x: np.ndarray, y: np.ndarray) -> Any:
    return (x[0] > 0 and y[0]) + (x[0] or y[1])


def truths(x: np.ndarray, y: np.ndarray) -> Any:
    return (True if x[0] > 0 else 3) * x[1] + (x[0] < 0 if x[1] > 0 else y[0])


@pytest.mark.parametrize("f", [expression, statement, early, anded, truths])
@pytest.mark.parametrize("y", [SINGLE, WHOLE])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sides_of_two_dtypes(f: Any, y: np.ndarray, sign: float) -> None:
    x = sign * np.array([0.5, 1.5])
    found, slope = gradc.compile(f).value_and_grad(x, y)
    np.testing.assert_allclose(found, f(x, y), rtol=1e-7)
    assert found.dtype == np.result_type(x, y)
    differences = [(f(x + step, y) - f(x - step, y)) / 2e-6 for step in 1e-6 * np.eye(2)]
    np.testing.assert_allclose(slope, differences, atol=1e-8)


def test_sides_of_which_neither_holds_the_other() -> None:
    small, x = np.array([1, 2], np.int32), np.array([0.5, 1.5])
    for a, b in ((SINGLE, small), (WHOLE, WHOLE.astype(np.uint64)), (small, SINGLE)):
        for truth in (1.0, -1.0):
            found = gradc.compile(lambda x, a, b: a if x > 0 else b)(truth, a, b)
            np.testing.assert_array_equal(found, a if truth > 0 else b)
            assert found.dtype == np.where(True, a, b).dtype
    with pytest.raises(gradc.errors.BranchError, match="f32"):  # functions ask for one dtype
        gradc.compile(lambda x, y: gradc.cond(x[0] > 0, lambda: y, lambda: x))(x, SINGLE)
    with pytest.raises(gradc.errors.BranchError, match="the conditional expression"):
        gradc.compile(lambda x, y: x if x[0] > 0 else y[0])(x, SINGLE)
