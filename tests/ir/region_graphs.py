"""Graphs with loops and branches for tests: each with inputs on which it is smooth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import F64, I64, TensorType

F, I = TensorType(F64), TensorType(I64)  # noqa: E741
Made = tuple[Graph, list[Any]]


def vec(*shape: int) -> TensorType:
    """A float64 array."""
    return TensorType(F64, shape)


def region(
    name: str, types: Sequence[TensorType], make: Callable[..., Sequence[Value] | Value]
) -> Graph:
    """The closed graph of a function of values."""
    builder = Builder(name)
    out = make(*(builder.input(f"{name}{k}", t) for k, t in enumerate(types)))
    return builder.build([out] if isinstance(out, Value) else list(out))


def draw(*shapes: tuple[int, ...]) -> list[Any]:
    """Arrays of numbers in 0.3..1.2."""
    rng = np.random.default_rng(3)
    return [rng.uniform(0.3, 1.2, s) for s in shapes]


def scan() -> Made:
    """A scan with a carry, xs, ys and a capture."""
    body = region("body", [I, F, F, F], lambda i, s, x, w: (t := ops.tanh(s * w + x), t * s))

    def f(s: Value, xs: Value, w: Value) -> list[Value]:
        return ops.loop(s.builder, body, carries=[s], xs=[xs], captures=[w], length=5)

    return region("f", [F, vec(5), F], f), draw((), (5,), ())


def backward_scan() -> Made:
    """A scan from the end, over rows, of a vector state."""
    body = region(
        "body", [I, vec(3), vec(3), vec(3)],
        lambda i, s, x, w: (s * x + ops.sin(w * s), ops.exp(x)))

    def f(s: Value, xs: Value, w: Value) -> list[Value]:
        return ops.loop(
            s.builder, body, carries=[s], xs=[xs], captures=[w], length=4, reverse=True)

    return region("f", [vec(3), vec(4, 3), vec(3)], f), draw((3,), (4, 3), (3,))


def gauss_seidel() -> Made:
    """Sweeps in place over a grid, with a factor that makes them nonlinear."""
    n = 5

    def point(j: Value, a: Value, i: Value, c: Value) -> Value:
        row, col = i + 1, j + 1
        around = (ops.gather(a, row - 1, col) + ops.gather(a, row + 1, col)
                  + ops.gather(a, row, col - 1) + ops.gather(a, row, col + 1))
        return ops.scatter_set(a, around * c * ops.gather(a, row, col), row, col)

    inner = region("point", [I, vec(n, n), I, F], point)

    def line(i: Value, a: Value, c: Value) -> list[Value]:
        return ops.loop(a.builder, inner, carries=[a], captures=[i, c], length=n - 2)

    outer = region("line", [I, vec(n, n), F], line)
    sweep = region("sweep", [I, vec(n, n), F], lambda i, a, c: ops.loop(
        a.builder, outer, carries=[a], captures=[c], length=n - 2))
    return region("f", [vec(n, n), F], lambda a, c: ops.loop(
        a.builder, sweep, carries=[a], captures=[c], length=2)), draw((n, n), ())


def dynamic_trips() -> Made:
    """A trip count that is an input."""
    body = region("body", [I, F, F], lambda i, s, w: ops.sin(s * w) + s)

    def f(n: Value, s: Value, w: Value) -> list[Value]:
        return ops.loop(s.builder, body, carries=[s], captures=[w], trips=n)

    return region("f", [I, F, F], f), [np.int64(6), *draw((), ())]


def while_() -> Made:
    """Newton's iteration for a root, to convergence."""
    body = region("step", [I, F, F], lambda i, x, a: (x + a / x) * 0.5)
    test = region("test", [I, F, F], lambda i, x, a: ops.abs_(x * x - a) > 1e-3)
    return region("f", [F, F], lambda x, a: ops.loop(
        x.builder, body, test=test, carries=[x], captures=[a])), [np.float64(3.0), np.float64(2.0)]


def branches() -> Made:
    """A loop whose iterations branch, one of the branches unused by some inputs."""
    even = region("even", [F, F], lambda s, w: ops.sin(s) * w)
    odd = region("odd", [F, F], lambda s, w: s * s + w)
    other = region("other", [F, F], lambda s, w: s * 0.5)
    body = region("body", [I, F, F], lambda i, s, w: ops.branch(
        ops.mod(i, ops.const(i.builder, 3, I64)), [even, odd, other], [s, w]))
    return region("f", [F, F], lambda s, w: ops.loop(
        s.builder, body, carries=[s], captures=[w], length=7)), draw((), ())


def triangular() -> Made:
    """Forward substitution: the inner trip count is the outer index."""
    n = 5

    def add(j: Value, s: Value, l: Value, x: Value, i: Value) -> Value:  # noqa: E741
        return s - ops.sin(ops.gather(l, i, j)) * ops.gather(x, j)

    inner = region("add", [I, F, vec(n, n), vec(n), I], add)

    def row(i: Value, x: Value, l: Value, b: Value) -> Value:  # noqa: E741
        (s,) = ops.loop(i.builder, inner, carries=[b], captures=[l, x, i], trips=i)
        return ops.scatter_set(x, s / ops.gather(l, i, i), i)

    outer = region("row", [I, vec(n), vec(n, n), F], row)

    def f(l: Value, b: Value) -> list[Value]:  # noqa: E741
        from_zero = ops.full(b, (n,), 0)
        return ops.loop(l.builder, outer, carries=[from_zero], xs=[], captures=[l, b], length=n)

    return region("f", [vec(n, n), F], f), draw((n, n), ())


def ragged_tapes() -> Made:
    """An inner loop of growing length, nonlinear in its carry: tapes of rows of all lengths."""
    inner = region("inner", [I, F, F], lambda j, s, w: ops.sin(s * w) + s)

    def outer(i: Value, s: Value, w: Value) -> list[Value]:
        return ops.loop(i.builder, inner, carries=[s], captures=[w], trips=i)

    body = region("outer", [I, F, F], outer)
    return region("f", [F, F], lambda s, w: ops.loop(
        s.builder, body, carries=[s], captures=[w], length=4)), draw((), ())


def nested_while() -> Made:
    """A while loop in a while loop."""
    grow = region("grow", [I, F, F], lambda i, x, w: x * w + ops.sin(x))
    small = region("small", [I, F, F], lambda i, x, w: x < 4.0)

    def outer(i: Value, x: Value, t: Value, w: Value) -> list[Value]:
        y, _ = ops.loop(x.builder, grow, test=small, carries=[x], captures=[w])
        return [ops.log(y) * 0.5, t + y * x]

    body = region("outer", [I, F, F, F], outer)
    test = region("test", [I, F, F, F], lambda i, x, t, w: i < 3)
    return region("f", [F, F], lambda x, w: ops.loop(
        x.builder, body, test=test, carries=[x, ops.full_like(x, 0)], captures=[w],
    )), [np.float64(0.7), np.float64(1.3)]


def branch_with_loop() -> Made:
    """A loop over a branch that holds a loop of unknown length."""
    grow = region("grow", [I, F, F], lambda i, x, w: x * w + ops.sin(x))
    small = region("small", [I, F, F], lambda i, x, w: x < 3.0)

    def long(x: Value, w: Value) -> list[Value]:
        return ops.loop(x.builder, grow, test=small, carries=[x], captures=[w])[:1]

    taken = region("long", [F, F], long)
    short = region("short", [F, F], lambda x, w: ops.sqrt(x) * w)
    body = region("body", [I, F, F], lambda i, x, w: ops.branch(
        ops.mod(i, ops.const(i.builder, 2, I64)), [taken, short], [x, w]))
    return region("f", [F, F], lambda x, w: ops.loop(
        x.builder, body, carries=[x], captures=[w], length=4,
    )), [np.float64(0.7), np.float64(1.3)]


def cholesky() -> Made:
    """A triangular factor, in place: inner loops and branches read what outer loops write."""
    n = 4
    square = vec(n, n)
    inner = region("inner", [I, F, square, I, I], lambda k, s, low, i, j: (
        s - ops.gather(low, i, k) * ops.gather(low, j, k)))
    root = region("root", [square, F, I, I], lambda low, s, i, j: (
        ops.scatter_set(low, ops.sqrt(s), i, j)))
    quotient = region("quotient", [square, F, I, I], lambda low, s, i, j: (
        ops.scatter_set(low, s / ops.gather(low, j, j), i, j)))

    def element(j: Value, low: Value, a: Value, i: Value) -> list[Value]:
        (s,) = ops.loop(
            i.builder, inner, carries=[ops.gather(a, i, j)], captures=[low, i, j], trips=j)
        equal = ops.convert(ops.eq(i, j), dtype=I64)
        return ops.branch(equal, [quotient, root], [low, s, i, j])

    line = region("element", [I, square, square, I], element)
    outer = region("line", [I, square, square], lambda i, low, a: ops.loop(
        i.builder, line, carries=[low], captures=[a, i], trips=i + 1))

    def f(a: Value) -> list[Value]:
        return ops.loop(
            a.builder, outer, carries=[ops.full(a, (n, n), 0)], captures=[a], length=n)

    return region("f", [square], f), [draw((n, n))[0] * 0.2 + np.eye(n) * 2]


def captured_array() -> Made:
    """Indexed reads of a captured array, rows of a carried one, a carry that starts from it."""
    def step(i: Value, a: Value, s: Value, x: Value) -> list[Value]:
        row = ops.gather(a, i)
        new = ops.sin(row) * ops.broadcast(ops.gather(x, i, i), shape=(3,))
        return [ops.scatter_set(a, new, i), s + ops.sum_(row * row, axes=(0,)), new]

    body = region("step", [I, vec(4, 3), F, vec(4, 3)], step)

    def f(x: Value) -> list[Value]:
        return ops.loop(
            x.builder, body, carries=[x, ops.full(x, (), 0)], captures=[x], length=3)

    return region("f", [vec(4, 3)], f), draw((4, 3))


def checkpoint() -> Made:
    """A checkpoint inside a loop."""
    segment = region("segment", [F, F], lambda s, w: ops.sin(ops.exp(s * w)))
    body = region("body", [I, F, F], lambda i, s, w: ops.call(
        s.builder, segment, [s, w], "checkpoint"))
    return region("f", [F, F], lambda s, w: ops.loop(
        s.builder, body, carries=[s], captures=[w], length=3)), draw((), ())


def custom_jvp() -> Made:
    """A function with a forward derivative of its own (the true one)."""
    body = region("cube", [F, F], lambda x, y: x * x * x * y)
    rule = region("rule", [F, F, F, F], lambda x, y, dx, dy: [
        x * x * x * y, 3.0 * x * x * y * dx + x * x * x * dy])
    return region("f", [F, F], lambda x, y: ops.call(
        x.builder, body, [ops.sin(x), y], "custom_jvp", rule)), draw((), ())


SMOOTH = (
    scan, backward_scan, gauss_seidel, dynamic_trips, while_, branches, triangular, ragged_tapes,
    nested_while, branch_with_loop, captured_array, cholesky, checkpoint, custom_jvp,
)
