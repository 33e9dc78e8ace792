"""The network of eleven lines: in NumPy with its gradient by hand, and as one native loop.

Run it:  python examples/eleven_lines.py
"""

from __future__ import annotations

import time

import numpy as np

import gradc

X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], float)
y = np.array([[0, 1, 1, 0]], float).T
STEPS = 60_000


def by_hand(w0, w1):
    """Eleven lines, two of them data: forward, backward, update."""
    for _ in range(STEPS):
        l1 = 1 / (1 + np.exp(-(X @ w0)))
        l2 = 1 / (1 + np.exp(-(l1 @ w1)))
        l2_delta = (y - l2) * (l2 * (1 - l2))
        l1_delta = (l2_delta @ w1.T) * (l1 * (1 - l1))
        w1 = w1 + l1.T @ l2_delta
        w0 = w0 + X.T @ l1_delta
    return w0, w1


def loss(weights, x, y):
    """The loss whose gradient the eleven lines descend."""
    w0, w1 = weights
    l1 = 1 / (1 + np.exp(-(x @ w0)))
    l2 = 1 / (1 + np.exp(-(l1 @ w1)))
    return np.sum((y - l2) ** 2) / 2


def predict(w0, w1):
    return 1 / (1 + np.exp(-(1 / (1 + np.exp(-(X @ w0))) @ w1)))


def seconds(function, repeats):
    """The fastest of a few runs, and the result of the last."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def main():
    rng = np.random.default_rng(1)
    weights = 2 * rng.random((3, 4)) - 1, 2 * rng.random((4, 1)) - 1

    trainer = gradc.train(loss, optimizer=gradc.optim.sgd(1.0))
    compiling, _ = seconds(lambda: trainer.fit(weights, (X, y), epochs=1), 1)
    slow, hand = seconds(lambda: by_hand(*weights), 2)
    fast, native = seconds(lambda: trainer.fit(weights, (X, y), epochs=STEPS), 5)

    print(f"Exclusive or, four samples, {STEPS:,} steps of gradient descent\n")
    print("  wanted    NumPy         gradc")
    for wanted, a, b in zip(y[:, 0], predict(*hand)[:, 0], predict(*native.params)[:, 0],
                            strict=True):
        print(f"  {wanted:.0f}         {a:.8f}    {b:.8f}")
    apart = max(np.abs(a - b).max() for a, b in zip(hand, native.params, strict=True))
    print(f"\n  largest difference of a weight   {apart:.1e}")
    print(f"  loss, first and last step        {native.losses[0]:.4f}, {native.losses[-1]:.1e}\n")
    print(f"  NumPy   {slow * 1e3:7.1f} ms   {slow / STEPS * 1e9:7.0f} ns a step")
    print(f"  gradc   {fast * 1e3:7.1f} ms   {fast / STEPS * 1e9:7.0f} ns a step"
          f"   {slow / fast:.0f} times as fast (compiled in {compiling * 1e3:.0f} ms)")


if __name__ == "__main__":
    main()
