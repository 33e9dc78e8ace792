"""An optimizer of one's own, Muon, in a few lines of NumPy, beside two that gradc has.

Run it:  python examples/optimizer.py

Muon (K. Jordan et al., *Muon: an optimizer for hidden layers in neural networks*, 2024) moves a
matrix of weights along its momentum made orthogonal: all directions in which the gradients point
get the same length. Five Newton-Schulz iterations do that with products of matrices alone.
"""

from __future__ import annotations

import time

import numpy as np

import gradc

WIDTH, SAMPLES, BATCH, EPOCHS = 64, 1024, 128, 20


def muon(lr, momentum=0.95):
    """The pair (init, update). What is no matrix, a bias, just follows its momentum."""

    def init(params):
        return {name: np.zeros_like(p) for name, p in params.items()}

    def update(grads, state, params):
        state = {name: momentum * m + grads[name] for name, m in state.items()}
        step = {name: grads[name] + momentum * m for name, m in state.items()}
        new = {name: p - lr * orthogonal(step[name]) for name, p in params.items()}
        return new, state

    return init, update


def orthogonal(g):
    """Of a matrix U S Vᵀ about U Vᵀ: its singular values become some between 0.7 and 1.2."""
    if g.ndim != 2:
        return g
    inputs, outputs = g.shape
    x = g / (np.sqrt(np.sum(g * g)) + 1e-7)
    for _ in range(5):
        if inputs <= outputs:
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        else:
            a = x.T @ x
            x = 3.4445 * x + x @ (-4.7750 * a + 2.0315 * a @ a)
    return x * np.sqrt(max(1, outputs / inputs))


def loss(params, x, y):
    hidden = np.tanh(x @ params["W1"] + params["b1"])
    hidden = np.tanh(hidden @ params["W2"] + params["b2"])
    return np.mean((hidden @ params["W3"] + params["b3"] - y) ** 2)


def problem(rng):
    """A network to be found again by one that starts elsewhere: parameters and data."""
    teacher, params = initial(rng), initial(rng)
    x = rng.standard_normal((SAMPLES, 16))
    hidden = np.tanh(3 * np.tanh(2 * x @ teacher["W1"]) @ teacher["W2"])
    return params, (x, hidden @ teacher["W3"])


def initial(rng):
    params = {}
    for k, (n, m) in enumerate(((16, WIDTH), (WIDTH, WIDTH), (WIDTH, 4)), start=1):
        params[f"W{k}"] = rng.standard_normal((n, m)) / np.sqrt(n)
        params[f"b{k}"] = np.zeros(m)
    return params


OPTIMIZERS = {
    "sgd": (gradc.optim.sgd, (0.03, 0.1, 0.3)),
    "adam": (gradc.optim.adam, (0.003, 0.01, 0.03)),
    "muon, as above": (muon, (0.003, 0.01, 0.03)),
}


def main():
    params, data = problem(np.random.default_rng(0))
    print(f"A network of three layers, {SAMPLES} samples, {EPOCHS} epochs of batches of {BATCH}\n")
    print("  optimizer           rate   loss, first and last   compiled   a step")
    for name, (make, rates) in OPTIMIZERS.items():
        for lr in rates:
            trainer = gradc.train(loss, optimizer=make(lr), batch_size=BATCH)
            start = time.perf_counter()
            trainer.compile(params, data)
            compiled = time.perf_counter() - start
            start = time.perf_counter()
            result = trainer.fit(params, data, epochs=EPOCHS)
            took = (time.perf_counter() - start) / result.steps
            print(f"  {name:16}   {lr:5}   {result.losses[0]:9.4f}   {result.losses[-1]:9.5f}"
                  f"     {compiled:6.2f} s   {took * 1e6:4.0f} µs")


if __name__ == "__main__":
    main()
