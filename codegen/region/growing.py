"""Emission of the tapes that a loop writes: taken at once, or grown while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gradc.codegen.llvm import Val
from gradc.codegen.region import tape
from gradc.codegen.region.stages import Loop, Row

if TYPE_CHECKING:
    from gradc.codegen.emit import Function

#: bytes of the rows that a loop with a test has room for at first
FIRST = 1024
#: bytes beyond which no tape is asked for
MOST = 1 << 46


class GrowingTapes:
    """The tapes of a loop. Those of a counted loop are taken when it begins.

    Those of a loop with a test have the same number of rows, which doubles when it is reached.
    """

    def __init__(
        self, function: Function, state: Val | None, loop: Loop, rows: Sequence[Row], trips: Val
    ) -> None:
        self.function = function
        self.b = function.b
        self.rows = rows
        self.number = loop.number
        self.grows = loop.test is not None and bool(rows)
        self.bases: list[Val] = []
        self.room = trips
        if not rows:
            return
        assert state is not None
        self.state = state
        if self.grows:
            self.room = self.b.i64(max(4, FIRST // max(1, *(row.nbytes for row in rows))))
        for row in rows:
            nbytes = self._nbytes(row, self.room)
            self.bases.append(self._made(tape.take(self.b, state, nbytes), nbytes))

    def _nbytes(self, row: Row, count: Val) -> Val:
        b = self.b
        above = b.icmp("ugt", count, b.i64(MOST // max(1, row.nbytes)))
        self._stop(above, b.i64(MOST))
        return b.mul(count, b.i64(row.nbytes))

    def _made(self, base: Val, nbytes: Val) -> Val:
        self._stop(self.b.icmp("eq", base, Val("null", "ptr")), nbytes)
        return base

    def _stop(self, failed: Val, nbytes: Val) -> None:
        """Leave with the size that there is no memory for."""
        b = self.b
        stop, on = b.label("fail"), b.label("ok")
        b.cond_br(failed, stop, on)
        b.place(stop)
        mebibytes = b.binary("lshr", nbytes, b.i64(20))
        size = b.binary("shl", mebibytes, b.i64(tape.SIZE))
        b.ret(b.or_(size, b.i64(tape.NO_MEMORY | self.number << 8)))
        b.place(on)

    def made(self) -> dict[Row, Val]:
        """Where the tapes begin of a loop that does not grow them."""
        return dict(zip(self.rows, self.bases, strict=True))

    def starts(self) -> list[Val]:
        """What is carried around the loop, from the start."""
        return [self.room, *self.bases] if self.grows else []

    def enter(self, phis: Iterator[Val]) -> None:
        """What is carried is known as these in an iteration."""
        if self.grows:
            self.room, *self.bases = phis
            self.last = self.bases

    def make_room(self, index: Val) -> dict[Row, Val]:
        """Where the tapes begin that have room for row ``index``."""
        if self.grows:
            b = self.b
            before, room, bases = b.block, self.room, self.bases
            more, on = b.label("grow"), b.label("grown")
            b.cond_br(b.icmp("eq", index, room), more, on)
            b.place(more)
            doubled = b.add(room, room)
            found = []
            for row, base in zip(self.rows, bases, strict=True):
                nbytes = self._nbytes(row, doubled)
                old = b.mul(room, b.i64(row.nbytes))
                found.append(self._made(tape.grow(b, self.state, base, old, nbytes), nbytes))
            after = b.block
            b.br(on)
            b.place(on)
            pairs = [(room, doubled), *zip(bases, found, strict=True)]
            self.room, *self.bases = [
                b.op(a.ty, f"phi {a.ty} [ {a.ref}, %{before} ], [ {c.ref}, %{after} ]")
                for a, c in pairs
            ]
        return dict(zip(self.rows, self.bases, strict=True))

    def next(self) -> list[Val]:
        """What is carried into the next iteration."""
        return [self.room, *self.bases] if self.grows else []

    def finished(self, count: Val) -> list[tuple[Row, Val]]:
        """The tapes after the loop, which know how many rows they have."""
        bases = self.last if self.grows else self.bases
        for base in bases:
            tape.set_length(self.b, base, count)
        return list(zip(self.rows, bases, strict=True))
