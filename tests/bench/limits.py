"""What the machine can do, measured in the same run: matrix products and copies."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Clock = Callable[[], float]


def _least(run: Callable[[], object], rounds: int, clock: Clock) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = clock()
        run()
        best = min(best, clock() - started)
    return best


def gemm_rate(dtype: str, clock: Clock, n: int = 512) -> float:
    """flops a second of a product that BLAS is good at."""
    a = np.ones((n, n), dtype)
    out = np.empty_like(a)
    return 2 * n**3 / _least(lambda: np.matmul(a, a, out=out), 12, clock)


def copy_rates(clock: Clock, quick: bool = False) -> dict[int, float]:
    """Bytes a second, read and written, of copies by the bytes they touch."""
    rates = {}
    for size in (1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24, 1 << 26):
        a = np.ones(size // 16)
        b = np.empty_like(a)
        times = max(1, (1 << 22) // size)

        def copies(a: object = a, b: object = b, times: int = times) -> None:
            for _ in range(times):
                np.copyto(b, a)

        rates[size] = size * times / _least(copies, 5 if quick else 15, clock)
    return rates


def copy_rate(rates: dict[int, float], nbytes: float) -> float:
    """The rate at the measured size that is nearest by ratio."""
    return rates[min(rates, key=lambda size: abs(math.log(size / nbytes)))]
