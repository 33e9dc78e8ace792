"""Checkpoints of a training run: all that it goes on from, in one ``.npz``, written atomically.

A reader finds the parameters and the state under their names (``params['W1']``, ``state.step``), so
that ``numpy.load`` will do.

A file is written beside the checkpoint, and then takes its place. Its writer holds a lock on it, so
that what a process left that was killed meanwhile can be told from it, and is removed.
"""

from __future__ import annotations

import json
import os
import re
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from gradc.errors import CheckpointError

try:
    import fcntl
except ImportError:  # on Windows, where nobody can remove what another has open
    fcntl = None  # type: ignore[assignment]  # mypy sees the platform that it runs on

Array = np.ndarray[Any, Any]

#: the entry that says what the others are
HEAD = "gradc_training"

#: what says on Windows alone that a file is no text
_BINARY = getattr(os, "O_BINARY", 0)


def check(path: Path) -> None:
    """See whether a checkpoint can be written, before a training. Raises CheckpointError."""
    if os.path.isdir(path):
        raise CheckpointError(
            f"{str(path)!r} is a folder", remedy=f"a file in it: {str(path / 'run.npz')!r}"
        )
    _remove_left(path)
    handle, name = _beside(path)
    os.close(handle)
    Path(name).unlink(missing_ok=True)


def _beside(path: Path) -> tuple[int, str]:
    """A new file in the same folder, locked until it is closed, and its name."""
    try:
        while True:
            name = str(path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp"))
            handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            if fcntl is not None:
                with suppress(OSError):  # where files cannot be locked, none is removed
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return handle, name
            os.close(handle)  # another process removed it before it was locked
    except OSError as error:
        raise _unwritten(path, error) from None


def _remove_left(path: Path) -> None:
    """Remove files beside a checkpoint whose writers were killed."""
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    with suppress(OSError):  # no such folder: who writes there will say so
        for name in filter(named.fullmatch, os.listdir(path.parent)):
            with suppress(OSError):  # it is being written, or another's
                _remove_unlocked(path.with_name(name))


def _remove_unlocked(path: Path) -> None:
    if fcntl is None:
        path.unlink()
        return
    handle = os.open(path, os.O_WRONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def _unwritten(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint {str(path)!r} cannot be written: {error.strerror or error}",
        remedy="checkpoint= in a folder that exists, can be written to, and has room",
    )


def save(path: Path, head: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Write a checkpoint. Whoever reads it, at any time, finds this one or the one before it.

    Raises CheckpointError.
    """
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    handle, name = _beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            _write(file, {HEAD: text} | arrays)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(name, path)  # while it is locked
        if fcntl is None:
            os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritten(path, error) from None
        raise


def _write(file: IO[bytes], arrays: dict[str, Array]) -> None:
    """As ``numpy.savez``, which cannot write an array named ``file``."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a checkpoint. Raises CheckpointError for a file that is none."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays.pop(HEAD).tobytes())
        if not isinstance(head, dict):
            raise ValueError(f"its head is {head!r}")
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint of a training: {error}",
            remedy="another checkpoint=, or resume=False to begin anew",
        ) from None
    return head, arrays
