"""Tapes: what loops keep for others when only running tells how much, against the interpreter."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from gradc.codegen.kernel import Kernel
from gradc.ir import ops, tapes
from gradc.ir.graph import Graph, Value
from gradc.ir.types import BOOL, F32, UNKNOWN, TensorType
from tests.codegen.regions import INDEX, agree, f64, graph, number

RNG = np.random.default_rng(0)
TAPE = f64(UNKNOWN)


def real(i: Value) -> Value:
    return ops.convert(i, dtype=np.dtype(float))


def there_and_back(rows: int) -> Graph:
    """A loop that keeps all that it carries, and one that reads it from the last on."""
    flags, single = TensorType(BOOL), TensorType(F32, (3,))

    def there(i: Value, x: Value, a: Value) -> Any:
        new = ops.tanh(a * ops.broadcast(x, shape=(rows,)))
        kept = ops.convert(ops.slice_(a, starts=(0,), sizes=(3,), steps=(1,)), dtype=F32)
        return x * 0.9 + real(i), new, x, a, x > 1, kept

    def back(i: Value, s: Value, b: Value, x: Value, a: Value, p: Value, c: Value) -> Any:
        sums = ops.sum_(a * a, axes=(0,)) + ops.sum_(ops.convert(c, dtype=s.dtype), axes=(0,))
        return s + ops.where(p, x, -x) * sums, b * 0.5 + a

    first = graph([INDEX, f64(), f64(rows)], there)
    second = graph([INDEX, f64(), f64(rows), f64(), f64(rows), flags, single], back)

    def main(n: Value, x: Value, a: Value) -> Any:
        last, end, *kept = ops.loop(n.builder, first, carries=[x, a], trips=n)
        return last, end, *ops.loop(
            n.builder, second, carries=[number(x, 0), a], xs=kept, trips=n, reverse=True)

    return graph([INDEX, f64(), f64(rows)], main)


@pytest.mark.parametrize("trips", [-1, 0, 1, 2, 100, 3000])
def test_trips_known_on_entry(trips: int) -> None:
    agree(there_and_back(7), [trips, 0.7, RNG.normal(size=7)])


@pytest.mark.parametrize("start", [0.5, 1.5, 1e5, 1e300])
def test_a_loop_with_a_test_backwards(start: float) -> None:
    test = graph([INDEX, f64(), f64(20)], lambda i, x, a: x > 1)
    first = graph([INDEX, f64(), f64(20)], lambda i, x, a: (
        x * 0.99, ops.cos(a) + ops.broadcast(x * 1e-3, shape=(20,)), x, a))
    second = graph([INDEX, f64(), f64(20), f64(), f64(20)], lambda i, s, b, x, a: (
        s * 0.5 + x * real(i), b - a * 1e-3))

    def main(x: Value, a: Value) -> Any:
        last, end, count, *kept = ops.loop(x.builder, first, carries=[x, a], test=test)
        return last, end, count, ops.extent(kept[0]), *ops.loop(
            x.builder, second, carries=[x, a], xs=kept, trips=count, reverse=True)

    agree(graph([f64(), f64(20)], main), [start, RNG.normal(size=20)])


def ragged(length: int = UNKNOWN) -> Graph:
    """Inner loops of as many iterations as the outer index, their tapes on a tape."""
    inner = graph([INDEX, f64(), f64()], lambda j, x, y: (ops.sin(x) + y, x))
    turned = graph([INDEX, f64(), f64()], lambda j, s, x: s * 0.7 + x * real(j))

    def row(i: Value, x: Value, y: Value) -> Any:
        return ops.loop(i.builder, inner, carries=[x], captures=[y], trips=i * 3)

    def back(i: Value, s: Value, kept: Value) -> Any:
        (out,) = ops.loop(i.builder, turned, carries=[s], xs=[kept], trips=i * 3, reverse=True)
        return out, ops.convert(ops.extent(kept), dtype=s.dtype)

    first = graph([INDEX, f64(), f64()], row)
    second = graph([INDEX, f64(), TAPE], back)

    def main(n: Value, x: Value, y: Value) -> Any:
        how = {"trips": n} if length == UNKNOWN else {"length": length}
        x, kept = ops.loop(n.builder, first, carries=[x], captures=[y], **how)
        start = number(x, 0)
        out, extents = ops.loop(
            n.builder, second, carries=[start], xs=[kept], reverse=True, **how)
        total = graph([INDEX, f64(), f64()], lambda i, s, e: s + e)
        return x, out, *ops.loop(n.builder, total, carries=[start], xs=[extents], **how)

    return graph([INDEX, f64(), f64()], main)


@pytest.mark.parametrize("trips", [0, 1, 2, 7, 150])
def test_ragged(trips: int) -> None:
    agree(ragged(), [trips, 0.4, 0.1])


def test_ragged_of_static_length() -> None:
    agree(ragged(9), [3, 0.4, 0.1])


def newton(limit: int = UNKNOWN) -> Graph:
    """A loop with a test in another one, backwards through both."""
    moves = graph([INDEX, f64()], lambda i, x: x > 0.5)
    move = graph([INDEX, f64()], lambda i, x: (x * 0.8 - 0.01, x * x))
    goes = graph([INDEX, f64(), f64()], lambda i, y, z: y > z)

    def round_(i: Value, y: Value, z: Value) -> Any:
        x, count, kept = ops.loop(i.builder, move, carries=[y], test=moves)
        return y - 1 + x * 0.1, kept, count

    body = graph([INDEX, f64(), f64()], round_)
    add = graph([INDEX, f64(), f64()], lambda i, s, x: s * 0.9 + x)

    def back(i: Value, s: Value, kept: Value, count: Value) -> Any:
        return ops.loop(i.builder, add, carries=[s], xs=[kept], trips=count, reverse=True)

    undo = graph([INDEX, f64(), TAPE, INDEX], back)

    def main(y: Value, z: Value) -> Any:
        y, count, kept, counts = ops.loop(
            y.builder, body, carries=[y], captures=[z], test=goes, limit=limit)
        return y, count, *ops.loop(
            y.builder, undo, carries=[number(y, 0)], xs=[kept, counts], trips=count,
            reverse=True)

    return graph([f64(), f64()], main)


def test_loops_with_tests_in_each_other() -> None:
    agree(newton(), [0.3, 0.4])
    agree(newton(), [300.0, 0.3])


def test_tapes_through_branches_and_carries() -> None:
    body = graph([INDEX, f64()], lambda i, x: (x * 0.5, x))
    make = [
        graph([f64(), INDEX], lambda x, n: ops.loop(x.builder, body, carries=[x], trips=n)[1]),
        graph([f64(), INDEX], lambda x, n: tapes.zeros_of(x.builder, TAPE)),
    ]
    read = graph([INDEX, f64(), f64()], lambda i, s, x: s + x)

    def step(i: Value, x: Value, kept: Value) -> Any:
        (total,) = ops.loop(
            i.builder, read, carries=[x], xs=[kept], trips=ops.extent(kept))
        return total, *ops.branch(ops.mod(i, number(i, 2)), make, [total, i])

    loop = graph([INDEX, f64(), TAPE], step)

    def main(x: Value, n: Value) -> Any:
        (kept,) = ops.branch(n, make, [x, n])
        total, last = ops.loop(x.builder, loop, carries=[x, kept], trips=n)
        both = tapes.added(last, tapes.zeros_like(last))
        (more,) = ops.loop(x.builder, read, carries=[total], xs=[both], trips=ops.extent(both))
        return more

    made = graph([f64(), INDEX], main)
    for n in (-1, 0, 1, 2, 9, 10):
        agree(made, [0.3, n])


def taken(kernel: Kernel, inputs: list[Any]) -> tuple[int, int]:
    """Bytes that a call leaves taken, and those it had taken at most."""
    given = [np.array(x, t.dtype) for x, t in zip(inputs, kernel.graph.input_types, strict=True)]
    kernel(given)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kernel(given)
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, most - before


def test_memory_is_given_back() -> None:
    left, most = taken(Kernel(there_and_back(1000)), [500, 0.7, RNG.normal(size=1000)])
    assert left < 10_000
    rows = 500 * (8 + 8 * 1000 + 1 + 12)
    assert rows < most < 1.05 * rows + 100_000


def test_memory_is_given_back_after_a_failure() -> None:
    kernel = Kernel(newton(40))
    left, most = taken(kernel, [30.0, 0.3])
    assert left < 10_000
    with pytest.raises(RuntimeError):
        kernel([np.array(300.0), np.array(0.3)])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(RuntimeError):
            kernel([np.array(300.0), np.array(0.3)])
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()


def test_what_stays_in_an_iteration_is_given_back_with_it() -> None:
    keep = graph([INDEX, f64(100)], lambda j, a: (ops.sin(a), a))
    back = graph([INDEX, f64(100), f64(100)], lambda j, s, a: s * 0.5 + a * 0.1)

    def step(i: Value, a: Value, n: Value) -> Any:
        end, kept = ops.loop(i.builder, keep, carries=[a], trips=n)
        return ops.loop(i.builder, back, carries=[end], xs=[kept], trips=n, reverse=True)

    body = graph([INDEX, f64(100), INDEX], step)
    made = graph([f64(100), INDEX, INDEX], lambda a, n, m: ops.loop(
        a.builder, body, carries=[a], captures=[n], trips=m))
    kernel = agree(made, [RNG.normal(size=100), 50, 20])
    left, most = taken(kernel, [RNG.normal(size=100), 50, 1000])
    assert left < 10_000
    assert most < 250_000  # an iteration takes 40 kB


def test_growing_takes_no_more_than_twice() -> None:
    test = graph([INDEX, f64(50), INDEX], lambda i, a, n: i < n)
    keep = graph([INDEX, f64(50), INDEX], lambda i, a, n: (ops.sin(a), a))
    back = graph([INDEX, f64(50), f64(50)], lambda i, s, a: s * 0.9 + a)

    def main(a: Value, n: Value) -> Any:
        end, count, kept = ops.loop(a.builder, keep, carries=[a], captures=[n], test=test)
        return ops.loop(a.builder, back, carries=[end], xs=[kept], trips=count, reverse=True)

    kernel = agree(graph([f64(50), INDEX], main), [RNG.normal(size=50), 300])
    left, most = taken(kernel, [RNG.normal(size=50), 20_000])
    assert left < 10_000
    assert 8_000_000 < most < 16_500_000


@pytest.mark.parametrize("trips", [1 << 45, 1 << 62])
def test_too_much_is_an_error(trips: int) -> None:
    kernel = Kernel(there_and_back(1000))
    with pytest.raises(MemoryError, match=r"\d+ MiB that a loop keeps"):
        kernel([np.array(trips), np.array(0.7), np.ones(1000)])
    assert [n.op.name for n in kernel.program.checked] == ["loop", "loop"]


def test_too_large_an_arena_is_an_error_before_it_runs() -> None:
    rows = 1 << 40
    keep = graph([INDEX, f64(100)], lambda i, a: (ops.sin(a), a))
    back = graph([INDEX, f64(100), f64(100)], lambda i, s, a: s + a)

    def main(a: Value) -> Any:
        end, kept = ops.loop(a.builder, keep, carries=[a], length=rows)
        return ops.loop(a.builder, back, carries=[end], xs=[kept], length=rows, reverse=True)

    with pytest.raises(MemoryError, match=r"838860\d{3} MiB that a call needs"):
        Kernel(graph([f64(100)], main)).program  # noqa: B018
