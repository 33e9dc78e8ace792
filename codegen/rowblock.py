"""Nests whose rows lie in the lanes of vectors, a block of consecutive rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.codegen.arrange import written_out
from gradc.codegen.body import Body, Layered, Place, Scope
from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.scalars import Lane, memory_type, register_type
from gradc.codegen.statements import Literal, Load, Reduce, Statement, uses
from gradc.codegen.sums import reduction_identity

#: the inner loops of a phase for one row: the results of its reductions
Inner = Callable[[Phase, Scope, Sequence[Reduce]], list[Val]]


class RowBlock:
    """Consecutive rows, one in each lane: the last loop over rows, a block at a time.

    Row statements are vectors. The inner loops of a phase run for one row after the other, with
    the row's values taken out of the lanes through memory; or, ``across``, with the rows in lanes.
    """

    def __init__(
        self, nest: Nest, place: Place, scope: Scope, inner: Inner
    ) -> None:
        self.nest = nest
        self.place = place
        self.inner = inner
        self.b = b = place.builder
        self.scope = scope
        self.axis = axis = len(nest.outer) - 1
        self.rows = nest.rows
        extents = [nest.outer[axis]]
        if nest.chunks and axis == 1:
            extents.append(nest.chunks.last)
        self.first = scope.indices[axis]
        self.mask: Val | None = None
        self.count = b.i64(self.rows)
        if any(extent % self.rows for extent in extents):
            self.count = b.sub(place.accumulators.extent(axis), self.first)
            lanes = Val(
                "<" + ", ".join(f"i64 {k}" for k in range(self.rows)) + ">",
                vector("i64", self.rows),
            )
            self.mask = b.icmp("slt", lanes, b.splat(self.count, self.rows))
            full = b.i64(self.rows)
            self.count = b.select(b.icmp("slt", self.count, full), self.count, full)
        self.wide = self._body(scope.indices, scope.values)
        self.statements: dict[int, Statement] = {}  # of the row, by their value
        self.spilled: dict[int, Val] = {}

    def _body(self, indices: dict[int, Val], values: dict[int, Lane]) -> Body:
        scope = Scope(values, indices)
        return Body(self.place, scope, self.rows, self.axis, self.mask, rows=True)

    def emit(self) -> None:
        """Emit all phases."""
        for phase in self.nest.phases:
            for statement in phase.row:
                self.wide.run(statement)
                if isinstance(statement, (Literal, Load)):
                    self.statements[statement.value] = statement
            if not phase.body:
                continue
            reduces = [s for s in phase.body if isinstance(s, Reduce)]
            if self.nest.across or not self.nest.inner:
                totals = self._across(phase, reduces)
            else:
                totals = self._one_by_one(phase, reduces)
            for s, total in zip(reduces, totals, strict=True):
                self.scope.values[s.result] = total

    # -- rows in lanes -------------------------------------------------------------------------

    def _across(self, phase: Phase, reduces: Sequence[Reduce]) -> list[Lane]:
        carried = [
            self.b.const(
                reduction_identity(s.kind, s.dtype), vector(register_type(s.dtype), self.rows)
            )
            for s in reduces
        ]
        out = self._around(0, phase, reduces, self.scope.indices, carried)
        return [Lane(v, s.dtype) for s, v in zip(reduces, out, strict=True)]

    def _around(
        self,
        depth: int,
        phase: Phase,
        reduces: Sequence[Reduce],
        indices: dict[int, Val],
        carried: list[Val],
    ) -> list[Val]:
        """The inner loops from a depth on, written out where they are short."""
        b, inner = self.b, self.nest.inner
        if depth == len(inner):
            body = self._body(indices, Layered(self.scope.values))
            body.accumulators = {s.result: v for s, v in zip(reduces, carried, strict=True)}
            for statement in phase.body:
                body.run(statement)
            return [body.accumulators[s.result] for s in reduces]
        axis = len(self.nest.outer) + depth
        if written_out(self.nest):
            for k in range(inner[depth]):
                at = {**indices, axis: b.i64(k)}
                carried = self._around(depth + 1, phase, reduces, at, carried)
            return carried
        with b.loop(b.i64(0), b.i64(inner[depth]), carried=carried) as loop:
            at = {**indices, axis: loop.index}
            loop.next = self._around(depth + 1, phase, reduces, at, loop.carried)
        return loop.results

    # -- row by row ----------------------------------------------------------------------------

    def _one_by_one(self, phase: Phase, reduces: Sequence[Reduce]) -> list[Lane]:
        b = self.b
        used = {v for s in phase.body for v in uses(s)} & self.scope.values.keys()
        for value in sorted(used - self.statements.keys() - self.spilled.keys()):
            lane = self.scope.values[value]
            self.spilled[value] = self._space(lane.dtype)
            size = lane.dtype.itemsize
            b.store(self.wide.to_memory(lane), self.spilled[value], size)
        results = [self._space(s.dtype) for s in reduces]
        with self.place.accumulators.over(phase.body, self.count) as row:
            indices = {**self.scope.indices, self.axis: b.add(self.first, row)}
            scope = Scope({}, indices)
            one = Body(self.place, scope, 1, None, None)
            for value in sorted(used):
                if value in self.statements:
                    one.run(self.statements[value])
                else:
                    dtype = self.scope.values[value].dtype
                    scope.values[value] = one.element(self.spilled[value], row, dtype)
            totals = self.inner(phase, scope, reduces)
            for s, total, space in zip(reduces, totals, results, strict=True):
                at = b.gep(space, memory_type(s.dtype), row)
                b.store(one.to_memory(Lane(total, s.dtype)), at, s.dtype.itemsize)
        zero = b.i64(0)
        return [
            self.wide.element(space, zero, s.dtype)
            for s, space in zip(reduces, results, strict=True)
        ]

    def _space(self, dtype: np.dtype[Any]) -> Val:
        return self.b.alloca(memory_type(dtype), self.rows)
