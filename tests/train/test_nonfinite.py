"""What becomes of NaN and infinity in a training."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc.errors import NonFiniteError
from gradc.optim import Optimizer, adam, sgd

X = np.arange(1.0, 9.0).reshape(8, 1)


def product(w, x):
    return np.sum(np.log(w * x))


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

    def root(w, x):
        return np.sum(np.sqrt(w * x))

    x = np.array([[1.0], [1.0], [0.0], [1.0], [1.0]])
    with pytest.raises(NonFiniteError) as caught:
        gradc.train(root, sgd(1e-3), 1, shuffle=False).fit(np.ones(1), (x,), epochs=40)
    assert (caught.value.step, caught.value.rows.tolist()) == (2, [2])
    assert "the gradient is not finite in step 2" in str(caught.value)
    assert np.isfinite(caught.value.result.params).all()


def test_in_the_last_step(jit):
    """No loss is taken with the last parameters."""

    def root(w, x):
        return np.sum(np.sqrt(w * x))

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
