"""Samples that are shuffled by blocks, for files that are larger than memory."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc.optim import adam, sgd
from gradc.training.epochs import WINDOW, Plan


@pytest.mark.parametrize("samples", [640, 641, 645, 1280, 1999, 5000])
def test_orders(samples):
    plan = Plan(samples, 7, True, "raise", block=5)
    orders = [plan.order(seed, epoch) for seed in (0, 2**64 - 1) for epoch in (0, 1)]
    window = WINDOW * plan.block
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(samples))
        for start in range(0, samples - window + 1, window):
            part = order[start : start + window]
            assert len(np.unique(part // plan.block)) == WINDOW  # whole blocks, in one piece
            assert not np.array_equal(part, np.sort(part))
    assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(plan.order(0, 1), orders[1])


def test_few_samples_are_shuffled_as_one():
    plain, blocks = (Plan(300, 7, True, "raise", block) for block in (0, 5))
    assert np.array_equal(plain.order(3, 4), blocks.order(3, 4))


def test_blocks_are_as_likely_to_come_first():
    plan = Plan(320 * 5, 7, True, "raise", block=5)
    first = [plan.order(1, epoch)[0] // 5 for epoch in range(400)]
    assert np.bincount(first, minlength=320).max() < 12
    assert np.mean(first) == pytest.approx(159.5, rel=0.1)


def test_training(monkeypatch, jit):
    """Every epoch takes the samples in the order that the plan says."""
    monkeypatch.setattr("gradc.training.loop.BLOCK", 64)  # blocks of four samples
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1001, 2)), rng.standard_normal(1001)

    def loss(w, x, y):
        return np.mean((x @ w - y) ** 2)

    trainer = gradc.train(loss, sgd(0.05), 10, shuffle="blocks")
    result = trainer.fit(np.zeros(2), (x, y), epochs=3, seed=5)
    plan, w = Plan(1001, 10, True, "raise", block=4), np.zeros(2)
    for epoch in range(3):
        order = plan.order(5, epoch)
        for start in range(0, 1001, 10):
            rows = order[start : start + 10]
            w = w - 0.05 * 2 * x[rows].T @ (x[rows] @ w - y[rows]) / len(rows)
    np.testing.assert_allclose(result.params, w, rtol=1e-12)


def test_going_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gradc.training.loop.BLOCK", 64)
    x = np.random.default_rng(0).standard_normal((1001, 2))

    def loss(w, x):
        return np.mean((x - w) ** 2)

    def fit(shuffle, epochs, **options):
        trainer = gradc.train(loss, adam(0.01), 10, shuffle=shuffle)
        return trainer.fit(np.zeros(2), (x,), epochs=epochs, **options)

    path = tmp_path / "run.npz"
    fit("blocks", 2, checkpoint=path)
    resumed = fit("blocks", 4, checkpoint=path, resume=True)
    assert np.array_equal(resumed.params, fit("blocks", 4).params)
    with pytest.raises(gradc.errors.CheckpointError, match="block is 4 there, and 0 here"):
        fit(True, 5, checkpoint=path, resume=True)
