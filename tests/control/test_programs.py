"""Whole programs: compiled against plain Python, and their derivatives against differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.control import UNDEFINED, branched, counted, repeated
from gradc.errors import OptionError
from gradc.tree import flatten
from tests.control.helpers import count, graph_of
from tests.tracer.helpers import copied

PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}


def program(*args: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(f: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS[f.__name__] = (f, args)
        return f

    return register


@program(np.array([1.0, 2.0, -0.5]), np.array([0.3, -0.2]))
def runge_kutta(y: Any, p: Any) -> Any:
    def slope(y: Any) -> Any:
        return np.stack([p[0] * (y[1] - y[0]), y[0] * (p[1] - y[2]) - y[1], y[0] * y[1] - y[2]])

    def step(i: Any, y: Any) -> Any:
        k1 = slope(y)
        k2 = slope(y + 0.05 * k1)
        return y + 0.1 * k2

    return np.sum(gradc.fori_loop(0, 20, step, y))


@program(np.linspace(-1.0, 1.0, 12), np.array([0.5, 0.25]))
def recurrence(xs: Any, w: Any) -> Any:
    def step(h: Any, x: Any) -> Any:
        h = np.tanh(w[0] * h + x)
        return h, h * w[1]

    last, hs = gradc.scan(step, 0.0, xs)
    return last + np.sum(hs * hs)


@program(np.cos(np.arange(30.0)).reshape(5, 6))
def gauss_seidel(a: Any) -> Any:
    a = a.copy()

    def row(i: Any, s: Any) -> Any:
        def column(j: Any, s: Any) -> Any:
            a[i, j] = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] * a[i, j + 1])
            return s

        return gradc.fori_loop(1, 5, column, s)

    gradc.fori_loop(0, 2, lambda k, s: gradc.fori_loop(1, 4, row, s), 0)
    return np.sum(a * a)


@program(2.5)
def newton(a: Any) -> Any:
    return gradc.while_loop(lambda y: np.abs(y * y - a) > 1e-12, lambda y: 0.5 * (y + a / y), a)


@program(np.array([0.5, -1.25, 2.0, 0.75]))
def branches(x: Any) -> Any:
    def body(i: Any, state: Any) -> Any:
        s, v = state
        s = gradc.switch(i % 3, [lambda: s * x[0], lambda: np.sin(s), lambda: s + v[1]])
        v = gradc.cond(s > 0.4, lambda: v * s, lambda: v + np.cos(s))
        return s, v

    s, v = gradc.fori_loop(0, 7, body, (1.0, x))
    return s * np.sum(v)


@program(np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]]))
def cholesky(a: Any) -> Any:
    low = np.zeros((3, 3))

    def row(i: Any, s: Any) -> Any:
        def entry(j: Any, s: Any) -> Any:
            dot = np.sum(low[i] * low[j])
            low[i, j] = (a[i, j] - dot) / low[j, j]
            return s

        gradc.fori_loop(0, i, entry, 0)
        low[i, i] = np.sqrt(a[i, i] - np.sum(low[i] * low[i]))
        return s

    gradc.fori_loop(0, 3, row, 0)
    return np.sum(np.log(np.diag(low))) + low[2, 0] * low[1, 0]


@program(np.array([0.3, -0.7, 1.1, 0.2, -0.4]))
def jacobi(x: Any) -> Any:
    def body(i: Any, state: Any) -> Any:
        a, b = state
        b[1:-1] = 0.5 * (a[:-2] * a[2:] + a[1:-1])
        a, b = b, a
        return a, b

    a, b = counted(9, body, (x.copy(), x * 1.0), ("a", "b"), forced=True)
    return np.sum(a * a) + b[2]


@program(np.array([1.5, 0.25]))
def bisection(x: Any) -> Any:
    def body(state: Any) -> Any:
        lo, hi, _ = state
        mid = 0.5 * (lo + hi)

        def up(state: Any) -> Any:
            return (mid, state[1])

        def down(state: Any) -> Any:
            return (state[0], mid)

        lo, hi = branched(mid**3 < x[0], up, down, (lo, hi), ("lo", "hi"))
        return lo, hi, mid

    lo, hi, mid = repeated(
        lambda s: s[1] - s[0] > 0.2, body, (x[1], x[0] + 1.0, UNDEFINED), ("lo", "hi", "mid"))
    return lo + hi + mid * x[1]


def loss_by_scan(w: Any, xs: Any, **options: Any) -> Any:
    def step(state: Any, x: Any) -> Any:
        state = {"h": np.tanh(w * state["h"] + x), "n": state["n"] + 1}
        return state, state["h"] ** 2

    last, ys = gradc.scan(step, {"h": np.zeros(2), "n": 0}, xs, **options)
    return np.sum(ys) + np.sum(last["h"]) * last["n"]


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled(name: str) -> None:
    f, args = PROGRAMS[name]
    wanted, _ = flatten(f(*copied(args)))
    got, _ = flatten(gradc.compile(f)(*args))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_derivatives(name: str) -> None:
    f, args = PROGRAMS[name]
    gradc.check_grads(f, args, order=2)


W, XS = np.array([0.5, -0.75]), np.sin(np.arange(22.0)).reshape(11, 2)


@pytest.mark.parametrize("options", [
    {"checkpoint": "sqrt"}, {"checkpoint": 3}, {"checkpoint": "200B"}, {"checkpoint": 40},
    {"checkpoint": "sqrt", "reverse": True}, {"checkpoint": 2, "unroll": 2}, {"unroll": 3},
], ids=str)
def test_scan_in_segments(options: dict[str, Any]) -> None:
    plain = {"reverse": options.get("reverse", False)}
    wanted = loss_by_scan(W, XS, **plain)
    assert gradc.compile(lambda w, xs: loss_by_scan(w, xs, **options))(W, XS) == pytest.approx(
        wanted, rel=1e-13)
    gradient = gradc.grad(lambda w, xs: loss_by_scan(w, xs, **options), argnums=(0, 1))
    for a, b in zip(
        gradient(W, XS),
        gradc.grad(lambda w, xs: loss_by_scan(w, xs, **plain), argnums=(0, 1))(W, XS),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_segments_are_calls() -> None:
    def calls(checkpoint: Any) -> tuple[int, list[int]]:
        def f(w: Any, xs: Any) -> Any:
            return loss_by_scan(w, xs, checkpoint=checkpoint)

        loops = [node for node in graph_of(f, W, XS).nodes if node.op.name == "loop"]
        return count(f, "call", W, XS), [node.attrs["length"] for node in loops]

    assert calls(None) == (0, [11])
    assert calls("sqrt") == (2, [3])  # of four, and one of the last three by itself
    assert calls(2) == (2, [1])
    assert calls("1GB") == (0, [11])


def test_segments_that_cannot_be() -> None:
    for wrong in ("root", 0, -1, True, "12 parsecs", 2.5):
        with pytest.raises(OptionError, match="checkpoint="):
            gradc.compile(lambda w, xs, wrong=wrong: loss_by_scan(w, xs, checkpoint=wrong))(W, XS)
    with pytest.raises(OptionError, match="keeps 192 bytes at least"):
        gradc.compile(lambda w, xs: loss_by_scan(w, xs, checkpoint="16B"))(W, XS)
