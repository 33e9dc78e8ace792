"""Emission of what runs in blocks of rows: one chunk, its blocks one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gradc.codegen.accumulate import each
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.loops import RowBlocks, Stage, Sum, Window
from gradc.codegen.scalars import memory_type
from gradc.codegen.statements import Buffer
from gradc.codegen.sums import combine, reduction_identity
from gradc.codegen.targets import Target


class Function(Protocol):
    """The function of a chunk: its pointers to buffers by name, and how it emits a stage."""

    b: Builder
    chunk: Val
    pointers: dict[str, Val]

    def pointer(self, buffer: Buffer) -> Val:
        """The address of a buffer."""

    def stage(self, number: int, stage: Stage) -> None:
        """Emit a stage."""


def emit_blocks(function: Function, stage: RowBlocks) -> None:
    """Emit the blocks of a chunk, and the sums over them."""
    b = function.b
    _look(function, [w for w in stage.windows if not w.block], None)
    for total in stage.sums:
        _take(function, total, None)
    with b.loop(b.i64(0), b.i64(stage.blocks)) as loop:
        loop.next = []
        _look(function, [w for w in stage.windows if w.block], loop.index)
        for number, part in enumerate(stage.stages):
            function.stage(number, part)
        for total in stage.sums:
            if total.part is not None:
                _take(function, total, function.pointer(total.part))


def _look(function: Function, windows: Sequence[Window], block: Val | None) -> None:
    """Set the pointers of windows, for the chunk or for a block."""
    b = function.b
    for w in windows:
        whole, at = function.pointer(w.of), b.mul(function.chunk, b.i64(w.chunk))
        if block is not None:
            at = b.add(at, b.mul(block, b.i64(w.block)))
        function.pointers[w.view.name] = b.gep(whole, memory_type(w.of.dtype), at)


def _take(function: Function, total: Sum, part: Val | None) -> None:
    """Take the part of a block into a total; without one, set it to what sums start from."""
    b, dtype, kind = function.b, total.total.dtype, total.kind
    target = b.module.target
    assert isinstance(target, Target)
    element, size = memory_type(dtype), dtype.itemsize
    to, start = function.pointer(total.total), reduction_identity(kind, dtype)

    def put(index: Val, lanes: int) -> None:
        ty = vector(element, lanes)
        at = b.gep(to, element, index)
        value = b.const(start, ty)
        if part is not None:
            value = b.load(b.gep(part, element, index), ty, size)
            value = combine(b, kind, dtype, b.load(at, ty, size), value)
        b.store(value, at, size)

    each(b, target, total.size, size, put)
