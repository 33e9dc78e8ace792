"""What differentiation asks of regions: which of their values are active, and cutting them.

Reverse mode of a region is linearise, then transpose (as in JAX's partial evaluation, Frostig et
al. 2021): the adjoint of its graph is appended to it, and what depends on the cotangents is cut
off (:func:`halves`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

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


class Cycle(ValueError):
    """What is to be restored is needed before it can be."""


def _ordered(
    graph: Graph, outputs: Collection[int], ends: Collection[int], instead: Mapping[int, int]
) -> list[int]:
    """What some nodes depend on, short of ``ends``, each after its operands; Raises Cycle."""
    done: set[int] = set(ends)
    open_: set[int] = set()
    order: list[int] = []
    todo = [(instead.get(i, i), False) for i in sorted(outputs, reverse=True)]
    while todo:
        id_, left = todo.pop()
        if left:
            open_.discard(id_)
            done.add(id_)
            order.append(id_)
        elif id_ in open_:
            raise Cycle(f"%{id_}")
        elif id_ not in done:
            open_.add(id_)
            todo.append((id_, True))
            operands = [instead.get(i, i) for i in graph.nodes[id_].operands]
            if any(i in open_ for i in operands):
                raise Cycle(f"%{id_}")
            todo.extend((i, False) for i in reversed(operands) if i not in done)
    return order


def extract(
    graph: Graph,
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    effects: bool = False,
    instead: Mapping[int, int] = MappingProxyType({}),
) -> Graph:
    """The graph from some nodes, which become its inputs, to others.

    With ``effects`` it has those of the graph. Nodes have others ``instead``.
    """
    ends = set(inputs)
    wanted = set(outputs) | (set(graph.effects) if effects else set())
    if instead:
        order = _ordered(graph, wanted, ends, instead)
    else:
        for node in reversed(graph.nodes):
            if node.id in wanted and node.id not in ends:
                wanted.update(node.operands)
        order = sorted(wanted - ends)
    builder = Builder(name)
    new: dict[int, int] = {}
    for number, id_ in enumerate(inputs):
        node = graph.nodes[id_]
        label = node.attrs["name"] if node.op.name == "input" else f"r{number}"
        with builder.marked(node.role._replace(of=None), node.locs):
            new[id_] = builder.input(label, node.type._replace(weak=False)).id
    for id_ in order:
        node = graph.nodes[id_]
        of = new.get(node.role.of) if node.role.of is not None else None
        operands = tuple([new[instead.get(i, i)] for i in node.operands])
        type_ = node.type
        if any(
            graph.nodes[i].type != builder.nodes[j].type
            for i, j in zip(node.operands, operands, strict=True)
        ):
            type_ = node.op.infer([builder.nodes[i].type for i in operands], node.attrs)
        new[node.id] = builder._insert(node._replace(
            id=len(builder.nodes), operands=operands, role=node.role._replace(of=of), type=type_,
        )).id
    return builder.build([builder.value(new[instead.get(i, i)]) for i in outputs])


@dataclass(frozen=True)
class Halves:
    """The adjoint of a region, cut in two.

    graph: the region with its adjoint; its inputs are those of the region, seeds of outputs, then
    running cotangents. forward, residuals: node ids of the region's outputs and of what the other
    part reads of the first, besides inputs of the region (``needed``, positions). backward: of the
    cotangents of inputs, None where there is none. states: inputs that are arrays as the region
    left them; before: what they were when it began, with what it has overwritten put back;
    ``instead`` of the versions of such arrays the backward part has those put back.
    """

    graph: Graph
    forward: list[int]
    residuals: list[int]
    needed: list[int]
    seeds: list[int]
    running: list[int]
    backward: list[int | None]
    states: list[int]
    before: list[int]
    instead: dict[int, int]


def halves(
    region: Graph,
    wrt: Sequence[int],
    outputs: Sequence[int],
    running: Sequence[int],
    free: Mapping[int, int],
    optional: Sequence[int] = (),
    fixed: Sequence[int] = (),
    undo: Sequence[tuple[int, int]] = (),
) -> Halves:
    """Differentiate a region in the inputs at ``wrt`` from the outputs at ``outputs``, and cut it.

    ``running`` are those of ``wrt`` whose cotangent goes on from a given one, ``optional`` those
    that may have none. ``free`` are positions of inputs that the backward part can have without
    their being kept in each iteration, but once for so many, or not at all for 0; ``fixed`` are
    those that are the same in every iteration. ``undo`` are
    arrays, inputs and the outputs that they become, whose writes the backward part undoes. Raises
    Cycle where that cannot be.
    """
    from gradc.ir.autodiff import reverse
    from gradc.ir.residuals import choose

    lasting = [k for k, trips in free.items() if not trips]
    adjoint, present, lengths = reverse(
        region, wrt, outputs, running, optional, lasting, undo)
    adjoint = _tidied(adjoint)
    count, total = len(region.inputs), len(region.outputs)
    behind = set(adjoint.inputs[count:])
    for node in adjoint.nodes:
        if any(i in behind for i in node.operands):
            behind.add(node.id)
    found = iter(adjoint.outputs[total:])
    backward = [next(found) if has else None for has in present]
    position = {id_: k for k, id_ in enumerate(adjoint.inputs[:count])}
    before: list[int] = []
    instead: dict[int, int] = {}
    old: set[int] = set()
    for versions, writes in lengths:
        stages = [next(found) for _ in range(versions)]
        restored = [next(found) for _ in range(versions)]
        old |= {next(found) for _ in range(writes)}
        before.append(restored[0])
        instead |= {a: b for a, b in zip(stages, restored, strict=True) if a != b}
    free_inputs = {adjoint.inputs[k]: trips for k, trips in free.items()}
    ends = [i for i in (*backward, *before) if i is not None]
    forward = list(adjoint.outputs[:total])
    kept = choose(
        adjoint, behind, ends, forward, free_inputs, instead,
        {adjoint.inputs[k] for k in fixed}, old,
    )
    at = count + len(outputs)
    made = Halves(
        adjoint,
        forward,
        [i for i in kept if i not in free_inputs and i not in instead],
        sorted(position[i] for i in kept if i in free_inputs and i not in instead),
        list(adjoint.inputs[count:at]),
        list(adjoint.inputs[at : at + len(running)]),
        backward,
        list(adjoint.inputs[at + len(running) :]),
        before,
        instead,
    )
    if instead:
        _ordered(adjoint, ends, {*adjoint.inputs, *made.residuals} - instead.keys(), instead)
    return made


# -- arrays written in place -----------------------------------------------------------------------


def versions(graph: Graph, first: int, last: int) -> list[int] | None:
    """The nodes that an array goes through from one to another, each with less written over it.

    None if it is not only by writes of an element or row, and loops of such.
    """
    found = [last]
    while found[-1] != first:
        before = overwritten(graph, graph.nodes[found[-1]])
        if before is None:
            return None
        found.append(before)
    return found[::-1]


def overwritten(graph: Graph, node: Node) -> int | None:
    """The array over which a node has an element, a row, or what a loop or branch writes."""
    if node.op.name in ("scatter_set", "scatter_add"):
        return None if graph.nodes[node.operands[2]].type.shape else node.operands[0]
    if node.op.name != "item" or not node.type.shape:
        return None
    of, k = graph.nodes[node.operands[0]], node.attrs["index"]
    if of.op.name == "branch":
        places = {origin(g, g.outputs[k]) for g in of.attrs["branches"]}
        place = places.pop()
        return None if places or place is None else of.operands[1 + place]
    if of.op.name != "loop" or k >= of.attrs["carries"]:
        return None
    body: Graph = of.attrs["body"]
    if origin(body, body.outputs[k]) != 1 + k:
        return None
    before: int = ops.LoopParts(of.operands, of.attrs).carries[k]
    return before


def origin(graph: Graph, id_: int) -> int | None:
    """The position of the input that an array is after writes; None if it is no such."""
    node = graph.nodes[id_]
    while node.op.name != "input":
        before = overwritten(graph, node)
        if before is None:
            return None
        node = graph.nodes[before]
    return graph.inputs.index(node.id)


def read_inside(graph: Graph, first: int, last: int) -> bool:
    """Whether a loop or branch reads an array that goes from one node to another by writes."""
    chain = versions(graph, first, last)
    if chain is None or len(chain) < 2:
        return False
    for node in graph.nodes:
        if node.op.name == "branch" and set(chain) & set(node.operands):
            return True
        if node.op.name == "loop":
            parts = ops.LoopParts(node.operands, node.attrs)
            body: Graph = node.attrs["body"]
            if set(chain) & {*parts.captures, *parts.xs} or any(
                i in chain and read_inside(body, body.inputs[1 + k], body.outputs[k])
                for k, i in enumerate(parts.carries)
            ):
                return True
    return False


def _tidied(graph: Graph) -> Graph:
    """Simplified, so that no residual is kept for what algebra removes."""
    from gradc.ir.passes import dce, run, simplify

    return run(graph, (dce, simplify, dce), check=False)
