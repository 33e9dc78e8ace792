"""What is added to a part of an array that a region updates is added in place.

The cotangent of a slice is zeros but for the slice: ``add(a, embed(u))`` would go through all of
``a`` for the few elements of ``u``. A negative zero of ``a`` beside them stays one.
"""

from __future__ import annotations

from gradc.codegen.prepare import in_memory_as
from gradc.codegen.region.sources import source_of
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Value

#: an array is so many times larger than the part, at least
LARGER = 4


def onto(graph: Graph) -> Graph:
    """A region with updates of parts for additions of parts."""
    if not any(node.op.name == "embed" for node in graph.nodes):
        return graph
    builder = Builder(graph.name)
    values: dict[int, Value] = {}
    for node in graph.nodes:
        with builder.marked(node.role, node.locs):
            if node.op.name == "input":
                values[node.id] = builder.input(node.attrs["name"], node.type)
                continue
            operands = [values[i] for i in node.operands]
            made = _added(graph, node.operands, operands) if node.op.name == "add" else None
            values[node.id] = made or builder.add(node.op, operands, **node.attrs)
    return builder.build([values[i] for i in graph.outputs])


def _added(graph: Graph, ids: tuple[int, ...], operands: list[Value]) -> Value | None:
    for (x, y), base in ((operands, ids[0]), (operands[::-1], ids[1])):
        if y.node.op.name != "embed" or not in_memory_as(x.type):
            continue
        (part,) = y.operands
        small = part.type.size * LARGER <= x.type.size
        if small and source_of(graph, base) is not None:
            where = {"starts": y.node.attrs["starts"], "steps": y.node.attrs["steps"]}
            old = ops.slice_(x, sizes=part.shape, **where)
            return ops.update_slice(x, old + part, **where)
    return None
