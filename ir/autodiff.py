"""Differentiation of graphs: adjoint or tangent nodes are appended to the graph itself.

Reverse mode (Griewank & Walther, *Evaluating Derivatives*, 2008, ch. 3) walks the nodes backward
and gives each its cotangent, the sum of what its uses contribute, under the mask of the branches
that were taken (:mod:`gradc.ir.ops.cotangent`). Forward mode walks forward. Both use the one
derivative rule of each op, in the IR's own operators: any order is had by repetition.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from gradc.ir import ops, region_forward, region_reverse, regions
from gradc.ir.graph import Builder, Graph, Node, Role, Value
from gradc.ir.tapes import added, is_tape, zeros_like
from gradc.ir.types import TensorType


def active(graph: Graph, wrt: Sequence[int]) -> set[int]:
    """Ids of the nodes through which the inputs at positions ``wrt`` reach a floating value."""
    live = {graph.inputs[k] for k in wrt}
    results: dict[int, list[bool]] = {}
    for node in graph.nodes:
        if node.op.name == "item":
            if node.operands[0] in results and results[node.operands[0]][node.attrs["index"]]:
                live.add(node.id)
        elif node.op.family == "control":
            flags = [i in live for i in node.operands]
            if any(flags):
                results[node.id] = regions.activity(node, flags)
                if any(results[node.id]):
                    live.add(node.id)
        elif (
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
    return reverse(graph, wrt, range(len(graph.outputs)) if outputs is None else outputs)[0]


def reverse(
    graph: Graph,
    wrt: Sequence[int],
    outputs: Sequence[int],
    running: Sequence[int] = (),
    optional: Sequence[int] = (),
    lasting: Sequence[int] | None = None,
) -> tuple[Graph, list[bool]]:
    """As :func:`vjp`, for regions.

    The cotangents of the inputs ``running`` (some of ``wrt``) go on from given ones, further
    inputs. Of ``wrt`` those that are ``optional`` have no output where nothing reaches them; which
    of ``wrt`` have one is the second result. ``lasting`` inputs are there in the backward part
    anyway (None: as all that the graph computes is).
    """
    sweep = _Reverse(graph, wrt, [graph.outputs[k] for k in outputs], running, lasting)
    builder = sweep.builder
    seeds = []
    for k in outputs:
        node = graph.nodes[graph.outputs[k]]
        with builder.marked(_next_role("adjoint", graph, node.id), node.locs):
            seeds.append(builder.input(f"ct{k}", TensorType(node.type.dtype, node.type.shape)))
    for k in running:
        node = graph.nodes[graph.inputs[k]]
        with builder.marked(_next_role("adjoint", graph, node.id), node.locs):
            type_ = TensorType(node.type.dtype, node.type.shape)
            sweep.contribute(node.id, builder.input(f"sum{k}", type_))
    for k, seed in zip(outputs, seeds, strict=True):
        sweep.contribute(graph.outputs[k], seed)
    return sweep.run(optional)


def value_and_grad(graph: Graph, wrt: Sequence[int], output: int = 0) -> Graph:
    """Append the reverse sweep of one scalar output, for its gradient in the inputs ``wrt``.

    The result has one more output for each of ``wrt``, of that input's type. Raises TypeError
    when the output is no floating scalar.
    """
    node = graph.nodes[graph.outputs[output]]
    if not node.type.differentiable or node.type.shape:
        raise TypeError(f"a gradient needs a floating scalar, not {node.type}")
    sweep = _Reverse(graph, wrt, [node.id])
    with sweep.builder.marked(_next_role("adjoint", graph, node.id), node.locs):
        sweep.contribute(node.id, ops.const(sweep.builder, 1, node.type.dtype))
    return sweep.run()[0]


def _next_role(kind: str, graph: Graph, of: int) -> Role:
    order = max((n.role.order for n in graph.nodes), default=0)
    return Role(kind, order + 1, of)


class _Reverse:
    """One reverse sweep over a graph: cotangents are contributed to nodes, last nodes first."""

    def __init__(
        self,
        graph: Graph,
        wrt: Sequence[int],
        targets: Sequence[int],
        running: Sequence[int] = (),
        lasting: Sequence[int] | None = None,
    ) -> None:
        self.wrt = wrt
        self.live = active(graph, wrt)
        begun = {*targets, *(graph.inputs[k] for k in running)}
        last = None if lasting is None else {graph.inputs[k] for k in lasting}
        self.graph, self.plans = self._with_residuals(graph, targets, begun, last)
        self.order = _next_role("adjoint", graph, 0).order
        self.builder = Builder.extending(self.graph)
        self.known = ops.Conditions(self.builder)
        self.parts: dict[int, dict[ops.Mask, ops.Cotangent]] = {}
        #: of the results of control flow, by node and number
        self.results: dict[int, dict[int, Value]] = {}

    def _with_residuals(
        self, graph: Graph, targets: Sequence[int], begun: set[int], lasting: set[int] | None
    ) -> tuple[Graph, dict[int, region_reverse.Plan]]:
        """The graph in which active control flow also returns what its reverse reads.

        ``begun`` are the nodes whose cotangent is not zero before the sweep.
        """
        if not any(node.op.family == "control" for node in graph.nodes):
            return graph, {}
        if lasting is not None:
            lasting = regions.views_of(graph, lasting)
        reached, results = set(targets), dict[int, set[int]]()
        nodes, plans = list(graph.nodes), {}
        for node in reversed(graph.nodes):
            if node.id not in reached or node.id not in self.live:
                continue
            if node.op.name == "item":
                results.setdefault(node.operands[0], set()).add(node.attrs["index"])
            elif node.op.family == "control":
                use = region_reverse.Use(
                    [i in self.live for i in node.operands],
                    [k in results.get(node.id, ()) for k in range(len(node.type.items))],
                    [i in begun for i in node.operands],
                    [lasting is None or i in lasting for i in node.operands],
                )
                plan = plans[node.id] = region_reverse.plan(node, use)
                nodes[node.id] = plan.replaced(node)
            moved = [i for i in node.operands if i in self.live]
            reached.update(moved)
            begun.update(moved)
        made = Graph(graph.name, nodes, graph.inputs, graph.outputs, graph.effects)
        return made, plans

    def contribute(self, to: int, value: Value) -> None:
        """Add to the cotangent of a node."""
        self._contribute(to, ops.Cotangent(value, self.known))

    def _contribute(self, to: int, part: ops.Cotangent) -> None:
        same = self.parts.setdefault(to, {})
        before = same.get(part.mask)
        if before is not None and is_tape(part.value.type):
            part = ops.Cotangent(added(before.value, part.value), self.known)
        elif before is not None:
            part = before.plus(part)
        same[part.mask] = part

    def _total(self, of: int) -> ops.Cotangent | None:
        """What has been contributed; that under masks first, for they may be opposite."""
        found = sorted(self.parts.get(of, {}).values(), key=lambda part: not part.mask)
        return reduce(ops.Cotangent.plus, found) if found else None

    def run(self, optional: Sequence[int] = ()) -> tuple[Graph, list[bool]]:
        """The graph with the cotangents of the inputs ``wrt``, and which of them there are."""
        graph, builder = self.graph, self.builder
        sources = {graph.inputs[k] for k in self.wrt}
        for node in reversed(graph.nodes):
            reached = node.id in self.parts or node.id in self.results
            if not reached or node.id not in self.live or node.id in sources:
                continue
            with builder.marked(Role("adjoint", self.order, node.id), node.locs):
                self._pull(node)
        gradients, present = [], []
        for k in self.wrt:
            given = builder.value(graph.inputs[k])
            with builder.marked(Role("adjoint", self.order, given.id), given.node.locs):
                found = self._total(given.id)
                present.append(found is not None or k not in optional)
                if present[-1]:
                    gradients.append(found.cleared if found else zeros_like(given))
        outputs = [builder.value(i) for i in graph.outputs]
        return builder.build([*outputs, *gradients]), present

    def _pull(self, node: Node) -> None:
        """Give the operands of a node what its cotangent contributes to theirs."""
        builder = self.builder
        if node.id in self.results:
            plan = self.plans[node.id]
            cotangents = plan.pull(
                builder.value(node.id), self.results[node.id],
                lambda k: self._give_up(node.operands[k]),
            )
            for id_, found in zip(node.operands, cotangents, strict=True):
                if found is not None and id_ in self.live:
                    self.contribute(id_, found)
            return
        cotangent = self._total(node.id)
        assert cotangent is not None
        if node.op.name == "item":
            slots, k = self.results.setdefault(node.operands[0], {}), node.attrs["index"]
            slots[k] = added(slots[k], cotangent.cleared) if k in slots else cotangent.cleared
            return
        assert node.op.vjp is not None
        needed = [i in self.live for i in node.operands]
        operands = [builder.value(i) for i in node.operands]
        contributions = node.op.vjp(
            operands, builder.value(node.id), node.attrs, cotangent, needed
        )
        for operand, need, part in zip(operands, needed, contributions, strict=True):
            if need and part is not None:
                self._contribute(operand.id, part)

    def _give_up(self, id_: int) -> Value | None:
        """The cotangent of a node so far, which whoever asks for it goes on with."""
        found = self._total(id_)
        self.parts.pop(id_, None)
        return None if found is None else found.cleared


def jvp(graph: Graph, wrt: Sequence[int]) -> Graph:
    """Append the forward sweep.

    The result has one more input for each of ``wrt`` (positions of inputs), its tangent, and one
    more output for each floating output, the tangent of that output. Active control flow is
    replaced by one that carries tangents along, so that nothing runs twice.
    """
    live = active(graph, wrt)
    order = _next_role("tangent", graph, 0).order
    if any(graph.nodes[i].op.family == "control" for i in live):
        builder, values = Builder(graph.name), dict[int, Value]()
        for id_ in graph.inputs:
            node = graph.nodes[id_]
            with builder.marked(node.role, node.locs):
                values[id_] = builder.input(node.attrs["name"], node.type)
    else:
        builder = Builder.extending(graph)
        values = {node.id: builder.value(node.id) for node in graph.nodes}
    tangents: dict[int, Value] = {}
    for k in wrt:
        node = graph.nodes[graph.inputs[k]]
        with builder.marked(Role("tangent", order, values[node.id].id), node.locs):
            type_ = TensorType(node.type.dtype, node.type.shape)
            tangents[node.id] = builder.input(f"d_{node.attrs['name']}", type_)
    results: dict[int, region_forward.Pushed] = {}
    for node in graph.nodes:
        if node.op.name == "item" and node.operands[0] in results:
            values[node.id], tangent = results[node.operands[0]][node.attrs["index"]]
            if tangent is not None:
                tangents[node.id] = tangent
            continue
        moving = node.id in live and node.id not in tangents
        if moving and node.op.family == "control":
            with builder.marked(Role("tangent", order), node.locs):
                results[node.id] = region_forward.push(
                    node, [values[i] for i in node.operands],
                    [tangents.get(i) for i in node.operands],
                )
            continue
        if node.id not in values:
            of = node.role.of
            role = node.role if of is None else node.role._replace(
                of=values[of].id if of in values else None)
            with builder.marked(role, node.locs):
                values[node.id] = builder.add(
                    node.op, [values[i] for i in node.operands], **node.attrs)
        if not moving or node.op.jvp is None:
            continue
        operands = [values[i] for i in node.operands]
        with builder.marked(Role("tangent", order, values[node.id].id), node.locs):
            tangent = node.op.jvp(
                operands, values[node.id], node.attrs,
                [tangents.get(i) for i in node.operands],
            )
        if tangent is not None:
            tangents[node.id] = tangent
    out = []
    for id_ in graph.outputs:
        node = graph.nodes[id_]
        if node.type.differentiable:
            if id_ not in tangents:
                with builder.marked(Role("tangent", order, values[id_].id), node.locs):
                    tangents[id_] = zeros_like(values[id_])
            out.append(tangents[id_])
    return builder.build([*(values[i] for i in graph.outputs), *out])
