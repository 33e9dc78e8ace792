"""Pytrees: tuples, lists, dicts, namedtuples, dataclasses and None, over leaves.

``flatten`` takes a structure apart, ``unflatten`` puts it together, and ``paths`` names the leaves
as the user would write them (``params['W1']``, ``layers[0].b``).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.errors import ArgumentError

#: how deep structures may be nested; one that contains itself is deeper than any
DEEPEST = 200


@dataclass(frozen=True, slots=True)
class TreeDef:
    """The structure of a pytree without its leaves: hashable, compared by value.

    ``kind`` is the container's type, or None for a leaf; ``keys`` are the keys of a dict or the
    names of fields; dicts keep their order of insertion, which belongs to the structure.
    ``marks`` tell apart keys that are equal without being the same, as 1 and True are.
    """

    kind: type | None = None
    keys: tuple[Any, ...] = ()
    children: tuple[TreeDef, ...] = ()
    marks: Hashable = None

    @property
    def num_leaves(self) -> int:
        """How many leaves the structure has."""
        if self.kind is None:
            return 1
        return sum(child.num_leaves for child in self.children)

    def __str__(self) -> str:
        if self.kind is None:
            return "*"
        if self.kind is type(None):
            return "None"
        parts = [str(child) for child in self.children]
        if self.kind is tuple:
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        if self.kind is list:
            return f"[{', '.join(parts)}]"
        if self.keys and issubclass(self.kind, dict):
            pairs = zip(self.keys, parts, strict=True)
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in pairs) + "}"
        fields = zip(self.keys, parts, strict=True)
        return f"{self.kind.__name__}({', '.join(f'{k}={p}' for k, p in fields)})"


#: the structure of a lone leaf
LEAF = TreeDef()
_NONE = TreeDef(type(None))


def _is_namedtuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _take_apart(value: Any) -> tuple[type, tuple[Any, ...], Iterable[Any]] | None:
    """Container type, keys and children of a value; None for a leaf."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind, (), value
    if kind is dict or kind is OrderedDict:
        return kind, tuple(value), value.values()
    if _is_namedtuple(value):
        return kind, value._fields, value
    if _is_dataclass(value):
        names = tuple(f.name for f in dataclasses.fields(value))
        return kind, names, [getattr(value, name) for name in names]
    return None


def flatten(value: Any) -> tuple[list[Any], TreeDef]:
    """The leaves of a pytree, in order, and its structure.

    Raises ArgumentError for one that contains itself, or is nested too deeply.
    """
    leaves: list[Any] = []
    return leaves, _flatten(value, leaves, DEEPEST)


def _flatten(value: Any, leaves: list[Any], deeper: int) -> TreeDef:
    if value is None:
        return _NONE
    parts = _take_apart(value)
    if parts is None:
        leaves.append(value)
        return LEAF
    if not deeper:
        raise ArgumentError(
            f"a structure is nested more than {DEEPEST} deep, or contains itself",
            remedy="put the numbers into arrays, or the arrays into one flat list or dict",
        )
    kind, keys, children = parts
    inner = tuple([_flatten(child, leaves, deeper - 1) for child in children])
    odd = keys and issubclass(kind, dict) and any(type(key) is not str for key in keys)
    return TreeDef(kind, keys, inner, exact(keys) if odd else None)


def exact(value: Any) -> Hashable:
    """A key that is equal only for the same value of the same type.

    1, 1.0 and True differ, and so do 0.0 and −0.0, in tuples, slices, frozen sets and dataclasses
    too; a NaN is the same as another.
    """
    kind = type(value)
    if kind is int or kind is bool or kind is str:
        return (kind, value)
    if isinstance(value, np.generic) and not isinstance(value, (str, bytes)):
        return (kind, value.dtype, value.tobytes())
    if isinstance(value, float):
        return (kind, float.hex(value))
    if isinstance(value, complex):
        return (kind, float.hex(value.real), float.hex(value.imag))
    if isinstance(value, tuple):
        return (kind, *map(exact, value))
    if kind is slice:  # not hashable itself before Python 3.12
        return (kind, exact(value.start), exact(value.stop), exact(value.step))
    if isinstance(value, frozenset):
        return (kind, frozenset(map(exact, value)))
    if _is_dataclass(value) and kind.__eq__ is not vars(object)["__eq__"]:
        compared = [f.name for f in dataclasses.fields(value) if f.compare]
        hash(value)  # fails for one that can change
        return (kind, *[exact(getattr(value, name)) for name in compared])
    return (kind, value)


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """The pytree of this structure with these leaves. Raises ValueError if their number differs."""
    given = iter(leaves)
    try:
        out = _unflatten(treedef, given)
    except StopIteration:
        raise ValueError(f"too few leaves for {treedef}") from None
    if next(given, _NONE) is not _NONE:
        raise ValueError(f"too many leaves for {treedef}")
    return out


def _unflatten(treedef: TreeDef, leaves: Iterator[Any]) -> Any:
    kind = treedef.kind
    if kind is None:
        return next(leaves)
    if kind is type(None):
        return None
    children = [_unflatten(child, leaves) for child in treedef.children]
    if kind is tuple or kind is list:
        return kind(children)
    if issubclass(kind, dict):
        return kind(zip(treedef.keys, children, strict=True))
    if issubclass(kind, tuple):
        return tuple.__new__(kind, children)
    # A dataclass is rebuilt field by field: its __init__ might compute with, or refuse, the leaves.
    out = object.__new__(kind)
    for name, child in zip(treedef.keys, children, strict=True):
        object.__setattr__(out, name, child)
    return out


def paths(treedef: TreeDef, prefix: str = "") -> list[str]:
    """The name of each leaf, as an expression that starts at ``prefix``.

    >>> paths(flatten({"W1": 0, "b": [1, 2]})[1], "params")
    ["params['W1']", "params['b'][0]", "params['b'][1]"]
    """
    if treedef.kind is None:
        return [prefix]
    out = []
    for name, child in zip(_steps(treedef), treedef.children, strict=True):
        out.extend(paths(child, prefix + name))
    return out


def _steps(treedef: TreeDef) -> Sequence[str]:
    kind = treedef.kind
    if kind is not None and issubclass(kind, dict):
        return [f"[{key!r}]" for key in treedef.keys]
    if treedef.keys:
        return [f".{name}" for name in treedef.keys]
    return [f"[{k}]" for k in range(len(treedef.children))]
