"""gradc.random against NumPy's own Philox generator: a table of times, nothing asserted.

Run ``python tests/bench/bench_random.py [count ...]``. Times are of whole calls from Python, one
thread, in nanoseconds a number; both give the same numbers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import gradc
from gradc import random

Draw = Callable[[Any, int], Any]
SINGLE = np.float32
P = np.full(1000, 1e-3)

#: what gradc draws with a key, what NumPy draws with a generator
DRAWS: dict[str, tuple[Draw, Draw]] = {
    "uniform": (lambda k, n: random.uniform(k, n), lambda g, n: g.random(n)),
    "uniform float32": (
        lambda k, n: random.uniform(k, n, SINGLE), lambda g, n: g.random(n, dtype=SINGLE)),
    "normal": (lambda k, n: random.normal(k, n), lambda g, n: g.standard_normal(n)),
    "normal float32": (
        lambda k, n: random.normal(k, n, SINGLE), lambda g, n: g.standard_normal(n, SINGLE)),
    "integers 0..99": (
        lambda k, n: random.integers(k, n, 0, 100), lambda g, n: g.integers(0, 100, n)),
    "integers 0..2**40": (
        lambda k, n: random.integers(k, n, 0, 2**40), lambda g, n: g.integers(0, 2**40, n)),
    "integers 0..99 int8": (
        lambda k, n: random.integers(k, n, 0, 100, np.int8),
        lambda g, n: g.integers(0, 100, n, np.int8)),
    "permutation": (lambda k, n: random.permutation(k, n), lambda g, n: g.permutation(n)),
    "half of n": (
        lambda k, n: random.choice(k, n, n // 2, False), lambda g, n: g.choice(n, n // 2, False)),
    "by 1000 weights": (
        lambda k, n: random.choice(k, 1000, n, p=P), lambda g, n: g.choice(1000, n, p=P)),
    "x + 0.1 * normal": (
        lambda k, n: np.zeros(n) + 0.1 * random.normal(k, n),
        lambda g, n: np.zeros(n) + 0.1 * g.standard_normal(n)),
}


def least(*runs: Callable[[], object], count: int) -> list[float]:
    """The least time of one of many runs of each, taken in turn."""
    times = max(1, 100_000 // count)
    best = [float("inf")] * len(runs)
    for _ in range(9):
        for k, run in enumerate(runs):
            start = time.thread_time()
            for _ in range(times):
                run()
            best[k] = min(best[k], (time.thread_time() - start) / times)
    return best


def main(counts: list[int]) -> None:
    """Print the table."""
    key = random.key(0)
    generator = np.random.Generator(np.random.Philox(key=key))
    print(f"{'ns a number: gradc, NumPy, ratio':<32}" + "".join(f"{n:>24,}" for n in counts))
    for name, (ours, theirs) in DRAWS.items():
        cells = []
        for n in counts:
            compiled = gradc.compile(lambda k, draw=ours, n=n: draw(k, n))
            compiled(key)
            a, b = least(
                lambda f=compiled: f(key), lambda f=theirs, n=n: f(generator, n), count=n
            )
            cells.append(f"{a / n * 1e9:>9.2f}{b / n * 1e9:>9.2f}{b / a:>5.1f}x")
        print(f"{name:<32}" + "".join(cells))


if __name__ == "__main__":
    main([int(x) for x in sys.argv[1:]] or [10, 1000, 1_000_000])
