"""Differentiation of graphs: adjoint or tangent nodes are appended to the graph itself.

Reverse mode (Griewank & Walther, *Evaluating Derivatives*, 2008, ch. 3) walks the nodes backward
and gives each its cotangent, the sum of what its uses contribute, under the mask of the branches
that were taken (:mod:`gradc.ir.ops.cotangent`). Forward mode walks forward. Both use the one
derivative rule of each op, in the IR's own operators: any order is had by repetition.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import reduce

from gradc.ir import ops, region_forward, region_plan, region_reverse, regions
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
    undo: Sequence[tuple[int, int]] = (),
) -> tuple[Graph, list[bool], list[tuple[int, int]]]:
    """As :func:`vjp`, for regions.

    The cotangents of the inputs ``running`` (some of ``wrt``) go on from given ones, further
    inputs. Of ``wrt`` those that are ``optional`` have no output where nothing reaches them; which
    of ``wrt`` have one is the second result. ``lasting`` inputs are there in the backward part
    anyway (None: as all that the graph computes is).

    ``undo`` are arrays that the graph writes into, inputs and outputs (see
    :func:`gradc.ir.regions.versions`). For each there is a further input, the array as it is
    in the end, and further outputs, counted in the third result: its versions, the same with what
    was overwritten put back, and what was.
    """
    chains = []
    for first, last in undo:
        chain = regions.versions(graph, graph.inputs[first], graph.outputs[last])
        assert chain is not None
        chains.append(chain)
    sweep = _Reverse(
        graph, wrt, [graph.outputs[k] for k in outputs], running, lasting, chains)
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
    for n, chain in enumerate(chains):
        node = graph.nodes[chain[-1]]
        with builder.marked(_next_role("adjoint", graph, node.id), node.locs):
            sweep.restored[chain[-1]] = builder.input(
                f"state{n}", TensorType(node.type.dtype, node.type.shape))
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
        chains: Sequence[Sequence[int]] = (),
    ) -> None:
        self.wrt = wrt
        #: versions of arrays whose writes are undone, and those that each is written over
        self.chains = chains
        self.over = {b: a for chain in chains for a, b in itertools.pairwise(chain)}
        #: the versions as they are put back, and what was overwritten
        self.restored: dict[int, Value] = {}
        self.old: dict[int, Value] = {}
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
    ) -> tuple[Graph, dict[int, region_plan.Plan]]:
        """The graph in which active control flow also returns what its reverse reads.

        ``begun`` are the nodes whose cotangent is not zero before the sweep.
        """
        if not any(node.op.family == "control" for node in graph.nodes):
            return graph, {}
        if lasting is not None:
            lasting = regions.views_of(graph, {*lasting, *(i for c in self.chains for i in c)})
        reached, results = set(targets), dict[int, set[int]]()
        nodes, plans = list(graph.nodes), {}
        for node in reversed(graph.nodes):
            if node.id not in reached or node.id not in self.live:
                continue
            if node.op.name == "item":
                results.setdefault(node.operands[0], set()).add(node.attrs["index"])
            elif node.op.family == "control":
                use = region_plan.Use(
                    [i in self.live for i in node.operands],
                    [k in results.get(node.id, ()) for k in range(len(node.type.items))],
                    [i in begun for i in node.operands],
                    [lasting is None or i in lasting for i in node.operands],
                    self._undone(graph, node.id),
                )
                plan = plans[node.id] = region_reverse.plan(node, use)
                nodes[node.id] = plan.replaced(node)
            moved = [i for i in node.operands if i in self.live]
            reached.update(moved)
            begun.update(moved)
        made = Graph(graph.name, nodes, graph.inputs, graph.outputs, graph.effects)
        return made, plans

    def _undone(self, graph: Graph, of: int) -> dict[int, int]:
        """The results of a loop or branch whose writes are undone, with their items."""
        items = [graph.nodes[id_] for id_ in self.over if graph.nodes[id_].op.name == "item"]
        return {n.attrs["index"]: n.id for n in items if n.operands[0] == of}

    def _undo(self, node: Node) -> None:
        """Put back what a write has overwritten."""
        before, builder = self.over[node.id], self.builder
        was, indices = builder.value(before), [builder.value(i) for i in node.operands[2:]]
        self.old[node.id] = ops.gather(was, *indices)
        self.restored[before] = ops.scatter_set(
            self.restored[node.id], self.old[node.id], *indices)

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

    def run(
        self, optional: Sequence[int] = ()
    ) -> tuple[Graph, list[bool], list[tuple[int, int]]]:
        """What :func:`reverse` gives."""
        graph, builder = self.graph, self.builder
        sources = {graph.inputs[k] for k in self.wrt}
        for node in reversed(graph.nodes):
            reached = node.id in self.parts or node.id in self.results
            pulled = reached and node.id in self.live and node.id not in sources
            with builder.marked(Role("adjoint", self.order, node.id), node.locs):
                if pulled:
                    self._pull(node)
                if node.id in self.over and node.op.name != "item":
                    self._undo(node)
                elif node.op.name in ("loop", "branch") and not pulled:  # nothing reverses it
                    for id_ in self._undone(graph, node.id).values():
                        self.restored[self.over[id_]] = builder.value(self.over[id_])
        gradients, present = [], []
        for k in self.wrt:
            given = builder.value(graph.inputs[k])
            with builder.marked(Role("adjoint", self.order, given.id), given.node.locs):
                found = self._total(given.id)
                present.append(found is not None or k not in optional)
                if present[-1]:
                    gradients.append(found.cleared if found else zeros_like(given))
        outputs = [builder.value(i) for i in graph.outputs]
        lengths = []
        for chain in self.chains:
            old = [self.old[i] for i in chain if i in self.old]
            gradients += [builder.value(i) for i in chain]
            gradients += [*(self.restored[i] for i in chain), *old]
            lengths.append((len(chain), len(old)))
        return builder.build([*outputs, *gradients]), present, lengths

    def _pull(self, node: Node) -> None:
        """Give the operands of a node what its cotangent contributes to theirs."""
        builder = self.builder
        if node.id in self.results:
            undone = self._undone(self.graph, node.id)
            cotangents, before = self.plans[node.id].pull(
                builder.value(node.id), self.results[node.id],
                lambda k: self._give_up(node.operands[k]),
                {k: self.restored[id_] for k, id_ in undone.items()},
            )
            self.restored |= {self.over[id_]: before[k] for k, id_ in undone.items()}
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
