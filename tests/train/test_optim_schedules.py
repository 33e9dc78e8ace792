"""Learning rates by the number of the step: the formulas, and functions of one's own."""

from __future__ import annotations

import math

import numpy as np
import pytest

import gradc
from gradc import optim
from tests.train.optimizers import by_hand, gradients, leaves, params_of

STEPS = 60


def warm_cosine(t):
    """Ten steps up, fifty down, written out for one int."""
    if t < 10:
        return 0.1 * (t + 1) / 10
    return 0.02 + 0.08 * (1 + math.cos(math.pi * (t - 10) / 50)) / 2


def stairs(t):
    return 0.1 * 0.5 ** math.floor(t / 7)


def branches(step):
    """Python's own branches, which training compiles."""
    if step < 5:
        return 0.01
    elif step % 2 == 0:
        return 0.1 / (1 + step)
    return 0.05


def looped(step):
    rate = 0.1
    for _ in range(step):
        rate = rate * 0.95
    return rate


def in_numpy(step):
    return np.where(step < 20, 0.1, 0.1 * np.exp(-0.05 * (step - 20)))


class Halving:
    """A schedule with a state of its own, and branches."""

    def __init__(self, every):
        self.every = every

    def __call__(self, step):
        return 0.1 if step < self.every else 0.05


#: name: (the schedule, the rate of an int by hand)
SCHEDULES = {
    "constant": (optim.constant(0.1), lambda t: 0.1),
    "step": (optim.step(0.1, 7, 0.5), stairs),
    "warmup of cosine": (optim.warmup(optim.cosine(0.1, 50, 0.02), 10), warm_cosine),
    "warmup of a number": (optim.warmup(0.1, 10), lambda t: 0.1 * min(t + 1, 10) / 10),
    "warmup of branches": (optim.warmup(branches, 10),
                           lambda t: 0.01 * (t + 1) / 10 if t < 10 else branches(t - 10)),
    "branches": (branches, branches),
    "loop": (looped, looped),
    "NumPy": (in_numpy, in_numpy),
    "float32": (lambda step: np.float32(0.5) / (step + 1), lambda t: 0.5 / (t + 1)),
    "integer": (lambda step: 1, lambda t: 1.0),
    "an object": (Halving(30), Halving(30)),
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_of_ints(case):
    schedule, rate = SCHEDULES[case]
    rtol = 1e-7 if case == "float32" else 1e-14
    for t in range(STEPS):
        np.testing.assert_allclose(schedule(t), rate(t), rtol=rtol)


@pytest.mark.parametrize("make", [
    lambda: optim.constant(0.1), lambda: optim.step(0.1, 3), lambda: optim.cosine(0.1, 9),
    lambda: optim.warmup(0.1, 3), lambda: optim.warmup(optim.step(0.1, 3), 3),
])
def test_of_an_int_a_float(make):
    assert all(isinstance(make()(t), float) for t in range(12))


def test_the_cosine_stays_at_its_floor():
    schedule = optim.cosine(0.1, 10, 0.02)
    assert schedule(10) == schedule(11) == schedule(10**9) == 0.02


def linear(params, W, a, b):
    return np.sum(params["W"] * W[0]) + np.sum(params["rest"][0] * a[0]) + params["rest"][1] * b[0]


@pytest.mark.parametrize("case", SCHEDULES)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_in_training(name, case, jit):
    schedule, rate = SCHEDULES[case]
    params, grads = params_of(np.float64), gradients(np.float64, STEPS)
    *_, expected = by_hand(name, {"lr": rate}, params, grads, STEPS)
    trainer = gradc.train(
        linear, optimizer=getattr(optim, name)(schedule), batch_size=1, shuffle=False
    )
    found = trainer.fit(params, tuple(leaves(grads)), epochs=1).params
    for one, other in zip(leaves(found), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "momentum", "lion", "adagrad", "rmsprop", "adam", "adamw"])
def test_float32_stays_float32(name):
    """Every optimizer has a number of the step when the rate needs one, and none promotes."""
    params, grads = params_of(np.float32), gradients(np.float32, STEPS)
    base = {"momentum": "sgd"}.get(name, name)
    options = {"momentum": 0.9} if name == "momentum" else {}
    schedule = optim.warmup(optim.cosine(0.01, 50), 10)
    *_, expected = by_hand(base, options | {"lr": schedule}, params, grads, STEPS)
    optimizer = getattr(optim, name)(schedule)
    trainer = gradc.train(linear, optimizer=optimizer, batch_size=1, shuffle=False)
    found = trainer.fit(params, tuple(leaves(grads)), epochs=1).params
    for one, other in zip(leaves(found), expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_epochs_go_on_counting():
    trainer = gradc.train(lambda w, x: np.sum(w * x), optimizer=optim.sgd(lambda step: step))
    assert trainer.fit(np.zeros(()), (np.ones(2),), epochs=5).params == -2 * (0 + 1 + 2 + 3 + 4)


@pytest.mark.parametrize("schedule", [
    lambda step: None, lambda step: "0.1", lambda step: np.array([0.1]),
    lambda step: step * np.ones(2), lambda step: 1j,
])
def test_no_rate(schedule):
    trainer = gradc.train(lambda w, x: np.sum(w * x), optimizer=optim.sgd(schedule))
    with pytest.raises(gradc.errors.OptionError, match="must give one number for a step"):
        trainer.fit(np.ones(2), (np.ones((1, 2)),))
