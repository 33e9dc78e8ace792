"""What the machine can do, measured in the same run: matrix products and copies."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def _least(run: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def gemm_rate(dtype: str, n: int = 512) -> float:
    """flops a second of a product that BLAS is good at."""
    a = np.ones((n, n), dtype)
    out = np.empty_like(a)
    return 2 * n**3 / _least(lambda: np.matmul(a, a, out=out), 12)


def copy_rates(quick: bool = False) -> dict[int, float]:
    """Bytes a second, read and written, of copies by the bytes they touch."""
    rates = {}
    for size in (1 << 14, 1 << 17, 1 << 20, 1 << 23, 1 << 26):
        a = np.ones(size // 16)
        b = np.empty_like(a)
        times = max(1, (1 << 22) // size)

        def copies(a: object = a, b: object = b, times: int = times) -> None:
            for _ in range(times):
                np.copyto(b, a)

        rates[size] = size * times / _least(copies, 3 if quick else 15)
    return rates


def copy_rate(rates: dict[int, float], nbytes: float) -> float:
    """The rate of the least measured size that is at least ``nbytes``, or of the largest."""
    return next((rates[size] for size in sorted(rates) if size >= nbytes), rates[max(rates)])
