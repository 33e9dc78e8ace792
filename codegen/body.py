"""Statements at one point of a nest: addresses, masks, loads, stores, reductions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.codegen.accumulate import Accumulators, Pointer
from gradc.codegen.lanes import narrow, widened
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import intrinsic_suffix, like, scalar_of, vector
from gradc.codegen.scalars import Lane, VectorScalar, broadcast, memory_type
from gradc.codegen.statements import (
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Guard,
    Literal,
    Load,
    Reduce,
    Statement,
    Store,
)
from gradc.codegen.sums import combine, horizontal, reduction_identity
from gradc.ir.types import BOOL


@dataclass
class Scope:
    """What is known at a point of the nest: values by number, loop indices, the row's mask."""

    values: dict[int, Lane] = field(default_factory=dict)
    indices: dict[int, Val] = field(default_factory=dict)


class Layered(dict[int, Lane]):
    """Values of a body over those of its row."""

    def __init__(self, below: dict[int, Lane]) -> None:
        super().__init__()
        self.below = below

    def __missing__(self, key: int) -> Lane:
        return self.below[key]


@dataclass
class Place:
    """Where statements are emitted: the builder, the buffers, the flags of checked reads."""

    builder: Builder
    pointer: Pointer
    accumulators: Accumulators
    failures: dict[int, Val] = field(default_factory=dict)


class Body:
    """Statements at one point of the loops, ``lanes`` consecutive indices of ``axis`` at a time.

    ``rows`` says that the axis is of the rows: reductions over inner loops keep lanes apart.
    """

    def __init__(
        self,
        place: Place,
        scope: Scope,
        lanes: int,
        axis: int | None,
        mask: Val | None,
        rows: bool = False,
    ) -> None:
        self.place = place
        self.b = place.builder
        self.values = scope.values
        self.indices = scope.indices
        self.lanes = lanes
        self.axis = axis
        self.mask = mask
        self.rows = rows
        #: of guards that are the same for all lanes: whether they hold, known from before
        self.conditions: dict[tuple[Guard, ...], Val] = {}
        #: of indexed reads whose indices are the same for all lanes: where they begin, checked
        self.starts: dict[int, Val] = {}
        self.s = VectorScalar(place.builder, lanes)
        self.accumulators: dict[int, Val] = {}

    def run(self, statement: Statement) -> None:
        """Emit one statement."""
        match statement:
            case Literal(value, number, dtype):
                self.values[value] = self.s.number(number, dtype)
            case Load():
                self.values[statement.value] = self.loaded(statement)
            case Compute(value, node, operands):
                self.values[value] = self.s.apply(node, [self._wide(v) for v in operands])
            case Gather():
                self.values[statement.value] = self._gather(statement)
            case Store(buffer, index, value):
                self.store(self._wide(value), buffer, index)
            case Reduce():
                self._reduce(statement)
            case Accumulate():
                self._accumulate(statement)

    def _wide(self, value: int) -> Lane:
        return broadcast(self.b, self.values[value], self.lanes)

    # -- addresses -----------------------------------------------------------------------------

    def _index(self, affine: Affine) -> Val:
        """The index of the first lane."""
        b = self.b
        total: Val | None = None
        for k, c in enumerate(affine.coefficients):
            if not c:
                continue
            index = self.indices[k]
            term = index if c == 1 else b.mul(index, b.i64(c))
            if not index.ref.startswith("%"):
                term = b.i64(int(index.ref) * c)
            total = term if total is None else _plus(b, total, term)
        offset = b.i64(affine.offset)
        if total is None:
            return offset
        return _plus(b, total, offset) if affine.offset else total

    def _step(self, affine: Affine) -> int:
        """How far the index moves from one lane to the next."""
        return affine.coefficients[self.axis] if self.axis is not None else 0

    def _lanes_of(self, affine: Affine) -> Val:
        """The index of every lane."""
        b = self.b
        first = b.splat(self._index(affine), self.lanes)
        step = self._step(affine)
        if self.lanes == 1 or not step:
            return first
        text = ", ".join(f"i64 {k * step}" for k in range(self.lanes))
        return b.add(first, Val(f"<{text}>", first.ty))

    def condition(self, guards: Sequence[Guard]) -> Val:
        """Whether guards hold that are the same for all lanes; an i1."""
        b = self.b
        return functools.reduce(
            b.and_,
            (b.icmp("ult", self._index(g.index), b.i64(g.extent)) for g in guards),
        )

    # -- memory --------------------------------------------------------------------------------

    def loaded(self, load: Load) -> Lane:
        """A load; where a guard fails the value is zero and no memory is touched."""
        b = self.b
        moving = [g for g in load.guards if self.lanes > 1 and self._step(g.index)]
        fixed = tuple(g for g in load.guards if g not in moving)
        if not moving and (self.lanes == 1 or not self._step(load.index)):
            return self._alike(load.buffer, load.index, self.condition(fixed) if fixed else None)
        mask = self.mask
        if fixed:
            wide = self.conditions.get(fixed) or b.splat(self.condition(fixed), self.lanes)
            mask = wide if mask is None else b.and_(mask, wide)
        for guard in moving:
            index = self._lanes_of(guard.index)
            inside = b.icmp("ult", index, b.const(guard.extent, index.ty))
            mask = inside if mask is None else b.and_(mask, inside)
        if mask is not None and not any(load.index.coefficients):
            value, dtype = self._alike(load.buffer, load.index, None)
            return Lane(b.select(mask, value, self.s.number(0, dtype).val), dtype)
        return self._read(load.buffer, load.index, mask)

    def _alike(
        self, buffer: Buffer, index: Affine, only: Val | None, start: Val | None = None
    ) -> Lane:
        """One element for all lanes; zero, and no memory touched, unless ``only``."""
        b, element = self.b, memory_type(buffer.dtype)
        at = self._index(index)
        if start is not None:
            at = _plus(b, start, at)
        if only is not None:
            at = b.select(only, at, b.i64(0))
        where = b.gep(self.place.pointer(buffer), element, at)
        value = b.load(where, element, buffer.dtype.itemsize)
        if only is not None:
            value = b.select(only, value, b.const(0, element))
        return broadcast(b, self._to_register(value, buffer.dtype), self.lanes)

    def prefetch(self, load: Load) -> None:
        """Have the cache line of a later load fetched; where nothing is, nothing happens."""
        b = self.b
        element, base = memory_type(load.buffer.dtype), self.place.pointer(load.buffer)
        index = self._index(load.index)
        at = b.op("ptr", f"getelementptr {element}, ptr {base.ref}, {index}")
        b.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        b.line(f"call void @llvm.prefetch.p0({at}, i32 0, i32 3, i32 1)")

    def _read(
        self, buffer: Buffer, index: Affine, mask: Val | None, start: Val | None = None
    ) -> Lane:
        b, dtype = self.b, buffer.dtype
        element, size = memory_type(dtype), dtype.itemsize
        base = self.place.pointer(buffer)
        if start is not None:
            base = b.gep(base, element, start)
        step = self._step(index)
        ty = vector(element, self.lanes)
        if step == 1:
            at = b.gep(base, element, self._index(index))
            if mask is None:
                value = b.load(at, ty, size)
            elif used := narrow(mask):
                value = widened(b, b.load(at, vector(element, used), size), self.lanes)
            else:
                value = b.masked_load(at, mask, ty, size)
            return self._to_register(value, dtype)
        return self._to_register(
            self._gathered(base, self._lanes_of(index), ty, size, mask), dtype
        )

    def _gathered(self, base: Val, index: Val, ty: str, size: int, mask: Val | None) -> Val:
        b = self.b
        pointers = like(ty, "ptr")
        element = scalar_of(ty)
        at = b.op(pointers, f"getelementptr inbounds {element}, ptr {base.ref}, {index}")
        # Zeros where a guard does not hold; beside the last lanes of a row as in `widened`.
        other = b.const(1 if mask is not None and mask.ref.startswith("<") else 0, ty)
        mask = mask or b.const(True, like(ty, "i1"))
        name = f"llvm.masked.gather.{intrinsic_suffix(ty)}.{intrinsic_suffix(pointers)}"
        b.module.declare(name, ty, [pointers, "i32", mask.ty, ty])
        return b.op(ty, f"call {ty} @{name}({at}, i32 {size}, {mask}, {other})")

    def store(self, lane: Lane, buffer: Buffer, index: Affine) -> None:
        """Write a value; only the lanes of the mask."""
        b = self.b
        element, size = memory_type(buffer.dtype), buffer.dtype.itemsize
        value = self.to_memory(lane)
        base = self.place.pointer(buffer)
        step = self._step(index)
        if self.lanes == 1:
            b.store(value, b.gep(base, element, self._index(index)), size)
        elif step == 1:
            at = b.gep(base, element, self._index(index))
            if self.mask is None:
                b.store(value, at, size)
            elif used := narrow(self.mask):
                part = b.shuffle(value, value, range(used)) if used > 1 else b.extract(value, 0)
                b.store(part, at, size)
            else:
                b.masked_store(value, at, self.mask, size)
        else:
            pointers = like(value.ty, "ptr")
            at = b.op(
                pointers,
                f"getelementptr inbounds {element}, ptr {base.ref}, {self._lanes_of(index)}",
            )
            mask = self.mask or b.const(True, like(value.ty, "i1"))
            name = f"llvm.masked.scatter.{intrinsic_suffix(value.ty)}.{intrinsic_suffix(pointers)}"
            b.module.declare(name, "void", [value.ty, pointers, "i32", mask.ty])
            b.line(f"call void @{name}({value}, {at}, i32 {size}, {mask})")

    def _to_register(self, value: Val, dtype: np.dtype[Any]) -> Lane:
        if dtype == BOOL:
            value = self.b.icmp("ne", value, self.b.const(0, value.ty))
        return Lane(value, dtype)

    def element(self, at: Val, index: Val, dtype: np.dtype[Any]) -> Lane:
        """The elements, one for each lane, from an index on."""
        element = memory_type(dtype)
        ty = vector(element, self.lanes)
        value = self.b.load(self.b.gep(at, element, index), ty, dtype.itemsize)
        return self._to_register(value, dtype)

    def to_memory(self, lane: Lane) -> Val:
        """A value as it lies in memory."""
        if lane.dtype == BOOL:
            return self.b.cast("zext", lane.val, like(lane.val.ty, "i8"))
        return lane.val

    def _gather(self, g: Gather) -> Lane:
        """An indexed read: indices wrap once, and one out of bounds reads element 0 and fails."""
        b, dtype = self.b, g.buffer.dtype
        if g.buffer.size == 0:
            self.start(g)
            return self.s.number(0, dtype)
        if g.value in self.starts:
            return self._read(g.buffer, g.rest, self.mask, self.starts[g.value])
        if self.lanes == 1:
            return self._alike(g.buffer, g.rest, None, self.start(g))
        total, inside = self._checked(g)
        total = b.add(self._lanes_of(g.rest), total)
        element, size = memory_type(dtype), dtype.itemsize
        ty = vector(element, self.lanes)
        value = self._gathered(self.place.pointer(g.buffer), total, ty, size, inside)
        return self._to_register(value, dtype)

    def start(self, g: Gather) -> Val:
        """Where an indexed read begins; at element 0 if an index is out of bounds."""
        total, inside = self._checked(g)
        return self.b.select(inside, total, self.b.const(0, total.ty))

    def _checked(self, g: Gather) -> tuple[Val, Val]:
        """What the indices amount to, and whether they are in bounds, which is noted if not."""
        b = self.b
        wide = vector("i64", self.lanes)
        total = inside = None
        for value, extent, stride in zip(g.indices, g.extents, g.strides, strict=True):
            index = self._wide(value).val
            negative = b.icmp("slt", index, b.const(0, wide))
            wrapped = b.add(index, b.const(extent, wide))
            index = b.select(negative, wrapped, index)
            good = b.icmp("ult", index, b.const(extent, wide))
            inside = good if inside is None else b.and_(inside, good)
            step = index if stride == 1 else b.mul(index, b.const(stride, wide))
            total = step if total is None else b.add(total, step)
        assert total is not None
        assert inside is not None
        outside = b.xor(inside, b.const(True, inside.ty))
        if self.mask is not None:
            outside, inside = b.and_(outside, self.mask), b.and_(inside, self.mask)
        self._record(outside, g.node)
        return total, inside

    def _record(self, outside: Val, node: int) -> None:
        b = self.b
        if self.lanes > 1:
            name = f"llvm.vector.reduce.or.v{self.lanes}i1"
            b.module.declare(name, "i1", [outside.ty])
            outside = b.op("i1", f"call i1 @{name}({outside})")
        flag = self.place.failures[node]
        b.store(b.or_(b.load(flag, "i1", 1), outside), flag, 1)

    # -- reductions ----------------------------------------------------------------------------

    def _reduce(self, r: Reduce) -> None:
        b = self.b
        value, total = self._wide(r.value).val, self.accumulators[r.result]
        if r.factor is not None:
            new = b.madd(value, self._wide(r.factor).val, total)
        else:
            new = combine(b, r.kind, r.dtype, total, value)
        if self.mask is not None and not self.rows:
            new = b.select(self.mask, new, total)
        self.accumulators[r.result] = new

    def _accumulate(self, a: Accumulate) -> None:
        b, dtype = self.b, a.buffer.dtype
        value = self._wide(a.value).val
        if self.place.accumulators.in_registers(a):
            self.place.accumulators.update(a, self.indices, self.axis, value, self.mask)
            return
        if self.lanes == 1 or not self._step(a.index):
            if self.lanes > 1:
                if self.mask is not None:
                    nothing = b.const(reduction_identity(a.kind, dtype), value.ty)
                    value = b.select(self.mask, value, nothing)
                value = horizontal(b, a.kind, dtype, value)
            one = Body(self.place, Scope({}, self.indices), 1, None, None)
            before = one._alike(a.buffer, a.index, None)
            one.store(Lane(combine(b, a.kind, dtype, before.val, value), dtype), a.buffer, a.index)
            return
        before = self._read(a.buffer, a.index, self.mask)
        self.store(Lane(combine(b, a.kind, dtype, before.val, value), dtype), a.buffer, a.index)


def _plus(b: Builder, x: Val, y: Val) -> Val:
    if not x.ref.startswith("%") and not y.ref.startswith("%"):
        return b.i64(int(x.ref) + int(y.ref))
    return b.add(x, y)
