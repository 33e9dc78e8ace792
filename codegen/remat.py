"""Which values of an earlier group a later one computes again, rather than load: a minimum cut.

A value that one nest computes and later ones read would be stored and loaded; a nest may instead
compute it for itself, from what lies in memory anyway or from another value that is stored. For
each nest in turn the cheapest choice is a minimum cut. What is computed twice is the same node on
the same operands, and so the same bits: reductions, gathers, products and calls of vector math
are not computed again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gradc.codegen import matmul
from gradc.codegen.access import Access
from gradc.codegen.blocks import Blocks
from gradc.codegen.epilogue import LARGEST as ON_TILES
from gradc.codegen.epilogue import fits
from gradc.codegen.prices import PART, REGION, Prices, bytes_of, computable, computing
from gradc.codegen.schedule import (
    LARGEST,
    Copied,
    Group,
    Member,
    Scheduler,
    Single,
    in_registers,
    to_domain,
)
from gradc.codegen.statements import cost
from gradc.codegen.targets import Target
from gradc.ir.graph import Node
from gradc.ir.mincut import cheapest
from gradc.ir.types import UNKNOWN, Shape

#: values of a group, with those that it computes again: unrolled programs fill their groups, and
#: without room for copies took 1.6 times as long on vectors of 1000
MOST = 5 * LARGEST // 4


def rematerialise(
    scheduler: Scheduler, target: Target, blocks: Sequence[Blocks] | None = None
) -> None:
    """Copy values into the groups that compute them again, and drop what nothing reads then.

    Before it is known which steps run in ``blocks`` of rows, all that one nest hands on to another
    is taken to stay in the second-level cache; afterwards only what is handed on within a block.
    """
    most = max((bytes_of(node.type) for node in scheduler.graph.nodes), default=0)
    if blocks is None or most > target.l2 // PART:  # else the same prices, the same choice
        _Choice(scheduler, target, blocks).run()


@dataclass
class _Choice:
    """The choice for each group in turn, given what earlier ones load."""

    scheduler: Scheduler
    target: Target
    blocks: Sequence[Blocks] | None
    #: value -> the steps that read it from memory
    users: dict[int, set[int]] = field(default_factory=dict)
    #: values that lie in memory, whatever is chosen from here on
    stored: set[int] = field(default_factory=set)
    #: values that a group with the same loops could compute
    plain: set[int] = field(default_factory=set)
    #: values that the groups which compute them read too
    inside: set[int] = field(default_factory=set)
    #: value -> the first step that may overwrite it, unless it is read later
    updates: dict[int, int] = field(default_factory=dict)
    #: value -> the steps that compute it again, in order
    copies: dict[int, list[int]] = field(default_factory=dict)
    prices: Prices = field(init=False)

    def run(self) -> None:
        """Choose, copy, and drop."""
        scheduler = self.scheduler
        if len(scheduler.steps) < 2:
            return
        for id_ in sorted(scheduler.home):
            if self._is_plain(scheduler.graph.nodes[id_]):
                self.plain.add(id_)
        wanted = [self._wanted(k) for k in range(len(scheduler.steps))]
        self.stored |= {scheduler.root(i) for i in scheduler.graph.outputs}
        for step, (needed, others) in enumerate(wanted):
            for id_ in needed | others:
                self.users.setdefault(id_, set()).add(step)
            self.stored |= others
            one = scheduler.steps[step]
            if isinstance(one, Single) and one.node.op.name != "matmul":
                for id_ in others:
                    if scheduler.graph.nodes[id_].op.name != "const":  # nothing overwrites those
                        self.updates.setdefault(id_, step)
        self.stored -= {id_ for id_ in self.stored if self._on_tiles(id_)}
        self.prices = Prices(self.target.l2, None if self.blocks is None else self._held())
        within = {k for b in self.blocks or () for k in range(b.first, b.last + 1)}
        for step, (needed, others) in enumerate(wanted):
            group = scheduler.steps[step]
            if isinstance(group, Group) and needed and step not in within:
                left = set(needed)
                while left:  # as many cuts as it takes
                    weighed, found = self._chosen(step, group, left, others)
                    for id_ in found:
                        self.copies.setdefault(id_, []).append(step)
                    left -= weighed
                    needed = needed - found
            self.stored |= needed
        for id_, steps in self.copies.items():
            self.users.setdefault(id_, set()).difference_update(steps)
            for read in scheduler.accesses(scheduler.graph.nodes[id_]):
                beyond = (k for k in steps if read.source not in self._group(k).members)
                self.users.setdefault(scheduler.root(read.source), set()).update(beyond)
        self._drop()

    # -- what a step reads ---------------------------------------------------------------------

    def _wanted(self, step: int) -> tuple[set[int], set[int]]:
        """Values that a step reads from memory: those it might compute, and the others."""
        scheduler, needed, others = self.scheduler, set[int](), set[int]()
        group = scheduler.steps[step]
        if not isinstance(group, Group):
            return needed, set(scheduler.memory_operands(group.node))
        for member in group.members.values():
            if member.node.op.name == "gather":
                others.add(scheduler.root(member.node.operands[0]))
            for read in scheduler.accesses(member.node):
                if read.source in group.members:
                    self.inside.add(read.source)
                    continue
                here = self._computable(read.source, group.domain) and in_registers(
                    self._copy(read.source), scheduler.graph, read, member.axes
                )
                (needed if here else others).add(scheduler.root(read.source))
        return needed - others, others

    def _copy(self, id_: int) -> Member:
        node = self.scheduler.graph.nodes[id_]
        return Member(node, tuple(range(node.type.rank)), False)

    def _computable(self, id_: int, domain: Shape) -> bool:
        """Whether a value could be computed at each point of a domain."""
        node = self.scheduler.graph.nodes[id_]
        return id_ in self.plain and node.type.shape == domain

    def _is_plain(self, node: Node) -> bool:
        """Whether a value is cheap arithmetic on what is read at the same point, or in memory."""
        scheduler = self.scheduler
        group = scheduler.steps[scheduler.home[node.id]]
        if not isinstance(group, Group) or not computable(node) or UNKNOWN in node.type.shape:
            return False
        member = group.members[node.id]
        if member.row or member.reduced is not None:
            return False
        axes = tuple(range(node.type.rank))
        return all(
            in_registers(self._copy(read.source), scheduler.graph, read, axes)
            for read in scheduler.accesses(node)
            if self._computable(read.source, node.type.shape)
        )

    def _on_tiles(self, id_: int) -> bool:
        """Whether a product may come to lie in registers, for the one step that reads it."""
        scheduler, users = self.scheduler, self.users.get(id_, set())
        node = scheduler.graph.nodes[id_]
        if node.op.name != "matmul" or len(users) != 1:
            return False
        (group,) = (scheduler.steps[k] for k in users)
        if not isinstance(group, Group) or not fits(scheduler, group, node):
            return False
        return matmul.strategy(matmul.product(scheduler.graph, node), self.target) != "blas"

    def _held(self) -> int:
        """The most bytes that wait for later steps at a time, were nothing computed again."""
        scheduler, change = self.scheduler, [0] * (len(self.scheduler.steps) + 1)
        outputs = {scheduler.root(i) for i in scheduler.graph.outputs}
        inside = [range(b.first, b.last + 1) for b in self.blocks or ()]
        for id_, users in self.users.items():
            home = scheduler.home.get(id_)
            if home is None or id_ in outputs:
                continue
            if any(home in steps and users <= set(steps) for steps in inside):
                continue
            nbytes = bytes_of(scheduler.graph.nodes[id_].type)
            change[home] += nbytes
            change[max(users) + 1] -= nbytes
        return max(itertools.accumulate(change))

    # -- the choice ----------------------------------------------------------------------------

    def _chosen(
        self, step: int, group: Group, needed: set[int], others: set[int]
    ) -> tuple[set[int], set[int]]:
        """Values that a group needs and that one cut weighs, and what it then computes again."""
        graph = self.scheduler.graph
        loaded = self._loaded(group)
        gone = {id_ for id_, at in self.updates.items() if at < step} - loaded
        operands = self._region(group, needed, others, gone)
        leaves: dict[int, int] = {}
        for id_ in operands:
            for read in self.scheduler.accesses(graph.nodes[id_]):
                if read.source not in operands:
                    free = read.source in loaded or read.source in group.members
                    price = 0 if free else self._leaf(read, group.domain)
                    leaves[read.source] = max(price, leaves.get(read.source, 0))
        flops = {id_: computing(graph.nodes[id_]) for id_ in operands}
        kept = {id_: self._kept(id_) for id_ in operands}
        weighed = needed & operands.keys()
        if not weighed:
            return needed, set()
        needed = weighed
        found = cheapest(needed, operands, flops, kept, leaves)
        if not found or len(group.members) + len(found) > MOST:
            return weighed, set()
        touched = {s for id_ in found for s in operands[id_]} | needed - found
        price = sum(flops[id_] for id_ in found) + sum(
            kept.get(id_, leaves.get(id_, 0)) for id_ in touched - found
        )
        instead = sum(kept[id_] for id_ in needed)
        if price + self._untiled(group, found) >= instead:
            return weighed, set()
        width = max(4, *(graph.nodes[id_].type.dtype.itemsize for id_ in found))
        why = Copied(price / width, instead / width)
        for id_ in found:
            group.members[id_] = Member(
                graph.nodes[id_], tuple(range(len(group.domain))), False, copied=why
            )
        group.members = dict(sorted(group.members.items()))
        roots = {self.scheduler.root(id_) for id_ in touched - found}
        self.stored |= {id_ for id_ in roots if id_ in self.scheduler.home}
        return weighed, found

    def _region(
        self, group: Group, needed: set[int], others: set[int], gone: set[int]
    ) -> dict[int, list[int]]:
        """The values that could be computed, and what each of them is computed of.

        An operand that may be ``gone`` would have to be copied first to be there.
        """
        out: dict[int, list[int]] = {}
        work = sorted(needed, reverse=True)
        for id_ in work:  # grows: the nearest first
            if len(out) == REGION:
                break
            if id_ in out:
                continue
            reads = self.scheduler.accesses(self.scheduler.graph.nodes[id_])
            if any(self.scheduler.root(r.source) in gone for r in reads):
                continue
            out[id_] = [r.source for r in reads]
            work += [
                s for s in out[id_]
                if s not in group.members and s not in others
                and self._computable(s, group.domain)
            ]
        return out

    def _loaded(self, group: Group) -> set[int]:
        """What a group loads in any case."""
        return {
            read.source
            for member in group.members.values()
            for read in self.scheduler.accesses(member.node)
            if read.source not in group.members
        }

    def _untiled(self, group: Group, found: set[int]) -> int:
        """What it costs if a group grows too long to run on the tiles of a product."""
        graph = self.scheduler.graph
        nodes = [*group.nodes, *(graph.nodes[id_] for id_ in found)]
        if sum(map(cost, nodes)) <= ON_TILES:
            return 0
        products = (graph.nodes[id_] for id_ in self._loaded(group) if self._on_tiles(id_))
        return sum(self.prices.load(n.type) + self.prices.store(n.type) for n in products)

    # -- prices --------------------------------------------------------------------------------

    def _kept(self, id_: int) -> int:
        """The share of a step in having a value stored, and its load."""
        type_ = self.scheduler.graph.nodes[id_].type
        steps = len(self.users.get(id_, ())) or 1
        share = 0 if id_ in self.stored else self.prices.store(type_) // steps
        return self.prices.load(type_) + share + self._moved(id_)

    def _moved(self, id_: int) -> int:
        """What is saved where a value is computed first, if nothing else reads it."""
        if id_ in self.stored or id_ in self.inside or len(self.users.get(id_, ())) != 1:
            return 0
        return computing(self.scheduler.graph.nodes[id_])

    def _leaf(self, read: Access, domain: Shape) -> int:
        """The price of an operand that is not computed again."""
        node = self.scheduler.graph.nodes[read.source]
        index = to_domain(read.linear(node.type.shape), range(len(domain)), len(domain))
        price = self.prices.read(node.type, index.coefficients, domain)
        root = self.scheduler.root(read.source)
        if root in self.scheduler.home and root not in self.stored:
            price += self.prices.store(node.type)
        return price

    # -- afterwards ----------------------------------------------------------------------------

    def _drop(self) -> None:
        """Take values that nothing reads any more out of the groups they were first put in."""
        scheduler = self.scheduler
        outputs = {scheduler.root(i) for i in scheduler.graph.outputs}
        reads = {home: self._reads(home) for home in {scheduler.home[i] for i in self.copies}}
        for id_ in sorted(self.copies, reverse=True):
            home = scheduler.home[id_]
            if id_ in outputs or self.users.get(id_) or reads[home][id_]:
                continue
            member = self._group(home).members.pop(id_)
            scheduler.home[id_] = first = min(self.copies[id_])
            self._group(first).members[id_].copied = None
            for source in scheduler.memory_operands(member.node):
                reads[home][source] -= 1
                if not reads[home][source]:
                    self.users.get(source, set()).discard(home)

    def _reads(self, step: int) -> Counter[int]:
        """How often members of a group read each value."""
        nodes = self._group(step).nodes
        return Counter(id_ for n in nodes for id_ in self.scheduler.memory_operands(n))

    def _group(self, step: int) -> Group:
        group = self.scheduler.steps[step]
        assert isinstance(group, Group)
        return group
