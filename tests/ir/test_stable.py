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
from tests.sampling import Array

SHAPE = (3, 4)
ROWS, LABELS = np.arange(3), np.array([0, 2, 1])
ONE_HOT = np.eye(4)[LABELS]


def total(x: Value) -> Value:
    return ops.sum_(x, axes=tuple(range(len(x.shape))))


def rows(x: Value) -> Value:
    """The sums of rows, spread over the rows again (keepdims)."""
    return spread(ops.sum_(x, axes=(1,)), x, (1,))


def one_hot(x: Value) -> Value:
    return ops.const(x.builder, ONE_HOT, x.dtype)


def picked(p: Value) -> Value:
    return ops.gather(p, ops.const(p.builder, ROWS), ops.const(p.builder, LABELS))


def naive_sigmoid(x: Value) -> Value:
    return 1 / (exp(-x) + 1)


def naive_softmax(x: Value) -> Value:
    return exp(x) / rows(exp(x))


def naive_softmax_of_columns(x: Value) -> Value:
    """(eᵀ / e.sum(1))ᵀ, the way round that needs no keepdims."""
    e = exp(x)
    flipped = ops.transpose(e, perm=(1, 0))
    return ops.transpose(
        flipped / ops.broadcast(ops.sum_(e, axes=(1,)), shape=flipped.shape), perm=(1, 0))


# -- the truth, by formulas that are stable by themselves


def sigma(x: Array) -> Array:
    return np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))


def lse(x: Array) -> Array:
    m = x.max(1, keepdims=True)
    return m + np.log(np.exp(x - m).sum(1, keepdims=True))


def soft(x: Array) -> Array:
    return np.exp(x - lse(x))


def true_bce(x: Array) -> tuple[float, Array]:
    return np.logaddexp(0, np.where(ONE_HOT, -x, x)).sum(), sigma(x) - ONE_HOT


def true_ce(x: Array) -> tuple[float, Array]:
    return (lse(x) - x)[ROWS, LABELS].sum(), soft(x) - ONE_HOT


def true_lse(x: Array) -> tuple[float, Array]:
    return lse(x).sum(), soft(x)


def true_pair(x: Array) -> tuple[float, Array]:
    return np.logaddexp(x, 2).sum(), sigma(x - 2)


def true_mean(x: Array) -> tuple[float, Array]:
    return (lse(x) - np.log(4)).sum(), soft(x)


def true_softplus(x: Array) -> tuple[float, Array]:
    return np.logaddexp(0, x).sum(), sigma(x)


def true_tanh(x: Array) -> tuple[float, Array]:
    return np.tanh(x).sum(), 4 * sigma(2 * x) * sigma(-2 * x)


def true_swish(x: Array) -> tuple[float, Array]:
    return (x * sigma(x)).sum(), sigma(x) + x * sigma(x) * sigma(-x)


def true_weighted(x: Array) -> tuple[float, Array]:
    w = ONE_HOT + 1
    m = x.max(1, keepdims=True)
    e = w * np.exp(x - m)
    return (m + np.log(e.sum(1, keepdims=True))).sum(), e / e.sum(1, keepdims=True)


def true_third(x: Array) -> tuple[float, Array]:
    p = soft(x)
    w = np.arange(12.0).reshape(SHAPE)
    return (w * p).sum(), p * (w - (w * p).sum(1, keepdims=True))


def weights(x: Value) -> Value:
    return ops.const(x.builder, np.arange(12.0).reshape(SHAPE), x.dtype)


def two(x: Value) -> Value:
    return ops.full_like(x, 2)


Truth = Callable[[Array], tuple[float, Array]]
NAIVE: dict[str, tuple[Callable[[Value], Value], Truth]] = {
    "binary cross-entropy": (
        lambda x: -total(one_hot(x) * log(naive_sigmoid(x))
                         + (1 - one_hot(x)) * log(1 - naive_sigmoid(x))), true_bce),
    "binary cross-entropy by where": (
        lambda x: -total(log(ops.where(one_hot(x) > 0, naive_sigmoid(x), 1 - naive_sigmoid(x)))),
        true_bce),
    "binary cross-entropy of exp(x)/(1+exp(x))": (
        lambda x: -total(one_hot(x) * log(exp(x) / (exp(x) + 1))
                         + (1 - one_hot(x)) * log(1 - exp(x) / (exp(x) + 1))), true_bce),
    "reshaped probabilities": (
        lambda x: -total(ops.reshape(one_hot(x), shape=(12,))
                         * log(ops.reshape(naive_sigmoid(x), shape=(12,)))
                         + ops.reshape(1 - one_hot(x), shape=(12,))
                         * log(1 - ops.reshape(naive_sigmoid(x), shape=(12,)))), true_bce),
    "cross-entropy": (lambda x: -total(one_hot(x) * log(naive_softmax(x))), true_ce),
    "cross-entropy by index": (lambda x: -total(log(picked(naive_softmax(x)))), true_ce),
    "cross-entropy of columns": (
        lambda x: -total(one_hot(x) * log(naive_softmax_of_columns(x))), true_ce),
    "cross-entropy, index first": (
        lambda x: -total(log(picked(exp(x)) / ops.sum_(exp(x), axes=(1,)))), true_ce),
    "cross-entropy of logits": (
        lambda x: total(log(ops.sum_(exp(x), axes=(1,))) - picked(x)), true_ce),
    "cross-entropy in bits": (
        lambda x: -total(ops.log2(picked(naive_softmax(x)))) * np.log(2), true_ce),
    "cross-entropy by reciprocal": (
        lambda x: -total(one_hot(x) * log(exp(x) * rows_inverse(x))), true_ce),
    "log-sum-exp": (lambda x: total(log(ops.sum_(exp(x), axes=(1,)))), true_lse),
    "log-mean-exp": (lambda x: total(log(ops.sum_(exp(x), axes=(1,)) / 4)), true_mean),
    "log-mean-exp by product": (
        lambda x: total(log(ops.sum_(exp(x), axes=(1,)) * 0.25)), true_mean),
    "weighted log-sum-exp": (
        lambda x: total(log(ops.sum_((one_hot(x) + 1) * exp(x), axes=(1,)))), true_weighted),
    "logaddexp": (lambda x: total(log(exp(x) + exp(two(x)))), true_pair),
    "logaddexp of a number": (lambda x: total(log(exp(x) + np.exp(2))), true_pair),
    "softplus": (lambda x: total(log(exp(x) + 1)), true_softplus),
    "softplus by log1p": (lambda x: total(ops.log1p(exp(x))), true_softplus),
    "softmax": (lambda x: total(weights(x) * naive_softmax(x)), true_third),
    "swish": (lambda x: total(x / (exp(-x) + 1)), true_swish),
    "tanh": (lambda x: total((exp(x) - exp(-x)) / (exp(x) + exp(-x))), true_tanh),
    "tanh by one exponential": (
        lambda x: total((exp(x * 2) - 1) / (exp(x * 2) + 1)), true_tanh),
    "tanh by a falling exponential": (
        lambda x: total((1 - exp(x * -2)) / (exp(x * -2) + 1)), true_tanh),
    "log of a product of exponentials": (
        lambda x: total(log(exp(x) * exp(x))), lambda x: (2 * x.sum(), np.full(SHAPE, 2.0))),
    "log of exp": (lambda x: total(log(exp(x))), lambda x: (x.sum(), np.ones(SHAPE))),
}


def rows_inverse(x: Value) -> Value:
    return spread(1 / ops.sum_(exp(x), axes=(1,)), x, (1,))


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
