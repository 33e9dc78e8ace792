"""scan, fori_loop, while_loop, cond and switch: traced, against the same in plain Python."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, BranchError, CarryError, LoopError, ShapeError
from tests.control.helpers import count, run, same, text

X = np.array([0.5, -1.25, 2.0])


def test_fori_loop() -> None:
    same(lambda x: gradc.fori_loop(0, 5, lambda i, y: y * x + i, 1.0), 1.5)
    same(lambda x: gradc.fori_loop(2, 6, lambda i, y: y * x + i, 1.0), 1.5)
    same(lambda x: gradc.fori_loop(3, 3, lambda i, y: y * x, x), X)
    same(lambda x: gradc.fori_loop(-4, -1, lambda i, y: y + i * x, x), X)


@pytest.mark.parametrize(("lo", "hi"), [(0, 7), (-3, 2), (4, 4), (5, -2)])
def test_fori_loop_with_traced_bounds(lo: int, hi: int) -> None:
    def f(lo: int, hi: int, x: float) -> float:
        return gradc.fori_loop(lo, hi, lambda i, y: y * x + i, 1.0)

    assert run(f, np.int64(lo), np.int64(hi), 1.25) == f(lo, hi, 1.25)
    assert run(lambda hi, x: f(lo, hi, x), np.int32(hi), 1.25) == f(lo, hi, 1.25)


def test_the_index_is_a_python_int_to_promotion() -> None:
    single = X.astype(np.float32)
    got = same(lambda x: gradc.fori_loop(0, 3, lambda i, y: y + i * 0.5 * x, x), single)
    assert got.dtype == np.float32


def test_a_loop_is_one_loop_whatever_its_length() -> None:
    def f(n: int) -> str:
        shown = text(lambda x: gradc.fori_loop(0, n, lambda i, y: np.sin(y) * x, x), X)
        return " ".join(shown.replace(f"length={n}", "").split())

    assert f(10) == f(10**6)


def test_pytrees_as_carries() -> None:
    def body(i: int, state: dict) -> dict:
        return {"n": state["n"] + 1, "p": (state["p"][0] * 2, state["p"][1] + state["n"] + i)}

    same(lambda x: gradc.fori_loop(0, 4, body, {"n": 0, "p": (x, x)}), X)


def test_static_leaves_come_out_as_they_went_in() -> None:
    def body(i: int, state: tuple) -> tuple:
        y, name, function, nothing = state
        return (function(y), name, function, nothing)

    got = same(lambda x: gradc.fori_loop(0, 4, body, (x, "sine", np.sin, None))[0], X)
    assert got.shape == (3,)

    def changes(i: int, state: tuple) -> tuple:
        return (state[0], state[1] + "!")

    with pytest.raises(CarryError, match=r"`state\[1\]` changes in a loop: it is 'a' before"):
        run(lambda x: gradc.fori_loop(0, 4, changes, (x, "a")), X)


@pytest.mark.parametrize("begin", [0, 0.0, np.float64(0), np.int64(3)])
def test_python_numbers_take_the_dtype_of_what_they_meet(begin: float) -> None:
    if isinstance(begin, np.integer):
        with pytest.raises(CarryError, match="changes its type.*i64.*f64"):
            run(lambda x: gradc.fori_loop(0, 4, lambda i, s: s + x, begin), 2.5)
    else:
        same(lambda x: gradc.fori_loop(0, 4, lambda i, s: s + x, begin), np.float64(2.5))


def test_a_python_number_that_is_only_added_to_arrays_may_begin_a_sum() -> None:
    same(lambda x: gradc.fori_loop(0, 4, lambda i, s: s + x, 0), X)
    same(lambda x: gradc.fori_loop(0, 4, lambda i, s: 2 * s + x, 1), X)
    with pytest.raises(CarryError, match="changes its shape"):
        run(lambda x: gradc.fori_loop(0, 4, lambda i, s: np.sum(s) + x, 1), X)


def test_int32_stays_int32() -> None:
    got = same(lambda n: gradc.fori_loop(0, 4, lambda i, s: s + i, n), np.int32(7))
    assert got.dtype == np.int32


def test_a_carry_that_changes_names_the_line_and_the_types() -> None:
    def body(i: int, state: dict) -> dict:
        return {"a": np.concatenate([state["a"], state["a"]])}

    with pytest.raises(CarryError) as caught:
        run(lambda x: gradc.fori_loop(0, 4, body, {"a": x}), X)
    message = str(caught.value)
    assert "`state['a']` changes its shape in a loop: it is f64[3] before" in message
    assert "f64[6] after it" in message
    assert f"{__file__}:{body.__code__.co_firstlineno + 1}, in body" in message
    assert "Try: " in message


def test_a_carry_that_changes_its_structure() -> None:
    with pytest.raises(CarryError, match=r"it is \(\*, \*\) before an iteration and \(\*,\) after"):
        run(lambda x: gradc.fori_loop(0, 4, lambda i, s: s[:1], (x, x)), X)
    with pytest.raises(CarryError, match="a number or array before an iteration and None after"):
        run(lambda x: gradc.fori_loop(0, 4, lambda i, s: None, x), X)


def test_while_loop() -> None:
    same(lambda x: gradc.while_loop(lambda y: y < 100, lambda y: y * x, 1.0), 3.0)
    same(lambda x: gradc.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * x), (0, x)), X)
    same(lambda x: gradc.while_loop(lambda y: y < 0, lambda y: y * x, 1.0), 3.0)
    same(lambda x, tol: gradc.while_loop(lambda y: abs(y * y - x) > tol,
                                         lambda y: (y + x / y) / 2, x), 2.0, 1e-10)


def test_while_loop_has_a_bound() -> None:
    def f(x: float) -> float:
        return gradc.while_loop(lambda y: y < 100, lambda y: y + x, 0.0, max_trips=10)

    same(f, 20.0)
    with pytest.raises(RuntimeError, match="more than 10"):
        f(1.0)
    with pytest.raises(RuntimeError, match="more than 10"):
        run(f, 1.0)


def test_a_condition_that_writes_is_refused() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        a = x.copy()

        def cond(i: int) -> bool:
            a[0] += 1
            return i < 3

        return gradc.while_loop(cond, lambda i: i + 1, 0)

    with pytest.raises(LoopError, match="condition of a while loop writes"):
        run(f, X)


def test_a_condition_of_several_elements_is_refused() -> None:
    with pytest.raises(LoopError, match="ambiguous"):
        run(lambda x: gradc.while_loop(lambda y: y < 3, lambda y: y + 1, x), X)


@pytest.mark.parametrize(("unroll", "reverse", "n"), list(itertools.product(
    [1, 2, 3, 7, 20, True], [False, True], [1, 7, 12])))
def test_scan(unroll: int, reverse: bool, n: int) -> None:
    def f(xs: dict, c: float) -> tuple:
        def step(c: float, x: dict) -> tuple:
            return c * 0.5 + x["a"], {"sum": c + x["a"], "row": x["b"] * c, "one": 1}

        return gradc.scan(step, c, xs, reverse=reverse, unroll=unroll)

    xs = {"a": np.linspace(0.0, 1.0, n), "b": np.arange(3.0 * n).reshape(n, 3)}
    last, ys = same(f, xs, 0.25)
    assert ys["row"].shape == (n, 3)


def test_scan_without_xs_and_without_ys() -> None:
    same(lambda x: gradc.scan(lambda c, _: (c * x, c), 1.0, None, length=4), 1.5)
    same(lambda x: gradc.scan(lambda c, y: (c + y, None), 0.0, x), X)


def test_scan_over_nothing() -> None:
    last, ys = run(lambda x: gradc.scan(lambda c, y: (c + y, (c, y)), 1.5, x), np.zeros(0))
    assert last == 1.5
    assert [y.shape for y in ys] == [(0,), (0,)]


def test_scan_refuses() -> None:
    with pytest.raises(ShapeError, match="has 3 elements along its first axis, not 2"):
        gradc.scan(lambda c, x: (c, c), 0.0, (np.zeros(2), np.zeros(3)))
    with pytest.raises(ShapeError, match="no axis to go along"):
        gradc.scan(lambda c, x: (c, c), 0.0, 1.0)
    with pytest.raises(ArgumentError, match="xs or a length"):
        gradc.scan(lambda c, x: (c, c), 0.0, None)
    with pytest.raises(ArgumentError, match=r"returns \(carry, y\)"):
        run(lambda x: gradc.scan(lambda c, y: c, 0.0, x), X)


def test_cond() -> None:
    def f(x: float) -> tuple:
        return gradc.cond(x > 0, lambda y: {"a": y, "b": 1}, lambda y: {"a": -y, "b": 0.5}, x)

    for x in (1.5, -1.5):
        got = run(f, np.float64(x))
        assert got["a"] == 1.5
        assert got["b"] == (1.0 if x > 0 else 0.5)
    assert count(f, "branch", 1.0) == 1


def test_cond_writes_arrays_around_it() -> None:
    def f(x: np.ndarray) -> tuple:
        a, b = np.zeros(4), x.copy()
        v = a[1:]

        def yes() -> float:
            v[:] = x * 2
            return 1.0

        def no() -> float:
            b[0] = 7
            a[0] = b[1]
            return 2.0

        picked = gradc.cond(x[0] > 0, yes, no)
        return a, b, picked + v[0]

    same(f, X)
    same(f, -X)


def test_cond_of_what_is_known_traces_one_branch() -> None:
    assert count(lambda x: gradc.cond(True, lambda: x, lambda: 1 / 0), "branch", 1.0) == 0


@pytest.mark.parametrize("index", [-4, 0, 1, 2, 9])
def test_switch_clamps(index: int) -> None:
    def f(k: int, x: np.ndarray) -> np.ndarray:
        return gradc.switch(k, [lambda y: y, lambda y: -y, np.sin], x)

    np.testing.assert_array_equal(run(f, np.array(index), X), f(index, X))
    np.testing.assert_array_equal(run(f, np.int8(index), X), f(index, X))


def test_branches_that_differ_are_refused() -> None:
    with pytest.raises(BranchError, match=r"`result` is f64\[3\] in the branch `else`.*Python int"):
        run(lambda x: gradc.cond(x[0] > 0, lambda: 1, lambda: x), X)
    with pytest.raises(BranchError, match=r"is 'a' in the branch `else` and 'b' in `then`"):
        run(lambda x: gradc.cond(x[0] > 0, lambda: "b", lambda: "a"), X)
    with pytest.raises(BranchError, match="f64.*f32"):
        run(lambda x: gradc.cond(x[0] > 0, lambda: x.astype(np.float32), lambda: x), X)
    with pytest.raises(ArgumentError, match="a branch is a function"):
        gradc.cond(True, 1.0, lambda: 2.0)


def test_loops_nest() -> None:
    def f(x: np.ndarray) -> tuple:
        def outer(i: int, state: tuple) -> tuple:
            s, p = state

            def inner(s: float, row: np.ndarray) -> tuple:
                t = gradc.while_loop(lambda t: t < 4, lambda t: t * 2 + i * x[1] ** 2, 1.0 + row[0])
                return gradc.cond(s > 3, lambda: s - t, lambda: s + t * row[1]), t

            s, ts = gradc.scan(inner, s, x.reshape(3, 2))
            return s, p + ts.sum()

        return gradc.fori_loop(0, 4, outer, (0.0, 0.0))

    same(f, np.linspace(0.1, 1.0, 6))
    assert count(f, "loop", np.ones(6)) == 3


def test_carries_are_the_bodys_own_arrays() -> None:
    def f(x: np.ndarray) -> tuple:
        first = x * 1.0

        def body(i: int, a: np.ndarray) -> np.ndarray:
            a[1] += i * a[0]
            return a

        return gradc.fori_loop(0, 3, body, first), first

    same(f, X)
    last, first = f(X)
    assert last is not first


def test_gradients_nest_in_loops_and_loops_in_gradients() -> None:
    def f(x: float) -> float:
        def step(i: int, y: float) -> float:
            return y + gradc.grad(lambda t: t**3 * x)(y)

        return gradc.fori_loop(0, 3, step, x)

    y = x = 0.3
    for _ in range(3):
        y = y + 3 * y**2 * x
    assert run(f, 0.3) == pytest.approx(y, rel=1e-14)


def _appending(x):
    seen = []

    def body(i, s):
        seen.append(1)
        return s + x

    return gradc.fori_loop(0, 5, body, 0.0) + len(seen)


def _counting(x):
    count = 0

    def one(x):
        nonlocal count
        count = count + 1
        return x

    return gradc.cond(x > 0, one, lambda x: -x, x) + count


def _scanning(x):
    last = {}

    def step(c, y):
        last["c"] = c
        return c + y, None

    return gradc.scan(step, 0.0, x * np.ones(3))[0] + len(last)


def _until(x):
    tried = set()

    def cond(s):
        tried.add(3)
        return s < 10

    return gradc.while_loop(cond, lambda s: s * 2, x) + len(tried)


@pytest.mark.parametrize(("function", "name"), [
    (_appending, "seen"), (_counting, "count"), (_scanning, "last"), (_until, "tried"),
])  # fmt: skip
def test_bodies_that_change_what_is_around_them(function, name):
    assert np.isfinite(function(2.0))
    with pytest.raises(gradc.errors.LoopError, match=f"changes `{name}`"):
        gradc.compile(function)(2.0)
