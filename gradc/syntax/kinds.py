"""Builtins that ask what a value is: of a traced one they tell what NumPy would have there."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.conversions import class_of
from gradc.syntax.values import is_dynamic
from gradc.tracer import Tracer

#: the default of ``getattr`` that was not given
_NONE = object()


def _class(value: Any) -> Any:
    """The class that NumPy or Python would have for a traced value; None for any other."""
    if type(value) is Tracer:
        return class_of(value, True)
    return np.ndarray if is_dynamic(value) else None


def _type(value: Any, *rest: Any, **options: Any) -> Any:
    kind = None if rest else _class(value)
    return builtins.type(value, *rest, **options) if kind is None else kind


def _isinstance(value: Any, kinds: Any) -> bool:
    # By the class itself: an abstract class such as Iterable asks the object for its methods.
    kind = _class(value)
    if kind is None:
        return isinstance(value, kinds)
    own = type(value)
    known = kinds is own or isinstance(kinds, tuple) and own in kinds
    return known or issubclass(kind, kinds)


def _hasattr(value: Any, name: str) -> bool:
    kind = _class(value)
    return hasattr(value if kind is None else kind, name)


def having(value: Any, name: str) -> Any:
    """A value that has an attribute: a traced number of Python's has only what those have.

    Raises AttributeError, as Python does.
    """
    kind = _class(value)
    if kind is not None and not hasattr(kind, name):
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
