"""The stages of steps that run in blocks of rows: each as it is for one block.

A buffer that holds all rows is seen through a *window*, which moves on from block to block; what
is handed from step to step within a block lies in memory that each thread has of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradc.codegen import inplace, matmul
from gradc.codegen.access import Access
from gradc.codegen.arrange import arrange
from gradc.codegen.blocks import Blocks
from gradc.codegen.buffers import Request, with_buffers
from gradc.codegen.chunks import Scratch, combine
from gradc.codegen.collapse import collapse
from gradc.codegen.epilogue import ROWS, on_tiles
from gradc.codegen.loops import Contract, Nest, Phase, RowBlocks, Stage, Sum, Window
from gradc.codegen.lower import NestBuilder
from gradc.codegen.schedule import Group, Single, Step
from gradc.codegen.statements import Accumulate, Affine, Buffer, Load, Statement, Store
from gradc.codegen.targets import Target
from gradc.ir.graph import Graph, Node


@dataclass
class BlockLowering:
    """Lowers the steps of ``blocks``; ``private`` values are read in no other step."""

    graph: Graph
    target: Target
    blocks: Blocks
    reads: Callable[[Node], Sequence[Access]]
    stored: set[int]
    private: set[int]
    users: dict[int, set[int]]
    home: dict[int, int]
    whole: Callable[[int], Buffer]
    scratch: Scratch
    number: Callable[[Node], int]
    windows: dict[tuple[str, int, int], Window] = field(default_factory=dict)
    wanted: list[tuple[Buffer, Request]] = field(default_factory=list)
    own: dict[int, Buffer] = field(default_factory=dict)
    sums: list[Sum] = field(default_factory=list)
    after: list[Stage] = field(default_factory=list)
    over: dict[str, str] = field(default_factory=dict)  # results -> operands that they overwrite

    def stages(self, steps: Sequence[Step]) -> list[Stage]:
        """The blocks, and what combines the sums of their chunks."""
        made: dict[int, Sequence[Nest | Contract]] = {}
        for index, step in enumerate(steps, self.blocks.first):
            self.index = index
            made[index] = self._product(step) if isinstance(step, Single) else self._nests(step)
        offsets, nbytes, self.over = inplace.place(self.wanted, made, self.target)
        place = {b.name: replace(b, offset=offsets[b.name]) for b, _ in self.wanted}
        space = self.scratch(np.dtype(np.uint8), max(nbytes, 1))
        b = self.blocks
        stage = RowBlocks(
            b.chunks, b.per_chunk, b.size, tuple(s for some in made.values() for s in some),
            tuple(self.windows.values()), tuple(self.sums), space, nbytes,
        )
        return [with_buffers(stage, lambda b: place.get(b.name, b)), *self.after]

    # -- memory -------------------------------------------------------------------------------

    def _mine(self, name: str, dtype: np.dtype[Any], size: int, first: int, last: int) -> Buffer:
        buffer = Buffer(name, "private", dtype, size)
        self.wanted.append((buffer, Request(buffer.nbytes, first, last)))
        return buffer

    def _scratch(self, dtype: np.dtype[Any], size: int) -> Buffer:
        name = f"own{len(self.wanted)}"
        return self._mine(name, dtype, size, self.index, self.index)

    def _memory(self, id_: int) -> Buffer:
        """Where a value lies: in memory of the block's own, a part of a sum, or among all rows."""
        node = self.graph.nodes[id_]
        if id_ in self.blocks.sums:
            return self._part(node)
        if id_ not in self.private:
            return self.whole(id_)
        if id_ not in self.own:
            size = math.prod(self.blocks.local(node.type.shape))
            last = max(self.users.get(id_, {self.home[id_]}))
            self.own[id_] = self._mine(
                f"buf{id_}", node.type.dtype, size, self.home[id_], max(last, self.home[id_])
            )
        return self.own[id_]

    def _total(self, node: Node) -> tuple[Buffer, int]:
        """Where a chunk adds up a sum, and the elements of that."""
        b, out = self.blocks, self.whole(node.id)
        rank = len(b.extents)
        reduced = frozenset(node.attrs.get("axes", (rank - 1,)))
        if rank > 1 and 0 not in reduced:  # a sum for each matrix of the batch
            size = out.size // b.batch
            return self._window(out, size, 0), size
        if b.chunks == 1:
            return out, out.size
        parts = self.scratch(out.dtype, b.chunks * out.size)
        kind = node.op.name if node.op.name != "matmul" else "sum"
        self.after.append(combine(parts, b.chunks, Accumulate(out, Affine(0, ()), kind, 0)))
        return self._moved(parts, out.size, 0), out.size

    def _part(self, node: Node) -> Buffer:
        """What a block adds to a sum, of its own."""
        if node.id not in self.own:
            total, size = self._total(node)
            name = f"part{node.id}"
            part = self._mine(name, node.type.dtype, size, self.index, self.blocks.last)
            self.own[node.id] = part
            self.sums.append(Sum(node.op.name, total, size, part))
        return self.own[node.id]

    def _window(self, buffer: Buffer, batch: int, row: int) -> Buffer:
        """A buffer as a block sees it, given the strides of the batch and of rows."""
        if buffer.kind in ("private", "register", "window"):
            return buffer
        return self._moved(buffer, *self.blocks.strides(batch, row))

    def _moved(self, buffer: Buffer, chunk: int, block: int) -> Buffer:
        if not chunk and not block:
            return buffer
        key = (buffer.name, chunk, block)
        if key not in self.windows:
            view = replace(buffer, name=f"{buffer.name}/{chunk}/{block}", kind="window", data=b"")
            self.windows[key] = Window(view, buffer, chunk, block)
        return self.windows[key].view

    # -- stages -------------------------------------------------------------------------------

    def _at_home(self) -> set[int]:
        """Values that the step stores, rather than copies of them."""
        return {id_ for id_ in self.stored if self.home.get(id_) == self.index}

    def _local(self, group: Group) -> Group:
        return Group(self.blocks.local(group.domain), group.splits, group.members)

    def _nests(self, group: Group) -> list[Nest]:
        if not group.members:
            return []
        build = NestBuilder(
            self.graph, self._local(group), self.reads, self._at_home(), self._memory,
            self._scratch, self.number,
        )
        nest = build.nest()
        rank = len(self.blocks.extents)

        def strides(affine: Affine) -> tuple[int, int]:
            batch = affine.coefficients[rank - 2] if rank > 1 else 0
            return batch, affine.coefficients[rank - 1]

        nest = collapse(self._seen(nest, strides))
        return [*arrange(nest, self.target, self._scratch)] if nest.writes else []

    def _seen(self, nest: Nest, strides: Callable[[Affine], tuple[int, int]]) -> Nest:
        """A nest that sees whole buffers through windows."""

        def moved(s: Statement) -> Statement:
            if isinstance(s, (Load, Store)):
                return replace(s, buffer=self._window(s.buffer, *strides(s.index)))
            if isinstance(s, Accumulate):
                view = self._window(s.buffer, *strides(s.index))
                if view.kind == "window":  # of which a block sets its own rows to begin with
                    rows = self.blocks.rows * self.blocks.batch
                    view = replace(view, size=view.size // rows * self.blocks.size)
                return replace(s, buffer=view)
            return s

        phases = tuple(
            Phase(tuple(map(moved, p.row)), tuple(map(moved, p.body))) for p in nest.phases
        )
        return replace(nest, phases=phases)

    def _product(self, step: Single) -> list[Contract]:
        node, size = step.node, self.blocks.size
        spec = matmul.product(self.graph, node)
        summed = node.id in self.blocks.sums
        m, k = (spec.m, size) if summed else (size, spec.k)
        local = matmul.Gemm(spec.dtype, m, spec.n, k, spec.ta, spec.tb)
        nbytes = matmul.scratch_bytes(local, self.target)
        space = self._scratch(np.dtype(np.uint8), nbytes) if nbytes else None
        first, second = (self._memory(i) for i in node.operands)
        a = self._window(first, spec.stride_a, spec.m if summed else spec.k)
        b = self._window(second, spec.stride_b, spec.n if summed else 0)
        if summed:
            total, count = self._total(node)
            self.sums.append(Sum("sum", total, count, None))
            return [Contract(local, a, b, total, space, "kernel", onto=True)]

        def row(buffer: Buffer) -> Buffer:
            return self._window(buffer, spec.stride_c, spec.n)

        if step.epilogue is None:
            return [Contract(local, a, b, row(self._memory(node.id)), space, "kernel")]

        def memory(id_: int) -> Buffer:
            return tile if id_ == node.id else self._memory(id_)

        tile = Buffer(f"tile{node.id}", "register", node.type.dtype, node.type.size)
        build = NestBuilder(
            self.graph, self._local(step.epilogue), self.reads, self._at_home(), memory,
            self._scratch, self.number, ROWS,
        )
        held = self._memory(node.id) if node.id in self.stored else None
        value, nest, out = on_tiles(build.nest(), node, tile, held)
        nest = self._seen(nest, lambda affine: (affine.coefficients[0], affine.coefficients[1]))
        out = out and row(out)
        return [Contract(local, a, b, out, space, "kernel", value, nest)]
