"""Multilayer perceptrons: regression with tanh, classification with rectifiers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from workloads import loops
from workloads.rows import cross_entropy_by_hand
from workloads.workload import CALL, Array, Loss, Workload


def layers(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Array]:
    """Weights and biases, alternating."""
    return [
        a
        for m, n in itertools.pairwise(sizes)
        for a in (rng.normal(size=(m, n)) / np.sqrt(m), rng.normal(size=n) / 10)
    ]


def regression(xp: Any) -> Loss:
    """Squared error of layers with tanh."""

    def loss(*arrays: Any) -> Any:
        *params, x, y = arrays
        for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
            x = xp.tanh(x @ w + b)
        return xp.mean((x @ params[-2] + params[-1] - y) ** 2)

    return loss


def regression_by_hand(*arrays: Array) -> Any:
    *params, x, y = arrays
    inputs = [x]
    for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
        inputs.append(np.tanh(inputs[-1] @ w + b))
    error = inputs[-1] @ params[-2] + params[-1] - y
    d = error * y.dtype.type(2 / error.size)
    gradients = []
    for w, given in zip(params[-2::-2], reversed(inputs), strict=True):
        gradients += [d.sum(axis=0), given.T @ d]
        if given is not x:
            d = (d @ w.T) * (1 - given * given)
    return np.mean(error**2), gradients[::-1]


def classifier(xp: Any) -> Loss:
    """Softmax cross-entropy of two layers; ``y`` are labels."""

    def loss(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any, rows: Any) -> Any:
        scores = xp.maximum(x @ w1 + b1, 0.0) @ w2 + b2
        return xp.mean(xp.logsumexp(scores, axis=1, keepdims=False) - scores[rows, y])

    return loss


def classifier_by_hand(
    w1: Array, b1: Array, w2: Array, b2: Array, x: Array, y: Array, rows: Array
) -> Any:
    hidden = np.maximum(x @ w1 + b1, 0)
    value, (d,) = cross_entropy_by_hand(hidden @ w2 + b2, y, rows)
    dh = (d @ w2.T) * (hidden > 0)
    return value, [x.T @ dh, dh.sum(axis=0), hidden.T @ d, d.sum(axis=0)]


def flops(sizes: tuple[int, ...], batch: int) -> float:
    """Three products a layer but two of the first, and an activation for each hidden unit."""
    pairs = list(itertools.pairwise(sizes))
    products = sum(6 * m * n for m, n in pairs) - 2 * pairs[0][0] * pairs[0][1]
    return batch * (products + CALL * sum(sizes[1:-1]))


def numbers(sizes: tuple[int, ...], batch: int) -> float:
    """Parameters read and gradients written, inputs and targets read."""
    return 2 * sum((m + 1) * n for m, n in itertools.pairwise(sizes)) + batch * (
        sizes[0] + sizes[-1]
    )


def of_regression(sizes: tuple[int, ...], batch: int) -> Workload:
    return Workload(
        f"mlp {'-'.join(map(str, sizes))} x{batch}", regression, regression_by_hand,
        lambda rng: (layers(rng, sizes),
                     [rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1]))]),
        flops(sizes, batch), numbers(sizes, batch),
        loops=loops.regression, scalars=batch * sizes[1] <= 1024,
    )


def of_classifier(sizes: tuple[int, ...], batch: int) -> Workload:
    return Workload(
        f"mlp {'-'.join(map(str, sizes))} x{batch}", classifier, classifier_by_hand,
        lambda rng: (layers(rng, sizes),
                     [rng.normal(size=(batch, sizes[0])), rng.integers(0, sizes[-1], batch),
                      np.arange(batch)]),
        flops(sizes, batch), numbers(sizes, batch), loops=loops.classifier,
    )


WORKLOADS = (
    of_regression((4, 32, 32, 1), 32),
    of_regression((8, 64, 64, 8), 64),
    of_classifier((64, 128, 10), 64),
    of_classifier((784, 256, 10), 256),
    of_regression((64, 256, 256, 16), 1024),
)
