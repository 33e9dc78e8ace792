"""Validation, metrics, early stopping, progress, files as data, interrupts."""

from __future__ import annotations

import builtins
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError
from gradc.optim import adam, sgd
from tests.train.networks import mlp_data, mlp_loss

PARAMS, X, Y = mlp_data(np.float64)
HELD = mlp_data(np.float64, samples=31)[1:]


def accuracy(params, x, y):
    hidden = np.maximum(0, x @ params["W1"] + params["b1"])
    return np.mean(np.argmax(hidden @ params["W2"] + params["b2"], axis=1) == y)


def fit(epochs=4, **options):
    return gradc.train(mlp_loss, adam(0.01), 8).fit(PARAMS, (X, Y), epochs=epochs, **options)


def test_measures(jit):
    result = fit(validation=HELD, metrics={"accuracy": accuracy}, every=5)
    assert result.validation.steps.tolist() == [5, 10, 15, 20, 25]
    assert result.validation.values["loss"].shape == (5,)
    other = fit(validation=HELD, every=10).validation
    assert other.steps.tolist() == [10, 20]
    assert np.array_equal(other.values["loss"], result.validation.values["loss"][1::2])
    last = fit(validation=HELD, metrics={"accuracy": accuracy}).validation
    assert last.steps.tolist() == [7, 14, 21, 28]
    params = fit().params
    np.testing.assert_allclose(last.values["loss"][-1], mlp_loss(params, *HELD), rtol=1e-12)
    assert last.values["accuracy"][-1] == accuracy(params, *HELD)


def test_early_stopping():
    def far(w, x):
        return np.sum((w - x) ** 2)

    # The best for the training set is 0, for what is held out 1: on the way from 3 it gets worse.
    trainer = gradc.train(far, sgd(0.05))
    data, held = (np.zeros((1, 1)),), (np.ones((1, 1)),)
    result = trainer.fit(
        np.full(1, 3.0), data, epochs=100, validation=held, early_stopping=3
    )
    values = result.validation.values["loss"]
    best = int(np.argmin(values))
    assert result.stopped == "early stopping" and len(values) == best + 4 == result.steps
    np.testing.assert_allclose(result.params, 3 * 0.9 ** (best + 1))
    last = trainer.fit(
        np.full(1, 3.0), data, epochs=100, validation=held,
        early_stopping=gradc.EarlyStopping(3, restore_best=False),
    )
    np.testing.assert_allclose(last.params, 3 * 0.9 ** (best + 4))
    high = trainer.fit(
        np.full(1, 3.0), data, epochs=100, validation=held, metrics={"m": lambda w, x: -w[0]},
        early_stopping=gradc.EarlyStopping(2, monitor="m", mode="max"),
    )
    assert high.stopped == "epochs" and high.steps == 100
    coarse = trainer.fit(
        np.full(1, 3.0), data, epochs=100, early_stopping=gradc.EarlyStopping(1, min_delta=1.0)
    )
    assert coarse.steps == len(coarse.losses) < 20 and coarse.validation is None


@pytest.mark.parametrize("installed", [True, False])
def test_progress(monkeypatch, capsys, installed):
    if not installed:
        find = builtins.__import__

        def missing(name, *rest):
            if name.startswith("tqdm"):
                raise ImportError(name)
            return find(name, *rest)

        monkeypatch.setattr(builtins, "__import__", missing)
        monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    else:
        pytest.importorskip("tqdm")
    fit(progress=True)
    shown = capsys.readouterr().err
    assert "mlp_loss" in shown and "loss " in shown
    assert ("28/28" in shown) or ("28.0/28.0" in shown)


def test_files_as_data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    expected = fit()
    paths = gradc.train(mlp_loss, adam(0.01), 8).fit(
        PARAMS, (tmp_path / "x.npy", str(tmp_path / "y.npy")), epochs=4
    )
    mapped = gradc.train(mlp_loss, adam(0.01), 8).fit(
        PARAMS, (np.load(tmp_path / "x.npy", mmap_mode="r"), Y), epochs=4
    )
    for result in (paths, mapped):
        assert np.array_equal(result.losses, expected.losses)
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    with pytest.raises(ArgumentError, match="would be copied into memory"):
        fit_on = gradc.train(mlp_loss, adam(0.01), 8)
        fit_on.fit(PARAMS, (tmp_path / "f.npy", Y))
    with pytest.raises(ArgumentError, match="cannot be read"):
        fit_on.fit(PARAMS, (tmp_path / "none.npy", Y))


def interrupted(trainer, params, data, **options):
    """The error of a training that is interrupted after 0.3 s, and how long that took."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent = []

    def send():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.3, send)
    timer.start()
    try:
        with pytest.raises(gradc.TrainingInterrupted) as caught:
            trainer.fit(params, data, **options)
        return caught.value, time.perf_counter() - sent[0]
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_gives_what_there_is():
    trainer = gradc.train(mlp_loss, adam(0.001), 8)
    trainer.compile(PARAMS, (X, Y))
    error, seconds = interrupted(trainer, PARAMS, (X, Y), epochs=10**7, seed=2)
    assert seconds < 0.2
    assert isinstance(error, KeyboardInterrupt)
    result = error.result
    assert trainer.result is result and result.stopped == ""
    assert result.steps // 7 == len(result.losses) > 0
    again = trainer.fit(PARAMS, (X, Y), epochs=len(result.losses), seed=2)
    assert np.array_equal(again.losses, result.losses)


def powers(w, x):
    """Some tenths of a second of products."""
    y = x * w
    for _ in range(40):
        y = y @ x * 1e-3
    return np.mean(y)


def test_an_interrupt_does_not_wait_for_a_long_step():
    """What is given is the state before that step; the step ends by itself, in its own memory."""
    x = np.ones((900, 900))
    trainer = gradc.train(powers, sgd(1e-9))
    trainer.fit(1.0, (x,), epochs=1)
    took = trainer.explain(1.0, (x,)).seconds
    tries = [interrupted(trainer, 1.0, (x,), epochs=100) for _ in range(3)]
    assert took > 0.4 and min(seconds for _, seconds in tries) < 0.2
    result = tries[0][0].result
    assert result.steps == len(result.losses) < 100
    again = trainer.fit(1.0, (x,), epochs=result.steps)
    assert np.array_equal(again.params, result.params)
    assert np.array_equal(
        trainer.fit(result, (x,), epochs=result.steps + 1).losses[:-1], result.losses
    )


def test_an_interrupt_does_not_wait_for_a_long_measurement():
    x = np.ones((900, 900))

    def loss(w, x):
        return powers(w, x) if len(x) == 900 else np.mean(x * w)

    trainer = gradc.train(loss, sgd(1e-9))
    data = (np.ones((10, 3)),)
    trainer.compile(1.0, data, validation=(x,))
    tries = [interrupted(trainer, 1.0, data, epochs=100, validation=(x,)) for _ in range(3)]
    assert min(seconds for _, seconds in tries) < 0.2
    assert all(error.result.steps < 100 for error, _ in tries)


def test_a_step_of_its_own_thread_raises_as_any():
    """It is counted as a long one, as it has a loop."""

    @gradc.compile
    def reached(x, place):
        total = 0.0
        for k in gradc.range(3):
            total += x[place.astype(int) + k]
        return total

    def loss(w, x, place):
        return w * reached(x[0], place[0])

    trainer = gradc.train(loss, sgd(0.1), 1, shuffle=False)
    x, place = np.ones((4, 10)), np.array([0.0, 3.0, 8.0, 1.0])
    with pytest.raises(gradc.errors.IndexingError, match="out of bounds") as caught:
        trainer.fit(1.0, (x, place), epochs=1)
    assert "in reached" in str(caught.value)
    trainer.fit(1.0, (x, place * 0), epochs=1)


ENDING = """
import sys
import numpy as np
import gradc
from tests.train.test_watch import powers
x = np.ones((900, 900))
trainer = gradc.train(powers, gradc.optim.sgd(1e-9))
trainer.compile(1.0, (x,))
print("training", flush=True)
trainer.fit(1.0, (x,), epochs=1000)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_a_process_may_end_in_the_middle_of_a_step():
    process = subprocess.Popen(
        [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout.readline() == "training\n"
    time.sleep(0.7)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1, errors
    assert "TrainingInterrupted: training was interrupted after" in errors


def test_measures_are_compiled_once():
    traced = []

    def metric(params, x, y):
        traced.append(None)
        return np.sum(params["b1"])

    trainer, options = gradc.train(mlp_loss, adam(0.01), 8), {"metrics": {"sum": metric}}
    trainer.compile(PARAMS, (X, Y), validation=HELD, **options)
    before = len(traced)
    assert before
    for _ in range(2):
        trainer.fit(PARAMS, (X, Y), epochs=2, validation=HELD, **options)
    assert len(traced) == before


def test_compiling_ahead():
    calls = []

    def loss(w, x):
        calls.append(None)
        return np.sum((w - x) ** 2)

    trainer = gradc.train(loss, sgd(0.1))
    trainer.compile(np.ones(2), (np.ones((3, 2)),))
    traced = len(calls)
    trainer.fit(np.zeros(2), (np.zeros((3, 2)),), epochs=3)
    assert len(calls) == traced
    found = trainer.explain()
    assert "loss, a step of 3 samples" in str(found) and "measured" not in str(found)
    found = trainer.explain(np.ones(2), (np.ones((3, 2)),))
    assert 0 < found.seconds < 1e-3 and "us, measured" in str(found)
    assert trainer.explain().seconds == found.seconds
    assert np.array_equal(trainer.fit(np.zeros(2), (np.zeros((3, 2)),), epochs=3).params, [0, 0])


def test_a_file_of_several_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", X)
    with pytest.raises(ArgumentError, match="cannot be read: it holds several arrays"):
        gradc.train(mlp_loss, adam(0.01), 8).fit(PARAMS, (tmp_path / "x.npz", Y))
