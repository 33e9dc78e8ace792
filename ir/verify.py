"""The verifier: what every graph promises, checked in one pass over its nodes.

It runs after every pass in tests, and after every pass of a user's program unless switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.ir.graph import Graph, Node
from gradc.ir.ops import REGISTRY
from gradc.ir.types import SHORT, UNKNOWN, TensorType


class VerificationError(ValueError):
    """A graph breaks a promise of the IR: a defect of the pass that built it."""


def verify(graph: Graph, after: str = "") -> None:
    """Check a graph; raise VerificationError naming the node and the pass (``after``).

    Ids are dense and topological (so the graph is acyclic), operands exist, every type is what
    the op infers from its operands again, attributes are frozen, inputs, outputs and effects
    exist. Linear in the size of the graph.
    """
    check = _Verifier(graph, after)
    for position, node in enumerate(graph.nodes):
        check.node(position, node)
    check.ends()


class _Verifier:
    def __init__(self, graph: Graph, after: str) -> None:
        self.graph = graph
        self.after = after
        #: op without attributes, its operands' types and its own, where they go together
        self.sound: set[tuple[Any, ...]] = set()

    def fail(self, node: Node | None, problem: str) -> VerificationError:
        where = f"after {self.after}: " if self.after else ""
        what = "" if node is None else f"node {node.id} ({node.op.name}): "
        return VerificationError(f"graph {self.graph.name}: {where}{what}{problem}")

    def node(self, position: int, node: Node) -> None:
        if node.id != position:
            raise self.fail(node, f"stands at position {position}")
        if REGISTRY.get(node.op.name) is not node.op:
            raise self.fail(node, "its op is not in the registry")
        for operand in node.operands:
            if not 0 <= operand < position:
                raise self.fail(node, f"operand {operand} does not come before it")
        of = node.role.of
        if of is not None and not 0 <= of < len(self.graph.nodes):
            raise self.fail(node, f"is a derivative of node {of}, which does not exist")
        self.attrs(node)
        self.type(node)

    def attrs(self, node: Node) -> None:
        if type(node.attrs) is not MappingProxyType:
            raise self.fail(node, "attributes are not frozen")
        if not node.attrs:
            return
        if list(node.attrs) != sorted(node.attrs):
            raise self.fail(node, "attributes are not in order")
        for key, value in node.attrs.items():
            problem = _attribute_problem(value)
            if problem:
                raise self.fail(node, f"attribute {key} {problem}")
        for _, region in node.regions:
            verify(region, after=self.after)

    def type(self, node: Node) -> None:
        key = (node.op, node.type, *[self.graph.nodes[i].type for i in node.operands])
        if node.attrs:
            self.inferred(node)
        elif key not in self.sound:
            self.inferred(node)
            self.sound.add(key)

    def inferred(self, node: Node) -> None:
        type_ = node.type
        if not isinstance(type_, TensorType) or type_.dtype not in SHORT:
            raise self.fail(node, f"{type_!r} is no type of the IR")
        for d in type_.shape:
            if type(d) is not int or d < UNKNOWN:
                raise self.fail(node, f"shape {type_.shape} has an extent that is no count")
        if node.op.name == "input":
            if node.operands:
                raise self.fail(node, "an input has operands")
            return
        operands = [self.graph.nodes[i].type for i in node.operands]
        try:
            inferred = node.op.infer(operands, node.attrs)
        except Exception as error:
            given = ", ".join(map(str, operands))
            raise self.fail(node, f"has no type for operands {given}: {error}") from error
        if inferred != type_:
            raise self.fail(node, f"has type {type_}, its operands give {inferred}")

    def ends(self) -> None:
        graph = self.graph
        for what, ids in (("input", graph.inputs), ("output", graph.outputs),
                          ("effect", graph.effects)):
            for id_ in ids:
                if not 0 <= id_ < len(graph.nodes):
                    raise self.fail(None, f"{what} {id_} does not exist")
        self.listed("input", graph.inputs, [n.id for n in graph.nodes if n.op.name == "input"])
        self.listed("effect", graph.effects, [n.id for n in graph.nodes if n.effective])
        for what, ids in (("inputs", graph.inputs), ("effects", graph.effects)):
            if list(ids) != sorted(ids):
                raise self.fail(None, f"{what} are not in the order of their nodes")

    def listed(self, what: str, listed: Sequence[int], present: Sequence[int]) -> None:
        if sorted(listed) != list(present):
            raise self.fail(None, f"{what}s are listed as {list(listed)}, its nodes are {present}")


def _attribute_problem(value: Any) -> str:
    if isinstance(value, np.ndarray):
        if value.flags.writeable:
            return "is a writeable array"
        if not value.flags.c_contiguous or not value.dtype.isnative:
            return "is an array in another layout than C order, native bytes"
        return ""
    try:
        hash(value)
    except TypeError:
        return f"is not hashable: {value!r}"
    return ""
