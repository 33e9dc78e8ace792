"""Dead code elimination."""

from __future__ import annotations

from gradc.ir.graph import Builder, Graph, Node, Role


def dce(graph: Graph) -> Graph:
    """Keep what outputs and effects need. Inputs stay; a graph without dead nodes is returned as
    it is.
    """
    live = bytearray(len(graph.nodes))
    for id_ in (*graph.inputs, *graph.outputs, *graph.effects):
        live[id_] = True
    for node in reversed(graph.nodes):
        if live[node.id]:
            for operand in node.operands:
                live[operand] = True
    if all(live):
        return graph
    builder = Builder(graph.name)
    new: dict[int, int] = {}
    for node in graph.nodes:
        if live[node.id]:
            new[node.id] = len(builder.nodes)
            of = node.role.of
            role = node.role if of is None else Role(node.role.kind, node.role.order, new.get(of))
            operands = tuple([new[i] for i in node.operands])
            builder._insert(Node(new[node.id], node.op, operands, node.attrs, node.type, node.locs,
                                 role, node.fence))
    builder.inputs = [new[i] for i in graph.inputs]
    return builder.build([builder.value(new[i]) for i in graph.outputs])
