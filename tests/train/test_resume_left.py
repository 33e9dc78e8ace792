"""What processes leave that are killed while they write a checkpoint, and what others write."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import gradc
from gradc.training import resume

fcntl = pytest.importorskip("fcntl")

X = np.arange(6.0).reshape(6, 1)


def fit(path, **options):
    trainer = gradc.train(lambda w, x: np.mean((x * w - 1) ** 2), gradc.optim.sgd(0.01), 2)
    return trainer.fit(1.0, (X,), epochs=4, checkpoint=path, **options)


def names(folder):
    return {path.name for path in folder.iterdir()}


KILLED = """
import os, signal, sys
import numpy as np
import gradc

whole, count = os.fsync, [0]

def fsync(handle):
    count[0] += 1
    if count[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    whole(handle)

os.fsync = fsync
trainer = gradc.train(lambda w, x: np.mean((x * w - 1) ** 2), gradc.optim.sgd(0.01), 2)
data = (np.arange(6.0).reshape(6, 1),)
trainer.fit(1.0, data, epochs=4, checkpoint=sys.argv[1], checkpoint_every=0,
            callback=lambda *_: None)
"""


def test_what_a_killed_process_left(tmp_path):
    path = tmp_path / "run.npz"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    went_on, whole = fit(path, resume=True), fit(tmp_path / "other.npz")
    assert names(tmp_path) == {"run.npz", "other.npz"}
    assert went_on.params == whole.params and np.array_equal(went_on.losses, whole.losses)


def test_what_others_write(tmp_path):
    """Files of other checkpoints, and one that is being written."""
    others = {".run.npz.tmp", ".run.npz.0123.tmp", ".run2npz.01234567.tmp", "run.npz.01234567.tmp"}
    for name in (*others, ".run.npz.01234567.tmp"):
        (tmp_path / name).touch()
    with (tmp_path / ".run.npz.89abcdef.tmp").open("wb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        fit(tmp_path / "run.npz")
        assert names(tmp_path) == others | {"run.npz", ".run.npz.89abcdef.tmp"}
    fit(tmp_path / "run.npz")
    assert names(tmp_path) == others | {"run.npz"}


@pytest.mark.parametrize("lost", [{1}, {2, 3}])
def test_a_file_that_another_removes_before_it_is_locked(lost, tmp_path, monkeypatch):
    lock, count = fcntl.flock, [0]

    def late(handle, how):
        count[0] += 1
        if count[0] in lost:
            for path in tmp_path.glob(".run.npz.*.tmp"):
                resume._remove_unlocked(path)
        lock(handle, how)

    monkeypatch.setattr(resume.fcntl, "flock", late)
    fit(tmp_path / "run.npz")
    assert count[0] > 3 and names(tmp_path) == {"run.npz"}
    same = fit(tmp_path / "run.npz", resume=True)
    assert same.steps == 12


def test_where_files_cannot_be_locked(tmp_path, monkeypatch):
    def never(handle, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(resume.fcntl, "flock", never)
    (tmp_path / ".run.npz.01234567.tmp").touch()
    fit(tmp_path / "run.npz")
    assert names(tmp_path) == {".run.npz.01234567.tmp", "run.npz"}
