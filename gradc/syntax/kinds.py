"""Builtins that ask what a value is: of a traced one they tell what NumPy would have there."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from gradc.conversions import class_of
from gradc.tracer import Tracer

#: the default of ``getattr`` that was not given
_NONE = object()


def _type(value: Any, *rest: Any, **options: Any) -> Any:
    if type(value) is Tracer and not rest:
        return class_of(value, True)
    return builtins.type(value, *rest, **options)


def _isinstance(value: Any, kinds: Any) -> bool:
    # By the class itself: an abstract class such as Iterable asks the object for its methods.
    if type(value) is Tracer:
        known = kinds is Tracer or isinstance(kinds, tuple) and Tracer in kinds
        return known or issubclass(class_of(value, True), kinds)
    return isinstance(value, kinds)


def _hasattr(value: Any, name: str) -> bool:
    return hasattr(class_of(value, True) if type(value) is Tracer else value, name)


def having(value: Any, name: str) -> Any:
    """A value that has an attribute: a traced number of Python's has only what those have.

    Raises AttributeError, as Python does.
    """
    if type(value) is Tracer and not hasattr(kind := class_of(value, True), name):
        raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
    return value


def _getattr(value: Any, name: str, default: Any = _NONE) -> Any:
    if default is _NONE:
        return getattr(having(value, name), name)
    return getattr(value, name, default) if _hasattr(value, name) else default


#: builtins -> what stands for them
INSTEAD: dict[Any, Callable[..., Any]] = {
    builtins.getattr: _getattr, builtins.hasattr: _hasattr, builtins.isinstance: _isinstance,
    builtins.type: _type,
}
