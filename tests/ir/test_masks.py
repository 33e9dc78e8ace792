"""The branch that a ``where`` does not take contributes nothing, however deep and of any order."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.ops import Conditions, Cotangent
from gradc.ir.passes import optimize
from gradc.ir.types import F64, TensorType
from tests.ir.derivatives import check_derivatives
from tests.sampling import Array

Function = Callable[[Value], Value]


def traced(f: Function, x: Array) -> Graph:
    """The graph of the sum of f."""
    builder = Builder("f")
    out = f(builder.input("x", TensorType(F64, x.shape)))
    return builder.build([ops.sum_(out, axes=tuple(range(len(out.shape))))])


def zero(x: Value) -> Value:
    return ops.full_like(x, 0)


def positive(f: Function) -> Function:
    return lambda x: ops.where(x > 0, f(x), zero(x))


def nested(x: Value) -> Value:
    return ops.where(x > 0, ops.where(x > 1, 1 / (x - 1), 1 / x), zero(x))


def both_branches(x: Value) -> Value:
    root = ops.sqrt(x)
    return ops.where(x > 0, root * ops.log(x), zero(x)) + ops.where(x > 1, root, zero(x))


def opposite_branches(x: Value) -> Value:
    """Neither branch is taken of the guard around them."""
    root = ops.sqrt(x)
    inner = ops.where(x > 1, ops.log(root), root * root * root)
    return ops.where(x > 0, inner * root, zero(x))


def moved(x: Value) -> Value:
    """Reshape, transpose, slice, concat and update between the guard and what it guards."""
    root = ops.reshape(ops.sqrt(x), shape=(3, 1))
    wide = ops.concat(root, ops.reshape(x, shape=(3, 1)), axis=1)
    turned = ops.transpose(ops.log(wide), perm=(1, 0))
    first = ops.slice_(turned, starts=(0, 0), sizes=(1, 3), steps=(1, 1))
    back = ops.reshape(first, shape=(3,))
    last = ops.slice_(back, starts=(2,), sizes=(1,), steps=(1,))
    return ops.where(x > 0, ops.update_slice(back, last, starts=(1,), steps=(1,)), zero(x))


def embedded(x: Value) -> Value:
    inside = ops.embed(ops.log(ops.sqrt(x)), shape=(7,), starts=(1,), steps=(2,))
    guard = ops.embed(x, shape=(7,), starts=(1,), steps=(2,)) > 0
    return ops.where(guard, inside, zero(inside))


def scalars(x: Value) -> Value:
    """Every element has a guard of its own."""
    roots, out = ops.sqrt(x), []
    for k in range(3):
        one, root = (ops.reshape(ops.slice_(v, starts=(k,), sizes=(1,), steps=(1,)), shape=())
                     for v in (x, roots))
        out.append(ops.reshape(positive(lambda _, root=root: ops.log(root))(one), shape=(1,)))
    return ops.concat(*out, axis=0)


def root_of_squares(x: Value) -> Value:
    return ops.sqrt(ops.sum_(x * x, axes=(0,)))


def unit_vector(x: Value) -> Value:
    r = root_of_squares(x)
    guard = ops.broadcast(r > 0, shape=x.shape)
    return ops.where(guard, x / ops.broadcast(r, shape=x.shape), zero(x))


def unit_vector_by_elements(x: Value) -> Value:
    """The guard is none of the norm's, but of every element."""
    r = ops.broadcast(root_of_squares(x), shape=x.shape)
    return ops.where(x > 0, x / r, zero(x))


def unit_vector_within(combine: Function) -> Function:
    """A scalar guard around a rule that mixes elements."""

    def f(x: Value) -> Value:
        r = root_of_squares(x)
        out = combine(x / ops.broadcast(r, shape=x.shape))
        guard = ops.broadcast(r > 0, shape=out.shape) if out.shape else r > 0
        return ops.where(guard, out, zero(out))

    return f


def dot(x: Value) -> Value:
    w = ops.const(x.builder, [[0.5, 2.0], [-1.0, 1.0], [3.0, 0.0]])
    row = ops.reshape(x, shape=(1, 3))
    return ops.reshape(ops.matmul(row, w, ta=False, tb=False), shape=(2,))


def dot_transposed(x: Value) -> Value:
    w = ops.const(x.builder, [[0.5, 2.0], [-1.0, 1.0], [3.0, 0.0]])
    column = ops.reshape(x, shape=(3, 1))
    return ops.reshape(ops.matmul(w, column, ta=True, tb=False), shape=(2,))


def dot_itself(x: Value) -> Value:
    """Both operands are not numbers where the guard keeps them out."""
    rows, columns = ops.reshape(x, shape=(1, 3)), ops.reshape(x, shape=(3, 1))
    return ops.reshape(ops.matmul(rows, columns, ta=False, tb=False), shape=())


def picked(x: Value) -> Value:
    return ops.gather(x, ops.const(x.builder, np.array([2, 0, 2])))


def unit_rows(x: Value) -> Value:
    """Each row by its own norm, then a matrix product: rows of zeros stay zero."""
    r = ops.sqrt(ops.sum_(x * x, axes=(1,)))
    column = ops.reshape(r, shape=(x.shape[0], 1))
    w = ops.const(x.builder, np.arange(1.0, 7).reshape(x.shape[1], 2))
    out = ops.matmul(x / ops.broadcast(column, shape=x.shape), w, ta=False, tb=False)
    return ops.where(ops.broadcast(column > 0, shape=out.shape), out, zero(out))


SPOTS, VECTOR = np.array([0.0, 0.5, 2.0]), np.zeros(3)
ROWS = np.array([[0.0, 0, 0], [1, 2, 3], [0, 0, 0], [-1, 0, 2]])
CASES: dict[str, tuple[Function, Array]] = {
    "log squared": (positive(lambda x: ops.log(x) ** 2), SPOTS),
    "log cubed": (positive(lambda x: ops.log(x) * ops.log(x) * ops.log(x)), SPOTS),
    "reciprocal": (positive(lambda x: 1 / x), SPOTS),
    "sinc": (positive(lambda x: ops.sin(x) / x), SPOTS),
    "cosc": (positive(lambda x: (1 - ops.cos(x)) / x**2), SPOTS),
    "expm1 by x": (positive(lambda x: ops.expm1(x) / x), SPOTS),
    "flat exp": (positive(lambda x: ops.exp(-1 / x)), SPOTS),
    "sqrt times x": (positive(lambda x: ops.sqrt(x) * x), SPOTS),
    "log times sqrt": (positive(lambda x: ops.log(x) * ops.sqrt(x)), SPOTS),
    "powers": (positive(lambda x: x**-1.5 + x**0.5), SPOTS),
    "maximum of a log": (lambda x: ops.maximum(ops.log(x) * ops.log(ops.sqrt(x)) * ops.log(x),
                                               zero(x)), np.array([0.0, 0.5, 2.0])),
    "nested": (nested, SPOTS),
    "two guards": (both_branches, SPOTS),
    "opposite branches": (opposite_branches, SPOTS),
    "moved": (moved, np.array([0.0, 0.0, 2.0])),
    "embedded": (embedded, SPOTS),
    "scalars": (scalars, SPOTS),
    "unit vector": (unit_vector, VECTOR),
    "unit vector by elements": (unit_vector_by_elements, VECTOR),
    "dot": (unit_vector_within(dot), VECTOR),
    "dot transposed": (unit_vector_within(dot_transposed), VECTOR),
    "dot itself": (unit_vector_within(dot_itself), VECTOR),
    "max": (unit_vector_within(lambda x: ops.max_(x, axes=(0,))), VECTOR),
    "prod": (unit_vector_within(lambda x: ops.prod(x, axes=(0,))), VECTOR),
    "cumsum": (unit_vector_within(lambda x: ops.cumsum(x, axis=0, reverse=False)), VECTOR),
    "cumprod": (unit_vector_within(lambda x: ops.cumprod(x, axis=0, reverse=False)), VECTOR),
    "gather": (unit_vector_within(picked), VECTOR),
    "convert": (positive(lambda x: ops.convert(
        ops.log(ops.convert(ops.sqrt(x), dtype=np.dtype("f4"))), dtype=F64)), SPOTS),
    "unit rows": (unit_rows, ROWS),
}
CASE = pytest.mark.parametrize(("f", "x"), CASES.values(), ids=CASES)


def each_direction(graph: Graph, x: Array) -> Array:
    """The derivatives of output 0 (a scalar) by forward mode."""
    forward = autodiff.jvp(graph, [0])
    units = np.eye(x.size).reshape(x.size, *x.shape)
    at = len(graph.outputs)
    return np.array([run(forward, [x, unit])[at] for unit in units]).reshape(x.shape)


@CASE
def test_first_order(f: Function, x: Array) -> None:
    graph = traced(f, x)
    reverse = autodiff.value_and_grad(graph, [0])
    value, slope = run(reverse, [x])
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(slope, each_direction(graph, x), rtol=1e-6)
    np.testing.assert_allclose(run(optimize(reverse), [x])[1], slope, rtol=1e-6, atol=1e-15)
    if x.shape != ROWS.shape:
        assert slope[0] == 0


@CASE
def test_second_order(f: Function, x: Array) -> None:
    reverse = autodiff.value_and_grad(traced(f, x), [0])
    twice = autodiff.vjp(reverse, [0], [1])
    forward = autodiff.jvp(reverse, [0])
    for unit in np.eye(x.size).reshape(x.size, *x.shape):
        row = run(twice, [x, unit])[2]
        assert np.isfinite(row).all()
        # The Hessian is symmetric, and forward over reverse gives the same.
        np.testing.assert_allclose(run(forward, [x, unit])[3], row, rtol=1e-5, atol=1e-12)
        np.testing.assert_allclose(run(optimize(twice), [x, unit])[2], row, rtol=1e-5, atol=1e-12)


@CASE
def test_away_from_the_kinks_derivatives_are_right(f: Function, x: Array) -> None:
    if f is CASES["convert"][0]:
        return
    away = np.random.default_rng(1).uniform(1.2, 3.0, x.shape)
    check_derivatives(traced(f, x), [away], tol=1e-5)


def test_the_branch_that_is_taken_keeps_its_infinities() -> None:
    graph = traced(lambda x: ops.where(x < 1, ops.sqrt(x), zero(x)), SPOTS)
    slope = run(autodiff.value_and_grad(graph, [0]), [SPOTS])[1]
    np.testing.assert_allclose(slope, [np.inf, 0.5 / np.sqrt(0.5), 0])
    # One use under a guard, one without: the guard is not taken for the other's.
    graph = traced(lambda x: ops.where(x > 0, ops.log(ops.sqrt(x)), zero(x)) + ops.sqrt(x), SPOTS)
    assert run(autodiff.value_and_grad(graph, [0]), [SPOTS])[1][0] == np.inf


def ops_of_gradient(f: Function, x: Array) -> list[str]:
    graph = traced(f, x)
    added = optimize(autodiff.value_and_grad(graph, [0])).nodes
    return [node.op.name for node in added if node.role.kind == "adjoint"]


def test_graphs_stay_small() -> None:
    """A mask costs one choice where it is needed, and nothing where it is not."""
    x = np.ones((5, 4))

    def network(x: Value) -> Value:
        w = ops.const(x.builder, np.ones((4, 4)))
        for _ in range(3):
            sums = ops.matmul(x, w, ta=False, tb=False)
            x = ops.maximum(sums, zero(sums))
        return x

    names = ops_of_gradient(network, x)
    assert names.count("ge") == 3
    assert not {"any", "bit_and", "bit_or"} & set(names)
    assert names.count("where") == 6  # three masks, three ties

    names = ops_of_gradient(lambda x: ops.where(x > 0, x * x, x * 3), x)
    assert names.count("where") == 1
    assert "add" not in names

    guarded = ops_of_gradient(lambda x: ops.where(x > 0, ops.log(x) * ops.sqrt(x) / x, zero(x)), x)
    assert guarded.count("where") == 1
    assert "where" not in ops_of_gradient(lambda x: ops.log(x) * ops.sqrt(x) / x, x)


def test_deep_masks_are_handled_without_recursion_and_quickly() -> None:
    depth = 3000

    def f(x: Value) -> Value:
        out = x
        for k in range(depth):
            out = ops.where(x > -k, out * ops.sin(x), zero(x))
        return out

    graph = traced(f, VECTOR)
    start = time.process_time()
    reverse = autodiff.value_and_grad(graph, [0])
    assert time.process_time() - start < 20
    assert len(reverse.nodes) < 20 * depth
    np.testing.assert_array_equal(run(reverse, [VECTOR])[1], 0)


# -- the algebra of masks


def cotangents() -> tuple[Builder, Value, Value, Cotangent]:
    builder = Builder("masks")
    one, two = (builder.input(name, TensorType(np.dtype(bool), (3,))) for name in "ab")
    seed = builder.input("ct", TensorType(F64, (3,)))
    return builder, one, two, Cotangent(seed, Conditions(builder))


def test_a_condition_and_its_opposite_leave_nothing() -> None:
    builder, one, _, ct = cotangents()
    here = ct.under(one, guard=True)
    assert here is not None
    assert here.under(one, guard=True) is here
    assert here.under(one, holds=False, guard=True) is None
    assert here.under(ops.logical_not(one), guard=True) is None


def test_a_sum_under_the_same_mask_keeps_it_and_chooses_nothing() -> None:
    builder, one, two, ct = cotangents()
    left, right = ct.under(one, guard=True), ct.times(2).under(one, guard=True)
    before = len(builder.nodes)
    total = left.plus(right)
    assert total.mask == total.pending == left.mask
    assert [node.op.name for node in builder.nodes[before:]] == ["add"]


def test_a_sum_under_opposite_masks_is_one_choice() -> None:
    builder, one, _, ct = cotangents()
    total = ct.under(one, guard=True).plus(ct.times(3).under(one, holds=False, guard=True))
    assert not total.mask
    graph = builder.build([total.cleared])
    (got,) = run(graph, [np.array([True, False, True]), np.zeros(3, bool), np.ones(3)])
    np.testing.assert_array_equal(got, [1, 3, 1])


@pytest.mark.parametrize("first", [True, False])
def test_a_sum_under_different_masks_lasts_where_either_holds(first: bool) -> None:
    builder, one, two, ct = cotangents()
    left = ct.under(one, guard=True)
    right = ct.under(one if first else two, guard=True).under(two, guard=True)
    factor = ops.const(builder, [np.inf, 2.0, 3.0])
    product = left.plus(right).times(factor)
    graph = builder.build([product.cleared])
    a, b = np.array([False, True, True]), np.array([False, True, False])
    np.testing.assert_array_equal(run(graph, [a, b, np.ones(3)])[0], [0, 4, 3])
