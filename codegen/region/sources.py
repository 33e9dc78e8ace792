"""Which operand a result of control flow is made of: it can be computed in its place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from gradc.codegen.prepare import in_memory_as
from gradc.ir.graph import Graph, Node
from gradc.ir.ops.control import LoopParts


def updates(graph: Graph, node: Node, items: Mapping[int, int]) -> list[tuple[int, int]]:
    """The array results that can be in the place of an operand: (item, position)."""
    if node.op.name == "loop":
        first = len(node.operands) - len(LoopParts(node.operands, node.attrs).captures)
        first -= node.attrs["xs"] + node.attrs["carries"]
        pairs = [(k, first + k) for k in range(node.attrs["carries"])]
    else:
        pairs = [(k, p + 1) for k, p in kept_by(node.attrs["branches"]).items()]
    return [
        (items[k], position) for k, position in pairs
        if in_memory_as(graph.nodes[items[k]].type)
    ]


@lru_cache(maxsize=1024)  # each of the results asks for it again, at every depth of a nest
def kept_by(branches: tuple[Graph, ...]) -> dict[int, int]:
    """Array results that branches make of the same input, if not of none: result -> input."""
    out: dict[int, int] = {}
    for k in range(len(branches[0].outputs)):
        found = (source_of(branch, branch.outputs[k]) for branch in branches)
        sources = {source for source in found if source is not None}
        if len(sources) == 1 and not sources & set(out.values()):
            (out[k],) = sources
    return out


def source_of(graph: Graph, id_: int) -> int | None:
    """The input that a value is, or is made of by updates; None if it is another."""
    while True:
        node = graph.nodes[id_]
        match node.op.name:
            case "input":
                return graph.inputs.index(id_)
            case "update_slice" | "scatter_add" | "scatter_set" | "cumsum" | "cumprod":
                id_ = node.operands[0]
            case "item":
                of, k = graph.nodes[node.operands[0]], node.attrs["index"]
                if of.op.name == "loop" and k < of.attrs["carries"]:
                    id_ = LoopParts(of.operands, of.attrs).carries[k]
                elif of.op.name == "branch" and k in (kept := kept_by(of.attrs["branches"])):
                    id_ = of.operands[1 + kept[k]]
                else:
                    return None
            case _:
                return None
