"""Which kernel a matrix product gets: the form, the tile and what is packed, by shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gradc.codegen.lanes import Part, parts
from gradc.codegen.targets import Target

#: terms of a sum that go before the next ones, where a packed B is too large to read again
SLICE = 256

#: each kind of tile is code; up to so many terms, tiles of a packed B that leave no rows or
#: columns over may take that many times longer by the model, and measured are as fast
FEW_TERMS, TOLERANCE = 1 << 19, 1.05


@dataclass(frozen=True)
class Form:
    """A product as it will be emitted, ``lanes`` elements to a full vector.

    - ``outer``: tiles of ``rows`` x ``cols`` vectors of C, a sum of outer products; ``row_block``
      rows go through all panels of B before the next, and all rows through ``depth`` terms of
      the sum. Packed operands are copied to the workspace in the order in which the tiles read
      them: B a slice of ``depth`` at a time, and of that A a block of rows at a time.
    - ``registers``: as outer, with a small transposed B turned in registers.
    - ``dot``: ``rows`` x ``cols`` elements of C as dot products along k; a B that is not
      transposed is turned in the workspace.

    If ``swapped``, the operands change places: all of this describes Cᵀ = op(B)ᵀ op(A)ᵀ, whose
    tiles are turned before they are stored.
    """

    m: int
    n: int
    k: int
    ta: bool
    tb: bool
    itemsize: int
    lanes: int
    kind: Literal["outer", "registers", "dot"]
    rows: int
    cols: int
    row_block: int
    depth: int
    pack_a: bool = False
    pack_b: bool = False
    swapped: bool = False

    @property
    def packed_b_bytes(self) -> int:
        """The workspace of the packed B, whose panels are whole vectors; a multiple of 64."""
        if not self.pack_b:
            return 0
        long, short = (self.k, self.n) if self.kind == "dot" else (self.n, self.depth)
        return -(-padded(parts(long, self.lanes)) * short * self.itemsize // 64) * 64

    @property
    def along(self) -> Literal["rows", "columns"]:
        """What chunks of C are: whole rows, or whole columns if there are more tiles that way."""
        if self.kind == "dot":
            return "rows" if self.m > self.n else "columns"
        rows, columns = self.m // self.rows, self.n // (self.cols * self.lanes)
        return "rows" if rows >= min(columns, 8) or self.pack_a else "columns"

    @property
    def tiles(self) -> tuple[int, int]:
        """How many rows or columns there are along the chunks, and how many a tile has."""
        if self.along == "rows":
            return self.m, self.rows
        return self.n, self.cols * (1 if self.kind == "dot" else self.lanes)

    @property
    def packed_bytes(self) -> int:
        """The workspace of both packed operands: B, then A."""
        packed_a = self.row_block * self.depth * self.itemsize if self.pack_a else 0
        return self.packed_b_bytes + packed_a

    def panels(self) -> tuple[int, list[Part], list[Part]]:
        """The columns in whole panels of full vectors, such a panel, and the panel that is left."""
        width = self.cols * self.lanes
        whole = self.n - self.n % width
        return whole, parts(width, self.lanes), parts(self.n - whole, self.lanes)


def padded(run: Sequence[Part]) -> int:
    """The elements of a run once each of its vectors is stored in full."""
    return sum(part.lanes for part in run)


def choose(m: int, n: int, k: int, ta: bool, tb: bool, itemsize: int, target: Target) -> Form:
    """The form of a product of positive m and n, by a model of its cycles."""
    ta, tb = ta and m > 1, tb and n > 1
    as_is, cycles = _choose(m, n, k, ta, tb, itemsize, target)
    # A column is a row in memory: only the operands change places.
    if n > 1 and not (ta and 2 * n <= m):
        return as_is
    other, turned = _choose(n, m, k, not tb and n > 1, not ta and m > 1, itemsize, target)
    # Measured: turning a tile costs some two cycles for each row of C.
    if n == 1 or turned + 2 * m < cycles:
        return replace(other, swapped=True)
    return as_is


def _choose(
    m: int, n: int, k: int, ta: bool, tb: bool, itemsize: int, target: Target
) -> tuple[Form, float]:
    """The form that leaves the operands in place, and its cycles."""
    tb = tb and k > 1  # a single row is the same memory as a column
    lanes = target.lanes(itemsize)
    # Of WebAssembly's values engines keep as many in registers as the machine has: measured, 16.
    registers = 16 if target.triple.startswith(("x86", "wasm")) and target.width < 64 else 32
    vectors = -(-n // lanes)
    if tb and m * vectors * k <= 128 and k * vectors <= 16 and (m > 1 or n * k < 32):
        rows = min(m, 16 // vectors)
        return Form(m, n, k, ta, tb, itemsize, lanes, "registers", rows, vectors, m, k), 0
    # Beyond a first-level cache, packing buys alignment (a NumPy array is aligned to 16 bytes,
    # and a vector across two lines costs two loads) and spares cache sets and pages: a step of k
    # in a transposed A, or in a B that is read as it is, is a row length away from the last.
    # A is read an element at a time: measured, packing it pays later.
    pack_b = tb or (m >= 64 and k * n * itemsize > 1 << 15)
    pack_a = ta and m >= 64 and m * k * itemsize > target.l2 // 8
    tolerance = TOLERANCE if pack_b and m * n * k <= FEW_TERMS else 1.0
    rows, cols, cycles = _tile(m, vectors, k, registers, tolerance)
    # Measured: the lanes of a dot product take two cycles to sum, an element to turn a tenth of
    # a cycle for each of its bytes.
    turn = n * k * itemsize / 10
    dots = m * n * (1.15 * k / (2 * lanes) + 2) + (0 if tb else turn)
    long = k > 1 if tb else min(m, k) >= 16
    if not ta and long and dots <= cycles + (turn if tb else 0):
        rows = min(m, 4)
        cols = min(n, registers // 2 // rows)
        form = Form(m, n, k, ta, tb, itemsize, lanes, "dot", rows, cols, m, k, pack_b=not tb)
        return form, dots
    panels = -(-vectors // cols)
    # Measured: slices pay where tiles read a panel of B again and all of B takes long to come.
    depth = k
    if m > rows and k * n * itemsize > target.l2 // 4:
        depth = _slice(k, SLICE if pack_b else SLICE // 2)
    fitting = max(rows, target.l2 // 4 // (depth * itemsize or 1) // rows * rows)
    row_block = fitting if (panels > 1 or pack_a) and fitting < m else m
    sizes = (rows, cols, row_block, depth)
    form = Form(m, n, k, ta, tb, itemsize, lanes, "outer", *sizes, pack_a, pack_b)
    return form, cycles + (turn if pack_b else 0)


def _slice(k: int, most: int) -> int:
    """At most ``most`` terms, in equal slices if it can be; all of k if that is little more."""
    if 2 * k <= 3 * most:
        return k
    equal = (depth for depth in range(most, most // 2, -1) if k % depth == 0)
    return next(equal, -(-k // -(-k // most)))


def _tile(
    m: int, vectors: int, k: int, registers: int, tolerance: float
) -> tuple[int, int, float]:
    """Rows and column vectors of a tile with few cycles, and how many these are.

    Of those that take at most ``tolerance`` times the fewest, one that leaves nothing over.

    The model of a core: two multiply-adds, two loads and six instructions a cycle, four cycles
    until a sum is ready.
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
    cycles_of = {tile: total(*tile) for tile in candidates}
    enough = tolerance * min(cycles_of.values())

    def rank(tile: tuple[int, int]) -> tuple[float, ...]:
        rows, cols = tile
        loads = (rows + cols) / (rows * cols)  # from where B is, that may be a farther cache
        return vectors % cols > 0, m % rows > 0, loads, cycles_of[tile]

    best = min((tile for tile in candidates if cycles_of[tile] <= enough), key=rank)
    return *best, cycles_of[best]
