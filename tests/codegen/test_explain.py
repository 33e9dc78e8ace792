"""Reports on programs: exact counts of known programs, and reasons for what is not fused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.arrange import Way
from gradc.codegen.explain import explain
from gradc.codegen.report import Report
from gradc.codegen.schedule import LARGEST, Reason
from gradc.codegen.targets import NAMED
from gradc.ir import autodiff, ops, passes
from gradc.ir.graph import Builder, Value
from gradc.ir.types import F64, I64, TensorType
from tests.codegen.test_nests import build, softmax_loss

TARGET = NAMED["x86-64-v4"]


def report(function: Any, *shapes: tuple[int, ...], grad: bool = False) -> Report:
    graph = build(function, *shapes)
    if grad:
        graph = autodiff.value_and_grad(graph, [0])
    return explain(passes.optimize(graph), TARGET)


def reasons(found: Report, number: int = -1) -> list[tuple[int | None, Reason]]:
    return [(a.stage, a.reason) for a in found.stages[number].apart]


# -- counts --------------------------------------------------------------------------------------


def test_sum_of_squares() -> None:
    found = report(lambda x: ops.sum_(x * x, axes=(0,)), (1000,), grad=True)
    (stage,) = found.stages
    # A product and an addition for the value, a product for the gradient.
    assert (found.arithmetic, found.calls, found.flops) == (3000, 0, 3000)
    assert (found.read, found.written, found.arena) == (8000, 8008, 0)
    assert stage.loops is not None and stage.apart == ()
    assert (stage.loops.rows, stage.loops.inner) == ((), (1000,))
    assert (stage.loops.lanes, stage.loops.sweeps) == (8, 1)
    assert sorted(stage.ops) == ["mul", "sum of products"]
    assert stage.roles == ("primal", "adjoint")
    assert [(t.level, t.argument, t.read, t.written) for t in stage.memory] == [
        ("input", "x0", 8000, 0), ("output", "", 0, 8000), ("output", "", 0, 8),
    ]
    assert stage.intensity == 3000 / 16008


def test_a_matrix_product() -> None:
    found = report(
        lambda a, b: ops.matmul(a, b, ta=False, tb=False), (30, 20), (20, 10)
    )
    (stage,) = found.stages
    product = stage.product
    assert product is not None and stage.loops is None
    assert (product.m, product.k, product.n, product.batch) == (30, 20, 10, 1)
    assert product.runs_as == "kernel" and "no more than 4 times" in product.reason
    assert found.flops == 2 * 30 * 20 * 10
    moved = [(t.level, t.read, t.written) for t in stage.memory if t.level != "scratch"]
    assert moved == [("input", 8 * 600, 0), ("input", 8 * 200, 0), ("output", 0, 8 * 300)]


@pytest.mark.parametrize(
    ("shape", "runs_as", "reason"),
    [
        ((64, 2000, 2000), "blas", "is more than 4 times"),
        ((64, 20000, 200), "kernel", "its result stays"),
        ((4, 2000, 2000), "kernel", "so few rows"),
    ],
)
def test_who_runs_large_products(shape: tuple[int, ...], runs_as: str, reason: str) -> None:
    m, k, n = shape
    found = report(lambda a, b: ops.matmul(a, b, ta=False, tb=False), (m, k), (k, n))
    product = found.stages[0].product
    assert product is not None
    assert product.runs_as == runs_as and reason in product.reason


def test_softmax_cross_entropy() -> None:
    n, k = 50, 200
    found = report(softmax_loss, (n, k), (n, k), grad=True)
    nest = found.stages[0]
    assert nest.loops is not None
    assert (nest.loops.rows, nest.loops.inner, nest.loops.sweeps) == ((n,), (k,), 3)
    assert found.calls == n * k + n  # an exponential an element, a logarithm a row
    levels = {level: 0 for level in ("input", "output")}
    for t in nest.memory:
        if t.level in levels:
            levels[t.level] += t.written
    assert levels == {"input": 0, "output": 8 * n * k}
    assert [t.read for t in nest.memory if t.level == "input"] == [8 * n * k] * 2
    (kept,) = nest.kept
    assert "exp for a later sweep, in out1 (output)" in kept
    assert any("sub, in 2 sweeps" in again for again in nest.recomputed)


def test_overlapping_reads_are_counted_once() -> None:
    def second_difference(x: Value) -> Value:
        left, middle, right = (
            ops.slice_(x, starts=(k,), sizes=(98,), steps=(1,)) for k in range(3)
        )
        return left - middle + right

    found = report(second_difference, (100,))
    assert (found.arithmetic, found.read, found.written) == (196, 800, 784)


def test_broadcast_reads_are_counted_once() -> None:
    found = report(lambda x, b: x + ops.broadcast(b, shape=(40, 30)), (40, 30), (30,))
    assert [t.read for t in found.stages[0].memory] == [8 * 1200, 8 * 30, 0]


def test_a_gather_reads_as_much_as_it_has_indices() -> None:
    b = Builder("take")
    x, i = b.input("x", TensorType(F64, (1000,))), b.input("i", TensorType(I64, (10,)))
    found = explain(b.build([ops.gather(x, i)]), TARGET)
    assert {t.argument: t.read for t in found.stages[0].memory} == {"x": 80, "i": 80, "": 0}


# -- decisions -----------------------------------------------------------------------------------


def test_a_sum_is_finished_when_its_stage_is_done() -> None:
    def f(x: Value, y: Value) -> Value:
        total = ops.sum_(x, axes=(0,))  # over rows
        return y * ops.broadcast(total, shape=(40, 30))

    found = report(f, (40, 30), (40, 30))
    assert reasons(found) == [(0, Reason.UNFINISHED)]
    assert "sum" in str(found.stages[1].apart[0].value)


def test_other_loops() -> None:
    found = report(lambda x, y: [x * x, y * y], (10,), (7, 3))
    assert reasons(found) == [(0, Reason.LOOPS)]


def test_other_points_of_the_loops() -> None:
    def f(x: Value) -> Value:
        e = ops.exp(x)
        return e * ops.slice_(e, starts=(9,), sizes=(10,), steps=(-1,))

    assert reasons(report(f, (10,))) == [(0, Reason.POINT)]


def test_rows_against_rows() -> None:
    def f(x: Value) -> Value:
        s = ops.sum_(ops.exp(x), axes=(1,))
        rows, columns = ops.reshape(s, shape=(20, 1)), ops.reshape(s, shape=(1, 20))
        return ops.broadcast(rows, shape=(20, 20)) * ops.broadcast(columns, shape=(20, 20))

    assert reasons(report(f, (20, 30))) == [(0, Reason.ROWS)]


def test_vector_math_in_short_rows() -> None:
    def f(x: Value) -> Value:
        return ops.exp(ops.sum_(x, axes=(1,)))

    assert reasons(report(f, (5, 4))) == [(0, Reason.MATH)]
    assert len(report(f, (5, 400)).stages) == 1
    (stage,) = report(f, (500, 4)).stages
    assert stage.loops is not None and stage.loops.way is Way.ACROSS
    assert "500 rows of 4, in vectors of rows" in str(stage)


def test_the_math_of_long_rows_goes_in_blocks() -> None:
    def f(x: Value, w: Value) -> Value:
        scores = ops.sum_(x * ops.broadcast(w, shape=(500, 100)), axes=(1,))
        return ops.sum_(ops.softplus(scores), axes=(0,))

    (stage,) = report(f, (500, 100), (100,)).stages
    assert stage.loops is not None and stage.loops.way is Way.BLOCK


def test_another_shape_is_read_from_memory() -> None:
    def f(x: Value) -> Value:
        return ops.sin(ops.reshape(ops.exp(x), shape=(6, 20))) * 2.0

    assert reasons(report(f, (12, 10))) == [(0, Reason.MEMORY)]


def test_whole_arrays() -> None:
    def f(x: Value) -> Value:
        return ops.exp(ops.cumsum(ops.sin(x), axis=0, reverse=False))

    found = report(f, (50,))
    assert [s.kind for s in found.stages] == ["nest", "cumsum", "nest"]
    assert reasons(found, 1) == [(0, Reason.WHOLE)]
    assert reasons(found, 2) == [(1, Reason.OPAQUE)]
    assert found.stages[1].in_place


def test_reductions_that_no_rows_suit() -> None:
    def f(x: Value) -> list[Value]:
        # To be used in the same stage, the sum of all must be that of a single row.
        scaled = x * ops.broadcast(ops.sum_(x, axes=(0, 1)), shape=(30, 40))
        return [scaled, ops.max_(x, axes=(1,))]

    assert reasons(report(f, (30, 40))) == [(0, Reason.REDUCTION)]


def test_large_stages_are_cut() -> None:
    def f(x: Value, y: Value) -> Value:
        for _ in range(LARGEST):
            x = ops.sin(x) + y
        return x

    found = report(f, (30,), (30,))
    assert all(reasons(found, k) == [(k - 1, Reason.SIZE)] for k in range(1, len(found.stages)))
    assert len(found.stages) == 2


def test_the_parts_of_an_assembled_array() -> None:
    found = report(lambda x, y: ops.concat(x, y, axis=0), (10,), (20,))
    assert reasons(found, 1) == [(0, Reason.WHOLE)]
    assert "next part of" in found.stages[1].apart[0].node


def test_values_that_are_recomputed() -> None:
    n, k = 1000, 30

    def f(x: Value, y: Value) -> list[Value]:
        z = x + y
        total = ops.sum_(z, axes=(0,))
        return [total, z * ops.broadcast(ops.sum_(z * z, axes=(0,)), shape=(n, k))]

    found = report(f, (n, k), (n, k))
    # An addition and two loads, of arrays that the second-level cache holds; a store and a load.
    assert [s.recomputed for s in found.stages if s.recomputed] == [
        ("v2 add, rather than loaded: 9 flops an element against 10",)
    ]


# -- what users see ------------------------------------------------------------------------------


@gradc.compile
def loss(w: Any, x: Any) -> Any:
    return np.sum(np.tanh(x @ w) ** 2)


def test_reports_of_compiled_functions() -> None:
    w, x = np.ones((3, 4)), np.ones((50, 3))
    both, value = loss.explain(w, x, grad=True), loss.explain(w, x, grad=False)
    assert both == loss.explain(w, x)
    assert both.title == "loss.value_and_grad(w: f64[3,4], x: f64[50,3])"
    assert value.title.startswith("loss(w") and value.flops < both.flops
    text = str(both)
    assert text.startswith(both.title) and "test_explain.py:" in text and "x)" in text
    assert f"{both.flops:,} flops" in text and "matrix product" in text
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataclasses.replace(both).__setattr__("arena", 0)


def test_reports_of_training_steps() -> None:
    trainer = gradc.train(
        lambda w, x: np.sum((x @ w) ** 2), optimizer=gradc.optim.sgd(0.1), batch_size=8
    )
    found = trainer.explain(np.ones(3), (np.ones((20, 3)),))
    assert "a step of 8 samples" in found.title and "update" in str(found)


def test_reports_of_methods() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = np.ones(3)

        @gradc.compile
        def loss(self, x: Any) -> Any:
            return np.sum(self.w * x)

    assert Model().loss.explain(np.ones(3), grad=False).flops == 6
