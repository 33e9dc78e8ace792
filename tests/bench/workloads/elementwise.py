"""Sums of elementwise functions, and logistic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads import loops
from workloads.workload import CALL, Array, Loss, Workload


def squares(xp: Any) -> Loss:
    """Σ x²: of four elements, what a call costs; of many, memory."""
    return lambda x: xp.sum(x * x)


def squares_by_hand(x: Array) -> Any:
    return np.sum(x * x), [2 * x]


def rosenbrock(xp: Any) -> Loss:
    """Rosenbrock's valley, in the chained form."""
    return lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def rosenbrock_by_hand(x: Array) -> Any:
    step, rest = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    gradient = np.zeros_like(x)
    gradient[:-1] = -400 * step * x[:-1] - 2 * rest
    gradient[1:] += 200 * step
    return np.sum(100 * step**2 + rest**2), [gradient]


def chain(xp: Any) -> Loss:
    """Transcendentals, one after another."""
    return lambda x: xp.sum(xp.sin(x) * xp.exp(-x * x) + xp.log1p(x * x))


def chain_by_hand(x: Array) -> Any:
    square = x * x
    bell, sine = np.exp(-square), np.sin(x)
    gradient = bell * (np.cos(x) - 2 * x * sine) + 2 * x / (1 + square)
    return np.sum(sine * bell + np.log1p(square)), [gradient]


def logsumexp(xp: Any) -> Loss:
    """The soft maximum."""
    return lambda x: xp.logsumexp(x, axis=0, keepdims=False)


def logsumexp_by_hand(x: Array) -> Any:
    largest = np.max(x)
    shifted = np.exp(x - largest)
    total = np.sum(shifted)
    return largest + np.log(total), [shifted / total]


def logistic_regression(xp: Any) -> Loss:
    """Mean of log(1 + exp(-y x·w)), y = ±1."""
    return lambda w, x, y: xp.mean(xp.log1p(xp.exp(-y * (x @ w))))


def logistic_regression_by_hand(w: Array, x: Array, y: Array) -> Any:
    bell = np.exp(-y * (x @ w))
    return np.mean(np.log1p(bell)), [(-y * bell / (1 + bell) / w.dtype.type(len(y))) @ x]


def vector(n: int, scale: float = 1.0) -> Any:
    """What draws one normal vector."""
    return lambda rng: ([rng.normal(size=n) * scale], [])


def logistic_data(n: int, d: int) -> Any:
    """What draws weights, inputs and labels."""
    return lambda rng: (
        [rng.normal(size=d) / d],
        [rng.normal(size=(n, d)), np.where(rng.integers(0, 2, n) == 1, 1.0, -1.0)],
    )


WORKLOADS = (
    *(
        Workload(f"squares {n}", squares, squares_by_hand, vector(n), 3 * n, 2 * n,
                 loops=loops.squares, scalars=n <= 100)
        for n in (4, 100, 10_000, 1_000_000)
    ),
    *(
        Workload(f"rosenbrock {n}", rosenbrock, rosenbrock_by_hand, vector(n), 14 * n, 2 * n,
                 loops=loops.rosenbrock, scalars=True)
        for n in (10, 1000)
    ),
    *(
        Workload(f"logreg {n}x{d}", logistic_regression, logistic_regression_by_hand,
                 logistic_data(n, d), 4 * n * d + 2 * CALL * n, n * d + n + 2 * d,
                 loops=loops.logistic_regression, scalars=n * d <= 2000)
        for n, d in ((200, 10), (20_000, 100))
    ),
    *(
        Workload(f"chain {n}", chain, chain_by_hand, vector(n), (4 * CALL + 10) * n, 2 * n,
                 loops=loops.chain, scalars=n <= 100)
        for n in (16, 10_000, 1_000_000)
    ),
    *(
        Workload(f"logsumexp {n}", logsumexp, logsumexp_by_hand, vector(n, 3.0), (CALL + 4) * n,
                 2 * n, loops=loops.logsumexp)
        for n in (2500, 50_000, 1_280_000)
    ),
)
