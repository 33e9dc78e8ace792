"""Optimizers that write into gradients, state and parameters, as many in NumPy and PyTorch do."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

import gradc
from gradc.errors import OutputError
from gradc.optim import average_of
from tests.train.networks import mlp_data, mlp_loss

PARAMS, X, Y = mlp_data(np.float64)


def init(params):
    return {
        "t": 0, "m": {k: np.zeros_like(p) for k, p in params.items()},
        "s": {k: np.zeros_like(p) for k, p in params.items()},
    }


def in_place(grads, state, params):
    state["t"] += 1
    for name, g in grads.items():
        m, s = state["m"][name], state["s"][name]
        m *= 0.9
        m += 0.1 * g
        np.multiply(s, 0.99, out=s)
        g *= g
        s[...] += 0.01 * g
        params[name][:] -= 0.01 * m / (1 - 0.9 ** state["t"]) / (np.sqrt(s) + 1e-8)
    return params, state


def replaced(grads, state, params):
    """The same with new entries of the same dicts."""
    state["t"] = state["t"] + 1
    for name, g in grads.items():
        m = state["m"][name] = state["m"][name] * 0.9 + 0.1 * g
        s = state["s"][name] = state["s"][name] * 0.99 + 0.01 * (g * g)
        params[name] = params[name] - 0.01 * m / (1 - 0.9 ** state["t"]) / (np.sqrt(s) + 1e-8)
    return params, state


def pure(grads, state, params):
    t, new, means, squares = state["t"] + 1, {}, {}, {}
    for name, g in grads.items():
        m = means[name] = state["m"][name] * 0.9 + 0.1 * g
        s = squares[name] = state["s"][name] * 0.99 + 0.01 * (g * g)
        new[name] = params[name] - 0.01 * m / (1 - 0.9**t) / (np.sqrt(s) + 1e-8)
    return new, {"t": t, "m": means, "s": squares}


def trained(update, **options):
    trainer = gradc.train(mlp_loss, (init, update), 8, **options)
    before = {name: p.copy() for name, p in PARAMS.items()}
    result = trainer.fit(PARAMS, (X, Y), epochs=3, seed=1)
    assert all(np.array_equal(PARAMS[name], p) for name, p in before.items())
    return result


@pytest.mark.parametrize("update", [in_place, replaced])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.5, "average": 0.9}])
def test_as_without_writing(update, options, jit):
    got, expected = trained(update, **options), trained(pure, **options)
    assert np.array_equal(got.losses, expected.losses)
    for name in PARAMS:
        assert np.array_equal(got.params[name], expected.params[name])
        if options:
            averages = (average_of(result.state)[name] for result in (got, expected))
            assert np.array_equal(*averages)


def test_as_numpy_does_it():
    """The update is that of the same function, run by NumPy on one batch of all samples."""
    trainer = gradc.train(mlp_loss, (init, in_place))
    params = {name: p.copy() for name, p in PARAMS.items()}
    state, gradient = init(params), gradc.grad(mlp_loss)
    for _ in range(3):
        grads = {name: np.array(g) for name, g in gradient(params, X, Y).items()}
        params, state = in_place(grads, state, params)
    got = trainer.fit(PARAMS, (X, Y), epochs=3)
    for name, value in params.items():
        np.testing.assert_allclose(got.params[name], value, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(got.state["s"][name], state["s"][name], rtol=1e-11)


@pytest.mark.parametrize("update", [in_place, replaced])
def test_it_costs_nothing(update):
    def ops_of(update):
        text = gradc.train(mlp_loss, (init, update), 8).ir(PARAMS, (X, Y))
        return Counter(re.findall(r"= (\w+) ", text))

    assert ops_of(update) == ops_of(pure)


def test_an_update_that_returns_nothing():
    def update(grads, state, params):
        params["W1"] -= grads["W1"]

    with pytest.raises(OutputError, match=r"must return \(params, state\)"):
        trained(update)
