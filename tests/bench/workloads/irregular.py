"""Slices, broadcasts and gathers: a stencil with coefficients by row and column, embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads import loops
from workloads.workload import Array, Loss, Workload


def stencil(xp: Any) -> Loss:
    """Squared residual of an anisotropic diffusion, its coefficients along rows and columns."""

    def loss(u: Any, across: Any, down: Any, f: Any) -> Any:
        middle = u[1:-1, 1:-1]
        lap = across[:, None] * (u[1:-1, 2:] - 2.0 * middle + u[1:-1, :-2])
        lap = lap + down * (u[2:, 1:-1] - 2.0 * middle + u[:-2, 1:-1])
        return xp.sum((lap - f) ** 2)

    return loss


def stencil_by_hand(u: Array, across: Array, down: Array, f: Array) -> Any:
    middle = u[1:-1, 1:-1]
    row = u[1:-1, 2:] - 2 * middle + u[1:-1, :-2]
    column = u[2:, 1:-1] - 2 * middle + u[:-2, 1:-1]
    rest = across[:, None] * row + down * column - f
    d = 2 * rest
    a, b = d * across[:, None], d * down
    du = np.zeros_like(u)
    du[1:-1, 2:] += a
    du[1:-1, :-2] += a
    du[2:, 1:-1] += b
    du[:-2, 1:-1] += b
    du[1:-1, 1:-1] -= 2 * (a + b)
    return np.sum(rest**2), [du, np.sum(d * row, axis=1), np.sum(d * column, axis=0)]


def embedding(xp: Any) -> Loss:
    """Bags of tokens: rows of a table, their mean, a weight, squared error."""

    def loss(table: Any, w: Any, tokens: Any, y: Any) -> Any:
        return xp.mean((xp.mean(table[tokens], axis=1) @ w - y) ** 2)

    return loss


def embedding_by_hand(table: Array, w: Array, tokens: Array, y: Array) -> Any:
    bags = np.mean(table[tokens], axis=1)
    error = bags @ w - y
    d = error * y.dtype.type(2 / len(y))
    gradient = np.zeros_like(table)
    rows = (d / y.dtype.type(tokens.shape[1]))[:, None] * w
    np.add.at(gradient, tokens.T, rows[None])
    return np.mean(error**2), [gradient, d @ bags]


WORKLOADS = (
    Workload(
        "stencil 512x512", stencil, stencil_by_hand,
        lambda rng: ([rng.normal(size=(512, 512)), rng.normal(size=510), rng.normal(size=510)],
                     [rng.normal(size=(510, 510))]),
        30 * 512 * 512, 3 * 512 * 512, loops=loops.stencil,
    ),
    Workload(
        "embedding 10000x64 of 256x16", embedding, embedding_by_hand,
        lambda rng: ([rng.normal(size=(10_000, 64)), rng.normal(size=64)],
                     [rng.integers(0, 10_000, (256, 16)), rng.normal(size=256)]),
        256 * 16 * 64 * 2, 10_000 * 64 + 3 * 256 * 16 * 64, loops=loops.embedding,
    ),
)
