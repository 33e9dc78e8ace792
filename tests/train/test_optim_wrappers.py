"""Clipping and averages, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc import optim
from tests.train.optimizers import at, by_hand, gradients, leaves, params_of

STEPS = 60


def linear(params, W, a, b):
    return np.sum(params["W"] * W[0]) + np.sum(params["rest"][0] * a[0]) + params["rest"][1] * b[0]


def close(found, expected, dtype):
    rtol = 1e-12 if dtype == np.float64 else 1e-5
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


def clipped_value(grads, limit):
    return [np.minimum(np.maximum(g, -limit), limit) for g in grads]


def clipped_norm(grads, limit):
    norm = np.linalg.norm(np.concatenate([np.ravel(g) for g in grads]))
    return [g * g.dtype.type(min(1.0, limit / (norm + 1e-6))) for g in grads]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("make", "clip"),
    [
        (lambda o: optim.clip_value(o, 0.5), lambda g: clipped_value(g, 0.5)),
        (lambda o: optim.clip_norm(o, 40.0), lambda g: clipped_norm(g, 40)),
        (lambda o: optim.clip_norm(o, 0.01), lambda g: clipped_norm(g, 0.01)),
        (lambda o: optim.clip_value(optim.clip_norm(o, 2.0), 0.5),
         lambda g: clipped_norm(clipped_value(g, 0.5), 2.0)),
    ],
)
def test_clipping(make, clip, dtype, jit):
    params, grads = params_of(dtype), gradients(dtype, STEPS)
    steps = [clip(leaves(at(grads, t))) for t in range(STEPS)]
    columns = [np.stack(column) for column in zip(*steps, strict=True)]
    clipped = {"W": columns[0], "rest": columns[1:]}
    *_, expected = by_hand("sgd", {"lr": 0.1, "momentum": 0.9}, params, clipped, STEPS)
    trainer = gradc.train(
        linear, optimizer=make(optim.sgd(0.1, momentum=0.9)), batch_size=1, shuffle=False
    )
    close(leaves(trainer.fit(params, tuple(leaves(grads)), epochs=1).params), expected, dtype)


def test_a_norm_over_several_dtypes(jit):
    def loss(params, x):
        return 3.0 * np.sum(params["a"]) + 4.0 * np.sum(params["b"]) + 0 * np.sum(x)

    params = {"a": np.zeros(1, np.float32), "b": np.zeros(1)}
    optimizer = optim.clip_norm(optim.sgd(1.0), 1.0)
    result = gradc.train(loss, optimizer=optimizer).fit(params, (np.ones(1),), epochs=1).params
    assert result["a"].dtype == np.float32 and result["b"].dtype == np.float64
    np.testing.assert_allclose(result["a"], -0.6, rtol=1e-6)
    np.testing.assert_allclose(result["b"], -0.8, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.999, 1.0, None])
def test_averages(decay, dtype):
    params, grads = params_of(dtype), gradients(dtype, STEPS)
    optimizer = optim.averaged(optim.sgd(0.1), decay)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    close(leaves(optim.average_of(state)), leaves(params), dtype)
    mean = None
    for t, current in enumerate(by_hand("sgd", {"lr": 0.1}, params, grads, STEPS)):
        params, state = update(at(grads, t), state, params)
        exact = [np.asarray(x, np.float64) for x in current]
        if mean is None:
            mean = exact
        elif decay is None:
            mean = [(m * t + x) / (t + 1) for m, x in zip(mean, exact, strict=True)]
        else:
            mean = [decay * m + (1 - decay) * x for m, x in zip(mean, exact, strict=True)]
        close(leaves(optim.average_of(state)), mean, dtype)


def test_the_average_is_its_own_array():
    """The first state holds copies: training may write over the parameters."""
    params = np.ones(3)
    state = optim.averaged(optim.sgd(0.1)).init(params)
    assert not np.shares_memory(optim.average_of(state), params)


def test_averages_around_and_inside_clipping():
    outer = optim.averaged(optim.clip_value(optim.sgd(1.0), 0.5))
    inner = optim.clip_value(optim.averaged(optim.sgd(1.0)), 0.5)
    for optimizer in (outer, inner):
        _, state = optimizer.update(np.full(2, 9.0), optimizer.init(np.zeros(2)), np.zeros(2))
        np.testing.assert_allclose(optim.average_of(state), -0.5)


def test_no_average():
    with pytest.raises(gradc.errors.ArgumentError, match="no state of an optimizer that averages"):
        optim.average_of(optim.adam().init(np.ones(2)))


def test_around_an_optimizer_of_ones_own(jit):
    """Branches compile in functions that are only called by others' too."""
    def update(grads, state, params):
        if state > 1:
            return params, state
        return params - grads, state + 1

    pair = (lambda params: np.int32(0), update)
    for make in (lambda o: optim.clip_value(o, 1), lambda o: optim.clip_norm(o, 1), optim.averaged):
        trainer = gradc.train(lambda w, x: np.sum(w * x), optimizer=make(pair))
        result = trainer.fit(np.zeros(1), (np.array([[0.5], [0.5]]),), epochs=5).params
        np.testing.assert_allclose(result, -2.0, rtol=1e-5)


def test_options_of_train():
    """Clipped by value, then by norm; averaged around both."""
    def loss(w, x):
        return np.sum(w * x)

    options = {"clip_value": 3.0, "clip_norm": 1.0, "average": "mean"}
    trainer = gradc.train(loss, optim.sgd(1.0), **options)
    result = trainer.fit(np.zeros(2), (np.array([[9.0, 4.0]]),), epochs=3)
    inner = "clip_value(clip_norm(sgd(lr=1.0), 1.0), 3.0)"
    assert repr(trainer) == f"<trainer of loss by averaged({inner}, decay=None)>"
    np.testing.assert_allclose(result.params, -3 * np.sqrt([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(optim.average_of(result.state), result.params * 2 / 3)


@pytest.mark.parametrize("option", [{"clip_value": -1}, {"clip_norm": -1}, {"average": 2.0},
                                    {"average": "median"}])
def test_options_of_train_out_of_range(option):
    with pytest.raises(gradc.errors.OptionError):
        gradc.train(lambda w: w, optim.sgd(1.0), **option)
