"""Loop-invariant code motion (Aho et al., *Compilers*, 2006, 9.5)."""

from __future__ import annotations

from collections.abc import Collection

from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.passes.calls import Copier
from gradc.ir.types import UNKNOWN

#: ops that cost nothing by themselves; moved out of a loop they would only take memory
_VIEWS = frozenset("broadcast reshape transpose slice embed const copy".split())
#: what may fail runs as often as it was written
_HELD = frozenset(("gather", "scatter_add", "scatter_set"))


def hoisted(
    builder: Builder, body: Graph, held: dict[int, Value], reached: Collection[int]
) -> list[tuple[int, Value]]:
    """Nodes of a body that are the same in every iteration, with their values before the loop.

    ``held`` are the inputs that never change. Nothing is moved that is larger than what it is
    computed from.
    """
    fixed = {id_ for id_ in held if UNKNOWN not in held[id_].shape}
    size: dict[int, int] = {id_: held[id_].type.size for id_ in fixed}
    ends: set[int] = set()
    for node in body.nodes:
        if node.id not in reached or node.id in fixed:
            continue
        may = node.op.family != "control" and node.op.name not in _HELD and not node.op.effect
        if may and node.op.name != "input" and fixed.issuperset(node.operands):
            fixed.add(node.id)
            size[node.id] = max((size[i] for i in node.operands), default=1)
        else:
            ends.update(node.operands)
    ends.update(body.outputs)
    found = []
    todo = sorted(ends & (fixed - set(held)), reverse=True)
    seen = set(todo)
    made = Copier(Graph(body.name, body.nodes, (), (), ()))
    made.builder, made.values = builder, dict(held)
    while todo:
        node = body.nodes[todo.pop(0)]
        if node.op.name in _VIEWS or node.type.size > max(size[node.id], 1):
            more = {i for i in node.operands if i not in held} - seen
            seen |= more
            todo.extend(sorted(more, reverse=True))
            continue
        cone = sorted(_cone(body, node.id, held))
        for id_ in cone:
            made.copy(body.nodes[id_])
        found.append((node.id, made.values[node.id]))
    return found


def _cone(graph: Graph, id_: int, held: Collection[int]) -> set[int]:
    """A node and all that it depends on, short of what is held."""
    seen, todo = {id_}, [id_]
    while todo:
        for operand in graph.nodes[todo.pop()].operands:
            if operand not in seen and operand not in held:
                seen.add(operand)
                todo.append(operand)
    return seen
