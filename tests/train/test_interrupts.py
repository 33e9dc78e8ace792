"""Interrupts that come where an exception is lost, and where somebody else answers them."""

from __future__ import annotations

import signal
import threading

import numpy as np
import pytest

import gradc
from gradc.optim import sgd

DATA = (np.arange(12.0).reshape(6, 2),)


def loss(w, x):
    return np.mean((x @ w - 1) ** 2)


def trainer_of(loss=loss):
    return gradc.train(loss, sgd(0.001), 2)


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    yield
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


class Interrupting:
    """What interrupts the process when it goes; an exception raised then is printed and lost."""

    def __init__(self, answer=None):
        self.answer = answer

    def __bool__(self):
        return bool(self.answer)

    def __del__(self):
        signal.raise_signal(signal.SIGINT)


def test_in_a_destructor_between_steps(jit):
    """The answer of the callback is nobody's but the trainer's."""
    trainer, seen = trainer_of(), []

    def callback(epoch, value):
        seen.append(epoch)
        return Interrupting() if epoch == 2 else None

    with pytest.raises(gradc.TrainingInterrupted) as caught:
        trainer.fit(np.ones(2), DATA, epochs=20_000, callback=callback)
    assert seen == [0, 1, 2] and caught.value.result.steps >= 9
    assert trainer.result is caught.value.result
    steps = caught.value.result.steps
    again = trainer.fit(caught.value.result, DATA, epochs=steps // 3 + 2)
    whole = trainer.fit(np.ones(2), DATA, epochs=steps // 3 + 2)
    assert np.array_equal(again.params, whole.params)


def test_in_a_destructor_at_the_end(tmp_path):
    """What was asked for is done, and yet the caller hears of it."""
    trainer, path = trainer_of(), tmp_path / "run.npz"
    with pytest.raises(gradc.TrainingInterrupted) as caught:
        trainer.fit(
            np.ones(2), DATA, epochs=3, checkpoint=path,
            callback=lambda epoch, _: Interrupting(answer=True) if epoch == 2 else None,
        )
    assert caught.value.result.steps == 9
    whole = trainer.fit(np.ones(2), DATA, epochs=3)
    assert np.array_equal(caught.value.result.params, whole.params)
    assert trainer.fit(np.ones(2), DATA, epochs=3, checkpoint=path, resume=True).steps == 9


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_destructor_before_the_first_step():
    def dropping(w, x):
        Interrupting()
        return loss(w, x)

    trainer = trainer_of(dropping)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(np.ones(2), DATA)
    assert trainer.result is None or trainer.result.steps == 0


def test_one_that_a_callback_catches_is_its_own():
    trainer, caught = trainer_of(), []

    def callback(epoch, value):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            caught.append(epoch)

    result = trainer.fit(np.ones(2), DATA, epochs=3, callback=callback)
    assert caught == [0, 1, 2] and result.stopped == "epochs"


def test_a_training_in_a_callback_ends_with_the_one_around_it():
    trainer, inside = trainer_of(), []

    def inner(epoch, value):
        if epoch == 1:
            signal.raise_signal(signal.SIGINT)

    def callback(epoch, value):
        try:
            trainer.fit(np.ones(2), DATA, epochs=4, callback=inner)
        except gradc.TrainingInterrupted as error:
            inside.append(error.result.steps)
            if len(inside) == 2:
                raise

    with pytest.raises(gradc.TrainingInterrupted) as caught:
        trainer.fit(np.ones(2), DATA, epochs=4, callback=callback)
    assert inside == [6, 6] and caught.value.result.steps == 6


def test_a_handler_that_raises_nothing(jit):
    """It is called once for each interrupt, and the training goes on."""
    heard, trainer = [], trainer_of()
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        result = trainer.fit(
            np.ones(2), DATA, epochs=3,
            callback=lambda epoch, _: (signal.raise_signal(signal.SIGINT), Interrupting())[1],
        )
        assert result.stopped == "epochs" and heard == [signal.SIGINT] * 6
        timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
        timer.start()
        trainer.fit(
            np.ones(2), DATA, epochs=10**9, callback=lambda epoch, value: len(heard) == 7
        )
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_that_a_callback_sets_stays():
    def its_own(number, frame):
        raise AssertionError

    before = signal.getsignal(signal.SIGINT)
    try:
        trainer_of().fit(
            np.ones(2), DATA, epochs=1,
            callback=lambda epoch, _: signal.signal(signal.SIGINT, its_own) is its_own,
        )
        assert signal.getsignal(signal.SIGINT) is its_own
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_none_is_heard():
    trainer, made = trainer_of(), []

    def work():
        made.append(trainer.fit(np.ones(2), DATA, epochs=3))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert made[0].steps == 9
