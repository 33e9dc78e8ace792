"""Emission of loops: scalars that change are phi nodes, and the index is the only counter.

Only code generation follows, so that what does not change is computed before a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradc.codegen.llvm import Val
from gradc.codegen.region import tape
from gradc.codegen.region.emit_vectors import computing, vectors
from gradc.codegen.region.growing import GrowingTapes
from gradc.codegen.region.head import Head
from gradc.codegen.region.stages import Loop, Register, Row
from gradc.codegen.scalars import Lane, memory_type
from gradc.codegen.statements import Buffer
from gradc.ir.types import I64

if TYPE_CHECKING:
    from gradc.codegen.region.emit import Region

#: status: a loop ran more often than it may
LIMIT = 4


class LoopEmitter:
    """Emits a loop."""

    def __init__(self, outer: Region, loop: Loop) -> None:
        self.outer = outer
        self.function = outer.function
        self.b = outer.b
        self.loop = loop
        self.written = [row for row in loop.writes if row.tape]

    def emit(self) -> None:
        """Emit the loop at the builder's position."""
        b, loop, outer = self.b, self.loop, self.outer
        starts = [b.i64(0), *(outer.scalar(c.start).val for c in loop.scalars)]
        body = outer.inner(loop.body.given)
        test = outer.inner(loop.test.given) if loop.test else None
        self.sources = [self._source(row) for row in loop.reads]
        trips = self._trips()
        state = self.function.pointer(loop.tapes) if loop.tapes else None
        self.targets = {
            row: self.function.pointer(row.of) for row in loop.writes
            if not row.tape and isinstance(row.of, Buffer)
        }
        growing = GrowingTapes(self.function, state, loop, self.written, trips)
        self.growing = growing
        if loop.lanes > 1:
            starts = vectors(body, loop, trips, starts, self.sources, self.targets | growing.made())
        starts += [self.function.pointer(slot.start) for slot in loop.slots]
        starts += [lane.val for lane in self._ahead(trips)]
        head = Head(b, [*starts, *growing.starts()])
        self._enter(head, body, test)
        if test is not None:
            assert loop.test is not None
            test.values[loop.index_in_test] = Lane(head.phis[0], I64)
            test.stages(loop.test.stages)
            (holds,) = loop.test.results
            assert holds is not None
            go = test.scalar(holds).val
        else:
            go = b.icmp("slt", head.phis[0], trips)
        head.go(go)
        if loop.test is not None and loop.limit >= 0:
            above = b.icmp("sge", head.phis[0], b.i64(loop.limit))
            self.function.stop(above, LIMIT, loop.number)
        self.targets |= growing.make_room(head.phis[0])
        since = tape.mark(b, state) if loop.frees and state else None
        index = head.phis[0]
        if loop.reverse:
            index = b.sub(b.sub(trips, b.i64(1)), index)
        body.values[loop.index] = Lane(index, I64)
        self._begin(body, index)
        body.stages(loop.body.stages)
        self._end(body, index)
        after = [b.add(head.phis[0], b.i64(1))]
        after += [body.scalar(c.next).val for c in loop.scalars]
        after += [self.function.pointer(slot.next) for slot in loop.slots]
        after += [body.scalar(f.next).val for f in loop.forwards]
        if since is not None and state is not None:
            tape.release(b, state, since)
        head.close([*after, *growing.next()])
        self._leave(head)

    def _source(self, row: Row) -> Val:
        """Where the rows that are read begin."""
        if row.tape:
            return self.b.cast("inttoptr", self.outer.scalar(row.of).val, "ptr")
        assert isinstance(row.of, Buffer)
        return self.function.pointer(row.of)

    def _trips(self) -> Val:
        if self.loop.trips is None:
            return self.b.i64(max(self.loop.count, 0))
        trips = self.outer.scalar(self.loop.trips).val
        return self.b.intrinsic("smax", "i64", [trips, self.b.i64(0)]) if self.written else trips

    def _enter(self, head: Head, body: Region, test: Region | None) -> None:
        phis = iter(head.phis[1:])
        for c in self.loop.scalars:
            phi = Lane(next(phis), c.dtype)
            body.values[c.value] = phi
            if test is not None:
                test.values[c.in_test] = phi
        for slot in self.loop.slots:
            self.function.pointers[slot.view.name] = next(phis)
        for forward in self.loop.forwards:
            body.values[forward.value] = Lane(next(phis), forward.next.dtype)
        self.growing.enter(phis)

    def _ahead(self, trips: Val) -> list[Lane]:
        """What the first iteration would find handed on: read before it."""
        loop = self.loop
        if not loop.forwards:
            return []
        b, ahead = self.b, self.outer.inner(loop.body.given)
        first = b.sub(trips, b.i64(1)) if loop.reverse else b.i64(0)
        ahead.values[loop.index] = Lane(first, I64)
        needed = {i for f in loop.forwards for i in f.address.indices}
        ahead.straight(computing(loop.ahead, needed))
        emit, some = ahead.statements(), None
        if loop.trips is not None:
            some = b.icmp("sgt", trips, b.i64(0))
        return [
            emit.element(ahead.address(f.address, some), b.i64(0), f.next.dtype)
            for f in loop.forwards
        ]

    def _at(self, base: Val, row: Row, index: Val) -> Val:
        """The address of an array's part for an iteration."""
        at = index if row.size == 1 else self.b.mul(index, self.b.i64(row.size))
        return self.b.gep(base, memory_type(row.dtype), at)

    def _begin(self, body: Region, index: Val) -> None:
        for row, base in zip(self.loop.reads, self.sources, strict=True):
            at = self._at(base, row, index)
            if row.view is not None:
                self.function.pointers[row.view.name] = at
            elif isinstance(row.value, Register):
                lane = body.statements().element(at, self.b.i64(0), row.dtype)
                body.values[row.value.value] = lane
        for row in self.loop.writes:
            if row.view is not None:
                self.function.pointers[row.view.name] = self._at(self.targets[row], row, index)

    def _end(self, body: Region, index: Val) -> None:
        for row in self.loop.writes:
            if row.value is not None:
                value = body.statements().to_memory(body.scalar(row.value))
                at = self._at(self.targets[row], row, index)
                self.b.store(value, at, row.dtype.itemsize)

    def _leave(self, head: Head) -> None:
        """Bring the results to where they belong."""
        loop, b = self.loop, self.b
        if loop.ran is not None:
            self.outer.put(Lane(head.phis[0], I64), loop.ran)
        for c, phi in zip(loop.scalars, head.phis[1:], strict=False):
            self.outer.put(Lane(phi, c.dtype), c.result)
        for row, base in self.growing.finished(head.phis[0]):
            address = b.cast("ptrtoint", base, "i64")
            self.outer.put(Lane(address, I64), row.of)
        pointers = head.phis[1 + len(loop.scalars) :]
        displaced = [
            (slot, b.icmp("ne", phi, self.function.pointer(slot.home)))
            for slot, phi in zip(loop.slots, pointers, strict=False) if slot.home is not None
        ]
        for some in ([(slot.away, c) for slot, c in displaced],
                     [(slot.back, c) for slot, c in displaced]):
            for stages, condition in some:
                if stages:
                    with b.if_(condition):
                        self.outer.stages(stages)
