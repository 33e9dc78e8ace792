"""The arrays that a traced function finds outside: a write into one would happen while tracing."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradc.surroundings import is_users, named
from gradc.tracer import Tracer

#: how many objects are searched at most
_MANY = 10_000
_ATOMS = (type(None), bool, int, float, complex, str, bytes, np.generic, Tracer, range, slice)


class Captured:
    """The arrays in the globals, closures and static arguments of a function, by name.

    They are searched when that is first asked for: only functions do that write into plain arrays.
    """

    def __init__(self, function: Any, arguments: Any) -> None:
        self._roots = (function, arguments)
        #: id of what owns the memory -> that, and the name of an array of it
        self._found: dict[int, tuple[Any, str]] | None = None

    def name_of(self, array: np.ndarray[Any, Any]) -> str | None:
        """The name of an array from outside that has its memory from where this one has it."""
        if self._found is None:
            self._found = _search(*self._roots)
        return self._found.get(id(_owner(array)), (None, None))[1]


def _owner(array: Any) -> Any:
    """What owns the memory of an array: another that it is a view of, a buffer, or it itself."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def _search(function: Any, arguments: tuple[Any, Any]) -> dict[int, tuple[Any, str]]:
    found: dict[int, tuple[Any, str]] = {}
    seen: set[int] = set()
    args, kwargs = arguments
    todo = deque([("self", function), *(("", x) for x in args), *kwargs.items()])
    while todo and len(seen) < _MANY:
        name, value = todo.popleft()
        if isinstance(value, np.ndarray):
            owner = _owner(value)
            found.setdefault(id(owner), (owner, name))
        elif not isinstance(value, _ATOMS) and id(value) not in seen:
            seen.add(id(value))
            todo += _parts(name, value)
    return found


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, by the names that the user has for it."""
    if isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", x) for key, x in value.items())
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        yield from ((f"{name}[{k}]", x) for k, x in enumerate(value))
    elif isinstance(value, MethodType):
        yield "", value.__func__
        yield "cls" if isinstance(value.__self__, type) else "self", value.__self__
    elif isinstance(value, functools.partial):
        yield from (("", x) for x in (value.func, *value.args, *value.keywords.values()))
    elif hasattr(value, "__wrapped__"):
        yield name, value.__wrapped__
    elif isinstance(value, FunctionType):
        yield from named(value) if is_users(value.__module__) else ()
    else:
        yield from ((f"{name}.{key}" if name else key, x) for key, x in _attributes(value).items())


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of a user's module, class or instance."""
    from gradc.syntax.convert import is_foreign_module

    if isinstance(value, ModuleType):
        return {} if is_foreign_module(value) else dict(vars(value))
    found: dict[str, Any] = {}
    for kind in reversed((value if isinstance(value, type) else type(value)).__mro__):
        if is_users(kind.__module__):
            found |= vars(kind)
    slots = [key for key, x in found.items() if isinstance(x, MemberDescriptorType)]
    held = {key: getattr(value, key) for key in slots if hasattr(value, key)}
    return found | held | dict(getattr(value, "__dict__", {})) if found else {}
