"""What the bodies of loops keep for their reverse: as little as is cheap to go on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Graph, Value
from gradc.ir.passes import optimize
from tests.ir.derivatives import check_derivatives
from tests.ir.region_graphs import F, I, draw, region, vec

N = 6


def scan(step: Callable[..., Any], carries: int = 1, trips: int = 5) -> Graph:
    """Vectors that a loop carries, and one that it captures."""
    body = region("step", [I, *[vec(N)] * (carries + 1)], lambda i, *v: step(*v))
    return region("f", [vec(N)] * (carries + 1), lambda *v: ops.loop(
        v[0].builder, body, carries=v[:carries], captures=v[carries:], length=trips))


def kept(graph: Graph) -> list[str]:
    """The types that the first loop of an adjoint keeps of an iteration."""
    adjoint = optimize(autodiff.vjp(graph, range(len(graph.inputs))))
    loop = next(n for n in adjoint.nodes if n.op.name == "loop")
    return sorted(str(t) for t in loop.attrs["body"].output_types[loop.attrs["carries"]:])


def chain(h: Value, w: Value) -> Value:
    u = h
    for _ in range(8):
        u = u - 0.1 * u * u * w
    return u


def leapfrog(q: Value, p: Value, w: Value) -> list[Value]:
    r = ops.sqrt(q * q + w * w)
    p = p - 0.1 * q / (r * r * r)
    return [q + 0.1 * p, p]


def rectified(h: Value, w: Value) -> Value:
    return h + 0.1 * ops.maximum(h * w - 1.0, ops.full(h, (N,), 0.0)) / (h * h + 1.0)


def remembered(c: Value, h: Value, w: Value) -> list[Value]:
    """As a cell of an LSTM: gates between zero and one, of a sum that is costly to have again."""
    z = ops.reshape(ops.matmul(
        ops.reshape(h, shape=(1, N)), ops.broadcast(ops.reshape(w, shape=(N, 1)), shape=(N, N)),
        ta=False, tb=False), shape=(N,))
    c = ops.sigmoid(z) * c + ops.sigmoid(z + 1.0) * ops.tanh(z + w)
    return [c, ops.sigmoid(z - 1.0) * ops.tanh(c)]


V = f"f64[{N}]"


@pytest.mark.parametrize(("graph", "expected"), [
    (scan(chain), [V]),  # the state, of which the rest is had
    (scan(leapfrog, 2), [V, V, V]),  # the place, the distance, and a quotient of both
    (scan(rectified), [V, V]),  # and a quotient
])
def test_a_body_keeps_its_state_and_what_is_costly(graph: Graph, expected: list[str]) -> None:
    assert kept(graph) == expected
    check_derivatives(graph, draw(*[t.shape for t in graph.input_types]))


def test_a_value_of_the_adjoint_alone_is_computed_in_either_part() -> None:
    """The slope of the last tanh takes the new state: of what is kept, and not kept itself."""
    graph = scan(remembered, 2)
    assert len(kept(graph)) == 11
    check_derivatives(graph, draw(*[t.shape for t in graph.input_types]))


def test_an_array_that_is_read_for_nothing_nonlinear_is_not_carried_backward() -> None:
    """What its writes overwrite is kept only if that is less than what is needed of its reads."""
    inner = region("inner", [I, F, vec(N)], lambda k, s, a: s + 0.5 * ops.gather(a, k))

    def row(i: Value, a: Value, w: Value) -> Value:
        (s,) = ops.loop(i.builder, inner, carries=[ops.gather(w, i)], captures=[a], length=N)
        return ops.scatter_set(a, s, i)

    body = region("row", [I, vec(N), vec(N)], row)
    graph = region("f", [vec(N), vec(N)], lambda a, w: ops.loop(
        a.builder, body, carries=[a], captures=[w], length=N))
    assert kept(graph) == []
    check_derivatives(graph, draw((N,), (N,)))


@pytest.mark.parametrize("trips", [3, -1])
def test_what_no_iteration_changes_is_kept_once(trips: int) -> None:
    """As a column of Q against the columns that follow, in Gram and Schmidt's method."""
    inner = region("inner", [I, vec(N), vec(N)], lambda k, t, q: ops.sin(t) * q)

    def row(i: Value, q: Value) -> Value:
        count = {"length": trips} if trips > 0 else {"trips": i}
        (t,) = ops.loop(i.builder, inner, carries=[q * q], captures=[q], **count)
        return ops.tanh(t + q)

    body = region("row", [I, vec(N)], row)
    graph = region("f", [vec(N)], lambda q: ops.loop(q.builder, body, carries=[q], length=N))
    length = "?" if trips < 0 else trips
    # of the outer iteration its state and a slope; of an inner one its own two
    assert kept(graph) == sorted([*[f"f64[{length},{N}]"] * 2, V, V])
    check_derivatives(graph, draw((N,)))
