"""The emitted kernels of a matrix product: tiles of C in registers, summed over k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gradc.codegen.lanes import Lanes, Part, ceil_power, parts
from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import lanes_of, vector
from gradc.codegen.matmul_finish import Epilogue, Finish
from gradc.codegen.matmul_form import Form, padded
from gradc.codegen.matmul_pack import Packing

#: Terms summed one after the other before they are added to a total: bounds the rounding error.
BLOCK = 256


#: Runs terms of the sum in chunks of C: where they begin, how many, whether they are the last.
Share = Callable[[Val, int, bool], None]
#: Rows, or columns, of a chunk: from the first of a tile to the one after the last.
Span = tuple[Val, Val]
#: Accumulators so far; None before the first term.
Sums = list[Val] | None
Origin = TypeVar("Origin")


@dataclass(frozen=True)
class Kernel:
    """Emits one product in a chosen form; ``batch`` is the index that epilogues see.

    If ``onto``, the product is added to what C holds. ``share`` runs :meth:`chunk` for all rows
    of C, once B is packed.
    """

    x: Lanes
    form: Form
    scratch: Val
    epilogue: Epilogue | None
    batch: Val
    onto: bool = False
    share: Share | None = None

    @property
    def _out(self) -> Finish:
        return Finish(self.x, self.form, self.epilogue, self.batch, self.onto)

    def emit(self, a: Val, b_: Val, c: Val) -> None:
        """The whole product, from pointers to the operands and the result."""
        if self.form.depth < self.form.k:
            self._slices(a, b_, c)
            return
        b_ = Packing(self.x, self.form, self.scratch).emit_b(b_)
        if self.share is not None:
            self.share(self.x.b.i64(0), self.form.k, True)
        else:
            self._rows(a, b_, c, None)

    def chunk(self, a: Val, b_: Val, c: Val, low: Val, depth: int, span: Span) -> None:
        """The terms ``low .. low + depth`` of a span of C; ``b_`` is packed B, if it is."""
        f = self.form
        part = replace(self, form=replace(f, depth=depth), onto=self.onto or depth < f.k)
        pa, pb = part._terms(a, b_, low)
        part._rows(pa, b_ if f.pack_b else pb, c, span)

    def _rows(self, a: Val, b_: Val, c: Val, span: Span | None) -> None:
        match self.form.kind:
            case "registers":
                self._registers(a, b_, c)
            case "dot":
                self._dot(a, b_, c, span)
            case "outer":
                self._outer(a, b_, c, span)

    def _terms(self, a: Val, b_: Val, low: Val) -> tuple[Val, Val]:
        """The operands from term ``low`` on."""
        f, x = self.form, self.x
        return x.step(a, low, f.m if f.ta else 1), x.step(b_, low, 1 if f.tb else f.n)

    # -- tiles of C in registers -----------------------------------------------------------------

    def _slices(self, a: Val, b_: Val, c: Val) -> None:
        """The sum in slices of ``depth`` terms, whose panels stay in cache; C holds it meanwhile.

        The epilogue belongs to the last slice.
        """
        f, x, b = self.form, self.x, self.x.b
        if not self.onto:
            self._clear(c)
        last = f.k % f.depth or f.depth

        def slice_of(low: Val, depth: int, epilogue: Epilogue | None) -> None:
            part = replace(self, form=replace(f, depth=depth), epilogue=epilogue, onto=True)
            pa, pb = self._terms(a, b_, low)
            pb = Packing(x, part.form, self.scratch).emit_b(pb)
            if self.share is not None:
                self.share(low, depth, epilogue is not None)
            else:
                part._outer(pa, pb, c, None)

        alike = last == f.depth and self.epilogue is None
        stop = f.k if alike else f.k - last
        with b.loop(b.i64(0), b.i64(stop), f.depth) as loop:
            loop.next = []
            slice_of(loop.index, f.depth, None)
        if not alike:
            slice_of(b.i64(stop), last, self.epilogue)

    def _clear(self, c: Val) -> None:
        """C = 0."""
        x, b, size = self.x, self.x.b, self.form.m * self.form.n
        whole = size - size % x.full
        with b.loop(b.i64(0), b.i64(whole), x.full) as loop:
            loop.next = []
            x.store(b.const(0, vector(x.elem, x.full)), x.step(c, loop.index, 1), x.full)
        for part in parts(size - whole, x.full):
            x.store(b.const(0, vector(x.elem, part.lanes)), x.at(c, whole), part.used)

    def _outer(self, a: Val, b_: Val, c: Val, span: Span | None) -> None:
        f, b = self.form, self.x.b
        low, high = b.i64(0), b.i64(f.m)
        columns = None
        if span is not None and f.along == "rows":
            low, high = span
        elif span is not None:
            columns = span
        if f.row_block >= f.m:
            self._panels(a, b_, c, low, high, columns)
            return
        with b.loop(low, high, f.row_block) as block:
            block.next = []
            end = b.add(block.index, b.i64(f.row_block))
            end = b.intrinsic("smin", "i64", [end, high])
            self._panels(a, b_, c, block.index, end, columns)

    def _panels(
        self, a: Val, b_: Val, c: Val, low: Val, high: Val, columns: Span | None
    ) -> None:
        """Rows ``low .. high`` of C, panel by panel of B."""
        f, b = self.form, self.x.b
        if f.pack_a:
            a = Packing(self.x, f, self.scratch).emit_a(a, low, high)
        whole, full, rest = f.panels()
        first, stop = columns or (b.i64(0), b.i64(f.n))
        if whole:
            end = b.intrinsic("smin", "i64", [stop, b.i64(whole)]) if columns else b.i64(whole)
            with b.loop(first, end, f.cols * self.x.full) as panel:
                panel.next = []
                self._panel(a, b_, c, full, panel.index, low, high)
        if rest and columns:
            with b.if_(b.icmp("eq", stop, b.i64(f.n))):
                self._panel(a, b_, c, rest, b.i64(whole), low, high)
        elif rest:
            self._panel(a, b_, c, rest, b.i64(whole), low, high)

    def _panel(
        self, a: Val, b_: Val, c: Val, cols: Sequence[Part], col: Val, low: Val, high: Val
    ) -> None:
        """Rows ``low .. high`` of a panel: whole tiles, then the rows that are left."""
        f, x, b = self.form, self.x, self.x.b
        pb = x.step(b_, col, f.depth if f.pack_b else 1)
        left = f.m % f.rows
        blocked = low.ref != "0" or high.ref != str(f.m)
        stride = f.depth if f.pack_a else 1 if f.ta else f.k

        def tile(rows: int, row: Val) -> None:
            first = b.sub(row, low) if f.pack_a and blocked else row
            self._tile(x.step(a, first, stride), pb, c, rows, cols, row, col)

        if blocked:
            stop = b.intrinsic("smin", "i64", [high, b.i64(f.m - left)])
        else:
            stop = b.i64(f.m - left)
        if f.m // f.rows == 1 and not blocked:
            tile(f.rows, low)
        elif f.m > left:
            with b.loop(low, stop, f.rows) as row:
                row.next = []
                tile(f.rows, row.index)
        if left and blocked:
            with b.if_(b.icmp("eq", high, b.i64(f.m))):
                tile(left, b.i64(f.m - left))
        elif left:
            tile(left, b.i64(f.m - left))

    def _tile(
        self, pa: Val, pb: Val, c: Val, rows: int, cols: Sequence[Part], row: Val, col: Val
    ) -> None:
        """One tile of C; pa and pb are the rows of A and the panel of B that it reads."""
        f, x = self.form, self.x
        _, k_step = self._strides(rows)
        ld = padded(cols) if f.pack_b else f.n

        def origin(index: Val) -> tuple[Val, Val]:
            return x.step(pa, index, k_step), x.step(pb, index, ld)

        def term(sums: Sums, at: tuple[Val, Val], kk: int) -> list[Val]:
            qa, qb = at
            panel = [
                x.load(x.at(qb, kk * ld + p.offset), p.lanes, p.lanes if f.pack_b else p.used)
                for p in cols
            ]
            return self._rank_one(sums, qa, kk, rows, panel)

        zeros = [x.b.const(0, vector(x.elem, part.lanes)) for _ in range(rows) for part in cols]
        self._out.tile(self._accumulate(zeros, f.depth, origin, term), c, rows, cols, row, col)

    def _rank_one(self, sums: Sums, qa: Val, kk: int, rows: int, panel: Sequence[Val]) -> list[Val]:
        """Add column kk of op(A), from qa on, times the row of B in ``panel``."""
        x = self.x
        out: list[Val] = []
        row_step, k_step = self._strides(rows)
        for i in range(rows):
            at = x.at(qa, i * row_step + kk * k_step)
            scalar = x.b.load(at, x.elem, x.itemsize)
            for vec in panel:
                acc = sums[len(out)] if sums else None
                out.append(x.madd(x.b.splat(scalar, lanes_of(vec.ty)), vec, acc))
        return out

    def _registers(self, a: Val, b_: Val, c: Val) -> None:
        """Few terms of a transposed B: turn it in registers, then everything is straight-line."""
        f, x, b = self.form, self.x, self.x.b
        cols = parts(f.n, x.full)
        columns = [self._turned(b_, part) for part in cols]
        for start in range(0, f.m, f.rows):
            rows = min(f.rows, f.m - start)
            pa = x.at(a, start * (1 if f.ta else f.k))
            sums: Sums = None
            for kk in range(f.k):
                sums = self._rank_one(sums, pa, kk, rows, [column[kk] for column in columns])
            self._out.tile(sums or [], c, rows, cols, b.i64(start), b.i64(0))

    def _turned(self, b_: Val, part: Part) -> list[Val]:
        """The k vectors of one column of vectors of a transposed B."""
        f, x = self.form, self.x
        out: list[Val] = []
        blank = x.b.const(0, vector(x.elem, part.lanes))
        for block in parts(f.k, part.lanes):
            rows = [
                x.load(x.at(b_, (part.offset + j) * f.k + block.offset), part.lanes, block.used)
                for j in range(part.used)
            ]
            square = x.transpose([*rows, *[blank] * (part.lanes - part.used)])
            out += square[: block.used]
        return out

    # -- sums over k -----------------------------------------------------------------------------

    def _accumulate(
        self,
        zeros: Sequence[Val],
        steps: int,
        origin: Callable[[Val], Origin],
        term: Callable[[Sums, Origin, int], list[Val]],
    ) -> list[Val]:
        """The sum of terms ``0 .. steps``: ``term(sums, at, u)`` adds the term u after ``at``.

        Few terms are straight-line; a loop is unrolled until its adds can hide their latency,
        and a long one is cut into blocks with totals.
        """
        b, x = self.x.b, self.x
        tile = len(zeros)
        sums: Sums = None
        if tile * steps <= 64:
            start = origin(b.i64(0))
            for step in range(steps):
                sums = term(sums, start, step)
            return sums or list(zeros)
        unroll = max(1, 16 // tile)
        chains = min(unroll, max(1, 8 // tile))
        even = steps - steps % unroll

        def chunk(low: Val, high: Val) -> list[Val]:
            with b.loop(low, high, unroll, carried=list(zeros) * chains) as loop:
                at = origin(loop.index)
                sets = [loop.carried[s * tile : (s + 1) * tile] for s in range(chains)]
                for u in range(unroll):
                    sets[u % chains] = term(sets[u % chains], at, u)
                loop.next = [acc for accs in sets for acc in accs]
            total, *others = (loop.results[s * tile : (s + 1) * tile] for s in range(chains))
            for other in others:
                total = [x.add(p, q) for p, q in zip(total, other, strict=True)]
            return total

        if steps <= 2 * BLOCK:
            sums = chunk(b.i64(0), b.i64(even))
        else:
            with b.loop(b.i64(0), b.i64(even), BLOCK // unroll * unroll, carried=zeros) as blocks:
                end = b.add(blocks.index, b.i64(BLOCK // unroll * unroll))
                some = chunk(blocks.index, b.intrinsic("smin", "i64", [end, b.i64(even)]))
                blocks.next = [x.add(p, q) for p, q in zip(blocks.carried, some, strict=True)]
            sums = blocks.results
        rest = origin(b.i64(even))
        for u in range(steps - even):
            sums = term(sums, rest, u)
        return sums

    # -- dot products along k --------------------------------------------------------------------

    def _dot(self, a: Val, b_: Val, c: Val, span: Span | None) -> None:
        """A and the transposed B are contiguous along k, the lanes are summed last."""
        f, x = self.form, self.x

        def tile(rows: int, cols: int, row: Val, col: Val) -> None:
            self._dot_tile(x.step(a, row, f.k), b_, c, rows, cols, row, col)

        def along_a(cols: int, col: Val) -> None:
            self._tiled(f.m, f.rows, lambda rows, row: tile(rows, cols, row, col))

        def along_b(rows: int, row: Val) -> None:
            self._tiled(f.n, f.cols, lambda cols, col: tile(rows, cols, row, col))

        if f.along == "rows":  # the larger operand is read once
            self._tiled(f.m, f.rows, along_b, span)
        else:
            self._tiled(f.n, f.cols, along_a, span)

    def _tiled(
        self, extent: int, size: int, emit: Callable[[int, Val], None], span: Span | None = None
    ) -> None:
        """``emit(size, index)`` in a loop over whole tiles, then what is left."""
        b, left = self.x.b, extent % size
        if span is not None:
            low, high = span
            stop = b.intrinsic("smin", "i64", [high, b.i64(extent - left)])
            with b.loop(low, stop, size) as loop:
                loop.next = []
                emit(size, loop.index)
            if left:
                with b.if_(b.icmp("eq", high, b.i64(extent))):
                    emit(left, b.i64(extent - left))
            return
        if extent // size == 1:
            emit(size, b.i64(0))
        elif extent > left:
            with b.loop(b.i64(0), b.i64(extent - left), size) as loop:
                loop.next = []
                emit(size, loop.index)
        if left:
            emit(left, b.i64(extent - left))

    def _dot_tile(self, pa: Val, b_: Val, c: Val, rows: int, cols: int, row: Val, col: Val) -> None:
        f, x, b = self.form, self.x, self.x.b
        lanes = min(x.full, ceil_power(f.k))
        ld = padded(parts(f.k, f.lanes)) if f.pack_b else f.k
        pb = x.step(b_, col, ld)

        def origin(index: Val) -> tuple[Val, Val]:
            return x.step(pa, index, lanes), x.step(pb, index, lanes)

        def terms(sums: Sums, at: tuple[Val, Val], u: int, used: int) -> list[Val]:
            qa, qb = at
            left = [x.load(x.at(qa, i * f.k + u * lanes), lanes, used) for i in range(rows)]
            out: list[Val] = []
            for j in range(cols):
                right = x.load(x.at(qb, j * ld + u * lanes), lanes, used)
                for vec in left:
                    out.append(x.madd(vec, right, sums[len(out)] if sums else None))
            return out

        steps, tail = divmod(f.k, lanes)
        zeros = [b.const(0, vector(x.elem, lanes))] * (rows * cols)
        sums: Sums = None
        if steps:
            sums = self._accumulate(
                zeros, steps, origin, lambda sums, at, u: terms(sums, at, u, lanes)
            )
        if tail:
            sums = terms(sums, origin(b.i64(steps)), 0, tail)
        assert sums is not None
        along = parts(cols, lanes)
        done = [
            x.reduce(sums[p.offset * rows + i : (p.offset + p.used) * rows : rows], p.lanes)
            for i in range(rows)
            for p in along
        ]
        self._out.rows(done, c, rows, along, row, col)

    # -- shared ------------------------------------------------------------------------------------

    def _strides(self, rows: int) -> tuple[int, int]:
        """From one row of op(A) to the next, and from one column, in a tile of ``rows``."""
        f = self.form
        if f.pack_a:
            return 1, rows
        return (1, f.m) if f.ta else (f.k, 1)
