"""Differentiation of graphs: adjoint or tangent nodes are appended to the graph itself.

Reverse mode (Griewank & Walther, *Evaluating Derivatives*, 2008, ch. 3) walks the nodes backward
and gives each its cotangent, the sum of what its uses contribute, under the mask of the branches
that were taken (:mod:`gradc.ir.ops.cotangent`). Forward mode walks forward. Both use the one
derivative rule of each op, in the IR's own operators: any order is had by repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Role, Value
from gradc.ir.types import TensorType


def active(graph: Graph, wrt: Sequence[int]) -> set[int]:
    """Ids of the nodes through which the inputs at positions ``wrt`` reach a floating value."""
    live = {graph.inputs[k] for k in wrt}
    for node in graph.nodes:
        if (
            node.op.vjp is not None
            and node.type.differentiable
            and any(i in live for i in node.operands)
        ):
            live.add(node.id)
    return live


def vjp(graph: Graph, wrt: Sequence[int], outputs: Sequence[int] | None = None) -> Graph:
    """Append the reverse sweep, seeded by new inputs.

    ``wrt`` are positions of inputs, ``outputs`` positions of outputs (all by default), which must
    be floating. The result has one more input for each of them, its cotangent, and one more
    output for each of ``wrt``, the cotangent of that input, of its type.
    """
    chosen = range(len(graph.outputs)) if outputs is None else outputs
    builder = Builder.extending(graph)
    seeds = []
    for k in chosen:
        node = graph.nodes[graph.outputs[k]]
        with builder.marked(_next_role("adjoint", graph, node.id), node.locs):
            seeds.append(builder.input(f"ct{k}", TensorType(node.type.dtype, node.type.shape)))
    return _reverse(graph, builder, wrt, [graph.outputs[k] for k in chosen], seeds)


def value_and_grad(graph: Graph, wrt: Sequence[int], output: int = 0) -> Graph:
    """Append the reverse sweep of one scalar output, for its gradient in the inputs ``wrt``.

    The result has one more output for each of ``wrt``, of that input's type. Raises TypeError
    when the output is no floating scalar.
    """
    node = graph.nodes[graph.outputs[output]]
    if not node.type.differentiable or node.type.shape:
        raise TypeError(f"a gradient needs a floating scalar, not {node.type}")
    builder = Builder.extending(graph)
    with builder.marked(_next_role("adjoint", graph, node.id), node.locs):
        seed = ops.const(builder, 1, node.type.dtype)
    return _reverse(graph, builder, wrt, [node.id], [seed])


def _next_role(kind: str, graph: Graph, of: int) -> Role:
    order = max((n.role.order for n in graph.nodes), default=0)
    return Role(kind, order + 1, of)


def _reverse(
    graph: Graph, builder: Builder, wrt: Sequence[int], targets: Sequence[int], seeds: list[Value]
) -> Graph:
    live = active(graph, wrt)
    order = _next_role("adjoint", graph, 0).order
    known = ops.Conditions(builder)
    parts: dict[int, dict[ops.Mask, ops.Cotangent]] = {}

    def contribute(to: int, part: ops.Cotangent) -> None:
        same = parts.setdefault(to, {})
        before = same.get(part.mask)
        same[part.mask] = part if before is None else before.plus(part)

    def total(of: int) -> ops.Cotangent | None:
        """What has been contributed; that under masks first, for they may be opposite."""
        found = sorted(parts.get(of, {}).values(), key=lambda part: not part.mask)
        return reduce(ops.Cotangent.plus, found) if found else None

    for target, seed in zip(targets, seeds, strict=True):
        contribute(target, ops.Cotangent(seed, known))
    sources = {graph.inputs[k] for k in wrt}
    for node in reversed(graph.nodes):
        if node.id not in parts or node.id not in live or node.id in sources:
            continue
        assert node.op.vjp is not None
        needed = [i in live for i in node.operands]
        operands = [builder.value(i) for i in node.operands]
        with builder.marked(Role("adjoint", order, node.id), node.locs):
            cotangent = total(node.id)
            assert cotangent is not None
            contributions = node.op.vjp(
                operands, builder.value(node.id), node.attrs, cotangent, needed
            )
            for operand, need, part in zip(operands, needed, contributions, strict=True):
                if need and part is not None:
                    contribute(operand.id, part)
    gradients = []
    for k in wrt:
        given = builder.value(graph.inputs[k])
        with builder.marked(Role("adjoint", order, given.id), given.node.locs):
            found = total(given.id)
            gradients.append(found.cleared if found else ops.full_like(given, 0))
    return builder.build([*(builder.value(i) for i in graph.outputs), *gradients])


def jvp(graph: Graph, wrt: Sequence[int]) -> Graph:
    """Append the forward sweep.

    The result has one more input for each of ``wrt`` (positions of inputs), its tangent, and one
    more output for each floating output, the tangent of that output.
    """
    builder = Builder.extending(graph)
    order = _next_role("tangent", graph, 0).order
    tangents: dict[int, Value] = {}
    for k in wrt:
        node = graph.nodes[graph.inputs[k]]
        with builder.marked(Role("tangent", order, node.id), node.locs):
            type_ = TensorType(node.type.dtype, node.type.shape)
            tangents[node.id] = builder.input(f"d_{node.attrs['name']}", type_)
    live = active(graph, wrt)
    for node in graph.nodes:
        if node.id in tangents or node.id not in live or node.op.jvp is None:
            continue
        operands = [builder.value(i) for i in node.operands]
        with builder.marked(Role("tangent", order, node.id), node.locs):
            tangent = node.op.jvp(
                operands, builder.value(node.id), node.attrs,
                [tangents.get(i) for i in node.operands],
            )
        if tangent is not None:
            tangents[node.id] = tangent
    out = []
    for id_ in graph.outputs:
        node = graph.nodes[id_]
        if node.type.differentiable:
            if id_ not in tangents:
                with builder.marked(Role("tangent", order, id_), node.locs):
                    tangents[id_] = ops.full_like(builder.value(id_), 0)
            out.append(tangents[id_])
    return builder.build([*(builder.value(i) for i in graph.outputs), *out])
