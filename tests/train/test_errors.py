"""What a user may do wrong, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc import GradcError
from gradc.errors import (
    ArgumentError,
    IndexingError,
    NotDifferentiableError,
    NotScalarError,
    OptionError,
    OutputError,
    ShapeError,
    TracerError,
    UnsupportedError,
)
from gradc.optim import Optimizer, adam, sgd

W, X, Y = np.ones(2), np.ones((6, 2)), np.ones(6)


def loss(w, x, y):
    return np.mean((x @ w - y) ** 2)


def fit(params=W, data=(X, Y), *, loss=loss, optimizer=None, batch_size=None, **options):
    trainer = gradc.train(loss, optimizer=optimizer or sgd(0.1), batch_size=batch_size)
    return trainer.fit(params, data, **options)


CASES = {
    "batch of none": (lambda: fit(batch_size=0), OptionError,
        "batch_size must be at least 1, not 0"),
    "batch of a float": (lambda: fit(batch_size=2.5), OptionError,
        "batch_size must be an integer, not 2.5"),
    "epochs": (lambda: fit(epochs=-1), OptionError, "epochs must be at least 0, not -1"),
    "seed": (lambda: fit(seed=-1), OptionError, "seed must be at least 0, not -1"),
    "large seed": (lambda: fit(seed=2**64), OptionError, "seed must be below 2**64"),
    "callback": (lambda: fit(callback=3), ArgumentError, "callback must be a function, not 3"),
    "no function": (lambda: fit(loss=3), ArgumentError, "gradc.train takes a function, not 3"),
    "optimizer": (lambda: fit(optimizer="sgd"), ArgumentError,
        "optimizer must be a gradc.optim.Optimizer or a pair (init, update), not 'sgd'"),
    "an array as data": (lambda: fit(data=X), ArgumentError,
        "data must be a tuple of arrays, not ndarray"),
    "no data": (lambda: fit(data=()), ArgumentError, "data is empty"),
    "one array too few": (lambda: fit(data=(X,)), ArgumentError,
        "loss(): missing a required argument: 'y'"),
    "one array too many": (lambda: fit(data=(X, Y, Y)), ArgumentError,
        "loss(): too many positional arguments"),
    "lengths": (lambda: fit(data=(X, Y[:5])), ShapeError,
        "the data arrays have different numbers of samples"),
    "no samples": (lambda: fit(data=(X[:0], Y[:0])), ShapeError, "the data arrays have no samples"),
    "no axis": (lambda: fit(data=(X, np.float64(1))), ShapeError,
        "the data array `y` has no axis of samples"),
    "text": (lambda: fit(data=(X, "labels")), ArgumentError,
        "the data in 'labels' cannot be read"),
    "a complex array": (lambda: fit(data=(X, Y * 1j)), ArgumentError, "complex128"),
    "a policy": (lambda: gradc.train(loss, sgd(0.1), on_nonfinite="stop"), OptionError,
        "on_nonfinite must be one of 'raise', 'skip', 'ignore', not 'stop'"),
    "a way to shuffle": (lambda: gradc.train(loss, sgd(0.1), shuffle="rows"), OptionError,
        "shuffle must be True, False or 'blocks', not 'rows'"),
    "metrics alone": (lambda: fit(metrics={"m": loss}), ArgumentError,
        "metrics needs samples that are held out"),
    "every alone": (lambda: fit(every=3), ArgumentError, "every needs samples that are held out"),
    "every": (lambda: fit(every=0, validation=(X, Y)), OptionError, "every must be at least 1"),
    "a path": (lambda: fit(checkpoint=b"run"), ArgumentError,
        "checkpoint must be a path, not b'run'"),
    "a number as a path": (lambda: fit(checkpoint=3), ArgumentError,
        "checkpoint must be a path, not 3"),
    "a path that is none": (lambda: fit(checkpoint="a\0b"), ArgumentError,
        "checkpoint must be a path, not 'a\\x00b'"),
    "ways to shuffle": (lambda: gradc.train(loss, sgd(0.1), shuffle=np.ones(2)), OptionError,
        "shuffle must be True, False or 'blocks'"),
    "policies": (lambda: gradc.train(loss, sgd(0.1), on_nonfinite=np.ones(2)), OptionError,
        "on_nonfinite must be one of"),
    "an improvement": (lambda: gradc.EarlyStopping(min_delta="x"), OptionError,
        "min_delta must be a number >= 0, not 'x'"),
    "seconds": (lambda: fit(checkpoint_every="x"), OptionError, "checkpoint_every is seconds"),
    "resume alone": (lambda: fit(resume=True), ArgumentError, "resume=True needs a file"),
    "validation": (lambda: fit(validation=X), ArgumentError,
        "validation must be a tuple of arrays, not ndarray"),
    "validation of one": (lambda: fit(validation=(X,)), ArgumentError, "missing"),
    "a metric of a shape": (lambda: fit(validation=(X, Y), metrics={"m": lambda w, x, y: x @ w}),
        OutputError, "the metric 'm' gives ndarray of shape (6,), not a number"),
    "metrics without names": (lambda: fit(validation=(X, Y), metrics=[loss]), ArgumentError,
        "metrics must be functions by name, not list"),
    "a metric's name": (lambda: fit(validation=(X, Y), metrics={"loss": loss}), ArgumentError,
        "a metric cannot be called 'loss'"),
    "no metric": (lambda: fit(validation=(X, Y), metrics={"m": 3}), ArgumentError,
        "the metric 'm' must be a function, not 3"),
    "patience": (lambda: fit(early_stopping=0), OptionError, "patience must be at least 1"),
    "mode": (lambda: gradc.EarlyStopping(mode="less"), OptionError, "mode must be 'min' or 'max'"),
    "monitor": (lambda: fit(early_stopping=gradc.EarlyStopping(3, monitor="m")), ArgumentError,
        "there is no metric 'm' to monitor"),
    "nothing to explain": (lambda: gradc.train(loss, sgd(0.1)).explain(), ArgumentError,
        "nothing was compiled yet"),
    "objects": (lambda: fit(data=(X, np.array([None] * 6))), ArgumentError,
        "argument `y` has dtype object"),
    "integer parameters": (lambda: fit(np.arange(2)), NotDifferentiableError,
        "parameter `w` is int64: it cannot be trained"),
    "no parameters": (lambda: fit({}), ArgumentError, "there are no parameters to train"),
    "half precision": (lambda: fit(W.astype(np.float16)), ArgumentError,
        "argument `w` has dtype float16"),
    "a loss of a shape": (lambda: fit(loss=lambda w, x, y: x @ w - y), NotScalarError,
        "reduce it over the batch: np.mean of it"),
    "a loss of a shape, said": (lambda: fit(loss=lambda w, x, y: x @ w - y), NotScalarError,
        "needs a scalar result, not one of shape (6,)"),
    "a loss of two": (lambda: fit(loss=lambda w, x, y: (np.sum(w), x)), NotScalarError,
        "needs one scalar result, not (*, *)"),
    "a loss and more": (lambda: fit(loss=lambda w, x, y: (np.sum(w), x)), NotScalarError,
        "return the loss alone; fit(metrics={...}) measures what else is of interest"),
    "an integer loss": (lambda: fit(loss=lambda w, x, y: np.argmax(y)), NotDifferentiableError,
        "needs a floating result, not int64"),
    "shapes in the loss": (lambda: fit(loss=lambda w, x, y: np.sum(w @ x)), GradcError, "shape"),
    "index": (lambda: fit(np.ones((6, 3)), (np.arange(6),),
                          loss=lambda w, i: np.sum(w[i, i])), IndexingError, "out of bounds"),
    "learning rate": (lambda: sgd(-1), OptionError, "lr must be a finite number >= 0, not -1"),
    "not a number": (lambda: sgd(float("nan")), OptionError, "lr must be a finite number >= 0"),
    "momentum": (lambda: sgd(0.1, momentum=2), OptionError, "momentum must be between 0 and 1"),
    "nesterov": (lambda: sgd(0.1, nesterov=True), OptionError, "needs a momentum"),
    "betas": (lambda: adam(betas=(0.9, 1.0)), OptionError, "betas must be two numbers below 1"),
    "eps": (lambda: adam(eps=-1), OptionError, "eps must be a finite number >= 0"),
}


@pytest.mark.parametrize("case", CASES)
def test_errors(case):
    run, kind, text = CASES[case]
    with pytest.raises(kind) as caught:
        run()
    assert isinstance(caught.value, GradcError)
    assert text in str(caught.value)
    assert "<string>" not in str(caught.value)
    assert "test_errors.py:" in str(caught.value)


def test_stage():
    trainer = gradc.train(loss, optimizer=sgd(0.1))
    with pytest.raises(ArgumentError, match="there is no stage 'assembly'"):
        trainer.ir(W, (X, Y), stage="assembly")


def test_an_index_in_the_last_batch_names_the_line():
    def lookup(w, i):
        return np.sum(w[i])

    trainer = gradc.train(lookup, optimizer=sgd(0.1), batch_size=2, shuffle=False)
    with pytest.raises(IndexError, match=r"test_errors\.py:\d+, in lookup"):
        trainer.fit(np.ones(3), (np.array([0, 1, 3]),))


def test_training_while_tracing():
    @gradc.compile
    def f(x):
        return fit(data=(X, Y)).losses[0] * x

    with pytest.raises(UnsupportedError, match="inside a function that is being traced"):
        f(1.0)


@pytest.mark.parametrize(
    ("update", "text"),
    [
        (lambda g, s, p: p, "must return (params, state) of the structure (*, *)"),
        (lambda g, s, p: (p, (s,)), "must return (params, state) of the structure (*, *)"),
        (lambda g, s, p: (p - g, s + 1.0), "changes the type of `state`"),
        (lambda g, s, p: (np.sum(p), s), "changes the type of `w`"),
    ],
)
def test_updates_that_do_not_fit(update, text):
    with pytest.raises(OutputError) as caught:
        fit(optimizer=Optimizer("mine", lambda params: np.int64(0), update))
    assert "the update of mine" in str(caught.value)
    assert text in str(caught.value)


def test_an_update_that_asks_for_its_state():
    """Branches and loops on it compile; what needs it while tracing cannot."""
    def update(grads, step, params):
        return params - grads * np.ones(int(step)), step + 1

    with pytest.raises(TracerError, match="known only when the compiled code runs"):
        fit(optimizer=Optimizer("mine", lambda params: np.int64(2), update))
