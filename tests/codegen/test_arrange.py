"""Rows in the lanes of vectors: every arrangement of a nest gives what the interpreter gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.codegen import arrange
from gradc.codegen.arrange import Way
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Nest
from gradc.ir import autodiff, ops, passes
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import F32, F64, I64, TensorType
from tests.codegen.test_nests import build, check, normal
from tests.programs import random_program


@pytest.fixture(params=list(Way), ids=lambda way: way.name)
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    """Every nest that can goes this way, whatever it is estimated to cost."""
    way: Way = request.param
    estimates = arrange.estimates

    def only(*given: Any) -> dict[Way, float]:
        costs = estimates(*given)
        return {way: 0.0} if way in costs else costs

    monkeypatch.setattr(arrange, "estimates", only)
    monkeypatch.setattr(arrange, "COPIED", 1)
    return way


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_random_programs(forced: Way, first: int) -> None:
    for seed in range(first, first + 20):
        program = random_program(seed)
        check(passes.optimize(program.graph), program.inputs, rtol=1e-8)


def logistic(x: Value, w: Value) -> Value:
    """Row reductions, vector math of each row, and sums over rows."""
    scores = ops.sum_(x * ops.spread(w, x, (0,)), axes=(1,))
    return ops.sum_(ops.log(ops.exp(scores) + 1.5) * ops.max_(x, axes=(1,)), axes=(0,))


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 33, 300, 4001])
@pytest.mark.parametrize("inner", [1, 3, 8, 10, 50])
def test_rows_of_every_length(forced: Way, rows: int, inner: int) -> None:
    if rows == 0:
        graph = build(lambda x: ops.exp(ops.sum_(x, axes=(1,))), (0, inner))
        check(graph, [normal(0, inner)])
        return
    graph = autodiff.value_and_grad(build(logistic, (rows, inner), (inner,)), [0, 1])
    x, w = normal(rows, inner) / inner, normal(inner, seed=1)
    check(passes.optimize(graph), [x, w])
    single = autodiff.value_and_grad(
        build(logistic, (rows, inner), (inner,), dtype=F32), [0, 1]
    )
    check(passes.optimize(single), [x.astype(F32), w.astype(F32)])


def sharpness(x: Value) -> Value:
    """The sum of squared softmaxes, whose exponentials are kept for the second sweep."""
    top = ops.spread(ops.max_(x, axes=(1,)), x, (1,))
    e = ops.exp(x - top)
    share = e / ops.spread(ops.sum_(e, axes=(1,)), x, (1,))
    return ops.sum_(share * share, axes=(0, 1))


@pytest.mark.parametrize("rows", [2, 8, 21, 3000, 3001])
@pytest.mark.parametrize("inner", [2, 7, 40])
def test_values_kept_from_sweep_to_sweep(forced: Way, rows: int, inner: int) -> None:
    graph = build(sharpness, (rows, inner))
    check(graph, [normal(rows, inner)])
    check(passes.optimize(autodiff.value_and_grad(graph, [0])), [normal(rows, inner)])


def distances(x: Value, centres: Value) -> Value:
    """k-means: what each point is from the nearest centre."""
    (n, d), k = x.type.shape, centres.type.shape[0]
    apart = ops.broadcast(ops.reshape(x, shape=(n, 1, d)), shape=(n, k, d)) - ops.broadcast(
        centres, shape=(n, k, d)
    )
    return ops.sum_(ops.min_(ops.sum_(apart * apart, axes=(2,)), axes=(1,)), axes=(0,))


@pytest.mark.parametrize(
    ("n", "k", "d"), [(9, 20, 3), (40, 100, 8), (150, 100, 8), (5, 7, 40), (3, 1, 1)]
)
def test_distances_of_all_pairs(forced: Way, n: int, k: int, d: int) -> None:
    graph = autodiff.value_and_grad(build(distances, (n, d), (k, d)), [0, 1])
    check(passes.optimize(graph), [normal(n, d), normal(k, d, seed=1)])


def test_distances_go_across_the_centres_from_a_transposed_copy() -> None:
    copy, nest, *_ = Kernel(build(distances, (1000, 8), (100, 8))).program.stages
    assert isinstance(copy, Nest) and isinstance(nest, Nest)
    assert (copy.inner, nest.outer[-1], nest.inner, nest.across) == ((8, 100), 100, (8,), True)


@pytest.mark.parametrize("shape", [(5, 300, 7), (4, 300, 600), (300, 5, 3), (3, 0, 4), (2, 1000)])
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_reductions_over_an_axis_between(forced: Way, shape: tuple[int, ...], kind: str) -> None:
    if kind == "max" and 0 in shape:
        pytest.skip("a maximum of nothing")
    reduction = ops.sum_ if kind == "sum" else ops.max_
    check(build(lambda x: reduction(x, axes=(1,)), shape), [normal(*shape)])
    if len(shape) == 3:
        check(build(lambda x: reduction(x * x, axes=(0, 1)), shape), [normal(*shape)])


def test_sums_over_an_axis_between_are_compensated(forced: Way) -> None:
    x = (np.random.default_rng(0).random((3, 100_000, 2)) + 1e-3).astype(F32)
    graph = build(lambda v: ops.sum_(v, axes=(1,)), x.shape, dtype=F32)
    np.testing.assert_allclose(Kernel(graph)([x])[0], x.astype(F64).sum(1), rtol=2e-7)


def gathering(rows: int, table: int) -> Graph:
    """A row's value read by an index of the row."""
    b = Builder("gathering")
    x = b.input("x", TensorType(F64, (rows, 5)))
    t = b.input("t", TensorType(F64, (table,)))
    i = b.input("i", TensorType(I64, (rows,)))
    return b.build([ops.exp(ops.sum_(x, axes=(1,))) * ops.gather(t, i)])


@pytest.mark.parametrize("rows", [3, 8, 21])
def test_indices_of_rows_are_checked_where_there_are_rows(forced: Way, rows: int) -> None:
    kernel = Kernel(gathering(rows, 4))
    x, t, i = normal(rows, 5), normal(4), np.arange(rows) % 8 - 4
    np.testing.assert_allclose(kernel([x, t, i])[0], np.exp(x.sum(1)) * t[i], rtol=1e-14)
    i[-1] = 4
    with pytest.raises(IndexError):
        kernel([x, t, i])


@pytest.mark.parametrize("shape", [(6, 100), (6, 3), (6, 37), (6, 20, 5)])
@pytest.mark.parametrize("step", [1, 2, 0])
@pytest.mark.parametrize("dtype", [F64, F32])
def test_rows_at_indices(forced: Way, shape: tuple[int, ...], step: int, dtype: Any) -> None:
    """Rows from wherever indices say: alone, with sums, of every other column, of a transpose."""
    x = normal(*shape).astype(dtype)
    b = Builder("rows")
    if step:
        whole = b.input("x", TensorType(np.dtype(dtype), x.shape))
        sizes = (*shape[:-1], -(-shape[-1] // step))
        steps = (*[1] * (len(shape) - 1), step)
        view = ops.slice_(whole, starts=(0,) * len(shape), sizes=sizes, steps=steps)
        expected = x[..., ::step]
    else:
        x, expected = np.ascontiguousarray(x.T), x
        whole = b.input("x", TensorType(np.dtype(dtype), x.shape))
        view = ops.transpose(whole, perm=tuple(reversed(range(len(shape)))))
    i = b.input("i", TensorType(I64, (19,)))
    rows = ops.gather(view, i)
    kernel = Kernel(b.build([rows, ops.sum_(rows * rows, axes=tuple(range(1, len(shape))))]))
    at = np.arange(19) % 12 - 6
    found, sums = kernel([x, at])
    np.testing.assert_array_equal(found, expected[at])
    exact = np.sum(expected[at].astype(F64) ** 2, axis=tuple(range(1, len(shape))))
    np.testing.assert_allclose(sums, exact, rtol=1e-6 if dtype == F32 else 1e-14)
    for bad in (6, -7, 2**62):
        with pytest.raises(IndexError):
            kernel([x, np.append(at[:-1], bad)])


def test_rows_at_indices_are_read_without_an_address_for_each_lane() -> None:
    b = Builder("rows")
    x, i = b.input("x", TensorType(F64, (40, 100))), b.input("i", TensorType(I64, (9,)))
    kernel = Kernel(b.build([ops.gather(x, i)]))
    assert "masked.gather" not in str(kernel.module)
