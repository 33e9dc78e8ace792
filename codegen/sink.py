"""Padded reads sink below cheap arithmetic, so that fewer arrays lie in memory.

The gradient of a stencil adds up the same array several times, at several places and with several
factors: the adjoints of slices are zero-padded reads of ``d * a``, ``d * b``, ``-(d * a) - d * b``.
Each is read at other points than it is computed at, and would be an array in memory of its own.
A padded read of ``d * a`` is the product of padded reads of ``d`` and ``a``: where several values
follow in a few flops from one, and from what is spread out of little, only that one is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gradc.codegen.access import is_view
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value

#: arithmetic that is done again, and how much of it for each read
ARITHMETIC = frozenset(("add", "sub", "mul", "neg"))
FLOPS = 8
#: an operand of so much fewer elements is read rather than computed with
SMALL = 16


def sink(graph: Graph) -> Graph:
    """The graph with padded reads of one array in place of padded reads of several."""
    bases = _bases(graph)
    if not bases:
        return graph
    builder = Builder(graph.name)
    values: dict[int, Value] = {}
    for node in graph.nodes:
        with builder.marked(node.role, node.locs):
            if node.op.name == "input":
                values[node.id] = builder.input(node.attrs["name"], node.type)
            elif node.op.name == "embed" and node.operands[0] in bases:
                base = bases[node.operands[0]]
                values[node.id] = _sunk(graph, builder, node, base, values.__getitem__)
            else:
                operands = [values[i] for i in node.operands]
                values[node.id] = builder.add(node.op, operands, **node.attrs)
    return builder.build([values[i] for i in graph.outputs])


def _bases(graph: Graph) -> dict[int, int]:
    """Of values that are only read padded or where they are computed: what they follow from."""
    if not any(_pads(graph, node) for node in graph.nodes):
        return {}
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for i in node.operands:
            users.setdefault(i, []).append(node)

    def moves(id_: int) -> bool:
        """Whether a value is read padded, and needs no memory for another reason."""
        readers = users[id_]
        return id_ not in graph.outputs and all(
            node.op.family == "elementwise" or _pads(graph, node) for node in readers
        )

    read = {n.operands[0] for n in graph.nodes if _pads(graph, n)}
    found = {i: base for i in sorted(read) if moves(i) and (base := _base(graph, i)) is not None}
    shared = Counter(found.values())
    return {i: base for i, base in found.items() if shared[base] > 1}


def _pads(graph: Graph, node: Node) -> bool:
    return (
        node.op.name == "embed"
        and is_view(graph, node)
        and graph.nodes[node.operands[0]].type.dtype.kind == "f"
    )


def _base(graph: Graph, id_: int) -> int | None:
    """The furthest single value of its size from which a value follows in a few flops."""
    frontier, flops, base = {id_}, 0, None
    while True:
        node = graph.nodes[max(frontier)]
        flops += 1
        if node.op.name not in ARITHMETIC or flops > FLOPS:
            return base
        frontier.remove(node.id)
        frontier |= {i for i in node.operands if not _small(graph, i)}
        if not frontier:  # it follows from single numbers
            return base
        if len(frontier) == 1:
            (base,) = frontier


def _small(graph: Graph, id_: int) -> bool:
    """Whether a value is spread out of few elements."""
    node = graph.nodes[id_]
    size = node.type.size
    while is_view(graph, node):
        node = graph.nodes[node.operands[0]]
    return node.type.size * SMALL <= size


def _sunk(
    graph: Graph, builder: Builder, embed: Node, base: int, value: Callable[[int], Value]
) -> Value:
    """The arithmetic from ``base`` to what an embed pads, on padded operands."""
    needed, work = set(), [embed.operands[0]]
    while work:
        id_ = work.pop()
        needed.add(id_)
        if id_ != base and not _small(graph, id_):
            work.extend(graph.nodes[id_].operands)
    made: dict[int, Value] = {}
    exact = True  # zeros come out of zeros, with their sign
    for id_ in sorted(needed):
        node = graph.nodes[id_]
        if id_ == base or _small(graph, id_):
            made[id_] = builder.add(embed.op, [value(id_)], **embed.attrs)
        else:
            exact = exact and node.op.name != "neg"
            made[id_] = builder.add(node.op, [made[i] for i in node.operands], **node.attrs)
    out = made[embed.operands[0]]
    if exact:
        return out
    inner = graph.nodes[embed.operands[0]].type.shape
    truth = ops.broadcast(ops.const(builder, True), shape=inner)
    inside = builder.add(embed.op, [truth], **embed.attrs)
    zero = ops.broadcast(ops.const(builder, 0, out.dtype), shape=out.shape)
    return ops.where(inside, out, zero)
