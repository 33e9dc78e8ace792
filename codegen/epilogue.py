"""Which elementwise work follows a matrix product on its tiles, before they are stored.

A group that does only cheap arithmetic at the points of a product, and perhaps sums its columns,
becomes the product's epilogue: the product itself then need not lie in memory. Calls of vector
math stay in nests of their own, whose loads and stores they hide; written out for every vector of
a tile they would make the code long, and slow to compile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradc.codegen import matmul
from gradc.codegen.blocks import Blocks
from gradc.codegen.collapse import remapped
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.schedule import Group, Origin, Reason, Refusal, Scheduler, Single
from gradc.codegen.statements import MATH_COST, Affine, Buffer, Load, Store, cost
from gradc.codegen.targets import Target
from gradc.ir.graph import Node
from gradc.ir.types import strides_of

#: flops of an epilogue for each element: enough for the update of Adam
LARGEST = 24
#: rows whose plain sums are as exact as those of nests: a tile adds up some eight first
ROWS = 1024

#: value -> step -> the nodes that read it there, -1 for one that needs it in memory
Readers = dict[int, dict[int, list[int]]]


def fuse_epilogues(scheduler: Scheduler, target: Target, blocks: Sequence[Blocks] = ()) -> None:
    """Give products their epilogues: each runs where the group that first reads it ran.

    A product and its epilogue are in the same blocks of rows, or both in none.
    """
    block_of = {k: n for n, b in enumerate(blocks) for k in range(b.first, b.last + 1)}
    sums = {id_ for b in blocks for id_ in b.sums}
    readers = readers_of(scheduler)
    for index in range(len(scheduler.steps) - 1, -1, -1):
        step = scheduler.steps[index]
        if not isinstance(step, Single) or step.node.op.name != "matmul":
            continue
        first = min(readers.get(step.node.id, {}), default=index)
        group = scheduler.steps[first]
        if not isinstance(group, Group) or step.node.id in sums:
            continue
        if block_of.get(index) != block_of.get(first):
            continue
        reason = _refusal(scheduler, first, step.node, readers, target)
        if reason is not None:
            scheduler.origins[first] = _refused(scheduler.origins[first], index, reason)
            continue
        group.splits = {len(group.domain) - 1}
        scheduler.steps[first] = Single(step.node, group)
        scheduler.steps[index] = Group((), {0})
        scheduler.home[step.node.id] = first
        scheduler.origins[first] = scheduler.origins[index]


def readers_of(scheduler: Scheduler) -> Readers:
    """Who reads each value."""
    out: Readers = {}
    for index, step in enumerate(scheduler.steps):
        if isinstance(step, Group):
            for id_, member in step.members.items():
                for read in scheduler.accesses(member.node):
                    root = scheduler.root(read.source)
                    reader = id_ if root == read.source else -1
                    out.setdefault(root, {}).setdefault(index, []).append(reader)
                if member.node.op.name == "gather":
                    root = scheduler.root(member.node.operands[0])
                    out.setdefault(root, {}).setdefault(index, []).append(-1)
        else:
            for source in scheduler.memory_operands(step.node):
                out.setdefault(source, {}).setdefault(index, []).append(-1)
    return out


def _refused(origin: Origin, step: int, reason: Reason) -> Origin:
    """The origin of a group, with the reason why it is not the epilogue of a product."""
    refused = [
        (k, Refusal(reason) if k == step else refusal) for k, refusal in origin.refused
    ]
    return Origin(origin.node, tuple(refused))


def _refusal(
    scheduler: Scheduler, home: int, node: Node, readers: Readers, target: Target
) -> Reason | None:
    """Why a group, the first to read a product, is not its epilogue; None if it may be."""
    group = scheduler.steps[home]
    assert isinstance(group, Group)
    spec = matmul.product(scheduler.graph, node)
    if matmul.strategy(spec, target) == "blas":
        return Reason.BLAS
    whole = -1 in readers[node.id][home]  # read in another shape
    if whole or node.type.dtype.kind != "f" or not fits(scheduler, group, node):
        return Reason.TILES
    if matmul.form(spec, target).depth < spec.k:  # sums in slices wait in memory
        stored = _stored(scheduler, readers, home)
        own = (m for i, m in group.members.items() if i in stored and not m.copied)
        held = (m for m in own if m.reduced is None)
        if node.id not in stored and all(m.node.type != node.type for m in held):
            return Reason.TILES
    return None


def _stored(scheduler: Scheduler, readers: Readers, step: int) -> set[int]:
    """Values that are read beyond a step, or results."""
    wanted = {i for i, users in readers.items() if any(u != step for u in users)}
    return wanted | {scheduler.root(i) for i in scheduler.graph.outputs}


def fits(scheduler: Scheduler, group: Group, node: Node) -> bool:
    """Whether all of a group can be done on the tiles of a product."""
    graph, shape = scheduler.graph, node.type.shape
    rank = len(shape)
    if group.domain != shape or 0 in shape:
        return False
    if sum(cost(m.node) for m in group.members.values()) > LARGEST:
        return False
    own = Affine(0, strides_of(shape))
    for member in group.members.values():
        known = member.node
        if member.row or cost(known) >= MATH_COST or known.op.name == "gather":
            return False
        if member.reduced is not None and (
            known.op.name != "sum"
            or known.type.dtype.kind != "f"
            or member.reduced != frozenset(range(rank - 1))
        ):
            return False
        for read in scheduler.accesses(known):
            if read.guards:
                return False
            index = read.linear(graph.nodes[read.source].type.shape)
            if read.source == node.id and index != own or not _walks(index, shape):
                return False
    return True


def _walks(index: Affine, shape: tuple[int, ...]) -> bool:
    """Whether an index takes vectors along rows, and all axes of the batch as one."""
    *batch, _, along = index.coefficients
    joined = all(
        outer == inner * extent
        for outer, inner, extent in zip(batch, batch[1:], shape[1:-2], strict=False)
    )
    return along in (0, 1) and joined


def on_tiles(
    nest: Nest, node: Node, tile: Buffer, held: Buffer | None
) -> tuple[int, Nest, Buffer | None]:
    """A nest that reads the product ``node`` from ``tile``, as its epilogue.

    Returns the number of the product as a value, the nest, with one loop over the batch, one over
    rows and one over columns, and a buffer that may hold sums until they are finished. The
    product is stored in ``held`` if that is given.
    """
    (phase,) = nest.phases
    own = Affine(0, strides_of(node.type.shape))
    loads = [s for s in phase.body if isinstance(s, Load) and s.buffer is tile]
    assert all(load.index == own for load in loads) and len(loads) <= 1
    value = loads[0].value if loads else node.id  # none if all that reads it is unused
    body = [s for s in (*phase.row, *phase.body) if s not in loads]
    if held is not None:
        body.append(Store(held, own, value))
    out = held or next(
        (
            s.buffer
            for s in body
            if isinstance(s, Store) and s.index == own and s.buffer.dtype == tile.dtype
        ),
        None,
    )
    *batch, rows = nest.outer

    def remap(affine: Affine) -> Affine:
        *outer, row, col = affine.coefficients
        return Affine(affine.offset, (outer[-1] if outer else 0, row, col))

    phases = (Phase((), tuple(remapped(s, remap) for s in body)),)
    return value, Nest((math.prod(batch), rows), nest.inner, phases), out
