"""Long nests in chunks that threads share out, with results that do not depend on their number.

How a nest is cut is decided by its size alone. What a chunk reduces over rows goes into a part of
its own, and the parts are combined in order, so that the sums are the same to the last bit however
many threads there are, and whichever of them ran a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradc.codegen import matmul
from gradc.codegen.collapse import affines_of, remapped
from gradc.codegen.loops import Chunks, Contract, Nest, Phase, Shares
from gradc.codegen.statements import (
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Literal,
    Load,
    Reduce,
    Statement,
    Store,
    uses,
)
from gradc.codegen.sums import COMPENSATE
from gradc.codegen.targets import Target

#: flops of float64 from which a nest is cut, some 20 microseconds of work
LONG = 500_000
#: flops of a chunk at least: handing one out takes less than a microsecond
CHUNK = 100_000
#: the same of a matrix product, which has two flops a multiply-add
LONG_PRODUCT, CHUNK_OF_PRODUCT = 2_000_000, 500_000
#: chunks of a product at most: each reads all of the other operand
MOST_OF_PRODUCT = 24
#: products of a batch from which it is the batch that is cut
BATCH = 8
#: bytes of a cache line and its neighbour
LINES = 128
#: chunks at most: enough that threads of unequal speed end together
MOST = 64
#: elements that a chunk of an innermost loop is a multiple of: whole blocks of its sums
WHOLE = 2048

Scratch = Callable[[np.dtype[Any], int], Buffer]


def chunked(nest: Nest, scratch: Scratch) -> list[Nest]:
    """The nests that do the work of one; itself, where it is short or cannot be cut."""
    work = nest.flops * _itemsize(nest) / 8
    if work < LONG or nest.fills:
        return [nest]
    count = int(min(MOST, work // CHUNK))
    cut = _Rows(nest, scratch, count) if nest.outer else _Whole(nest, scratch, count)
    return cut.nests() or [nest]


def shared(stage: Contract, target: Target, scratch: Scratch) -> list[Contract | Nest]:
    """A product shared out among threads, and what combines the sums of its epilogue's chunks."""
    sums = []
    if stage.epilogue is not None:
        sums = [s for s in statements(stage.epilogue) if isinstance(s, Accumulate)]
    cut = _shares(stage, target, whole=bool(sums))
    if cut is None:
        return [stage]
    stage = replace(stage, shares=cut)
    if not sums or stage.epilogue is None:
        return [stage]

    def own(buffer: Buffer) -> Buffer:
        size = _apart(buffer)
        return replace(scratch(buffer.dtype, cut.count * size), kind="part", size=size)

    body: list[Statement] = []
    combined: list[Contract | Nest] = []
    (phase,) = stage.epilogue.phases
    for s in phase.body:
        if isinstance(s, Accumulate):
            part = own(s.buffer)
            whole = replace(part, kind="arena", size=cut.count * part.size)
            combined.append(combine(whole, cut.count, s))
            totals = s.totals and (own(s.totals[0]), own(s.totals[1]))
            s = replace(s, buffer=part, totals=totals)
        body.append(s)
    nest = replace(stage.epilogue, phases=(Phase(phase.row, tuple(body)),))
    return [replace(stage, epilogue=nest), *combined]


def _shares(stage: Contract, target: Target, whole: bool) -> Shares | None:
    """How a product is cut; None where it is short, or BLAS's.

    A batch is cut, not its products, where it is large, or what all products add to is ``whole``.
    """
    spec = stage.spec
    work = 2 * spec.batch * spec.m * spec.n * spec.k * spec.dtype.itemsize // 8
    if work < LONG_PRODUCT or stage.strategy == "blas":
        return None
    nbytes = matmul.scratch_bytes(spec, target)
    wanted = min(MOST_OF_PRODUCT, work // CHUNK_OF_PRODUCT)
    if spec.batch >= BATCH or (whole and spec.batch > 1):
        each = -(-spec.batch // wanted)
        return Shares("batch", each, -(-spec.batch // each), nbytes)
    form = matmul.form(spec, target)
    if form.kind == "registers":  # straight-line code for the whole product
        return None
    extent, tile = form.tiles
    each = -(-extent // tile // wanted) * tile
    count = -(-extent // each)
    along = {"rows": "columns", "columns": "rows"}[form.along] if form.swapped else form.along
    return Shares(along, each, count, nbytes) if count > 1 else None


def statements(nest: Nest) -> Iterator[Statement]:
    """All statements of a nest."""
    for phase in nest.phases:
        yield from phase.row
        yield from phase.body


def _itemsize(nest: Nest) -> int:
    return max(
        (s.buffer.dtype.itemsize for s in statements(nest) if isinstance(s, (Load, Store))),
        default=8,
    )


def _apart(buffer: Buffer) -> int:
    """Elements from one chunk's part of a reduction to the next, which another thread writes.

    Arrays lie in lines of their own, and not in neighbouring ones, which are fetched together.
    """
    line = LINES // buffer.dtype.itemsize
    return buffer.size if buffer.size == 1 else -(-buffer.size // line) * line


def combine(part: Buffer, count: int, to: Accumulate) -> Nest:
    """Reduce the parts of ``count`` chunks into the buffer of a reduction."""
    size = to.buffer.size
    if size == 1:
        load, store = Load(0, part, Affine(0, (1,))), Store(to.buffer, Affine(0, (0,)), 1)
        reduce = Reduce(1, to.kind, 0, part.dtype)
        return Nest((), (count,), (Phase((), (load, reduce)), Phase((store,), ())))
    load = Load(0, part, Affine(0, (part.size // count, 1)))
    accumulate = Accumulate(to.buffer, Affine(0, (0, 1)), to.kind, 0)
    return Nest((count,), (size,), (Phase((), (load, accumulate)),))


@dataclass
class _Rows:
    """A nest whose first loop over rows is cut."""

    nest: Nest
    scratch: Scratch
    count: int

    def nests(self) -> list[Nest]:
        """The chunks, then what combines the parts; empty where a chunk would write another's."""
        n = self.nest.outer[0]
        sums = [s for s in statements(self.nest) if isinstance(s, Accumulate)]
        whole = [s for s in sums if not s.index.coefficients[0]]
        size = sum(s.buffer.size for s in whole)
        if size:  # parts cost a pass over them
            self.count = min(self.count, self.nest.flops // (8 * size))
        self.rows = -(-n // max(1, min(self.count, n)))
        if len(self.nest.outer) == 1:
            self.rows = -(-self.rows // self.nest.rows) * self.nest.rows
        apart = [s for s in sums if s.index.coefficients[0]]
        if apart:
            divisors = [d for d in range(self.rows, n) if n % d == 0]
            self.rows = divisors[0] if divisors else n
            if any(s.totals or s.index.coefficients[0] * n != s.buffer.size for s in apart):
                return []
        self.chunks = -(-n // self.rows)
        private = self._private()
        if self.chunks < 2 or private is None:
            return []
        self.private = private
        self.nbytes = sum(-(-b.nbytes // 64) * 64 for b in private.values())
        self.parts: dict[str, Buffer] = {}
        combined = []
        for s in whole:
            part = self.scratch(s.buffer.dtype, self.chunks * _apart(s.buffer))
            self.parts[s.buffer.name] = part
            combined.append(combine(part, self.chunks, s))
        space = self.scratch(np.dtype(np.uint8), self.nbytes) if self.nbytes else None
        phases = tuple(
            Phase(tuple(map(self._moved, p.row)), tuple(map(self._moved, p.body)))
            for p in self.nest.phases
        )
        outer = (self.chunks, self.rows, *self.nest.outer[1:])
        chunks = Chunks(n - (self.chunks - 1) * self.rows, space, self.nbytes)
        return [replace(self.nest, outer=outer, phases=phases, chunks=chunks), *combined]

    def _private(self) -> dict[str, Buffer] | None:
        """Memory that every row uses anew, as each thread's own; None if results lie there."""
        found: dict[str, Buffer] = {}
        offset = 0

        def add(buffer: Buffer) -> None:
            nonlocal offset
            if buffer.name not in found:
                found[buffer.name] = replace(buffer, kind="private", offset=offset)
                offset += -(-buffer.nbytes // 64) * 64

        for s in statements(self.nest):
            if isinstance(s, Store) and not s.index.coefficients[0]:
                if not s.buffer.name.startswith("tmp"):
                    return None
                add(s.buffer)
            for total in (s.totals or ()) if isinstance(s, Accumulate) and self._long(s) else ():
                add(replace(total, size=_apart(total)))  # as long as the part they are of
        return found

    def _long(self, s: Accumulate) -> bool:
        """Whether what a chunk sums needs compensation."""
        pairs = zip(self.nest.outer[1:], s.index.coefficients[1:], strict=False)
        return self.rows * math.prod(n for n, c in pairs if not c) > COMPENSATE

    def _affine(self, affine: Affine) -> Affine:
        first, *rest = affine.coefficients
        return Affine(affine.offset, (first * self.rows, first, *rest))

    def _moved(self, statement: Statement) -> Statement:
        s = remapped(statement, self._affine)
        match s:
            case Accumulate(buffer, Affine(offset, (_, *rest)), _, _, totals):
                own = None
                if totals and totals[0].name in self.private:
                    own = self.private[totals[0].name], self.private[totals[1].name]
                if buffer.name in self.parts:
                    index = Affine(offset, (_apart(buffer), *rest))
                    return replace(s, buffer=self.parts[buffer.name], index=index, totals=own)
            case Load(buffer=buffer) | Store(buffer=buffer) if buffer.name in self.private:
                return replace(s, buffer=self.private[buffer.name])
        return s


@dataclass
class _Whole:
    """A nest without rows: its first inner loop is cut, and each of its sweeps is a nest."""

    nest: Nest
    scratch: Scratch
    count: int

    def nests(self) -> list[Nest]:
        """Of each sweep: what comes before it, its chunks, what is left over."""
        nest = self.nest
        if not nest.inner or any(isinstance(s, Accumulate) for s in statements(nest)):
            return []
        if len(nest.inner) > 1:
            self.size = -(-nest.inner[0] // self.count)
        else:
            self.size = -(-nest.inner[0] // self.count // WHOLE) * WHOLE
        self.chunks, self.left = divmod(nest.inner[0], self.size)
        if self.chunks < 2:
            return []
        self.cells: dict[int, Buffer] = {}  # row values, in memory between the sweeps
        self.alone: dict[int, Statement] = {
            s.value: s for s in statements(nest) if isinstance(s, (Load, Literal))
            if not any(any(a.coefficients) for a in affines_of(s))
        }
        self.dtypes = _dtypes(nest)
        out: list[Nest] = []
        for k, phase in enumerate(nest.phases):
            later = {v for p in nest.phases[k:] for s in p.body for v in uses(s)}
            later |= {v for p in nest.phases[k + 1 :] for s in p.row for v in uses(s)}
            before = self._before(phase, later)
            if before:
                out.append(before)
            if phase.body:
                out += self._sweep(phase)
        return out

    def _before(self, phase: Phase, later: set[int]) -> Nest | None:
        """The row's statements, whose values go into memory for the sweeps."""
        computed = [s for s in phase.row if not isinstance(s, (Load, Literal))]
        if not computed:
            return None
        row = [*self._given(computed), *computed]
        for s in computed:
            if isinstance(s, (Compute, Gather)) and s.value in later:
                cell = self.scratch(self.dtypes[s.value], 1)
                self.cells[s.value] = cell
                row.append(Store(cell, Affine(0, ()), s.value))
        return Nest((), (), (Phase(tuple(remapped(s, _point) for s in row), ()),))

    def _given(self, body: Sequence[Statement]) -> list[Statement]:
        """What gives row values from memory to statements that use them."""
        zero = Affine(0, (0,) * len(self.nest.inner))
        made = {s.value for s in body if isinstance(s, (Compute, Gather, Load, Literal))}
        out: list[Statement] = []
        for value in sorted({v for s in body for v in uses(s)} - made):
            if value in self.cells:
                out.append(Load(value, self.cells[value], zero))
            elif value in self.alone:
                out.append(self.alone[value])
        return out

    def _sweep(self, phase: Phase) -> list[Nest]:
        """The inner loops of a phase in chunks; reductions end in cells."""
        rest = self.nest.inner[1:]
        given = self._given(phase.body)
        reduces = [s for s in phase.body if isinstance(s, Reduce)]
        total = self.chunks + bool(self.left)
        parts = {s.result: self.scratch(s.dtype, total) for s in reduces}

        def cut(outer: tuple[int, ...], inner: tuple[int, ...], chunk: bool) -> Nest:
            start = self.chunks * self.size

            def affine(a: Affine) -> Affine:
                if not chunk:
                    return Affine(a.offset + start * a.coefficients[0], a.coefficients)
                return Affine(a.offset, (a.coefficients[0] * self.size, *a.coefficients))

            rank = len(outer) + len(inner)
            step = (1,) + (0,) * (rank - 1) if chunk else (0,) * rank
            at = Affine(0 if chunk else self.chunks, step)
            last = tuple(Store(parts[s.result], at, s.result) for s in reduces)
            row = tuple(remapped(s, affine) for s in given)
            body = tuple(remapped(s, affine) for s in phase.body)
            phases = (Phase(row, body), *([Phase(last, ())] if last else []))
            return Nest(outer, inner, phases, chunks=Chunks(0) if chunk else None)

        out = [cut((self.chunks,), (self.size, *rest), True)]
        if self.left:
            out.append(cut((), (self.left, *rest), False))
        for s in reduces:
            cell = self.scratch(s.dtype, 1)
            self.cells[s.result] = cell
            to = Accumulate(cell, Affine(0, ()), s.kind, s.result)
            out.append(combine(parts[s.result], total, to))
        return out


def _point(affine: Affine) -> Affine:
    return Affine(affine.offset, ())


def _dtypes(nest: Nest) -> dict[int, np.dtype[Any]]:
    """The dtypes of computed values."""
    out: dict[int, np.dtype[Any]] = {}
    for s in statements(nest):
        match s:
            case Compute():
                out[s.value] = s.node.type.dtype
            case Gather():
                out[s.value] = s.buffer.dtype
    return out
