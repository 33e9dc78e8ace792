"""How a compiled function is called: what each argument is made of, as native code checks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gradc.codegen.guards import ArgSpec


class Leaf(NamedTuple):
    """A traced leaf; ``inputs`` are the kernel's arguments that point to its data."""

    arg: ArgSpec
    inputs: tuple[int, ...]


class Constant(NamedTuple):
    """A static leaf: an object of exactly this type and value.

    Python's strings, and ints, floats and NumPy scalars of at most 64 bits, are compared by value;
    all else is compared by identity.
    """

    kind: type
    value: object


class Node(NamedTuple):
    """A container of exactly this type.

    A tuple, named tuple or list of ``children``, without ``keys``; a dict with these keys
    (Constants) in this order; or an object with these attributes (names).
    """

    kind: type
    keys: tuple[Constant, ...] | tuple[str, ...]
    children: tuple[Pattern, ...]


Pattern = Leaf | Constant | Node


@dataclass(frozen=True)
class Argument:
    """An argument: where a call has it, the positional ones counted before the keywords.

    ``place`` is None for one that the call leaves out: it is its ``default`` then. The default goes
    with the function and takes no part in comparisons.
    """

    place: int | None
    pattern: Pattern
    default: object = field(default=None, compare=False)


class Form(NamedTuple):
    """A form of call: so many positional arguments, these keywords in this order."""

    positional: int
    keywords: tuple[str, ...]
    arguments: tuple[Argument, ...]

    @property
    def inputs(self) -> int:
        """How many arguments the kernel has."""
        patterns = [argument.pattern for argument in self.arguments]
        return max((k + 1 for leaf in leaves(patterns) for k in leaf.inputs), default=0)


def flat(args: tuple[ArgSpec, ...]) -> Form:
    """The form of a call that gives the kernel's arguments one by one."""
    given = (Argument(k, Leaf(arg, (k,))) for k, arg in enumerate(args))
    return Form(len(args), (), tuple(given))


def leaves(patterns: list[Pattern]) -> list[Leaf]:
    """The traced leaves of patterns, in order."""
    found, todo = [], patterns[::-1]
    while todo:
        pattern = todo.pop()
        if isinstance(pattern, Leaf):
            found.append(pattern)
        elif isinstance(pattern, Node):
            todo += pattern.children[::-1]
    return found
