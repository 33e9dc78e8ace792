"""Emission of nests: rows as counted loops, inner loops in vectors with masked tails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.codegen.accumulate import CHUNKS, Accumulators, Pointer
from gradc.codegen.body import Body, Layered, Place, Scope
from gradc.codegen.llvm import Builder, Val, lanes_of, vector
from gradc.codegen.loops import (
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Literal,
    Load,
    Nest,
    Phase,
    Reduce,
    Statement,
    Store,
    cost,
    uses,
)
from gradc.codegen.scalars import (
    Lane,
    broadcast,
    register_type,
)
from gradc.codegen.sums import combine, horizontal, reduction_identity, two_sum
from gradc.codegen.targets import Target

#: vectors summed before the partial sum is added, compensated, to the total
BLOCK = 64


class NestEmitter:
    """Emits one nest at the builder's position. ``fail`` is called with an i1 and the node.

    Of a nest in chunks it emits the chunk of the given number.
    """

    def __init__(
        self,
        builder: Builder,
        target: Target,
        nest: Nest,
        pointer: Pointer,
        fail: Callable[[Val, int], None],
        chunk: Val | None = None,
    ) -> None:
        self.b = builder
        self.target = target
        self.nest = nest
        self.pointer = pointer
        self.fail = fail
        self.lanes = lanes_at_a_time(nest, target)
        self.accumulators = Accumulators(builder, target, nest, pointer, self.lanes, chunk)
        self.place = Place(builder, pointer, self.accumulators)

    def emit(self) -> None:
        """Emit the nest."""
        nest = self.nest
        for fill in nest.fills:
            self.accumulators.fill(fill.buffer, fill.number)
        for phase in nest.phases:
            for s in (*phase.row, *phase.body):
                if isinstance(s, Gather) and s.node not in self.place.failures:
                    flag = self.b.alloca("i1", align=1)
                    self.b.store(Val("false", "i1"), flag, 1)
                    self.place.failures[s.node] = flag
        self.accumulators.begin()
        if math.prod(nest.outer) > 0:
            self._rows(self.accumulators.first, Scope({}, self.accumulators.given))
        self.accumulators.end(self._finished)
        for node, flag in self.place.failures.items():
            self.fail(self.b.load(flag, "i1", 1), node)

    def _finished(
        self, lane: Lane, buffer: Buffer, index: Affine, first: int, used: int
    ) -> None:
        """Store what was accumulated in a register."""
        axis = len(self.nest.outer) if self.nest.inner else None
        lanes = lanes_of(lane.val.ty)
        zero = self.b.i64(0)
        indices = dict.fromkeys(range(len(index.coefficients)), zero) | self.accumulators.given
        if lanes > 1 and axis is not None:
            indices[axis] = self.b.i64(first)
        mask = None if used == lanes else _mask(used, lanes)
        body = Body(self.place, Scope({}, indices), lanes, axis if lanes > 1 else None, mask)
        body.store(lane, buffer, index)

    # -- loops ---------------------------------------------------------------------------------

    def _rows(self, depth: int, scope: Scope) -> None:
        if depth == len(self.nest.outer):
            for phase in self.nest.phases:
                self._phase(phase, scope)
            return
        with self.accumulators.loop(depth) as index:
            self._rows(depth + 1, Scope(dict(scope.values), {**scope.indices, depth: index}))

    def _phase(self, phase: Phase, scope: Scope) -> None:
        one = Body(self.place, scope, 1, None, None)
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
            one.values = Layered(scope.values)
            for statement in phase.body:
                one.run(statement)
            for s in reduces:
                scope.values[s.result] = Lane(one.accumulators[s.result], s.dtype)
            return
        totals = self._inner(phase, scope, reduces)
        for s, total in zip(reduces, totals, strict=True):
            scope.values[s.result] = Lane(total, s.dtype)

    def _inner(self, phase: Phase, scope: Scope, reduces: Sequence[Reduce]) -> list[Val]:
        """All inner loops of a phase; the reductions' results, as scalars."""
        b = self.b
        shape = self.nest.inner
        sweep = _Sweep(self, phase, scope, reduces)
        if len(shape) == 1:
            wide = sweep.last(scope.indices)
        else:
            # Partial sums of each innermost loop are carried around the loops outside it.
            wide = sweep.around(0, scope.indices, sweep.identities())
        return [horizontal(b, s.kind, s.dtype, v) for s, v in zip(reduces, wide, strict=True)]


class _Sweep:
    """The inner loops of one phase."""

    def __init__(
        self, nest: NestEmitter, phase: Phase, scope: Scope, reduces: Sequence[Reduce]
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
                end = b.add(loop.index, b.i64(long))
                part = self._vectors(indices, outside, loop.index, end, self.unroll)
                count = len(totals)
                loop.next = self._merge(loop.carried[:count], loop.carried[count:], part)
            totals = self._close(loop.results)
        if main - done >= step and main > CHUNKS * lanes:
            stop = done + (main - done) // step * step
            part = self._vectors(indices, outside, b.i64(done), b.i64(stop), self.unroll)
            totals = self._combined(totals, part) if done else part
            done = stop
        for at in range(done, main, lanes):
            totals = self._body(indices, outside, b.i64(at), totals, None)
        if tail:
            mask = _mask(tail, lanes)
            totals = self._body(indices, outside, b.i64(main), totals, mask)
        return totals

    def _combined(self, totals: list[Val], part: list[Val]) -> list[Val]:
        return [
            combine(self.b, s.kind, s.dtype, t, p)
            for s, t, p in zip(self.reduces, totals, part, strict=True)
        ]

    def _outside(self, indices: dict[int, Val]) -> dict[int, Lane]:
        """Loads that the innermost loop does not move, and the row's values, in every lane."""
        hoisted = Layered(self.scope.values)
        used = {v for s in self.phase.body for v in uses(s)}
        for value in sorted(used & self.scope.values.keys()):
            hoisted[value] = broadcast(self.b, self.scope.values[value], self.lanes)
        one = Body(self.e.place, Scope(hoisted, dict(indices)), 1, None, None)
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
        scope = Scope(Layered(outside), {**indices, self.axis: at})
        body = Body(self.e.place, scope, self.lanes, self.axis, mask)
        body.accumulators = {s.result: v for s, v in zip(self.reduces, carried, strict=True)}
        for statement in self.phase.body:
            if not (isinstance(statement, Load) and statement.value in outside):
                body.run(statement)
        return [body.accumulators[s.result] for s in self.reduces]


def lanes_at_a_time(nest: Nest, target: Target) -> int:
    """Elements of the innermost loop at a time: a full register of the widest dtype, or all."""
    widest = 4
    for phase in nest.phases:
        for s in phase.body:
            dtype = _dtype(s)
            if dtype is not None:
                widest = max(widest, dtype.itemsize)
    shortest = nest.inner[-1] if nest.inner else 1
    return min(target.lanes(widest), 1 << (max(shortest, 2) - 1).bit_length())


def _mask(count: int, lanes: int) -> Val:
    """The first ``count`` of ``lanes``."""
    bits = ", ".join(f"i1 {'true' if k < count else 'false'}" for k in range(lanes))
    return Val(f"<{bits}>", f"<{lanes} x i1>")


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


def _moves(load: Load, axis: int) -> bool:
    """Whether a load depends on a loop."""
    affines = [load.index, *(g.index for g in load.guards)]
    return any(a.coefficients[axis] for a in affines)
