"""Naive exponential forms, as users write them: value and gradient are right for huge logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.ops import exp, log, spread
from gradc.ir.passes import PassRecord, Rewriter, optimize, stabilize
from gradc.ir.passes.accurate import ACCURATE
from gradc.ir.types import F32, F64, TensorType
from gradc.ir.verify import verify
from tests.ir.derivatives import check_derivatives
from tests.ir.stable_functions import (
    LABELS,
    NAIVE,
    ONE_HOT,
    ROWS,
    SHAPE,
    lse,
    naive_sigmoid,
    naive_softmax,
    one_hot,
    rows,
    total,
    two,
    weights,
)
from tests.sampling import Array


def trace(f: Callable[..., Value], shape: Sequence[int] = SHAPE, dtype: Any = F64) -> Graph:
    builder = Builder("f")
    return builder.build([f(builder.input("x", TensorType(np.dtype(dtype), tuple(shape))))])


def logits(scale: float) -> Array:
    return np.random.default_rng(0).normal(size=SHAPE) * scale


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 800.0, 1e6])
@pytest.mark.parametrize("name", NAIVE)
def test_value_and_gradient_are_right_at_any_scale(name: str, scale: float) -> None:
    f, truth = NAIVE[name]
    stable = stabilize(trace(f))
    graph = optimize(autodiff.value_and_grad(stable, [0]))
    x = logits(scale)
    value, gradient = run(graph, [x])
    true_value, true_gradient = truth(x)
    np.testing.assert_allclose(value, true_value, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(gradient, true_gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", NAIVE)
def test_every_derivative_is_right(name: str) -> None:
    graph = stabilize(trace(NAIVE[name][0]))
    check_derivatives(graph, [logits(1.0)], order=2)
    hessian = autodiff.vjp(autodiff.value_and_grad(graph, [0]), [0])
    assert all(np.isfinite(v).all() for v in run(hessian, [logits(800.0), 1.0, np.ones(SHAPE)]))


@pytest.mark.parametrize("name", NAIVE)
def test_float32_is_stable_too(name: str) -> None:
    f, truth = NAIVE[name]
    graph = optimize(autodiff.value_and_grad(stabilize(trace(f, dtype=F32)), [0]))
    x = logits(200.0).astype(F32)
    value, gradient = run(graph, [x])
    assert value.dtype == gradient.dtype == F32
    true_value, true_gradient = truth(x.astype(F64))
    np.testing.assert_allclose(value, true_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, true_gradient, rtol=2e-3, atol=1e-6)


def test_the_naive_forms_do_need_it() -> None:
    """Without the pass, all of these but the harmless give an infinity or a NaN somewhere."""
    harmless = set()
    for name, (f, _) in NAIVE.items():
        graph = autodiff.value_and_grad(trace(f), [0])
        if all(np.isfinite(v).all() for v in run(graph, [logits(800.0)])):
            harmless.add(name)
    assert harmless == set()


def test_certain_probabilities() -> None:
    """p rounds to exactly 0 and 1: the loss is the margin, its slope is −1, 0 or 1."""
    graph = optimize(autodiff.value_and_grad(
        stabilize(trace(NAIVE["binary cross-entropy"][0])), [0]))
    x = np.where(ONE_HOT, -1000.0, 1000.0)
    value, slope = run(graph, [x])
    assert value == 12000.0
    np.testing.assert_array_equal(slope, np.where(ONE_HOT, -1, 1))
    value, slope = run(graph, [-x])
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_infinite_logits() -> None:
    x = np.array([[-np.inf, 0, 1, 2], [-np.inf] * 4, [np.inf, 0, 0, 0]])
    graph = stabilize(trace(lambda x: log(ops.sum_(exp(x), axes=(1,)))))
    np.testing.assert_allclose(
        run(graph, [x])[0], [np.log(np.exp([0, 1, 2]).sum()), -np.inf, np.inf])
    graph = stabilize(trace(naive_softmax))
    got = run(graph, [x])[0]
    assert got[0, 0] == 0 and np.isfinite(got[0]).all()
    assert np.isnan(got[1]).all()  # 0/0, as the naive form has it


def masked(x: Value) -> Value:
    return ops.where(one_hot(x) > 0, x, ops.full_like(x, -np.inf))


def test_masked_softmax_has_a_finite_gradient() -> None:
    graph = autodiff.value_and_grad(stabilize(trace(
        lambda x: total(weights(x) * naive_softmax(masked(x))))), [0])
    value, slope = run(optimize(graph), [logits(800.0)])
    np.testing.assert_allclose(value, np.arange(12.0).reshape(SHAPE)[ROWS, LABELS].sum())
    np.testing.assert_array_equal(slope, 0)


# -- forms that are stable already


def largest(x: Value) -> Value:
    return spread(ops.max_(x, axes=(1,)), x, (1,))


STABLE_ALREADY: dict[str, Callable[[Value], Value]] = {
    "log-sum-exp": lambda x: total(
        log(ops.sum_(exp(x - largest(x)), axes=(1,))) + ops.max_(x, axes=(1,))),
    "softmax": lambda x: total(
        weights(x) * (exp(x - largest(x)) / rows(exp(x - largest(x))))),
    "logaddexp": lambda x: total(
        ops.maximum(x, two(x)) + log(exp(x - ops.maximum(x, two(x)))
                                     + exp(two(x) - ops.maximum(x, two(x))))),
    "softplus": lambda x: total(
        ops.maximum(x, ops.full_like(x, 0)) + ops.log1p(exp(-ops.abs_(x)))),
    "sigmoid": lambda x: total(ops.sigmoid(x)),
    "log of probabilities given": lambda x: total(x * log(x)),
    "clipped": lambda x: total(log(ops.maximum(naive_sigmoid(x), ops.full_like(x, 1e-12)))),
    "polynomial": lambda x: total(x * x + 1),
}


@pytest.mark.parametrize("name", STABLE_ALREADY)
def test_stable_forms_do_not_grow(name: str) -> None:
    graph = trace(STABLE_ALREADY[name])
    records: list[PassRecord] = []
    result = stabilize(graph, records=records)
    assert len([n for n in result.nodes if n.op.name != "stop_gradient"]) <= len(graph)
    x = np.abs(logits(1.0)) + 0.1
    for got, want in zip(run(optimize(autodiff.value_and_grad(result, [0])), [x]),
                         run(autodiff.value_and_grad(graph, [0]), [x]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["log-sum-exp", "softmax", "log-softmax"])
def test_no_gradient_passes_through_a_shift(name: str) -> None:
    """The largest element of a shifted softmax cancels: its ties need not be looked for."""
    def log_softmax(x: Value) -> Value:
        z = x - largest(x)
        return total(weights(x) * (z - log(rows(exp(z)))))

    f = STABLE_ALREADY.get(name, log_softmax)
    graph = stabilize(trace(f))
    assert "stop_gradient" in {n.op.name for n in graph.nodes}
    assert "eq" not in {n.op.name for n in autodiff.value_and_grad(graph, [0]).nodes}
    check_derivatives(graph, [logits(1.0)])


def across(x: Value) -> Value:
    """One number for each row, spread over columns: a forgotten keepdims."""
    return ops.broadcast(x, shape=(x.shape[0], x.shape[0]))


SHIFTED_ELSEWHERE: dict[str, Callable[[Value], Value]] = {
    "other rows' sums": lambda x: exp(x - largest(x)) / across(
        ops.sum_(exp(x - largest(x)), axes=(1,))),
    "maxima of columns": lambda x: exp(x - across(ops.max_(x, axes=(0,)))) / rows(
        exp(x - across(ops.max_(x, axes=(0,))))),
    "other rows' logarithms": lambda x: x - largest(x) - across(
        log(ops.sum_(exp(x - largest(x)), axes=(1,)))),
    "other rows' maxima": lambda x: across(ops.max_(x, axes=(1,))) + spread(
        log(ops.sum_(exp(x - largest(x)), axes=(1,))), x, (1,)),
}


@pytest.mark.parametrize("name", SHIFTED_ELSEWHERE)
def test_a_shift_that_does_not_cancel_has_a_gradient(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(4, 4))
    weights = np.arange(16.0).reshape(4, 4)
    graph = trace(lambda x: total(
        ops.const(x.builder, weights) * SHIFTED_ELSEWHERE[name](x)), (4, 4))
    check_derivatives(graph, [x])
    for got, want in zip(run(autodiff.value_and_grad(stabilize(graph), [0]), [x]),
                         run(autodiff.value_and_grad(graph, [0]), [x]), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_a_shift_by_the_largest_of_all_is_made_a_shift_by_row() -> None:
    """x − max(x) over everything underflows in rows that lie far below."""
    def f(x: Value) -> Value:
        shift = spread(ops.max_(x, axes=(0, 1)), x, (0, 1))
        return total(log(ops.sum_(exp(x - shift), axes=(1,))))

    x = np.array([[0.0, 1, 2, 3], [-2000, -2001, -2002, -2003], [5, 5, 5, 5]])
    naive, stable = run(trace(f), [x])[0], run(stabilize(trace(f)), [x])[0]
    assert naive == -np.inf
    np.testing.assert_allclose(stable, (lse(x) - x.max()).sum())


def test_cancellation_is_avoided() -> None:
    tiny = np.full(SHAPE, 1e-12)
    for f, want in (
        (lambda x: log(x + 1), 1e-12), (lambda x: log(1 - x), -1e-12),
        (lambda x: exp(x) - 1, 1e-12), (lambda x: 1 - exp(x), -1e-12),
        (lambda x: exp(x) + -1, 1e-12),
    ):
        np.testing.assert_allclose(run(stabilize(trace(f)), [tiny])[0], want, rtol=1e-11)
        np.testing.assert_allclose(run(optimize(trace(f)), [tiny])[0], want, rtol=1e-11)


def test_weak_types_are_kept_for_later_traces() -> None:
    builder = Builder("f")
    x = builder.input("x", TensorType(F64, (), True))
    one = ops.const(builder, 1.0, weak=True)
    graph = builder.build([one / (exp(-x) + ops.const(builder, 1.0, weak=True)), log(exp(x) + one)])
    result = stabilize(graph)
    assert result.output_types == graph.output_types == (TensorType(F64, (), True),) * 2
    assert {n.op.name for n in result.nodes} >= {"sigmoid", "softplus"}


def test_stop_gradient_survives_until_after_differentiation() -> None:
    graph = stabilize(trace(lambda x: total(ops.stop_gradient(x) * x)))
    x = logits(1.0)
    np.testing.assert_array_equal(run(autodiff.value_and_grad(graph, [0]), [x])[1], x)
    assert "stop_gradient" not in {n.op.name for n in optimize(graph).nodes}


def test_every_function_among_the_rules_fires() -> None:
    fired: set[str] = set()
    for f, _ in NAIVE.values():
        rewriter = Rewriter("f", ACCURATE)
        verify(rewriter.rewrite(trace(f)))
        fired |= set(rewriter.fired)
    assert {r.name for r in ACCURATE if r.pattern is None} <= fired | {
        "log10_improved", "times_reciprocal"}


def test_a_product_with_a_reciprocal_is_a_quotient() -> None:
    """log x has the slope 1/x; times a cotangent, that is one division."""
    graph = autodiff.value_and_grad(trace(lambda x: total(log(x) * weights(x))), [0])
    ops_ = [n.op.name for n in optimize(graph).nodes if n.role.kind == "adjoint"]
    assert ops_ == ["div"]
    x = np.full(SHAPE, 5e-324)
    got = run(optimize(trace(lambda x: weights(x) * (1 / x))), [x])[0]
    assert got[0, 0] == 0  # 0·(1/x) would be 0·∞


def test_a_long_product_of_exponentials_needs_no_deep_stack() -> None:
    def product(x: Value) -> Value:
        out = exp(x)
        for _ in range(3000):
            out = out * exp(x)
        return log(out)

    graph = stabilize(trace(product))
    assert np.isfinite(run(graph, [np.full(SHAPE, 1e-3)])[0]).all()
