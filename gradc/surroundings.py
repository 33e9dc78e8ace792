"""What a function takes from outside its arguments, so that a change of it can be noticed.

Globals and closures are constants of compiled code. ``gradc.grad(f)`` keeps what it compiled for
``f`` only as long as they are what they were.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Hashable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from gradc.tree import flatten


class Same:
    """Compares an object by identity, and keeps it alive so that no other takes its id."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def surroundings(function: Any) -> tuple[Hashable, ...]:
    """The globals and closures of a function, and of the functions of its package among them.

    Numbers are told by value, arrays by identity and checksum, anything else by identity.
    """
    found: list[Hashable] = []
    home = _package(function)
    seen: set[int] = set()
    todo = [function]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for value in outside(one):
            if isinstance(value, (FunctionType, MethodType, functools.partial)) or hasattr(
                value, "__wrapped__"
            ):
                found.append(Same(value))
                if _package(value) == home:
                    todo.append(value)
            else:
                found.extend(map(_mark, flatten(value)[0]))
    return tuple(found)


def _package(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return (getattr(function, "__module__", None) or "").partition(".")[0]


def outside(function: Any) -> Iterator[Any]:
    """What a function refers to outside its arguments."""
    if isinstance(function, functools.partial):
        yield function.func
        yield from function.args
        yield from function.keywords.values()
    elif isinstance(function, MethodType):
        yield function.__func__
        yield from getattr(function.__self__, "__dict__", {}).values()
    elif isinstance(function, FunctionType):
        yield from (value for _, value in named(function))
    elif hasattr(function, "__wrapped__"):
        yield function.__wrapped__
    elif hasattr(function, "__dict__"):
        yield from vars(function).values()


def named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function refers to outside its arguments, by name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def is_users(module: str | None) -> bool:
    """Whether a module's name is none of ours, NumPy's, SciPy's or that of Python's builtins."""
    return (module or "").partition(".")[0] not in ("numpy", "scipy", "gradc", "builtins")


def _names(code: CodeType) -> list[str]:
    """The global names that code uses, that of the functions in it too."""
    names, todo = dict.fromkeys(code.co_names), list(code.co_consts)
    while todo:
        inner = todo.pop()
        if isinstance(inner, CodeType):
            names.update(dict.fromkeys(inner.co_names))
            todo += inner.co_consts
    return list(names)


def _mark(value: Any) -> Hashable:
    if type(value) is np.ndarray and value.dtype != object:
        return (Same(value), zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data))
    if isinstance(value, (bool, int, float, complex, str, np.generic)):
        return (type(value), repr(value))
    return Same(value)
