"""Operands of a matrix product, copied to the workspace in the order in which tiles read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.codegen.lanes import Lanes, Part, parts
from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.matmul_form import Form, padded

#: Steps of k that are packed together.
STEPS = 4


@dataclass(frozen=True)
class Packing:
    """Emits the copies that a form asks for."""

    x: Lanes
    form: Form
    scratch: Val

    def emit_b(self, b_: Val) -> Val:
        """Pack B if the form asks for it, and return the operand that the tiles are to read."""
        if not self.form.pack_b:
            return b_
        if self.form.kind == "dot":
            n = self.form.n
            self._turn(b_, self.scratch, parts(self.form.k, self.form.lanes), n, n)
        else:
            self._pack_b(b_)
        return self.scratch

    def emit_a(self, a: Val, low: Val, high: Val) -> Val:
        """Pack rows ``low .. high`` of op(A), stored ``[k, m]``, tile after tile ``[k, rows]``.

        A few steps of k go through all tiles before the next: a line of A is then read once,
        however many lines of its column share a set of the cache.
        """
        f, x, b = self.form, self.x, self.x.b
        room = x.at(self.scratch, f.packed_b_bytes // f.itemsize)
        left, even = f.m % f.rows, f.depth - f.depth % STEPS
        stop = b.intrinsic("smin", "i64", [high, b.i64(f.m - left)])

        def steps(along: Val, count: int) -> None:
            source = x.step(a, along, f.m)
            if f.m > left:
                with b.loop(low, stop, f.rows) as tile:
                    tile.next = []
                    into = x.step(x.step(room, b.sub(tile.index, low), f.depth), along, f.rows)
                    self._rows(x.step(source, tile.index, 1), into, f.rows, count)
            if left:
                with b.if_(b.icmp("eq", high, b.i64(f.m))):
                    into = x.step(x.step(room, b.sub(b.i64(f.m - left), low), f.depth), along, left)
                    self._rows(x.at(source, f.m - left), into, left, count)

        if even:
            with b.loop(b.i64(0), b.i64(even), STEPS) as loop:
                loop.next = []
                steps(loop.index, STEPS)
        if even < f.depth:
            steps(b.i64(even), f.depth - even)
        return room

    def _rows(self, source: Val, to: Val, width: int, count: int) -> None:
        """``count`` rows of ``width`` elements of a matrix of row length m, one after the other."""
        x = self.x
        for row in range(count):
            at, into = x.at(source, row * self.form.m), x.at(to, row * width)
            for part in parts(width, self.form.lanes):
                value = x.load(x.at(at, part.offset), part.lanes, part.used)
                x.store(value, x.at(into, part.offset), part.used)

    def _pack_b(self, b_: Val) -> None:
        """op(B), panel after panel ``[depth, columns]`` of whole vectors."""
        f, x, b = self.form, self.x, self.x.b
        whole, full, rest = f.panels()
        step = f.k if f.tb else 1

        def panel_of(source: Val, to: Val, cols: Sequence[Part]) -> None:
            if f.tb:
                self._turn(source, to, cols, f.k, f.depth)
            else:
                self._copy(source, to, cols)

        if whole:
            with b.loop(b.i64(0), b.i64(whole), f.cols * f.lanes) as panel:
                panel.next = []
                to = x.step(self.scratch, panel.index, f.depth)
                panel_of(x.step(b_, panel.index, step), to, full)
        if rest:
            panel_of(x.at(b_, whole * step), x.at(self.scratch, whole * f.depth), rest)

    def _copy(self, source: Val, to: Val, cols: Sequence[Part]) -> None:
        """A panel of B, stored ``[k, n]``; its last vector is stored in full."""
        f, x, b = self.form, self.x, self.x.b
        with b.loop(b.i64(0), b.i64(f.depth)) as along:
            along.next = []
            at, into = x.step(source, along.index, f.n), x.step(to, along.index, padded(cols))
            for part in cols:
                value = x.load(x.at(at, part.offset), part.lanes, part.used)
                x.store(value, x.at(into, part.offset), part.lanes)

    def _turn(self, source: Val, to: Val, rows: Sequence[Part], ld: int, length: int) -> None:
        """The first ``length`` elements of rows of ``ld`` as columns ``[length, rows]``."""
        x, b = self.x, self.x.b
        width, used = padded(rows), sum(part.used for part in rows)
        square = min(8, *(part.lanes for part in rows))
        whole = used - used % square
        if whole:
            with b.loop(b.i64(0), b.i64(whole), square) as group:
                group.next = []
                at, into = x.step(source, group.index, ld), x.step(to, group.index, 1)
                self._turn_rows(at, into, (square, square), width, ld, length)
        if used > whole:
            at, into = x.at(source, whole * ld), x.at(to, whole)
            self._turn_rows(at, into, (used - whole, square), width, ld, length)

    def _turn_rows(
        self, source: Val, to: Val, rows: tuple[int, int], width: int, ld: int, length: int
    ) -> None:
        """``rows`` = (used, of how many) rows as columns of a matrix of row length ``width``.

        Columns that pad it are zero: garbage could be subnormal, and slow.
        """
        x, b = self.x, self.x.b
        used, square = rows
        blank = b.const(0, vector(x.elem, square))

        def block(index: Val, terms: int) -> None:
            at, into = x.step(source, index, 1), x.step(to, index, width)
            loaded = [x.load(x.at(at, j * ld), square, terms) for j in range(used)]
            turned = x.transpose([*loaded, *[blank] * (square - used)])
            for kk in range(terms):
                x.store(turned[kk], x.at(into, kk * width), square)

        left = length % square
        if length > left:
            with b.loop(b.i64(0), b.i64(length - left), square) as along:
                along.next = []
                block(along.index, square)
        if left:
            block(b.i64(length - left), left)
