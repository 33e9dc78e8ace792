"""Random numbers in a loss: another key in each step, which seed, epoch and batch decide."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, NonFiniteError
from gradc.optim import adam, sgd
from tests.train.networks import order

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(23, 4)), RNG.normal(size=23)
PARAMS = {"W": RNG.normal(size=(4, 6)), "V": RNG.normal(size=6)}
CASES = {
    "batches": {"batch_size": 5},  # and 3 samples left
    "whole": {"batch_size": None},
    "in_order": {"batch_size": 5, "shuffle": False},
    "even": {"batch_size": 1},
    "skip": {"batch_size": 5, "on_nonfinite": "skip"},
}


def dropout(params, x, y, *, key):
    hidden = np.tanh(x @ params["W"])
    if key is not None:
        kept = gradc.random.bernoulli(key, 0.7, hidden.shape)
        hidden = np.where(kept, hidden / 0.7, 0.0)
    return np.mean((hidden @ params["V"] - y) ** 2)


def numpy_key(seed, epoch, batch):
    """The key of a step, of NumPy alone."""
    key = np.random.Philox(seed).state["state"]["key"]
    for number in (epoch, batch):
        key = np.random.Philox(key=key, counter=[number, 0, 0, 2]).random_raw(2)
    return key


@pytest.mark.parametrize("case", CASES)
def test_equal_to_a_loop_by_hand_to_the_bit(case, jit):
    options = CASES[case]
    trainer = gradc.train(dropout, sgd(0.1), **options)
    got = trainer.fit(PARAMS, (X, Y), epochs=4, seed=9)
    value_and_grad = gradc.value_and_grad(dropout)
    params, losses, size = dict(PARAMS), [], options["batch_size"] or len(X)
    for epoch in range(4):
        rows = np.arange(len(X))
        if options.get("shuffle", True) and size < len(X):
            rows = order(len(X), 9, epoch)
        total = 0.0
        for batch, start in enumerate(range(0, len(rows), size)):
            some = rows[start : start + size]
            key = numpy_key(9, epoch, batch)
            value, grads = value_and_grad(params, X[some], Y[some], key=key)
            params = {name: p - 0.1 * grads[name] for name, p in params.items()}
            total += len(some) * value
        losses.append(total / len(X) if size < len(X) else value)
    assert np.array_equal(got.losses, losses)
    assert all(np.array_equal(got.params[name], params[name]) for name in params)


def test_the_numbers_are_those_of_numpy_and_new_in_each_step(jit):
    """The gradient of w is what was drawn."""

    def drawn(w, x, *, key=None):
        return np.sum(w * gradc.random.uniform(key, w.shape))

    seen = []
    trainer = gradc.train(drawn, sgd(1.0), 3, on_nonfinite="ignore")
    for seed, steps in ((0, 1), (0, 2), (0, 3), (2**64 - 1, 1)):
        start = np.zeros(4)
        result = trainer.fit(start, (X[: 3 * steps],), epochs=2, seed=seed)
        keys = [numpy_key(seed, e, b) for e in range(2) for b in range(steps)]
        numbers = [np.random.Generator(np.random.Philox(key=key)).random(4) for key in keys]
        assert np.array_equal(result.params, functools.reduce(np.subtract, numbers, start))
        seen = numbers if steps == 3 else seen
    assert len({x.tobytes() for x in seen}) == 6


def test_resumed(tmp_path, jit):
    trainer = gradc.train(dropout, adam(0.01), 5)
    whole = trainer.fit(PARAMS, (X, Y), epochs=5, seed=2)
    path = tmp_path / "run.npz"

    class Full(Exception):
        pass

    def full(params, x, y):
        return 0.0

    def stop(epoch, loss):
        if epoch == 2:
            raise Full

    with pytest.raises(Full):
        trainer.fit(PARAMS, (X, Y), epochs=5, seed=2, checkpoint=path, callback=stop)
    first = trainer.result
    for result in (
        trainer.fit(PARAMS, (X, Y), epochs=5, seed=2, checkpoint=path, resume=True),
        trainer.fit(first, (X, Y), epochs=5, seed=2),
    ):
        assert np.array_equal(result.losses, whole.losses)
        assert all(np.array_equal(result.params[n], whole.params[n]) for n in PARAMS)
    other = trainer.fit(PARAMS, (X, Y), epochs=5, seed=3)
    assert not np.array_equal(other.losses, whole.losses)


def test_without_random_numbers_on_samples_held_out():
    def l1(params, x, y, *, key):
        assert key is None
        return np.mean(np.abs(params["V"]))

    trainer = gradc.train(dropout, sgd(0.1), 5)
    options = {"validation": (X, Y), "metrics": {"l1": l1}}
    trainer.compile(PARAMS, (X, Y), **options)
    result = trainer.fit(PARAMS, (X, Y), epochs=2, **options)
    for name, function in (("loss", dropout), ("l1", l1)):
        expected = function(result.params, X, Y, key=None)
        np.testing.assert_allclose(result.validation.values[name][-1], expected, rtol=1e-14)

    def careless(params, x, y, *, key):
        return np.sum(params["W"]) * gradc.random.uniform(key)

    with pytest.raises(ArgumentError, match="the key is None") as caught:
        gradc.train(careless, sgd(0.1), 5).fit(PARAMS, (X, Y), validation=(X, Y))
    assert "if key is not None" in str(caught.value)


def test_what_is_not_finite_is_found_with_the_same_key(jit):
    """log of a number that is drawn: the sum is negative in one of three hundred steps."""

    def rare(w, x, *, key):
        return np.sum(np.log(w + gradc.random.normal(key)))

    start = np.full(1, 2.7)
    with pytest.raises(NonFiniteError) as caught:
        gradc.train(rare, sgd(0.0), 3).fit(start, (X,), epochs=100, seed=5)
    error = caught.value
    drawn = {
        (epoch, batch): np.random.Generator(
            np.random.Philox(key=numpy_key(5, epoch, batch))
        ).standard_normal() for epoch in range(100) for batch in range(8)
    }
    first = next(place for place, number in drawn.items() if 2.7 + number < 0)
    assert (error.epoch, error.batch) == first and error.step > 8
    assert "`log` gives 1 of 1 elements is nan" in str(error)


def test_keys_that_the_user_has_given():
    """A parameter ``key`` before the ``*`` is data; one that a partial function holds is fixed."""
    key = gradc.random.key(1)

    def drawn(w, x, *, key):
        return np.sum(w * gradc.random.uniform(key, w.shape))

    fixed = gradc.train(functools.partial(drawn, key=key), sgd(1.0), 23)
    result = fixed.fit(np.zeros(3), (X,), epochs=2)
    assert np.array_equal(result.params, -2 * np.asarray(gradc.random.uniform(key, 3)))
    with pytest.raises(ArgumentError, match="missing a required argument: 'key'") as caught:
        gradc.train(lambda w, x, key: np.sum(w), sgd(1.0)).fit(np.zeros(3), (X,))
    assert "(..., *, key)" in str(caught.value)
    shared = gradc.train(lambda w, x, key: np.sum(w * x) * np.mean(key), sgd(1.0))
    assert len(shared.fit(np.zeros(4), (X, Y), epochs=2).losses) == 2


def test_it_is_shown():
    trainer = gradc.train(dropout, sgd(0.1), 5)
    assert "key: u64[2]" in trainer.ir(PARAMS, (X, Y), stage="adjoint").splitlines()[0]
    text = trainer.ir(PARAMS, (X, Y))
    before, body = text.split("body = ", 1)
    assert "random_key for.seed" in before and "random_key " not in body  # once a run
    assert body.count("random_uniform") == 2 and "for.key" in body
    assert any("random_uniform" in str(s) for s in trainer.explain(PARAMS, (X, Y)).stages)
