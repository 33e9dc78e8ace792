"""What a result looks like: numbers of leaves in containers."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Record:
    """A named tuple (``names`` are empty), or an object with attributes."""

    kind: type
    names: tuple[str, ...]
    children: tuple[Any, ...]


#: the index of a leaf, None, or a container of such
Structure = int | None | tuple[Any, ...] | list[Any] | dict[Hashable, Any] | Record


def dict_keys(structure: Structure) -> Iterator[Hashable]:
    """The keys of all dicts in a structure, in the order of the names ``key 0``, ``key 1`` ...

    Of a record, its type and its names.
    """
    if isinstance(structure, Record):
        yield structure.kind
        for child in structure.children:
            yield from dict_keys(child)
        yield from structure.names
    elif isinstance(structure, dict):
        for key, child in structure.items():
            yield key
            yield from dict_keys(child)
    elif isinstance(structure, (tuple, list)):
        for child in structure:
            yield from dict_keys(child)


def outline(structure: Structure) -> str:
    """The structure as text, without the keys of its dicts: what code that builds it depends on."""
    if isinstance(structure, Record):
        inner = ",".join(map(outline, structure.children))
        return f"<{'tuple' if issubclass(structure.kind, tuple) else len(structure.names)}:{inner}>"
    if isinstance(structure, dict):
        return "{" + ",".join(map(outline, structure.values())) + "}"
    if isinstance(structure, tuple):
        return "(" + ",".join(map(outline, structure)) + ")"
    if isinstance(structure, list):
        return "[" + ",".join(map(outline, structure)) + "]"
    return str(structure)
