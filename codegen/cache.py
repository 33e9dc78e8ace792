"""Object code on disk, so that another process need not compile what this one has.

An entry is a file named by a key, which says all that its code depends on: what is computed, the
machine, and the versions of everything that had a part in making it. It is written under another
name and then renamed, so that readers in other processes see it whole or not at all; a checksum
over key and content tells what is damaged or was made for another key, and that is compiled anew.

The folder is the user's alone: what lies in it is run. One that others may write to is not used.
No fault of the file system is more than a lost entry: compiling goes on without a cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("gradc")

#: bytes that all entries may take together, unless GRADC_CACHE_SIZE says otherwise
SIZE = 256 << 20

#: seconds after which a file that was never renamed is left over from a process that died
ABANDONED = 3600

_MAGIC = b"gradc object 1\n\0"
_CHECKSUM = 32
_SUFFIX, _PART = ".gradc", ".part"


class Entry(NamedTuple):
    """A file of the cache: where it is, its bytes, when it was last used."""

    path: str
    nbytes: int
    used: float


def enabled() -> bool:
    """Whether the environment allows a cache: ``GRADC_CACHE=0`` forbids it."""
    return os.environ.get("GRADC_CACHE", "1") != "0"


def folder() -> Path | None:
    """Where entries lie: ``GRADC_CACHE_DIR``, else the platform's folder for a user's caches.

    None where the user has no home. The folder need not exist.
    """
    if given := os.environ.get("GRADC_CACHE_DIR"):
        return Path(given).absolute()
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "gradc" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "gradc"
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative path is to be ignored, says the XDG Base Directory Specification.
    return (Path(given) if given.startswith("/") else home / ".cache") / "gradc"


def limit() -> int:
    """Bytes that all entries may take: ``GRADC_CACHE_SIZE``, where it is a number."""
    given = os.environ.get("GRADC_CACHE_SIZE", "")
    return int(given) if given.isdecimal() else SIZE


def read(key: str) -> bytes | None:
    """The content of an entry; None if there is none, or none that can be trusted."""
    place = _usable()
    if place is None:
        return None
    path = place / (key + _SUFFIX)
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + _CHECKSUM
    content = data[start:]
    if data[:start] != _head(key, content):
        logger.debug("the cache's entry %s is damaged or another's", path)
        return None
    try:
        os.utime(path)  # the order in which entries are evicted
    except OSError:
        logger.debug("the cache's entry %s cannot be marked as used", path)
    return content


def write(key: str, content: bytes) -> bool:
    """Add an entry, or replace it, and evict others where they are too many; whether it was done.

    What is larger than an eighth of all the room is not kept.
    """
    place = _usable(make=True)
    if place is None or len(content) > limit() // 8:
        return False
    import tempfile

    part = None
    try:
        handle, part = tempfile.mkstemp(_PART, key[:8], place)
        with open(handle, "wb") as file:
            file.write(_head(key, content))
            file.write(content)
        os.replace(part, place / (key + _SUFFIX))
    except OSError as error:
        logger.debug("the cache in %s takes no entry: %s", place, error)
        if part is not None:
            _remove(part)
        return False
    _evict(place)
    return True


def entries() -> list[Entry]:
    """What is in the cache, the least recently used first."""
    place = _usable()
    return [] if place is None else _entries(place)


def clear() -> list[Entry]:
    """Remove every entry; what was removed."""
    place = _usable()
    if place is None:
        return []
    for path in _parts(place):
        _remove(path)
    return [entry for entry in _entries(place) if _remove(entry.path)]


# -- the folder ----------------------------------------------------------------------------------


def refusal() -> str | None:
    """Why the folder is not used although it is there; None if it is used, or not there."""
    place = folder()
    try:
        return None if place is None else _objection(place)
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error)


def _usable(*, make: bool = False) -> Path | None:
    """The folder, if it may be used: a folder of the user's that nobody else may write to."""
    place = folder() if enabled() else None
    if place is None:
        return None
    try:
        if make:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(mode=0o700, exist_ok=True)
        reason = _objection(place)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = str(error)
    if reason is None:
        return place
    logger.debug("the cache in %s is not used: %s", place, reason)
    return None


def _objection(place: Path) -> str | None:
    found = place.stat()
    if not stat.S_ISDIR(found.st_mode):
        return "it is no folder"
    # A user's own folder on Windows is closed to others by inherited rights.
    if sys.platform != "win32":
        if found.st_uid != os.geteuid():
            return "it belongs to another user"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write to it"
    return None


def _head(key: str, content: bytes) -> bytes:
    return _MAGIC + hashlib.sha256(key.encode() + b"\0" + content).digest()


def _entries(place: Path) -> list[Entry]:
    found = [Entry(path, at.st_size, at.st_mtime) for path, at in _files(place, _SUFFIX)]
    return sorted(found, key=lambda entry: entry.used)


def _parts(place: Path, age: float = 0) -> list[str]:
    before = time.time() - age
    return [path for path, at in _files(place, _PART) if at.st_mtime <= before]


def _files(place: Path, suffix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(place) as files:
            for file in files:
                try:
                    if file.name.endswith(suffix):
                        yield file.path, file.stat(follow_symlinks=False)
                except OSError:  # another process was quicker to remove it
                    continue
    except OSError as error:
        logger.debug("the cache in %s cannot be read: %s", place, error)


def _evict(place: Path) -> None:
    """Remove the least recently used until the rest is small enough, and what was abandoned."""
    for path in _parts(place, ABANDONED):
        _remove(path)
    found = _entries(place)
    excess = sum(entry.nbytes for entry in found) - limit()
    for entry in found:
        if excess <= 0:
            break
        if _remove(entry.path):
            excess -= entry.nbytes


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
