"""From scheduled groups to nests: what is loaded, computed, kept, stored, and in which phase."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.codegen.access import Access
from gradc.codegen.collapse import collapse
from gradc.codegen.cut import Again
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.schedule import Group, Member, own_axes, to_domain
from gradc.codegen.statements import (
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Guard,
    Literal,
    Load,
    Reduce,
    Statement,
    Store,
)
from gradc.codegen.sums import COMPENSATE
from gradc.ir.graph import Graph, Node
from gradc.ir.types import strides_of

#: buffer(node id) of a value in memory; scratch(dtype, size) for the nest's own
Memory = Callable[[int], Buffer]
Scratch = Callable[[np.dtype[Any], int], Buffer]


class NestBuilder:
    """Lowers one group. ``stored`` are the members whose value must lie in memory.

    ``number`` is what nodes that may fail are called. Sums over more than ``compensate`` points of
    outer loops are compensated. ``l2`` is the size of the second-level cache.
    """

    def __init__(
        self,
        graph: Graph,
        group: Group,
        reads: Callable[[Node], Sequence[Access]],
        stored: set[int],
        memory: Memory,
        scratch: Scratch,
        number: Callable[[Node], int],
        compensate: int = COMPENSATE,
        l2: int = 1 << 20,
    ) -> None:
        self.graph = graph
        self.compensate = compensate
        self.group = group
        self.reads = reads
        self.stored = stored
        self.memory = memory
        self.scratch = scratch
        self.number = number
        self.rank = len(group.domain)
        self.split = group.split
        self.phase_of: dict[int, int] = {}
        self.kept: dict[int, tuple[Buffer, Affine]] = {}  # values for later phases of the row
        self.next_value = len(graph.nodes)
        self.sources = {
            id_: [r.source for r in reads(m.node) if r.source in group.members]
            for id_, m in group.members.items()
        }
        self.again = Again(graph, group, reads, self.sources, self.phase_of, self._known, l2)
        self.row: list[list[Statement]] = []
        self.row_loaded: dict[Any, int] = {}

    def build(self) -> Nest:
        """The nest of the group."""
        return collapse(self.nest())

    def nest(self) -> Nest:
        """The nest, its loops those of the group's domain."""
        members = self.group.members
        for id_, member in members.items():
            self.phase_of[id_] = max(
                (self._available(i) for i in self._inside(member)), default=0
            )
        last = max((self._available(i) for i in members), default=0)
        self.row = [[] for _ in range(last + 1)]
        bodies = self._bodies(last)
        for id_, member in members.items():
            if member.row:
                self._row_member(id_, member)
            elif member.reduced is not None and self._finished(member):
                self._finish(id_)
        phases = tuple(
            Phase(tuple(self._ordered(row)), tuple(body))
            for row, body in zip(self.row, bodies, strict=True)
        )
        domain = self.group.domain
        return Nest(domain[: self.split], domain[self.split :], phases)

    # -- phases --------------------------------------------------------------------------------

    def _inside(self, member: Member) -> list[int]:
        return self.sources[member.node.id]

    def _finished(self, member: Member) -> bool:
        """Whether a reduction covers all inner loops, so that it is done with the row's phase."""
        return (
            not member.row
            and member.reduced is not None
            and set(range(self.split, self.rank)) <= member.reduced
        )

    def _available(self, id_: int) -> int:
        """The first phase in which a member's value can be used."""
        return self.phase_of[id_] + self._finished(self.group.members[id_])

    def _bodies(self, last: int) -> list[list[Statement]]:
        """The inner statements of each phase, found backward from what each must produce."""
        members = self.group.members
        bodies: list[list[Statement]] = [[] for _ in range(last + 1)]
        for phase in range(last, -1, -1):
            roots = [
                i
                for i, m in members.items()
                if not m.row
                and self.phase_of[i] == phase
                and (m.reduced is not None or i in self.stored or i in self.kept)
            ]
            needed = self._needed(roots, phase)
            bodies[phase] = self._body(roots, needed, phase)
        return bodies

    def _needed(self, roots: Sequence[int], phase: int) -> set[int]:
        """Members to compute in a phase; values of earlier phases are reloaded where costly."""
        needed: set[int] = set(roots)
        work = list(roots)
        again = self.again.chosen(roots, phase)
        while work:
            for source in self._inside(self.group.members[work.pop()]):
                member = self.group.members[source]
                if source in needed or member.row or member.reduced is not None:
                    continue
                if self.phase_of[source] < phase:
                    if self._known(source):
                        continue
                    if not again(source):
                        self.kept[source] = self._keep(member.node, roots)
                        continue
                needed.add(source)
                work.append(source)
        return needed

    def _keep(self, node: Node, roots: Sequence[int]) -> tuple[Buffer, Affine]:
        """Where to keep a value until the last phase that reads it, which produces ``roots``.

        In the place of a result of that phase, which overwrites it, or in scratch for a row.
        """
        taken = {buffer.name for buffer, _ in self.kept.values()}
        for id_ in roots:
            member = self.group.members[id_]
            if id_ in self.stored and member.reduced is None:
                buffer = self.memory(id_)
                if buffer.dtype == node.type.dtype and buffer.name not in taken:
                    return buffer, self._own_index(member)
        inner = strides_of(self.group.domain[self.split :])
        scratch = self.scratch(node.type.dtype, math.prod(self.group.domain[self.split :]))
        return scratch, Affine(0, (0,) * self.split + inner)

    def _body(self, roots: Sequence[int], needed: set[int], phase: int) -> list[Statement]:
        out: list[Statement] = []
        loaded: dict[Any, int] = {}
        root_set = set(roots)
        products = self._products(needed, root_set)
        for id_, member in self.group.members.items():
            for source in self._inside(member) if id_ in needed else ():
                if source in self.kept and self.phase_of[source] < phase:
                    # Before any store, for a result may take the place of what was kept.
                    self._load(*self.kept[source], (), out, loaded)
        for id_, member in self.group.members.items():
            if id_ not in needed or id_ in products.values():
                continue
            node = member.node
            if id_ in root_set and member.reduced is not None and id_ in products:
                product = self.group.members[products[id_]]
                first, second = self._operands(product, out, loaded, phase)
                out.append(Reduce(id_, "sum", first, node.type.dtype, second))
                continue
            operands = self._operands(member, out, loaded, phase)
            if member.reduced is None:
                out.append(self._compute(id_, member, operands))
                if id_ in root_set:
                    if id_ in self.kept:
                        out.append(Store(*self.kept[id_], id_))
                    if id_ in self.stored:
                        out.append(Store(self.memory(id_), self._own_index(member), id_))
            elif self._finished(member):
                out.append(Reduce(id_, node.op.name, operands[0], node.type.dtype))
            else:
                out.append(self._accumulate(id_, member, operands[0]))
        return out

    def _products(self, needed: set[int], roots: set[int]) -> dict[int, int]:
        """Sums of a product that nothing else uses: reduction -> the multiplication."""
        uses: dict[int, int] = {}
        for id_ in needed:
            for source in self._inside(self.group.members[id_]):
                uses[source] = uses.get(source, 0) + 1
        out = {}
        for id_ in roots:
            member = self.group.members[id_]
            if member.node.op.name != "sum" or not self._finished(member):
                continue
            (source,) = self._inside(member) or [-1]
            factor = self.group.members.get(source)
            if (
                factor is not None
                and factor.node.op.name == "mul"
                and source in needed
                and factor.node.type.dtype.kind == "f"
                and uses[source] == 1
                and source not in roots
            ):
                out[id_] = source
        return out

    def _finish(self, id_: int) -> None:
        """A finished reduction, as a row value: into memory, or on to the outer loops."""
        member = self.group.members[id_]
        assert member.reduced is not None
        row = self.row[self._available(id_)]
        if member.reduced != frozenset(range(self.split, self.rank)):
            row.append(self._accumulate(id_, member, id_))
        elif id_ in self.stored:
            row.append(Store(self.memory(id_), self._own_index(member), id_))

    def _row_member(self, id_: int, member: Member) -> None:
        phase = self.phase_of[id_]
        row = self.row[phase]
        operands = self._operands(member, row, self.row_loaded, phase)
        if member.reduced is not None:
            row.append(self._accumulate(id_, member, operands[0]))
            return
        row.append(self._compute(id_, member, operands))
        if id_ in self.stored:
            row.append(Store(self.memory(id_), self._own_index(member), id_))

    def _ordered(self, row: list[Statement]) -> list[Statement]:
        """Loads first: a body's row loads are found before the row's own values."""
        first = [s for s in row if isinstance(s, (Load, Literal))]
        return first + [s for s in row if not isinstance(s, (Load, Literal))]

    # -- operands ------------------------------------------------------------------------------

    def _operands(
        self, member: Member, out: list[Statement], loaded: dict[Any, int], phase: int
    ) -> list[int]:
        return [
            self._operand(member, read, out, loaded, phase)
            for read in self.reads(member.node)
        ]

    def _operand(
        self,
        member: Member,
        read: Access,
        out: list[Statement],
        loaded: dict[Any, int],
        phase: int,
    ) -> int:
        source = read.source
        inside = self.group.members.get(source)
        if inside is not None:
            if member.row or inside.row or inside.reduced is not None:
                return source
            if self.phase_of[source] == phase or not self._known(source):
                return source
            if source in self.stored:
                buffer, index = self.memory(source), self._own_index(inside)
            else:
                buffer, index = self.kept[source]
            return self._load(buffer, index, (), out, loaded)
        node = self.graph.nodes[source]
        if node.op.name == "const" and node.type.size == 1 and not read.guards:
            return self._literal(node.attrs["value"].item(), node.type.dtype, phase)
        if node.type.size == 0:
            return self._literal(0, node.type.dtype, phase)
        index = to_domain(read.linear(node.type.shape), member.axes, self.rank)
        guards = tuple(
            Guard(to_domain(g.index, member.axes, self.rank), g.extent) for g in read.guards
        )
        inner = [*index.coefficients[self.split :]]
        inner += [c for g in guards for c in g.index.coefficients[self.split :]]
        if not any(inner):
            return self._load(
                self.memory(source), index, guards, self.row[phase], self.row_loaded, phase
            )
        return self._load(self.memory(source), index, guards, out, loaded)

    def _known(self, source: int) -> bool:
        """Whether an earlier phase leaves a value in memory."""
        return source in self.stored or source in self.kept

    def _load(
        self,
        buffer: Buffer,
        index: Affine,
        guards: tuple[Guard, ...],
        out: list[Statement],
        loaded: dict[Any, int],
        phase: int | None = None,
    ) -> int:
        key = (buffer.name, index, guards)
        if key in loaded:
            at = loaded[key]
            if phase is not None:  # a row's load must stand in the earliest phase that uses it
                self._hoist(at, phase)
            return at
        value = self._fresh()
        loaded[key] = value
        out.append(Load(value, buffer, index, guards))
        return value

    def _hoist(self, value: int, phase: int) -> None:
        for later in range(phase + 1, len(self.row)):
            for statement in self.row[later]:
                if isinstance(statement, (Load, Literal)) and statement.value == value:
                    self.row[later].remove(statement)
                    self.row[phase].append(statement)
                    return

    def _literal(self, number: Any, dtype: np.dtype[Any], phase: int) -> int:
        key = (dtype.str, np.asarray(number, dtype).tobytes())
        if key in self.row_loaded:
            return self.row_loaded[key]
        value = self._fresh()
        self.row_loaded[key] = value
        self.row[0].append(Literal(value, number, dtype))
        return value

    def _fresh(self) -> int:
        self.next_value += 1
        return self.next_value - 1

    # -- statements ----------------------------------------------------------------------------

    def _compute(self, id_: int, member: Member, operands: Sequence[int]) -> Statement:
        node = member.node
        if node.op.name != "gather":
            return Compute(id_, node, tuple(operands))
        table = self.graph.nodes[node.operands[0]].type
        strides = strides_of(table.shape)
        count = len(node.operands) - 1
        index_rank = node.type.rank - (table.rank - count)
        rest = to_domain(Affine(0, strides[count:]), member.axes[index_rank:], self.rank)
        return Gather(
            id_,
            self.memory(node.operands[0]),
            tuple(operands),
            table.shape[:count],
            strides[:count],
            rest,
            self.number(node),
        )

    def _own_index(self, member: Member) -> Affine:
        """Where a member's value lies in its own buffer."""
        strides = strides_of(member.node.type.shape)
        return to_domain(Affine(0, strides), own_axes(member), self.rank)

    def _accumulate(self, id_: int, member: Member, value: int) -> Accumulate:
        node = member.node
        buffer = self.memory(id_)
        kind, dtype = node.op.name, node.type.dtype
        assert member.reduced is not None
        length = math.prod(self.group.domain[a] for a in member.reduced if a < self.split)
        totals = None
        if kind == "sum" and dtype.kind == "f" and length > self.compensate:
            totals = self.scratch(dtype, buffer.size), self.scratch(dtype, buffer.size)
        return Accumulate(buffer, self._own_index(member), kind, value, totals)
