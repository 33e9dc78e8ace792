"""A training loop written by hand: large layers, which go in blocks of rows, inside a loop."""

from __future__ import annotations

import numpy as np

import gradc


def network(params, x, y):
    (w, b), (v, c) = params
    return np.mean((np.tanh(x @ w + b) @ v + c - y) ** 2)


def descend(params, x, y, steps):
    def step(i, carry):
        params, rate, _ = carry
        value, grads = gradc.value_and_grad(network)(params, x, y)
        moved = [
            (w - rate * dw, b - rate * db)
            for (w, b), (dw, db) in zip(params, grads, strict=True)
        ]
        return moved, rate * 0.5, value

    return gradc.fori_loop(0, steps, step, (params, 0.1, np.float64(0)))


def test_a_network_in_a_loop():
    rng = np.random.default_rng(1)
    params = [
        (rng.standard_normal((128, 128)) / 17, np.zeros(128)),
        (rng.standard_normal((128, 10)) / 11, np.zeros(10)),
    ]
    x, y = rng.standard_normal((512, 128)), rng.standard_normal((512, 10))
    found, rate, value = gradc.compile(descend)(params, x, y, 3)
    wanted = [[np.array(a) for a in pair] for pair in params]
    for r in (0.1, 0.05, 0.025):
        (w, b), (v, c) = wanted
        hidden = np.tanh(x @ w + b)
        wrong = hidden @ v + c - y
        d = 2 * wrong / wrong.size
        dh = d @ v.T * (1 - hidden**2)
        last = np.mean(wrong**2)
        wanted = [(w - r * x.T @ dh, b - r * dh.sum(0)),
                  (v - r * hidden.T @ d, c - r * d.sum(0))]
    assert rate == 0.0125
    np.testing.assert_allclose(value, last, rtol=1e-12)
    for pair, other in zip(found, wanted, strict=True):
        for a, b in zip(pair, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
