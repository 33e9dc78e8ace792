"""What differentiation asks of regions: which of their values are active, and cutting them.

Reverse mode of a region is linearise, then transpose (as in JAX's partial evaluation, Frostig et
al. 2021): the adjoint of its graph is appended to it, and what depends on the cotangents is cut
off (:func:`halves`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node

Flags = list[bool]


def chosen(flags: Sequence[bool]) -> list[int]:
    """The positions that are set."""
    return [k for k, flag in enumerate(flags) if flag]


# -- activity ------------------------------------------------------------------------------------


def body_activity(graph: Graph, inputs: Sequence[bool]) -> Flags:
    """Whether each output of a region is a floating value that active inputs reach."""
    from gradc.ir.autodiff import active

    live = active(graph, chosen(inputs))
    return [i in live and graph.nodes[i].type.differentiable for i in graph.outputs]


def loop_activity(node: Node, operands: Sequence[bool]) -> tuple[ops.LoopParts, Flags]:
    """Which operands and which elements of ys are active: carries to a fixed point."""
    attrs = node.attrs
    parts = ops.LoopParts(operands, attrs)
    while True:
        given = [False, *parts.carries, *parts.xs, *parts.captures]
        out = body_activity(attrs["body"], given)
        count = attrs["carries"]
        carries = [a or b for a, b in zip(parts.carries, out[:count], strict=True)]
        if carries == parts.carries:
            return parts, out[count:]
        parts.carries = carries


def activity(node: Node, operands: Sequence[bool]) -> Flags:
    """Whether each result of a node of control flow is active."""
    attrs = node.attrs
    match node.op.name:
        case "loop":
            parts, ys = loop_activity(node, operands)
            return [*parts.carries, *([False] if attrs["test"] is not None else []), *ys]
        case "branch":
            each = [body_activity(g, operands[1:]) for g in attrs["branches"]]
            return [any(flags) for flags in zip(*each, strict=True)]
    if attrs["rule"].startswith("custom"):
        return [any(operands) and t.differentiable for t in node.type.items]
    return body_activity(attrs["body"], operands)


_VIEWS = frozenset(("reshape", "transpose", "slice", "broadcast"))


def views_of(graph: Graph, ids: Collection[int]) -> set[int]:
    """Nodes and views of them, and constants."""
    found = set(ids)
    for node in graph.nodes:
        if node.op.name == "const" or (node.op.name in _VIEWS and node.operands[0] in found):
            found.add(node.id)
    return found


# -- cutting graphs ------------------------------------------------------------------------------


def extract(
    graph: Graph, name: str, inputs: Sequence[int], outputs: Sequence[int], effects: bool = False
) -> Graph:
    """The graph from some nodes, which become its inputs, to others.

    With ``effects`` it has those of the graph.
    """
    wanted = set(outputs) | (set(graph.effects) if effects else set())
    ends = set(inputs)
    for node in reversed(graph.nodes):
        if node.id in wanted and node.id not in ends:
            wanted.update(node.operands)
    builder = Builder(name)
    new: dict[int, int] = {}
    for number, id_ in enumerate(inputs):
        node = graph.nodes[id_]
        label = node.attrs["name"] if node.op.name == "input" else f"r{number}"
        with builder.marked(node.role._replace(of=None), node.locs):
            new[id_] = builder.input(label, node.type._replace(weak=False)).id
    for node in graph.nodes:
        if node.id in wanted and node.id not in ends:
            of = new.get(node.role.of) if node.role.of is not None else None
            operands = tuple([new[i] for i in node.operands])
            type_ = node.type
            if any(graph.nodes[i].type != builder.nodes[new[i]].type for i in node.operands):
                type_ = node.op.infer([builder.nodes[i].type for i in operands], node.attrs)
            new[node.id] = builder._insert(node._replace(
                id=len(builder.nodes), operands=operands, role=node.role._replace(of=of),
                type=type_,
            )).id
    return builder.build([builder.value(new[i]) for i in outputs])


@dataclass(frozen=True)
class Halves:
    """The adjoint of a region, cut in two.

    graph: the region with its adjoint; its inputs are those of the region, seeds of outputs, then
    running cotangents. forward, residuals: node ids of the region's outputs and of what the other
    part reads of the first, besides inputs of the region (``needed``, positions). backward: of the
    cotangents of inputs, None where there is none.
    """

    graph: Graph
    forward: list[int]
    residuals: list[int]
    needed: list[int]
    seeds: list[int]
    running: list[int]
    backward: list[int | None]


def halves(
    region: Graph,
    wrt: Sequence[int],
    outputs: Sequence[int],
    running: Sequence[int],
    free: Callable[[int], bool],
    optional: Sequence[int] = (),
    fixed: Sequence[int] = (),
) -> Halves:
    """Differentiate a region in the inputs at ``wrt`` from the outputs at ``outputs``, and cut it.

    ``running`` are those of ``wrt`` whose cotangent goes on from a given one, ``optional`` those
    that may have none. ``free`` says of an input's position whether the backward part can have it
    without its being kept; ``fixed`` are those that are the same in every iteration.
    """
    from gradc.ir.autodiff import reverse
    from gradc.ir.residuals import choose

    lasting = [k for k in range(len(region.inputs)) if free(k)]
    adjoint, present = reverse(region, wrt, outputs, running, optional, lasting)
    adjoint = _tidied(adjoint)
    count, total = len(region.inputs), len(region.outputs)
    behind = set(adjoint.inputs[count:])
    for node in adjoint.nodes:
        if any(i in behind for i in node.operands):
            behind.add(node.id)
    found = iter(adjoint.outputs[total:])
    backward = [next(found) if has else None for has in present]
    position = {id_: k for k, id_ in enumerate(adjoint.inputs[:count])}
    available = {id_ for id_, k in position.items() if free(k)}
    kept = choose(adjoint, behind, [i for i in backward if i is not None], available,
                  {adjoint.inputs[k] for k in fixed})
    return Halves(
        adjoint,
        list(adjoint.outputs[:total]),
        [i for i in kept if i not in available],
        sorted(position[i] for i in kept if i in available),
        list(adjoint.inputs[count : count + len(outputs)]),
        list(adjoint.inputs[count + len(outputs) :]),
        backward,
    )


def _tidied(graph: Graph) -> Graph:
    """Simplified, so that no residual is kept for what algebra removes."""
    from gradc.ir.passes import dce, run, simplify

    return run(graph, (dce, simplify, dce), check=False)
