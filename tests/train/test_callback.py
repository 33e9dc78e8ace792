"""What happens at the end of an epoch: callbacks, exceptions, interrupts, prints."""

from __future__ import annotations

import signal
import threading
import time

import numpy as np
import pytest

import gradc
from gradc.optim import sgd

DATA = (np.arange(12.0).reshape(6, 2),)


def loss(w, x):
    return np.mean((x @ w - 1) ** 2)


def test_called_in_order(jit):
    seen = []
    trainer = gradc.train(loss, optimizer=sgd(0.001), batch_size=4)
    result = trainer.fit(
        np.ones(2), DATA, epochs=5, callback=lambda epoch, value: seen.append((epoch, value))
    )
    assert seen == list(enumerate(result.losses))
    assert all(type(epoch) is int and type(value) is float for epoch, value in seen)


def test_a_true_answer_stops(jit):
    trainer = gradc.train(loss, optimizer=sgd(0.001), batch_size=4)
    stopped = trainer.fit(np.ones(2), DATA, epochs=9, callback=lambda epoch, _: epoch == 2)
    whole = trainer.fit(np.ones(2), DATA, epochs=3)
    assert np.array_equal(stopped.losses, whole.losses)
    assert np.array_equal(stopped.params, whole.params)


def test_what_it_raises_is_raised(jit):
    seen = []

    def callback(epoch, value):
        seen.append(epoch)
        if epoch == 1:
            raise ZeroDivisionError("from the callback")

    trainer = gradc.train(loss, optimizer=sgd(0.001))
    with pytest.raises(ZeroDivisionError, match="from the callback") as caught:
        trainer.fit(np.ones(2), DATA, epochs=9, callback=callback)
    assert seen == [0, 1]
    assert caught.traceback[-1].name == "callback"
    assert len(trainer.fit(np.ones(2), DATA, epochs=2).losses) == 2


def test_an_answer_without_a_truth_value():
    trainer = gradc.train(loss, optimizer=sgd(0.001))
    with pytest.raises(ValueError, match="truth value"):
        trainer.fit(np.ones(2), DATA, epochs=2, callback=lambda epoch, value: np.ones(2))


def test_training_inside_a_callback():
    trainer = gradc.train(loss, optimizer=sgd(0.001), batch_size=4)
    alone = trainer.fit(np.ones(2), DATA, epochs=3)
    inner = []
    outer = trainer.fit(
        np.ones(2), DATA, epochs=3,
        callback=lambda *_: inner.append(trainer.fit(np.ones(2), DATA, epochs=3).losses) and None,
    )
    assert np.array_equal(outer.losses, alone.losses)
    assert all(np.array_equal(losses, alone.losses) for losses in inner)


@pytest.mark.parametrize("with_callback", [False, True])
def test_interrupts_stop_it(with_callback):
    """Ctrl-C is seen without a callback, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    trainer = gradc.train(loss, optimizer=sgd(0.001))
    trainer.fit(np.ones(2), DATA, epochs=1)
    callback = (lambda epoch, value: None) if with_callback else None
    timer = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    start = time.perf_counter()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(np.ones(2), DATA, epochs=10**8, callback=callback)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.perf_counter() - start < 30


def test_other_threads_run_meanwhile():
    trainer = gradc.train(loss, optimizer=sgd(0.001))
    trainer.fit(np.ones(2), DATA, epochs=1)
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(None)

    thread = threading.Thread(target=tick)
    thread.start()
    trainer.fit(np.ones(2), DATA, epochs=2_000_000)
    done.set()
    thread.join()
    assert len(ticks) > 5


def test_prints_in_the_loss(capsys, jit):
    def printing(w, x):
        gradc.debug_print("{}", x[0, 0])
        return loss(w, x)

    trainer = gradc.train(printing, optimizer=sgd(0.001), batch_size=4, shuffle=False)
    trainer.fit(np.ones(2), DATA, epochs=2)
    assert capsys.readouterr().out.split() == ["0.0", "8.0", "0.0", "8.0"]
