"""From a ``loop`` node to its stage: where what it carries is, and what moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradc.codegen.loops import Stage
from gradc.codegen.prepare import prepare
from gradc.codegen.program import Lowering, element_of
from gradc.codegen.region import tape
from gradc.codegen.region.control import Control, may_take
from gradc.codegen.region.lowering import RegionLowering, copied
from gradc.codegen.region.onto import onto
from gradc.codegen.region.ranges import Range
from gradc.codegen.region.stages import (
    Body,
    Carried,
    Loop,
    Number,
    Register,
    Row,
    Slot,
    takes_memory,
)
from gradc.codegen.statements import Buffer
from gradc.ir.graph import Graph, Node
from gradc.ir.ops.control import LoopParts
from gradc.ir.types import I64, UNKNOWN

#: where a program knows what its tapes have taken
TAPES = Buffer("tapes", "tapes", I64, tape.WORDS)


class LoopControl(Control):
    """A loop on its way to its stage."""

    def __init__(self, outer: Lowering, node: Node, index: int) -> None:
        super().__init__(outer, node, index)
        attrs = node.attrs
        self.parts = LoopParts(node.operands, attrs)
        self.carries: int = attrs["carries"]
        self.length: int = attrs["length"]
        self.test: Graph | None = attrs["test"]
        first_y = self.carries + (self.test is not None)
        self.ys = [self.items[first_y + k] for k in range(len(self.items) - first_y)]
        self.body: Graph = prepare(onto(attrs["body"]), lambda k, n: k < self.carries >= n > 0)
        self.slots = [
            self.slot(f"c{k}", self.type(i)) for k, i in enumerate(self.parts.carries)
        ]
        self.views = [
            self.slot(f"x{k}", body_type)
            for k, body_type in enumerate(
                self.body.input_types[1 + self.carries :][: len(self.parts.xs)]
            )
        ]
        self.rows = [
            self.slot(f"y{k}", t)
            for k, t in enumerate(attrs["body"].output_types[self.carries :])
        ]

    def stages(self) -> list[Stage]:
        """The stage, after copies of arrays that it may not overwrite."""
        node, parts = self.node, self.parts
        captured = [self.captured(i) for i in parts.captures]
        mine = {1 + k: k for k, slot in enumerate(self.slots) if slot is not None}
        index = self._index_range()
        ranges = {0: index}
        first = 1 + self.carries + len(parts.xs)
        ranges |= {first + k: self.outer.range_of(i) for k, i in enumerate(parts.captures)}
        body = RegionLowering(
            self.body, self.outer.target, self.outer.checked, self.prefix,
            [None, *self.slots, *self.views, *captured],
            [*(None for _ in self.slots), *self.rows], mine, ranges,
        )
        body.stages()
        slots = self._carried(body)
        regions, test = [body], None
        if self.test is not None:
            asked = prepare(self.test, lambda k, n: True)
            first = 1 + self.carries
            ranges = {0: Range(0, index.high)}
            ranges |= {first + k: self.outer.range_of(i) for k, i in enumerate(parts.captures)}
            test = RegionLowering(
                asked, self.outer.target, self.outer.checked, f"{self.prefix}t.",
                [None, *self.slots, *captured], [None], {}, ranges,
            )
            test.stages()
            regions.append(test)
        made = self.place(regions, apart=True)
        writes = self._writes(body)
        inside = takes_memory([stage for those in made for stage in those])
        escapes = any(UNKNOWN in t.shape for t in node.attrs["body"].output_types)
        tapes = inside or any(row.tape for row in writes)
        stage = Loop(
            node, self.outer.number(node),
            self._body(body, made[0], parts.captures),
            count=self.length,
            trips=None if parts.trips is None else self.outer.scalar(parts.trips),
            test=None if test is None else self._body(test, made[1], parts.captures),
            reverse=node.attrs["reverse"],
            limit=node.attrs["limit"],
            index=self.body.inputs[0],
            index_in_test=0 if test is None else test.graph.inputs[0],
            scalars=self._scalars(body, test),
            slots=slots,
            reads=self._reads(),
            writes=writes,
            ran=None if test is None else self.outer.target_of(self.items[self.carries]),
            tapes=TAPES if tapes else None,
            frees=inside and not escapes,
        )
        before = [
            copy
            for k, (i, slot) in enumerate(zip(parts.carries, self.slots, strict=True))
            if slot is not None and self.items[k] not in self.outer.in_place
            for copy in copied(self.outer.memory(i), self.result(k))
        ]
        return [*before, stage]

    def _index_range(self) -> Range:
        most = self.length
        if self.parts.trips is not None:
            most = self.outer.range_of(self.parts.trips).high
        elif self.test is not None:
            limit = self.node.attrs["limit"]
            most = limit if limit >= 0 else Range().high
        return Range(0, max(0, most - 1))

    def _body(self, region: RegionLowering, made: Sequence[Stage], captures: Sequence[int]) -> Body:
        first = len(region.graph.inputs) - len(captures)
        results = tuple(region.result(k) for k in range(len(region.graph.outputs)))
        return Body(tuple(made), self.given(region.graph, captures, first), results)

    def _scalars(self, body: RegionLowering, test: RegionLowering | None) -> tuple[Carried, ...]:
        out = []
        for k, i in enumerate(self.parts.carries):
            if self.slots[k] is None:
                after = body.result(k)
                assert after is not None
                in_test = -1 if test is None else test.graph.inputs[1 + k]
                dtype = element_of(self.type(i))[0]
                result = self.outer.target_of(self.items[k])
                value = self.body.inputs[1 + k]
                out.append(
                    Carried(value, in_test, dtype, self.outer.scalar(i), after, result)
                )
        return tuple(out)

    def _reads(self) -> tuple[Row, ...]:
        out = []
        for k, i in enumerate(self.parts.xs):
            input_ = self.body.inputs[1 + self.carries + k]
            tape = UNKNOWN in self.type(i).shape
            of = self.outer.scalar(i) if tape else self.outer.memory(i)
            assert not isinstance(of, Number)
            dtype, size = element_of(self.body.nodes[input_].type)
            view = self.views[k]
            value = None if view else Register(input_, dtype)
            out.append(Row(of, size, dtype, view, value, tape))
        return tuple(out)

    def _writes(self, body: RegionLowering) -> tuple[Row, ...]:
        out = []
        for k, view in enumerate(self.rows):
            type_ = self.node.attrs["body"].output_types[self.carries + k]
            dtype, size = element_of(type_)
            value = body.result(self.carries + k)
            tape = UNKNOWN in self.type(self.ys[k]).shape
            of = self.outer.target_of(self.ys[k]) if tape else self.outer.memory(self.ys[k])
            assert of is not None and not isinstance(of, Number)
            out.append(Row(of, size, dtype, view, value, tape))
        return tuple(out)

    # -- array carries -------------------------------------------------------------------------

    def _carried(self, body: RegionLowering) -> tuple[Slot, ...]:
        """Where the arrays are from one iteration to the next: slots for those that move."""
        places: dict[str, Buffer] = {}  # carry -> where its next value is
        names = {slot.name: k for k, slot in enumerate(self.slots) if slot is not None}
        for k, slot in enumerate(self.slots):
            if slot is not None:
                places[slot.name] = body.memory(self.body.outputs[k])
        taken = {b.name for b in places.values()}
        spare: list[Buffer] = []
        for name, place in list(places.items()):
            if place.name in names:
                continue
            old, new = self.body.inputs[1 + names[name]], self.body.outputs[names[name]]
            if name not in taken and may_take(body, old, new):
                self.alias[place.name] = places[name] = self.slots[names[name]]  # type: ignore[assignment]
                body.given.add(place.name)
            else:
                spare.append(place)
        moving = {name for name, place in places.items() if place.name != name}
        out = []
        for name, k in names.items():
            if name not in moving:
                self.alias[name] = self.result(k)
        left = [name for name in moving if name not in {places[m].name for m in moving}]
        for buffer in spare:
            at = Buffer(f"{buffer.name}'", "arena", buffer.dtype, buffer.size)
            body.keep(buffer, at)
            slot = self.alias[buffer.name] = replace(buffer, kind="slot")
            fitting = next(n for n in left if self._same(n, names, buffer))
            left.remove(fitting)
            start = replace(at)
            out.append(Slot(slot, start, self._slot(fitting, names)))
        for name in sorted(moving):
            home = self.result(names[name])
            here = self._slot(name, names)
            away: list[Stage] = []
            back = copied(here, home)
            if len(moving) > 1:  # another may be at home here
                aside = self.outer.scratch(self.index, here.dtype, here.size)
                away, back = copied(here, aside), copied(aside, home)
            out.append(
                Slot(here, home, self.known(places[name]), tuple(away), tuple(back), home)
            )
        for a, b in list(self.alias.items()):  # what takes a carry's place that does not move
            self.alias[a] = self.alias.get(b.name, b)
        return tuple(out)

    def _slot(self, name: str, names: Mapping[str, int]) -> Buffer:
        slot = self.slots[names[name]]
        assert slot is not None
        return slot

    def _same(self, name: str, names: Mapping[str, int], buffer: Buffer) -> bool:
        return self._slot(name, names).nbytes == buffer.nbytes
