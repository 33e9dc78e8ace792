"""Which updates are in place: they and what they update have one buffer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property

from gradc.codegen import irregular
from gradc.codegen.access import identity, resolve
from gradc.codegen.prepare import ASSEMBLED, REGIONS
from gradc.codegen.region.sources import updates
from gradc.codegen.schedule import Scheduler, Single, Step
from gradc.ir.graph import Graph, Node
from gradc.ir.ops.control import LoopParts


class Sharing:
    """The part of a lowering that lets values share buffers."""

    graph: Graph
    scheduler: Scheduler
    steps: list[Step]
    users: dict[int, set[int]]

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self.in_place: set[int] = set()

    def share(self) -> None:
        """Let updates overwrite an operand where they are its last use."""
        outputs = {self.scheduler.root(i) for i in self.graph.outputs}
        fixed, inputs = self.fixed(outputs), set(self.graph.inputs)
        for index, step in enumerate(self.steps):
            if isinstance(step, Single) and (updates := self.updates(step.node)):
                reads = self._reads(step.node)
                for result, position in updates:
                    base = self._source(step.node.operands[position])
                    if (
                        base is not None
                        and base not in outputs
                        and reads[base] == 1
                        and self.owner(base) not in fixed
                        and not (result in fixed and self.owner(base) in inputs)
                        and max(self.users[base]) == index
                        and self.born(base) < index
                    ):
                        self.in_place.add(result)
                        # They have one buffer: the result's, if its memory is given.
                        child, parent = (base, result) if result in fixed else (result, base)
                        self.owners[self.owner(child)] = self.owner(parent)

    def updates(self, node: Node) -> list[tuple[int, int]]:
        """Results that may overwrite an operand: (value, position of the operand)."""
        if node.op.name in REGIONS:
            return updates(self.graph, node, self.items(node))
        if node.op.name == "update_slice" or node.op.name in irregular.IN_PLACE:
            return [(node.id, 0)]
        return []

    def check_donated(self, output: int, input_: int) -> None:
        """Raise ValueError unless an output may lie where an input does.

        It may where it is that input, or what a loop makes of it that alone reads it.
        """
        nodes = self.graph.nodes
        found = nodes[output]
        if found.op.name == "copy" and found.operands == (input_,):
            return
        readers = self._readers.get(input_, [])
        if found.op.name == "item" and [node.id for node in readers] == [found.operands[0]]:
            (loop,) = readers
            if loop.op.name == "loop" and loop.operands.count(input_) == 1:
                carries = LoopParts(loop.operands, loop.attrs).carries
                if carries[found.attrs["index"]] == input_:
                    return
        raise ValueError(f"%{input_} is read after %{output} is written in its place")

    def items(self, node: Node) -> dict[int, int]:
        """The items of a node with several results, by index."""
        return self._items.get(node.id, {})

    @cached_property
    def _readers(self) -> Mapping[int, list[Node]]:
        out: dict[int, list[Node]] = {}
        for node in self.graph.nodes:
            for i in dict.fromkeys(node.operands):
                out.setdefault(i, []).append(node)
        return out

    @cached_property
    def _items(self) -> Mapping[int, dict[int, int]]:
        out: dict[int, dict[int, int]] = {}
        for item in self.graph.nodes:
            if item.op.name == "item":
                out.setdefault(item.operands[0], {})[item.attrs["index"]] = item.id
        return out

    def _source(self, operand: int) -> int | None:
        """What owns the memory of an operand that is all of it, and may be overwritten."""
        rank = self.graph.nodes[operand].type.rank
        access = resolve(self.graph, operand, identity(rank), rank)
        base = self.scheduler.root(access.source)
        whole = access.source == operand and not access.guards
        return base if whole and self.owned(base) else None

    def _reads(self, node: Node) -> Counter[int]:
        """What owns the memory of the operands, and of how many of them."""
        if node.op.name in ASSEMBLED:
            sources = [access.source for access in self.scheduler.pieces(node)]
        else:
            sources = list(node.operands)
        return Counter(map(self.scheduler.root, sources))

    def owned(self, id_: int) -> bool:
        """Whether the memory of a value may be overwritten."""
        return id_ in self.scheduler.home

    def born(self, id_: int) -> int:
        """The step that computes a value."""
        return self.scheduler.home[id_]

    def fixed(self, outputs: set[int]) -> set[int]:
        """Those of the outputs whose memory is given."""
        return outputs

    def owner(self, id_: int) -> int:
        """The value whose buffer a value in memory has: its own, or that of one it shares with."""
        while id_ in self.owners:
            id_ = self.owners[id_]
        return id_
