"""The lowering of a region: as that of a graph, with its scalars in registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.codegen.access import Access
from gradc.codegen.buffers import Request, with_buffers
from gradc.codegen.collapse import collapse
from gradc.codegen.inplace import Overwriting
from gradc.codegen.loops import Nest, Phase, Stage
from gradc.codegen.prepare import REGIONS, in_memory_as, is_row
from gradc.codegen.program import Lowering, element_of
from gradc.codegen.region.ranges import ANY, Range, known, ranges
from gradc.codegen.region.schedule import (
    RegionScheduler,
    is_straight,
    overwriting_last,
    scalar_reads,
    spilled,
)
from gradc.codegen.region.stages import Number, Register, Scalar, number_of
from gradc.codegen.region.straight import (
    CODES,
    Address,
    Element,
    Extent,
    Required,
    Straight,
    Update,
    View,
)
from gradc.codegen.schedule import Group, Scheduler, Single
from gradc.codegen.statements import Affine, Buffer, Compute, Literal, Load, Store
from gradc.codegen.targets import Target
from gradc.ir.graph import Graph, Node
from gradc.ir.types import strides_of

_POINT = Affine(0, ())


class RegionLowering(Lowering):
    """The way from a prepared region to its stages.

    ``inputs`` and ``results`` are the memory of those that lie in memory; results without any are
    left where they are found. Inputs ``mine`` may be overwritten, best with the result that stands
    beside them. ``given`` are intervals of integer inputs.
    """

    scheduler: RegionScheduler

    def __init__(
        self,
        graph: Graph,
        target: Target,
        checked: dict[Node, int],
        prefix: str,
        inputs: Sequence[Buffer | None],
        results: Sequence[Buffer | None],
        mine: Mapping[int, int],
        given: Mapping[int, Range],
    ) -> None:
        self.inputs = inputs
        self.results = results
        self.mine = {graph.inputs[k]: graph.outputs[n] for k, n in mine.items()}
        self.literals: dict[tuple[str, bytes], int] = {}
        self.loaded: dict[int, int] = {}
        self.next_value = len(graph.nodes)
        self._overwriting: dict[int, Overwriting] = {}
        super().__init__(graph, target, checked, prefix)
        self._ranges = ranges(graph, {graph.inputs[k]: r for k, r in given.items()})

    def _scheduler(self) -> Scheduler:
        return RegionScheduler(self.graph)

    def _order(self) -> None:
        pairs = [
            (result, node.operands[position])
            for step in self.steps if isinstance(step, Single)
            for node in [step.node]
            for result, position in self.updates(node)
        ]
        ends = [(self.scheduler.root(new), old) for old, new in self.mine.items()]
        overwriting_last(self.scheduler, [*pairs, *ends], self.mine)

    def _recompute_far(self) -> None:
        """Nothing: to read an operand later could keep an update from being in place."""

    # -- which values lie in memory ------------------------------------------------------------

    def _stored(self) -> set[int]:
        self.spilled = spilled(self.scheduler)
        beside = self.scheduler.registers | self.scheduler.rows
        return {i for i in super()._stored() if i not in beside} | self.spilled

    def updates(self, node: Node) -> list[tuple[int, int]]:
        """Also the results of a branch that stand beside its operands, from end to end."""
        found = super().updates(node)
        if node.op.name != "branch":
            return found
        done = {result for result, _ in found}
        beside = {result: input_ for input_, result in self.mine.items()}
        taken = {position for _, position in found}
        for item in self.items(node).values():
            operand = beside.get(item)
            if item in done or operand is None or node.operands.count(operand) != 1:
                continue
            position = node.operands.index(operand)
            if position not in taken and in_memory_as(self.graph.nodes[item].type):
                found.append((item, position))
        return found

    def owned(self, id_: int) -> bool:
        """Whether the memory of a value may be overwritten."""
        if id_ in self.scheduler.rows:
            return False
        return id_ in self.scheduler.home or id_ in self.mine

    def born(self, id_: int) -> int:
        """The step that computes a value, -1 of inputs."""
        return self.scheduler.home.get(id_, -1)

    def fixed(self, outputs: set[int]) -> set[int]:
        """The outputs whose memory is given."""
        pairs = zip(self.graph.outputs, self.results, strict=True)
        return {self.scheduler.root(i) for i, buffer in pairs if buffer is not None}

    def _place_ends(self) -> None:
        pairs = zip(self.graph.inputs, self.inputs, strict=True)
        self.buffers |= {i: buffer for i, buffer in pairs if buffer is not None}
        self.given = {buffer.name for buffer in self.buffers.values()}
        outputs = zip(self.graph.outputs, self.results, strict=True)
        for id_, buffer in outputs:
            if buffer is not None:
                self.buffers[id_] = buffer
                self.given.add(buffer.name)
        for id_ in self.scheduler.rows:
            dtype, size = element_of(self.graph.nodes[id_].type)
            self.buffers[id_] = Buffer(f"{self.prefix}row{id_}", "slot", dtype, size)

    # -- stages --------------------------------------------------------------------------------

    def stages(self) -> list[Stage]:
        """The stages, straight code joined; their buffers have no place yet."""
        made = super().stages()
        first = [
            Store(self.memory(i), _POINT, i) for i in self.graph.inputs if i in self.spilled
        ]
        out: list[Stage] = [Straight(tuple(first))] if first else []
        steps = [-1] * len(out)
        for index, stage in zip(self.step_of, made, strict=True):
            if isinstance(stage, Straight) and out and isinstance(out[-1], Straight):
                out[-1] = Straight((*out[-1].statements, *stage.statements))
            else:
                out.append(stage)
                steps.append(index)
        last: list[Any] = []
        for id_ in self.graph.outputs:
            node = self.graph.nodes[id_]
            apart = id_ in self.scheduler.registers or node.op.name == "const"
            if not apart and not in_memory_as(node.type) and id_ not in self.loaded:
                self.loaded[id_] = self._fresh()
                self.lasting.add(self.memory(id_).name)
                last.append(Load(self.loaded[id_], self.memory(id_), _POINT))
        if last:
            out.append(Straight(tuple(last)))
            steps.append(len(self.steps) - 1)
        self.step_of = steps
        self.made = out
        return out

    def _stages(self, index: int, step: Group | Single) -> list[Stage]:
        if isinstance(step, Single) and is_straight(self.graph, step.node):
            return self._straight(step.node)
        made = super()._stages(index, step)
        if isinstance(step, Single) and step.node.op.name in REGIONS:
            items = self.items(step.node).values()
            stores = tuple(Store(self.memory(i), _POINT, i) for i in items if i in self.spilled)
            return [*made, Straight(stores)] if stores else made
        return made

    def _straight(self, node: Node) -> list[Stage]:
        out: list[Any] = []
        before: list[Stage] = []
        values = [self._register(read, out) for read in scalar_reads(self.scheduler, node)]
        if node.op.name in ("scatter_set", "scatter_add"):
            if node.id not in self.in_place:
                before = copied(self.memory(node.operands[0]), self.memory(node.id))
            update, *indices = values
            address = self._address(node, self.memory(node.id), indices)
            out.append(Update(address, update, node.op.name == "scatter_add"))
        elif node.op.name == "gather":
            address = self._address(node, self.memory(node.operands[0]), values)
            if is_row(self.graph, node):
                out.append(View(self.memory(node.id), address))
            else:
                out.append(Element(node.id, address))
        elif node.op.name == "extent":
            out.append(Extent(node.id, *values))
        elif node.op.name in CODES:
            out.append(Required(values[0], CODES[node.op.name], self.number(node)))
        else:
            out.append(Compute(node.id, node, tuple(values)))
        if node.id in self.spilled:
            out.append(Store(self.memory(node.id), _POINT, node.id))
        return [*before, Straight(tuple(out))]

    def _address(self, node: Node, buffer: Buffer, indices: Sequence[int]) -> Address:
        table = self.graph.nodes[node.operands[0]].type
        count = len(indices)
        ids = node.operands[-count:]
        sure = tuple(
            known(self.range_of(i), extent) for i, extent in zip(ids, table.shape, strict=False)
        )
        extents, strides = table.shape[:count], strides_of(table.shape)[:count]
        return Address(buffer, tuple(indices), extents, strides, sure, self.number(node))

    def _register(self, read: Access, out: list[Any]) -> int:
        """The number of a scalar, loaded or made a literal if it is not in a register yet."""
        source = self.graph.nodes[read.source]
        number = number_of(source)
        if number is not None and not read.guards:
            return self._literal(number, out)
        if self.scheduler.in_register(read):
            return read.source
        if source.type.size == 0:
            return self._literal(Number(0, source.type.dtype), out)
        whole = source.type.rank == 0 and not read.guards
        if whole and read.source in self.loaded:
            return self.loaded[read.source]
        value = self._fresh()
        guards = read.guards
        index = read.linear(source.type.shape)
        inside = [0 <= g.index.offset < g.extent for g in guards]
        if not all(inside):
            out.append(Literal(value, 0, source.type.dtype))
        else:
            out.append(Load(value, self.memory(read.source), index))
        if whole:
            self.loaded[read.source] = value
        return value

    def _literal(self, number: Number, out: list[Any]) -> int:
        key = number.dtype.str, np.asarray(number.number, number.dtype).tobytes()
        if key not in self.literals:
            self.literals[key] = self._fresh()
            out.append(Literal(self.literals[key], number.number, number.dtype))
        return self.literals[key]

    def _fresh(self) -> int:
        self.next_value += 1
        return self.next_value - 1

    # -- what control flow asks for ------------------------------------------------------------

    def scalar(self, id_: int) -> Scalar:
        """Where a scalar operand of control flow is."""
        if id_ in self.scheduler.registers:
            return Register(id_, element_of(self.graph.nodes[id_].type)[0])
        return super().scalar(id_)

    def target_of(self, id_: int) -> Buffer | Register | None:
        """Where a scalar result of control flow goes."""
        return Register(id_, element_of(self.graph.nodes[id_].type)[0])

    def range_of(self, id_: int) -> Range:
        """The interval that an integer scalar is in."""
        assert self._ranges is not None
        return self._ranges.get(id_, ANY)

    def result(self, index: int) -> Register | Number | None:
        """A scalar result of the region; None of one in memory."""
        id_ = self.graph.outputs[index]
        node = self.graph.nodes[id_]
        if in_memory_as(node.type):
            return None
        dtype = element_of(node.type)[0]
        return number_of(node) or Register(self.loaded.get(id_, id_), dtype)

    # -- memory --------------------------------------------------------------------------------

    def overwriting(self, step: int) -> Overwriting:
        """What the stages of a step may overwrite."""
        if step not in self._overwriting:
            those = [s for s, k in zip(self.made, self.step_of, strict=True) if k == step]
            self._overwriting[step] = Overwriting(those, self.target)
        return self._overwriting[step]

    def keep(self, buffer: Buffer, spare: Buffer) -> None:
        """Have other memory for a buffer, which lasts from one iteration to the next."""
        self.given.add(buffer.name)
        self.lasting.add(spare.name)
        self.scratches.append((spare, 0))

    def _request(self, buffer: Buffer, first: int, last: int) -> Request:
        if buffer.name in self.given:  # it has its place elsewhere
            return Request(0, first, first)
        return super()._request(buffer, first, last)

    def placed_stages(self) -> tuple[list[Stage], list[Buffer]]:
        """The stages with places in an arena of the region's own, and the region's buffers."""
        place = self._plan_arena(self.made)
        stages = [with_buffers(stage, lambda b: self.placed(b, place)) for stage in self.made]
        return stages, [b for b in self.all_placed(place) if b.name not in self.given]


def copied(source: Buffer, target: Buffer) -> list[Stage]:
    """A nest that copies a whole buffer."""
    if source.name == target.name or not source.size:
        return []
    at = Affine(0, (1,))
    phase = Phase((), (Load(0, source, at), Store(target, at, 0)))
    return [collapse(Nest((), (source.size,), (phase,)))]
