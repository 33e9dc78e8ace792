"""Scheduling of a region: scalars are steps of their own, and readers run before who overwrites."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from gradc.codegen.access import Access, is_view
from gradc.codegen.blocks import reorder
from gradc.codegen.prepare import ASSEMBLED, OPAQUE, REGIONS, in_memory_as, is_alias, is_row
from gradc.codegen.schedule import Scheduler, Step, domain_of
from gradc.ir.graph import Graph, Node


def is_straight(graph: Graph, node: Node) -> bool:
    """Whether a node is scalar code: arithmetic, or a read or write at scalar indices."""
    name = node.op.name
    if name in ("scatter_set", "scatter_add"):
        return all(graph.nodes[i].type.rank == 0 for i in node.operands[1:])
    if name in ("assigned", "fitting", "extent"):
        return True
    if node.op.family in ("source", "control") or name in OPAQUE or name in ASSEMBLED:
        return False
    if is_view(graph, node) or is_alias(graph, node):
        return False
    if name == "gather" and any(graph.nodes[i].type.rank for i in node.operands[1:]):
        return False
    return is_row(graph, node) or domain_of(graph, node) == ()


class RegionScheduler(Scheduler):
    """The steps of a region. ``registers`` are the values that are in registers."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.registers: set[int] = set()
        self.rows: set[int] = set()  # parts of arrays in one piece, seen where they lie
        for node in graph.nodes:
            if node.op.name == "const" or node.type.items:
                continue
            given = node.op.name in ("input", "item") and not in_memory_as(node.type)
            straight = is_straight(graph, node)
            if given or (straight and node.type.rank == 0):
                self.registers.add(node.id)
            elif straight and node.op.name == "gather":
                self.rows.add(node.id)

    def _ordered(self) -> Iterable[Node]:
        """Scalars that follow from what the region is given come first.

        A nest that reads one runs after it: such a nest could not begin before, nor follow a
        product on its tiles where another nest of the same loops did.
        """
        graph, early = self.graph, set[int]()
        for node in graph.nodes:
            if node.op.name in ("input", "const") or (
                node.op.family == "elementwise"
                and node.id in self.registers
                and early.issuperset(node.operands)
            ):
                early.add(node.id)
        return sorted(graph.nodes, key=lambda node: node.id not in early)

    def _alone(self, node: Node) -> bool:
        return super()._alone(node) or is_straight(self.graph, node)

    def memory_operands(self, node: Node) -> list[int]:
        """The values a node reads; of a row also the array that it is part of."""
        found = super().memory_operands(node)
        for id_ in found:  # grows
            if id_ in self.rows:
                found.append(self.root(self.graph.nodes[id_].operands[0]))
        return found

    def in_register(self, read: Access) -> bool:
        """Whether a read is of a value in a register."""
        return read.source in self.registers and not read.guards


def spilled(scheduler: RegionScheduler) -> set[int]:
    """The values in registers that are read from memory too."""
    graph, out = scheduler.graph, set()
    for step in scheduler.steps:
        for node in step.nodes:
            if node.op.name in REGIONS:
                continue
            for source in scheduler.memory_operands(node):
                if source in scheduler.registers and not is_straight(graph, node):
                    out.add(source)
            if is_straight(graph, node):
                reads = scalar_reads(scheduler, node)
                out |= {r.source for r in reads if r.guards} & scheduler.registers
    return out


def scalar_reads(scheduler: Scheduler, node: Node) -> Sequence[Access]:
    """What scalar code reads besides an array: operands of arithmetic, updates, indices."""
    if node.op.name in ("scatter_set", "scatter_add"):
        return scheduler.pieces(node)[1:]
    return scheduler.accesses(node)


def overwriting_last(
    scheduler: Scheduler, pairs: Iterable[tuple[int, int]], mine: Iterable[int]
) -> None:
    """Reorder the steps so that as many updates as can be come after what reads the old value.

    ``pairs`` are of an updated value and the old one; ``mine`` are inputs that may be overwritten.
    """
    steps, home = scheduler.steps, scheduler.home
    before: list[set[int]] = [set() for _ in steps]
    after: list[set[int]] = [set() for _ in steps]
    readers: dict[int, set[int]] = {}
    effect = None
    for index, step in enumerate(steps):
        for node in step.nodes:
            for source in scheduler.memory_operands(node):
                readers.setdefault(source, set()).add(index)
                if home.get(source, index) != index:
                    before[index].add(home[source])
            if node.effective:
                before[index] |= {effect} - {None, index}  # type: ignore[arg-type]
                effect = index
    for index, those in enumerate(before):
        for k in those:
            after[k].add(index)
    straight = True  # the present order still serves
    for new, old in pairs:
        old = scheduler.root(old)
        if new not in home or (old not in home and old not in mine):
            continue
        at = home[new]
        first = readers.get(old, set())
        # A product may come to run with the group that first reads it: its epilogue.
        products = {p for k in first for p in _product(steps[k]) & readers.keys()}
        first = first | {min(readers[p]) for p in products}
        first -= {at}
        if not (straight and all(k < at for k in first)):
            if first & _reachable(at, after):
                continue
            straight = False
        for k in first:
            after[k].add(at)
            before[at].add(k)
    if not straight:
        reorder(scheduler, _sorted(before, after))


def _product(step: Step) -> set[int]:
    """The product that a step is, if it is one."""
    return {node.id for node in step.nodes if node.op.name == "matmul"}


def _reachable(start: int, after: Sequence[set[int]]) -> set[int]:
    seen, work = {start}, [start]
    while work:
        for k in after[work.pop()]:
            if k not in seen:
                seen.add(k)
                work.append(k)
    return seen


def _sorted(before: Sequence[set[int]], after: Sequence[set[int]]) -> list[int]:
    """A topological order, as near to the present one as can be."""
    left = [len(those) for those in before]
    ready = [k for k, count in enumerate(left) if not count]
    out = []
    while ready:
        k = heapq.heappop(ready)
        out.append(k)
        for n in after[k]:
            left[n] -= 1
            if not left[n]:
                heapq.heappush(ready, n)
    return out
