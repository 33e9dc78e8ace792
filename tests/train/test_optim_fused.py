"""What an update becomes: part of the product that makes its gradient, in place, scalars once."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradc
from gradc import optim


def loss(params, x, y):
    hidden = np.tanh(x @ params["W1"] + params["b1"])
    return np.mean((hidden @ params["W2"] + params["b2"] - y) ** 2)


def body(optimizer):
    """The loop's body as text, after its test."""
    rng = np.random.default_rng(0)
    params = {"W1": rng.standard_normal((50, 48)), "b1": np.zeros(48),
              "W2": rng.standard_normal((48, 32)), "b2": np.zeros(32)}
    params = {name: value.astype("f") for name, value in params.items()}
    data = tuple(rng.standard_normal((48, n)).astype("f") for n in (50, 32))
    text = gradc.train(loss, optimizer=optimizer).ir(params, data, stage="loops")
    before, _, inside = text.partition("\n      test ")
    assert inside
    return before[before.index("\nstage 0: loop") :], inside


def rate(step):
    return 0.1 / (1 + np.exp(0.01 * step))


@pytest.mark.parametrize("make", [
    lambda: optim.sgd(0.1), lambda: optim.nesterov(rate, weight_decay=0.1), lambda: optim.lion(),
    lambda: optim.adagrad(rate), lambda: optim.rmsprop(), lambda: optim.adam(),
    lambda: optim.adamw(rate), lambda: optim.averaged(optim.adam()),
    lambda: optim.clip_value(optim.adam(), 1.0),
])
def test_on_the_tiles_of_products_in_place(make):
    """No gradient of a matrix lies in memory, and nothing that the loop carries lies there twice.

    W2 has the shape of the hidden layer: nests of the forward and backward pass have its loops.
    """
    before, inside = body(make())
    for shape in ("50x48x48", "48x48x32"):
        assert re.search(rf"\n    v\d+ = \S+ @ \S+ +# {shape} f32, kernel\n    at each", inside)
    assert "'" not in before


@pytest.mark.parametrize("make", [
    lambda: optim.adam(rate), lambda: optim.adamw(rate), lambda: optim.sgd(rate, momentum=0.9),
    lambda: optim.rmsprop(rate), lambda: optim.adagrad(lr_decay=0.1),
    lambda: optim.averaged(optim.sgd(), None),
])
def test_scalars_are_computed_once(make):
    """What follows from the step alone: no power, exponential or conversion is in a loop."""
    _, inside = body(make())
    assert re.search(r"\n    v\d+ = (pow|exp|div) ", inside)
    assert not re.search(r"\n {6,}v\d+ = (pow|exp|convert) ", inside)
    assert not re.search(r"\n {6,}.*: f64", inside)
