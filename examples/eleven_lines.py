"""The network of eleven lines: in NumPy with its gradient by hand, and as native loops.

Run it:  python examples/eleven_lines.py
"""

from __future__ import annotations

import time

import numpy as np

import gradc

X = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]], float)
y = np.array([[0, 1, 1, 0]], float).T
STEPS = 60_000


def by_hand(w0, w1, steps):
    """Eleven lines, two of them data: forward, backward, update."""
    for _ in range(steps):
        l1 = 1 / (1 + np.exp(-(X @ w0)))
        l2 = 1 / (1 + np.exp(-(l1 @ w1)))
        l2_delta = (y - l2) * (l2 * (1 - l2))
        l1_delta = (l2_delta @ w1.T) * (l1 * (1 - l1))
        w1 = w1 + l1.T @ l2_delta
        w0 = w0 + X.T @ l1_delta
    return w0, w1


def predict(w0, w1):
    return 1 / (1 + np.exp(-(1 / (1 + np.exp(-(X @ w0))) @ w1)))


def loss(weights):
    """The loss whose gradient the eleven lines descend."""
    return np.sum((y - predict(*weights)) ** 2) / 2


def descend(weights, rate, steps):
    """The same steps, with the gradient by gradc."""
    for _ in range(steps):
        d0, d1 = gradc.grad(loss)(weights)
        weights = weights[0] - rate * d0, weights[1] - rate * d1
    return weights


def last_loss(rate, weights, steps):
    """The loss after training, as a function of the learning rate."""
    return loss(descend(weights, rate, steps))


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

    lines, steps = gradc.compile(by_hand), gradc.compile(descend)
    compiling, _ = seconds(lambda: lines(*weights, STEPS), 1)
    slow, hand = seconds(lambda: by_hand(*weights, STEPS), 1)
    same, eleven = seconds(lambda: lines(*weights, STEPS), 5)
    derived, _ = seconds(lambda: steps(weights, 1.0, STEPS), 1)
    fast, native = seconds(lambda: steps(weights, 1.0, STEPS), 5)

    print(f"Exclusive or, four samples, {STEPS:,} steps of gradient descent\n")
    print("  wanted    NumPy         gradc         its own gradient")
    columns = (predict(*result)[:, 0] for result in (hand, eleven, native))
    for wanted, a, b, c in zip(y[:, 0], *columns, strict=True):
        print(f"  {wanted:.0f}         {a:.8f}    {b:.8f}    {c:.8f}")
    apart = max(np.abs(a - b).max() for a, b in zip(hand, native, strict=True))
    print(f"\n  largest difference of a weight   {apart:.1e}")
    print(f"  loss, first and last             {loss(weights):.4f}, {loss(native):.1e}\n")
    print(f"  NumPy                    {slow * 1e3:7.1f} ms   {slow / STEPS * 1e9:6.0f} ns a step")
    for title, took, compiled in (("the same lines, native", same, compiling),
                                  ("with gradc's gradient", fast, derived)):
        print(f"  {title:22}   {took * 1e3:7.1f} ms   {took / STEPS * 1e9:6.0f} ns a step"
              f"   {slow / took:4.0f} times as fast, compiled in {compiled * 1e3:.0f} ms")

    tuned = gradc.compile(last_loss)
    value, slope = tuned.value_and_grad(1.0, weights, 1000)
    print(f"\n  after 1000 steps the loss is {value:.6f}, and changes by {slope:.6f}"
          " for a unit of learning rate")


if __name__ == "__main__":
    main()
