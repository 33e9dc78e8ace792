"""Emission of the part of a loop that goes in vectors; what is left over goes one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.region.head import Head
from gradc.codegen.region.stages import Loop, Number, Register, Row, Scalar
from gradc.codegen.region.straight import Address, Element, Known, Straight, Update
from gradc.codegen.scalars import Lane, VectorScalar, broadcast, memory_type
from gradc.codegen.statements import Compute, Literal
from gradc.ir.types import I64

if TYPE_CHECKING:
    from gradc.codegen.region.emit import Region

#: iterations beyond which an index might wrap between the first and the last
MANY = 1 << 31


def vectors(
    body: Region, loop: Loop, trips: Val, starts: Sequence[Val],
    sources: Sequence[Val], targets: Mapping[Row, Val],
) -> list[Val]:
    """Run as many whole vectors of iterations as there are.

    ``body`` knows what the loop takes of its surroundings; ``starts`` are zero and what the loop's
    scalars begin with, ``sources`` and ``targets`` where rows begin. Returns how many iterations
    are done, and what the scalars are then: none if an index may be outside, or is to be wrapped.
    """
    b = body.b
    end = b.and_(trips, b.i64(-loop.lanes))
    sure = _inside(body, loop, trips)
    if sure is not None:
        end = b.select(sure, end, b.i64(0))
    head = Head(b, starts)
    head.go(b.icmp("slt", head.phis[0], end))
    index = head.phis[0]
    if loop.reverse:
        index = b.sub(b.sub(trips, b.i64(1)), index)
    wide = _Vectors(body.fork(), loop, loop.lanes, index)
    for row, base in zip(loop.reads, sources, strict=True):
        wide.read(row, base)
    wide.body()
    after = wide.serial(head.phis[1:])
    for row in loop.writes:
        wide.write(row, targets[row])
    head.close([b.add(head.phis[0], b.i64(loop.lanes)), *after])
    return head.phis


def computing(statements: Sequence[Any], values: Iterable[int]) -> list[Any]:
    """The statements that compute values."""
    needed, out = set(values), []
    for s in reversed(statements):
        if isinstance(s, (Literal, Compute)) and s.value in needed:
            out.append(s)
            needed.update(s.operands if isinstance(s, Compute) else ())
    return out[::-1]


def _inside(body: Region, loop: Loop, trips: Val) -> Val | None:
    """Whether the indices that are not proved inside are: in the first and the last iteration.

    All of them move evenly. None if there is nothing to ask.
    """
    b = body.b
    statements = [s for stage in loop.body.stages if isinstance(stage, Straight)
                  for s in stage.statements]
    asked = list(dict.fromkeys(
        (index, extent)
        for s in statements if isinstance(s, (Element, Update))
        for index, extent, known in zip(
            s.address.indices, s.address.extents, s.address.known, strict=True)
        if known is not Known.PLAIN
    ))
    if not asked:
        return None
    sure = b.icmp("ult", trips, b.i64(MANY))
    wanted = computing(statements, [index for index, _ in asked])
    for at in (b.i64(0), b.sub(trips, b.i64(1))):
        region = body.fork()
        region.values[loop.index] = Lane(at, I64)
        region.straight(wanted)
        for index, extent in asked:
            good = b.icmp("ult", region.values[index].val, b.i64(extent))
            sure = b.and_(sure, good)
    return sure


class _Vectors:
    """The iterations of one round.

    A value is the same in all lanes or moves evenly, ``first`` has it in the first lane then, or
    has a vector of its own, or a register for each lane.
    """

    def __init__(self, region: Region, loop: Loop, lanes: int, index: Val) -> None:
        self.region = region
        self.b = region.b
        self.loop = loop
        self.lanes = lanes
        self.steps = dict(loop.steps)
        self.first = self.region.values
        self.first[loop.index] = Lane(index, I64)
        self.wide: dict[int, Lane] = {}
        self.each: dict[int, list[Lane]] = {}
        self.one = VectorScalar(self.b, 1)
        self.all = VectorScalar(self.b, self.lanes)

    # -- values --------------------------------------------------------------------------------

    def vector(self, value: int) -> Lane:
        """A value in all lanes."""
        b = self.b
        if value in self.each and value not in self.wide:
            dtype = self.each[value][0].dtype
            out = Val("poison", vector(self.each[value][0].val.ty, self.lanes))
            for k, lane in enumerate(self.each[value]):
                out = b.insert(out, lane.val, k)
            self.wide[value] = Lane(out, dtype)
        if value not in self.wide:
            lane = broadcast(b, self.first[value], self.lanes)
            step = self.steps.get(value, 0)
            if step:
                text = ", ".join(f"i64 {k * step}" for k in range(self.lanes))
                lane = Lane(b.add(lane.val, Val(f"<{text}>", lane.val.ty)), lane.dtype)
            self.wide[value] = lane
        return self.wide[value]

    def lane(self, value: int, k: int) -> Lane:
        """A value in one lane."""
        if value in self.each:
            return self.each[value][k]
        if value in self.wide:
            wide = self.wide[value]
            return Lane(self.b.extract(wide.val, k), wide.dtype)
        lane, step = self.first[value], self.steps.get(value, 0)
        return Lane(self.b.add(lane.val, self.b.i64(k * step)), I64) if k * step else lane

    def _alike(self, value: int) -> bool:
        return value in self.first and not self.steps.get(value)

    # -- memory --------------------------------------------------------------------------------

    def _load(self, at: Val, step: int, row: Row | Address) -> Lane:
        """The elements of all lanes, that of the first at an address."""
        b, lanes = self.b, self.lanes
        dtype = row.dtype if isinstance(row, Row) else row.buffer.dtype
        emit = self.region.statements(lanes)
        if step == 1:
            return emit.element(at, b.i64(0), dtype)
        if step == -1:
            value, _ = emit.element(at, b.i64(1 - lanes), dtype)
            return Lane(b.shuffle(value, value, range(lanes - 1, -1, -1)), dtype)
        one = self.region.statements()
        parts = [one.element(at, b.i64(k * step), dtype).val for k in range(lanes)]
        out = Val("poison", vector(parts[0].ty, lanes))
        for k, part in enumerate(parts):
            out = b.insert(out, part, k)
        return Lane(out, dtype)

    def _store(self, lane: Lane, at: Val, step: int) -> None:
        b, lanes = self.b, self.lanes
        value = self.region.statements(lanes).to_memory(lane)
        element, size = memory_type(lane.dtype), lane.dtype.itemsize
        if step == 1:
            b.store(value, at, size)
        elif step == -1:
            turned = b.shuffle(value, value, range(lanes - 1, -1, -1))
            b.store(turned, b.gep(at, element, b.i64(1 - lanes)), size)
        else:
            for k in range(lanes):
                b.store(b.extract(value, k), b.gep(at, element, b.i64(k * step)), size)

    def read(self, row: Row, base: Val) -> None:
        """Read what the iterations get of an array."""
        if isinstance(row.value, Register):
            at = self.b.gep(base, memory_type(row.dtype), self.first[self.loop.index].val)
            self.wide[row.value.value] = self._load(at, self.steps[self.loop.index], row)

    def write(self, row: Row, base: Val) -> None:
        """Write what the iterations give to an array."""
        if isinstance(row.value, Register):
            lane = self.vector(row.value.value)
        else:
            assert isinstance(row.value, Number)
            lane = self.all.number(row.value.number, row.dtype)
        at = self.b.gep(base, memory_type(row.dtype), self.first[self.loop.index].val)
        self._store(lane, at, self.steps[self.loop.index])

    def _at(self, address: Address) -> Val:
        """Where the first lane's element is."""
        plain = replace(address, known=(Known.PLAIN,) * len(address.known))
        return self.region.address(plain)

    def _step(self, address: Address) -> int:
        return sum(
            stride * self.steps.get(index, 0)
            for index, stride in zip(address.indices, address.strides, strict=True)
        )

    # -- statements ----------------------------------------------------------------------------

    def body(self) -> None:
        """Emit what goes in vectors, but for the writes of what does not."""
        self.late: list[Update] = []
        for stage in self.loop.body.stages:
            if isinstance(stage, Loop):
                self._inner(stage)
                continue
            for s in stage.statements:
                match s:
                    case Compute(value):
                        if value not in self.loop.serial:
                            self._compute(s)
                    case Element(value, address):
                        self._element(value, address)
                    case Update():
                        if s.value in self.loop.serial:
                            self.late.append(s)
                        else:
                            self._update(s)
                    case _:
                        self.region.straight([s])

    def _compute(self, s: Compute) -> None:
        even = s.value in self.steps and all(v in self.first for v in s.operands)
        if even or all(map(self._alike, s.operands)):
            self.first[s.value] = self.one.apply(s.node, [self.first[v] for v in s.operands])
            return
        self.wide[s.value] = self.all.apply(s.node, [self.vector(v) for v in s.operands])
        if s.value in self.steps:
            self.first[s.value] = self.lane(s.value, 0)

    def _element(self, value: int, address: Address) -> None:
        step = self._step(address)
        at = self._at(address)
        if step:
            self.wide[value] = self._load(at, step, address)
        else:
            self.first[value] = self.region.statements().element(
                at, self.b.i64(0), address.buffer.dtype)

    def _update(self, s: Update) -> None:
        at, step = self._at(s.address), self._step(s.address)
        lane = self.vector(s.value)
        if s.add:
            was = self._load(at, step, s.address) if s.old is None else self.vector(s.old)
            lane = self.all.add(was, lane)
        if s.new is not None:
            self.wide[s.new] = lane
        self._store(lane, at, step)

    def serial(self, carried: Sequence[Val]) -> list[Val]:
        """Emit what goes one iteration after the other; what the scalars are after them."""
        scalars = self.loop.scalars
        now = [Lane(val, c.dtype) for val, c in zip(carried, scalars, strict=True)]
        rest = [
            s for stage in self.loop.body.stages if isinstance(stage, Straight)
            for s in stage.statements if isinstance(s, Compute) and s.value in self.loop.serial
        ]
        for k in range(self.lanes):
            for c, lane in zip(scalars, now, strict=True):
                self.each.setdefault(c.value, []).append(lane)
            for s in rest:
                lane = self.one.apply(s.node, [self.lane(v, k) for v in s.operands])
                self.each.setdefault(s.value, []).append(lane)
            now = [
                self.one.number(c.next.number, c.dtype) if isinstance(c.next, Number)
                else self.lane(c.next.value, k)
                for c in scalars
            ]
        for update in self.late:
            self._update(update)
        return [lane.val for lane in now]

    # -- loops inside --------------------------------------------------------------------------

    def _inner(self, loop: Loop) -> None:
        """Emit a loop inside, which all lanes run together."""
        b = self.b
        trips = b.i64(loop.count) if loop.trips is None else self._scalar(loop.trips).val
        starts = [self._in_all(c.start) for c in loop.scalars]
        head = Head(b, [b.i64(0), *starts])
        head.go(b.icmp("slt", head.phis[0], trips))
        index = head.phis[0]
        if loop.reverse:
            index = b.sub(b.sub(trips, b.i64(1)), index)
        inside = _Vectors(self.region.inner([]), loop, self.lanes, index)
        for given in loop.body.given:
            value = given.scalar.value if isinstance(given.scalar, Register) else -1
            if value in self.wide and value not in self.first:
                inside.wide[given.value] = self.wide[value]
            else:
                inside.first[given.value] = self._scalar(given.scalar)
        for c, phi in zip(loop.scalars, head.phis[1:], strict=True):
            inside.wide[c.value] = Lane(phi, c.dtype)
        inside.body()
        after = [inside._in_all(c.next) for c in loop.scalars]
        head.close([b.add(head.phis[0], b.i64(1)), *after])
        for c, phi in zip(loop.scalars, head.phis[1:], strict=True):
            if c.result is not None:
                assert isinstance(c.result, Register)
                self.wide[c.result.value] = Lane(phi, c.dtype)

    def _scalar(self, scalar: Scalar) -> Lane:
        """A scalar, in the first lane."""
        return self.region.scalar(scalar)

    def _in_all(self, scalar: Scalar) -> Val:
        """A scalar in all lanes."""
        if isinstance(scalar, Register):
            return self.vector(scalar.value).val
        return broadcast(self.b, self._scalar(scalar), self.lanes).val
