"""Distances to centres and hyperplanes: Gaussian mixture, k-means cost, support vector machine."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads import loops
from workloads.workload import CALL, Array, Loss, Workload


def mixture(xp: Any) -> Loss:
    """ADBench's Gaussian mixture: log weights, means, log diagonals and lower triangles of the
    inverse covariances' square roots, with a Wishart prior.
    """

    def loss(weights: Any, means: Any, diagonal: Any, lower: Any, x: Any, below: Any) -> Any:
        apart = x - means[:, None, :]
        scale = xp.exp(diagonal)
        triangle = lower * below
        z = apart * scale[:, None, :] + apart @ xp.swapaxes(triangle, 1, 2)
        shift = weights + xp.sum(diagonal, axis=1)
        likelihood = xp.logsumexp(
            shift[:, None] - 0.5 * xp.sum(z * z, axis=2), axis=0, keepdims=False
        )
        prior = 0.5 * (xp.sum(scale * scale) + xp.sum(triangle * triangle)) - xp.sum(diagonal)
        each = xp.logsumexp(weights, axis=0, keepdims=False)
        return prior + x.shape[0] * each - xp.sum(likelihood)

    return loss


def mixture_by_hand(
    weights: Array, means: Array, diagonal: Array, lower: Array, x: Array, below: Array
) -> Any:
    apart = x - means[:, None, :]
    scale, triangle = np.exp(diagonal), lower * below
    z = apart * scale[:, None, :] + apart @ triangle.swapaxes(1, 2)
    terms = (weights + np.sum(diagonal, axis=1))[:, None] - np.sum(z * z, axis=2) / 2
    largest, heaviest = terms.max(axis=0), weights.max()
    shares, each = np.exp(terms - largest), np.exp(weights - heaviest)
    total = shares.sum(axis=0)
    value = (
        0.5 * (np.sum(scale * scale) + np.sum(triangle * triangle)) - np.sum(diagonal)
        + len(x) * (np.log(each.sum()) + heaviest) - np.sum(np.log(total) + largest)
    )
    shares /= total
    mass = shares.sum(axis=1)
    dz = z * shares[:, :, None]
    dscale = np.sum(dz * apart, axis=1) + scale
    dapart = dz * scale[:, None, :] + dz @ triangle
    return value, [
        len(x) * each / each.sum() - mass, -dapart.sum(axis=1),
        dscale * scale - 1 - mass[:, None],
        (dz.swapaxes(1, 2) @ apart + triangle) * below,
    ]


def mixture_data(n: int, d: int, k: int) -> Any:
    return lambda rng: (
        [rng.normal(size=k), rng.normal(size=(k, d)), rng.normal(size=(k, d)) / 4,
         rng.normal(size=(k, d, d)) / 4],
        [rng.normal(size=(n, d)), np.tril(np.ones((d, d)), -1)],
    )


def kmeans(xp: Any) -> Loss:
    """Sum of squared distances of points to their nearest centres."""

    def loss(centres: Any, x: Any) -> Any:
        apart = x[:, None, :] - centres
        return xp.sum(xp.min(xp.sum(apart * apart, axis=2), axis=1))

    return loss


def kmeans_by_hand(centres: Array, x: Array) -> Any:
    distance = (
        np.sum(x * x, axis=1)[:, None] + np.sum(centres * centres, axis=1) - 2 * (x @ centres.T)
    )
    nearest = np.argmin(distance, axis=1)
    apart = x - centres[nearest]
    gradient = np.zeros_like(centres)
    np.add.at(gradient, nearest, -2 * apart)
    return np.sum(apart * apart), [gradient]


def machine(xp: Any) -> Loss:
    """The multiclass hinge loss, with a ridge."""

    def loss(w: Any, x: Any, y: Any, rows: Any) -> Any:
        scores = x @ w
        margins = xp.maximum(scores - scores[rows, y][:, None] + 1.0, 0.0)
        return xp.sum(margins) * (1 / x.shape[0]) + 1e-3 * xp.sum(w * w)

    return loss


def machine_by_hand(w: Array, x: Array, y: Array, rows: Array) -> Any:
    scores = x @ w
    margins = np.maximum(scores - scores[rows, y][:, None] + 1, 0)
    d = (margins > 0).astype(w.dtype)
    d[rows, y] -= d.sum(axis=1)
    d /= len(rows)
    value = np.sum(margins) / len(rows) + 1e-3 * np.sum(w * w)
    return value, [x.T @ d + w.dtype.type(2e-3) * w]


WORKLOADS = (
    Workload(
        "svm 500x3073x10", machine, machine_by_hand,
        lambda rng: ([rng.normal(size=(3073, 10)) / 100],
                     [rng.normal(size=(500, 3073)), rng.integers(0, 10, 500), np.arange(500)]),
        4 * 500 * 3073 * 10, 500 * 3073 + 2 * 3073 * 10, loops=loops.machine,
    ),
    Workload(
        "mixture n1000 d10 k10", mixture, mixture_by_hand, mixture_data(1000, 10, 10),
        1000 * 10 * (3 * 2 * 10 * 10 + 8 * 10 + CALL), 1000 * 10 + 2 * 10 * 121,
        loops=loops.mixture,
    ),
    Workload(
        "k-means n10000 d8 k100", kmeans, kmeans_by_hand,
        lambda rng: ([rng.normal(size=(100, 8))], [rng.normal(size=(10_000, 8))]),
        10_000 * 100 * 8 * 3, 10_000 * 8 + 2 * 800, loops=loops.kmeans,
    ),
)
