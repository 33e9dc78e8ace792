"""Forward mode of control flow: tangents go along with the values that they are of."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Loc, Node, Value
from gradc.ir.regions import activity, chosen, extract, loop_activity
from gradc.ir.tapes import zeros_like
from gradc.ir.types import UNKNOWN


class NoTangent(TypeError):
    """Forward mode met a call that only has a reverse derivative: its name, its lines."""

    def __init__(self, name: str, locs: tuple[Loc, ...]) -> None:
        self.locs = locs
        super().__init__(
            f"{name} has a custom_vjp, a reverse derivative only: forward mode does not know its "
            "tangent")


#: each result of control flow and its tangent, None for zero
Pushed = list[tuple[Value, "Value | None"]]


def push(node: Node, operands: Sequence[Value], tangents: Sequence[Value | None]) -> Pushed:
    """A node of control flow that carries the tangents of its active values along."""
    match node.op.name:
        case "loop":
            return _push_loop(node, operands, tangents)
        case "branch":
            return _push_branch(node, operands, tangents)
    return _push_call(node, operands, tangents)


def _with_tangents(
    region: Graph, wrt: Sequence[int], outputs: Sequence[int]
) -> tuple[Graph, list[int], list[int], list[int], list[int]]:
    """A region with its tangents: the graph, then ids of its inputs and outputs, of the tangents of
    the inputs ``wrt`` and of those of the outputs ``outputs``.
    """
    from gradc.ir.autodiff import jvp

    graph = jvp(region, wrt)
    count, total = len(region.inputs), len(region.outputs)
    floating = [k for k, t in enumerate(region.output_types) if t.differentiable]
    found = dict(zip(floating, graph.outputs[total:], strict=True))
    return (graph, list(graph.inputs[:count]), list(graph.outputs[:total]),
            list(graph.inputs[count:]), [found[k] for k in outputs])


def _push_loop(
    node: Node, operands: Sequence[Value], tangents: Sequence[Value | None]
) -> Pushed:
    attrs = node.attrs
    body: Graph = attrs["body"]
    flags, ys = loop_activity(node, [t is not None for t in tangents])
    parts, moving = ops.LoopParts(operands, attrs), ops.LoopParts(tangents, attrs)
    count, xs = attrs["carries"], attrs["xs"]
    carries, slices, captures = (chosen(f) for f in (flags.carries, flags.xs, flags.captures))
    stacked = chosen(ys)
    at = (1, 1 + count, 1 + count + xs)
    wrt = [*(at[0] + k for k in carries), *(at[1] + k for k in slices),
           *(at[2] + k for k in captures)]
    graph, ins, outs, d_ins, d_outs = _with_tangents(
        body, wrt, [*carries, *(count + k for k in stacked)])
    d_in = dict(zip(wrt, d_ins, strict=True))

    def mixed(first: int, last: int) -> list[int]:
        return [*ins[first:last], *(d_in[k] for k in wrt if first <= k < last)]

    region = extract(
        graph, body.name,
        [ins[0], *mixed(1, at[1]), *mixed(at[1], at[2]), *mixed(at[2], len(ins))],
        [*outs[:count], *d_outs[: len(carries)], *outs[count:], *d_outs[len(carries) :]],
        effects=True,
    )
    test: Graph | None = attrs["test"]
    if test is not None:
        builder = Builder(test.name)
        given = [
            builder.input(region.nodes[i].attrs["name"], region.nodes[i].type)
            for i in region.inputs
        ]
        own = [*given[: at[1]], *given[at[1] + len(carries) : at[1] + len(carries)
                                       + len(parts.captures)]]
        test = builder.build(builder.splice(test, own))

    def tangent(value: Value, given: Value | None) -> Value:
        return zeros_like(value) if given is None else given

    builder = operands[0].builder
    out = ops.loop(
        builder, region,
        carries=[*parts.carries, *(tangent(parts.carries[k], moving.carries[k]) for k in carries)],
        xs=[*parts.xs, *(moving.xs[k] for k in slices)],
        captures=[*parts.captures, *(moving.captures[k] for k in captures)],
        length=UNKNOWN if parts.trips is not None or test is not None else attrs["length"],
        trips=parts.trips, test=test, reverse=attrs["reverse"], limit=attrs["limit"],
    )
    found: Pushed = [(v, None) for v in out[:count]]
    for k, value in zip(carries, out[count:], strict=False):
        found[k] = (found[k][0], value)
    rest = out[count + len(carries) :]
    if test is not None:
        found.append((rest.pop(0), None))
    first = len(found)
    found += [(v, None) for v in rest[: len(ys)]]
    for k, value in zip(stacked, rest[len(ys) :], strict=True):
        found[first + k] = (found[first + k][0], value)
    return found


def _push_branch(
    node: Node, operands: Sequence[Value], tangents: Sequence[Value | None]
) -> Pushed:
    flags = [t is not None for t in tangents]
    wrt = chosen(flags[1:])
    outputs = chosen(activity(node, flags))
    branches = []
    for g in node.attrs["branches"]:
        graph, ins, outs, d_ins, d_outs = _with_tangents(g, wrt, outputs)
        branches.append(
            extract(graph, g.name, [*ins, *d_ins], [*outs, *d_outs], effects=True))
    given = [*operands[1:], *(t for t in tangents[1:] if t is not None)]
    out = ops.branch(operands[0], branches, given)
    count = len(node.type.items)
    d_out = dict(zip(outputs, out[count:], strict=True))
    return [(v, d_out.get(k)) for k, v in enumerate(out[:count])]


def _push_call(
    node: Node, operands: Sequence[Value], tangents: Sequence[Value | None]
) -> Pushed:
    attrs, builder, count = node.attrs, operands[0].builder, len(node.type.items)
    if attrs["rule"] == "custom_vjp":
        raise NoTangent(attrs["body"].name, node.locs)
    if attrs["rule"] == "custom_jvp":
        given = [
            zeros_like(x) if t is None else t
            for x, t in zip(operands, tangents, strict=True) if x.type.differentiable
        ]
        out = ops.call(builder, attrs["fwd"], [*operands, *given], "recompute")
        outputs = [k for k, t in enumerate(node.type.items) if t.differentiable]
    else:
        flags = [t is not None for t in tangents]
        outputs = chosen(activity(node, flags))
        graph, ins, outs, d_ins, d_outs = _with_tangents(attrs["body"], chosen(flags), outputs)
        body = extract(
            graph, attrs["body"].name, [*ins, *d_ins], [*outs, *d_outs], effects=True)
        moving = [t for t in tangents if t is not None]
        out = ops.call(builder, body, [*operands, *moving], attrs["rule"])
    d_out = dict(zip(outputs, out[count:], strict=True))
    return [(v, d_out.get(k)) for k, v in enumerate(out[:count])]
