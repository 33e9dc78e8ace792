"""Elements that loops read and write in place are carried as numbers where that changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Graph, Value
from gradc.ir.interp import run
from gradc.ir.passes import optimize
from gradc.ir.passes.promote import promote
from gradc.ir.types import I64, TensorType
from gradc.ir.verify import verify
from tests.ir.region_graphs import I, region, vec

N = 7

Index = Callable[..., Value]


def nest(
    trips: tuple[Index, Index], place: Index, reads: list[Index], op: str = "scatter_set"
) -> Graph:
    """``a[place(i, j)] = 0.5 * a[place] + 0.25 * a[read] * a[read]`` in three nested loops."""
    matrix = vec(N, N)

    def innermost(k: Value, a: Value, i: Value, j: Value) -> Value:
        at = place(i, j)
        terms = [ops.gather(a, *read(i, j, k)) for read in reads]
        new = 0.25 * terms[0] * terms[-1]
        if op == "scatter_add":
            return ops.scatter_add(a, new, *at)
        return ops.scatter_set(a, 0.5 * ops.gather(a, *at) + new, *at)

    inner = region("k", [I, matrix, I, I], innermost)

    def middle(j: Value, a: Value, i: Value) -> Any:
        return ops.loop(a.builder, inner, carries=[a], captures=[i, j], trips=trips[1](i, j))

    second = region("j", [I, matrix, I], middle)

    def outer(i: Value, a: Value) -> Any:
        return ops.loop(a.builder, second, carries=[a], captures=[i], trips=trips[0](i))

    first = region("i", [I, matrix], outer)
    return region("f", [matrix], lambda a: ops.loop(
        a.builder, first, carries=[a], length=N))


def number(like: Value, k: int) -> Value:
    return ops.const(like.builder, k, I64)


def upto(value: Value) -> Value:
    return ops.maximum(value, number(value, 0))


def carried(graph: Graph) -> list[str]:
    """What the innermost of nested loops carries."""
    loop = next(n for n in graph.nodes if n.op.name == "loop")
    if any(n.op.name == "loop" for n in loop.attrs["body"].nodes):
        return carried(loop.attrs["body"])
    return [str(t) for t in loop.type.items[: loop.attrs["carries"]]]


LOWER = (upto, lambda i, j: upto(j))  # j < i, k < j


def at_ij(i: Value, j: Value) -> tuple[Value, ...]:
    return i, j


@pytest.mark.parametrize("op", ["scatter_set", "scatter_add"])
def test_of_a_factorisation_the_innermost_loop_carries_a_number(op: str) -> None:
    graph = nest(LOWER, at_ij, [lambda i, j, k: (i, k), lambda i, j, k: (k, j)], op)
    small = promote(graph)
    verify(small)
    assert carried(small) == ["f64[]"]
    x = np.random.default_rng(0).uniform(0.5, 1, (N, N))
    np.testing.assert_array_equal(run(small, [x])[0], run(graph, [x])[0])
    ct = np.random.default_rng(1).uniform(size=(N, N))
    one, other = (run(optimize(autodiff.vjp(g, [0])), [x, ct])[-1] for g in (small, graph))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def kept(graph: Graph) -> int:
    """How many axes the tapes of an adjoint have."""
    adjoint = optimize(autodiff.vjp(graph, [0]))
    loop = next(n for n in adjoint.nodes if n.op.name == "loop")
    return max(t.rank for t in loop.type.items[1:])


def test_one_overwritten_value_of_each_element_is_kept() -> None:
    graph = nest(LOWER, at_ij, [lambda i, j, k: (i, k), lambda i, j, k: (k, j)])
    assert (kept(graph), kept(promote(graph))) == (3, 2)


@pytest.mark.parametrize("reads", [
    [lambda i, j, k: (i, k), lambda i, j, k: (j, k)],  # k <= j: the last read is of the element
    [lambda i, j, k: (i, ops.mod(k, number(k, 3)))],
    [lambda i, j, k: (i, k - 1)],  # counts from the end where k is 0
])
def test_what_may_be_the_element_itself_is_read_from_the_array(reads: list[Index]) -> None:
    trips = (upto, lambda i, j: upto(j + 1))
    graph = nest(trips, at_ij, reads)
    assert carried(promote(graph)) == [f"f64[{N},{N}]"]


def test_nothing_is_read_outside_before_a_loop_that_may_not_run() -> None:
    """An index that is not proved to be inside is not used where the loop has no iteration."""
    def beyond(i: Value, j: Value) -> tuple[Value, Value]:
        return i, j + 1
    graph = nest((lambda i: upto(i + 1), lambda i, j: upto(number(i, N - 2) - j)), beyond,
                 [lambda i, j, k: (i, k + j + 2)])
    small = promote(graph)
    assert carried(small) == [f"f64[{N},{N}]"]  # j + 1 is up to N, where no iteration is
    x = np.random.default_rng(0).uniform(0.5, 1, (N, N))
    np.testing.assert_array_equal(run(small, [x])[0], run(graph, [x])[0])


def test_a_loop_that_surely_runs_needs_no_proof() -> None:
    def one(k: Value, a: Value, at: Value) -> Value:
        return ops.scatter_set(a, ops.gather(a, at) * 0.5, at)

    body = region("one", [I, vec(N), TensorType(I64)], one)

    def f(a: Value, at: Value, length: int) -> Any:
        return ops.loop(a.builder, body, carries=[a], captures=[at], length=length)

    for length, expected in ((3, "f64[]"), (0, f"f64[{N}]")):
        graph = region("f", [vec(N), I], lambda a, at, length=length: f(a, at, length))
        small = promote(graph)
        assert carried(small) == [expected]
        x = np.arange(1.0, N + 1)
        for at in (2, -1, *([] if length else [99])):
            np.testing.assert_array_equal(run(small, [x, at])[0], run(graph, [x, at])[0])


PLACES: list[Index] = [at_ij, lambda i, j: (j, i), lambda i, j: (i, i), lambda i, j: (j, j + 1),
                       lambda i, j: (i, number(i, 2))]
READS: list[Index] = [
    lambda i, j, k: (i, k), lambda i, j, k: (k, j), lambda i, j, k: (k, k),
    lambda i, j, k: (j, k), lambda i, j, k: (i, k + 1), lambda i, j, k: (k + 1, j),
    lambda i, j, k: (i, ops.mod(k + j, number(k, N))), lambda i, j, k: (i, k - 1),
    lambda i, j, k: (i, j), lambda i, j, k: (k, i), lambda i, j, k: (number(k, 1), k),
]
TRIPS: list[tuple[Index, ...]] = [
    (lambda i: upto(i), lambda i, j: upto(j)),
    (lambda i: upto(i), lambda i, j: upto(i - 1)),
    (lambda i: upto(number(i, N - 1) - i), lambda i, j: upto(j)),
    (lambda i: number(i, N - 1), lambda i, j: upto(i)),
    (lambda i: upto(i), lambda i, j: upto(number(i, N - 1) - i)),
]


def test_random_nests_mean_the_same_to_the_bit() -> None:
    rng, changed = random.Random(0), 0
    x = np.random.default_rng(0).uniform(0.5, 1, (N, N))
    for _ in range(150):
        reads = rng.sample(READS, rng.randrange(1, 3))
        trips, place = rng.choice(TRIPS), rng.choice(PLACES)
        graph = nest(trips, place, reads, rng.choice(("scatter_set", "scatter_add")))
        small = promote(graph)
        verify(small)
        changed += carried(small) == ["f64[]"]
        np.testing.assert_array_equal(run(small, [x])[0], run(graph, [x])[0])
    assert 20 < changed < 130
