"""The kernels of a matrix product: which form and tile a shape gets, and their emission."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gradc.codegen.lanes import Lanes, Part, ceil_power, parts
from gradc.codegen.llvm import Val, vector
from gradc.codegen.llvm import Builder
from gradc.codegen.targets import Target

#: Terms summed one after the other before they are added to a total: bounds the rounding error.
BLOCK = 256


class Place(NamedTuple):
    """Where a vector of C stands: lane l is the element l places after ``(row, col)``, row-major.

    ``used`` lanes are elements of C; the rest are to be ignored and not read from memory.
    ``batch``, ``row`` and ``col`` are i64. A vector lies in one row, unless C has one column.
    """

    batch: Val
    row: Val
    col: Val
    used: int


Epilogue = Callable[[Builder, Val, Place], Val]


@dataclass(frozen=True)
class Form:
    """A product as it will be emitted: tiles of ``rows`` x ``cols`` vectors (dot: x scalars)."""

    m: int
    n: int
    k: int
    ta: bool
    tb: bool
    kind: Literal["straight", "outer", "dot"]
    rows: int
    cols: int
    row_block: int
    packed_bytes: int


def choose(m: int, n: int, k: int, ta: bool, tb: bool, itemsize: int, target: Target) -> Form:
    """The form of a product, by shape."""
    lanes = target.lanes(itemsize)
    registers = 16 if target.width == 32 else 32
    vectors = -(-n // lanes)
    if m * vectors * k <= 128 and m * vectors <= 32:
        return Form(m, n, k, ta, tb, "straight", m, vectors, m, 0)
    if tb and not ta and m < 8:
        rows = min(m, 4)
        cols = min(n, max(1, (16 if registers == 32 else 8) // rows))
        return Form(m, n, k, ta, tb, "dot", rows, cols, m, 0)
    rows, cols = _tile(m, vectors, k, registers)
    packed = _padded(n, lanes) * k * itemsize if tb else 0
    fitting = max(rows, target.l2 // 4 // (k * itemsize or 1) // rows * rows)
    row_block = fitting if vectors > cols and fitting < m else m
    return Form(m, n, k, ta, tb, "outer", rows, cols, row_block, packed)


def _tile(m: int, vectors: int, k: int, registers: int) -> tuple[int, int]:
    """Rows and column vectors of the tile with the fewest cycles by a simple model of a core.

    Two multiply-adds, two loads and six instructions a cycle, four cycles until a sum is ready.
    """

    def cycles(rows: int, cols: int) -> float:
        unroll = max(1, 8 // (rows * cols))
        issue = (rows * cols + rows + cols + 3 / unroll) / 6
        return k * max(rows * cols / 2, (rows + cols) / 2, issue, 4 / unroll) + rows * cols + 16

    def total(rows: int, cols: int) -> float:
        return sum(
            times_m * times_n * cycles(r, c)
            for times_m, r in ((m // rows, rows), (1, m % rows))
            for times_n, c in ((vectors // cols, cols), (1, vectors % cols))
            if r and c
        )

    candidates = [
        (rows, cols)
        for rows in range(1, min(m, 12) + 1)
        for cols in range(1, min(vectors, 8) + 1)
        if rows * cols + cols + 1 <= registers - (registers == 32)
    ]
    return min(candidates, key=lambda tile: total(*tile))


def _padded(n: int, lanes: int) -> int:
    """Columns of B once each of its vectors is stored in full."""
    return sum(part.lanes for part in parts(n, lanes))


@dataclass(frozen=True)
class Kernel:
    """Emits one product in a chosen form.

    ``columns`` is 1 if the user's C has one column and is computed as a row.
    """

    x: Lanes
    form: Form
    scratch: Val
    epilogue: Epilogue | None
    batch: Val
    columns: int

    def emit(self, a: Val, b_: Val, c: Val) -> None:
        """The whole product, from pointers to the operands and the result."""
        match self.form.kind:
            case "straight":
                self._straight(a, b_, c)
            case "dot":
                self._dot(a, b_, c)
            case "outer":
                if self.form.tb:
                    self._pack(b_)
                    b_ = self.scratch
                self._outer(a, b_, c)

    # -- everything unrolled ---------------------------------------------------------------------

    def _straight(self, a: Val, b_: Val, c: Val) -> None:
        f, x = self.form, self.x
        cols = parts(f.n, x.full)
        panel = [self._column(b_, part) for part in cols]
        for i in range(f.m):
            row: list[Val | None] = [None] * len(cols)
            for kk in range(f.k):
                scalar = x.b.load(self._a(a, i, kk), x.elem, x.itemsize)
                for j, part in enumerate(cols):
                    row[j] = x.madd(x.b.splat(scalar, part.lanes), panel[j][kk], row[j])
            for part, acc in zip(cols, row, strict=True):
                done = acc or x.b.const(0, vector(x.elem, part.lanes))
                self._store(done, c, x.b.i64(i), x.b.i64(part.offset), part.used)

    def _column(self, b_: Val, part: Part) -> list[Val]:
        """The k vectors of one column of vectors of B, in registers."""
        f, x = self.form, self.x
        if not f.tb:
            return [
                x.load(x.at(b_, kk * f.n + part.offset), part.lanes, part.used)
                for kk in range(f.k)
            ]
        out: list[Val] = []
        for block in parts(f.k, part.lanes):
            rows = [
                x.load(x.at(b_, (part.offset + j) * f.k + block.offset), part.lanes, block.used)
                for j in range(part.used)
            ]
            blank = x.b.const(0, vector(x.elem, part.lanes))
            square = x.transpose([*rows, *[blank] * (part.lanes - part.used)])
            out += square[: block.used]
        return out

    # -- tiles of C in registers -----------------------------------------------------------------

    def _outer(self, a: Val, b_: Val, c: Val) -> None:
        f, x, b = self.form, self.x, self.x.b
        cols = parts(f.n, x.full)
        whole = len(cols) // f.cols
        # A last vector that is partly used belongs to a panel of its own kind.
        if whole and f.n % x.full and len(cols) % f.cols == 0:
            whole -= 1
        rest = [p._replace(offset=p.offset - whole * f.cols * x.full) for p in cols[whole * f.cols :]]

        def panels(low: Val, high: Val) -> None:
            if whole:
                with b.loop(b.i64(0), b.i64(whole * f.cols * x.full), f.cols * x.full) as panel:
                    panel.next = []
                    self._panel(a, b_, c, cols[: f.cols], panel.index, low, high)
            if rest:
                self._panel(a, b_, c, rest, b.i64(whole * f.cols * x.full), low, high)

        if f.row_block >= f.m:
            panels(b.i64(0), b.i64(f.m))
            return
        with b.loop(b.i64(0), b.i64(f.m), f.row_block) as block:
            block.next = []
            end = b.add(block.index, b.i64(f.row_block))
            panels(block.index, b.intrinsic("smin", "i64", [end, b.i64(f.m)]))

    def _panel(
        self, a: Val, b_: Val, c: Val, cols: Sequence[Part], col: Val, low: Val, high: Val
    ) -> None:
        """Rows ``low .. high`` of a panel: whole tiles, then the rows that are left."""
        f, x, b = self.form, self.x, self.x.b
        if f.tb:
            pb, ld = x.step(b_, col, f.k), sum(part.lanes for part in cols)
        else:
            pb, ld = x.step(b_, col, 1), f.n
        tiled = f.m - f.m % f.rows
        if tiled == f.rows and f.row_block >= f.m:
            self._tile_of(a, pb, c, f.rows, cols, ld, b.i64(0), col)
        elif tiled:
            stop = b.i64(tiled)
            if high.ref.startswith("%"):
                stop = b.intrinsic("smin", "i64", [high, stop])
            with b.loop(low, stop, f.rows) as row:
                row.next = []
                self._tile_of(a, pb, c, f.rows, cols, ld, row.index, col)
        if f.m > tiled:
            at = b.i64(tiled)
            if high.ref.startswith("%"):
                with b.if_(b.icmp("eq", high, b.i64(f.m))):
                    self._tile_of(a, pb, c, f.m - tiled, cols, ld, at, col)
                    b.line("; rows left")
            else:
                self._tile_of(a, pb, c, f.m - tiled, cols, ld, at, col)

    def _tile_of(
        self,
        a: Val,
        pb: Val,
        c: Val,
        rows: int,
        cols: Sequence[Part],
        ld: int,
        row: Val,
        col: Val,
    ) -> None:
        f, x, b = self.form, self.x, self.x.b
        pa = x.step(a, row, 1 if f.ta else f.k)
        accs = self._sums(pa, pb, rows, cols, ld)
        for i in range(rows):
            at_row = self._plus(row, i)
            for j, part in enumerate(cols):
                at_col = self._plus(col, part.offset)
                self._store(accs[i * len(cols) + j], c, at_row, at_col, part.used)

    def _sums(
        self, pa: Val, pb: Val, rows: int, cols: Sequence[Part], ld: int
    ) -> list[Val]:
        """The accumulators of a tile, row by row, summed over all of k."""
        f, x, b = self.form, self.x, self.x.b
        tile = rows * len(cols)
        zeros = [b.const(0, vector(x.elem, part.lanes)) for _ in range(rows) for part in cols]

        def term(accs: list[Val] | None, qa: Val, qb: Val, kk: int) -> list[Val]:
            """Add the outer product of column kk of A and row kk of B, from qa and qb on."""
            out = []
            panel = [
                x.load(x.at(qb, kk * ld + p.offset), p.lanes, p.lanes if f.tb else p.used)
                for p in cols
            ]
            for i in range(rows):
                scalar = b.load(self._a(qa, i, kk), x.elem, x.itemsize)
                for j, part in enumerate(cols):
                    acc = accs[i * len(cols) + j] if accs else None
                    out.append(x.madd(b.splat(scalar, part.lanes), panel[j], acc))
            return out

        if tile * f.k <= 64:
            sums: list[Val] | None = None
            for kk in range(f.k):
                sums = term(sums, pa, pb, kk)
            return sums or zeros

        unroll = max(1, 16 // tile)
        chains = min(unroll, max(1, 8 // tile))
        even = f.k - f.k % unroll

        def chunk(start: Val, stop: Val) -> list[Val]:
            with b.loop(start, stop, unroll, carried=zeros * chains) as loop:
                qa = x.step(pa, loop.index, f.m if f.ta else 1)
                qb = x.step(pb, loop.index, ld)
                sets = [loop.carried[s * tile : (s + 1) * tile] for s in range(chains)]
                for kk in range(unroll):
                    sets[kk % chains] = term(sets[kk % chains], qa, qb, kk)
                loop.next = [acc for s in sets for acc in s]
            sets = [loop.results[s * tile : (s + 1) * tile] for s in range(chains)]
            while len(sets) > 1:
                pairs = zip(sets[::2], sets[1::2], strict=False)
                odd = [sets[-1]] if len(sets) % 2 else []
                sets = [[x.add(p, q) for p, q in zip(s, t, strict=True)] for s, t in pairs] + odd
            return sets[0]

        if f.k <= 2 * BLOCK:
            sums = chunk(b.i64(0), b.i64(even))
        else:
            length = BLOCK // unroll * unroll
            with b.loop(b.i64(0), b.i64(even), length, carried=zeros) as blocks:
                end = b.add(blocks.index, b.i64(length))
                part_sums = chunk(blocks.index, b.intrinsic("smin", "i64", [end, b.i64(even)]))
                blocks.next = [x.add(p, q) for p, q in zip(blocks.carried, part_sums, strict=True)]
            sums = blocks.results
        for kk in range(even, f.k):
            sums = term(sums, pa, pb, kk)
        return sums

    # -- B transposed ----------------------------------------------------------------------------

    def _pack(self, b_: Val) -> None:
        """Copy B ``[n, k]`` into panels ``[k, columns]`` of scratch, one after the other."""
        f, x, b = self.form, self.x, self.x.b
        cols = parts(f.n, x.full)
        for start in range(0, len(cols), f.cols):
            panel = cols[start : start + f.cols]
            raise NotImplementedError(panel, ceil_power, math, b, b_)

    # -- dot products along k --------------------------------------------------------------------

    def _dot(self, a: Val, b_: Val, c: Val) -> None:
        raise NotImplementedError

    # -- shared ------------------------------------------------------------------------------------

    def _a(self, pa: Val, i: int, kk: int) -> Val:
        """The address of row i, column kk of op(A), from pa on."""
        f = self.form
        return self.x.at(pa, kk * f.m + i if f.ta else i * f.k + kk)

    def _plus(self, index: Val, offset: int) -> Val:
        if not index.ref.startswith("%"):
            return self.x.b.i64(int(index.ref) + offset)
        return self.x.b.add(index, self.x.b.i64(offset)) if offset else index

    def _store(self, acc: Val, c: Val, row: Val, col: Val, used: int) -> None:
        """Apply the epilogue to a finished vector of C and store it."""
        x, b = self.x, self.x.b
        if self.epilogue is not None:
            row_, col_ = (col, row) if self.columns == 1 else (row, col)
            acc = self.epilogue(b, acc, Place(self.batch, row_, col_, used))
        x.store(acc, x.step(x.step(c, row, self.form.n), col, 1), used)
