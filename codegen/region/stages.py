"""Stages of control flow, and the straight code of regions, as frozen data that prints itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.codegen.region.straight import Address
from gradc.codegen.statements import Buffer
from gradc.ir.graph import Node
from gradc.ir.types import SHORT

#: iterations that a loop without a known trip count is taken to have, in estimates
USUAL = 100


@dataclass(frozen=True)
class Register:
    """A scalar in a register: a value of the region around."""

    value: int
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"v{self.value}"


@dataclass(frozen=True)
class Number:
    """A scalar that is known."""

    number: Any
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return str(self.number)


#: Where a scalar is: in memory (element 0 of a buffer), in a register, or known.
Scalar = Buffer | Register | Number


def number_of(node: Node) -> Number | None:
    """The scalar that a node is, if it is known."""
    if node.op.name != "const" or node.type.size != 1:
        return None
    return Number(node.attrs["value"].item(), node.type.dtype)


def text(operand: Scalar | None) -> str:
    """A scalar as the dump names it."""
    return f"{operand.name}[0]" if isinstance(operand, Buffer) else str(operand)


@dataclass(frozen=True)
class Given:
    """A scalar of the surroundings, known in the region as ``value``."""

    value: int
    scalar: Scalar


@dataclass(frozen=True)
class Body:
    """A region: its stages, what it takes of the scalars around it, the scalars it results in."""

    stages: tuple[Any, ...]
    given: tuple[Given, ...]
    results: tuple[Register | Number | None, ...]  # None of results in memory

    @property
    def flops(self) -> int:
        """A rough count of what it computes once."""
        return sum(stage.flops for stage in self.stages)

    def lines(self) -> Iterator[str]:
        """The text of the stages, line by line."""
        for given in self.given:
            yield f"v{given.value} is {text(given.scalar)}"
        for stage in self.stages:
            yield from stage.lines()


@dataclass(frozen=True)
class Carried:
    """A scalar that a loop carries: its number in the body, and in the test."""

    value: int
    in_test: int
    dtype: np.dtype[Any]
    start: Scalar
    next: Register | Number
    result: Buffer | Register | None


@dataclass(frozen=True)
class Forward:
    """An element that is in a register when an iteration begins, as ``value``.

    The first time it is read at ``address``; ``next`` is what this iteration writes where the next
    one would read it.
    """

    value: int
    address: Address
    next: Register

    def __str__(self) -> str:
        return f"v{self.value} = {self.address}"


@dataclass(frozen=True)
class Slot:
    """Memory whose address changes from one iteration to the next: it is then that of ``next``.

    After the loop what it holds is brought ``home``, if it is not there: first, where several
    are not, by stages that copy it ``away``.
    """

    view: Buffer
    start: Buffer
    next: Buffer
    away: tuple[Any, ...] = ()
    back: tuple[Any, ...] = ()
    home: Buffer | None = None


@dataclass(frozen=True)
class Row:
    """What an iteration reads or writes of an array along whose first axis it goes.

    An array: the buffer ``view`` moves along; a scalar: it is loaded as, or stored from, ``value``.
    Row k begins at element ``k·size`` of ``of``; of a ``tape``, ``of`` holds the address where it
    is read, and gets it when it has been written.
    """

    of: Buffer | Register
    size: int
    dtype: np.dtype[Any]
    view: Buffer | None = None
    value: Register | Number | None = None
    tape: bool = False

    @property
    def name(self) -> str:
        """What it is a row of, as the dump names it."""
        name = self.of.name if isinstance(self.of, Buffer) else str(self.of)
        return f"tape {name}" if self.tape else name

    @property
    def nbytes(self) -> int:
        """The bytes of a row."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.view.name if self.view else self.value} is {self.name}[{self.size}*i:]"


@dataclass(frozen=True)
class Loop:
    """A counted loop, or one with a test.

    The trip count is ``count``, or the scalar ``trips``, or what the test says, at most ``limit``
    if that is not negative. ``index`` is the iteration's number in the body; ``index_in_test``.
    As many as ``lanes`` iterations go at a time: ``steps`` are the integers that move evenly, and
    how far, ``serial`` the values that are computed one iteration after the other all the same.
    """

    node: Node
    number: int
    body: Body
    count: int = -1
    trips: Scalar | None = None
    test: Body | None = None
    reverse: bool = False
    limit: int = -1
    index: int = 0
    index_in_test: int = 0
    scalars: tuple[Carried, ...] = ()
    slots: tuple[Slot, ...] = ()
    reads: tuple[Row, ...] = ()
    writes: tuple[Row, ...] = ()
    ran: Buffer | Register | None = None
    forwards: tuple[Forward, ...] = ()
    ahead: tuple[Any, ...] = ()  # the straight code in which the forwards' addresses are computed
    tapes: Buffer | None = None  # what was taken of memory for tapes, where some is
    frees: bool = False  # tapes of an iteration are given back when it ends
    lanes: int = 1
    steps: tuple[tuple[int, int], ...] = ()
    serial: frozenset[int] = frozenset()

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        once = self.body.flops + (self.test.flops if self.test else 0)
        return (self.count if self.count >= 0 else USUAL) * once

    @property
    def inside(self) -> tuple[Any, ...]:
        """The stages of its regions."""
        return (*(self.test.stages if self.test else ()), *self.body.stages)

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        for c in self.scalars:
            yield f"v{c.value} = {text(c.start)} : {SHORT[c.dtype]}"
        for slot in self.slots:
            yield f"{slot.view.name} = {slot.start.name}"
        for forward in self.forwards:
            yield f"{forward}   # of the first iteration"
        direction = ", from the last on" if self.reverse else ""
        direction += f", {self.lanes} at a time" if self.lanes > 1 else ""
        if self.test is not None:
            at_most = f", at most {self.limit} times" if self.limit >= 0 else ""
            yield f"for v{self.index} = 0, 1, ..., while{at_most}:"
            yield from (f"    {line}" for line in self._test_lines(self.test))
        else:
            count = str(self.count) if self.count >= 0 else text(self.trips)
            yield f"for v{self.index} < {count}{direction}:"
        yield from (f"  {row}" for row in (*self.reads, *self.writes) if row.view)
        for row in self.reads:
            if row.view is None:
                yield f"  {row.value} = {row.name}[v{self.index}]"
        yield from (f"  {line}" for line in self.body.lines())
        for row in self.writes:
            if row.view is None:
                yield f"  {row.name}[v{self.index}] = {row.value}"
        moved = [(f"v{c.value}", str(c.next)) for c in self.scalars]
        moved += [(f"v{f.value}", str(f.next)) for f in self.forwards]
        moved += [(slot.view.name, slot.next.name) for slot in self.slots]
        if moved:
            yield f"  {', '.join(a for a, _ in moved)} = {', '.join(b for _, b in moved)}"

    def _test_lines(self, test: Body) -> Iterator[str]:
        yield from test.lines()
        yield f"test {test.results[0]}"


@dataclass(frozen=True)
class Branch:
    """One of several regions, chosen by an index that is clamped."""

    node: Node
    index: Scalar
    bodies: tuple[Body, ...]
    results: tuple[Buffer | Register | None, ...]  # of the scalar results

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        return max(body.flops for body in self.bodies)

    @property
    def inside(self) -> tuple[Any, ...]:
        """The stages of its regions."""
        return tuple(stage for body in self.bodies for stage in body.stages)

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        for k, body in enumerate(self.bodies):
            last = k == len(self.bodies) - 1
            yield "otherwise:" if last else f"if {text(self.index)} is {k}{' or less' * (not k)}:"
            yield from (f"  {line}" for line in body.lines())
            found = [(r, v) for r, v in zip(self.results, body.results, strict=True) if r]
            for result, value in found:
                yield f"  {text(result)} = {value}"


def takes_memory(stages: Sequence[Any]) -> bool:
    """Whether there are tapes in stages."""
    return any(isinstance(s, Loop) and s.tapes is not None for s in all_stages(stages))


def all_stages(stages: Sequence[Any]) -> Iterator[Any]:
    """Stages and those inside them, in order."""
    for stage in stages:
        yield stage
        if isinstance(stage, (Loop, Branch)):
            yield from all_stages(stage.inside)


