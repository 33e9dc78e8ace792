"""Passes over control flow: what no result needs leaves a region, what never changes leaves a loop.

A loop loses results that nobody uses and the carries behind them; a carry that never changes is a
capture; what depends on captures alone is computed once, before the loop
(:mod:`gradc.ir.passes.hoist`); what is the same number everywhere is a constant of the region. A
branch whose index is known is the branch taken.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Node, Value
from gradc.ir.passes.calls import Copier, Optimize
from gradc.ir.passes.hoist import hoisted
from gradc.ir.types import UNKNOWN


class Control:
    """The pass that optimises regions (each by ``inner``) and tidies loops and branches.

    What came out of several loops is merged by ``cse``.
    """

    __name__ = "control"

    def __init__(self, inner: Optimize, cse: Optimize) -> None:
        self.inner = inner
        self.cse = cse

    def __call__(self, graph: Graph) -> Graph:
        """Rewrite a graph."""
        if not any(node.op.family == "control" for node in graph.nodes):
            return graph
        used: dict[int, set[int]] = {}
        for node in graph.nodes:
            if node.op.name == "item":
                used.setdefault(node.operands[0], set()).add(node.attrs["index"])
        copier = Copier(graph)
        for node in graph.nodes:
            wanted = used.get(node.id, set())
            if node.op.name == "loop":
                with copier.builder.marked(node.role._replace(of=None), node.locs):
                    copier.results[node.id] = _Loop(node, wanted, copier, self.inner).results()
            elif node.op.name == "branch":
                with copier.builder.marked(node.role._replace(of=None), node.locs):
                    copier.results[node.id] = _branch(node, wanted, copier, self.inner)
            else:
                copier.copy(node)
        return self.cse(copier.build())

    def __repr__(self) -> str:
        return "control"


def _reached(
    graph: Graph, outputs: Collection[int], given: Collection[int] = ()
) -> set[int]:
    """The nodes that some nodes, and the effects, depend on, short of those behind ``given``."""
    seen = {*outputs, *graph.effects}
    for node in reversed(graph.nodes):
        if node.id in seen and node.id not in given:
            seen.update(node.operands)
    return seen


def _number(value: Value) -> bool:
    """Whether a value is the same number everywhere, known now."""
    while value.node.op.name == "broadcast":
        (value,) = value.operands
    return value.node.op.name == "const" and value.type.size == 1


def _again(builder: Builder, value: Value) -> Value:
    """A number, spread out as it is, in another graph."""
    if value.node.op.name == "broadcast":
        return ops.broadcast(_again(builder, value.operands[0]), shape=value.shape)
    return builder.add(value.node.op, (), **value.node.attrs)


class _Region:
    """A region made anew: ``given`` says what stands for some of its inputs."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = Builder(graph.name)
        self.values: dict[int, Value] = {}

    def input(self, id_: int) -> None:
        """Keep an input."""
        node = self.graph.nodes[id_]
        with self.builder.marked(node.role._replace(of=None), node.locs):
            self.values[id_] = self.builder.input(node.attrs["name"], node.type)

    def new_input(self, name: str, like: Value) -> Value:
        """A further input, of the type of a value."""
        return self.builder.input(name, like.type._replace(weak=False))

    def build(self, outputs: Sequence[int]) -> Graph:
        """The graph that computes some of the nodes."""
        copier = Copier(Graph(self.graph.name, self.graph.nodes, (), outputs, ()))
        copier.builder, copier.values = self.builder, self.values
        wanted = set(outputs) | set(self.graph.effects)
        for node in reversed(self.graph.nodes):
            if node.id in wanted and node.id not in self.values:
                wanted.update(node.operands)
        for node in self.graph.nodes:
            if node.id in wanted:
                copier.copy(node)
        return copier.build()


class _Loop:
    """One loop on its way into the new graph."""

    def __init__(
        self, node: Node, used: Collection[int], copier: Copier, inner: Optimize
    ) -> None:
        self.node = node
        self.inner = inner
        self.attrs = node.attrs
        self.body: Graph = node.attrs["body"]
        self.test: Graph | None = node.attrs["test"]
        self.builder = copier.builder
        self.parts = ops.LoopParts(copier.operands(node), node.attrs)
        self.count: int = node.attrs["carries"]
        self.first = self.count + (self.test is not None)
        self.used = used
        inputs, outputs = self.body.inputs, self.body.outputs
        #: the first of the ys that are the same value -> all of them that are used
        self.ys: dict[int, list[int]] = {}
        for k in sorted(used):
            if k >= self.first:
                first = outputs.index(outputs[k - self.first + self.count], self.count)
                self.ys.setdefault(first - self.count, []).append(k - self.first)
        self.carry_in = inputs[1 : 1 + self.count]
        self.x_in = inputs[1 + self.count : 1 + self.count + node.attrs["xs"]]
        self.capture_in = inputs[1 + self.count + node.attrs["xs"] :]
        outputs = self.body.outputs
        self.still = {
            k for k in range(self.count) if outputs[k] == self.carry_in[k]
        }
        self.carries = self._carries()

    def _carries(self) -> list[int]:
        """The carries that something needs and that change."""
        outputs = self.body.outputs
        needed = {k for k in range(self.count) if k in self.used}
        if self.test is not None:
            reached = _reached(self.test, self.test.outputs)
            needed |= {
                k for k, i in enumerate(self.test.inputs[1 : 1 + self.count]) if i in reached
            }
        while True:
            ends = [outputs[k] for k in needed] + [outputs[self.count + k] for k in self.ys]
            reached = _reached(self.body, ends)
            more = {k for k, i in enumerate(self.carry_in) if i in reached} | needed
            if more == needed:
                return sorted(needed - self.still)
            needed = more

    def results(self) -> list[Value | None]:
        """What stands for the loop's results, None where nothing uses it."""
        body, parts = _Region(self.body), self.parts
        body.input(self.body.inputs[0])
        for k in self.carries:
            body.input(self.carry_in[k])
        outputs = self.body.outputs
        ends = [outputs[k] for k in self.carries] + [outputs[self.count + k] for k in self.ys]
        reached = _reached(self.body, ends)
        xs: list[tuple[int, Value]] = []
        same: list[tuple[int, Value]] = []
        for id_, x in zip(self.x_in, parts.xs, strict=True):
            if id_ in reached:
                (same if _alike(x) else xs).append((id_, x))
        for id_, _ in xs:
            body.input(id_)
        held: list[tuple[int, Value]] = [
            *((self.carry_in[k], parts.carries[k]) for k in sorted(self.still)),
            *zip(self.capture_in, parts.captures, strict=True),
        ]
        taken = self._captures(body, held, same, ends)
        region = self.inner(body.build(ends))
        test = self._new_test(held, taken) if self.test is not None else None
        found = ops.loop(
            self.builder, region, carries=[parts.carries[k] for k in self.carries],
            xs=[x for _, x in xs], captures=taken.values,
            length=self.attrs["length"] if parts.trips is None and test is None else UNKNOWN,
            trips=parts.trips, test=test, reverse=self.attrs["reverse"],
            limit=self.attrs["limit"],
        )
        out: list[Value | None] = [None] * len(self.node.type.items)
        for k in self.still:
            out[k] = parts.carries[k]
        for k, value in zip(self.carries, found, strict=False):
            out[k] = value
        rest = found[len(self.carries) :]
        if test is not None:
            out[self.count] = rest.pop(0)
        for same_ys, value in zip(self.ys.values(), rest, strict=True):
            for k in same_ys:
                out[self.first + k] = value
        return out

    def _captures(
        self, body: _Region, held: Sequence[tuple[int, Value]],
        same: Sequence[tuple[int, Value]], ends: Sequence[int],
    ) -> _Captures:
        """What the loop captures; the body's graph is given what stands for it inside."""
        reached = _reached(self.body, ends)
        captures = _Captures(body.builder)
        inputs = self.body.nodes
        early = hoisted(self.builder, self.body, dict(held), reached)
        left = _reached(self.body, ends, {id_ for id_, _ in early})
        for id_, value in held:
            if id_ in left or self._tested(id_):
                body.values[id_] = captures.inside(value, inputs[id_].attrs["name"])
        for id_, value in early:
            body.values[id_] = captures.inside(value, f"h{id_}")
        for id_, x in same:
            shape = x.shape[1:]
            inner = captures.inside(x.operands[0], inputs[id_].attrs["name"])
            if len(inner.shape) > len(shape):
                inner = ops.reshape(inner, shape=inner.shape[1:])
            body.values[id_] = inner if inner.shape == shape else ops.broadcast(inner, shape=shape)
        return captures

    def _test_inputs(self) -> dict[int, int]:
        """Inputs of the body -> those of the test that are the same value."""
        assert self.test is not None
        here = [*self.carry_in, *self.capture_in]
        return dict(zip(here, self.test.inputs[1:], strict=True))

    def _tested(self, id_: int) -> bool:
        """Whether the test reads what is an input of the body."""
        if self.test is None:
            return False
        return self._test_inputs()[id_] in _reached(self.test, self.test.outputs)

    def _new_test(self, held: Sequence[tuple[int, Value]], captures: _Captures) -> Graph:
        """The test, of the carries and captures that are left."""
        assert self.test is not None
        test, there = _Region(self.test), self._test_inputs()
        test.input(self.test.inputs[0])
        for k in self.carries:
            test.input(there[self.carry_in[k]])
        given = {
            value.id: test.new_input(f"c{k}", value)
            for k, value in enumerate(captures.values)
        }
        for id_, value in held:
            if _number(value):
                test.values[there[id_]] = _again(test.builder, value)
            elif value.id in given:
                test.values[there[id_]] = given[value.id]
        return self.inner(test.build(self.test.outputs))


class _Captures:
    """The values that a loop takes from around it, each once, and what they are inside."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.values: list[Value] = []
        self._inside: dict[int, Value] = {}

    def inside(self, value: Value, name: str) -> Value:
        """What a value of the outer graph is in the region: an input, or a number."""
        if _number(value):
            return _again(self.builder, value)
        if value.id not in self._inside:
            type_ = value.type._replace(weak=False)
            self._inside[value.id] = self.builder.input(name, type_)
            self.values.append(value)
        return self._inside[value.id]


def _alike(x: Value) -> bool:
    """Whether all elements of the leading axis are the same: a broadcast along it."""
    if x.node.op.name != "broadcast" or UNKNOWN in x.shape:
        return False
    (source,) = x.operands
    return len(source.shape) < len(x.shape) or source.shape[0] == 1


def _branch(
    node: Node, used: Collection[int], copier: Copier, inner: Optimize
) -> list[Value | None]:
    """What stands for a branch's results."""
    index, *operands = copier.operands(node)
    branches: tuple[Graph, ...] = node.attrs["branches"]
    wanted = sorted(used)
    out: list[Value | None] = [None] * len(node.type.items)
    if _number(index):
        k = min(max(int(index.node.attrs["value"]), 0), len(branches) - 1)
        return list(copier.builder.splice(branches[k], operands))
    for k in list(wanted):  # what every branch passes on
        sources = {g.outputs[k] for g in branches}
        at = {g.inputs.index(g.outputs[k]) for g in branches if g.outputs[k] in g.inputs}
        if len(at) == 1 and len(sources) <= len(branches) and all(
            g.outputs[k] in g.inputs for g in branches
        ):
            out[k] = operands[at.pop()]
            wanted.remove(k)
    if not wanted and not any(g.effects for g in branches):
        return out
    regions = [_Region(g) for g in branches]
    ends = [[g.outputs[k] for k in wanted] for g in branches]
    reached = [_reached(g, e) for g, e in zip(branches, ends, strict=True)]
    given: dict[int, list[Value]] = {}
    kept = []
    for k, value in enumerate(operands):
        if not any(g.inputs[k] in r for g, r in zip(branches, reached, strict=True)):
            continue
        if _number(value):
            inside = [_again(region.builder, value) for region in regions]
        elif value.id in given:
            inside = given[value.id]
        else:
            reads = next(g for g, r in zip(branches, reached, strict=True) if g.inputs[k] in r)
            name = reads.nodes[reads.inputs[k]].attrs["name"]
            inside = given[value.id] = [region.new_input(name, value) for region in regions]
            kept.append(value)
        for region, g, v in zip(regions, branches, inside, strict=True):
            region.values[g.inputs[k]] = v
    made = [inner(region.build(e)) for region, e in zip(regions, ends, strict=True)]
    for k, value in zip(wanted, ops.branch(index, made, kept), strict=True):
        out[k] = value
    return out
