"""Which values of a region's forward part are kept for its backward part, value by value.

What the backward part reads is kept, unless it is cheap to have from what is at hand anyway: the
region's free inputs (an iteration's index, captures, slices of xs), constants, and what is kept
already. Cheap are views, arithmetic and indexed reads of free inputs; a call of a mathematical
function costs more than memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradc.ir.graph import Graph, Node
from gradc.ir.scalar import MATH
from gradc.ir.types import UNKNOWN

#: arithmetic ops that a value may cost to be had again, instead of a store and a load
AGAIN = 12
_VIEWS = frozenset(("broadcast", "reshape", "transpose", "slice"))
_COSTLY = frozenset((*MATH, "logistic_density", "floordiv", "mod", "div", "sqrt"))


def choose(
    graph: Graph,
    behind: Collection[int],
    outputs: Sequence[int],
    available: Collection[int],
    fixed: Collection[int] = (),
    sure: Collection[int] = (),
) -> list[int]:
    """The nodes to keep or take from ``available``, in order; ``sure`` ones are kept if read.

    ``behind`` are the nodes of the backward part, ``outputs`` its results. Of the available ones
    ``fixed`` are the same in every iteration: what depends on them alone is computed once.
    """
    kept = _read(graph, behind, outputs)
    free = _fixed(graph, fixed)
    for id_ in sorted(kept, reverse=True):
        if id_ not in available and id_ not in sure:
            _Choice(graph, kept, available, free).reconsider(id_)
    return sorted(kept)


def _fixed(graph: Graph, inputs: Collection[int]) -> set[int]:
    """Elementwise nodes that are the same in every iteration."""
    found = set(inputs)
    for node in graph.nodes:
        if node.op.name == "const" or (
            node.operands and (node.op.family == "elementwise" or node.op.name in _VIEWS)
            and found.issuperset(node.operands)
        ):
            found.add(node.id)
    return found


def _read(graph: Graph, behind: Collection[int], outputs: Sequence[int]) -> set[int]:
    """What the backward part reads of the forward part, constants aside."""
    read: set[int] = set()
    seen = set(outputs)
    todo = list(seen)
    while todo:
        node = graph.nodes[todo.pop()]
        if node.id not in behind:
            if node.op.name != "const":
                read.add(node.id)
            continue
        fresh = set(node.operands) - seen
        seen |= fresh
        todo.extend(fresh)
    return read


def _bytes(node: Node) -> int:
    return node.type.dtype.itemsize if UNKNOWN in node.type.shape else node.type.nbytes


class _Choice:
    def __init__(
        self, graph: Graph, kept: set[int], available: Collection[int], free: set[int]
    ) -> None:
        self.graph = graph
        self.free = free
        self.kept = kept
        self.available = available

    def reconsider(self, id_: int) -> None:
        """Have a value again where that is cheap, in place of keeping it."""
        node = self.graph.nodes[id_]
        self.kept.discard(id_)
        self.cost = 0
        self.leaves: set[int] = set()
        again = self._again(node, node.type.size if UNKNOWN not in node.type.shape else 0)
        more = {i for i in self.leaves if i not in self.available and i not in self.kept}
        spared = _bytes(node) - sum(_bytes(self.graph.nodes[i]) for i in more)
        if not again or (more and spared <= 0):
            self.kept.add(id_)
        else:
            self.kept |= self.leaves

    def _again(self, node: Node, size: int) -> bool:
        """Whether a node is cheap to have from its operands, these from theirs, as far as needed;
        ``leaves`` are what it is had from.
        """
        if not self._cheap(node) or node.type.size > max(size, 1):
            return False
        self.cost += node.op.name not in _VIEWS and node.id not in self.free
        if self.cost > AGAIN:
            return False
        for id_ in node.operands:
            operand = self.graph.nodes[id_]
            if operand.op.name == "const" or id_ in self.leaves:
                continue
            if id_ in self.available or id_ in self.kept:
                self.leaves.add(id_)
            elif not self._again(operand, size):
                if operand.type.items or UNKNOWN in operand.type.shape:
                    return False
                self.leaves.add(id_)
        return True

    def _cheap(self, node: Node) -> bool:
        if node.op.name == "gather":
            return node.operands[0] in self.available
        if node.fence or UNKNOWN in node.type.shape:
            return False
        if node.id in self.free:
            return True
        arithmetic = node.op.family == "elementwise" and node.op.name not in _COSTLY
        return arithmetic or node.op.name in _VIEWS
