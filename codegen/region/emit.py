"""Emission of regions: straight code and branches in SSA form, scalars in registers."""

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
from gradc.codegen.region.emit_loop import LoopEmitter
from gradc.codegen.region.stages import Branch, Given, Loop, Number, Register, Scalar
from gradc.codegen.region.straight import (
    Address,
    Element,
    Extent,
    Known,
    Required,
    Straight,
    Update,
    View,
)
from gradc.codegen.scalars import Lane, VectorScalar, memory_type
from gradc.codegen.statements import Affine, Buffer
from gradc.ir.types import I64

if TYPE_CHECKING:
    from gradc.codegen.emit import Function

_POINT = Affine(0, ())



@dataclass
class Region:
    """What is known in a region: the scalars in registers, by number."""

    function: Function
    values: dict[int, Lane] = field(default_factory=dict)

    @property
    def b(self) -> Builder:
        """Where it is emitted."""
        return self.function.b

    def statements(self, lanes: int = 1) -> Statements:
        """Emits statements at the present point."""
        f = self.function
        empty = Nest((), (), ())
        accumulators = Accumulators(f.b, f.machine, empty, f.pointer, 1, _never, None)
        place = Place(f.b, f.pointer, accumulators)
        return Statements(place, Scope(self.values, {}), lanes, None, None)

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
                LoopEmitter(self, stage).emit()
            case Branch():
                _branch(self, stage)
            case _:
                self.function.stage(self.function.next_number(), stage)

    def inner(self, given: Sequence[Given]) -> Region:
        """A region inside, with what it takes of this one: loaded here, once."""
        return Region(self.function, {g.value: self.scalar(g.scalar) for g in given})

    def fork(self) -> Region:
        """The region with other values from here on."""
        return Region(self.function, dict(self.values))

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
                case Required(value, code, number):
                    fails = self.b.xor(self.values[value].val, self.b.const(True, "i1"))
                    self.function.stop(fails, code, number)
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

