"""Rules on shapes, regions and products: each fires on its case, and gives the same elements."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.ops import REGISTRY
from gradc.ir.passes import RULES, Rewriter, optimize
from gradc.ir.passes.accurate import ACCURATE
from gradc.ir.types import BOOL, F32, F64, I64, TensorType
from gradc.ir.verify import verify
from tests.sampling import Array

Case = Callable[..., Value]
X = ((3, 4),)

#: rule -> shapes of the inputs, and expressions in which it fires
CASES: dict[str, list[tuple[tuple[tuple[int, ...], ...], Case]]] = {
    "same_shape": [
        (X, lambda x: ops.broadcast(x, shape=(3, 4))), (X, lambda x: ops.reshape(x, shape=(3, 4)))],
    "broadcast_broadcast": [
        (((4,),), lambda x: ops.broadcast(ops.broadcast(x, shape=(3, 4)), shape=(2, 3, 4))),
        (((3, 1),), lambda x: ops.broadcast(ops.broadcast(x, shape=(3, 4)), shape=(2, 3, 4)))],
    "broadcast_number": [
        (((70, 70),), lambda x: x * ops.broadcast(ops.full(x, (1,), 3), shape=(70, 70)))],
    "broadcast_reshape": [
        (((4,),), lambda x: ops.broadcast(ops.reshape(x, shape=(1, 4)), shape=(3, 4))),
        (((1, 4),), lambda x: ops.broadcast(ops.reshape(x, shape=(4,)), shape=(3, 4)))],
    "broadcast_of_one_element": [
        (((4,),), lambda x: ops.broadcast(x, shape=(1, 1, 4))),
        (((),), lambda x: ops.broadcast(x, shape=(1,)))],
    "reshape_broadcast": [
        (((4,),), lambda x: ops.reshape(ops.broadcast(x, shape=(3, 4)), shape=(3, 1, 4))),
        (((3, 1),), lambda x: ops.reshape(ops.broadcast(x, shape=(3, 4)), shape=(1, 3, 1, 4))),
        (((1, 3, 1),), lambda x: ops.reshape(ops.broadcast(x, shape=(1, 3, 4)), shape=(3, 4))),
        (((),), lambda x: ops.reshape(ops.broadcast(x, shape=(3, 4)), shape=(12,)))],
    "reshape_reshape": [
        (X, lambda x: ops.reshape(ops.reshape(x, shape=(12,)), shape=(2, 6)))],
    "transpose_identity": [(X, lambda x: ops.transpose(x, perm=(0, 1)))],
    "transpose_transpose": [
        (((2, 3, 4),), lambda x: ops.transpose(ops.transpose(x, perm=(1, 2, 0)), perm=(0, 2, 1))),
        (X, lambda x: ops.transpose(ops.transpose(x, perm=(1, 0)), perm=(1, 0)))],
    "transpose_of_ones": [
        (((1, 4),), lambda x: ops.transpose(x, perm=(1, 0))),
        (((2, 1, 3, 1),), lambda x: ops.transpose(x, perm=(1, 0, 3, 2)))],
    "transpose_broadcast": [
        (((4,),), lambda x: ops.transpose(ops.broadcast(x, shape=(3, 4)), perm=(1, 0))),
        (((2, 1, 4),), lambda x: ops.transpose(ops.broadcast(x, shape=(2, 3, 4)), perm=(2, 0, 1)))],
    "convert_same": [(X, lambda x: ops.convert(x, dtype=F64))],
    "convert_convert": [
        (X, lambda x: ops.convert(ops.convert(x > 0, dtype=I64), dtype=F32)),
        (X, lambda x: ops.convert(ops.convert(ops.convert(x, dtype=F32), dtype=F64), dtype=F32))],
    "reduce_nothing": [
        (X, lambda x: ops.sum_(x, axes=())), (((3, 1),), lambda x: ops.max_(x, axes=(1,))),
        (((1, 3),), lambda x: ops.prod(x, axes=(0,)))],
    "reduce_reduce": [
        (((2, 3, 4),), lambda x: ops.max_(ops.max_(x, axes=(1,)), axes=(0,))),
        (((2, 3, 4),), lambda x: ops.sum_(ops.sum_(x, axes=(0,)), axes=(1,))),
        (((2, 3, 4),), lambda x: ops.any_(ops.any_(x > 0, axes=(2,)), axes=(1,)))],
    "reduce_broadcast": [
        (((4,),), lambda x: ops.sum_(ops.broadcast(x, shape=(3, 4)), axes=(1,))),
        (((3, 1),), lambda x: ops.prod(ops.broadcast(x, shape=(3, 4)), axes=(0,)))],
    "idempotent_reduce_broadcast": [
        (((4,),), lambda x: ops.max_(ops.broadcast(x, shape=(3, 4)), axes=(0,))),
        (((3, 1),), lambda x: ops.min_(ops.broadcast(x, shape=(2, 3, 4)), axes=(0, 2)))],
    "reduce_transpose": [
        (X, lambda x: ops.sum_(ops.transpose(x, perm=(1, 0)), axes=(0,))),
        (((2, 3, 4),), lambda x: ops.max_(ops.transpose(x, perm=(2, 0, 1)), axes=(0, 2)))],
    "reduce_reshape": [
        (((2, 6),), lambda x: ops.sum_(ops.reshape(x, shape=(3, 4)), axes=(0, 1))),
        (((3, 4),), lambda x: ops.sum_(ops.reshape(x, shape=(3, 1, 4)), axes=(2,))),
        (((3, 4),), lambda x: ops.max_(ops.reshape(x, shape=(1, 3, 4)), axes=(0, 1)))],
    "scan_of_one": [
        (((3, 1),), lambda x: ops.cumsum(x, axis=1, reverse=True)),
        (((1, 3),), lambda x: ops.cumprod(x, axis=0, reverse=False))],
    "quotient_of_truth": [
        (((3, 4), (3, 1)), lambda x, y: ops.convert(x > 0.5, dtype=F64) / ops.broadcast(
            y, shape=(3, 4))),
        (((3, 4), ()), lambda x, y: ops.convert(x > 0.5, dtype=F64) / ops.broadcast(
            y, shape=(3, 4)))],
    "elementwise_of_broadcasts": [
        (((), ()), lambda x, y: ops.broadcast(x, shape=(3, 4)) * ops.broadcast(y, shape=(3, 4))),
        (((3, 1), ()), lambda x, y: ops.broadcast(x, shape=(3, 4)) / ops.broadcast(
            y, shape=(3, 4))),
        (((2, 1, 1), (3, 1)), lambda x, y: ops.broadcast(x, shape=(2, 3, 4)) - ops.broadcast(
            y, shape=(2, 3, 4))),
        (((4,),), lambda x: ops.convert(ops.broadcast(x, shape=(3, 4)), dtype=F32)),
        (((4,),), lambda x: ops.where(*(ops.broadcast(v, shape=(3, 4)) for v in (x > 0, x, -x))))],
    "slice_whole": [(X, lambda x: ops.slice_(x, starts=(0, 0), sizes=(3, 4), steps=(1, 1)))],
    "slice_of_one": [(X, lambda x: ops.slice_(x, starts=(2, 1), sizes=(1, 2), steps=(-1, 2)))],
    "slice_slice": [
        (((9,),), lambda x: ops.slice_(
            ops.slice_(x, starts=(8,), sizes=(5,), steps=(-2,)), starts=(1,), sizes=(2,),
            steps=(2,)))],
    "slice_broadcast": [
        (((4,),), lambda x: ops.slice_(ops.broadcast(x, shape=(5, 4)), starts=(4, 3), sizes=(2, 2),
                                       steps=(-3, -2)))],
    "slice_update": [
        (((6,), (2,)), lambda x, u: ops.slice_(
            ops.update_slice(x, u, starts=(1,), steps=(2,)), starts=(1,), sizes=(2,), steps=(2,))),
        (((6,), (2,)), lambda x, u: ops.slice_(
            ops.update_slice(x, u, starts=(1,), steps=(2,)), starts=(0,), sizes=(3,), steps=(2,))),
        (((6,), (2,)), lambda x, u: ops.slice_(
            ops.update_slice(x, u, starts=(0,), steps=(1,)), starts=(5,), sizes=(4,),
            steps=(-1,)))],
    "slice_embed": [
        (((2,),), lambda x: ops.slice_(ops.embed(x, shape=(6,), starts=(3,), steps=(-2,)),
                                       starts=(3,), sizes=(2,), steps=(-2,))),
        (((2,),), lambda x: ops.slice_(ops.embed(x, shape=(6,), starts=(3,), steps=(-2,)),
                                       starts=(4,), sizes=(2,), steps=(1,)))],
    "slice_concat": [
        (((2, 3), (2, 4)), lambda x, y: ops.slice_(ops.concat(x, y, axis=1), starts=(0, 4),
                                                   sizes=(2, 2), steps=(1, 2))),
        (((3,), (4,)), lambda x, y: ops.slice_(ops.concat(x, y, axis=0), starts=(2,), sizes=(3,),
                                               steps=(-1,)))],
    "embed_whole": [(X, lambda x: ops.embed(x, shape=(3, 4), starts=(0, 0), steps=(1, 1)))],
    "embed_zero": [
        (((70, 70),), lambda x: x + ops.embed(ops.full(x, (2, 3), 0), shape=(70, 70),
                                              starts=(1, 1), steps=(1, 1)))],
    "update_whole": [
        (((3,), (3,)), lambda x, u: ops.update_slice(x, u, starts=(0,), steps=(1,)))],
    "update_nothing": [
        (((3,), (0,)), lambda x, u: ops.update_slice(x, u, starts=(0,), steps=(1,)))],
    "update_update": [
        (((5,), (2,), (2,)), lambda x, u, v: ops.update_slice(
            ops.update_slice(x, u, starts=(1,), steps=(2,)), v, starts=(1,), steps=(2,)))],
    "update_same": [
        (((5,),), lambda x: ops.update_slice(x, ops.slice_(x, starts=(4,), sizes=(2,), steps=(-1,)),
                                             starts=(4,), steps=(-1,))),
        (((70, 70),), lambda x: x + ops.update_slice(
            ops.full(x, (70, 70), 2), ops.full(x, (1, 2), 2), starts=(1, 1), steps=(1, 1)))],
    "update_zeros": [
        (((2,),), lambda u: ops.update_slice(ops.full(u, (5,), 0), u, starts=(3,), steps=(-2,)))],
    "concat_one": [
        (X, lambda x: ops.concat(x, axis=1)),
        (((2, 3), (2, 0), (2, 1)), lambda x, y, z: ops.concat(x, y, z, axis=1))],
    "gather_constant": [
        (((5, 3),), lambda x: ops.gather(x, ops.const(x.builder, [1, 3]))),
        (((5, 3),), lambda x: ops.gather(x, ops.const(x.builder, [-1, -2, -3]))),
        (((5, 3),), lambda x: ops.gather(x, ops.const(x.builder, -2))),
        (((5, 3),), lambda x: ops.gather(x, ops.const(x.builder, 2), ops.const(x.builder, -1))),
        (((5, 3),), lambda x: ops.gather(x, ops.const(x.builder, [[0, 1], [2, 3]])))],
    "gather_of_copies": [
        (((5, 3), (5, 1)), lambda x, y: ops.gather(
            x - ops.broadcast(y, shape=(5, 3)), ops.const(x.builder, [4, 0, 3]),
            ops.const(x.builder, [1, -1, 0]))),
        (((5, 3), (3,)), lambda x, y: ops.gather(
            ops.broadcast(y, shape=(5, 3)) / x, ops.const(x.builder, [4, 0, 3]))),
        (((5, 3), ()), lambda x, y: ops.gather(
            x * ops.broadcast(y, shape=(5, 3)), ops.const(x.builder, [[4, 0], [3, 3]])))],
    "gather_written": [
        (((5, 3), (3,), ()), lambda x, u, y: ops.gather(
            ops.scatter_set(x, u, ops.convert(y > 0, dtype=I64)), ops.convert(y > 0, dtype=I64))),
        (((5, 3), (), ()), lambda x, u, y: ops.gather(
            ops.scatter_set(x, u, *[ops.convert(y > 0, dtype=I64)] * 2),
            *[ops.convert(y > 0, dtype=I64)] * 2))],
    "scatter_set_constant": [
        (((5, 2), (2, 2)), lambda x, u: ops.scatter_set(x, u, ops.const(x.builder, [3, 1]))),
        (((5, 2), (2,)), lambda x, u: ops.scatter_set(x, u, ops.const(x.builder, -1)))],
    "scatter_add_constant": [
        (((5, 2), (2, 2)), lambda x, u: ops.scatter_add(x, u, ops.const(x.builder, [3, 1])))],
    "add_scattered": [
        (((5, 2), (3, 2)), lambda x, u: x + ops.scatter_add(
            ops.full_like(x, 0), u, ops.const(x.builder, [3, 1, 3]))),
        (((5,), ()), lambda x, u: ops.scatter_add(
            ops.full_like(x, 0), u, ops.const(x.builder, 2)) + x)],
    "matmul_nothing": [
        (((70, 0), (0, 70)), lambda x, y: ops.matmul(x, y, ta=False, tb=False))],
    "matmul_transpose": [
        (((4, 3), (4, 2)), lambda x, y: ops.matmul(
            ops.transpose(x, perm=(1, 0)), y, ta=False, tb=False)),
        (((4, 3), (4, 2)), lambda x, y: ops.matmul(
            x, ops.transpose(y, perm=(1, 0)), ta=True, tb=True)),
        (((2, 4, 3), (2, 2, 4)), lambda x, y: ops.matmul(
            ops.transpose(x, perm=(0, 2, 1)), ops.transpose(y, perm=(0, 2, 1)), ta=False,
            tb=False)),
        (((1, 4), (1, 2)), lambda x, y: ops.matmul(
            ops.reshape(x, shape=(4, 1)), y, ta=False, tb=False))],
    "transpose_matmul": [
        (((3, 4), (4, 2)), lambda x, y: ops.transpose(
            ops.matmul(x, y, ta=False, tb=False), perm=(1, 0))),
        (((2, 4, 3), (2, 4, 5)), lambda x, y: ops.transpose(
            ops.matmul(x, y, ta=True, tb=False), perm=(0, 2, 1)))],
    "matmul_batch_of_one": [
        (((5, 3, 4), (4, 2)), lambda x, y: ops.matmul(
            x, ops.broadcast(y, shape=(5, 4, 2)), ta=False, tb=False)),
        (((5, 3, 4), (1, 2, 4)), lambda x, y: ops.matmul(
            x, ops.broadcast(y, shape=(5, 2, 4)), ta=False, tb=True))],
}
#: rules that change the order in which a sum is taken, but not its terms
REORDERED = {"add_scattered", "reduce_reduce", "reduce_transpose", "reduce_reshape",
             "reduce_broadcast", "matmul_transpose", "transpose_matmul", "matmul_batch_of_one"}
FLAT = [pytest.param(name, shapes, f, id=f"{name}-{k}")
        for name, cases in CASES.items() for k, (shapes, f) in enumerate(cases)]


def trace(f: Case, shapes: tuple[tuple[int, ...], ...]) -> Graph:
    builder = Builder("case")
    inputs = [builder.input(f"x{k}", TensorType(F64, s)) for k, s in enumerate(shapes)]
    return builder.build([f(*inputs)])


def operands(shapes: tuple[tuple[int, ...], ...], special: bool) -> list[Array]:
    rng = np.random.default_rng(0)
    out = []
    for shape in shapes:
        x = rng.normal(size=shape)
        if special and x.size:
            x = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5, -2.0], shape)
        out.append(np.asarray(x))
    return out


@pytest.mark.parametrize(("name", "shapes", "f"), FLAT)
def test_rules_fire_and_keep_every_element(
    name: str, shapes: tuple[tuple[int, ...], ...], f: Case
) -> None:
    graph = trace(f, shapes)
    rewriter = Rewriter("case", [r for r in RULES if r.name == name])
    result = rewriter.rewrite(graph)
    assert rewriter.fired[name]
    whole = optimize(graph)
    for changed in (result, whole):
        verify(changed, after=name)
        assert changed.output_types == graph.output_types
        for special in (False, True):
            given = operands(shapes, special)
            got, want = run(changed, given)[0], run(graph, given)[0]
            if name in REORDERED:
                np.testing.assert_allclose(got, want, rtol=1e-14)
            else:
                np.testing.assert_array_equal(got, want)
                if name != "reduce_nothing":
                    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_every_rule_is_tested() -> None:
    """Rules that are functions have a case here; accurate ones theirs in test_stable."""
    functions = {r.name for r in RULES if r.pattern is None and not r.relaxed}
    assert functions - {r.name for r in ACCURATE} == set(CASES)


def test_a_factor_of_all_terms_is_taken_out_of_a_sum_if_asked() -> None:
    for shape, axes in (((3, 1), (1,)), ((), (0, 1)), ((4,), (0,)), ((), (1,))):
        graph = trace(lambda x, c, axes=axes: ops.sum_(
            ops.broadcast(c, shape=(3, 4)) * x, axes=axes), ((3, 4), shape))
        given = operands(((3, 4), shape), False)
        for relaxed, summed in ((False, "mul"), (True, "input")):
            result = optimize(graph, relaxed=relaxed)
            np.testing.assert_allclose(run(result, given)[0], run(graph, given)[0], rtol=1e-13)
            (total,) = (n for n in result.nodes if n.op.name == "sum")
            assert result.nodes[total.operands[0]].op.name == summed


def test_a_product_that_is_needed_as_it_is_is_not_computed_twice() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (3, 3)))
    product = ops.matmul(x, x, ta=False, tb=False)
    graph = builder.build([product, ops.transpose(product, perm=(1, 0))])
    assert [n.op.name for n in optimize(graph).nodes].count("matmul") == 1


def test_a_sum_that_is_needed_as_it_is_is_not_computed_twice() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (3, 3)))
    rows = ops.sum_(x, axes=(1,))
    graph = builder.build([ops.exp(rows), ops.sum_(rows, axes=(0,))])
    assert [n.operands for n in optimize(graph).nodes if n.op.name == "sum"] == [(0,), (1,)]


def test_empty_arrays_become_constants() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (0, 3)))
    values = [ops.exp(x), ops.sum_(x * 2, axes=(0,)), ops.prod(x, axes=(0,))]
    graph = optimize(builder.build(values))
    assert {n.op.name for n in graph.nodes} == {"input", "const", "broadcast"}
    empty, zeros, ones = run(graph, [np.zeros((0, 3))])
    assert empty.shape == (0, 3)
    np.testing.assert_array_equal([zeros, ones], [[0, 0, 0], [1, 1, 1]])


def test_constants_fold_and_large_ones_do_not_appear() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (1000, 1000)))
    two = ops.full_like(x, 2)
    many = ops.sqrt(two) * 3 + 1
    table = ops.cumsum(ops.const(builder, np.arange(5.0)), axis=0, reverse=False)
    wide = ops.broadcast(ops.const(builder, np.arange(1000.0)), shape=(1000, 1000))
    graph = optimize(builder.build([x * many, table, x * wide]))
    constants = [n for n in graph.nodes if n.op.name == "const"]
    assert sum(n.type.size for n in constants) == 1 + 5 + 1000
    np.testing.assert_array_equal(run(graph, [np.ones((1000, 1000))])[1], [0, 1, 3, 6, 10])


def test_failures_are_left_to_the_run() -> None:
    builder = Builder()
    x = ops.const(builder, np.arange(3.0))
    graph = optimize(builder.build([ops.gather(x, ops.const(builder, [7]))]))
    with pytest.raises(IndexError):
        run(graph, [])


@pytest.mark.parametrize("dtype", [BOOL, I64, F32, F64], ids=str)
def test_arrays_of_one_number_are_broadcasts(dtype: np.dtype) -> None:
    builder = Builder()
    value = ops.const(builder, np.ones((4, 5), dtype))
    mixed = ops.const(builder, np.array([0.0, -0.0]))
    graph = optimize(builder.build([value, mixed]))
    assert [graph.nodes[i].op.name for i in graph.outputs] == ["broadcast", "const"]
    assert run(graph, [])[0].dtype == dtype


def test_no_rule_stands_without_an_op() -> None:
    assert all(rule.op in REGISTRY for rule in RULES)
