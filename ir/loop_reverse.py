"""The reverse of a loop.

It is the loop of the body's backward part, in the other direction, with the residuals among its xs
and the cotangents of the captures among its carries, so that they are added to in place. Of an
array that the loop writes into, and inner loops or branches read, nothing of what they read is
kept: the reverse carries the array too, and puts back what each write has overwritten (as Enzyme
and hand-written adjoints of sweeps in place do).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value
from gradc.ir.region_plan import Plan, Pulled, Running, States, Use, remade, seeds, small
from gradc.ir.regions import Cycle, Halves, chosen, extract, halves, loop_activity, read_inside
from gradc.ir.tapes import added, is_tape, zeros_like
from gradc.ir.types import UNKNOWN, TensorType

#: iterations that are thought to be made where their number is not known
SOME = 16


class LoopPlan(Plan):
    """The reverse of a loop is a loop backward."""

    def __init__(self, node: Node, use: Use) -> None:
        attrs = node.attrs
        self.attrs = attrs
        body: Graph = attrs["body"]
        parts, ys = loop_activity(node, use.operands)
        count, xs = attrs["carries"], attrs["xs"]
        self.first = count + (attrs["test"] is not None)  # of the ys among the results
        self.carries, self.xs = chosen(parts.carries), chosen(parts.xs)
        self.captures = chosen(parts.captures)
        self.ys = [k for k in chosen(ys) if use.results[self.first + k]]
        at_xs, at_captures = 1 + count, 1 + count + xs
        tail = len(use.lasting) - (len(body.inputs) - at_xs)
        trips = attrs["length"] if attrs["length"] > 0 else SOME
        free = {0: 0}
        for k, lasts in enumerate(use.lasting[tail:], at_xs):
            if lasts or small(body.input_types[k], attrs["length"]):
                free[k] = 0
            elif k >= at_captures:
                free[k] = trips
        wrt = [
            *(1 + k for k in self.carries), *(at_xs + k for k in self.xs),
            *(at_captures + k for k in self.captures),
        ]
        def cut(undo: Sequence[int]) -> Halves:
            return halves(
                body, wrt, [*self.carries, *(count + k for k in self.ys)],
                [at_captures + k for k in self.captures],
                free, range(at_xs, at_captures), range(at_captures, len(body.inputs)),
                [(1 + k, k) for k in undo],
            )

        inside = [
            k for k in range(count) if k not in use.undo
            and read_inside(body, body.inputs[1 + k], body.outputs[k])
        ]
        self.undo = sorted(use.undo)
        self.halves = cut(self.undo)
        if inside:
            try:
                more = sorted([*use.undo, *inside])
                undone = cut(more)
            except Cycle:
                undone = self.halves
            if _tape(undone) < _tape(self.halves):
                self.undo, self.halves = more, undone
        self.stacked = len(node.type.items)  # the first residual among the new results
        needed = [k for k in self.halves.needed if k]
        self.needed_xs = [k - at_xs for k in needed if k < at_captures]
        self.needed_captures = [k - at_captures for k in needed if k >= at_captures]

    def replaced(self, node: Node) -> Node:
        """The loop, the residuals among its ys."""
        h = self.halves
        body = extract(
            h.graph, node.attrs["body"].name, h.graph.inputs[: len(node.attrs["body"].inputs)],
            [*h.forward, *h.residuals], effects=True,
        )
        leading = UNKNOWN if self.attrs["test"] is not None else self.attrs["length"]
        more = [
            TensorType(t.dtype, (leading, *t.shape))
            for t in (h.graph.nodes[i].type for i in h.residuals)
        ]
        return remade(node, more, body=body)

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running, states: States
    ) -> Pulled:
        """The loop backward."""
        attrs, h, builder = self.attrs, self.halves, value.builder
        operands = value.operands
        parts = ops.LoopParts(operands, attrs)
        skip = len(operands) - len(parts.carries) - len(parts.xs) - len(parts.captures)
        at_xs = skip + len(parts.carries)
        at_captures = at_xs + len(parts.xs)

        totals = [running(at_captures + k) for k in self.captures]
        carries = seeds(value, cotangents, self.carries) + [
            zeros_like(parts.captures[k]) if total is None else total
            for k, total in zip(self.captures, totals, strict=True)
        ] + [states[k] if k in states else ops.item_(value, index=k) for k in self.undo]
        moving = len(self.carries), len(self.carries) + len(self.xs)
        found_xs = [
            (k, id_) for k, id_ in zip(self.xs, h.backward[moving[0] : moving[1]], strict=True)
            if id_ is not None
        ]
        before = {
            k: total for k, _ in found_xs if is_tape(parts.xs[k].type)
            and (total := running(at_xs + k)) is not None
        }
        xs = [
            *(ops.item_(value, index=self.stacked + k) for k in range(len(h.residuals))),
            *seeds(value, cotangents, [self.first + k for k in self.ys]),
            *(parts.xs[k] for k in self.needed_xs),
            *before.values(),
        ]
        captures = [parts.captures[k] for k in self.needed_captures]
        body = self._body(found_xs, [parts.xs[k].type for k in before], list(before))
        length = attrs["length"]
        trips = parts.trips
        if attrs["test"] is not None:
            trips = ops.item_(value, index=attrs["carries"])
        out = ops.loop(
            builder, body, carries=carries, xs=xs, captures=captures,
            length=length if trips is None else UNKNOWN, trips=trips,
            reverse=not attrs["reverse"],
        )
        cts: list[Value | None] = [None] * len(operands)
        for k, ct in zip(self.carries, out, strict=False):
            cts[skip + k] = ct
        for k, ct in zip(self.captures, out[len(self.carries) :], strict=False):
            cts[at_captures + k] = ct
        for (k, _), ct in zip(found_xs, out[len(carries) :], strict=True):
            cts[at_xs + k] = ct
        before_loop = out[len(carries) - len(self.undo) : len(carries)]
        return cts, dict(zip(self.undo, before_loop, strict=True))

    def _body(
        self, found_xs: Sequence[tuple[int, int]], before: Sequence[TensorType], which: list[int]
    ) -> Graph:
        """The backward region: ``before`` are types of running cotangents of xs, the last xs."""
        h, attrs = self.halves, self.attrs
        count, xs = attrs["carries"], attrs["xs"]
        inputs = h.graph.inputs
        seeds_carries, seeds_ys = h.seeds[: len(self.carries)], h.seeds[len(self.carries) :]
        moved = [inputs[1 + count + k] for k in self.needed_xs]
        held = [inputs[1 + count + xs + k] for k in self.needed_captures]
        outputs = [
            *h.backward[: len(self.carries)],
            *h.backward[len(self.carries) + len(self.xs) :],
            *h.before,
            *(id_ for _, id_ in found_xs),
        ]
        assert None not in outputs
        given = [
            inputs[0], *seeds_carries, *h.running, *h.states, *h.residuals, *seeds_ys, *moved,
        ]
        name = f"{attrs['body'].name}_reversed"
        region = extract(
            h.graph, name, [*given, *held], [i for i in outputs if i is not None],
            instead=h.instead,
        )
        if not before:
            return region
        builder = Builder(name)
        values = [
            builder.input(region.nodes[i].attrs["name"], region.nodes[i].type)
            for i in region.inputs[: len(given)]
        ]
        sums = [
            builder.input(f"before{k}", TensorType(t.dtype, t.shape[1:]))
            for k, t in enumerate(before)
        ]
        values += [
            builder.input(region.nodes[i].attrs["name"], region.nodes[i].type)
            for i in region.inputs[len(given) :]
        ]
        out = builder.splice(region, values)
        first = len(out) - len(found_xs)
        for n, (k, _) in enumerate(found_xs):
            if k in which:
                out[first + n] = added(out[first + n], sums[which.index(k)])
        return builder.build(out)


def kept_bytes(graph: Graph) -> int:
    """The bytes of tape of an iteration of a graph's loop, differentiated in all it may be.

    Of tapes of tapes, whose length is not known, one row is counted.
    """
    node = next(node for node in graph.nodes if node.op.name == "loop")
    moving = [graph.nodes[i].type.differentiable for i in node.operands]
    results = [type_.differentiable for type_ in node.type.items]
    use = Use(moving, results, [False] * len(moving), [True] * len(moving))
    return sum(_tape(LoopPlan(node, use).halves))


def _tape(h: Halves) -> tuple[int, ...]:
    """How much is kept in an iteration: bytes, those of tapes of tapes first, then of tapes."""
    total = [0] * 3
    for id_ in h.residuals:
        type_ = h.graph.nodes[id_].type
        unknown = min(type_.shape.count(UNKNOWN), 2)
        total[2 - unknown] += type_.dtype.itemsize * math.prod(d for d in type_.shape if d >= 0)
    return tuple(total)
