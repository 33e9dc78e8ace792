"""Emission of nests: rows as counted loops, inner loops in vectors with masked tails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradc.codegen.accumulate import Accumulators, Indices, Pointer
from gradc.codegen.arrange import lanes_at_a_time
from gradc.codegen.body import Body, Layered, Place, Scope
from gradc.codegen.lanes import first_lanes
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.rowblock import RowBlock
from gradc.codegen.scalars import Lane
from gradc.codegen.statements import Affine, Buffer, Gather, Reduce
from gradc.codegen.sums import horizontal, reduction_identity
from gradc.codegen.sweep import Sweep
from gradc.codegen.targets import Target


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
        self.accumulators = Accumulators(
            builder, target, nest, pointer, self.lanes, self._finished, chunk
        )
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
        self.accumulators.end()
        for node, flag in self.place.failures.items():
            self.fail(self.b.load(flag, "i1", 1), node)

    def _finished(
        self, lane: Lane, buffer: Buffer, index: Affine, first: int, used: int, rows: Indices
    ) -> None:
        """Store what was accumulated in a register."""
        nest, lanes = self.nest, lanes_of(lane.val.ty)
        indices = dict.fromkeys(range(len(index.coefficients)), self.b.i64(0))
        indices.update(rows)
        for k in reversed(range(len(nest.outer), len(nest.outer) + len(nest.inner))):
            first, at = divmod(first, nest.inner[k - len(nest.outer)])
            indices[k] = self.b.i64(at)
        mask = None if used == lanes else first_lanes(used, lanes)
        axis = len(nest.outer) if lanes > 1 else None
        Body(self.place, Scope({}, indices), lanes, axis, mask).store(lane, buffer, index)

    # -- loops ---------------------------------------------------------------------------------

    def _rows(self, depth: int, scope: Scope) -> None:
        nest = self.nest
        if depth == len(nest.outer):
            for phase in nest.phases:
                self._phase(phase, scope)
            return
        last = depth == len(nest.outer) - 1
        step = nest.rows if last else 1
        with self.accumulators.loop(depth, scope.indices, step) as index:
            inside = Scope(dict(scope.values), {**scope.indices, depth: index})
            if last and nest.rows > 1:
                RowBlock(nest, self.place, inside, self.inner).emit()
            else:
                self._rows(depth + 1, inside)

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
        totals = self.inner(phase, scope, reduces)
        for s, total in zip(reduces, totals, strict=True):
            scope.values[s.result] = Lane(total, s.dtype)

    def inner(self, phase: Phase, scope: Scope, reduces: Sequence[Reduce]) -> list[Val]:
        """All inner loops of a phase; the reductions' results, as scalars."""
        b = self.b
        shape = self.nest.inner
        sweep = Sweep(self.nest, self.place, self.lanes, phase, scope, reduces)
        if len(shape) == 1:
            wide = sweep.last(scope.indices)
        else:
            # Partial sums of each innermost loop are carried around the loops outside it.
            wide = sweep.around(0, scope.indices, sweep.identities())
        return [horizontal(b, s.kind, s.dtype, v) for s, v in zip(reduces, wide, strict=True)]
