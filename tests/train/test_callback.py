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


def test_results_of_trainings_inside_a_callback():
    """In a callback, before and after a training in it, ``trainer.result`` is the outer one's."""
    trainer, seen = gradc.train(loss, optimizer=sgd(0.001), batch_size=4), []

    def callback(epoch, value):
        inside = []
        seen.append(trainer.result.steps)
        result = trainer.fit(
            np.ones(2), DATA, epochs=5, callback=lambda *_: inside.append(trainer.result.steps)
        )
        assert inside == [2, 4, 6, 8, 10] and result.steps == 10
        seen.append(trainer.result.steps)

    outer = trainer.fit(np.ones(2), DATA, epochs=3, callback=callback)
    assert seen == [2, 2, 4, 4, 6, 6]
    assert trainer.result is outer


def test_results_of_trainings_in_threads():
    """A thread sees its own training; one that has none, that which is under way."""
    trainer = gradc.train(loss, optimizer=sgd(0.001), batch_size=4)
    before = trainer.fit(np.ones(2), DATA, epochs=1)
    turns, seen, failed = [threading.Barrier(2, timeout=30) for _ in range(3)], {}, {}

    def work(epochs):
        def callback(epoch, value):
            seen.setdefault(epochs, []).append(trainer.result.steps)
            if epoch < 2:
                turns[epoch].wait()  # both are in the same epoch
            if epoch == epochs - 1:
                raise ArithmeticError

        try:
            trainer.fit(np.full(2, float(epochs)), DATA, epochs=99, callback=callback)
        except ArithmeticError:
            failed[epochs] = trainer.result
        turns[2].wait()
        failed[epochs, "later"] = trainer.result

    assert trainer.result is before
    threads = [threading.Thread(target=work, args=(epochs,)) for epochs in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {2: [2, 4], 3: [2, 4, 6]}
    for epochs in (2, 3):
        alone = trainer.fit(np.full(2, float(epochs)), DATA, epochs=epochs)
        assert failed[epochs].steps == 2 * epochs
        assert np.array_equal(failed[epochs].params, alone.params)
        assert failed[epochs, "later"] is failed[epochs]


def test_the_result_of_a_training_in_another_thread():
    trainer = gradc.train(loss, optimizer=sgd(0.001), batch_size=4)
    trainer.fit(np.ones(2), DATA, epochs=1)
    reached, leave, made = threading.Event(), threading.Event(), []

    def callback(epoch, value):
        if epoch == 2:
            reached.set()
            leave.wait(30)

    def work():
        made.append(trainer.fit(np.ones(2), DATA, epochs=4, callback=callback))

    thread = threading.Thread(target=work)
    thread.start()
    assert reached.wait(30)
    assert trainer.result.steps == 6
    leave.set()
    thread.join()
    assert trainer.result is made[0]
