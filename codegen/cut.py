"""Which values a later sweep over the rows of a nest computes again, rather than load.

What an earlier sweep over long rows has computed, a later one loads from where it was kept or
computes again, from other values that it loads or computes in turn: the cheapest choice is a
minimum cut.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradc.codegen.access import Access
from gradc.codegen.prices import (
    LAST,
    LOAD,
    REGION,
    SMALL,
    STORE,
    STORE_FAR,
    computable,
    computing,
)
from gradc.codegen.schedule import Group, Member, to_domain
from gradc.codegen.statements import cost
from gradc.ir.graph import Graph, Node
from gradc.ir.mincut import cheapest

#: flops up to which a value is computed again in rows that the second-level cache holds
CHEAP = 8
#: the same for rows of so many elements, which the nearest cache holds: a load costs little there
CHEAP_NEAR, NEAR = 2, 1024


@dataclass
class Again:
    """Decides what later sweeps over a group's rows compute again.

    ``sources`` are the members that a member reads, ``phase_of`` their sweeps, and ``known`` says
    whether a value is kept already. ``l2`` is the size of the second-level cache.
    """

    graph: Graph
    group: Group
    reads: Callable[[Node], Sequence[Access]]
    sources: dict[int, list[int]]
    phase_of: dict[int, int]
    known: Callable[[int], bool]
    l2: int

    @property
    def row(self) -> int:
        """Elements of a row."""
        return math.prod(self.group.domain[self.group.split :])

    @property
    def far(self) -> bool:
        """Whether the second-level cache does not hold a row, and what else is read with it."""
        wide = max((n.type.dtype.itemsize for n in self.group.nodes), default=0)
        return self.row * wide > self.l2 // 2

    def chosen(self, roots: Sequence[int], phase: int) -> Callable[[int], bool]:
        """Whether the sweep that produces ``roots`` computes a value of an earlier one again."""
        if self.far:
            return self._by_cut(roots, phase).__contains__
        cheap = CHEAP_NEAR if self.group.split and self.row <= NEAR else CHEAP
        return lambda id_: self._flops(id_, cheap) <= cheap

    def _flops(self, id_: int, limit: int) -> int:
        """Flops to have a value again from what is in memory; not counted beyond the limit."""
        total, seen, work = 0, {id_}, [id_]
        while work and total <= limit:
            node = self.group.members[work.pop()].node
            total += cost(node)
            for source in self.sources[node.id]:
                if source not in seen and not self._done(source) and not self.known(source):
                    seen.add(source)
                    work.append(source)
        return total

    def _done(self, id_: int) -> bool:
        """Whether a member is a number for the whole row."""
        member = self.group.members[id_]
        return member.row or member.reduced is not None

    # -- the cut -------------------------------------------------------------------------------

    def _by_cut(self, roots: Sequence[int], phase: int) -> set[int]:
        """The values to compute again, of all that could be."""
        needed, loaded = self._needs(roots, phase)
        operands = self._region(needed)
        if not operands:
            return set()
        loaded |= needed - operands.keys()
        leaves: dict[int, int] = {}
        for id_ in operands:
            for read in self.reads(self.graph.nodes[id_]):
                if read.source not in operands:
                    price = 0 if read.source in loaded else self._leaf(id_, read)
                    leaves[read.source] = max(price, leaves.get(read.source, 0))
        kept = {id_: self._kept(id_) for id_ in operands}
        flops = {id_: computing(self.graph.nodes[id_]) for id_ in operands}
        return cheapest(needed & operands.keys(), operands, flops, kept, leaves)

    def _needs(self, roots: Sequence[int], phase: int) -> tuple[set[int], set[int]]:
        """The values of earlier sweeps that one reads, and what it loads in any case."""
        needed: set[int] = set()
        loaded: set[int] = set()
        seen, work = set(roots), list(roots)
        while work:
            id_ = work.pop()
            loaded |= {r.source for r in self.reads(self.graph.nodes[id_])}
            for source in self.sources[id_]:
                if source in seen or self._done(source):
                    continue
                seen.add(source)
                if self.phase_of[source] == phase:
                    work.append(source)
                elif not self.known(source):
                    needed.add(source)
        return needed, loaded - needed

    def _region(self, needed: set[int]) -> dict[int, list[int]]:
        """The values that could be computed, and what each of them is computed of."""
        out: dict[int, list[int]] = {}
        work = sorted(needed)
        while work and len(out) < REGION:
            id_ = work.pop()
            node = self.graph.nodes[id_]
            if id_ in out or not computable(node):
                continue
            out[id_] = [r.source for r in self.reads(node)]
            work.extend(s for s in self.sources[id_] if not self._done(s) and not self.known(s))
        return out

    @functools.cached_property
    def _lasting(self) -> set[int]:
        """Values that will be kept in any case: a later sweep reads them, and cannot compute."""
        return {
            source for id_, sources in self.sources.items() for source in sources
            if self.phase_of[source] < self.phase_of[id_] and not self._done(source)
            and not computable(self.graph.nodes[source])
        }

    # -- prices, in flops times bytes of an element ---------------------------------------------

    def _kept(self, id_: int) -> int:
        """The price of keeping a value, and loading it."""
        itemsize = self.graph.nodes[id_].type.dtype.itemsize
        beyond = self.row * itemsize > LAST * self.l2
        return (LOAD + (STORE_FAR if beyond else STORE)) * itemsize

    def _leaf(self, reader: int, read: Access) -> int:
        """The price of an operand that is not computed again."""
        node = self.graph.nodes[read.source]
        member = self.group.members.get(read.source)
        itemsize = node.type.dtype.itemsize
        if member is not None:
            if self._done(read.source):
                return 0
            stored = self.known(read.source) or read.source in self._lasting
            return LOAD * itemsize if stored else self._kept(read.source)
        index = self._inner(self.group.members[reader], read)
        if node.type.size == 1 or not any(index):
            return 0
        if node.type.size * itemsize <= self.l2 // 2:
            return SMALL * itemsize
        return LOAD * itemsize * (1 if index[-1] in (0, 1) else 2)

    def _inner(self, member: Member, read: Access) -> tuple[int, ...]:
        """By how many elements a read moves along each loop of a row."""
        shape, rank = self.graph.nodes[read.source].type.shape, len(self.group.domain)
        index = to_domain(read.linear(shape), member.axes, rank)
        return index.coefficients[self.group.split :]
