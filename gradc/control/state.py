"""The state of a loop as a pytree: which of its leaves are carries, and which stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.control.carries import Carry, carry_of, is_number, line_of, restructured
from gradc.errors import GradcError
from gradc.tree import TreeDef, flatten, paths, unflatten


class State:
    """A pytree whose numbers and arrays are carried; other leaves must come out unchanged."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        leaves, self.tree = flatten(value)
        self.names = paths(self.tree, name)
        self.moving = [k for k, leaf in enumerate(leaves) if is_number(leaf)]
        self.leaves = leaves

    @property
    def initial(self) -> list[Any]:
        """The leaves that are carried."""
        return [self.leaves[k] for k in self.moving]

    def carries(self) -> list[Carry]:
        """What is known of them before the loop is traced."""
        return [carry_of(self.names[k], self.leaves[k]) for k in self.moving]

    def filled(self, moving: Sequence[Any]) -> Any:
        """The pytree with these in place of the leaves that are carried."""
        leaves = list(self.leaves)
        for k, leaf in zip(self.moving, moving, strict=True):
            leaves[k] = leaf
        return unflatten(self.tree, leaves)

    def taken(self, value: Any) -> list[Any]:
        """The carried leaves of what an iteration gave. Raises CarryError for another structure."""
        leaves, tree = flatten(value)
        if tree != self.tree:
            raise restructured(self.name, structure_of(self.tree), structure_of(tree))
        carried = set(self.moving)
        for k, (before, after) in enumerate(zip(self.leaves, leaves, strict=True)):
            if k in carried:
                if not is_number(after):
                    raise restructured(self.names[k], "a number or array", repr(after))
            elif not same_static(before, after):
                raise restructured(self.names[k], repr(before), _shown(after), line_of(after))
        return [leaves[k] for k in self.moving]


def _shown(leaf: Any) -> str:
    return "a number or array" if is_number(leaf) else repr(leaf)


def structure_of(tree: TreeDef) -> str:
    """A structure for messages."""
    return "a number or array" if tree.kind is None else str(tree)


def same_static(before: Any, after: Any) -> bool:
    """Whether a leaf that is no number is still what it was."""
    if before is after:
        return True
    if getattr(before, "is_dynamic", False):  # an array, whose == is one of the elements
        return False
    try:
        return type(before) is type(after) and bool(before == after)
    except GradcError:
        raise
    except Exception:  # whatever a user's class makes of ==
        return False
