"""Reverse mode of control flow.

The forward part of a region also returns the *residuals* that the backward part reads, one element
an iteration. A loop's reverse is the loop of the backward part, in the other direction, with the
residuals among its xs and the cotangents of the captures among its carries, so that they are added
to in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value, frozen
from gradc.ir.regions import Halves, activity, chosen, extract, halves, loop_activity
from gradc.ir.tapes import added, is_tape, zeros_like, zeros_of
from gradc.ir.types import UNKNOWN, TensorType, tuple_type

#: the running cotangent of an operand, by its position; what is returned is given up
Running = Callable[[int], "Value | None"]


class Plan:
    """How a node of control flow is run forward, its residuals returned, and backward."""

    def replaced(self, node: Node) -> Node:
        """The node that also returns the residuals, after its other results."""
        raise NotImplementedError

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running
    ) -> list[Value | None]:
        """The cotangent of each operand, from those of results by number."""
        raise NotImplementedError


@dataclass(frozen=True)
class Use:
    """What is known of a node of control flow before its reverse.

    operands: which are active. results: which have a cotangent. begun: the operands to whose
    cotangent something else contributes before. lasting: those that are there in the reverse part
    without being kept for it.
    """

    operands: Sequence[bool]
    results: Sequence[bool]
    begun: Sequence[bool]
    lasting: Sequence[bool]


def plan(node: Node, use: Use) -> Plan:
    """The plan of an active node."""
    match node.op.name:
        case "loop":
            return LoopPlan(node, use)
        case "branch":
            return BranchPlan(node, use)
    return CustomPlan(node) if node.attrs["rule"] == "custom_vjp" else CallPlan(node, use)


def _seeds(value: Value, cotangents: Mapping[int, Value], which: Sequence[int]) -> list[Value]:
    """Cotangents of results, zeros where there is none."""
    return [
        cotangents[k] if k in cotangents else zeros_like(ops.item_(value, index=k)) for k in which
    ]


def remade(node: Node, more: Sequence[TensorType], **attrs: Any) -> Node:
    """A node with other attributes and more results."""
    types = tuple_type([*node.type.items, *more])
    return node._replace(attrs=frozen({**node.attrs, **attrs}), type=types)


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
        last = [
            lasts or small(t, attrs["length"])
            for lasts, t in zip(use.lasting[tail:], body.input_types[at_xs:], strict=True)
        ]
        wrt = [
            *(1 + k for k in self.carries), *(at_xs + k for k in self.xs),
            *(at_captures + k for k in self.captures),
        ]
        self.halves = halves(
            body, wrt, [*self.carries, *(count + k for k in self.ys)],
            [at_captures + k for k in self.captures],
            lambda k: k == 0 or (k >= at_xs and last[k - at_xs]),
            range(at_xs, at_captures),
            [k for k in range(at_captures, len(body.inputs)) if last[k - at_xs]],
        )
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
        self, value: Value, cotangents: Mapping[int, Value], running: Running
    ) -> list[Value | None]:
        """The loop backward."""
        attrs, h, builder = self.attrs, self.halves, value.builder
        operands = value.operands
        parts = ops.LoopParts(operands, attrs)
        skip = len(operands) - len(parts.carries) - len(parts.xs) - len(parts.captures)
        at_xs = skip + len(parts.carries)
        at_captures = at_xs + len(parts.xs)

        totals = [running(at_captures + k) for k in self.captures]
        carries = _seeds(value, cotangents, self.carries) + [
            zeros_like(parts.captures[k]) if total is None else total
            for k, total in zip(self.captures, totals, strict=True)
        ]
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
            *_seeds(value, cotangents, [self.first + k for k in self.ys]),
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
        return cts

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
            *(id_ for _, id_ in found_xs),
        ]
        assert None not in outputs
        given = [inputs[0], *seeds_carries, *h.running, *h.residuals, *seeds_ys, *moved]
        name = f"{attrs['body'].name}_reversed"
        region = extract(h.graph, name, [*given, *held], [i for i in outputs if i is not None])
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


def small(type_: TensorType, trips: int) -> bool:
    """Whether a value takes no more memory than an element of it in each of so many iterations."""
    return not is_tape(type_) and type_.size <= max(trips, 1)


class BranchPlan(Plan):
    """The reverse of a branch is a branch: each takes the residuals of its own."""

    def __init__(self, node: Node, use: Use) -> None:
        branches: tuple[Graph, ...] = node.attrs["branches"]
        self.inputs = chosen(use.operands[1:])
        self.running = [k for k in self.inputs if use.begun[1 + k]]
        flags = activity(node, use.operands)
        self.outputs = [k for k in chosen(flags) if use.results[k]]
        self.first = len(node.type.items)
        types = branches[0].input_types
        last = [a or small(t, 1) for a, t in zip(use.lasting[1:], types, strict=True)]
        self.halves = [
            halves(g, self.inputs, self.outputs, self.running, last.__getitem__)
            for g in branches
        ]
        self.slots: list[TensorType] = []  # types of the residuals, shared by the branches
        self.slot_of = [self._slots(h) for h in self.halves]

    def _slots(self, h: Halves) -> list[int]:
        taken: list[int] = []
        for i in h.residuals:
            type_ = h.graph.nodes[i].type._replace(weak=False)
            free = (k for k, t in enumerate(self.slots) if t == type_ and k not in taken)
            slot = next(free, len(self.slots))
            if slot == len(self.slots):
                self.slots.append(type_)
            taken.append(slot)
        return taken

    def replaced(self, node: Node) -> Node:
        """The branch, the residuals among its results; those of other branches are zeros."""
        branches = []
        for g, h, slots in zip(node.attrs["branches"], self.halves, self.slot_of, strict=True):
            part = extract(
                h.graph, g.name, h.graph.inputs[: len(g.inputs)], [*h.forward, *h.residuals],
                effects=True,
            )
            builder = Builder.extending(part)
            outputs = [builder.value(i) for i in part.outputs]
            own = dict(zip(slots, outputs[len(h.forward) :], strict=True))
            filled = [own.get(k) or zeros_of(builder, t) for k, t in enumerate(self.slots)]
            branches.append(builder.build([*outputs[: len(h.forward)], *filled]))
        return remade(node, self.slots, branches=tuple(branches))

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running
    ) -> list[Value | None]:
        """The branch backward; what it adds to are running cotangents."""
        index, *operands = value.operands
        totals = []
        for k in self.running:
            total = running(1 + k)
            totals.append(zeros_like(operands[k]) if total is None else total)
        seeds = _seeds(value, cotangents, self.outputs)
        needed = sorted({k for h in self.halves for k in h.needed})
        residuals = [
            ops.item_(value, index=self.first + k) for k in range(len(self.slots))
        ]
        branches = [
            self._backward(h, slots, needed, operands)
            for h, slots in zip(self.halves, self.slot_of, strict=True)
        ]
        given = [*seeds, *totals, *residuals, *(operands[k] for k in needed)]
        out = ops.branch(index, branches, given)
        cts: list[Value | None] = [None] * len(value.operands)
        for k, ct in zip(self.inputs, out, strict=True):
            cts[1 + k] = ct
        return cts

    def _backward(
        self, h: Halves, slots: Sequence[int], needed: Sequence[int], operands: Sequence[Value]
    ) -> Graph:
        inputs = h.graph.inputs
        at = dict(zip(slots, h.residuals, strict=True))
        ids = [*h.seeds, *h.running, *(at[k] for k in sorted(at)), *(inputs[k] for k in h.needed)]
        part = extract(h.graph, "branch_reversed", ids, [i for i in h.backward if i is not None])
        own = dict(zip(ids, part.inputs, strict=True))
        builder = Builder("branch_reversed")
        values: dict[int, Value] = {}
        for k, i in enumerate((*h.seeds, *h.running)):
            values[own[i]] = builder.input(f"ct{k}", h.graph.nodes[i].type)
        for k, type_ in enumerate(self.slots):
            value = builder.input(f"r{k}", type_)
            if k in at:
                values[own[at[k]]] = value
        for k in needed:
            value = builder.input(f"x{k}", operands[k].type._replace(weak=False))
            if k in h.needed:
                values[own[inputs[k]]] = value
        return builder.build(builder.splice(part, [values[i] for i in part.inputs]))


class CallPlan(Plan):
    """A checkpoint keeps its operands alone and runs again before its reverse.

    So does a function with a forward derivative of its own, which is transposed.
    """

    def __init__(self, node: Node, use: Use) -> None:
        self.inputs = chosen(use.operands)
        flags = activity(node, use.operands)
        self.outputs = [k for k in chosen(flags) if use.results[k]]
        self.node = node

    def replaced(self, node: Node) -> Node:
        """The node itself."""
        return node

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running
    ) -> list[Value | None]:
        """A call of the body with its adjoint."""
        back = self._backward()
        seeds = _seeds(value, cotangents, self.outputs)
        out = ops.call(value.builder, back, [*value.operands, *seeds], "recompute")
        cts: list[Value | None] = [None] * len(value.operands)
        for k, ct in zip(self.inputs, out, strict=True):
            cts[k] = ct
        return cts

    def _backward(self) -> Graph:
        """From operands and cotangents of outputs to cotangents of operands."""
        from gradc.ir.autodiff import reverse

        body, name = self.node.attrs["body"], f"{self.node.attrs['body'].name}_again"
        if self.node.attrs["rule"] != "custom_jvp":
            graph, _ = reverse(body, self.inputs, self.outputs)
            return extract(graph, name, graph.inputs, graph.outputs[len(body.outputs) :])
        # The tangents' map is linear: its transpose is its reverse derivative, taken at zero.
        rule: Graph = self.node.attrs["fwd"]
        count, total = len(body.inputs), len(body.outputs)
        floating = [k for k, t in enumerate(body.input_types) if t.differentiable]
        wrt = [count + floating.index(k) for k in self.inputs]
        results = [k for k, t in enumerate(body.output_types) if t.differentiable]
        graph, _ = reverse(rule, wrt, [total + results.index(k) for k in self.outputs])
        back = extract(graph, name, graph.inputs, graph.outputs[len(rule.outputs) :])
        builder = Builder(name)
        given = [builder.input(f"x{k}", t) for k, t in enumerate(body.input_types)]
        seeds = [
            builder.input(f"ct{k}", t)
            for k, t in enumerate(back.input_types[len(rule.inputs) :])
        ]
        flat = [zeros_of(builder, t) for t in rule.input_types[count:]]
        return builder.build(builder.splice(back, [*given, *flat, *seeds]))


class CustomPlan(Plan):
    """A function with a reverse derivative of its own."""

    def __init__(self, node: Node) -> None:
        self.fwd: Graph = node.attrs["fwd"]
        self.bwd: Graph = node.attrs["bwd"]
        self.count = len(node.type.items)

    def replaced(self, node: Node) -> Node:
        """The call of ``fwd``."""
        more = [t._replace(weak=False) for t in self.fwd.output_types[self.count :]]
        return remade(node, more, body=self.fwd, rule="recompute", fwd=None, bwd=None)

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running
    ) -> list[Value | None]:
        """The call of ``bwd``."""
        results = ops.items(value)
        floating = [k for k in range(self.count) if value.type.items[k].differentiable]
        seeds = _seeds(value, cotangents, floating)
        given = [*results[self.count :], *seeds]
        out = iter(ops.call(value.builder, self.bwd, given, "recompute"))
        return [next(out) if x.type.differentiable else None for x in value.operands]
