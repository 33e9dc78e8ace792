"""Emission of control flow: loops and branches in SSA form, scalars in registers.

Only code generation follows, so that what does not change is computed before a loop, scalars that
do are phi nodes, and the index is the only counter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradc.codegen.accumulate import Accumulators
from gradc.codegen.body import Body as Statements
from gradc.codegen.body import Place, Scope
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.loops import Nest
from gradc.codegen.region import tape
from gradc.codegen.region.growing import GrowingTapes
from gradc.codegen.region.stages import (
    Address,
    Assigned,
    Branch,
    Element,
    Extent,
    Given,
    Known,
    Loop,
    Number,
    Register,
    Row,
    Scalar,
    Straight,
    Update,
    View,
)
from gradc.codegen.scalars import Lane, VectorScalar, memory_type
from gradc.codegen.statements import Affine, Buffer, Compute, Literal
from gradc.ir.types import I64

if TYPE_CHECKING:
    from gradc.codegen.emit import Function

_POINT = Affine(0, ())

#: status: a loop ran more often than it may, a variable was read that nothing had assigned
LIMIT, UNASSIGNED = 4, 7


@dataclass
class Region:
    """What is known in a region: the scalars in registers, by number."""

    function: Function
    values: dict[int, Lane] = field(default_factory=dict)

    @property
    def b(self) -> Builder:
        """Where it is emitted."""
        return self.function.b

    def statements(self) -> Statements:
        """Emits statements at the present point."""
        f = self.function
        empty = Nest((), (), ())
        accumulators = Accumulators(f.b, f.machine, empty, f.pointer, 1, _never, None)
        place = Place(f.b, f.pointer, accumulators)
        return Statements(place, Scope(self.values, {}), 1, None, None)

    def scalar(self, scalar: Scalar) -> Lane:
        """A scalar of the region, loaded if it is in memory."""
        match scalar:
            case Register(value):
                return self.values[value]
            case Number(number, dtype):
                return VectorScalar(self.b, 1).number(number, dtype)
            case Buffer():
                return self.statements()._alike(scalar, _POINT, None)

    def put(self, lane: Lane, target: Buffer | Register | None) -> None:
        """Leave a scalar where it belongs."""
        if isinstance(target, Register):
            self.values[target.value] = lane
        elif target is not None:
            self.statements().store(lane, target, _POINT)

    def stages(self, stages: Sequence[Any]) -> None:
        """Emit stages, one after the other."""
        for stage in stages:
            self.stage(stage)

    def stage(self, stage: Any) -> None:
        """Emit one stage at the builder's position."""
        match stage:
            case Straight(statements):
                self.straight(statements)
            case Loop():
                _Loop(self, stage).emit()
            case Branch():
                _branch(self, stage)
            case _:
                self.function.stage(self.function.next_number(), stage)

    def inner(self, given: Sequence[Given]) -> Region:
        """A region inside, with what it takes of this one: loaded here, once."""
        return Region(self.function, {g.value: self.scalar(g.scalar) for g in given})

    # -- straight code -------------------------------------------------------------------------

    def straight(self, statements: Sequence[Any]) -> None:
        """Emit scalar statements."""
        emit = self.statements()
        for s in statements:
            match s:
                case Element(value, address):
                    at = self.address(address)
                    dtype = address.buffer.dtype
                    self.values[value] = emit.element(at, self.b.i64(0), dtype)
                case Update(address, value, add, old, new):
                    lane, dtype = self.values[value], address.buffer.dtype
                    at = self.address(address)
                    if add:
                        was = emit.element(at, self.b.i64(0), dtype) if old is None else (
                            self.values[old])
                        lane = emit.s.add(was, lane)
                    if new is not None:
                        self.values[new] = lane
                    self.b.store(emit.to_memory(lane), at, dtype.itemsize)
                case Extent(value, of):
                    at = self.b.cast("inttoptr", self.values[of].val, "ptr")
                    self.values[value] = Lane(tape.length(self.b, at), I64)
                case Assigned(value, number):
                    missing = self.b.xor(self.values[value].val, self.b.const(True, "i1"))
                    self.function.stop(missing, UNASSIGNED, number)
                case View(view, address):
                    self.function.pointers[view.name] = self.address(address)
                case _:
                    emit.run(s)

    def address(self, a: Address, only: Val | None = None) -> Val:
        """The address of an element, checked where nothing is known about an index.

        That of the first element of the buffer where ``only`` does not hold.
        """
        b = self.b
        total: Val | None = None
        bad: Val | None = None
        for i, extent, stride, known in zip(a.indices, a.extents, a.strides, a.known, strict=True):
            index = self.values[i].val
            if known is not Known.PLAIN:
                negative = b.icmp("slt", index, b.i64(0))
                index = b.select(negative, b.add(index, b.i64(extent)), index)
            if known is Known.NOTHING:
                outside = b.icmp("uge", index, b.i64(extent))
                bad = outside if bad is None else b.or_(bad, outside)
            step = index if stride == 1 else b.mul(index, b.i64(stride))
            total = step if total is None else b.add(total, step)
        if bad is not None:
            self.function.fail(bad, a.number)
        assert total is not None
        if only is not None:
            total = b.select(only, total, b.i64(0))
        return b.gep(self.function.pointer(a.buffer), memory_type(a.buffer.dtype), total)


def _never(*given: object) -> None:
    raise AssertionError("straight code has no accumulators")


class _Loop:
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
        starts += [self.function.pointer(slot.start) for slot in loop.slots]
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
        starts += [lane.val for lane in self._ahead(trips)]
        head = _Head(b, [*starts, *growing.starts()])
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

    def _enter(self, head: _Head, body: Region, test: Region | None) -> None:
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
        integers = (Literal, Compute)
        needed = {i for f in loop.forwards for i in f.address.indices}
        wanted = []
        for s in reversed(loop.ahead):
            if isinstance(s, integers) and s.value in needed:
                wanted.append(s)
                needed.update(s.operands if isinstance(s, Compute) else ())
        ahead.straight(wanted[::-1])
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

    def _leave(self, head: _Head) -> None:
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


class _Head:
    """The blocks of a loop: a head with phi nodes, a body, what comes after."""

    def __init__(self, b: Builder, starts: Sequence[Val]) -> None:
        self.b = b
        self.starts = starts
        self.labels = b.label("head"), b.label("body"), b.label("done")
        self.before = b.block
        b.br(self.labels[0])
        b.place(self.labels[0])
        self.line = len(b.lines)
        self.phis = [b.later(start.ty) for start in starts]

    def go(self, condition: Val) -> None:
        """Go on with the body where the condition holds."""
        self.b.cond_br(condition, *self.labels[1:])
        self.b.place(self.labels[1])

    def close(self, again: Sequence[Val]) -> None:
        """Close the body, with the values of the next iteration."""
        b = self.b
        tail = b.block
        b.br(self.labels[0])
        b.lines[self.line : self.line] = [
            f"  {phi.ref} = phi {phi.ty} [ {start.ref}, %{self.before} ], [ {next_.ref}, %{tail} ]"
            for phi, start, next_ in zip(self.phis, self.starts, again, strict=True)
        ]
        b.place(self.labels[2])


def _branch(outer: Region, stage: Branch) -> None:
    """Emit a branch: one block for each region, phi nodes for scalar results."""
    b = outer.b
    index = outer.scalar(stage.index).val
    insides = [outer.inner(body.given) for body in stage.bodies]
    labels = [b.label("case") for _ in stage.bodies]
    done = b.label("join")
    _choose(b, index, labels)
    found: list[tuple[str, list[Lane | None]]] = []
    for label, body, inside in zip(labels, stage.bodies, insides, strict=True):
        b.place(label)
        inside.stages(body.stages)
        results = [None if r is None else inside.scalar(r) for r in body.results]
        found.append((b.block, results))
        b.br(done)
    b.place(done)
    joined = []
    for k, target in enumerate(stage.results):
        lanes = [(block, lane) for block, some in found if (lane := some[k]) is not None]
        if lanes:
            arms = ", ".join(f"[ {lane.val.ref}, %{block} ]" for block, lane in lanes)
            (ty, dtype) = lanes[0][1].val.ty, lanes[0][1].dtype
            joined.append((Lane(b.op(ty, f"phi {ty} {arms}"), dtype), target))
    for lane, target in joined:
        outer.put(lane, target)


def _choose(b: Builder, index: Val, labels: Sequence[str]) -> None:
    """Go to the block of an index, clamped."""
    if len(labels) == 1:
        b.br(labels[0])
    elif len(labels) == 2:
        b.cond_br(b.icmp("slt", index, b.i64(1)), *labels)
    else:
        at = b.intrinsic("smax", "i64", [index, b.i64(0)])
        arms = " ".join(f"i64 {k}, label %{label}" for k, label in enumerate(labels[:-1]))
        b.line(f"switch {at}, label %{labels[-1]} [ {arms} ]")

