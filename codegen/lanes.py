"""Runs of consecutive elements in vector registers: partial loads and stores, and transposes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of, scalar_of, vector
from gradc.codegen.targets import Target


class Part(NamedTuple):
    """The elements ``offset .. offset + used`` of a run, in the first lanes of one vector."""

    offset: int
    lanes: int
    used: int


def ceil_power(n: int) -> int:
    """The smallest power of two that is at least ``n`` (n >= 1)."""
    return 1 << (n - 1).bit_length()


def first_lanes(used: int, lanes: int) -> Val:
    """The mask of the first ``used`` of ``lanes``."""
    bits = ", ".join(f"i1 {'true' if i < used else 'false'}" for i in range(lanes))
    return Val(f"<{bits}>", f"<{lanes} x i1>")


def narrow(mask: Val | None) -> int:
    """How many lanes a mask of :func:`first_lanes` uses, if those are a vector of their own; or 0.

    A store of just these can be read back while it is on its way to the cache: one under a mask
    must have arrived.
    """
    if mask is None or not mask.ref.startswith("<i1 true"):
        return 0
    used = mask.ref.count("true")
    return used if used & (used - 1) == 0 and used < lanes_of(mask.ty) else 0


def widened(b: Builder, value: Val, lanes: int) -> Val:
    """The lanes of a value, then ones.

    Not zeros: LLVM takes 0 / 0 for 0 where it looks for lanes that are, and then drops the select
    that would mask the NaN.
    """
    ty = vector(scalar_of(value.ty), lanes)
    used = lanes_of(value.ty)
    if used == 1:
        return b.insert(b.const(1, ty), value, 0)
    return b.shuffle(value, b.const(1, value.ty), [min(i, used) for i in range(lanes)])


def parts(n: int, lanes: int) -> list[Part]:
    """``n`` elements as full vectors and at most one narrower or partly used vector."""
    full = [Part(i, lanes, lanes) for i in range(0, n - lanes + 1, lanes)]
    rest = n % lanes
    return [*full, Part(n - rest, ceil_power(rest), rest)] if rest else full


@dataclass(frozen=True)
class Lanes:
    """Loads, stores and shuffles of one element type, in the terms of the target."""

    b: Builder
    elem: str
    itemsize: int
    target: Target

    @property
    def full(self) -> int:
        """The elements of a full register."""
        return self.target.lanes(self.itemsize)

    def at(self, ptr: Val, offset: int) -> Val:
        """The address ``offset`` elements on."""
        return ptr if offset == 0 else self.b.gep(ptr, self.elem, self.b.i64(offset))

    def step(self, ptr: Val, index: Val, stride: int) -> Val:
        """The address ``index * stride`` elements on."""
        b = self.b
        if not index.ref.startswith("%"):
            return self.at(ptr, int(index.ref) * stride)
        return b.gep(ptr, self.elem, index if stride == 1 else b.mul(index, b.i64(stride)))

    def load(self, ptr: Val, lanes: int, used: int) -> Val:
        """``lanes`` lanes of which the first ``used`` come from memory; no other byte is read.

        The unused lanes are zero.
        """
        b, ty = self.b, vector(self.elem, lanes)
        if used == lanes:
            return b.load(ptr, ty, self.itemsize)
        if self._masked:
            return b.masked_load(ptr, first_lanes(used, lanes), ty, self.itemsize)
        value = b.const(0, ty)
        for offset, width in _pieces(used):
            piece = self.load(self.at(ptr, offset), width, width)
            if width == 1:
                value = b.insert(value, piece, offset)
                continue
            wide = b.shuffle(piece, piece, [min(i, width - 1) for i in range(lanes)])
            inside = range(offset, offset + width)
            value = b.shuffle(
                value, wide, [lanes + i - offset if i in inside else i for i in range(lanes)]
            )
        return value

    def store(self, value: Val, ptr: Val, used: int) -> None:
        """Store the first ``used`` lanes; no other byte is written."""
        b, lanes = self.b, lanes_of(value.ty)
        if used == lanes:
            b.store(value, ptr, self.itemsize)
        elif self._masked:
            b.masked_store(value, ptr, first_lanes(used, lanes), self.itemsize)
        else:
            for offset, width in _pieces(used):
                piece = (
                    b.extract(value, offset)
                    if width == 1
                    else b.shuffle(value, value, range(offset, offset + width))
                )
                b.store(piece, self.at(ptr, offset), self.itemsize)

    def transpose(self, rows: Sequence[Val]) -> list[Val]:
        """The columns of a square block given by its rows, in log2(n) rounds of shuffles."""
        rows, n = list(rows), len(rows)
        half = 1
        while half < n:
            low = [i if not i & half else n + (i ^ half) for i in range(n)]
            high = [(i | half) if not i & half else n + i for i in range(n)]
            paired = list(rows)
            for i in range(n):
                if not i & half:
                    x, y = rows[i], rows[i | half]
                    paired[i] = self.b.shuffle(x, y, low)
                    paired[i | half] = self.b.shuffle(x, y, high)
            rows = paired
            half *= 2
        return rows

    def interleave(self, rows: Sequence[Val]) -> list[Val]:
        """Lane 0 of every row, then lane 1 of every row, and so on, in as many vectors.

        The number of rows is a power of two, the last of them may be poison; each round is a
        perfect shuffle of the halves.
        """
        b, n, rows = self.b, lanes_of(rows[0].ty), list(rows)
        low, high = ([i // 2 + i % 2 * n + at for i in range(n)] for at in (0, n // 2))
        half = len(rows) // 2
        for _ in range(half.bit_length()):
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [
                p if p.ref == "poison" else b.shuffle(p, q, mask)
                for p, q in pairs
                for mask in (low, high)
            ]
        return rows

    def reduce(self, values: Sequence[Val], lanes: int) -> Val:
        """The sums over lanes of ``values``, one in each lane of the result.

        ``lanes`` is a power of two, at least ``len(values)`` and at most the lanes of each; each
        round adds two interleaved halves, so the order of addition is a tree.
        """
        b, n = self.b, lanes_of(values[0].ty)
        rows = [*values, *[values[-1]] * (lanes - len(values))]
        width = 1
        while len(rows) > 1:
            even = [
                n * (i // width % 2) + i // (2 * width) * 2 * width + i % width for i in range(n)
            ]
            odd = [i + width for i in even]
            sums: dict[tuple[Val, Val], Val] = {}
            for pair in zip(rows[::2], rows[1::2], strict=True):
                if pair not in sums:
                    sums[pair] = self.add(b.shuffle(*pair, even), b.shuffle(*pair, odd))
            rows = [sums[pair] for pair in zip(rows[::2], rows[1::2], strict=True)]
            width *= 2
        (total,) = rows
        while n > lanes:
            n //= 2
            low = b.shuffle(total, total, range(n)) if n > 1 else b.extract(total, 0)
            high = b.shuffle(total, total, range(n, 2 * n)) if n > 1 else b.extract(total, 1)
            total = self.add(low, high)
        return total

    def add(self, x: Val, y: Val) -> Val:
        """x + y, whichever the type."""
        return self.b.binary("fadd" if _is_float(x) else "add", x, y)

    def madd(self, x: Val, y: Val, z: Val | None) -> Val:
        """x·y + z, rounded once where the target can; x·y without z."""
        b = self.b
        if not _is_float(x):
            product = b.mul(x, y)
            return product if z is None else b.add(product, z)
        if z is None:
            return b.fmul(x, y)
        return b.madd(x, y, z)

    @property
    def _masked(self) -> bool:
        """Whether a masked access is one instruction."""
        return self.target.width == 64 or (self.target.width == 32 and self.itemsize >= 4)


def _is_float(x: Val) -> bool:
    return scalar_of(x.ty) in ("double", "float")


def _pieces(used: int) -> list[tuple[int, int]]:
    """``used`` elements as (offset, power of two), largest first."""
    out, offset = [], 0
    for bit in reversed(range(used.bit_length())):
        if used >> bit & 1:
            out.append((offset, 1 << bit))
            offset += 1 << bit
    return out
