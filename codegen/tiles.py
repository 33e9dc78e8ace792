"""Epilogues of matrix products: statements run on the vectors of a finished tile."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.accumulate import Accumulators, Pointer, each
from gradc.codegen.body import Body, Layered, Place, Scope
from gradc.codegen.lanes import Lanes, first_lanes
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of, vector
from gradc.codegen.loops import Contract, Nest
from gradc.codegen.matmul_finish import Place as At
from gradc.codegen.scalars import Lane, broadcast, memory_type
from gradc.codegen.statements import Accumulate, Compute, Literal, Load, Statement
from gradc.codegen.sums import two_sum
from gradc.codegen.targets import Target

#: the loops of an epilogue
ROW, COLUMN = 1, 2


class TileEpilogue:
    """Runs the epilogue of a product on the vectors of its tiles.

    Sums over rows are taken of a tile in registers, then of tiles in memory: ``begin`` and
    ``end`` stand before and after the product.
    """

    def __init__(
        self, builder: Builder, target: Target, stage: Contract, pointer: Pointer
    ) -> None:
        assert stage.epilogue is not None
        self.b = builder
        self.target = target
        self.stage = stage
        self.pointer = pointer
        # Sums are this epilogue's own: there are no accumulators as in the loops of a nest.
        none = Accumulators(builder, target, Nest((), (), ()), pointer, 1, lambda *given: None)
        self.place = Place(builder, pointer, none)
        (phase,) = stage.epilogue.phases
        self.sums = [s for s in phase.body if isinstance(s, Accumulate)]
        alike: dict[int, Statement] = {}  # the same in all rows
        self.each: list[Statement] = []
        for s in phase.body:
            if _alike(s, alike):
                alike[s.value] = s
            elif not isinstance(s, Accumulate):
                self.each.append(s)
        self.alike = list(alike.values())

    def begin(self) -> None:
        """Set the sums to zero."""
        b = self.b
        for s in self.sums:
            dtype = s.buffer.dtype
            element, pointers = memory_type(dtype), [
                self.pointer(x) for x in s.totals or (s.buffer,)
            ]

            def put(
                index: Val, lanes: int, element: str = element, size: int = dtype.itemsize,
                pointers: Sequence[Val] = pointers,
            ) -> None:
                for p in pointers:
                    b.store(b.const(0, vector(element, lanes)), b.gep(p, element, index), size)

            each(b, self.target, s.buffer.size, dtype.itemsize, put)

    def __call__(self, b: Builder, tile: Sequence[tuple[Val, At]]) -> None:
        """The vectors of a tile, column by column: rows share what is loaded for a column."""
        columns: dict[str, list[tuple[Val, At]]] = {}
        for vec, at in tile:
            columns.setdefault(at.col.ref, []).append((vec, at))
        for vectors in columns.values():
            self._column(vectors)

    def end(self) -> None:
        """Bring compensated sums to their results."""
        b = self.b
        for s in self.sums:
            if s.totals is None:
                continue
            dtype = s.buffer.dtype
            element, pointers = memory_type(dtype), [self.pointer(x) for x in (*s.totals, s.buffer)]

            def put(
                index: Val, lanes: int, element: str = element, size: int = dtype.itemsize,
                pointers: Sequence[Val] = pointers,
            ) -> None:
                total, lost, out = (b.gep(p, element, index) for p in pointers)
                ty = vector(element, lanes)
                b.store(b.fadd(b.load(total, ty, size), b.load(lost, ty, size)), out, size)

            each(b, self.target, s.buffer.size, dtype.itemsize, put)

    def _column(self, vectors: Sequence[tuple[Val, At]]) -> None:
        (some, first), *_ = vectors
        lanes = lanes_of(some.ty)
        mask = None if first.used == lanes else first_lanes(first.used, lanes)
        shared: dict[int, Lane] = {}
        parts: list[list[Val]] = [[] for _ in self.sums]
        for s in self.alike:
            self._run(s, Scope(shared, _indices(first)), lanes, mask)
        for vec, at in vectors:
            values = Layered(shared)
            values[self.stage.value] = Lane(vec, self.stage.spec.dtype)
            for s in self.each:
                self._run(s, Scope(values, _indices(at)), lanes, mask)
            for s, part in zip(self.sums, parts, strict=True):
                part.append(broadcast(self.b, values[s.value], lanes).val)
        for s, part in zip(self.sums, parts, strict=True):
            self._add(s, _tree(self.b, part), first)

    def _run(self, statement: Statement, scope: Scope, lanes: int, mask: Val | None) -> None:
        scalar = isinstance(statement, Load) and not statement.index.coefficients[COLUMN]
        if scalar:
            Body(self.place, scope, 1, None, None).run(statement)
        else:
            Body(self.place, scope, lanes, COLUMN if lanes > 1 else None, mask).run(statement)

    def _add(self, s: Accumulate, value: Val, at: At) -> None:
        """Add the sums of a column of vectors to those in memory."""
        dtype, lanes = s.buffer.dtype, lanes_of(value.ty)
        x = Lanes(self.b, memory_type(dtype), dtype.itemsize, self.target)
        places = [x.step(self.pointer(p), at.col, 1) for p in s.totals or (s.buffer,)]
        before = [x.load(p, lanes, at.used) for p in places]
        after = (
            two_sum(self.b, before[0], before[1], value)
            if s.totals
            else (self.b.fadd(before[0], value),)
        )
        for new, p in zip(after, places, strict=True):
            x.store(new, p, at.used)


def _alike(s: Statement, alike: dict[int, Statement]) -> bool:
    match s:
        case Literal():
            return True
        case Load():
            return not s.index.coefficients[ROW]
        case Compute():
            return all(v in alike for v in s.operands)
    return False


def _indices(at: At) -> dict[int, Val]:
    return dict(enumerate((at.batch, at.row, at.col)))


def _tree(b: Builder, values: Sequence[Val]) -> Val:
    """The sum of vectors, by halves."""
    some = list(values)
    while len(some) > 1:
        pairs = [b.fadd(x, y) for x, y in zip(some[::2], some[1::2], strict=False)]
        some = [*pairs, *some[len(pairs) * 2 :]]
    return some[0]
