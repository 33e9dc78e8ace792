"""Python's own containers, objects and globals, watched while a branch or a loop's body is traced.

It is traced once, for both ways or all trips: what it does to a list, an attribute or a global
would happen once, whatever the values are. So it is undone, and noticed.
"""

from __future__ import annotations

import array
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradc.syntax.convert import is_foreign_module
from gradc.tracer import Tracer

#: how many containers are watched at most
_MANY = 2000
#: types of values that nothing changes in, or that are watched otherwise
_ATOMS = frozenset((
    type(None), bool, int, float, complex, str, bytes, np.ndarray, Tracer, range, slice,
))  # fmt: skip
#: a variable, or where in what is named it stands, and how that is written
Name = str | tuple[Any, str, Any]
_SEQUENCES = (list, deque, bytearray, array.array)
_LIBRARIES = sys.stdlib_module_names | {"numpy", "scipy", "gradc"}
_MISSING = object()
#: the names that functions which were rewritten declare to be global
ASSIGNED: set[str] = set()


class Watched:
    """The containers that some values hold, as they are now, and the globals of a module."""

    def __init__(self, roots: Iterable[tuple[str, Any]], namespace: dict[str, Any]) -> None:
        self._namespace, self._globals = namespace, dict(namespace)
        #: container -> its name, and what is in it
        self._held: dict[int, tuple[Any, Name, Any]] = {}
        todo: deque[tuple[Name, Any]] = deque(roots)
        while todo and len(self._held) < _MANY:
            name, value = todo.popleft()
            if type(value) in _ATOMS or id(value) in self._held:
                continue
            if isinstance(value, MethodType):
                todo.append((name, value.__self__))
            elif isinstance(value, tuple):
                todo += [((name, "[{!r}]", k), x) for k, x in enumerate(value)]
            elif (inside := _inside(value)) is not None:
                self._held[id(value)] = (value, name, inside)
                if isinstance(value, (list, deque)):
                    todo += [((name, "[{!r}]", k), x) for k, x in enumerate(inside)
                             if type(x) not in _ATOMS]
                elif _has_attributes(value):
                    todo.append(((name, ".{}", "__class__"), type(value)))
                    if not isinstance(value, ModuleType):
                        todo += [((name, ".{}", key), x) for key, x in inside.items()
                                 if not isinstance(x, FunctionType)]
                elif isinstance(inside, dict):
                    todo += [((name, "[{!r}]", key), x) for key, x in inside.items()]

    def changed(self) -> str | None:
        """The name of a container or global that is not as it was, after putting all back."""
        found = None
        for value, name, before in self._held.values():
            now = value if type(value) is list else _inside(value)
            if _differs(now, before):
                found = found or _described(value, _written(name), now, before)
                _restore(value, now, before)
        for name in ASSIGNED:
            before = self._globals.get(name, _MISSING)
            if self._namespace.get(name, _MISSING) is not before:
                found = found or f"the global `{name}`"
                if before is _MISSING:
                    del self._namespace[name]
                else:
                    self._namespace[name] = before
        return found


def _inside(value: Any) -> Any:
    """The elements or attributes of a container, copied; None of what is none, or a library's."""
    if type(value) is list:
        return value.copy()
    if isinstance(value, (dict, set)):
        return dict(value) if isinstance(value, dict) else set(value)
    if isinstance(value, _SEQUENCES):
        return list(value)
    if isinstance(value, FunctionType):
        return dict(value.__dict__)
    if isinstance(value, ModuleType):
        # What Python itself sets there is of no concern: imported modules, warnings given.
        return None if is_foreign_module(value) else {
            key: x for key, x in value.__dict__.items()
            if not key.startswith("__") and not isinstance(x, ModuleType)}
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__.partition(".")[0] in _LIBRARIES:
        return None
    found = dict(getattr(value, "__dict__", {}))
    if value is not kind:
        for name in (name for one in kind.__mro__ for name in _slots(one)):
            if name.startswith("__"):
                continue
            if (held := getattr(value, name, _MISSING)) is not _MISSING:
                found[name] = held
    return found


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _has_attributes(value: Any) -> bool:
    return not isinstance(value, (dict, set, *_SEQUENCES))


def _differs(now: Any, before: Any) -> bool:
    if isinstance(now, set):
        return now != before  # type: ignore[no-any-return]
    if isinstance(now, dict):
        if not all(map(is_, now.values(), before.values())):
            return True
        return len(now) != len(before) or list(now) != list(before)
    return len(now) != len(before) or not all(map(is_, now, before))


def _changes(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    return [key for key in {**before, **now}
            if now.get(key, _MISSING) is not before.get(key, _MISSING)]


def _written(name: Name) -> str:
    """A name as text."""
    if isinstance(name, str):
        return name
    around, form, key = name
    return _written(around) + form.format(key)


def _described(value: Any, name: str, now: Any, before: Any) -> str:
    if not _has_attributes(value):
        return f"the {type(value).__name__} `{name}`"
    (first, *_) = _changes(now, before)
    return f"the attribute `{name}.{first}` of a {type(value).__name__}"


def _restore(value: Any, now: Any, before: Any) -> None:
    """Put back what was in a container."""
    if _has_attributes(value):
        setting = type if isinstance(value, type) else object
        for key in _changes(now, before):
            if key in before:
                setting.__setattr__(value, key, before[key])
            else:
                setting.__delattr__(value, key)
    elif isinstance(value, _SEQUENCES):
        value.clear() if isinstance(value, deque) else value.__delitem__(slice(None))
        value.extend(before)
    else:
        value.clear()
        value.update(before)
