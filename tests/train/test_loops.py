"""Losses with loops and branches in native training."""

from __future__ import annotations

import numpy as np

import gradc
from gradc.optim import sgd

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(14, 3)), RNG.normal(size=14)


def plain(params, x, y):
    h = x
    for _ in range(3):
        h = np.tanh(h @ params["w"])
    n = 0.5 * np.sum(params["s"] ** 2)
    return np.mean((np.sum(h, axis=1) - y) ** 2) + 0.01 * n


def looped(params, x, y):
    h = gradc.fori_loop(0, 3, lambda i, h: np.tanh(h @ params["w"]), x)

    def halve(state):
        count, _ = state
        return count + 1, 0.5 * np.sum(params["s"] ** 2)

    _, n = gradc.while_loop(lambda state: state[0] < 1, halve, (0, 0.0), max_trips=3)
    return np.mean((np.sum(h, axis=1) - y) ** 2) + 0.01 * n


def test_losses_with_loops_train_as_those_without():
    start = {"w": 0.5 * RNG.normal(size=(3, 3)), "s": np.ones(2)}
    results = [
        gradc.train(loss, optimizer=sgd(0.1), batch_size=4).fit(start, (X, Y), epochs=7, seed=1)
        for loss in (plain, looped)
    ]
    np.testing.assert_allclose(results[1].losses, results[0].losses, rtol=1e-10)
    for name in start:
        np.testing.assert_allclose(
            results[1].params[name], results[0].params[name], rtol=1e-9, atol=1e-12)


def test_a_while_within_a_loop_that_may_be_left():
    def loss(params, x, y):
        total = 0.0
        for i in range(len(x)):
            r = x[i] * params
            while np.sum(r * r) > 0.5:
                r = r * 0.8
            total = total + (np.sum(r) - y[i]) ** 2
            if total > 20:
                break
        return total

    start = RNG.normal(size=3)
    result = gradc.train(loss, optimizer=sgd(0.01)).fit(start, (X, Y), epochs=3)
    w = start
    for _ in range(3):
        differences = [
            (loss(w + step, X, Y) - loss(w - step, X, Y)) / 2e-6 for step in 1e-6 * np.eye(3)]
        w = w - 0.01 * np.array(differences)
    np.testing.assert_allclose(result.params, w, atol=1e-8)
