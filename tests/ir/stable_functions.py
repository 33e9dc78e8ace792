"""Functions that overflow as they are written, and what they are in truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import exp, log, spread
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



def rows_inverse(x: Value) -> Value:
    return spread(1 / ops.sum_(exp(x), axes=(1,)), x, (1,))


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
