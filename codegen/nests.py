"""Emission of nests: rows as counted loops, inner loops in vectors with masked tails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.codegen.llvm import Builder, Val, intrinsic_suffix, lanes_of, like, vector
from gradc.codegen.loops import (
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Fill,
    Gather,
    Guard,
    Literal,
    Load,
    Nest,
    Phase,
    Reduce,
    Statement,
    Store,
)
from gradc.codegen.lower import reduction_identity
from gradc.codegen.scalars import (
    Lane,
    VectorScalar,
    broadcast,
    memory_type,
    register_type,
)
from gradc.codegen.schedule import cost
from gradc.codegen.targets import Target
from gradc.ir.types import BOOL

#: vectors summed before the partial sum is added, compensated, to the total
BLOCK = 64

Pointer = Callable[[Buffer], Val]


@dataclass
class _Scope:
    """What is known at a point of the nest: values by number, loop indices, the row's mask."""

    values: dict[int, Lane] = field(default_factory=dict)
    indices: dict[int, Val] = field(default_factory=dict)


class NestEmitter:
    """Emits one nest at the builder's position. ``fail`` is called with an i1 and the node."""

    def __init__(
        self,
        builder: Builder,
        target: Target,
        nest: Nest,
        pointer: Pointer,
        fail: Callable[[Val, int], None],
    ) -> None:
        self.b = builder
        self.target = target
        self.nest = nest
        self.pointer = pointer
        self.fail = fail
        self.lanes = self._lanes()
        self.failures: dict[int, Val] = {}  # gather node -> i1 flag in memory

    def emit(self) -> None:
        nest = self.nest
        for fill in nest.fills:
            self._fill(fill)
        for phase in nest.phases:
            for s in (*phase.row, *phase.body):
                if isinstance(s, Gather) and s.node not in self.failures:
                    flag = self.b.alloca("i1", align=1)
                    self.b.store(Val("false", "i1"), flag, 1)
                    self.failures[s.node] = flag
        if math.prod(nest.outer) > 0:
            self._rows(0, _Scope())
        for node, flag in self.failures.items():
            self.fail(self.b.load(flag, "i1", 1), node)
        for total, lost in nest.corrections:
            self._add(total, lost)

    def _lanes(self) -> int:
        """Elements at a time: a full register of the widest dtype in the inner loops."""
        widest = 4
        for phase in self.nest.phases:
            for s in phase.body:
                dtype = _dtype(s)
                if dtype is not None:
                    widest = max(widest, dtype.itemsize)
        return self.target.lanes(widest)

    # -- loops ---------------------------------------------------------------------------------

    def _rows(self, depth: int, scope: _Scope) -> None:
        if depth == len(self.nest.outer):
            for phase in self.nest.phases:
                self._phase(phase, scope)
            return
        extent = self.nest.outer[depth]
        with self.b.loop(self.b.i64(0), self.b.i64(extent)) as loop:
            inner = _Scope(dict(scope.values), {**scope.indices, depth: loop.index})
            self._rows(depth + 1, inner)

    def _phase(self, phase: Phase, scope: _Scope) -> None:
        one = _Body(self, scope, 1, None, None)
        for statement in phase.row:
            one.run(statement)
        if not phase.body:
            return
        reduces = [s for s in phase.body if isinstance(s, Reduce)]
        if not self.nest.inner:
            one.accumulators = {
                s.result: one.s.number(reduction_identity(s.kind, s.dtype), s.dtype).val
                for s in reduces
            }
            one.values = _Layered(scope.values)
            for statement in phase.body:
                one.run(statement)
            for s in reduces:
                scope.values[s.result] = Lane(one.accumulators[s.result], s.dtype)
            return
        totals = self._inner(phase, scope, reduces)
        for s, total in zip(reduces, totals, strict=True):
            scope.values[s.result] = Lane(total, s.dtype)

    def _inner(self, phase: Phase, scope: _Scope, reduces: Sequence[Reduce]) -> list[Val]:
        """All inner loops of a phase; the reductions' results, as scalars."""
        b = self.b
        shape = self.nest.inner
        sweep = _Sweep(self, phase, scope, reduces)
        if len(shape) == 1:
            wide = sweep.last(scope.indices)
        else:
            # Partial sums of each innermost loop are carried around the loops outside it.
            wide = sweep.around(0, scope.indices, sweep.identities())
        return [_horizontal(b, s, v) for s, v in zip(reduces, wide, strict=True)]

    # -- whole buffers -------------------------------------------------------------------------

    def _fill(self, fill: Fill) -> None:
        buffer = fill.buffer
        pointer = self.pointer(buffer)
        element = memory_type(buffer.dtype)

        def put(index: Val, lanes: int) -> None:
            value = self.b.const(fill.number, vector(element, lanes))
            self.b.store(value, self.b.gep(pointer, element, index), buffer.dtype.itemsize)

        self._whole(buffer, put)

    def _add(self, total: Buffer, lost: Buffer) -> None:
        element, size = memory_type(total.dtype), total.dtype.itemsize
        first, second = self.pointer(total), self.pointer(lost)

        def put(index: Val, lanes: int) -> None:
            at = self.b.gep(first, element, index)
            a = self.b.load(at, vector(element, lanes), size)
            c = self.b.load(
                self.b.gep(second, element, index), vector(element, lanes), size
            )
            self.b.store(self.b.fadd(a, c), at, size)

        self._whole(total, put)

    def _whole(self, buffer: Buffer, put: Callable[[Val, int], None]) -> None:
        lanes = self.target.lanes(buffer.dtype.itemsize)
        main = buffer.size // lanes * lanes
        if main > 4 * lanes:
            with self.b.loop(self.b.i64(0), self.b.i64(main), lanes) as loop:
                put(loop.index, lanes)
        else:
            for at in range(0, main, lanes):
                put(self.b.i64(at), lanes)
        at = main
        while at < buffer.size:
            step = 1 << ((buffer.size - at).bit_length() - 1)
            put(self.b.i64(at), step)
            at += step


class _Layered(dict[int, Lane]):
    """Values of a body over those of its row."""

    def __init__(self, below: dict[int, Lane]) -> None:
        super().__init__()
        self.below = below

    def __missing__(self, key: int) -> Lane:
        return self.below[key]


class _Sweep:
    """The inner loops of one phase."""

    def __init__(
        self, nest: NestEmitter, phase: Phase, scope: _Scope, reduces: Sequence[Reduce]
    ) -> None:
        self.e = nest
        self.b = nest.b
        self.phase = phase
        self.scope = scope
        self.reduces = reduces
        self.extent = nest.nest.inner[-1]
        self.axis = len(nest.nest.outer) + len(nest.nest.inner) - 1
        self.lanes = nest.lanes
        work = sum(cost(s.node) for s in phase.body if isinstance(s, Compute))
        self.unroll = 4 if reduces and work <= 12 else 2 if work <= 6 else 1

    def identities(self) -> list[Val]:
        return [
            self.b.const(
                reduction_identity(s.kind, s.dtype), vector(register_type(s.dtype), self.lanes)
            )
            for s in self.reduces
        ]

    def around(self, depth: int, indices: dict[int, Val], carried: list[Val]) -> list[Val]:
        """Inner loops but the last; sums are compensated from one iteration to the next."""
        shape = self.e.nest.inner
        if depth == len(shape) - 1:
            return self.last(indices)
        b = self.b
        axis = len(self.e.nest.outer) + depth
        lost = [b.const(0, v.ty) for v in carried]
        with b.loop(b.i64(0), b.i64(shape[depth]), carried=[*carried, *lost]) as loop:
            part = self.around(depth + 1, {**indices, axis: loop.index}, carried)
            count = len(carried)
            loop.next = self._merge(loop.carried[:count], loop.carried[count:], part)
        return self._close(loop.results)

    def _merge(self, total: list[Val], lost: list[Val], part: list[Val]) -> list[Val]:
        new_total, new_lost = [], []
        for s, t, c, p in zip(self.reduces, total, lost, part, strict=True):
            if s.kind == "sum" and s.dtype.kind == "f":
                t, c = two_sum(self.b, t, c, p)
            else:
                t = combine(self.b, s.kind, s.dtype, t, p)
            new_total.append(t)
            new_lost.append(c)
        return [*new_total, *new_lost]

    def _close(self, results: list[Val]) -> list[Val]:
        """Totals with what rounding lost added back."""
        count = len(self.reduces)
        out = []
        for s, t, c in zip(self.reduces, results[:count], results[count:], strict=True):
            exact = s.kind == "sum" and s.dtype.kind == "f"
            out.append(self.b.fadd(t, c) if exact else t)
        return out

    def last(self, indices: dict[int, Val]) -> list[Val]:
        """The innermost loop: blocks of full vectors, then a masked tail."""
        b, lanes = self.b, self.lanes
        main = self.extent // lanes * lanes
        tail = self.extent - main
        outside = self._outside(indices)
        totals = self.identities()
        step = lanes * self.unroll
        long = BLOCK * step
        sums = any(s.kind == "sum" and s.dtype.kind == "f" for s in self.reduces)
        done = 0
        if main and sums and main > 2 * long:
            done = main // long * long
            lost = [b.const(0, v.ty) for v in totals]
            with b.loop(b.i64(0), b.i64(done), long, [*totals, *lost]) as loop:
                stop = b.add(loop.index, b.i64(long))
                part = self._vectors(indices, outside, loop.index, stop, self.unroll)
                count = len(totals)
                loop.next = self._merge(loop.carried[:count], loop.carried[count:], part)
            totals = self._close(loop.results)
        if main - done >= step:
            stop = done + (main - done) // step * step
            part = self._vectors(indices, outside, b.i64(done), b.i64(stop), self.unroll)
            totals = self._combined(totals, part) if done else part
            done = stop
        for at in range(done, main, lanes):
            totals = self._body(indices, outside, b.i64(at), totals, None)
        if tail:
            mask = self._mask(tail)
            totals = self._body(indices, outside, b.i64(main), totals, mask)
        return totals

    def _combined(self, totals: list[Val], part: list[Val]) -> list[Val]:
        return [
            combine(self.b, s.kind, s.dtype, t, p)
            for s, t, p in zip(self.reduces, totals, part, strict=True)
        ]

    def _mask(self, count: int) -> Val:
        bits = ", ".join(f"i1 {'true' if k < count else 'false'}" for k in range(self.lanes))
        return Val(f"<{bits}>", f"<{self.lanes} x i1>")

    def _outside(self, indices: dict[int, Val]) -> dict[int, Lane]:
        """Loads that the innermost loop does not move, and the row's values, in every lane."""
        hoisted = _Layered(self.scope.values)
        used = {v for s in self.phase.body for v in _uses(s)}
        for value in sorted(used & self.scope.values.keys()):
            hoisted[value] = broadcast(self.b, self.scope.values[value], self.lanes)
        one = _Body(self.e, _Scope(hoisted, dict(indices)), 1, None, None)
        one.values = hoisted
        for s in self.phase.body:
            if isinstance(s, Load) and not _moves(s, self.axis):
                lane = one.loaded(s)
                hoisted[s.value] = broadcast(self.b, lane, self.lanes)
        return hoisted

    def _vectors(
        self,
        indices: dict[int, Val],
        outside: dict[int, Lane],
        start: Val,
        stop: Val,
        unroll: int,
    ) -> list[Val]:
        """Full vectors from start to stop, ``unroll`` of them an iteration."""
        b, count = self.b, len(self.reduces)
        identities = self.identities()
        with b.loop(start, stop, self.lanes * unroll, identities * unroll) as loop:
            out: list[Val] = []
            for k in range(unroll):
                at = b.add(loop.index, b.i64(k * self.lanes)) if k else loop.index
                mine = loop.carried[k * count : (k + 1) * count]
                out.extend(self._body(indices, outside, at, mine, None))
            loop.next = out
        parts = [loop.results[k * count : (k + 1) * count] for k in range(unroll)]
        while len(parts) > 1:
            parts = [
                self._combined(a, c) for a, c in zip(parts[::2], parts[1::2], strict=True)
            ]
        return parts[0]

    def _body(
        self,
        indices: dict[int, Val],
        outside: dict[int, Lane],
        at: Val,
        carried: list[Val],
        mask: Val | None,
    ) -> list[Val]:
        scope = _Scope(_Layered(outside), {**indices, self.axis: at})
        body = _Body(self.e, scope, self.lanes, self.axis, mask)
        body.accumulators = {s.result: v for s, v in zip(self.reduces, carried, strict=True)}
        for statement in self.phase.body:
            if not (isinstance(statement, Load) and statement.value in outside):
                body.run(statement)
        return [body.accumulators[s.result] for s in self.reduces]


class _Body:
    """Statements at one point of the loops, ``lanes`` consecutive indices of ``axis`` at a time."""

    def __init__(
        self, nest: NestEmitter, scope: _Scope, lanes: int, axis: int | None, mask: Val | None
    ) -> None:
        self.e = nest
        self.b = nest.b
        self.values = scope.values
        self.indices = scope.indices
        self.lanes = lanes
        self.axis = axis
        self.mask = mask
        self.s = VectorScalar(nest.b, lanes)
        self.accumulators: dict[int, Val] = {}

    def run(self, statement: Statement) -> None:
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
                self._store(self._wide(value), buffer, index)
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

    def _guard(self, guards: Sequence[Guard]) -> tuple[Val | None, Val | None]:
        """(condition common to all lanes, condition lane by lane)."""
        b = self.b
        common: Val | None = None
        each: Val | None = None
        for guard in guards:
            moving = self.lanes > 1 and self._step(guard.index) != 0
            index = self._lanes_of(guard.index) if moving else self._index(guard.index)
            bound = b.const(guard.extent, index.ty)
            inside = b.icmp("ult", index, bound)
            if moving:
                each = inside if each is None else b.and_(each, inside)
            else:
                common = inside if common is None else b.and_(common, inside)
        return common, each

    # -- memory --------------------------------------------------------------------------------

    def loaded(self, load: Load) -> Lane:
        """A load; where a guard fails the value is zero and no memory is touched."""
        common, each = self._guard(load.guards)
        mask = self.mask
        if each is not None:
            mask = each if mask is None else self.b.and_(mask, each)
        if common is not None and self.lanes > 1:
            wide = self.b.splat(common, self.lanes)
            mask = wide if mask is None else self.b.and_(mask, wide)
        only = common if self.lanes == 1 else None
        return self._read(load.buffer, load.index, mask, only)

    def _read(
        self, buffer: Buffer, index: Affine, mask: Val | None, only: Val | None
    ) -> Lane:
        b, dtype = self.b, buffer.dtype
        element, size = memory_type(dtype), dtype.itemsize
        base = self.e.pointer(buffer)
        step = self._step(index)
        if self.lanes == 1 or step == 0 and mask is None:
            at = self._index(index)
            if only is not None:
                at = b.select(only, at, b.i64(0))
            value = b.load(b.gep(base, element, at), element, size)
            if only is not None:
                value = b.select(only, value, b.const(0, element))
            return broadcast(b, self._to_register(value, dtype), self.lanes)
        ty = vector(element, self.lanes)
        if step == 1:
            at = b.gep(base, element, self._index(index))
            value = (
                b.load(at, ty, size) if mask is None else b.masked_load(at, mask, ty, size)
            )
            return self._to_register(value, dtype)
        return self._to_register(
            self._gathered(base, self._lanes_of(index), ty, size, mask), dtype
        )

    def _gathered(self, base: Val, index: Val, ty: str, size: int, mask: Val | None) -> Val:
        b = self.b
        pointers = like(ty, "ptr")
        element = ty.split(" x ")[1][:-1]
        at = b.op(pointers, f"getelementptr inbounds {element}, ptr {base.ref}, {index}")
        mask = mask or b.const(True, like(ty, "i1"))
        name = f"llvm.masked.gather.{intrinsic_suffix(ty)}.{intrinsic_suffix(pointers)}"
        b.module.declare(name, ty, [pointers, "i32", mask.ty, ty])
        return b.op(
            ty, f"call {ty} @{name}({at}, i32 {size}, {mask}, {ty} zeroinitializer)"
        )

    def _store(self, lane: Lane, buffer: Buffer, index: Affine) -> None:
        b = self.b
        element, size = memory_type(buffer.dtype), buffer.dtype.itemsize
        value = self._to_memory(lane)
        base = self.e.pointer(buffer)
        step = self._step(index)
        if self.lanes == 1:
            b.store(value, b.gep(base, element, self._index(index)), size)
        elif step == 1:
            at = b.gep(base, element, self._index(index))
            if self.mask is None:
                b.store(value, at, size)
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

    def _to_memory(self, lane: Lane) -> Val:
        if lane.dtype == BOOL:
            return self.b.cast("zext", lane.val, like(lane.val.ty, "i8"))
        return lane.val

    def _gather(self, g: Gather) -> Lane:
        """An indexed read: indices wrap once, and one out of bounds reads element 0 and fails."""
        b, dtype = self.b, g.buffer.dtype
        wide = vector("i64", self.lanes)
        total = self._lanes_of(g.rest) if self.lanes > 1 else self._index(g.rest)
        inside: Val | None = None
        for value, extent, stride in zip(g.indices, g.extents, g.strides, strict=True):
            index = self._wide(value).val
            negative = b.icmp("slt", index, b.const(0, wide))
            wrapped = b.add(index, b.const(extent, wide))
            index = b.select(negative, wrapped, index)
            good = b.icmp("ult", index, b.const(extent, wide))
            inside = good if inside is None else b.and_(inside, good)
            step = index if stride == 1 else b.mul(index, b.const(stride, wide))
            total = b.add(total, step)
        assert inside is not None
        if self.mask is not None:
            outside = b.and_(b.xor(inside, b.const(True, inside.ty)), self.mask)
            inside = b.and_(inside, self.mask)
        else:
            outside = b.xor(inside, b.const(True, inside.ty))
        self._record(outside, g.node)
        element, size = memory_type(dtype), dtype.itemsize
        base = self.e.pointer(g.buffer)
        if g.buffer.size == 0:
            return self.s.number(0, dtype)
        if self.lanes == 1:
            at = b.select(inside, total, b.i64(0))
            return self._to_register(b.load(b.gep(base, element, at), element, size), dtype)
        ty = vector(element, self.lanes)
        return self._to_register(self._gathered(base, total, ty, size, inside), dtype)

    def _record(self, outside: Val, node: int) -> None:
        b = self.b
        if self.lanes > 1:
            name = f"llvm.vector.reduce.or.v{self.lanes}i1"
            b.module.declare(name, "i1", [outside.ty])
            outside = b.op("i1", f"call i1 @{name}({outside})")
        flag = self.e.failures[node]
        b.store(b.or_(b.load(flag, "i1", 1), outside), flag, 1)

    # -- reductions ----------------------------------------------------------------------------

    def _reduce(self, r: Reduce) -> None:
        b = self.b
        value, total = self._wide(r.value).val, self.accumulators[r.result]
        if r.factor is not None:
            new = b.fma(value, self._wide(r.factor).val, total)
        else:
            new = combine(b, r.kind, r.dtype, total, value)
        if self.mask is not None:
            new = b.select(self.mask, new, total)
        self.accumulators[r.result] = new

    def _accumulate(self, a: Accumulate) -> None:
        b, dtype = self.b, a.buffer.dtype
        before = self._read(a.buffer, a.index, self.mask, None)
        value = self._wide(a.value)
        if a.correction is None:
            new = Lane(combine(b, a.kind, dtype, before.val, value.val), dtype)
            self._store(new, a.buffer, a.index)
            return
        lost = self._read(a.correction, a.index, self.mask, None)
        total, left = two_sum(b, before.val, lost.val, value.val)
        self._store(Lane(total, dtype), a.buffer, a.index)
        self._store(Lane(left, dtype), a.correction, a.index)


def combine(b: Builder, kind: str, dtype: np.dtype[Any], total: Val, value: Val) -> Val:
    """One step of a reduction. A NaN stays in a maximum or minimum, as in NumPy."""
    floating = dtype.kind == "f"
    match kind:
        case "sum":
            return b.fadd(total, value) if floating else b.add(total, value)
        case "prod":
            return b.fmul(total, value) if floating else b.mul(total, value)
        case "any":
            return b.or_(total, value)
        case "all":
            return b.and_(total, value)
    if dtype == BOOL:
        return b.or_(total, value) if kind == "max" else b.and_(total, value)
    order = "gt" if kind == "max" else "lt"
    if not floating:
        better = b.icmp(("s" if dtype.kind == "i" else "u") + order, value, total)
        return b.select(better, value, total)
    better = b.or_(b.fcmp("o" + order, value, total), b.fcmp("uno", value, value))
    return b.select(better, value, total)


def two_sum(b: Builder, total: Val, lost: Val, value: Val) -> tuple[Val, Val]:
    """Neumaier's step with Knuth's branch-free error term; nothing is lost of an infinity."""
    new = b.fadd(total, value)
    back = b.fsub(new, total)
    error = b.fadd(b.fsub(total, b.fsub(new, back)), b.fsub(value, back))
    finite = b.fcmp("ord", error, error)
    error = b.select(finite, error, b.const(0, error.ty))
    return new, b.fadd(lost, error)


def _horizontal(b: Builder, r: Reduce, value: Val) -> Val:
    """Combine the lanes of a vector, halves first."""
    lanes = lanes_of(value.ty)
    while lanes > 2:
        lanes //= 2
        low = b.shuffle(value, value, range(lanes))
        high = b.shuffle(value, value, range(lanes, 2 * lanes))
        value = combine(b, r.kind, r.dtype, low, high)
    if lanes == 1:
        return value
    return combine(b, r.kind, r.dtype, b.extract(value, 0), b.extract(value, 1))


def _plus(b: Builder, x: Val, y: Val) -> Val:
    if not x.ref.startswith("%") and not y.ref.startswith("%"):
        return b.i64(int(x.ref) + int(y.ref))
    return b.add(x, y)


def _dtype(statement: Statement) -> np.dtype[Any] | None:
    match statement:
        case Load() | Store() | Accumulate():
            return statement.buffer.dtype
        case Gather():
            return np.dtype(np.int64)
        case Compute():
            return statement.node.type.dtype
        case Literal() | Reduce():
            return statement.dtype
    return None


def _uses(statement: Statement) -> tuple[int, ...]:
    match statement:
        case Compute():
            return statement.operands
        case Gather():
            return statement.indices
        case Store() | Accumulate():
            return (statement.value,)
        case Reduce():
            return (statement.value, *([] if statement.factor is None else [statement.factor]))
    return ()


def _moves(load: Load, axis: int) -> bool:
    """Whether a load depends on a loop."""
    affines = [load.index, *(g.index for g in load.guards)]
    return any(a.coefficients[axis] for a in affines)
