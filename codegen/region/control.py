"""What loops and branches have in common: regions with memory in that of the program around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.codegen.buffers import with_buffers
from gradc.codegen.loops import Stage
from gradc.codegen.prepare import in_memory_as
from gradc.codegen.program import Lowering
from gradc.codegen.region.lowering import RegionLowering
from gradc.codegen.region.stages import Given
from gradc.codegen.statements import Buffer
from gradc.ir.graph import Graph, Node
from gradc.ir.types import TensorType


class Control:
    """A node with regions on its way to its stage."""

    def __init__(self, outer: Lowering, node: Node, index: int) -> None:
        self.outer = outer
        self.node = node
        self.index = index
        self.graph = outer.graph
        self.items = outer.items(node)
        self.prefix = f"{outer.prefix}r{node.id}."
        self.alias: dict[str, Buffer] = {}

    def type(self, id_: int) -> TensorType:
        """The type of a value of the graph around."""
        return self.graph.nodes[id_].type

    def result(self, k: int) -> Buffer:
        """The memory of an array result."""
        return self.outer.memory(self.items[k])

    def slot(self, name: str, type_: TensorType) -> Buffer | None:
        """Memory whose address is known when it runs; None for a scalar."""
        if not in_memory_as(type_):
            return None
        return Buffer(f"{self.prefix}{name}", "slot", type_.dtype, type_.size)

    def captured(self, id_: int) -> Buffer | None:
        """The memory of an operand; None for a scalar."""
        return self.outer.memory(id_) if in_memory_as(self.type(id_)) else None

    def given(self, region: Graph, operands: Sequence[int], first: int) -> tuple[Given, ...]:
        """The scalars among operands that are inputs of a region from the first on."""
        pairs = zip(region.inputs[first:], operands, strict=True)
        return tuple(
            Given(i, self.outer.scalar(operand)) for i, operand in pairs
            if not in_memory_as(self.type(operand))
        )

    def place(self, regions: Sequence[RegionLowering], *, apart: bool) -> list[list[Stage]]:
        """The stages of regions, with their memory; that of alternatives is the same."""
        placed = [region.placed_stages() for region in regions]
        if not apart:
            nbytes = max(region.arena for region in regions)
            shared = self.scratch(nbytes) if nbytes else None
        for region, (_, buffers) in zip(regions, placed, strict=True):
            space = self.scratch(region.arena) if apart else shared
            for buffer in buffers:
                self.outer.nested[buffer.name] = (buffer, space or buffer)
        return [
            [with_buffers(stage, self.known) for stage in made] for made, _ in placed
        ]

    def known(self, buffer: Buffer) -> Buffer:
        """The buffer that a name stands for."""
        return self.alias.get(buffer.name, buffer)

    def scratch(self, nbytes: int) -> Buffer:
        """Memory for the duration of the node."""
        return self.outer.scratch(self.index, np.dtype(np.uint8), max(nbytes, 1))


def may_take(body: RegionLowering, old: int, new: int) -> bool:
    """Whether a new value may be computed where an input is: nothing reads that any more then."""
    root = body.owner(body.scheduler.root(new))
    family = [i for i in (*body.owners, root) if body.owner(i) == root]
    first = min(body.born(i) for i in family)
    readers = [i for i in (*body.owners, old) if body.owner(i) == old]
    last = max((max(body.users.get(i, {-1})) for i in readers), default=-1)
    if last != first:
        return last < first
    return body.overwriting(first).may(body.memory(new), body.memory(old))
