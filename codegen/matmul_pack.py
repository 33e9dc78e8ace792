"""Operands of a matrix product, copied to the workspace in the order in which tiles read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradc.codegen.lanes import Lanes, Part, parts
from gradc.codegen.llvm import Val, vector
from gradc.codegen.matmul_form import Form, padded


@dataclass(frozen=True)
class Packing:
    """Emits the copies that a form asks for."""

    x: Lanes
    form: Form
    scratch: Val

    def emit(self, a: Val, b_: Val) -> tuple[Val, Val]:
        """Pack, and return the operands that the tiles are to read."""
        if self.form.pack_b:
            if self.form.kind == "dot":
                self._turn(b_, self.scratch, parts(self.form.k, self.form.lanes), self.form.n)
            else:
                self._pack_b(b_)
            b_ = self.scratch
        if self.form.pack_a:
            to = self.x.at(self.scratch, self.form.packed_b_bytes // self.form.itemsize)
            self._pack_a(a, to)
            a = to
        return a, b_

    def _pack_b(self, b_: Val) -> None:
        """op(B), panel after panel ``[k, columns]`` of whole vectors."""
        f, x, b = self.form, self.x, self.x.b
        whole, full, rest = f.panels()
        step = f.k if f.tb else 1

        def panel_of(source: Val, to: Val, cols: Sequence[Part]) -> None:
            if f.tb:
                self._turn(source, to, cols, f.k)
            else:
                self._copy(source, to, cols)

        if whole:
            with b.loop(b.i64(0), b.i64(whole), f.cols * f.lanes) as panel:
                panel.next = []
                source, to = x.step(b_, panel.index, step), x.step(self.scratch, panel.index, f.k)
                panel_of(source, to, full)
        if rest:
            panel_of(x.at(b_, whole * step), x.at(self.scratch, whole * f.k), rest)

    def _pack_a(self, a: Val, to: Val) -> None:
        """A, stored ``[k, m]``, tile after tile ``[k, rows]``."""
        f, x, b = self.form, self.x, self.x.b
        left = f.m % f.rows
        if f.m > left:
            with b.loop(b.i64(0), b.i64(f.m - left), f.rows) as tile:
                tile.next = []
                into = x.step(to, tile.index, f.k)
                self._columns(x.step(a, tile.index, 1), into, parts(f.rows, f.lanes), f.m, f.rows)
        if left:
            source, into = x.at(a, f.m - left), x.at(to, (f.m - left) * f.k)
            self._columns(source, into, parts(left, f.lanes), f.m, left)

    def _copy(self, source: Val, to: Val, cols: Sequence[Part]) -> None:
        """A panel of B, stored ``[k, n]``."""
        whole = [part._replace(used=part.lanes) for part in cols]
        self._columns(source, to, cols, self.form.n, padded(cols), whole)

    def _columns(
        self,
        source: Val,
        to: Val,
        cols: Sequence[Part],
        ld: int,
        width: int,
        stored: Sequence[Part] | None = None,
    ) -> None:
        """Columns of a matrix of row length ``ld`` as one of row length ``width``, k rows.

        ``stored`` says how much of each vector to store, if not as much as was loaded.
        """
        f, x, b = self.form, self.x, self.x.b
        with b.loop(b.i64(0), b.i64(f.k)) as along:
            along.next = []
            at, into = x.step(source, along.index, ld), x.step(to, along.index, width)
            for part, out in zip(cols, stored or cols, strict=True):
                value = x.load(x.at(at, part.offset), part.lanes, part.used)
                x.store(value, x.at(into, part.offset), out.used)

    def _turn(self, source: Val, to: Val, rows: Sequence[Part], length: int) -> None:
        """Rows of ``length`` elements as columns ``[length, rows]``, turned in registers."""
        x, b = self.x, self.x.b
        width, used = padded(rows), sum(part.used for part in rows)
        square = min(8, *(part.lanes for part in rows))
        whole = used - used % square
        if whole:
            with b.loop(b.i64(0), b.i64(whole), square) as group:
                group.next = []
                at, into = x.step(source, group.index, length), x.step(to, group.index, 1)
                self._turn_rows(at, into, square, square, width, length)
        if used > whole:
            at, into = x.at(source, whole * length), x.at(to, whole)
            self._turn_rows(at, into, used - whole, square, width, length)

    def _turn_rows(
        self, source: Val, to: Val, used: int, square: int, width: int, length: int
    ) -> None:
        """``used`` rows as columns of a matrix of row length ``width``.

        Columns that pad it are zero: garbage could be subnormal, and slow.
        """
        x, b = self.x, self.x.b
        blank = b.const(0, vector(x.elem, square))

        def block(index: Val, terms: int) -> None:
            at, into = x.step(source, index, 1), x.step(to, index, width)
            rows = [x.load(x.at(at, j * length), square, terms) for j in range(used)]
            turned = x.transpose([*rows, *[blank] * (square - used)])
            for kk in range(terms):
                x.store(turned[kk], x.at(into, kk * width), square)

        left = length % square
        if length > left:
            with b.loop(b.i64(0), b.i64(length - left), square) as along:
                along.next = []
                block(along.index, square)
        if left:
            block(b.i64(length - left), left)
