"""The inner loops of a nest: full vectors along the last of them, with a masked tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from gradc.codegen.accumulate import CHUNKS
from gradc.codegen.body import Body, Layered, Place, Scope
from gradc.codegen.lanes import first_lanes
from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.scalars import Lane, broadcast, register_type
from gradc.codegen.statements import (
    MATH_COST,
    Accumulate,
    Affine,
    Compute,
    Gather,
    Guard,
    Load,
    Reduce,
    Statement,
    cost,
    flops_of,
    uses,
)
from gradc.codegen.sums import combine, reduction_identity, two_sum

#: vectors summed before the partial sum is added, compensated, to the total
BLOCK = 64
#: bytes of a buffer that is not in the nearer caches
FAR = 1 << 19


class _Run(NamedTuple):
    """Statements of a part of the loop, and what was computed for them before it."""

    body: Sequence[Statement]
    outside: dict[int, Lane]
    starts: dict[int, Val]
    conditions: dict[tuple[Guard, ...], Val]


class Sweep:
    """The inner loops of one phase."""

    def __init__(
        self,
        nest: Nest,
        place: Place,
        lanes: int,
        phase: Phase,
        scope: Scope,
        reduces: Sequence[Reduce],
    ) -> None:
        self.nest = nest
        self.place = place
        self.b = place.builder
        self.phase = phase
        self.scope = scope
        self.reduces = reduces
        self.extent = nest.inner[-1]
        self.axis = len(nest.outer) + len(nest.inner) - 1
        self.lanes = lanes
        self.ahead = _ahead(nest) if phase is _longest(nest) else []
        work = sum(cost(s.node) for s in phase.body if isinstance(s, Compute))
        self.unroll = 4 if reduces and work <= 12 else 2 if work <= 6 else 1
        # Written out, vector math would keep its constants on the stack, not in registers.
        kept = self.place.accumulators
        fixed = any(isinstance(s, Accumulate) and kept.in_registers(s) for s in phase.body)
        self.written_out = 1 if work >= MATH_COST and not fixed else CHUNKS

    def identities(self) -> list[Val]:
        """What the reductions start from, in every lane."""
        return [
            self.b.const(
                reduction_identity(s.kind, s.dtype), vector(register_type(s.dtype), self.lanes)
            )
            for s in self.reduces
        ]

    def around(self, depth: int, indices: dict[int, Val], carried: list[Val]) -> list[Val]:
        """Inner loops but the last; sums are compensated from one iteration to the next."""
        shape = self.nest.inner
        if depth == len(shape) - 1:
            return self.last(indices)
        b = self.b
        axis = len(self.nest.outer) + depth
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
        """The innermost loop; what lies between the edges of padded reads goes unguarded."""
        low, high = self._between()
        if low == 0 and high == self.extent:
            return self._stretch(indices, self.phase.body, 0, self.extent, self.identities())
        body = tuple(self._unguarded(s) for s in self.phase.body)
        high = low + (high - low) // self.lanes * self.lanes
        totals = self._stretch(indices, self.phase.body, 0, low, self.identities())
        totals = self._stretch(indices, body, low, high, totals)
        return self._stretch(indices, self.phase.body, high, self.extent, totals)

    def _between(self) -> tuple[int, int]:
        """Where all guards hold that are of the innermost loop alone; all of it if that is short.

        Accumulators in registers are those of whole vectors from the loop's begin.
        """
        low, high = 0, self.extent
        for s in self.phase.body:
            for guard in s.guards if isinstance(s, Load) else ():
                if self._along(guard):
                    low = max(low, -guard.index.offset)
                    high = min(high, guard.extent - guard.index.offset)
        kept = self.place.accumulators
        fixed = any(isinstance(s, Accumulate) and kept.in_registers(s) for s in self.phase.body)
        if high - low < CHUNKS * self.lanes or fixed:
            return 0, self.extent
        return low, high

    def _along(self, guard: Guard) -> bool:
        """Whether a guard is of the innermost loop alone, step by step."""
        return all(c == (k == self.axis) for k, c in enumerate(guard.index.coefficients))

    def _unguarded(self, statement: Statement) -> Statement:
        if not isinstance(statement, Load):
            return statement
        return replace(statement, guards=tuple(g for g in statement.guards if not self._along(g)))

    def _stretch(
        self,
        indices: dict[int, Val],
        body: Sequence[Statement],
        first: int,
        stop: int,
        totals: list[Val],
    ) -> list[Val]:
        """A part of the innermost loop: blocks of full vectors, then a masked tail."""
        if first == stop:
            return totals
        b, lanes, fresh = self.b, self.lanes, first == 0
        main = first + (stop - first) // lanes * lanes
        run = _Run(body, *self._outside(indices, body), self._conditions(indices, body))
        step = lanes * self.unroll
        long = BLOCK * step
        sums = any(s.kind == "sum" and s.dtype.kind == "f" for s in self.reduces)
        done = first
        if sums and main - first > 2 * long:
            done += (main - first) // long * long
            lost = [b.const(0, v.ty) for v in totals]
            with b.loop(b.i64(first), b.i64(done), long, [*totals, *lost]) as loop:
                end = b.add(loop.index, b.i64(long))
                part = self._vectors(indices, run, loop.index, end, self.unroll)
                count = len(totals)
                loop.next = self._merge(loop.carried[:count], loop.carried[count:], part)
            totals, fresh = self._close(loop.results), False
        if main - done >= step and main - first > self.written_out * lanes:
            most = done + (main - done) // step * step
            part = self._vectors(indices, run, b.i64(done), b.i64(most), self.unroll)
            totals = part if fresh else self._combined(totals, part)
            done = most
        for at in range(done, main, lanes):
            totals = self._body(indices, run, b.i64(at), totals, None)
        if main < stop:
            mask = first_lanes(stop - main, lanes)
            totals = self._body(indices, run, b.i64(main), totals, mask)
        return totals

    def _combined(self, totals: list[Val], part: list[Val]) -> list[Val]:
        return [
            combine(self.b, s.kind, s.dtype, t, p)
            for s, t, p in zip(self.reduces, totals, part, strict=True)
        ]

    def _outside(
        self, indices: dict[int, Val], body: Sequence[Statement]
    ) -> tuple[dict[int, Lane], dict[int, Val]]:
        """Loads that the innermost loop does not move, and the row's values, in every lane.

        Also where indexed reads begin, whose indices are such values.
        """
        hoisted = Layered(self.scope.values)
        used = {v for s in body for v in uses(s)}
        for value in sorted(used & self.scope.values.keys()):
            hoisted[value] = broadcast(self.b, self.scope.values[value], self.lanes)
        one = Body(self.place, Scope(hoisted, dict(indices)), 1, None, None)
        one.values = hoisted
        alone: dict[int, Lane] = {v: self.scope.values[v] for v in used & self.scope.values.keys()}
        starts: dict[int, Val] = {}
        for s in body:
            if isinstance(s, Load) and not _moves(s, self.axis):
                alone[s.value] = one.loaded(s)
                hoisted[s.value] = broadcast(self.b, alone[s.value], self.lanes)
            elif isinstance(s, Gather) and alone.keys() >= set(s.indices):
                one.values = alone
                starts[s.value] = one.start(s)
                one.values = hoisted
        return hoisted, starts

    def _conditions(
        self, indices: dict[int, Val], body: Sequence[Statement]
    ) -> dict[tuple[Guard, ...], Val]:
        """Of guards that the innermost loop does not move: whether they hold, in every lane."""
        out: dict[tuple[Guard, ...], Val] = {}
        one = Body(self.place, Scope({}, dict(indices)), 1, None, None)
        for s in body:
            if isinstance(s, Load) and _moves(s, self.axis):
                fixed = tuple(g for g in s.guards if not g.index.coefficients[self.axis])
                if fixed and fixed not in out:
                    out[fixed] = self.b.splat(one.condition(fixed), self.lanes)
        return out

    def _vectors(
        self,
        indices: dict[int, Val],
        run: _Run,
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
                out.extend(self._body(indices, run, at, mine, None))
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
        run: _Run,
        at: Val,
        carried: list[Val],
        mask: Val | None,
    ) -> list[Val]:
        scope = Scope(Layered(run.outside), {**indices, self.axis: at})
        body = Body(self.place, scope, self.lanes, self.axis, mask)
        body.conditions, body.starts = run.conditions, run.starts
        body.accumulators = {s.result: v for s, v in zip(self.reduces, carried, strict=True)}
        for statement in run.body:
            if not (isinstance(statement, Load) and statement.value in run.outside):
                body.run(statement)
        for load in self.ahead if mask is None else ():
            body.prefetch(load)
        return [body.accumulators[s.result] for s in self.reduces]


def _moves(load: Load, axis: int) -> bool:
    """Whether a load depends on a loop."""
    affines = [load.index, *(g.index for g in load.guards)]
    return any(a.coefficients[axis] for a in affines)


def _longest(nest: Nest) -> Phase:
    """The sweep that computes most."""
    return max(nest.phases, key=lambda phase: flops_of(phase.body))


def _ahead(nest: Nest) -> list[Load]:
    """What the first sweep of the next rows loads from far away, if there are later sweeps.

    Processors fetch ahead along a row, but not from the end of one sweep to what the next rows
    begin with; and it is the first sweep that waits for memory, the others compute.
    """
    sweeps = [phase for phase in nest.phases if phase.body]
    if len(sweeps) < 2 or not nest.outer:
        return []
    row, element = len(nest.outer) - 1, len(nest.outer) + len(nest.inner) - 1
    out: dict[tuple[str, Affine], Load] = {}
    for s in (s for phase in sweeps for s in phase.body):
        if isinstance(s, Load) and s.buffer.nbytes >= FAR and not s.guards:
            step = s.index.coefficients[row] * nest.rows
            if step and s.index.coefficients[element] == 1:
                index = replace(s.index, offset=s.index.offset + step)
                out.setdefault((s.buffer.name, index), replace(s, index=index))
    return list(out.values())
