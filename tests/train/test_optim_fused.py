"""What an update becomes: part of the product that makes its gradient, scalars computed once."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradc
from gradc import optim


def loss(params, x, y):
    hidden = np.tanh(x @ params["W1"] + params["b1"])
    return np.mean((hidden @ params["W2"] + params["b2"] - y) ** 2)


def stages(optimizer, dtype=np.float32):
    rng = np.random.default_rng(0)
    params = {"W1": rng.standard_normal((50, 40)), "b1": np.zeros(40),
              "W2": rng.standard_normal((40, 32)), "b2": np.zeros(32)}
    params = {name: value.astype(dtype) for name, value in params.items()}
    data = tuple(rng.standard_normal((64, n)).astype(dtype) for n in (50, 32))
    trainer = gradc.train(loss, optimizer=optimizer)
    text = trainer.ir(params, data, stage="loops").split("  total +=")[0]
    return re.split(r"\n  stage \d+: ", text)[1:]


def rate(step):
    return 0.1 / (1 + np.exp(0.01 * step))


@pytest.mark.parametrize("make", [
    lambda: optim.sgd(0.1), lambda: optim.nesterov(rate, weight_decay=0.1), lambda: optim.lion(),
    lambda: optim.adagrad(rate), lambda: optim.rmsprop(), lambda: optim.adam(),
    lambda: optim.adamw(rate), lambda: optim.averaged(optim.adam()),
    lambda: optim.clip_value(optim.adam(), 1.0),
])
def test_on_the_tiles_of_products(make):
    """No gradient of a matrix lies in memory."""
    found = stages(make())
    products = [stage for stage in found if stage.startswith("contract")]
    updating = [stage for stage in products if "at each" in stage and "= sub" in stage]
    assert len(updating) == 2
    for rows, cols in ((50, 40), (40, 32)):
        # forward 64 x rows x cols; the gradient of the weights has 64 terms
        (update,) = [s for s in updating if f"# {rows}x64x{cols} f32" in s]
        assert not re.search(r"^    buf\d+ =", update, re.M)


@pytest.mark.parametrize("make", [
    lambda: optim.adam(rate), lambda: optim.adamw(rate), lambda: optim.sgd(rate, momentum=0.9),
    lambda: optim.rmsprop(rate), lambda: optim.adagrad(lr_decay=0.1),
    lambda: optim.averaged(optim.sgd(), None),
])
def test_scalars_are_computed_once(make):
    """What follows from the step alone: no power, exponential or conversion is in a loop."""
    for stage in stages(make()):
        loops = stage[stage.find(" for i"):] if " for i" in stage or "at each" in stage else ""
        assert not re.search(r"= (pow|exp|convert) ", loops), stage
        assert ": f64" not in loops, stage
    assert any(re.search(r"= (pow|exp|convert|div) ", stage) for stage in stages(make()))
