"""Which steps run together in blocks of rows, as from matrix product to matrix product.

A network's layers, forward and backward, and attention's scores do to each row of a batch the same
as to every other, but for sums over the rows (the gradients of weights). Such steps go block by
block of rows through all of them, so that what they hand on stays in the second-level cache. So
do nests alone that cannot fuse, as those of all pairs of rows and centres. How rows are cut is
decided by shapes alone: results do not depend on threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from gradc.codegen import matmul
from gradc.codegen.access import Access
from gradc.codegen.schedule import (
    Group,
    Member,
    Origin,
    Reason,
    Refusal,
    Scheduler,
    Single,
    Step,
    to_domain,
)
from gradc.codegen.statements import Affine, cost
from gradc.codegen.targets import Target
from gradc.ir.graph import Graph
from gradc.ir.types import Shape

#: rows of a block: fewer, and sums of products over them are short; more, and they leave the cache
FEWEST, MOST = 16, 256
#: blocks of a chunk at most: what they sum to is added up one by one
LONGEST = 128
#: chunks that rows without a batch go in, each with sums of its own
CHUNKS = 16
#: flops of a chunk at least
LONG = 2_000_000
#: the share of arithmetic that sums of chunks may cost, which are set to zero and combined
PARTS = 0.03
#: attempts that may fail: each looks at all steps
FAILURES = 16
#: steps of blocks at most: they are one function, and code generation is superlinear in its size
STEPS = 60
#: how much of the second-level cache the values of a block take
SHARE = 3 / 4
#: flops that a store or a load outside the cache costs, and a store with a load within it
OUTSIDE, WITHIN = 24, 14
#: the share of arithmetic that hides loads and stores; twice that up to ``LAST`` times the
#: second-level cache, which caches further out hold
HIDDEN, LAST = 0.12, 16


@dataclass
class Blocks:
    """Steps ``first .. last`` in blocks of ``size`` rows.

    ``extents`` are those of the leading axes of all their values: a batch, then the rows. There
    are ``chunks`` chunks, each one matrix of the batch or a part of the rows. ``sums`` are reduced
    over the rows, and known when all is done.
    """

    extents: Shape
    size: int = 0
    chunks: int = 1
    first: int = 0
    last: int = 0
    sums: set[int] = field(default_factory=set)

    @property
    def rows(self) -> int:
        """All rows of a matrix."""
        return self.extents[-1]

    @property
    def batch(self) -> int:
        """The matrices."""
        return math.prod(self.extents[:-1])

    @property
    def per_chunk(self) -> int:
        """The blocks of a chunk."""
        return self.rows * self.batch // (self.size * self.chunks)

    def __str__(self) -> str:
        batch = f"{self.batch} times " if self.batch > 1 else ""
        chunks = f", {self.chunks} chunks of {self.per_chunk} blocks" if self.chunks > 1 else ""
        return f"{batch}{self.rows} rows in blocks of {self.size}{chunks}"

    def strides(self, batch: int, row: int) -> tuple[int, int]:
        """From chunk to chunk and from block to block, given those of the batch and of rows."""
        block = row * self.size
        return (batch if len(self.extents) > 1 else block * self.per_chunk), block

    def local(self, shape: Shape) -> Shape:
        """A shape that begins with the extents, as far as one block goes."""
        rank = len(self.extents)
        return (*(1,) * (rank - 1), self.size, *shape[rank:])


def row_blocks(scheduler: Scheduler, target: Target) -> list[Blocks]:
    """Find steps to run in blocks, and bring the steps of each together."""
    found: list[Blocks] = []
    if any(n.op.name == "debug_print" for n in scheduler.graph.nodes):
        return found  # what is printed keeps its order
    start, failures = 0, 0
    failed: set[int] = set()  # steps of an attempt that did not pay: a part would not either
    while start < len(scheduler.steps) and failures < FAILURES:
        step = scheduler.steps[start]
        if isinstance(step, Single) and step.node.op.name == "matmul" and start not in failed:
            search = _Search(scheduler, target, start)
            blocks = search.run()
            if blocks is not None:
                found.append(blocks)
                failed = set()
                start = blocks.last
            else:
                failures += 1
                failed |= set(search.inside)
        start += 1
    return found or _without_products(scheduler, target)


def _without_products(scheduler: Scheduler, target: Target) -> list[Blocks]:
    """Nests over the same rows in blocks, from the first that is large."""
    for start, step in enumerate(scheduler.steps):
        if isinstance(step, Group) and len(step.domain) > 1 and step.members:
            node = next(iter(step.members.values())).node
            nbytes = math.prod(step.domain) * node.type.dtype.itemsize
            if nbytes > target.l2 // 2:
                blocks = _Search(scheduler, target, start).run()
                return [blocks] if blocks else []
    return []


class _Search:
    """Tries to run the steps from one on in blocks of its rows.

    From a matrix product on they are products and nests, from a nest on they are nests.
    """

    def __init__(self, scheduler: Scheduler, target: Target, start: int) -> None:
        self.scheduler = scheduler
        self.graph = scheduler.graph
        self.target = target
        self.start = start
        step = scheduler.steps[start]
        self.products = isinstance(step, Single)
        node = step.nodes[0]
        self.extents = step.domain[:1] if isinstance(step, Group) else node.type.shape[:-1]
        self.itemsize = node.type.dtype.itemsize
        self.rank = len(self.extents)
        self.inside: list[int] = []
        self.values: set[int] = set()  # computed in blocks, each with a row of its own
        self.sums: set[int] = set()
        self.whole: set[int] = set()  # operands of which each block reads all
        self.loose: dict[int, int] = {}  # numbers made of sums in a step, for a step of their own

    def run(self) -> Blocks | None:
        """The blocks, their steps brought together; None if it does not pay."""
        steps, home = self.scheduler.steps, self.scheduler.home
        self.contracts = self.rows_out = 0
        before: list[int] = []
        after: list[int] = []
        late: set[int] = set()  # steps after
        for index in range(self.start, len(steps)):
            step = steps[index]
            sources = {s for n in step.nodes for s in self.scheduler.memory_operands(n)}
            homes = {home[s] for s in sources if s in home and home[s] != index}
            if homes & late or sources & (self.sums | self.loose.keys()):
                after.append(index)
                late.add(index)
            elif self._joins(index, step):
                self.inside.append(index)
            elif homes & set(self.inside):
                after.append(index)
                late.add(index)
            else:
                before.append(index)
        blocks = self._sized()
        if blocks is None:
            return None
        loose = self._set_loose()
        order = [*range(self.start), *before, *self.inside, *loose, *after]
        reorder(self.scheduler, order)
        blocks.first = self.start + len(before)
        blocks.last = blocks.first + len(self.inside) - 1
        return blocks

    # -- which steps --------------------------------------------------------------------------

    def _joins(self, index: int, step: Step) -> bool:
        """Whether a step can run in blocks; if so, what it computes is noted."""
        if isinstance(step, Single):
            return self.products and step.node.op.name == "matmul" and self._product(step)
        return bool(step.members) and self._group(index, step)

    def _product(self, step: Single) -> bool:
        node = step.node
        a, b = (self.scheduler.root(i) for i in node.operands)
        if node.type.dtype.kind != "f" or a != node.operands[0]:
            return False
        spec = matmul.product(self.graph, node)
        shapes = [self.graph.nodes[i].type.shape for i in (a, b)]
        out = node.type.shape[:-1] == self.extents and not spec.ta and b not in self.values
        summed = spec.ta and not spec.tb and all(s[:-1] == self.extents for s in shapes)
        summed = summed and b == node.operands[1]
        local = replace(spec, m=MOST) if out else replace(spec, k=MOST)
        if 0 in node.type.shape or matmul.strategy(local, self.target) == "blas":
            return False
        if out:
            self.values.add(node.id)
            self.whole.add(b)
        elif summed:
            self.sums.add(node.id)
        self.rows_out += out
        self.contracts += out or summed
        return out or summed

    def _group(self, index: int, group: Group) -> bool:
        if group.domain[: self.rank] != self.extents:
            return False
        values: set[int] = set()
        sums: set[int] = set()
        loose: set[int] = set()
        for id_, member in group.members.items():
            reads = self.scheduler.accesses(member.node)
            if any(read.source in sums | loose for read in reads):
                if member.axes or member.reduced is not None or member.node.op.name == "gather":
                    return False
                loose.add(id_)
                continue
            reduced = member.reduced or frozenset()
            if member.axes[: self.rank] != tuple(range(self.rank)):
                return False
            if member.node.op.name == "gather":
                return False
            if any(a in reduced for a in range(self.rank)):
                batch = reduced & set(range(self.rank - 1))
                whole = len(batch) in (0, self.rank - 1)
                if self.rank - 1 not in reduced or not whole:
                    return False
                sums.add(id_)
            else:
                values.add(id_)
            if not all(self._reads(read, member, group) for read in reads):
                return False
        self.values |= values
        self.sums |= sums
        self.loose |= dict.fromkeys(loose, index)
        return True

    def _set_loose(self) -> list[int]:
        """Take numbers made of sums out of their steps, each into a new one; these steps."""
        scheduler, out = self.scheduler, []
        for id_, index in sorted(self.loose.items()):
            group = scheduler.steps[index]
            assert isinstance(group, Group)
            member = group.members.pop(id_)
            scheduler.steps.append(Group((), {0}, {id_: Member(member.node, (), False)}))
            scheduler.origins.append(Origin(id_, ((index, Refusal(Reason.UNFINISHED)),)))
            out.append(len(scheduler.steps) - 1)
            scheduler.home[id_] = out[-1]
        return out

    def _reads(self, read: Access, member: Member, group: Group) -> bool:
        """Whether a block reads what lies in its own rows, or what lies still."""
        rank, shape = len(group.domain), self.graph.nodes[read.source].type.shape
        for guard in read.guards:
            if any(to_domain(guard.index, member.axes, rank).coefficients[: self.rank]):
                return False
        dims = [to_domain(d, member.axes, rank) for d in read.dims]
        root = self.scheduler.root(read.source)
        if read.source in group.members:
            return True
        if root in self.values:
            own = [Affine(0, tuple(int(k == d) for k in range(rank))) for d in range(self.rank)]
            moved = any(any(d.coefficients[: self.rank]) for d in dims[self.rank :])
            return root == read.source and dims[: self.rank] == own and not moved
        index = to_domain(read.linear(shape), member.axes, rank)
        batch = index.coefficients[: self.rank - 1]
        joined = zip(batch, batch[1:], self.extents[1:], strict=False)
        return all(outer == inner * extent for outer, inner, extent in joined)

    # -- whether and how ----------------------------------------------------------------------

    def _sized(self) -> Blocks | None:
        """The size of blocks, if they pay."""
        if self.products and (self.contracts < 2 or not self.rows_out):
            return None
        if not 2 <= len(self.inside) <= STEPS:
            return None
        rows, batch = math.prod(self.extents), math.prod(self.extents[:-1])
        per_row, accesses = self._handed()
        if per_row * rows <= self.target.l2 // 2:
            return None  # it stays in the cache as it is
        still, sums = self._still(batch)
        if still + sums > self.target.l2:
            return None
        sizes = [d for d in range(FEWEST, MOST + 1) if self.extents[-1] % d == 0]
        fitting = [d for d in sizes if d * per_row <= SHARE * self.target.l2] or sizes[:1]
        if not fitting or fitting[-1] == rows:
            return None
        blocks = Blocks(self.extents, fitting[-1], batch, sums=self.sums)
        flops = sum(_flops(self.graph, self.scheduler.steps[k]) for k in self.inside)
        again = rows // blocks.size * (still + sums) / self.itemsize
        near = per_row * rows <= LAST * self.target.l2
        if OUTSIDE * accesses * rows - WITHIN * again < HIDDEN * (1 + near) * flops:
            return None
        if self.rank == 1:
            count = self.extents[0] // blocks.size
            parts = PARTS * flops / (3 * OUTSIDE * max(1, sums // self.itemsize))
            wanted = max(1, min(CHUNKS, flops // LONG, int(parts)))
            wanted = min(count, max(wanted, -(-count // LONGEST)))
            blocks.chunks = next(c for c in range(wanted, count + 1) if count % c == 0)
        return blocks if blocks.per_chunk <= LONGEST else None

    def _handed(self) -> tuple[int, float]:
        """Bytes of a row that steps hand on to steps, and how often its elements are accessed."""
        nbytes, accesses, rows = 0, 0.0, math.prod(self.extents)
        seen: set[int] = set()
        for k in self.inside:
            sources = {
                s for n in self.scheduler.steps[k].nodes
                for s in self.scheduler.memory_operands(n)
                if s in self.values and self.scheduler.home[s] != k
            }
            for s in sources:
                type_ = self.graph.nodes[s].type
                accesses += type_.size / rows * (1 if s in seen else 2)
                nbytes += 0 if s in seen else type_.size * type_.dtype.itemsize
            seen |= sources
        return nbytes // rows, accesses

    def _still(self, batch: int) -> tuple[int, int]:
        """Bytes of operands that a block reads as a whole, and of sums that it adds to."""

        def nbytes(values: set[int]) -> int:
            return sum(
                t.size * t.dtype.itemsize // (batch if t.rank > self.rank else 1)
                for t in (self.graph.nodes[i].type for i in values)
            )

        return nbytes(self.whole), nbytes(self.sums)


def _flops(graph: Graph, step: Step) -> int:
    if isinstance(step, Single):
        spec = matmul.product(graph, step.node)
        return 2 * spec.batch * spec.m * spec.n * spec.k
    return math.prod(step.domain) * sum(cost(n) for n in step.nodes)


def reorder(scheduler: Scheduler, order: list[int]) -> None:
    """Bring the steps into another order that can run: ``order`` are their present places."""
    place = {old: new for new, old in enumerate(order)}
    scheduler.steps[:] = [scheduler.steps[k] for k in order]
    scheduler.home = {id_: place[k] for id_, k in scheduler.home.items()}
    scheduler.origins[:] = [
        Origin(o.node, tuple((place[k], refusal) for k, refusal in o.refused))
        for o in (scheduler.origins[k] for k in order)
    ]
