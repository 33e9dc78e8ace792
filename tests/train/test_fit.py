"""Training natively against the same training written by hand."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import gradc
from gradc.optim import adam, sgd
from tests.train.networks import Adam, Descent, by_hand, mlp_data, mlp_loss, mlp_value_and_grad

OPTIMIZERS = {
    "sgd": (sgd(0.2), lambda: Descent(0.2)),
    "momentum": (sgd(0.05, momentum=0.9), lambda: Descent(0.05, 0.9)),
    "nesterov": (sgd(0.05, momentum=0.9, nesterov=True), lambda: Descent(0.05, 0.9, True)),
    "adam": (adam(0.01), lambda: Adam(0.01)),
}


def check(result, expected, rtol):
    params, losses = expected
    assert list(result.params) == list(params)
    for key, value in params.items():
        assert result.params[key].dtype == value.dtype
        np.testing.assert_allclose(result.params[key], value, rtol=rtol, atol=rtol, err_msg=key)
    assert result.losses.dtype == np.float64
    np.testing.assert_allclose(result.losses, losses, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_like_numpy(name, dtype, jit):
    optimizer, hand = OPTIMIZERS[name]
    params, x, y = mlp_data(dtype)
    before = {k: v.copy() for k, v in params.items()}
    trainer = gradc.train(mlp_loss, optimizer=optimizer, batch_size=8)
    result = trainer.fit(params, (x, y), epochs=4, seed=3)
    expected = by_hand(mlp_value_and_grad, hand(), params, (x, y), batch=8, epochs=4, seed=3)
    check(result, expected, 1e-9 if dtype == np.float64 else 2e-3)
    for key, value in before.items():
        assert np.array_equal(params[key], value)


@pytest.mark.parametrize("batch", [1, 7, 52, 53, 54, 1000, None])
@pytest.mark.parametrize("shuffle", [True, False])
def test_batch_sizes(batch, shuffle):
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=sgd(0.1), batch_size=batch, shuffle=shuffle)
    result = trainer.fit(params, (x, y), epochs=3, seed=9)
    expected = by_hand(
        mlp_value_and_grad, Descent(0.1), params, (x, y), batch=batch or 53, epochs=3, seed=9,
        shuffle=shuffle and (batch or 53) < 53,
    )
    check(result, expected, 1e-9)


@pytest.mark.parametrize("features", [1, 3, 8, 130, 300])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i4", "u1", "?"])
def test_rows_of_every_length_and_type(features, dtype):
    rng = np.random.default_rng(features)
    x = rng.integers(0, 2, (37, features)).astype(dtype)
    y = rng.standard_normal((37, 2, 3))

    def loss(w, x, y):
        return np.sum((x.astype(float) @ w) * np.sum(y, axis=(1, 2)))

    trainer = gradc.train(loss, optimizer=sgd(0.1), batch_size=5)
    result = trainer.fit(np.zeros(features), (x, y), epochs=1)
    expected = -0.1 * (x.astype(float).T @ y.sum(axis=(1, 2)))
    np.testing.assert_allclose(result.params, expected, atol=1e-12)


def test_the_seed_decides():
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=sgd(0.2), batch_size=8)
    first, again, other = (trainer.fit(params, (x, y), epochs=3, seed=s) for s in (5, 5, 6))
    assert np.array_equal(first.losses, again.losses)
    assert all(np.array_equal(first.params[k], again.params[k]) for k in params)
    assert not np.array_equal(first.losses, other.losses)
    trainer.fit(params, (x, y), epochs=1, seed=2**64 - 1)


def test_epochs_continue_each_other():
    """The order of an epoch depends on its number, so a longer training begins as a shorter one."""
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=adam(), batch_size=8)
    short, long = (trainer.fit(params, (x, y), epochs=n).losses for n in (2, 5))
    assert np.array_equal(short, long[:2])


def test_no_epochs():
    params, x, y = mlp_data(np.float64)
    result = gradc.train(mlp_loss, optimizer=sgd(0.2)).fit(params, (x, y), epochs=0)
    assert result.losses.shape == (0,)
    assert all(np.array_equal(result.params[k], params[k]) for k in params)
    assert not any(np.shares_memory(result.params[k], params[k]) for k in params)


class Layer(NamedTuple):
    w: np.ndarray
    b: float


@dataclass
class Model:
    layers: list[Layer]
    scale: np.float32


def test_params_of_any_structure(jit):
    def loss(model, x):
        for layer in model.layers:
            x = np.tanh(x @ layer.w + layer.b)
        return np.mean((model.scale * x) ** 2)

    model = Model([Layer(np.eye(2), 0.5), Layer(np.ones((2, 1), np.float32), 0.25)], np.float32(2))
    x = np.linspace(-1, 1, 12).reshape(6, 2)
    result = gradc.train(loss, optimizer=adam(0.01), batch_size=4).fit(model, (x,), epochs=2)
    trained = result.params
    assert type(trained) is Model and type(trained.layers[0]) is Layer
    assert type(trained.layers[0].b) is np.float64
    assert type(trained.scale) is np.float32
    assert trained.layers[1].w.dtype == np.float32
    assert trained.layers[1].w.flags.owndata and trained.layers[1].w.flags.writeable
    assert abs(float(trained.scale) - 2) > 1e-3


def test_lists_of_numbers_are_parameters():
    result = gradc.train(lambda w, x: np.sum(w * x), optimizer=sgd(1)).fit(
        [1, 2], ([[1.0, 2.0], [3.0, 4.0]],), epochs=1
    )
    assert np.array_equal(result.params, [-3.0, -4.0])


@pytest.mark.parametrize("shuffle", [True, False])
def test_data_in_odd_layouts(shuffle):
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=sgd(0.1), batch_size=8, shuffle=shuffle)
    expected = trainer.fit(params, (x, y), epochs=2).losses
    strided = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3]
    locked = x.copy()
    locked.flags.writeable = False
    for odd in (np.asfortranarray(x), strided, x.astype(">f8"), locked):
        assert np.array_equal(trainer.fit(params, (odd, y), epochs=2).losses, expected)
    swapped = {k: np.asfortranarray(v.astype(">f8")) for k, v in params.items()}
    result = trainer.fit(swapped, (x, y), epochs=2)
    assert np.array_equal(result.losses, expected)
    assert result.params["W1"].dtype == np.float64


def test_compiles_once():
    traces = []

    def loss(w, x):
        traces.append(x.shape)
        return np.sum((x @ w) ** 2)

    trainer = gradc.train(loss, optimizer=sgd(0.01), batch_size=4)
    for seed in range(3):
        trainer.fit(np.ones(2), (np.ones((10, 2)),), epochs=2, seed=seed)
    assert traces == [(4, 2), (2, 2)]
    trainer.fit(np.ones(2), (np.ones((12, 2)),), epochs=1)
    assert traces[2:] == [(4, 2)]


def test_a_compiled_loss():
    loss = gradc.compile(mlp_loss)
    params, x, y = mlp_data(np.float64)
    trainers = [gradc.train(f, optimizer=sgd(0.1), batch_size=8) for f in (loss, mlp_loss)]
    first, second = (t.fit(params, (x, y), epochs=2).losses for t in trainers)
    assert np.array_equal(first, second)


def test_default_arguments_of_the_loss():
    def loss(w, x, l2=0.5, power=2):
        return np.sum(x * w) + l2 * np.sum(w**power)

    result = gradc.train(loss, optimizer=sgd(1.0)).fit(np.ones(2), (np.ones((3, 2)),), epochs=1)
    np.testing.assert_allclose(result.params, [-3.0, -3.0])


def test_an_optimizer_of_ones_own(jit):
    def update(grads, state, params):
        rate, count = state
        rate = np.where(count > 0, rate / 2, rate)
        return params - rate * np.sign(grads), (rate, count + 1)

    signs = gradc.optim.Optimizer("signs", lambda params: (np.float64(1), np.int32(0)), update)
    trainer = gradc.train(lambda w, x: np.sum((w - x) ** 2), optimizer=signs)
    result = trainer.fit(np.zeros(3), (np.array([[9.0, -9.0, 9.0]]),), epochs=3)
    assert np.array_equal(result.params, [1.75, -1.75, 1.75])


def test_parameters_the_loss_does_not_use():
    result = gradc.train(lambda p, x: np.sum(p["a"] * x), optimizer=adam(0.1)).fit(
        {"a": np.ones(2), "b": np.ones(3)}, (np.ones((4, 2)),), epochs=3
    )
    assert np.array_equal(result.params["b"], np.ones(3))


def test_many_threads():
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=adam(), batch_size=8)
    results = {}

    def run(seed):
        results[seed] = trainer.fit(params, (x, y), epochs=20, seed=seed).losses

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed, losses in results.items():
        assert np.array_equal(losses, trainer.fit(params, (x, y), epochs=20, seed=seed).losses)


def test_large_constants_of_the_loss():
    table = np.arange(20000.0)

    def loss(w, x):
        return np.sum(w * table[: 10000] * x[0, 0]) + np.sum(w * table[10000:]) * x.shape[0]

    trainer = gradc.train(loss, optimizer=sgd(1e-4), batch_size=2, shuffle=False)
    result = trainer.fit(np.zeros(10000), (np.array([[1.0], [2.0], [3.0]]),), epochs=1)
    expected = -1e-4 * (table[:10000] * 4 + table[10000:] * 3)
    np.testing.assert_allclose(result.params, expected)


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_arguments_may_have_any_names(policy: str) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    data = x, x @ [1.0, 2.0, 3.0], np.ones(20)

    def loss(w, x, y, z):
        return np.mean(z * (x @ w["a"] + w["b"] - y) ** 2)

    def other(total, order, seed, losses):
        return np.mean(losses * (order @ total["a"] + total["b"] - seed) ** 2)

    def third(weight, epoch, batch, steps):
        return np.mean(steps * (epoch @ weight["a"] + weight["b"] - batch) ** 2)

    fitted = [
        gradc.train(f, gradc.optim.adam(0.1), 8, on_nonfinite=policy).fit(
            {"a": np.zeros(3), "b": 0.5}, data, epochs=5, seed=3
        )
        for f in (loss, other, third)
    ]
    for result in fitted[1:]:
        np.testing.assert_array_equal(result.losses, fitted[0].losses)
        np.testing.assert_array_equal(result.params["a"], fitted[0].params["a"])


@pytest.mark.parametrize("names", ["state, x, y", "w, state, y"])
def test_an_argument_called_as_a_bare_state(names: str) -> None:
    def one(w, x, y):
        return np.mean((w * x - y) ** 2)

    scope = {"np": np}
    w, x, _ = names.split(", ")
    exec(f"def other({names}): return np.mean(({w} * {x} - y) ** 2)", scope)
    data = np.linspace(-1, 1, 10), np.linspace(3, 1, 10)
    counted = (lambda params: np.zeros(()), lambda g, state, p: (p - 0.1 * g, state + 1))
    expected, result = (
        gradc.train(f, counted, 3).fit(0.5, data, epochs=3) for f in (one, scope["other"])
    )
    assert result.params == expected.params and result.state == expected.state == 12
    np.testing.assert_array_equal(result.losses, expected.losses)
