"""Scheduling: the nodes of a graph are gathered into fused groups, in an order that can run.

A group has a *domain*, the extents of its loops, split in rows and inner loops. A node joins the
latest group that one of its operands is in, when everything it needs from there is at hand in
registers: at the same point of the domain, or as the finished reduction of the row. Otherwise it
tries the later groups of the same domain, and last it opens a group of its own. Groups run in the
order in which they were opened, so no cycle can arise.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from gradc.codegen.access import Access, identity, is_view, resolve
from gradc.codegen.prepare import ASSEMBLED, OPAQUE, is_alias
from gradc.codegen.statements import MATH_COST, Affine, cost
from gradc.ir.graph import Graph, Node
from gradc.ir.types import Shape

REDUCTIONS = frozenset("sum prod max min any all".split())
#: values of a group: more and registers spill, and compile time grows
LARGEST = 160
#: a row of fewer elements does not pay for a call of vector math for it alone
SHORT_ROW = 64
#: so many rows share one
BLOCK = 8


class Reason(Enum):
    """Why a node does not join a step."""

    OPAQUE = "that stage is an op on whole arrays, which nothing runs inside"
    WHOLE = "it takes or gives whole arrays in memory, by itself"
    MEMORY = "it reads a value of that stage by index or in another shape, from memory"
    SIZE = "size limit: that stage has as many values as registers and compile time allow"
    LOOPS = "it has other loops, and is no part of that stage's rows"
    POINT = "it reads a value of that stage at another point of the loops"
    ROWS = "rows against rows: one axis of that stage would stand for two"
    INNER = "it would run inside the rows of that stage, along their inner loops"
    UNFINISHED = "it reads a value that is only finished when that stage is done"
    REDUCTION = "it reduces along loops that the rows of that stage cannot be arranged for"
    TILES = "it does more than cheap arithmetic and column sums at the points of that product"
    BLAS = "BLAS runs nothing on the tiles of a product"
    MATH = "vector math would be called in a few short rows, one element at a time"


class Refusal(NamedTuple):
    """Why a node did not join a step, and the value that it would have read there, if one."""

    reason: Reason
    value: int | None = None


class Origin(NamedTuple):
    """How a step came to be: the node it was made for, and steps that refused that node.

    The first refusal is that of the earliest step it could have joined, the last that of the step
    before.
    """

    node: int
    refused: tuple[tuple[int, Refusal], ...]


class Copied(NamedTuple):
    """What a group pays for all that it computes again, and what to load it would have cost.

    In flops for each element: ``computed`` with the loads and stores of what it is computed of,
    ``kept`` with the group's share of the stores.
    """

    computed: float
    kept: float

    def __str__(self) -> str:
        return f"{self.computed:.3g} flops an element against {self.kept:.3g}"


@dataclass
class Member:
    """A node in a group. ``axes[d]`` is the domain's axis that its own axis d runs along."""

    node: Node
    axes: tuple[int | None, ...]
    row: bool
    reduced: frozenset[int] | None = None  # of a reduction: the domain's axes summed over
    copied: Copied | None = None  # where an earlier group computes it as well


@dataclass
class Group:
    """Nodes that run in one nest."""

    domain: Shape
    splits: set[int]
    members: dict[int, Member] = field(default_factory=dict)

    @property
    def split(self) -> int:
        """How many leading axes are rows: the fewest that the reductions allow."""
        return min(self.splits)

    @property
    def nodes(self) -> list[Node]:
        """The nodes of its members."""
        return [m.node for m in self.members.values()]


@dataclass
class Single:
    """A node that runs by itself; a product may have an epilogue, which runs on its tiles."""

    node: Node
    epilogue: Group | None = None

    @property
    def nodes(self) -> list[Node]:
        """The node, and those of its epilogue."""
        return [self.node, *(self.epilogue.nodes if self.epilogue else ())]


Step = Group | Single


class Scheduler:
    """Builds the steps of a graph and answers where each value comes from."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []
        self.home: dict[int, int] = {}  # node -> step
        self.origins: list[Origin] = []  # of the steps
        self._reads: dict[int, list[Access]] = {}
        #: by domain, the groups that have room for more, in order
        self._room: dict[Shape, list[int]] = {}

    def run(self) -> list[Step]:
        """The steps of the graph, in an order that can run."""
        for node in self._ordered():
            name = node.op.name
            if name in ("input", "const") or is_view(self.graph, node):
                continue
            if is_alias(self.graph, node):
                continue
            if name == "item":
                self.home[node.id] = self.home[node.operands[0]]
            elif self._alone(node):
                last = len(self.steps) - 1
                alone = ((last, Refusal(Reason.WHOLE)),) if self.steps else ()
                self._place(Single(node), Origin(node.id, alone))
            else:
                self._join(node)
        return self.steps

    def _ordered(self) -> Iterable[Node]:
        """The nodes in an order in which they can run."""
        return self.graph.nodes

    def _alone(self, node: Node) -> bool:
        """Whether a node is a step of its own."""
        return node.op.name in OPAQUE or node.op.name in ASSEMBLED

    def root(self, id_: int) -> int:
        """The node that owns the memory an alias shows, or the operand of a product."""
        while is_alias(self.graph, node := self.graph.nodes[id_]) or node.op.name == "broadcast":
            id_ = node.operands[0]
        return id_

    def accesses(self, node: Node) -> list[Access]:
        """What a node reads at each point of its own domain; for a gather, its indices."""
        if node.id not in self._reads:
            self._reads[node.id] = _reads(self.graph, node)
        return self._reads[node.id]

    def memory_operands(self, node: Node) -> list[int]:
        """The values a node reads, from registers or memory, as owners of the memory."""
        if node.op.name in OPAQUE:
            return [self.root(i) for i in node.operands]
        if node.op.name in ASSEMBLED:
            return [self.root(a.source) for a in self.pieces(node)]
        found = [self.root(a.source) for a in self.accesses(node)]
        return [*found, self.root(node.operands[0])] if node.op.name == "gather" else found

    def pieces(self, node: Node) -> list[Access]:
        """What is put together by a concat, update_slice or embed, each read in its own axes."""
        out = []
        for i in node.operands:
            rank = self.graph.nodes[i].type.rank
            out.append(resolve(self.graph, i, identity(rank), rank))
        return out

    def _ready(self, id_: int) -> int:
        """The first step that can read a value from memory."""
        return self.home[id_] + 1 if id_ in self.home else 0

    def _place(self, step: Step, origin: Origin) -> None:
        self.steps.append(step)
        self.origins.append(origin)
        self.home[origin.node] = len(self.steps) - 1

    def _join(self, node: Node) -> None:
        domain = domain_of(self.graph, node)
        reads = self.accesses(node)
        earliest = 0
        latest = -1
        for read in reads:
            source = self.root(read.source)
            if source in self.home:
                latest = max(latest, self.home[source])
                if source != read.source:  # an alias is read from memory
                    earliest = max(earliest, self.home[source] + 1)
        if node.op.name == "gather":
            source = self.root(node.operands[0])
            earliest = max(earliest, self._ready(source))
        start = max(latest, earliest, 0)
        room = self._room.setdefault(domain, [])
        # Past what it reads, a node can only join a group of its own domain that is not full.
        after = room[bisect.bisect_right(room, start) :]
        reachable = range(start, len(self.steps))
        for index in (*reachable[:1], *after):
            found = self._fits(index, node, domain, reads)
            if isinstance(found, Member):
                self._add(found, index)
                return
        refused = []
        if earliest > max(latest, 0):
            refused.append((earliest - 1, Refusal(Reason.MEMORY)))
        for index in dict.fromkeys((*reachable[:1], *reachable[-1:])):
            found = self._fits(index, node, domain, reads)
            assert isinstance(found, Refusal)
            refused.append((index, found))
        reduced = _reduced(node)
        group = Group(domain, _splits(len(domain), reduced))
        self._place(group, Origin(node.id, tuple(refused)))
        room.append(len(self.steps) - 1)
        self._add(Member(node, tuple(range(len(domain))), False, reduced), room[-1])

    def _add(self, member: Member, index: int) -> None:
        group = self.steps[index]
        assert isinstance(group, Group)
        group.members[member.node.id] = member
        self.home[member.node.id] = index
        if len(group.members) >= LARGEST:
            self._room[group.domain].remove(index)

    def _fits(
        self, index: int, node: Node, domain: Shape, reads: Sequence[Access]
    ) -> Member | Refusal:
        """The membership of a node in a group, whose splits are narrowed; or why it has none."""
        group = self.steps[index]
        if isinstance(group, Single):
            return Refusal(Reason.OPAQUE)
        if len(group.members) >= LARGEST:
            return Refusal(Reason.SIZE)
        inside = [r for r in reads if self.home.get(r.source) == index]
        full = domain == group.domain
        axes = tuple(range(len(domain))) if full else self._row_axes(group, domain, inside)
        if isinstance(axes, Refusal):
            return axes
        splits = set(group.splits)
        for read in inside:
            member = group.members[read.source]
            if not in_registers(member, self.graph, read, axes):
                return Refusal(Reason.POINT, read.source)
            if member.reduced is not None:
                splits &= _exactly(member.reduced, len(group.domain))
                if not splits:
                    return Refusal(Reason.UNFINISHED, read.source)
        reduced = _reduced(node)
        if reduced is not None:
            reduced = frozenset(a for k in reduced if (a := axes[k]) is not None)
            if full:
                splits &= _splits(len(group.domain), reduced)
        if not splits:
            return Refusal(Reason.REDUCTION)
        split = min(splits)
        if not full:
            if any(a is not None and a >= split for a in axes):
                return Refusal(Reason.INNER)
            rows, inner = math.prod(group.domain[:split]), math.prod(group.domain[split:])
            if cost(node) >= MATH_COST and 1 < rows < BLOCK and inner < SHORT_ROW:
                return Refusal(Reason.MATH)
            splits = {s for s in splits if all(a is None or a < s for a in axes)}
        group.splits = splits
        return Member(node, axes, not full, reduced)

    def _row_axes(
        self, group: Group, domain: Shape, inside: Sequence[Access]
    ) -> tuple[int | None, ...] | Refusal:
        """Which axes of the group a smaller node runs along, by what it reads there."""
        axes: list[int | None] = [None] * len(domain)
        for read in inside:
            member = group.members[read.source]
            if read.guards or not (member.row or member.reduced is not None):
                return Refusal(Reason.LOOPS, read.source)
            own = own_axes(member)
            for dim, axis in zip(read.dims, own, strict=True):
                if axis is None:
                    continue
                hit = [k for k, c in enumerate(dim.coefficients) if c]
                if len(hit) == 1 and domain[hit[0]] == group.domain[axis]:
                    axes[hit[0]] = axis
        used = [a for a in axes if a is not None]
        if len(set(used)) < len(used):  # rows against rows: a domain of its own
            return Refusal(Reason.ROWS)
        if not inside or any(d != 1 and a is None for d, a in zip(domain, axes, strict=True)):
            return Refusal(Reason.LOOPS)
        return tuple(axes)


def domain_of(graph: Graph, node: Node) -> Shape:
    """The loops of a node: a reduction runs over its operand."""
    if node.op.name in REDUCTIONS:
        return graph.nodes[node.operands[0]].type.shape
    return node.type.shape


def _reads(graph: Graph, node: Node) -> list[Access]:
    rank = len(domain_of(graph, node))
    dims = identity(rank)
    operands = node.operands
    if node.op.name == "gather":
        index_rank = graph.nodes[node.operands[1]].type.rank
        operands, dims = node.operands[1:], dims[:index_rank]
    return [resolve(graph, i, dims, rank) for i in operands]


def _reduced(node: Node) -> frozenset[int] | None:
    return frozenset(node.attrs["axes"]) if node.op.name in REDUCTIONS else None


def _splits(rank: int, reduced: frozenset[int] | None) -> set[int]:
    """Where rows may end: the inner loops are then all reduced, or none is."""
    candidates = range(rank) if rank else range(1)
    if reduced is None:
        return set(candidates)
    out = set()
    for split in candidates:
        inner = set(range(split, rank))
        if inner <= reduced or not inner & reduced:
            out.add(split)
    return out


def _exactly(reduced: frozenset[int], rank: int) -> set[int]:
    """The split at which a reduction is finished with each row."""
    start = rank - len(reduced)
    return {start} if reduced == frozenset(range(start, rank)) and reduced else set()


def own_axes(member: Member) -> tuple[int | None, ...]:
    """The domain's axes along which the *result* of a member runs."""
    if member.reduced is None:
        return member.axes
    kept = [a for k, a in enumerate(member.axes) if k not in member.node.attrs["axes"]]
    return tuple(kept)


def in_registers(
    member: Member, graph: Graph, read: Access, axes: Sequence[int | None]
) -> bool:
    """Whether a read hits the member's value of the same point of the domain."""
    if read.guards:
        return False
    shape = graph.nodes[read.source].type.shape
    for extent, dim, axis in zip(shape, read.dims, own_axes(member), strict=True):
        if extent == 1:
            continue
        hit = [k for k, c in enumerate(dim.coefficients) if c]
        if dim.offset or len(hit) != 1 or dim.coefficients[hit[0]] != 1 or axes[hit[0]] != axis:
            return False
    return True


def to_domain(affine: Affine, axes: Sequence[int | None], rank: int) -> Affine:
    """An index in a member's own axes, in those of its group."""
    out = [0] * rank
    for c, axis in zip(affine.coefficients, axes, strict=True):
        if axis is not None:
            out[axis] += c
    return Affine(affine.offset, tuple(out))
