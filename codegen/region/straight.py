"""Straight code of regions: scalar statements, and elements at scalar indices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gradc.codegen.statements import Buffer


class Known(Enum):
    """What is known of an index into an axis of n: then it is not checked, or not wrapped."""

    NOTHING = "checked"
    INSIDE = "wrapped"  # in -n..n-1
    PLAIN = ""  # in 0..n-1


@dataclass(frozen=True)
class Address:
    """``buffer[Σ strides[k]·index_k]`` with indices in registers, into axes of ``extents``.

    ``number`` is that of the node in the program's checked ones.
    """

    buffer: Buffer
    indices: tuple[int, ...]
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    known: tuple[Known, ...]
    number: int

    def __str__(self) -> str:
        at = " + ".join(
            f"v{i}" if s == 1 else f"{s}*v{i}"
            for i, s in zip(self.indices, self.strides, strict=True)
        )
        marks = {k.value for k in self.known if k.value}
        return f"{self.buffer.name}[{at}]" + (f" {', '.join(sorted(marks))}" if marks else "")


@dataclass(frozen=True)
class Element:
    """A scalar read at scalar indices."""

    value: int
    address: Address

    def __str__(self) -> str:
        return f"v{self.value} = {self.address}"


@dataclass(frozen=True)
class Update:
    """A scalar written, or added, at scalar indices.

    ``old`` is the value there that is added to, if it is in a register, and ``new`` what the sum
    is known as afterwards.
    """

    address: Address
    value: int
    add: bool
    old: int | None = None
    new: int | None = None

    def __str__(self) -> str:
        known = "" if self.new is None else f"v{self.new} = "
        if self.old is not None:
            return f"{self.address} = {known}v{self.old} + v{self.value}"
        return f"{known}{self.address} {'+' * self.add}= v{self.value}"


@dataclass(frozen=True)
class View:
    """A part of a buffer, at scalar indices, seen as an array of its own."""

    view: Buffer
    address: Address

    def __str__(self) -> str:
        return f"{self.view.name} = &{self.address}"


@dataclass(frozen=True)
class Extent:
    """The number of elements of a tape, whose address is the value ``tape``."""

    value: int
    tape: int

    def __str__(self) -> str:
        return f"v{self.value} = extent v{self.tape}"


#: statuses: a variable was read that nothing had assigned; lengths differ that are to be equal
UNASSIGNED, MISMATCH = 7, 8

#: op that requires its operand to hold -> the status if it does not
CODES = {"assigned": UNASSIGNED, "fitting": MISMATCH}


@dataclass(frozen=True)
class Required:
    """A check that ``value``, a bool, holds: else the kernel ends with status ``code``.

    ``number`` is that of the node in the program's checked ones.
    """

    value: int
    code: int
    number: int

    def __str__(self) -> str:
        return f"check v{self.value}"


@dataclass(frozen=True)
class Straight:
    """Scalar statements, in registers that later stages of the region read too."""

    statements: tuple[Any, ...]

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        return len(self.statements)

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        yield from map(str, self.statements)
