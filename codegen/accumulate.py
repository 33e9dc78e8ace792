"""Reductions over the rows of a nest: in registers where they are few, else in memory.

Long floating sums go in blocks: what a block of rows sums to is added, compensated, to the total
(Neumaier 1974), so that the error does not grow with the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.codegen.arrange import written_out
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.loops import Nest
from gradc.codegen.scalars import Lane, memory_type, register_type
from gradc.codegen.statements import Accumulate, Affine, Buffer, Statement
from gradc.codegen.sums import COMPENSATE, combine, horizontal, reduction_identity, two_sum
from gradc.codegen.targets import Target

#: vector registers that accumulators may take in all
REGISTERS = 12
#: vectors of an inner loop that is written out
CHUNKS = 4

Pointer = Callable[[Buffer], Val]
Indices = Mapping[int, Val]
#: what stores an accumulator: (vector, buffer, index, first, used, indices of the rows outside)
Finish = Callable[[Lane, Buffer, Affine, int, int, Indices], None]


@dataclass
class _Slot:
    """An accumulator in registers, one vector for each ``lanes`` of the inner loop.

    The loops from ``depth`` on are summed over, and no loop outside them. Of ``rows``, each lane
    is a row's.
    """

    statement: Accumulate
    depth: int
    lanes: int
    count: int
    rows: bool
    values: list[Val] = field(default_factory=list)


@dataclass
class Accumulators:
    """The reductions over the rows of one nest, and the loops that carry them."""

    builder: Builder
    target: Target
    nest: Nest
    pointer: Pointer
    lanes: int
    finish: Finish
    chunk: Val | None = None

    def __post_init__(self) -> None:
        #: the first loop to emit, and the index of the one that is given
        self.first = 0 if self.chunk is None else 1
        self.given: dict[int, Val] = {} if self.chunk is None else {0: self.chunk}
        self.slots: dict[int, _Slot] = {}
        self.memory: list[Accumulate] = []
        self.block_of: dict[int, tuple[int, int]] = {}
        taken = 0
        for statement, row in self._statements():
            slot = self._slot(statement, row)
            if slot is not None and taken + slot.count <= REGISTERS:
                self.slots[id(statement)] = slot
                taken += slot.count
            else:
                self.memory.append(statement)
            if statement.totals:
                self.block_of[id(statement)] = self._block(statement)

    def _statements(self) -> Iterator[tuple[Accumulate, bool]]:
        for phase in self.nest.phases:
            for part, row in ((phase.row, True), (phase.body, not self.nest.inner)):
                yield from ((s, row) for s in part if isinstance(s, Accumulate))

    def _slot(self, statement: Accumulate, row: bool) -> _Slot | None:
        """The registers of an accumulator, if the innermost rows add to the same few vectors."""
        nest, count = self.nest, len(self.nest.outer)
        coefficients = statement.index.coefficients
        kept = [k for k in range(self.first, count) if coefficients[k]]
        depth = 1 + max(kept, default=self.first - 1)
        between = depth == count or len(kept) < depth - self.first or not math.prod(nest.outer)
        if depth > self.first and between:
            return None
        if row:
            return _Slot(statement, depth, nest.rows, 1, nest.rows > 1)
        if nest.across:
            size = math.prod(nest.inner)
            return _Slot(statement, depth, nest.rows, size, True) if written_out(nest) else None
        vectors = -(-math.prod(nest.inner) // self.lanes)
        if len(nest.inner) == 1 and vectors <= CHUNKS and coefficients[count] == 1:
            return _Slot(statement, depth, self.lanes, vectors, False)
        return None

    def _block(self, statement: Accumulate) -> tuple[int, int]:
        """Which loop over rows goes in blocks for a sum, and of how many iterations."""
        extents = list(self.nest.outer)
        extents[-1:] = [-(-extents[-1] // self.nest.rows)] if extents else []
        coefficients = statement.index.coefficients
        summed = [k for k in range(self.first, len(extents)) if not coefficients[k]]
        below = 1
        for depth in reversed(summed[1:]):
            if below * extents[depth] > COMPENSATE:
                return depth, COMPENSATE // below
            below *= extents[depth]
        return summed[0], max(1, COMPENSATE // below)

    # -- before, around, after -----------------------------------------------------------------

    def begin(self) -> None:
        """Set every accumulator to what its reduction starts from."""
        for slot in self.slots.values():
            slot.values = self._identities(slot)
        for statement in self.memory:
            kind, dtype = statement.kind, statement.buffer.dtype
            identity = reduction_identity(kind, dtype)
            self._fill(self._part(statement), self._size(statement), dtype, identity)
            for buffer in statement.totals or ():
                self.fill(buffer, 0)

    def _identities(self, slot: _Slot) -> list[Val]:
        dtype = slot.statement.buffer.dtype
        number = reduction_identity(slot.statement.kind, dtype)
        ty = vector(register_type(dtype), slot.lanes)
        return [self.builder.const(number, ty)] * slot.count

    @contextmanager
    def loop(self, depth: int, indices: Indices, step: int = 1) -> Iterator[Val]:
        """The loop over rows at a depth, its index; the accumulators are carried around.

        ``indices`` are those of the loops outside it.
        """
        b = self.builder
        start, stop = b.i64(0), self.extent(depth)
        own = [s for s in self.slots.values() if s.depth == depth > self.first]
        for slot in own:
            slot.values = self._identities(slot)
        carried = [s for s in self.slots.values() if s.depth <= depth]
        blocks = [n for d, n in self.block_of.values() if d == depth]
        if blocks:
            with self._blocks(depth, indices, start, stop, step, min(blocks), carried) as index:
                yield index
        else:
            with self._carried(start, stop, step, carried) as index:
                yield index
        for slot in own:
            self._finished(slot, indices)

    def extent(self, depth: int) -> Val:
        """How far a loop over rows counts; in the last chunk there may be fewer."""
        b, chunks = self.builder, self.nest.chunks
        extent = b.i64(self.nest.outer[depth])
        if self.chunk is None or chunks is None or depth != 1 or str(chunks.last) == extent.ref:
            return extent
        last = b.icmp("eq", self.chunk, b.i64(self.nest.outer[0] - 1))
        return b.select(last, b.i64(chunks.last), extent)

    @contextmanager
    def over(self, statements: Sequence[Statement], stop: Val) -> Iterator[Val]:
        """A loop over the rows of a block, whose index it gives, that carries what they add to."""
        slots = [self.slots[id(s)] for s in statements if id(s) in self.slots]
        with self._carried(self.builder.i64(0), stop, 1, slots) as index:
            yield index

    @contextmanager
    def _carried(
        self, start: Val, stop: Val, step: int, slots: Sequence[_Slot]
    ) -> Iterator[Val]:
        with self.builder.loop(start, stop, step, _flat(slots)) as loop:
            _put(slots, loop.carried)
            yield loop.index
            loop.next = _flat(slots)
        _put(slots, loop.results)

    @contextmanager
    def _blocks(
        self, depth: int, indices: Indices, start: Val, stop: Val, step: int, block: int,
        slots: Sequence[_Slot],
    ) -> Iterator[Val]:
        """A loop in blocks, after each of which the sums that need it are compensated."""
        b = self.builder
        exact = [s for s in slots if self.block_of.get(id(s.statement), (-1, 0))[0] == depth]
        others = [s for s in slots if s not in exact]
        totals, rest = _flat(exact), _flat(others)
        lost = [b.const(0, v.ty) for v in totals]
        count = len(totals)
        with b.loop(start, stop, block * step, [*totals, *lost, *rest]) as blocks:
            end = b.add(blocks.index, b.i64(block * step))
            end = b.select(b.icmp("slt", end, stop), end, stop)
            for slot in exact:
                slot.values = self._identities(slot)
            _put(others, blocks.carried[2 * count :])
            with self._carried(blocks.index, end, step, slots) as index:
                yield index
            before = zip(blocks.carried[:count], blocks.carried[count : 2 * count], strict=True)
            after = [
                two_sum(b, total, error, part)
                for (total, error), part in zip(before, _flat(exact), strict=True)
            ]
            blocks.next = [*(t for t, _ in after), *(e for _, e in after), *_flat(others)]
            for statement in self.memory:
                if self.block_of.get(id(statement), (-1, 0))[0] == depth:
                    self._flush(statement, depth, indices)
        found = zip(blocks.results[:count], blocks.results[count : 2 * count], strict=True)
        _put(exact, [b.fadd(t, e) for t, e in found])
        _put(others, blocks.results[2 * count :])

    def _flush(self, statement: Accumulate, depth: int, indices: Indices) -> None:
        """Move what a block of the loop at a depth summed to in memory into the totals."""
        assert statement.totals is not None
        b = self.builder
        part, (total, lost) = statement.buffer, statement.totals
        element, size = memory_type(part.dtype), part.dtype.itemsize
        first, touched = self._span(statement, depth, indices)
        starts = self._part(statement), self.pointer(total), self.pointer(lost)
        pointers = [b.gep(start, element, first) for start in starts]

        def step(index: Val, lanes: int) -> None:
            ty = vector(element, lanes)
            places = [b.gep(p, element, index) for p in pointers]
            value, t, c = (b.load(at, ty, size) for at in places)
            t, c = two_sum(b, t, c, value)
            for new, at in zip((b.const(0, ty), t, c), places, strict=True):
                b.store(new, at, size)

        self._each(touched, size, step)

    def _span(self, statement: Accumulate, depth: int, indices: Indices) -> tuple[Val, int]:
        """Where the loops from a depth on add to, if that is one piece; else all of it."""
        b, index = self.builder, statement.index
        extents = (*self.nest.outer, *self.nest.inner)
        size = 1
        inside = zip(index.coefficients[depth:], extents[depth:], strict=True)
        for c, extent in sorted(inside):
            if c and extent > 1:
                if c != size:
                    return b.i64(0), self._size(statement)
                size *= extent
        first = b.i64(index.offset)
        for k in range(self.first, depth):
            if index.coefficients[k]:
                first = b.add(first, b.mul(indices[k], b.i64(index.coefficients[k])))
        return first, size

    def _finished(self, slot: _Slot, indices: Indices) -> None:
        """Bring the result of one accumulator into its buffer."""
        buffer, index = slot.statement.buffer, slot.statement.index
        extent = math.prod(self.nest.inner)
        for k, value in enumerate(slot.values):
            lane, first, used = Lane(value, buffer.dtype), k * slot.lanes, 1
            if slot.rows:
                total = horizontal(self.builder, slot.statement.kind, buffer.dtype, value)
                lane, first = Lane(total, buffer.dtype), k
            elif slot.lanes > 1:
                used = min(slot.lanes, extent - first)
            self.finish(lane, buffer, index, first, used, indices)

    def end(self) -> None:
        """Bring the results into their buffers."""
        b = self.builder
        for slot in self.slots.values():
            if slot.depth == self.first:
                self._finished(slot, self.given)
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

            self._each(self._size(statement), size, step)

    # -- in the rows ---------------------------------------------------------------------------

    def in_registers(self, statement: Accumulate) -> bool:
        """Whether a reduction's accumulator is in registers."""
        return id(statement) in self.slots

    def update(
        self,
        statement: Accumulate,
        indices: Indices,
        axis: int | None,
        value: Val,
        mask: Val | None,
    ) -> None:
        """Take a value into a register; the inner loops' indices are literal if it has several."""
        slot = self.slots[id(statement)]
        k, outer = 0, len(self.nest.outer)
        if slot.count > 1 and slot.rows:
            for depth, extent in enumerate(self.nest.inner):
                k = k * extent + int(indices[outer + depth].ref)
        elif slot.count > 1 and axis is not None:
            k = int(indices[axis].ref) // slot.lanes
        b, before = self.builder, slot.values[k]
        new = combine(b, statement.kind, statement.buffer.dtype, before, value)
        slot.values[k] = b.select(mask, new, before) if mask is not None else new

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

        self._each(size, dtype.itemsize, put)

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

    def _each(self, size: int, itemsize: int, put: Callable[[Val, int], None]) -> None:
        each(self.builder, self.target, size, itemsize, put)


def each(
    b: Builder, target: Target, size: int, itemsize: int, put: Callable[[Val, int], None]
) -> None:
    """``put(index, lanes)`` for all of so many elements."""
    lanes = target.lanes(itemsize)
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


def _flat(slots: Sequence[_Slot]) -> list[Val]:
    return [v for slot in slots for v in slot.values]


def _put(slots: Sequence[_Slot], values: Sequence[Val]) -> None:
    at = 0
    for slot in slots:
        slot.values = list(values[at : at + slot.count])
        at += slot.count
