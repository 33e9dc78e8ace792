"""Loops, branches and calls: what they mean, how they are written, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.passes import optimize, stabilize
from gradc.ir.text import dump, equal, parse
from gradc.ir.types import I64, UNKNOWN, TensorType
from gradc.ir.verify import VerificationError, verify
from tests.ir import region_graphs as graphs
from tests.ir.derivatives import check_derivatives
from tests.ir.region_graphs import F, I, Made, region, vec
from tests.region_programs import region_program

SMOOTH = pytest.mark.parametrize("make", graphs.SMOOTH, ids=lambda f: f.__name__)


@SMOOTH
def test_text_parses_back(make: Callable[[], Made]) -> None:
    graph, _ = make()
    both = autodiff.vjp(graph, [k for k, t in enumerate(graph.input_types) if t.differentiable],
                        [k for k, t in enumerate(graph.output_types) if t.differentiable])
    for one in (graph, both):
        verify(one)
        again = parse(dump(one))
        assert equal(again, one)


@SMOOTH
def test_derivatives(make: Callable[[], Made]) -> None:
    graph, inputs = make()
    check_derivatives(graph, inputs, tol=2e-5)


@SMOOTH
def test_passes_keep_the_meaning(make: Callable[[], Made]) -> None:
    graph, inputs = make()
    wrt = [k for k, t in enumerate(graph.input_types) if t.differentiable]
    kept = [k for k, t in enumerate(graph.output_types) if t.differentiable]
    both = autodiff.vjp(graph, wrt, kept)
    seeds = [np.ones(graph.output_types[k].shape) for k in kept]
    small = optimize(both)
    for a, b in zip(run(both, [*inputs, *seeds]), run(small, [*inputs, *seeds]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_loop_is_python() -> None:
    graph, (s, xs, w) = graphs.scan()
    state, ys = run(graph, [s, xs, w])
    expected = []
    for x in xs:
        s, y = np.tanh(s * w + x), np.tanh(s * w + x) * s
        expected.append(y)
    np.testing.assert_allclose(state, s)
    np.testing.assert_allclose(ys, expected)


def test_a_while_loop_counts_its_trips_and_stops_at_its_limit() -> None:
    body = region("body", [I, F], lambda i, x: x * 2.0)
    test = region("test", [I, F], lambda i, x: x < 100.0)

    def graph(limit: int) -> Graph:
        return region("f", [F], lambda x: ops.loop(
            x.builder, body, test=test, carries=[x], limit=limit))

    assert [float(x) for x in run(graph(UNKNOWN), [1.0])] == [128.0, 7.0]
    assert [float(x) for x in run(graph(7), [1.0])] == [128.0, 7.0]
    with pytest.raises(RuntimeError, match="more than 6 times"):
        run(graph(6), [1.0])


def test_a_branch_clamps_its_index() -> None:
    parts = [region(f"b{k}", [F], lambda x, k=k: x + float(k)) for k in range(3)]  # type: ignore[misc]
    graph = region("f", [I, F], lambda k, x: ops.branch(k, parts, [x]))
    assert [float(run(graph, [k, 0.0])[0]) for k in (-5, 0, 1, 2, 9)] == [0, 0, 1, 2, 2]


def test_the_reverse_of_an_indexed_loop_keeps_nothing_it_need_not() -> None:
    """Linear sweeps in place: the loop backward has one cotangent, in place, and no residuals."""
    n = 8

    def point(j: Value, a: Value) -> Value:
        return ops.scatter_set(a, 0.5 * (ops.gather(a, j) + ops.gather(a, j + 2)), j + 1)

    body = region("point", [I, vec(n)], point)
    graph = region("f", [vec(n)], lambda a: ops.loop(
        a.builder, body, carries=[a], length=n - 2))
    adjoint = optimize(autodiff.vjp(graph, [0]))
    forward, backward = (node for node in adjoint.nodes if node.op.name == "loop")
    assert [str(t) for t in forward.type.items] == ["f64[8]"]
    assert backward.attrs["xs"] == 0
    assert [str(t) for t in backward.type.items] == ["f64[8]"]
    names = [node.op.name for node in backward.attrs["body"].nodes]
    assert "broadcast" not in names  # no zeros of the array's size
    assert names.count("scatter_set") == 1
    assert names.count("scatter_add") == 2


def test_a_nonlinear_update_keeps_the_elements_it_read() -> None:
    graph, _ = graphs.gauss_seidel()
    adjoint = optimize(autodiff.vjp(graph, [0, 1]))
    forward = next(node for node in adjoint.nodes if node.op.name == "loop")
    tapes = [t for t in forward.type.items if t.rank > 2]
    assert {t.shape for t in tapes} == {(2, 3, 3)}
    assert all(t.differentiable for t in tapes), "indices are had again from the loops"


def kept_by(graph: Graph) -> list[str]:
    """The types of what the first loop of an adjoint returns."""
    adjoint = optimize(autodiff.vjp(graph, [0]))
    return [str(t) for t in next(n for n in adjoint.nodes if n.op.name == "loop").type.items]


def test_of_an_array_that_an_inner_loop_reads_what_is_overwritten_is_kept() -> None:
    """The reversed loop carries the array too, and puts back what each write has overwritten."""
    n = 60
    inner = region("inner", [I, F, vec(n), vec(n)], lambda p, t, x, w: (
        t - ops.gather(w, p) * ops.gather(x, p)))

    def row(i: Value, x: Value, w: Value) -> Value:
        (t,) = ops.loop(i.builder, inner, carries=[ops.gather(w, i)], captures=[x, w], length=4)
        return ops.scatter_set(x, t, i)

    body = region("row", [I, vec(n), vec(n)], row)
    graph = region("f", [vec(n)], lambda w: ops.loop(
        w.builder, body, carries=[ops.full(w, (n,), 1)], captures=[w], length=n))
    assert kept_by(graph) == [f"f64[{n}]", f"f64[{n}]"]


def test_a_factorisation_keeps_what_its_writes_overwrite() -> None:
    """Not the n³ elements that its innermost loop reads."""
    graph, _ = graphs.cholesky()
    adjoint = optimize(autodiff.vjp(graph, [0]))
    forward, backward = (node for node in adjoint.nodes if node.op.name == "loop")
    assert {str(t) for t in forward.type.items} == {"f64[4,4]", "f64[4,?]"}
    assert [str(t) for t in backward.type.items].count("f64[4,4]") >= 1


def test_what_a_branch_reads_of_a_carried_array_is_kept_element_by_element() -> None:
    n = 60
    taken = region("taken", [vec(n), vec(n), I], lambda a, x, i: ops.scatter_set(
        a, ops.gather(x, i) * ops.gather(a, i - 1), i))
    other = region("other", [vec(n), vec(n), I], lambda a, x, i: a)
    body = region("body", [I, vec(n), vec(n)], lambda i, a, x: ops.branch(
        ops.bit_and(i, ops.const(i.builder, 1, I64)), [other, taken], [a, x, i]))
    graph = region("f", [vec(n)], lambda x: ops.loop(
        x.builder, body, carries=[ops.full(x, (n,), 1)], captures=[x], length=n))
    assert kept_by(graph) == [f"f64[{n}]", f"f64[{n}]"]
    text = dump(optimize(autodiff.vjp(graph, [0])))
    assert "add 0.0" not in text, "no zeros of the array's size are added to"


def test_custom_vjp_replaces_the_derivative() -> None:
    body = region("body", [F], lambda x: x * x)
    fwd = region("fwd", [F], lambda x: [x * x, x])
    bwd = region("bwd", [F, F], lambda r, ct: ct * r * 10.0)
    graph = region("f", [F], lambda x: ops.call(x.builder, body, [x], "custom_vjp", fwd, bwd))
    both = autodiff.value_and_grad(graph, [0])
    assert [float(x) for x in run(both, [3.0])] == [9.0, 30.0]
    assert [float(x) for x in run(optimize(both), [3.0])] == [9.0, 30.0]
    with pytest.raises(TypeError, match="reverse derivative only"):
        autodiff.jvp(graph, [0])


def test_a_checkpoint_is_run_again() -> None:
    segment = region("segment", [F], lambda x: ops.sin(ops.exp(x)))
    graph = region("f", [F], lambda x: ops.call(x.builder, segment, [x], "checkpoint"))
    adjoint = optimize(autodiff.value_and_grad(graph, [0]))
    assert [node.op.name for node in adjoint.nodes].count("exp") == 2


@pytest.mark.parametrize("problem", ["carry", "length", "capture"])
def test_types_that_disagree_are_refused(problem: str) -> None:
    body = region("body", [I, F, F], lambda i, s, w: s * w)
    builder = Builder()
    s, w = builder.input("s", F), builder.input("w", vec(2) if problem == "capture" else F)
    if problem == "carry":
        body = region("body", [I, F, F], lambda i, s, w: ops.broadcast(s, shape=(2,)))
    with pytest.raises(TypeError):
        ops.loop(builder, body, carries=[s], captures=[w],
                 xs=[s] if problem == "length" else [], length=3)


def test_the_verifier_looks_into_regions() -> None:
    graph, _ = graphs.scan()
    node = next(node for node in graph.nodes if node.op.name == "loop")
    body: Graph = node.attrs["body"]
    wrong = [*body.nodes[:-1], body.nodes[-1]._replace(type=TensorType(I64))]
    broken = Graph(body.name, wrong, body.inputs, body.outputs)
    nodes = list(graph.nodes)
    attrs = type(node.attrs)({**node.attrs, "body": broken})
    nodes[node.id] = node._replace(attrs=attrs)
    with pytest.raises(VerificationError):
        verify(Graph(graph.name, nodes, graph.inputs, graph.outputs))


def check_random_program(seed: int, depth: int, order: int) -> None:
    """Derivatives against differences, and what passes make of the adjoint against itself."""
    program = region_program(seed, depth)
    graph, inputs = program.graph, program.inputs
    verify(graph)
    check_derivatives(graph, inputs, order=order, tol=1e-4)
    seeds = [np.ones(t.shape) for t in graph.output_types]
    both = autodiff.vjp(graph, [0, 1, 2])
    small = optimize(stabilize(both))
    for a, b in zip(run(both, [*inputs, *seeds]), run(small, [*inputs, *seeds]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed: int) -> None:
    check_random_program(seed, 2, 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(24, 400))
def test_many_random_programs(seed: int) -> None:
    check_random_program(seed, 3, 1)
