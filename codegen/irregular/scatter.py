"""scatter_add and scatter_set: rows of ``u`` into the rows of ``x`` that k integer arrays name."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradc.codegen.irregular.memory import copy, lanes_of_type, sweep
from gradc.codegen.lanes import Lanes, Part
from gradc.codegen.llvm import Builder, Val
from gradc.ir.types import TensorType, strides_of


def emit(
    b: Builder,
    add: bool,
    types: Sequence[TensorType],
    operands: Sequence[Val],
    out: Val,
    in_place: bool,
) -> Val:
    """Emit a scatter; the operands are x, u and the indices. Returns whether one was outside.

    Updates run in the order of the indices: sums round as NumPy's, the last of several writes
    stands. Indices are tested even where there is nothing to write.
    """
    (x, _, *indices), (source, update, *index_ptrs) = types, operands
    lanes = lanes_of_type(b, x)
    if not in_place:
        copy(lanes, x.size, source, out)
    axes = len(indices)
    inner = math.prod(x.shape[axes:])
    strides = [s * inner for s in strides_of(x.shape[:axes])]
    if indices[0].size == 0:
        return b.const(False, "i1")
    with b.loop(b.i64(0), b.i64(indices[0].size), carried=[b.const(False, "i1")]) as loop:
        offset, inside = b.i64(0), b.const(True, "i1")
        for pointer, extent, stride in zip(index_ptrs, x.shape, strides, strict=False):
            at, within = position(b, b.load(b.gep(pointer, "i64", loop.index), "i64", 8), extent)
            offset = b.add(offset, b.mul(at, b.i64(stride)))
            inside = b.and_(inside, within)
        with b.if_(inside):
            target = b.gep(out, lanes.elem, offset)
            _row(lanes, add, inner, lanes.step(update, loop.index, inner), target)
        outside = b.xor(inside, b.const(True, "i1"))
        loop.next = [b.or_(loop.carried[0], outside)]
    return loop.results[0]


def position(b: Builder, index: Val, extent: int) -> tuple[Val, Val]:
    """A Python index (negative: from the end) as offset from the start, and whether it exists."""
    negative = b.icmp("slt", index, b.i64(0))
    at = b.select(negative, b.add(index, b.i64(extent)), index)
    return at, b.icmp("ult", at, b.i64(extent))


def _row(lanes: Lanes, add: bool, inner: int, source: Val, target: Val) -> None:
    """Add or copy ``inner`` contiguous elements."""
    if not add:
        copy(lanes, inner, source, target)
        return

    def body(offset: Val, pieces: list[Part], _: Sequence[Val]) -> Sequence[Val]:
        read, write = lanes.step(source, offset, 1), lanes.step(target, offset, 1)
        sums = [
            lanes.add(
                lanes.load(lanes.at(write, p.offset), p.lanes, p.used),
                lanes.load(lanes.at(read, p.offset), p.lanes, p.used),
            )
            for p in pieces
        ]
        for total, p in zip(sums, pieces, strict=True):
            lanes.store(total, lanes.at(write, p.offset), p.used)
        return ()

    sweep(lanes.b, inner, lanes.full, 4, body)
