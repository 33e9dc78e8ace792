"""What one iteration hands to the next in a register: found where it is safe, and right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gradc.codegen.kernel import Kernel
from gradc.ir import ops
from gradc.ir.graph import Graph, Value
from gradc.ir.interp import run
from gradc.ir.types import F32, I64, TensorType
from tests.ir.region_graphs import I, region, vec

N = 9
V = vec(N)
Step = Callable[[Value, Value], Value]


def number(like: Value, value: int) -> Value:
    return ops.const(like.builder, value, I64)


def program(step: Step, length: int, type_: TensorType = V, *, reverse: bool = False) -> Graph:
    """``for i: a = step(i, a)``."""
    body = region("body", [I, type_], step)
    return region("f", [type_], lambda a: ops.loop(
        a.builder, body, carries=[a], length=length, reverse=reverse))


def handed_on(graph: Graph) -> int:
    """How many values are in registers from one iteration to the next."""
    return str(Kernel(graph).program).count("# of the first iteration")


def check(graph: Graph, inputs: Sequence[object]) -> None:
    """Compiled against interpreted, to the bit."""
    for got, want in zip(Kernel(graph)([np.asarray(x) for x in inputs]),  # type: ignore[misc]
                         run(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, want)


def read(a: Value, *at: Value) -> Value:
    return ops.gather(a, *at)


def running_sum(i: Value, a: Value) -> Value:
    return ops.scatter_set(a, read(a, i) * 0.5 + read(a, i + 1), i + 1)


def running_sum_by_adding(i: Value, a: Value) -> Value:
    return ops.scatter_add(a, read(a, i) * 0.5, i + 1)


def backward(i: Value, a: Value) -> Value:
    return ops.scatter_set(a, read(a, i + 1) * 0.5 + read(a, i), i)


def two_apart(i: Value, a: Value) -> Value:
    return ops.scatter_set(a, read(a, i) * 0.5, i + 2)


def not_next(i: Value, a: Value) -> Value:
    """It reads what was never written before."""
    return ops.scatter_set(a, read(a, i + 1) * 0.5, i)


def by_index(i: Value, a: Value) -> Value:
    """What is written depends on data: nothing is known."""
    at = ops.mod(ops.convert(read(a, i) * 100.0, dtype=I64), number(a, N))
    return ops.scatter_set(a, read(a, i) + 1.0, at)


def maybe_between(i: Value, a: Value) -> Value:
    """A second write may hit what the first wrote."""
    a = ops.scatter_set(a, read(a, i) * 0.5, i + 1)
    return ops.scatter_set(a, read(a, i) + 3.0, ops.mod(i * i, number(a, N)))


def surely_apart(i: Value, a: Value) -> Value:
    """A second write never hits what the first wrote."""
    a = ops.scatter_set(a, read(a, i) * 0.5, i + 1)
    return ops.scatter_set(a, read(a, i + 2) + 3.0, i + 2)


def read_back(i: Value, a: Value) -> Value:
    """An element is read right after it was written."""
    a = ops.scatter_set(a, ops.sqrt(read(a, i)), i)
    return ops.scatter_add(a, read(a, i) * 0.25, i + 1)


def squares(i: Value, a: Value) -> Value:
    """An index that is not linear."""
    at = ops.mod(i * i, number(a, N))
    return ops.scatter_set(a, read(a, at) * 0.5 + 1.0, ops.mod(at + 1, number(a, N)))


SAFE = [
    (running_sum, N - 1, False, 1), (running_sum_by_adding, N - 1, False, 1),
    (backward, N - 1, True, 1), (two_apart, N - 2, False, 0), (not_next, N - 1, False, 0),
    (by_index, N, False, 0), (maybe_between, N - 1, False, 0), (surely_apart, N - 2, False, 1),
    (read_back, N - 1, False, 1), (squares, N, False, 0), (running_sum, N - 1, True, 0),
    (backward, N - 1, False, 0),
]


@pytest.mark.parametrize(("step", "length", "reverse", "count"), SAFE)
def test_what_is_handed_on(step: Step, length: int, reverse: bool, count: int) -> None:
    graph = program(step, length, reverse=reverse)
    check(graph, [np.random.default_rng(0).uniform(0.1, 1.0, N)])
    assert handed_on(graph) == count


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("step", [running_sum, running_sum_by_adding, read_back])
def test_few_iterations(step: Step, length: int) -> None:
    check(program(step, length), [np.random.default_rng(1).uniform(0.1, 1.0, N)])
    check(program(step, length, reverse=True), [np.random.default_rng(1).uniform(0.1, 1.0, N)])


def test_no_iteration_reads_nothing() -> None:
    check(program(running_sum, 0), [np.ones(N)])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("trips", [-2, 0, 1, 5, N - 1])
def test_a_trip_count_that_is_an_input(trips: int, reverse: bool) -> None:
    body = region("body", [I, V], running_sum)

    def f(a: Value, n: Value) -> list[Value]:
        some = ops.minimum(n, number(n, N - 1))
        return ops.loop(a.builder, body, carries=[a], trips=some, reverse=reverse)

    graph = region("f", [V, I], f)
    check(graph, [np.linspace(0.1, 1.0, N), np.int64(trips)])
    assert handed_on(graph) == (not reverse)


def test_a_loop_with_a_test() -> None:
    body = region("body", [I, V], running_sum)
    test = region("test", [I, V], lambda i, a: i < 4)
    graph = region("f", [V], lambda a: ops.loop(
        a.builder, body, carries=[a], test=test, limit=N - 1)[:1])
    check(graph, [np.linspace(0.1, 1.0, N)])
    assert handed_on(graph) == 1


def test_a_sum_in_an_element() -> None:
    """``for k in range(j): a[j] -= a[k]``: other reads may be of the element, no other write is."""
    inner = region("inner", [I, V, I], lambda k, a, j: ops.scatter_set(
        a, read(a, j) - 0.5 * read(a, k), j))
    body = region("body", [I, V], lambda j, a: ops.loop(
        a.builder, inner, carries=[a], captures=[j], trips=j))
    graph = region("f", [V], lambda a: ops.loop(a.builder, body, carries=[a], length=N))
    check(graph, [np.linspace(0.1, 1.0, N)])
    assert handed_on(graph) == 1


def test_single_precision_and_truth() -> None:
    single = TensorType(F32, (N,))

    def step(i: Value, a: Value) -> Value:
        half = ops.const(a.builder, 0.3, F32)
        return ops.scatter_set(a, read(a, i) * half + read(a, i + 1), i + 1)

    check(program(step, N - 1, single), [np.arange(N, dtype=np.float32)])
    truths = TensorType(np.dtype(bool), (N,))

    def parity(i: Value, a: Value) -> Value:
        return ops.scatter_set(a, ops.bit_xor(read(a, i), read(a, i + 1)), i + 1)

    graph = program(parity, N - 1, truths)
    check(graph, [np.arange(N) % 3 == 0])
    assert handed_on(graph) == 1


def test_a_sweep_over_a_grid_keeps_the_neighbour_and_the_cotangent() -> None:
    from gradc.ir import autodiff
    from gradc.ir.passes import optimize

    grid = vec(N, N)

    def point(j: Value, a: Value, i: Value) -> Value:
        row, col = i + 1, j + 1
        total = (read(a, row - 1, col) + read(a, row + 1, col) + read(a, row, col - 1)
                 + read(a, row, col + 1))
        return ops.scatter_set(a, 0.25 * total, row, col)

    inner = region("point", [I, grid, I], point)
    outer = region("line", [I, grid], lambda i, a: ops.loop(
        a.builder, inner, carries=[a], captures=[i], length=N - 2))
    graph = region("f", [grid], lambda a: ops.loop(a.builder, outer, carries=[a], length=N - 2))
    both = optimize(autodiff.vjp(graph, [0]))
    rng = np.random.default_rng(2)
    check(both, [rng.normal(size=(N, N)), rng.normal(size=(N, N))])
    assert handed_on(both) == 3
