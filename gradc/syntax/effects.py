"""Python's own containers and objects, watched while a branch or a loop's body is traced.

It is traced once, for both ways or all trips: what it does to a list or to an attribute would
happen once, whatever the values are. So it is undone, and noticed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradc.tracer import Tracer

#: how many containers are watched at most
_MANY = 2000
_ATOMS = (
    type(None), bool, int, float, complex, str, bytes, np.ndarray, np.generic, Tracer, type,
    FunctionType, ModuleType, range, slice,
)


class Watched:
    """The containers that some values hold, as they are now."""

    def __init__(self, roots: Iterable[tuple[str, Any]]) -> None:
        #: container -> its name, and a copy
        self._held: dict[int, tuple[Any, str, Any]] = {}
        todo = deque(roots)
        while todo and len(self._held) < _MANY:
            name, value = todo.popleft()
            if isinstance(value, _ATOMS) or id(value) in self._held:
                continue
            if isinstance(value, MethodType):
                todo.append((name, value.__self__))
            elif isinstance(value, tuple):
                todo += ((f"{name}[{k}]", x) for k, x in enumerate(value))
            elif isinstance(value, (list, deque)):
                self._held[id(value)] = (value, name, list(value))
                todo += ((f"{name}[{k}]", x) for k, x in enumerate(value))
            elif isinstance(value, dict):
                self._held[id(value)] = (value, name, dict(value))
                todo += ((f"{name}[{key!r}]", x) for key, x in value.items())
            elif isinstance(value, set):
                self._held[id(value)] = (value, name, set(value))
            elif _is_users(value):
                attributes = value.__dict__
                self._held[id(value)] = (value, name, dict(attributes))
                todo += ((f"{name}.{key}", x) for key, x in attributes.items())

    def changed(self) -> str | None:
        """The name of a container that is not as it was, after putting all back."""
        found = None
        for value, name, before in self._held.values():
            now = value.__dict__ if _is_object(value) else value
            if _differs(now, before):
                found = found or _described(value, name, now, before)
                _restore(now, before)
        return found


def _is_users(value: Any) -> bool:
    home = type(value).__module__.partition(".")[0]
    return _is_object(value) and home not in ("numpy", "scipy", "gradc")


def _is_object(value: Any) -> bool:
    return not isinstance(value, (list, deque, dict, set)) and isinstance(
        getattr(value, "__dict__", None), dict)


def _differs(now: Any, before: Any) -> bool:
    if isinstance(now, set):
        return now != before  # type: ignore[no-any-return]
    if isinstance(now, dict):
        return list(now) != list(before) or any(now[key] is not before[key] for key in now)
    return len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True))


def _described(value: Any, name: str, now: Any, before: Any) -> str:
    if _is_object(value):
        changed = [key for key in {**before, **now} if now.get(key) is not before.get(key)]
        return f"the attribute `{name}.{changed[0]}` of a {type(value).__name__}"
    return f"the {type(value).__name__} `{name}`"


def _restore(now: Any, before: Any) -> None:
    now.clear()
    if isinstance(now, (list, deque)):
        now.extend(before)
    else:
        now.update(before)
