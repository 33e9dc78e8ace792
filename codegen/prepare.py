"""The last graph-to-graph step before scheduling: say everything in terms the scheduler has.

Products with a vector become a multiplication and a sum, which fuse with their surroundings;
what must lie in memory of its own (a result, the operand of a call) is given a ``copy`` where it
would otherwise be a view, an input or a constant.
"""

from __future__ import annotations

import math

from gradc.codegen import irregular
from gradc.codegen.access import is_view
from gradc.codegen.sink import sink
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value
from gradc.ir.ops.contraction import matmul_dims

#: ops whose operands are read from memory as whole arrays
OPAQUE = irregular.OPS | {"matmul", "debug_print"}
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


def prepare(graph: Graph) -> Graph:
    """Rewrite a graph for the scheduler; its inputs and what its outputs hold stay.

    An output may come out in another shape: the same elements in the same order.
    """
    graph = sink(graph)
    builder = Builder(graph.name)
    values: dict[int, Value] = {}
    copies: dict[int, Value] = {}

    def in_memory(value: Value) -> Value:
        """The value itself, or its copy when it is a view."""
        if not is_view(builder, value.node):
            return value
        if value.id not in copies:
            copies[value.id] = ops.copy(value)
        return copies[value.id]

    for node in graph.nodes:
        with builder.marked(node.role, node.locs):
            if node.op.name == "input":
                values[node.id] = builder.input(node.attrs["name"], node.type)
                continue
            operands = [values[i] for i in node.operands]
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
            elif node.op.name in OPAQUE:
                operands = [in_memory(v) for v in operands]
            elif node.op.name == "gather" or is_alias(graph, node):
                operands[0] = in_memory(operands[0])
            values[node.id] = builder.add(node.op, operands, **node.attrs)
    taken: set[int] = set()
    outputs = []
    for id_ in graph.outputs:
        value = _unshaped(values[id_])
        own = value.id not in taken and value.node.op.name not in ("input", "const")
        if not own or is_view(builder, value.node) or is_alias(builder, value.node):
            with builder.marked(graph.nodes[id_].role, graph.nodes[id_].locs):
                value = ops.copy(values[id_])
        taken.add(value.id)
        outputs.append(value)
    return builder.build(outputs)


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
