"""Calls are written out once nothing is left to differentiate; and copying graphs on the way."""

from __future__ import annotations

from collections.abc import Callable

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value, frozen
from gradc.ir.types import UNKNOWN

Optimize = Callable[[Graph], Graph]


def on_regions(graph: Graph, apply: Optimize) -> Graph:
    """The graph with each of its regions replaced."""
    if not any(node.op.family == "control" for node in graph.nodes):
        return graph
    nodes = list(graph.nodes)
    for node in graph.nodes:
        if node.regions:
            attrs = {
                key: apply(value) if isinstance(value, Graph)
                else tuple(apply(g) for g in value) if key == "branches" else value
                for key, value in node.attrs.items()
            }
            nodes[node.id] = node._replace(attrs=frozen(attrs))
    return Graph(graph.name, nodes, graph.inputs, graph.outputs, graph.effects)


def inline_calls(graph: Graph) -> Graph:
    """Write calls out. What a checkpoint computes again is kept apart from the first time."""
    graph = on_regions(graph, inline_calls)
    if not any(node.op.name == "call" for node in graph.nodes):
        return graph
    copier = Copier(graph)
    fence = max((node.fence for node in graph.nodes), default=0)
    for node in graph.nodes:
        if node.op.name != "call":
            copier.copy(node)
            continue
        operands = copier.operands(node)
        if node.attrs["rule"] == "recompute":
            fence += 1
            operands = [_fenced(value, fence) for value in operands]
        with copier.builder.marked(node.role, node.locs):
            copier.results[node.id] = list(copier.builder.splice(node.attrs["body"], operands))
    return copier.build()


def _fenced(value: Value, fence: int) -> Value:
    """The value as a node that merges with no other: what is computed from it is computed again."""
    builder = value.builder
    if value.node.op.name == "const" or UNKNOWN in value.type.shape:
        return value
    node = ops.copy(value).node._replace(fence=fence)
    builder.nodes[node.id] = node
    return Value(builder, node)


class Copier:
    """Copies a graph node by node; ``results`` are what stands for those of control flow."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = Builder(graph.name)
        self.values: dict[int, Value] = {}
        self.results: dict[int, list[Value | None]] = {}
        for id_ in graph.inputs:
            node = graph.nodes[id_]
            with self.builder.marked(node.role._replace(of=None), node.locs):
                self.values[id_] = self.builder.input(node.attrs["name"], node.type)

    def operands(self, node: Node) -> list[Value]:
        """The new values of a node's operands."""
        return [self.values[i] for i in node.operands]

    def copy(self, node: Node) -> None:
        """Copy a node, or find the item that stands for it."""
        if node.id in self.values:
            return
        if node.op.name == "item" and node.operands[0] in self.results:
            value = self.results[node.operands[0]][node.attrs["index"]]
            assert value is not None, "an item is used that was thought unused"
            self.values[node.id] = value
            return
        operands = self.operands(node)
        of = None if node.role.of is None else self.values.get(node.role.of)
        type_ = node.type
        if any(self.graph.nodes[i].type != self.values[i].type for i in node.operands):
            type_ = node.op.infer([v.type for v in operands], node.attrs)
        self.values[node.id] = self.builder._insert(node._replace(
            id=len(self.builder.nodes), operands=tuple([v.id for v in operands]), type=type_,
            role=node.role._replace(of=of.id if of else None),
        ))

    def build(self) -> Graph:
        """The copy."""
        return self.builder.build([self.values[i] for i in self.graph.outputs])
