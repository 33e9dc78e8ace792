"""Where the finished sums of a matrix product go: into C, turned if need be, or to an epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gradc.codegen.lanes import Lanes, Part, ceil_power
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of
from gradc.codegen.matmul_form import Form


class Place(NamedTuple):
    """Where a vector of C stands: lane l is the element l places after ``(row, col)``, row-major.

    ``used`` lanes are elements of C; the rest are to be ignored and not read from memory.
    ``batch``, ``row`` and ``col`` are i64. A vector lies in one row, unless C has one column.
    """

    batch: Val
    row: Val
    col: Val
    used: int


#: Takes the finished sums of a tile, vector by vector, and stores what is to be stored. Vectors
#: of the same columns have the same ``col``.
Epilogue = Callable[[Builder, Sequence[tuple[Val, Place]]], None]


@dataclass(frozen=True)
class Finish:
    """Takes tiles of finished sums; with ``onto`` they are added to what C holds."""

    x: Lanes
    form: Form
    epilogue: Epilogue | None
    batch: Val
    onto: bool

    def tile(
        self, sums: Sequence[Val], c: Val, rows: int, cols: Sequence[Part], row: Val, col: Val
    ) -> None:
        """A tile of C, or of Cᵀ where the operands changed places."""
        if not self.form.swapped or self.form.m == 1:
            self.rows(sums, c, rows, cols, row, col)
            return
        for j, part in enumerate(cols):
            self._turned(sums[j :: len(cols)], c, row, self._plus(col, part.offset), part.used)

    def rows(
        self, sums: Sequence[Val], c: Val, rows: int, cols: Sequence[Part], row: Val, col: Val
    ) -> None:
        """A tile as it is, row by row; a single row of Cᵀ is the column C."""
        down = [self._plus(row, i) for i in range(rows)]
        along = [(self._plus(col, part.offset), part.used) for part in cols]
        places = [
            Place(self.batch, *((j, i) if self.form.swapped else (i, j)), used)
            for i in down
            for j, used in along
        ]
        self._finish(list(zip(sums, places, strict=True)), c)

    def _turned(self, sums: Sequence[Val], c: Val, row: Val, col: Val, used: int) -> None:
        """Vectors of consecutive rows of Cᵀ, from ``(row, col)`` on, as rows of C."""
        f, x, b = self.form, self.x, self.x.b
        lanes = lanes_of(sums[0].ty)
        for start in range(0, len(sums), lanes):
            some = sums[start : start + lanes]
            width = ceil_power(len(some))
            woven = x.interleave([*some, *[Val("poison", some[0].ty)] * (width - len(some))])
            first = self._plus(row, start)
            if width == f.m and self.epilogue is None and not self.onto:
                to = x.step(c, col, f.m)
                for i, value in enumerate(woven[: -(-used * width // lanes)]):
                    x.store(value, x.at(to, i * lanes), min(lanes, used * width - i * lanes))
                continue
            done = []
            for lane in range(used):
                vec, at = woven[lane * width // lanes], lane * width % lanes
                if width < lanes:
                    vec = (
                        b.shuffle(vec, vec, range(at, at + width))
                        if width > 1
                        else b.extract(vec, at)
                    )
                done.append((vec, Place(self.batch, self._plus(col, lane), first, len(some))))
            self._finish(done, c)

    def _finish(self, done: Sequence[tuple[Val, Place]], c: Val) -> None:
        """Vectors of C, with what it held before, to the epilogue or into C."""
        x, complete = self.x, []
        width = self.form.m if self.form.swapped else self.form.n
        for acc, place in done:
            if self.onto:
                acc = x.add(x.load(self._at(c, place, width), lanes_of(acc.ty), place.used), acc)
            if self.epilogue is None:
                x.store(acc, self._at(c, place, width), place.used)
            complete.append((acc, place))
        if self.epilogue is not None:
            self.epilogue(x.b, complete)

    def _at(self, c: Val, place: Place, width: int) -> Val:
        return self.x.step(self.x.step(c, place.row, width), place.col, 1)

    def _plus(self, index: Val, offset: int) -> Val:
        if not index.ref.startswith("%"):
            return self.x.b.i64(int(index.ref) + offset)
        return self.x.b.add(index, self.x.b.i64(offset)) if offset else index
