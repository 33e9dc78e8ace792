"""Checkpoints: a training that is ended, however, goes on to the same parameters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, CheckpointError
from gradc.optim import adam, sgd
from tests.train.networks import mlp_data, mlp_loss

PARAMS, X, Y = mlp_data(np.float64)


def same(a, b):
    assert a.steps == b.steps
    assert np.array_equal(a.losses, b.losses)
    for name in a.params:
        assert np.array_equal(a.params[name], b.params[name])
    assert np.array_equal(a.state.step, b.state.step)
    assert all(np.array_equal(a.state.mean[n], b.state.mean[n]) for n in a.params)


def fit(path=None, epochs=6, **options):
    trainer = gradc.train(mlp_loss, adam(0.01), 8)
    return trainer.fit(PARAMS, (X, Y), epochs=epochs, seed=4, checkpoint=path, **options)


def test_it_goes_on(tmp_path, jit):
    path = tmp_path / "run.npz"
    assert fit(path, 2, resume=True).steps == 14
    same(fit(path, resume=True), fit())
    same(fit(path, resume=True), fit())  # there is nothing left to do


def test_within_an_epoch(tmp_path):
    path = tmp_path / "run.npz"

    def held_up(step):
        calls = []

        def metric(params, x, y):
            return np.mean(x)

        class Full(Exception):
            pass

        def callback(epoch, loss):
            calls.append(epoch)
            if len(calls) == step:
                raise Full

        with pytest.raises(Full):
            fit(path, callback=callback, validation=(X, Y), metrics={"m": metric}, every=3)

    held_up(3)
    same(fit(path, resume=True, validation=(X, Y), every=3), fit())


def test_what_is_in_it(tmp_path):
    path = tmp_path / "run.npz"
    result = fit(str(path))
    with np.load(path) as file:
        assert np.array_equal(file["params['W1']"], result.params["W1"])
        assert file["state.step"] == 42
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_from_a_result(jit):
    trainer = gradc.train(mlp_loss, adam(0.01), 8)
    first = trainer.fit(PARAMS, (X, Y), epochs=2, seed=4)
    same(trainer.fit(first, (X, Y), epochs=6, seed=4), fit())
    same(trainer.fit(first, (X, Y), epochs=6, seed=4), fit())  # it is as it was


def test_from_a_callback():
    trainer, seen = gradc.train(mlp_loss, adam(0.01), 8), []

    class Full(Exception):
        pass

    def stop(epoch, loss):
        seen.append(trainer.result)
        if epoch == 1:
            raise Full

    with pytest.raises(Full):
        trainer.fit(PARAMS, (X, Y), epochs=6, seed=4, callback=stop)
    assert [r.steps for r in seen] == [7, 14] and trainer.result.steps == 14
    assert not np.array_equal(seen[0].params["W1"], seen[1].params["W1"])
    for result in (*seen, trainer.result):
        same(trainer.fit(result, (X, Y), epochs=6, seed=4), fit())


def test_from_a_result_of_another_training():
    result = gradc.train(mlp_loss, adam(0.01), 8).fit(PARAMS, (X, Y), epochs=1)
    for trainer in (gradc.train(mlp_loss, adam(0.01), 9), gradc.train(mlp_loss, sgd(0.1), 8)):
        with pytest.raises(ArgumentError, match="the result is of another trainer"):
            trainer.fit(result, (X, Y))


def test_another_training(tmp_path):
    path = tmp_path / "run.npz"
    fit(path)
    with pytest.raises(CheckpointError, match="seed is 4 there, and 5 here"):
        gradc.train(mlp_loss, adam(), 8).fit(
            PARAMS, (X, Y), seed=5, checkpoint=path, resume=True
        )
    with pytest.raises(CheckpointError, match="batch_size is 8 there, and 9 here"):
        gradc.train(mlp_loss, adam(), 9).fit(
            PARAMS, (X, Y), seed=4, checkpoint=path, resume=True
        )
    with pytest.raises(CheckpointError, match="carried is"):
        gradc.train(mlp_loss, sgd(0.1), 8).fit(
            PARAMS, (X, Y), seed=4, checkpoint=path, resume=True
        )


def test_no_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    path.write_bytes(b"no zip file")
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        fit(path, resume=True)
    np.savez(path, a=np.ones(3))
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        fit(path, resume=True)
    fit(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        fit(path, resume=True)


SCRIPT = """
import sys
import numpy as np
import gradc
from gradc.optim import adam

rng = np.random.default_rng(0)
x, y = rng.standard_normal((301, 5)), rng.standard_normal((301, 2))
params = {"w": rng.standard_normal((5, 16)), "v": rng.standard_normal((16, 2)), "file": np.ones(2)}


def loss(params, x, y):
    return np.mean((np.tanh(x @ params["w"]) @ params["v"] * params["file"] - y) ** 2)


trainer = gradc.train(loss, adam(1e-4), 16)
path = sys.argv[1]
checkpoint = {} if path == "-" else dict(checkpoint=path, checkpoint_every=0.02, resume=True)
result = trainer.fit(params, (x, y), epochs=30_000, seed=11, **checkpoint)
print(result.steps, *(a.tobytes().hex() for a in result.params.values()), result.losses[-1].hex())
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_killed(tmp_path):
    script, path = tmp_path / "train.py", tmp_path / "run.npz"
    script.write_text(SCRIPT)
    whole = subprocess.run(
        [sys.executable, str(script), "-"], capture_output=True, text=True, check=True
    ).stdout
    kills = 0
    for _ in range(3):
        before = path.stat().st_mtime_ns if path.exists() else 0
        process = subprocess.Popen(
            [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, text=True
        )
        while process.poll() is None:
            if path.exists() and path.stat().st_mtime_ns != before:
                time.sleep(0.05)
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills >= 2
    resumed = subprocess.run(
        [sys.executable, str(script), str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert resumed == whole


class Ended(Exception):
    pass


def test_a_measurement_that_was_cut_short(tmp_path):
    path, held = tmp_path / "run.npz", (X[:5], Y[:5])
    count = [0]

    def metric(params, x, y):
        return np.mean(x)

    def cut(epoch, loss):
        count[0] += 1
        if count[0] == 3:
            raise Ended

    options = {"validation": held, "metrics": {"m": metric}, "early_stopping": 4}
    whole = fit(epochs=30, **options)
    with pytest.raises(Ended):
        fit(path, 30, callback=cut, **options)
    told = []
    again = fit(path, 30, resume=True, callback=lambda epoch, loss: told.append(epoch), **options)
    same(again, whole)
    assert told == list(range(2, whole.steps // 7))  # that which was cut short is done again
    assert np.array_equal(again.validation.steps, whole.validation.steps)
    assert np.array_equal(again.validation.values["loss"], whole.validation.values["loss"])


def test_an_interrupt_between_steps_and_their_measurement(tmp_path, monkeypatch):
    path, held = tmp_path / "run.npz", (X[:5], Y[:5])
    options = {"validation": held, "early_stopping": 4}
    whole = fit(epochs=30, **options)
    values, count = gradc.training.watch.Evaluation.values, [0]

    def interrupted(self, params):
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return values(self, params)

    monkeypatch.setattr(gradc.training.watch.Evaluation, "values", interrupted)
    with pytest.raises(gradc.TrainingInterrupted):
        fit(path, 30, **options)
    again = fit(path, 30, resume=True, **options)
    same(again, whole)
    assert np.array_equal(again.validation.steps, whole.validation.steps)


def test_nothing_is_left_after_an_early_end(tmp_path):
    path = tmp_path / "run.npz"
    options = {"validation": (X[:5], -Y[:5]), "early_stopping": gradc.EarlyStopping(2, min_delta=9)}
    whole = fit(path, 30, **options)
    again = fit(path, 30, resume=True, **options)
    assert whole.stopped == again.stopped == "early stopping"
    same(again, whole)
    more = fit(path, 30, resume=True, validation=options["validation"], early_stopping=3)
    assert more.steps > whole.steps


def test_no_place_for_it_is_told_at_once(tmp_path):
    told = []
    for path in (tmp_path, tmp_path / "none" / "run.npz", tmp_path / ("x" * 300)):
        with pytest.raises(CheckpointError, match="cannot be written|is a folder"):
            fit(path, callback=lambda epoch, loss: told.append(epoch))
    assert not told


def test_no_room_for_it(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    path = tmp_path / "run.npz"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        fit(path)
    assert not list(tmp_path.iterdir())

    def cut(epoch, loss):
        raise Ended

    with pytest.raises(Ended) as raised:
        fit(path, callback=cut)
    assert "No space left on device" in raised.value.__notes__[0]


def test_the_file_is_like_any_other(tmp_path):
    path, link, plain = (tmp_path / name for name in ("run.npz", "link.npz", "plain"))
    link.symlink_to(path)
    plain.touch()
    fit(link, 2)
    assert link.is_symlink() and path.stat().st_mode == plain.stat().st_mode
    same(fit(link, resume=True), fit())


def test_a_head_of_another_kind(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, gradc_training=np.frombuffer(b"[1, 2]", np.uint8))
    with pytest.raises(CheckpointError, match="is no checkpoint of a training"):
        fit(path, resume=True)
