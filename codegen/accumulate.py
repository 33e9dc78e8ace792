"""Reductions over the rows of a nest: in registers where they are few, else in memory.

Long floating sums go in blocks: what a block of rows sums to is added, compensated, to the total
(Neumaier 1974), so that the error does not grow with the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.codegen.llvm import Builder, Val, vector
from gradc.codegen.loops import Accumulate, Affine, Buffer, Nest
from gradc.codegen.lower import COMPENSATE
from gradc.codegen.scalars import Lane, memory_type, register_type
from gradc.codegen.sums import combine, reduction_identity, two_sum
from gradc.codegen.targets import Target

#: vector registers that accumulators may take in all
REGISTERS = 12
#: vectors of an inner loop that is written out
CHUNKS = 4

Pointer = Callable[[Buffer], Val]


@dataclass
class _Slot:
    """An accumulator in registers: its values, from ``first`` on, one for each vector of it."""

    statement: Accumulate
    first: int
    lanes: int
    count: int


@dataclass
class Accumulators:
    """The reductions over the rows of one nest, and the loops that carry them."""

    builder: Builder
    target: Target
    nest: Nest
    pointer: Pointer
    lanes: int
    chunk: Val | None = None
    values: list[Val] = field(default_factory=list)

    def __post_init__(self) -> None:
        #: the first loop to emit, and the index of the one that is given
        self.first = 0 if self.chunk is None else 1
        self.given: dict[int, Val] = {} if self.chunk is None else {0: self.chunk}
        self.slots: dict[int, _Slot] = {}
        self.memory: list[Accumulate] = []
        taken = 0
        for statement, scalar in self._statements():
            count = 1 if scalar else -(-math.prod(self.nest.inner) // self.lanes)
            if self._fits(statement, scalar, count) and taken + count <= REGISTERS:
                lanes = 1 if scalar else self.lanes
                self.slots[id(statement)] = _Slot(statement, taken, lanes, count)
                taken += count
            else:
                self.memory.append(statement)
        self.block_depth, self.block = self._block()

    def _statements(self) -> Iterator[tuple[Accumulate, bool]]:
        for phase in self.nest.phases:
            for part, scalar in ((phase.row, True), (phase.body, not self.nest.inner)):
                yield from ((s, scalar) for s in part if isinstance(s, Accumulate))

    def _fits(self, statement: Accumulate, scalar: bool, count: int) -> bool:
        """Whether every row adds to the same few vectors."""
        rows = len(self.nest.outer)
        if any(statement.index.coefficients[self.first : rows]):
            return False
        return scalar or (
            len(self.nest.inner) == 1
            and count <= CHUNKS
            and statement.index.coefficients[rows] == 1
        )

    def _block(self) -> tuple[int, int]:
        """Which loop over rows goes in blocks, and of how many iterations."""
        depth, below = len(self.nest.outer) - 1, 1
        while depth > self.first and below * self.nest.outer[depth] <= COMPENSATE:
            below *= self.nest.outer[depth]
            depth -= 1
        return depth, max(1, COMPENSATE // below)

    @property
    def compensated(self) -> bool:
        """Whether any sum goes in blocks."""
        return any(s.totals for s, _ in self._statements())

    # -- before, around, after -----------------------------------------------------------------

    def begin(self) -> None:
        """Set every accumulator to what its reduction starts from."""
        self.values = self._identities()
        for statement in self.memory:
            kind, dtype = statement.kind, statement.buffer.dtype
            identity = reduction_identity(kind, dtype)
            self._fill(self._part(statement), self._size(statement), dtype, identity)
            for buffer in statement.totals or ():
                self.fill(buffer, 0)

    def _identities(self) -> list[Val]:
        b, out = self.builder, []
        for slot in self.slots.values():
            dtype = slot.statement.buffer.dtype
            number = reduction_identity(slot.statement.kind, dtype)
            ty = vector(register_type(dtype), slot.lanes)
            out.extend([b.const(number, ty)] * slot.count)
        return out

    @contextmanager
    def loop(self, depth: int) -> Iterator[Val]:
        """The loop over rows at a depth, its index; the accumulators are carried around."""
        b = self.builder
        extent = self._extent(depth)
        if depth != self.block_depth or not self.compensated:
            with b.loop(b.i64(0), extent, carried=self.values) as loop:
                self.values = list(loop.carried)
                yield loop.index
                loop.next = self.values
            self.values = list(loop.results)
            return
        totals = self.values
        lost = [b.const(0, v.ty) for v in totals]
        count = len(totals)
        with b.loop(b.i64(0), extent, self.block, [*totals, *lost]) as blocks:
            stop = b.add(blocks.index, b.i64(self.block))
            stop = b.select(b.icmp("slt", stop, extent), stop, extent)
            with b.loop(blocks.index, stop, carried=self._identities()) as loop:
                self.values = list(loop.carried)
                yield loop.index
                loop.next = self.values
            blocks.next = self._merge(blocks.carried[:count], blocks.carried[count:], loop.results)
            self._flush()
        self.values = self._closed(blocks.results[:count], blocks.results[count:])

    def _extent(self, depth: int) -> Val:
        """How far a loop over rows counts; in the last chunk there may be fewer."""
        b, chunks = self.builder, self.nest.chunks
        extent = b.i64(self.nest.outer[depth])
        if self.chunk is None or chunks is None or depth != 1 or str(chunks.last) == extent.ref:
            return extent
        last = b.icmp("eq", self.chunk, b.i64(self.nest.outer[0] - 1))
        return b.select(last, b.i64(chunks.last), extent)

    def _kinds(self) -> list[tuple[Accumulate, bool]]:
        """Of each register: its statement, and whether it is compensated."""
        return [
            (slot.statement, slot.statement.totals is not None)
            for slot in self.slots.values()
            for _ in range(slot.count)
        ]

    def _merge(self, totals: list[Val], lost: list[Val], parts: Sequence[Val]) -> list[Val]:
        b, new, left = self.builder, [], []
        for (s, exact), t, c, p in zip(self._kinds(), totals, lost, parts, strict=True):
            if exact:
                t, c = two_sum(b, t, c, p)
            else:
                t = combine(b, s.kind, s.buffer.dtype, t, p)
            new.append(t)
            left.append(c)
        return [*new, *left]

    def _closed(self, totals: list[Val], lost: list[Val]) -> list[Val]:
        return [
            self.builder.fadd(t, c) if exact else t
            for (_, exact), t, c in zip(self._kinds(), totals, lost, strict=True)
        ]

    def _flush(self) -> None:
        """Move what a block summed to in memory into the totals."""
        b = self.builder
        for statement in self.memory:
            if statement.totals is None:
                continue
            part, (total, lost) = statement.buffer, statement.totals
            element, size = memory_type(part.dtype), part.dtype.itemsize
            pointers = [self._part(statement), self.pointer(total), self.pointer(lost)]

            def step(index: Val, lanes: int, element: str = element, size: int = size,
                     pointers: list[Val] = pointers) -> None:
                ty = vector(element, lanes)
                places = [b.gep(p, element, index) for p in pointers]
                value, t, c = (b.load(at, ty, size) for at in places)
                t, c = two_sum(b, t, c, value)
                for new, at in zip((b.const(0, ty), t, c), places, strict=True):
                    b.store(new, at, size)

            self.whole(self._size(statement), part.dtype, step)

    def end(self, store: Callable[[Lane, Buffer, Affine, int, int], None]) -> None:
        """Bring the results into their buffers: ``store(vector, buffer, index, first, used)``."""
        b = self.builder
        for slot in self.slots.values():
            buffer = slot.statement.buffer
            extent = math.prod(self.nest.inner) if slot.lanes > 1 else 1
            for k in range(slot.count):
                lane = Lane(self.values[slot.first + k], buffer.dtype)
                used = min(slot.lanes, extent - k * slot.lanes)
                store(lane, buffer, slot.statement.index, k * slot.lanes, used)
        for statement in self.memory:
            if statement.totals is None:
                continue
            out, (total, lost) = statement.buffer, statement.totals
            element, size = memory_type(out.dtype), out.dtype.itemsize
            pointers = [self._part(statement), self.pointer(total), self.pointer(lost)]

            def step(index: Val, lanes: int, element: str = element, size: int = size,
                     pointers: list[Val] = pointers) -> None:
                places = [b.gep(p, element, index) for p in pointers]
                t, c = (b.load(at, vector(element, lanes), size) for at in places[1:])
                b.store(b.fadd(t, c), places[0], size)

            self.whole(self._size(statement), out.dtype, step)

    # -- in the rows ---------------------------------------------------------------------------

    def in_registers(self, statement: Accumulate) -> bool:
        """Whether a reduction's accumulator is in registers."""
        return id(statement) in self.slots

    def update(self, statement: Accumulate, at: Val | None, value: Val, mask: Val | None) -> None:
        """Take a value into a register; ``at`` is the (literal) inner index of its first lane."""
        slot = self.slots[id(statement)]
        k = slot.first + (int(at.ref) // slot.lanes if at is not None and slot.lanes > 1 else 0)
        b, before = self.builder, self.values[k]
        new = combine(b, statement.kind, statement.buffer.dtype, before, value)
        self.values[k] = b.select(mask, new, before) if mask is not None else new

    # -- whole buffers -------------------------------------------------------------------------

    def fill(self, buffer: Buffer, number: float) -> None:
        """Set a buffer to a number."""
        self._fill(self.pointer(buffer), buffer.size, buffer.dtype, number)

    def _fill(self, pointer: Val, size: int, dtype: np.dtype[Any], number: float) -> None:
        element = memory_type(dtype)

        def put(index: Val, lanes: int) -> None:
            value = self.builder.const(number, vector(element, lanes))
            at = self.builder.gep(pointer, element, index)
            self.builder.store(value, at, dtype.itemsize)

        self.whole(size, dtype, put)

    def _size(self, statement: Accumulate) -> int:
        """The elements that a reduction has: a chunk's are a part of the buffer."""
        size = statement.buffer.size
        return size if self.chunk is None else size // self.nest.outer[0]

    def _part(self, statement: Accumulate) -> Val:
        """Where the elements of a reduction begin."""
        pointer, chunk = self.pointer(statement.buffer), self.chunk
        if chunk is None:
            return pointer
        b = self.builder
        start = b.mul(chunk, b.i64(statement.index.coefficients[0]))
        return b.gep(pointer, memory_type(statement.buffer.dtype), start)

    def whole(self, size: int, dtype: np.dtype[Any], put: Callable[[Val, int], None]) -> None:
        """``put(index, lanes)`` for ``size`` elements."""
        b, lanes = self.builder, self.target.lanes(dtype.itemsize)
        main = size // lanes * lanes
        if main > CHUNKS * lanes:
            with b.loop(b.i64(0), b.i64(main), lanes) as loop:
                put(loop.index, lanes)
        else:
            for at in range(0, main, lanes):
                put(b.i64(at), lanes)
        at = main
        while at < size:
            step = 1 << ((size - at).bit_length() - 1)
            put(b.i64(at), step)
            at += step
