"""Optimizers, schedules, clipping and averages step by step against PyTorch's, where it is."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc import optim
from tests.train.optimizers import CASES, at, gradients, leaves, params_of

torch = pytest.importorskip("torch")

STEPS = 1000
RTOL = {np.float64: 1e-12, np.float32: 2e-5}
CLASSES = {
    "sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "rmsprop": torch.optim.RMSprop,
    "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
}


class Peer:
    """PyTorch's parameters, which are given gradients."""

    def __init__(self, params, name, options):
        self.leaves = [torch.nn.Parameter(torch.from_numpy(np.array(x))) for x in leaves(params)]
        self.optimizer = CLASSES[name](self.leaves, **options)

    def give(self, grads):
        for leaf, g in zip(self.leaves, leaves(grads), strict=True):
            leaf.grad = torch.from_numpy(np.array(g))

    def step(self):
        self.optimizer.step()
        return [leaf.detach().numpy() for leaf in self.leaves]


def close(found, expected, dtype):
    for one, other in zip(leaves(found), expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=RTOL[dtype], atol=RTOL[dtype])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] in CLASSES])
def test_each_step(case, dtype):
    name, options = CASES[case]
    params, grads = params_of(dtype), gradients(dtype, STEPS)
    peer, optimizer = Peer(params, name, options), getattr(optim, name)(**options)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t in range(STEPS):
        params, state = update(at(grads, t), state, params)
        peer.give(at(grads, t))
        close(params, peer.step(), dtype)


@pytest.mark.parametrize("name", CLASSES)
def test_defaults(name):
    """Without options, both do the same."""
    params, grads = params_of(np.float64), gradients(np.float64, 10)
    peer, optimizer = Peer(params, name, {}), getattr(optim, name)()
    state = optimizer.init(params)
    for t in range(10):
        params, state = optimizer.update(at(grads, t), state, params)
        peer.give(at(grads, t))
        close(params, peer.step(), np.float64)


def linear(optimizer):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 100, total_iters=99)


def step(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 70, gamma=0.5)


def cosine(optimizer, steps=STEPS):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-3)


def both(optimizer, last):
    parts = [linear(optimizer), last(optimizer)]
    return torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[100])


SCHEDULES = {
    "step": (optim.step(0.1, 70, 0.5), step),
    "cosine": (optim.cosine(0.1, STEPS, 1e-3), cosine),
    "warmup": (optim.warmup(0.1, 100), linear),
    "warmup, step": (optim.warmup(optim.step(0.1, 70, 0.5), 100), lambda o: both(o, step)),
    "warmup, cosine": (optim.warmup(optim.cosine(0.1, 900, 1e-3), 100),
                       lambda o: both(o, lambda o: cosine(o, 900))),
}


@pytest.mark.filterwarnings("ignore:.*scheduler:UserWarning")
@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules(case):
    """The rates at ints, at arrays, and traced."""
    schedule, make = SCHEDULES[case]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler, expected = make(optimizer), []
    for _ in range(STEPS):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose([schedule(t) for t in range(STEPS)], expected, rtol=1e-12)
    np.testing.assert_allclose(schedule(np.arange(STEPS)), expected, rtol=1e-12)
    native = gradc.compile(lambda t: schedule(t))
    np.testing.assert_allclose([native(np.int64(t)) for t in range(STEPS)], expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CLASSES)
def test_schedules_in_each_step(name, dtype):
    """The compiled update: rates of another step would be seen at once."""
    schedule, make = SCHEDULES["warmup, cosine"]
    params, grads = params_of(dtype), gradients(dtype, STEPS)
    peer, optimizer = Peer(params, name, {"lr": 0.1}), getattr(optim, name)(schedule)
    scheduler = make(peer.optimizer)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t in range(STEPS):
        params, state = update(at(grads, t), state, params)
        peer.give(at(grads, t))
        close(params, peer.step(), dtype)
        scheduler.step()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("limit", [0.1, 30.0, 1e6])
@pytest.mark.parametrize("name", ["clip_value", "clip_norm"])
def test_clipping(name, limit, dtype):
    params, grads = params_of(dtype), gradients(dtype, 200)
    peer = Peer(params, "sgd", {"lr": 0.01, "momentum": 0.9})
    clip = getattr(torch.nn.utils, f"clip_grad_{name.removeprefix('clip_')}_")
    optimizer = getattr(optim, name)(optim.sgd(0.01, momentum=0.9), limit)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t in range(200):
        params, state = update(at(grads, t), state, params)
        peer.give(at(grads, t))
        clip(peer.leaves, limit)
        close(params, peer.step(), dtype)


def test_clipping_mixed_dtypes():
    params, grads = params_of(np.float64), gradients(np.float64, 50)
    params["W"], grads["W"] = params["W"].astype("f"), grads["W"].astype("f")
    peer = Peer(params, "sgd", {"lr": 0.01})
    optimizer = optim.clip_norm(optim.sgd(0.01), 20)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t in range(50):
        params, state = update(at(grads, t), state, params)
        peer.give(at(grads, t))
        torch.nn.utils.clip_grad_norm_(peer.leaves, 20)
        expected = peer.step()
        np.testing.assert_allclose(params["W"], expected[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(params["rest"][0], expected[1], rtol=1e-5)
    assert [x.dtype for x in leaves(params)] == ["float32", "float64", "float64"]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("decay", [0.9, 0.999, None])
def test_averages(decay, dtype):
    params, grads = params_of(dtype), gradients(dtype, STEPS)
    peer = Peer(params, "adam", {"lr": 0.01})
    module = torch.nn.ParameterList(peer.leaves)
    utils = torch.optim.swa_utils
    average = utils.AveragedModel(module) if decay is None else utils.AveragedModel(
        module, multi_avg_fn=utils.get_ema_multi_avg_fn(decay)
    )
    optimizer = optim.averaged(optim.adam(0.01), decay)
    state, update = optimizer.init(params), gradc.compile(optimizer.update)
    for t in range(STEPS):
        params, state = update(at(grads, t), state, params)
        peer.give(at(grads, t))
        close(params, peer.step(), dtype)
        average.update_parameters(module)
        expected = [leaf.detach().numpy() for leaf in average.module]
        close(optim.average_of(state), expected, dtype)
