"""Answering a lookup of a module's attribute differently where user code makes it.

Extension modules look names up too (``np.empty`` in the random generators), and take what comes
back for an ndarray without a check. They run without a frame of Python's, so that the frame on top
is that of the user who called them: only the instruction that it stands at tells them apart.
"""

from __future__ import annotations

import bisect
import dis
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from types import CodeType, FrameType, ModuleType
from typing import Any

_LOADS = frozenset(("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"))
_LIBRARIES = frozenset(("numpy", "scipy", "gradc"))


@lru_cache(maxsize=1024)
def _instructions(code: CodeType) -> tuple[list[int], list[str | None]]:
    """The offsets of the instructions, and the attributes that they look up."""
    offsets, names = [], []
    for instruction in dis.get_instructions(code):
        offsets.append(instruction.offset)
        names.append(instruction.argval if instruction.opname in _LOADS else None)
    return offsets, names


def is_users(frame: FrameType) -> bool:
    """Whether the frame runs code that is neither gradc's nor NumPy's nor SciPy's."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] not in _LIBRARIES


def looks_up(frame: FrameType, name: str) -> bool:
    """Whether the frame's own current instruction looks an attribute ``name`` up."""
    offsets, names = _instructions(frame.f_code)
    return names[bisect.bisect_right(offsets, frame.f_lasti) - 1] == name


def is_extension(namespace: dict[str, Any]) -> bool:
    """Whether a module's namespace is that of compiled code."""
    return str(namespace.get("__file__") or "").endswith(tuple(EXTENSION_SUFFIXES))


class Lookups:
    """Modules whose attributes are replaced for user code alone, where ``active()``.

    ``instead`` has what user code sees, by the ``id`` of what the module has.
    """

    def __init__(
        self,
        modules: Iterable[ModuleType],
        instead: Mapping[int, Any],
        active: Callable[[], object],
    ) -> None:
        self._instead, self._active = instead, active
        self._classes: list[tuple[ModuleType, type[ModuleType], type[ModuleType]]] = []
        for module in modules:
            self.add(module)

    def add(self, module: ModuleType) -> None:
        """Watch one more module, from the next :meth:`enter` on."""
        kind = type(module)
        watching = _watching(kind, self._instead, self._active)
        self._classes.append((module, kind, watching))

    def enter(self) -> None:
        """Watch the lookups from now on, until :meth:`leave`."""
        for module, _, watching in self._classes:
            module.__class__ = watching

    def leave(self) -> None:
        """Leave the modules as they were."""
        for module, before, _ in self._classes:
            module.__class__ = before


def _watching(
    kind: type[ModuleType], instead: Mapping[int, Any], active: Callable[[], object]
) -> type[ModuleType]:
    plain = kind.__getattribute__

    class Watching(kind):  # type: ignore[valid-type,misc]
        """A module that is being watched."""

        # Tracing an operation takes a dozen of these lookups in gradc itself.
        def __getattribute__(self, name: str) -> Any:
            found = plain(self, name)
            other = instead.get(id(found))
            if other is not None and active():
                frame = sys._getframe(1)
                if is_users(frame) and looks_up(frame, name):
                    return other
            return found

    return Watching
