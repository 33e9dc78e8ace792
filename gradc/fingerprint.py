"""Keys of the code cache: all that native code depends on.

That is a graph, what was asked of it, the machine, and every program that had a part in making the
code. gradc's own files are among them, so that code is never that of another version of gradc.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

import numpy as np

from gradc.ir.digest import digest
from gradc.ir.graph import Graph

Files = tuple[tuple[str, int, int], ...]


def _files(packages: Sequence[str], endings: tuple[str, ...]) -> Files:
    """Names, sizes and times of files in folders and the folders in these.

    It takes half a millisecond for gradc's own, whose code is thus never taken for that of before
    while it is worked on.
    """
    todo, seen = list(packages), set()
    found = []
    while todo:
        path = os.path.realpath(todo.pop())
        if path in seen:
            continue
        seen.add(path)
        try:
            with os.scandir(path) as files:
                for file in files:
                    if file.name.endswith(endings):
                        at = file.stat()
                        found.append((file.name, at.st_size, at.st_mtime_ns))
                    elif file.is_dir() and file.name != "__pycache__":
                        todo.append(file.path)
        except OSError:  # in an archive: versions must do
            continue
    return tuple(sorted(found))


def _sources() -> Files:
    packages = ("gradc", "gradc.ir", "gradc.codegen")
    folders = [path for name in packages for path in importlib.import_module(name).__path__]
    return _files(folders, (".py",))


# Taken while gradc is imported: what is edited later is not what this process runs.
_SOURCES = _sources()


@functools.cache
def fingerprint() -> str:
    """The machine, and the versions of gradc, LLVM, NumPy and Python, as text."""
    from gradc import __version__
    from gradc.codegen.cpython import layout
    from gradc.codegen.machine import identity

    parts = (
        __version__, _SOURCES, _llvmlite(), identity(), np.__version__, sys.version, layout(),
    )
    return repr(parts)


def _llvmlite() -> Files:
    """What tells one llvmlite, with the LLVM in it, from others, without loading it."""
    found = importlib.util.find_spec("llvmlite")
    folders = (found.submodule_search_locations if found else None) or ()
    return _files(folders, (".so", ".dylib", ".dll", "_version.py"))


def key(graphs: Sequence[Graph], *asked: object) -> str | None:
    """The key of the code for graphs and what is asked of them; None where there can be none.

    What is asked must say all by its ``repr``.
    """
    from gradc.codegen import cache

    if not cache.enabled():
        return None
    try:
        digests = [digest(graph) for graph in graphs]
    except TypeError:  # an attribute that cannot be told apart in another process
        return None
    return hashlib.sha256(repr((fingerprint(), digests, asked)).encode()).hexdigest()
