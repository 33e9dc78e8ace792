"""The last graph-to-graph step before scheduling: say everything in terms the scheduler has.

Products with a vector become a multiplication and a sum, which fuse with their surroundings;
what must lie in memory of its own (a result, the operand of a call) is given a ``copy`` where it
would otherwise be a view, an input or a constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from gradc.codegen import irregular
from gradc.codegen.access import is_view
from gradc.codegen.sink import sink
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value
from gradc.ir.ops.contraction import matmul_dims
from gradc.ir.ops.control import LoopParts
from gradc.ir.types import I64, UNKNOWN, TensorType

#: ops with regions
REGIONS = frozenset(("loop", "branch"))
#: ops whose operands are read from memory as whole arrays
OPAQUE = irregular.OPS | REGIONS | {"matmul", "debug_print", "assigned", "fitting", "extent"}
#: ops that put pieces together in memory
ASSEMBLED = frozenset(("concat", "update_slice", "embed"))


def is_alias(graph: Graph | Builder, node: Node) -> bool:
    """A reshape that is no view: another shape for the same memory."""
    return node.op.name == "reshape" and not is_view(graph, node)


def is_shared(graph: Graph | Builder, node: Node) -> bool:
    """Whether an operand of a product is one matrix in memory, the same for the whole batch."""
    if node.op.name != "broadcast":
        return False
    inner = graph.nodes[node.operands[0]]
    *batch, rows, columns = (1, 1, *inner.type.shape)
    matrix = (rows, columns) == node.type.shape[-2:] and math.prod(batch) == 1
    return matrix and not is_view(graph, inner)


def is_row(graph: Graph | Builder, node: Node) -> bool:
    """Whether a node reads a part of an array in one piece, at scalar indices."""
    indices = node.operands[1:]
    return node.op.name == "gather" and node.type.rank > 0 and all(
        graph.nodes[i].type.rank == 0 for i in indices
    )


def inlined(graph: Graph) -> Graph:
    """The graph with the bodies of its calls in their places."""
    while any(node.op.name == "call" for node in graph.nodes):
        builder = Builder(graph.name)
        values: dict[int, Value] = {}
        bodies: dict[int, list[Value]] = {}
        for node in graph.nodes:
            operands = [values[i] for i in node.operands if i in values]
            with builder.marked(node.role, node.locs):
                if node.op.name == "input":
                    values[node.id] = builder.input(node.attrs["name"], node.type)
                elif node.op.name == "call":
                    bodies[node.id] = builder.splice(node.attrs["body"], operands)
                elif node.op.name == "item" and node.operands[0] in bodies:
                    values[node.id] = bodies[node.operands[0]][node.attrs["index"]]
                else:
                    values[node.id] = builder.add(node.op, operands, **node.attrs)
        graph = builder.build([values[i] for i in graph.outputs])
    return graph


def prepare(graph: Graph, stays: Callable[[int, int], bool] | None = None) -> Graph:
    """Rewrite a graph for the scheduler; its inputs and what its outputs hold stay.

    An output may come out in another shape: the same elements in the same order. Of a region,
    ``stays(k, n)`` says whether array output k may be input n itself; scalars may always.
    """
    graph = sink(inlined(graph))
    builder = Builder(graph.name)
    values: dict[int, Value] = {}
    copies: dict[int, Value] = {}
    items: dict[tuple[int, int], Value] = {}

    def in_memory(value: Value) -> Value:
        """The value itself, or its copy when it is a view."""
        if not is_view(builder, value.node):
            return value
        if value.id not in copies:
            copies[value.id] = ops.copy(value)
        return copies[value.id]

    for node in _in_order(graph):
        with builder.marked(node.role, node.locs):
            if node.op.name == "input":
                values[node.id] = builder.input(node.attrs["name"], node.type)
                continue
            operands = [values[i] for i in node.operands]
            if node.op.name == "extent" and operands[0].shape[0] != UNKNOWN:
                values[node.id] = ops.const(builder, operands[0].shape[0], I64)
                continue
            if node.op.name == "matmul":
                small = _vector_product(operands[0], operands[1], node)
                if small is not None:
                    values[node.id] = small
                    continue
            if node.attrs.get("axes") == ():  # a reduction along nothing
                values[node.id] = ops.copy(operands[0])
                continue
            if node.op.name == "matmul":
                operands = [v if is_shared(builder, v.node) else in_memory(v) for v in operands]
            elif node.op.name == "loop":
                operands = _loop_operands(operands, node, in_memory)
            elif node.op.name in OPAQUE:
                operands = [in_memory(v) for v in operands]
            elif node.op.name == "gather" or is_alias(graph, node):
                operands[0] = in_memory(operands[0])
            if node.op.name == "item":
                of = (operands[0].id, node.attrs["index"])
                if of not in items:
                    items[of] = builder.add(node.op, operands, **node.attrs)
                values[node.id] = items[of]
                continue
            made = values[node.id] = builder.add(node.op, operands, **node.attrs)
            if node.op.name in REGIONS:  # all results have a place, read or not
                for index, item in enumerate(ops.items(made)):
                    items[made.id, index] = item
    taken: set[int] = set()
    outputs = []
    for k, id_ in enumerate(graph.outputs):
        value = values[id_]
        bare = _unshaped(value)  # of an array made of a region's scalar: a register, no memory
        if stays is None or (in_memory_as(value.type) and in_memory_as(bare.type)):
            value = bare
        if stays is None or in_memory_as(value.type):
            own = value.id not in taken and value.node.op.name not in ("input", "const")
            if stays is not None and value.node.op.name == "input" and value.id not in taken:
                own = stays(k, builder.inputs.index(value.id))
            own = own and not (stays is not None and is_row(builder, value.node))
        else:
            own = True
        if not own or is_view(builder, value.node) or is_alias(builder, value.node):
            with builder.marked(graph.nodes[id_].role, graph.nodes[id_].locs):
                value = ops.copy(values[id_])
        taken.add(value.id)
        outputs.append(value)
    return builder.build(outputs)


def in_memory_as(type_: TensorType) -> bool:
    """Whether values of the type lie in memory in a region, rather than in a register."""
    return type_.rank > 0 and UNKNOWN not in type_.shape


def _in_order(graph: Graph) -> Sequence[Node]:
    """The nodes in an order that can run: random numbers, and what they need, before the rest.

    They are made by themselves, in memory, mostly of a key alone: between the nodes that
    use them they would cut in two what runs in one loop.
    """
    if all(node.op.family != "random" for node in graph.nodes):
        return graph.nodes
    first: set[int] = set()
    for node in reversed(graph.nodes):
        if node.op.family == "random" or node.id in first:
            first.update((node.id, *node.operands))
    first.update(graph.inputs)
    return sorted(graph.nodes, key=lambda node: (node.op.name != "input", node.id not in first))


def _loop_operands(
    operands: Sequence[Value], node: Node, in_memory: Callable[[Value], Value]
) -> list[Value]:
    """Operands of a loop in memory; of one number everywhere a copy for each carry.

    To fill an array costs less than to copy what others read too.
    """
    parts = LoopParts(range(len(operands)), node.attrs)
    return [
        ops.copy(value) if k in parts.carries and value.node.op.name == "broadcast"
        else in_memory(value)
        for k, value in enumerate(operands)
    ]


def _unshaped(value: Value) -> Value:
    """The value behind reshapes: as a result it is the same memory."""
    while value.node.op.name == "reshape":
        value = value.operands[0]
    return value


def _vector_product(a: Value, b: Value, node: Node) -> Value | None:
    """A product with m, n or k equal to one, as multiplication and sum."""
    m, n, k = matmul_dims(a.type, b.type, node.attrs)
    ta, tb = node.attrs["ta"], node.attrs["tb"]
    batch = a.shape[:-2]
    rank = len(batch)

    def wide(v: Value, kept: tuple[int, int], to: tuple[int, int]) -> Value:
        return _broadcast(_reshape(v, (*batch, *kept)), (*batch, *to))

    if k == 1:
        out = wide(a, (m, 1), (m, n)) * wide(b, (1, n), (m, n))
    elif n == 1:
        if ta:
            out = ops.sum_(a * wide(b, (k, 1), (k, m)), axes=(rank,))
        else:
            out = ops.sum_(a * wide(b, (1, k), (m, k)), axes=(rank + 1,))
    elif m == 1:
        if tb:
            out = ops.sum_(b * wide(a, (1, k), (n, k)), axes=(rank + 1,))
        else:
            out = ops.sum_(b * wide(a, (k, 1), (k, n)), axes=(rank,))
    else:
        return None
    return _reshape(out, (*batch, m, n))


def _reshape(value: Value, shape: tuple[int, ...]) -> Value:
    return value if value.shape == shape else ops.reshape(value, shape=shape)


def _broadcast(value: Value, shape: tuple[int, ...]) -> Value:
    return value if value.shape == shape else ops.broadcast(value, shape=shape)
