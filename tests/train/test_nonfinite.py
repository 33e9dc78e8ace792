"""What becomes of NaN and infinity in a training."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

import gradc
from gradc.errors import NonFiniteError
from gradc.optim import Optimizer, adam, sgd
from gradc.training import resume
from gradc.training.run import Run

X = np.arange(1.0, 9.0).reshape(8, 1)


def product(w, x):
    return np.sum(np.log(w * x))


def root(w, x):
    return np.sum(np.sqrt(w * x))


def test_the_loss(jit):
    """The gradient is 1/w for each sample: the first step of rate 1 takes w below zero."""
    trainer = gradc.train(product, sgd(1.0), 2, shuffle=False)
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(np.ones(1), (X,), epochs=3)
    error = caught.value
    assert (error.step, error.epoch, error.batch) == (1, 0, 1)
    assert error.rows.tolist() == [2, 3]
    assert "`log` gives 2 of 2 elements are nan" in str(error)
    assert "test_nonfinite.py:" in str(error) and "in product" in str(error)
    assert isinstance(error, FloatingPointError)
    assert error.result.steps == 1 and error.result.params[0] == -1.0
    assert trainer.result is error.result


def test_the_gradient(jit):
    """The square root of zero has a value, and no gradient: the loss tells one step too late."""
    x = np.array([[1.0], [1.0], [0.0], [1.0], [1.0]])
    with pytest.raises(NonFiniteError) as caught:
        gradc.train(root, sgd(1e-3), 1, shuffle=False).fit(np.ones(1), (x,), epochs=40)
    assert (caught.value.step, caught.value.rows.tolist()) == (2, [2])
    assert "the gradient is not finite in step 2" in str(caught.value)
    assert np.isfinite(caught.value.result.params).all()


def test_the_gradient_before_a_measurement(jit):
    x = np.array([[1.0], [1.0], [0.0], [1.0]])
    trainer = gradc.train(root, sgd(1e-3), 1, shuffle=False)
    with pytest.raises(NonFiniteError, match="the gradient is not finite in step 2 ") as caught:
        trainer.fit(np.ones(1), (x,), epochs=3, validation=(x[:2],), every=1)
    result = caught.value.result
    assert caught.value.rows.tolist() == [2] and result.steps == 2
    assert np.isfinite(result.params).all()
    assert result.validation.steps.tolist() == [1, 2]


def test_the_gradient_before_a_checkpoint(jit, monkeypatch, tmp_path):
    """Whoever goes on from one can go on: it is written before the next loss is known."""
    written, save = [], resume.save

    def noted(path, head, arrays):
        written.append((head["step"], arrays["w"].item()))
        save(path, head, arrays)

    monkeypatch.setattr(resume, "save", noted)
    trainer = gradc.train(root, sgd(1e-3), 1, shuffle=False)
    with pytest.raises(NonFiniteError, match="step 1 "):
        trainer.fit(
            np.ones(1), (np.array([[1.0], [0.0]]),), epochs=2, checkpoint=tmp_path / "run.npz",
            checkpoint_every=0, callback=lambda epoch, loss: None,
        )
    assert [step for step, _ in written] == [1] and np.isfinite(written[0][1])


def test_an_interrupt_while_it_is_looked_for(monkeypatch):
    """It leaves a step in the middle, and the memory to it."""
    x, scale = np.ones((16, 200, 200)), np.array([1.0] * 15 + [np.nan])
    returned, sent = Run._return, []

    def loss(w, x, scale):
        y = x[0] * w
        for _ in range(40):
            y = y @ x[0] * 5e-3
        return np.mean(y) * scale[0]

    def returning(run):
        returned(run)
        if not sent:
            sent.append(threading.Thread(target=interrupt, args=run.memory.params))
            sent[0].start()

    def interrupt(w):
        start, until = w.copy(), time.monotonic() + 20
        while np.array_equal(w, start) and time.monotonic() < until:
            time.sleep(1e-3)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "_return", returning)
    trainer = gradc.train(loss, sgd(1e-3), 1, shuffle=False)
    trainer.compile(1.0, (x, scale))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(gradc.TrainingInterrupted) as caught:
            trainer.fit(1.0, (x, scale), epochs=1)
    finally:
        signal.signal(signal.SIGINT, before)
    sent[0].join()
    result, expected = caught.value.result, 1.0
    if result.steps:
        data = x[: result.steps], scale[: result.steps]
        alone = gradc.train(loss, sgd(1e-3), 1, shuffle=False)
        expected = alone.fit(1.0, data, epochs=1).params
    assert result.params == expected


def test_in_the_last_step(jit):
    """No loss is taken with the last parameters."""
    x = np.array([[1.0], [0.0]])
    with pytest.raises(NonFiniteError, match="step 1 "):
        gradc.train(root, sgd(1e-3), 1, shuffle=False).fit(np.ones(1), (x,), epochs=1)


def test_in_the_update(jit):
    def update(grads, state, params):
        return params - grads / (3 - state), state + 1

    mine = Optimizer("mine", lambda params: np.float64(0), update)
    with pytest.raises(NonFiniteError, match="the update is not finite in step 3 .*`div` gives"):
        gradc.train(lambda w, x: np.sum(w * x), mine, 1).fit(np.ones(1), (X,), epochs=5)


def test_in_the_samples(jit):
    x = X.copy()
    x[5] = np.nan
    with pytest.raises(NonFiniteError, match="`x` is not finite in step 5 .*1 of 1 element") as e:
        gradc.train(lambda w, x: np.sum((w - x) ** 2), sgd(0.1), 1, shuffle=False).fit(
            np.ones(1), (x,), epochs=5
        )
    assert e.value.rows.tolist() == [5]


def test_a_branch_that_is_not_taken_is_not_blamed():
    def loss(w, x):
        safe = np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), 0.0)
        masked = np.where(x > 0, np.log(x), 0.0)
        return np.sum(w * safe + masked) + np.sum(np.sqrt(w - x))

    with pytest.raises(NonFiniteError, match="`sqrt` gives"):
        gradc.train(loss, sgd(0.1), 1, shuffle=False).fit(
            np.full(1, 1.5), (np.array([[0.0], [-1.0], [3.0]]),), epochs=1
        )


def test_late_in_a_long_training():
    """The state is copied only now and then; what lies between is run again."""

    def loss(w, x):
        return np.sum(1 / (1e5 - w) * x)

    def update(grads, state, params):
        return params + 1, state

    trainer = gradc.train(loss, Optimizer("count", lambda params: (), update))
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit(np.zeros(1), (np.ones((1, 1)),), epochs=10**7)
    assert caught.value.step == 100_000
    assert caught.value.result.params[0] == 100_000
    assert len(caught.value.result.losses) == 100_000


def test_skip(jit):
    x = np.array([[1.0], [0.0], [1.0], [np.nan]])

    def loss(w, x):
        return np.sum((w - x / x) ** 2)

    trainer = gradc.train(loss, adam(0.1), 1, shuffle=False, on_nonfinite="skip")
    result = trainer.fit(np.zeros(1), (x,), epochs=3)
    alone = gradc.train(loss, adam(0.1), 1, shuffle=False).fit(
        np.zeros(1), (np.ones((2, 1)),), epochs=3
    )
    assert result.skipped == 6
    assert np.array_equal(result.params, alone.params)
    assert result.state.step == 6
    np.testing.assert_allclose(result.losses, alone.losses, rtol=1e-15)


def test_ignore(jit):
    trainer = gradc.train(product, sgd(10.0), on_nonfinite="ignore")
    losses = trainer.fit(np.ones(1), (np.ones((2, 1)),), epochs=3).losses
    assert losses[0] == 0 and np.isnan(losses[1:]).all()
