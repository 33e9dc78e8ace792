"""The quick way to a specialisation that has been used before.

A call is keyed in one walk over its arguments as they were passed: finer than the key that
decides (:mod:`gradc.signature`), and cheaper, since nothing is bound, converted or named.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from gradc.tree import exact

#: the most calls that a function remembers in this way
MANY = 256

#: kinds of dtypes whose numbers may turn static, so that their values decide
_COUNTING = "biu"


class Unusual(Exception):
    """An argument that only the full reading of a call understands."""


def keyed(value: Any, leaves: list[Any], keys: list[Any]) -> Hashable:
    """Collect the leaves of a pytree and what they are; return its structure.

    Raises Unusual for anything but arrays, numbers and strings in tuples, lists and dicts.
    """
    kind = type(value)
    if kind is np.ndarray:
        leaves.append(value)
        keys.append(value.dtype)
        keys.append(value.shape)
        if not value.shape and value.dtype.kind in _COUNTING:
            keys.append(value.item())
        return 0
    if kind is tuple or kind is list:
        return (kind, *[keyed(child, leaves, keys) for child in value])
    if kind is dict:
        names = tuple(value)
        if any(type(name) is not str for name in names):
            keys.append(exact(names))
        return (kind, *names, *[keyed(child, leaves, keys) for child in value.values()])
    if kind is float:
        leaves.append(value)
        keys.append(kind)
        return 0
    if value is None:
        return None
    if kind is int or kind is bool or kind is str:
        leaves.append(value)
        keys.append(kind)
        keys.append(value)
        return 0
    if isinstance(value, np.generic):
        leaves.append(value)
        keys.append(value.dtype)
        if value.dtype.kind != "f":
            keys.append(exact(value))
        return 0
    raise Unusual


def remembered(args: tuple[Any, ...]) -> tuple[Hashable, list[Any]] | None:
    """The key of a call and its leaves; None for what is unusual."""
    leaves: list[Any] = []
    keys: list[Any] = []
    try:
        structure = keyed(args, leaves, keys)
    except (Unusual, RecursionError):
        return None
    return (structure, *keys), leaves
