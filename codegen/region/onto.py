"""What is added to an array of which a region updates parts: in place, or in one pass.

The cotangent of a slice is zeros but for the slice: ``add(a, embed(u))`` would go through all of
``a`` for the few elements of ``u``. A negative zero of ``a`` beside them stays one.

Where the part is large and what is added to has a part overwritten with one number, while its old
value is read too, that needs no pass, and no copy, of its own: it is chosen where it is added to.
"""
from __future__ import annotations

from gradc.codegen.prepare import in_memory_as
from gradc.codegen.region.sources import source_of
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value

#: an array is so many times larger than the part, at least
LARGER = 4


def onto(graph: Graph) -> Graph:
    """A region with updates of parts for additions of parts."""
    if not any(node.op.name == "embed" for node in graph.nodes):
        return graph
    blank = _blank(graph)
    builder = Builder(graph.name)
    values: dict[int, Value] = {}
    for node in graph.nodes:
        with builder.marked(node.role, node.locs):
            if node.op.name == "input":
                values[node.id] = builder.input(node.attrs["name"], node.type)
                continue
            operands = [values[i] for i in node.operands]
            made = None
            if node.id in blank:
                made = _chosen(node, *operands)
            elif node.op.name == "add":
                made = _added(graph, node.operands, operands)
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


def _blank(graph: Graph) -> set[int]:
    """The updates of a large part with one number, only added to, of arrays that are read too."""
    users: dict[int, list[Node]] = {}
    for node in graph.nodes:
        for id_ in set(node.operands):
            users.setdefault(id_, []).append(node)
    return {
        node.id for node in graph.nodes
        if node.op.name == "update_slice" and node.id not in graph.outputs
        and graph.nodes[node.operands[1]].type.size * LARGER > node.type.size
        and _is_number(graph, node.operands[1])
        and len(users[node.operands[0]]) > 1
        and all(user.op.name == "add" for user in users.get(node.id, []))
    }


def _is_number(graph: Graph, id_: int) -> bool:
    node = graph.nodes[id_]
    return node.op.name == "broadcast" and graph.nodes[node.operands[0]].op.name == "const"


def _chosen(node: Node, x: Value, part: Value) -> Value:
    """``update_slice(x, part)`` of one number as a choice at each element."""
    (number,) = part.operands
    inside = ops.embed(
        ops.broadcast(ops.const(x.builder, True), shape=part.shape),
        shape=x.shape, starts=node.attrs["starts"], steps=node.attrs["steps"],
    )
    return ops.where(inside, ops.broadcast(number, shape=x.shape), x)
