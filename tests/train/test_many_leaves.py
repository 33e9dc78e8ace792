"""Trainings of many parameters: one update for full batches and the last, made in linear time."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest

import gradc
from gradc.optim import adam
from tests.train.networks import Adam, by_hand

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=13), RNG.normal(size=13)
MANY = 80


def parameters(count):
    return {f"p{k}": RNG.normal(size=1 + k % 3) / count for k in range(count)}


def loss(params, x, y):
    total = 0.0
    for k, p in enumerate(params.values()):
        total = total + np.sum(p) * (x + k / len(params))
    return np.mean((total - y) ** 2)


def value_and_grad(params, x, y):
    """The same with its gradient by hand."""
    factors = [x + k / len(params) for k in range(len(params))]
    wrong = sum(np.sum(p) * f for p, f in zip(params.values(), factors, strict=True)) - y
    grads = {
        name: np.full_like(p, 2 * np.mean(wrong * f))
        for (name, p), f in zip(params.items(), factors, strict=True)
    }
    return np.mean(wrong**2), grads


def test_like_numpy(jit):
    params = parameters(MANY)
    trainer = gradc.train(loss, adam(0.01), 5)
    text = trainer.ir(params, (X, Y))
    assert text.count("pow 0.999") == 1  # one update
    result = trainer.fit(params, (X, Y), epochs=4, seed=3)
    expected, losses = by_hand(
        value_and_grad, Adam(0.01), params, (X, Y), batch=5, epochs=4, seed=3
    )
    np.testing.assert_allclose(result.losses, losses, rtol=1e-9)
    for name, value in expected.items():
        np.testing.assert_allclose(result.params[name], value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [5, 13])
def test_steps_left_out(size, jit):
    """As if the batch with the infinite sample were not there."""
    params, y = parameters(MANY), Y.copy()
    y[-1] = np.inf
    trainer = gradc.train(loss, adam(0.01), size, shuffle=False, on_nonfinite="skip")
    result = trainer.fit(params, (X, y), epochs=3)
    assert result.skipped == 3
    if size == 13:
        assert all(np.array_equal(result.params[name], p) for name, p in params.items())
        return
    whole = gradc.train(loss, adam(0.01), 5, shuffle=False)
    expected = whole.fit(params, (X[:10], Y[:10]), epochs=3)
    for name in params:
        np.testing.assert_allclose(result.params[name], expected.params[name], rtol=1e-12)


def calls(count):
    """How often each function of Python's is called to compile a training."""
    counted = Counter()

    def note(frame, event, _):
        if event == "call":
            counted[frame.f_code] += 1

    params, trainer = parameters(count), gradc.train(loss, adam(0.01), 5)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        trainer.ir(params, (X, Y), stage="llvm")
    finally:
        sys.setprofile(before)
    return counted


def test_work_grows_with_the_number_of_parameters():
    calls(2)  # what is done once in a process
    some, many = calls(MANY), calls(2 * MANY)
    assert 1.5 < many.total() / some.total() < 2.3
    assert not {
        code.co_qualname: (some[code], n) for code, n in many.items() if n > 3 * some[code] + 1000
    }
