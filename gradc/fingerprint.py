"""Keys of the code cache: all that native code depends on.

That is a graph, what was asked of it, the machine, and every program that had a part in making the
code. gradc's own files are among them, so that code is never that of another version of gradc.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Sequence

import numpy as np

from gradc.ir.digest import digest
from gradc.ir.graph import Graph


def _sources() -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files of this package; none where it is no folder.

    It takes half a millisecond, and code under development is never taken for that of before.
    """
    packages = ("gradc", "gradc.ir", "gradc.codegen")
    todo = [path for name in packages for path in importlib.import_module(name).__path__]
    seen, found = set(), []
    while todo:
        path = os.path.realpath(todo.pop())
        if path in seen:
            continue
        seen.add(path)
        try:
            with os.scandir(path) as files:
                for file in files:
                    if file.name.endswith(".py"):
                        at = file.stat()
                        found.append((file.name, at.st_size, at.st_mtime_ns))
                    elif file.is_dir() and file.name != "__pycache__":
                        todo.append(file.path)
        except OSError:
            continue
    return tuple(sorted(found))


# Taken while gradc is imported: what is edited later is not what this process runs.
_SOURCES = _sources()


@functools.cache
def fingerprint() -> str:
    """The machine, and the versions of gradc, LLVM, llvmlite, NumPy and Python, as text."""
    from gradc import __version__
    from gradc.codegen.cpython import layout
    from gradc.codegen.targets import host, versions

    parts = (
        __version__, _SOURCES, host(), versions(), np.__version__, sys.version, layout(),
    )
    return repr(parts)


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
