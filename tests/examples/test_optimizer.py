"""Muon, written as a user would: against singular values, and a training in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from tests.examples.loading import load

optimizer = load("optimizer")


def by_singular_values(g: Any) -> Any:
    """The quintic of Newton and Schulz, five times, on the singular values."""
    u, s, vt = np.linalg.svd(g, full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-7)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return np.sqrt(max(1, g.shape[1] / g.shape[0])) * (u * s) @ vt


@pytest.mark.parametrize("shape", [(16, 64), (64, 64), (64, 4), (5, 1)])
def test_newton_and_schulz_act_on_singular_values(shape: tuple[int, int]) -> None:
    g = np.random.default_rng(0).standard_normal(shape)
    expected = by_singular_values(g)
    for function in (optimizer.orthogonal, gradc.compile(optimizer.orthogonal)):
        np.testing.assert_allclose(function(g), expected, rtol=1e-8, atol=1e-10)
    values = np.linalg.svd(expected, compute_uv=False) / np.sqrt(max(1, shape[1] / shape[0]))
    if shape != (64, 64):  # which has some near zero
        assert values.min() > 0.6 and values.max() < 1.3


def gradient(params: dict[str, Any], x: Any, y: Any) -> tuple[float, dict[str, Any]]:
    """The loss and its gradient, by hand."""
    layers = [x]
    for k in "12":
        layers.append(np.tanh(layers[-1] @ params[f"W{k}"] + params[f"b{k}"]))
    error = layers[-1] @ params["W3"] + params["b3"] - y
    loss, error, grads = np.mean(error**2), 2 * error / error.size, {}
    for k in (3, 2, 1):
        grads[f"W{k}"], grads[f"b{k}"] = layers[k - 1].T @ error, error.sum(axis=0)
        error = (error @ params[f"W{k}"].T) * (1 - layers[k - 1] ** 2)
    return float(loss), grads


def test_the_steps_are_muons() -> None:
    params, (x, y) = optimizer.problem(np.random.default_rng(0))
    trainer = gradc.train(
        optimizer.loss, optimizer=optimizer.muon(0.01), batch_size=optimizer.BATCH)
    result = trainer.fit(params, (x, y), epochs=2, seed=5)

    expected = {name: value.copy() for name, value in params.items()}
    momentum = {name: 0.0 * value for name, value in params.items()}
    losses = []
    for epoch in range(2):
        key = np.array([5, epoch], np.uint64)
        order = np.random.Generator(np.random.Philox(key=key)).permutation(len(x))
        for rows in np.split(order, len(x) // optimizer.BATCH):
            loss, grads = gradient(expected, x[rows], y[rows])
            losses.append(loss)
            for name, g in grads.items():
                momentum[name] = 0.95 * momentum[name] + g
                step = g + 0.95 * momentum[name]
                expected[name] -= 0.01 * (step if g.ndim == 1 else by_singular_values(step))
    np.testing.assert_allclose(result.losses, np.split(np.array(losses), 2) @ np.ones(8) / 8,
                               rtol=1e-9)
    for name, value in expected.items():
        np.testing.assert_allclose(result.params[name], value, rtol=1e-6, atol=1e-8)


def test_it_gets_further_than_the_others() -> None:
    params, data = optimizer.problem(np.random.default_rng(0))

    def last(name: str) -> float:
        make, rates = optimizer.OPTIMIZERS[name]
        trainer = gradc.train(optimizer.loss, make(rates[-1]), batch_size=optimizer.BATCH)
        return float(trainer.fit(params, data, epochs=optimizer.EPOCHS).losses[-1])

    sgd, adam, muon = map(last, optimizer.OPTIMIZERS)
    assert muon < 0.85 * adam < 0.5 * sgd
