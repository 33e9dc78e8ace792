"""Optimizers step by step against their papers' algorithms, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import gradc
from gradc import optim
from tests.train.optimizers import CASES, at, by_hand, gradients, leaves, params_of

#: relative to the largest number of an array and the steps' own sizes
RTOL = {np.float64: 1e-12, np.float32: 2e-5}


def close(found, expected, dtype):
    for one, other in zip(leaves(found), expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES)
def test_each_step(case, dtype):
    """The compiled update, after each of 1000 steps."""
    name, options = CASES[case]
    optimizer = getattr(optim, name)(**options)
    params, grads = params_of(dtype), gradients(dtype, 1000)
    expected = by_hand(name, options, params, grads, 1000)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t, wanted in enumerate(expected):
        params, state = update(at(grads, t), state, params)
        close(params, wanted, dtype)


def linear(params, W, a, b):
    """A loss whose gradient is the sample."""
    return np.sum(params["W"] * W[0]) + np.sum(params["rest"][0] * a[0]) + params["rest"][1] * b[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "case",
    ["sgd", "dampening", "adagrad options", "rmsprop both", "amsgrad", "adamw", "lion options"],
)
def test_in_training(case, dtype, jit):
    name, options = CASES[case]
    params, grads = params_of(dtype), gradients(dtype, 60)
    *_, expected = by_hand(name, options, params, grads, 60)
    trainer = gradc.train(
        linear, optimizer=getattr(optim, name)(**options), batch_size=1, shuffle=False
    )
    close(trainer.fit(params, tuple(leaves(grads)), epochs=1).params, expected, dtype)


def test_names_for_momentum():
    assert repr(optim.momentum(0.1)) == repr(optim.sgd(0.1, momentum=0.9))
    assert repr(optim.momentum(0.1, momentum=0.5, dampening=0.5, weight_decay=1)) == repr(
        optim.sgd(0.1, momentum=0.5, dampening=0.5, weight_decay=1)
    )
    assert repr(optim.nesterov(0.1, weight_decay=0.5)) == repr(
        optim.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=0.5)
    )


@pytest.mark.parametrize("name", ["sgd", "lion", "adagrad", "rmsprop", "adam", "adamw"])
def test_decay_by_name(name):
    """A function of the name is the number that it gives, for each parameter."""
    params, grads = params_of(np.float64), at(gradients(np.float64, 1), 0)
    seen = []

    def decay(name):
        seen.append(name)
        return 0.5 if "W" in name else 0.0

    results = []
    for weight_decay in (decay, 0.5, 0.0):
        optimizer = getattr(optim, name)(weight_decay=weight_decay)
        results.append(optimizer.update(grads, optimizer.init(params), params)[0])
    some, all_, none = results
    assert seen == ["['W']", "['rest'][0]", "['rest'][1]"]
    assert np.array_equal(some["W"], all_["W"]) and not np.array_equal(some["W"], none["W"])
    assert np.array_equal(some["rest"][0], none["rest"][0])
    assert not np.array_equal(some["rest"][0], all_["rest"][0])


def test_a_lone_array():
    params = np.ones(3)
    optimizer = optim.adam(0.1, weight_decay=lambda name: 0.5 if name == "" else 0.0)
    params, state = optimizer.update(np.zeros(3), optimizer.init(params), params)
    np.testing.assert_allclose(params, np.full(3, 0.9))
    assert state.step == 1


def test_state_of_what_is_needed():
    """Without momentum or a count there is no state: nothing is carried through the loop."""
    assert optim.sgd(0.1).init(np.ones(2)) == ((), ())
    assert optim.sgd(lambda step: 0.1).init(np.ones(2)) == (0, ())
    assert optim.adagrad().init(np.ones(2)).step == ()
    assert optim.lion().init(np.ones(2)).step == ()
    assert optim.rmsprop().init(np.ones(2))[2:] == ((), ())
    assert optim.adam().init(np.ones(2)).largest == ()


def test_constant_gradients_leave_no_variance():
    """Where the mean square and the squared mean are equal but for rounding, there is no NaN."""
    optimizer = optim.rmsprop(1e-9, alpha=0.5, centered=True)
    params, state = np.zeros(50), optimizer.init(np.zeros(50))
    grads = np.random.default_rng(0).standard_normal(50)
    update = gradc.compile(optimizer.update)
    for _ in range(200):
        params, state = update(grads, state, params)
    assert np.isfinite(params).all()


@dataclass
class Layer:
    w: np.ndarray
    b: np.ndarray


@pytest.mark.parametrize("name", ["sgd", "lion", "adagrad", "rmsprop", "adam", "adamw"])
def test_mixed_dtypes_and_empty_arrays(name, jit):
    params = (Layer(np.ones((2, 1)), np.zeros(1, np.float32)), {"none": np.zeros((0, 3))})

    def loss(params, x):
        return np.sum(x @ params[0].w + params[0].b) + np.sum(params[1]["none"])

    optimizer = getattr(optim, name)(lambda step: 0.1 / (1 + step), weight_decay=0.1)
    result = gradc.train(loss, optimizer=optimizer).fit(params, (np.ones((4, 2)),), epochs=3)
    layer, rest = result.params
    assert layer.w.dtype == np.float64 and layer.b.dtype == np.float32
    assert rest["none"].shape == (0, 3)
    assert (layer.w < 1).all() and (layer.b < 0).all()


def test_a_pair_of_functions(jit):
    def halve(grads, count, params):
        if count < 2:  # Python's own branch, on the traced state
            return params / 2, count + 1
        return params, count + 1

    pair = (lambda params: np.int64(0), halve)
    trainer = gradc.train(lambda w, x: np.sum(w * x), optimizer=pair)
    result = trainer.fit(np.array([8.0, 16.0]), (np.ones((1, 2)),), epochs=5)
    assert np.array_equal(result.params, [2.0, 4.0])
    assert repr(trainer) == "<trainer of <lambda> by halve>"


@pytest.mark.parametrize("given", [None, "sgd", (1, 2), (lambda params: (),), optim.sgd])
def test_no_optimizer(given):
    with pytest.raises(gradc.errors.ArgumentError, match=r"must be a gradc\.optim\.Optimizer or"):
        optim.as_optimizer(given)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: optim.sgd(0.1, dampening=2), "dampening must be between 0 and 1, not 2"),
        (lambda: optim.sgd(0.1, momentum=0.5, dampening=0.5, nesterov=True), "no dampening"),
        (lambda: optim.sgd(0.1, weight_decay=-1), "weight_decay must be a finite number >= 0"),
        (lambda: optim.nesterov(0.1, momentum=0), "needs a momentum"),
        (lambda: optim.momentum("fast"), "lr must be a finite number >= 0, not 'fast'"),
        (lambda: optim.lion(betas=(0.9,)), "betas must be two numbers below 1"),
        (lambda: optim.lion(betas=0.9), "betas must be two numbers below 1"),
        (lambda: optim.adagrad(lr_decay=-1), "lr_decay must be a finite number >= 0"),
        (lambda: optim.adagrad(initial_accumulator_value=-1), "initial_accumulator_value must be"),
        (lambda: optim.rmsprop(alpha=1.5), "alpha must be between 0 and 1, not 1.5"),
        (lambda: optim.rmsprop(momentum=-0.5), "momentum must be between 0 and 1"),
        (lambda: optim.adamw(float("inf")), "lr must be a finite number >= 0, not inf"),
        (lambda: optim.adam(betas=(0.9, 2)), "betas[1] must be between 0 and 1, not 2"),
        (lambda: gradc.train(lambda w, x: w, optimizer=optim.sgd(weight_decay=lambda name: -1)).fit(
            1.0, ([1],)),
         "weight_decay('') must be a finite number >= 0, not -1"),
        (lambda: optim.step(0.1, every=0), "every must be an integer >= 1, not 0"),
        (lambda: optim.step(0.1, every=2, factor=-1), "factor must be a finite number >= 0"),
        (lambda: optim.cosine(0.1, 2.5), "steps must be an integer >= 1, not 2.5"),
        (lambda: optim.cosine(0.1, 2, floor=-1), "floor must be a finite number >= 0"),
        (lambda: optim.constant(-1), "lr must be a finite number >= 0"),
        (lambda: optim.warmup(-1, 5), "lr must be a finite number >= 0"),
        (lambda: optim.warmup(0.1, 0), "steps must be an integer >= 1, not 0"),
        (lambda: optim.clip_value(optim.sgd(), -1), "limit must be a finite number >= 0"),
        (lambda: optim.clip_norm(optim.sgd(), float("nan")), "limit must be a finite number >= 0"),
        (lambda: optim.averaged(optim.sgd(), 1.5), "decay must be between 0 and 1, not 1.5"),
    ],
)
def test_options_out_of_range(make, text):
    with pytest.raises(gradc.errors.OptionError) as caught:
        make()
    assert text in str(caught.value)


def test_reprs():
    assert repr(optim.sgd(optim.cosine(0.1, 100))) == "sgd(lr=cosine(0.1, steps=100, floor=0.0))"
    assert repr(optim.adamw()) == (
        "adamw(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)"
    )
    assert repr(optim.averaged(optim.clip_norm(optim.lion(), 1), None)) == (
        "averaged(clip_norm(lion(lr=0.0001, betas=(0.9, 0.99)), 1.0), decay=None)"
    )
