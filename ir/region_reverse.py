"""Reverse mode of control flow: how each node of it is reversed, and branches and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value
from gradc.ir.loop_reverse import LoopPlan
from gradc.ir.region_plan import Plan, Pulled, Running, States, Use, remade, seeds
from gradc.ir.regions import Halves, activity, chosen, extract, halves, origin
from gradc.ir.tapes import zeros_like, zeros_of
from gradc.ir.types import TensorType


def plan(node: Node, use: Use) -> Plan:
    """The plan of an active node."""
    match node.op.name:
        case "loop":
            return LoopPlan(node, use)
        case "branch":
            return BranchPlan(node, use)
    return CustomPlan(node) if node.attrs["rule"] == "custom_vjp" else CallPlan(node, use)


class BranchPlan(Plan):
    """The reverse of a branch is a branch: each takes the residuals of its own."""

    def __init__(self, node: Node, use: Use) -> None:
        branches: tuple[Graph, ...] = node.attrs["branches"]
        self.inputs = chosen(use.operands[1:])
        self.running = [k for k in self.inputs if use.begun[1 + k]]
        flags = activity(node, use.operands)
        self.outputs = [k for k in chosen(flags) if use.results[k]]
        self.first = len(node.type.items)
        free = {k: int(not lasting) for k, lasting in enumerate(use.lasting[1:])}
        self.undo = sorted(use.undo)
        self.halves = [
            halves(
                g, self.inputs, self.outputs, self.running, free,
                undo=[(place, k) for k in self.undo
                      if (place := origin(g, g.outputs[k])) is not None],
            )
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
        self, value: Value, cotangents: Mapping[int, Value], running: Running, states: States
    ) -> Pulled:
        """The branch backward; what it adds to are running cotangents."""
        index, *operands = value.operands
        totals = []
        for k in self.running:
            total = running(1 + k)
            totals.append(zeros_like(operands[k]) if total is None else total)
        given_seeds = seeds(value, cotangents, self.outputs)
        needed = sorted({k for h in self.halves for k in h.needed})
        residuals = [
            ops.item_(value, index=self.first + k) for k in range(len(self.slots))
        ]
        branches = [
            self._backward(h, slots, needed, operands)
            for h, slots in zip(self.halves, self.slot_of, strict=True)
        ]
        after = [states[k] for k in self.undo]
        given = [*given_seeds, *totals, *after, *residuals, *(operands[k] for k in needed)]
        out = ops.branch(index, branches, given)
        cts: list[Value | None] = [None] * len(value.operands)
        for k, ct in zip(self.inputs, out, strict=False):
            cts[1 + k] = ct
        return cts, dict(zip(self.undo, out[len(self.inputs) :], strict=True))

    def _backward(
        self, h: Halves, slots: Sequence[int], needed: Sequence[int], operands: Sequence[Value]
    ) -> Graph:
        inputs = h.graph.inputs
        at = dict(zip(slots, h.residuals, strict=True))
        first = [*h.seeds, *h.running, *h.states]
        ids = [*first, *(at[k] for k in sorted(at)), *(inputs[k] for k in h.needed)]
        ends = [i for i in (*h.backward, *h.before) if i is not None]
        part = extract(h.graph, "branch_reversed", ids, ends, instead=h.instead)
        own = dict(zip(ids, part.inputs, strict=True))
        builder = Builder("branch_reversed")
        values: dict[int, Value] = {}
        for k, i in enumerate(first):
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
        self, value: Value, cotangents: Mapping[int, Value], running: Running, states: States
    ) -> Pulled:
        """A call of the body with its adjoint."""
        back = self._backward()
        given_seeds = seeds(value, cotangents, self.outputs)
        out = ops.call(value.builder, back, [*value.operands, *given_seeds], "recompute")
        cts: list[Value | None] = [None] * len(value.operands)
        for k, ct in zip(self.inputs, out, strict=True):
            cts[k] = ct
        return cts, {}

    def _backward(self) -> Graph:
        """From operands and cotangents of outputs to cotangents of operands."""
        from gradc.ir.autodiff import reverse

        body, name = self.node.attrs["body"], f"{self.node.attrs['body'].name}_again"
        if self.node.attrs["rule"] != "custom_jvp":
            graph, *_ = reverse(body, self.inputs, self.outputs)
            return extract(graph, name, graph.inputs, graph.outputs[len(body.outputs) :])
        # The tangents' map is linear: its transpose is its reverse derivative, taken at zero.
        rule: Graph = self.node.attrs["fwd"]
        count, total = len(body.inputs), len(body.outputs)
        floating = [k for k, t in enumerate(body.input_types) if t.differentiable]
        wrt = [count + floating.index(k) for k in self.inputs]
        results = [k for k, t in enumerate(body.output_types) if t.differentiable]
        graph, *_ = reverse(rule, wrt, [total + results.index(k) for k in self.outputs])
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
        self, value: Value, cotangents: Mapping[int, Value], running: Running, states: States
    ) -> Pulled:
        """The call of ``bwd``."""
        results = ops.items(value)
        floating = [k for k in range(self.count) if value.type.items[k].differentiable]
        given_seeds = seeds(value, cotangents, floating)
        given = [*results[self.count :], *given_seeds]
        out = iter(ops.call(value.builder, self.bwd, given, "recompute"))
        return [next(out) if x.type.differentiable else None for x in value.operands], {}
