"""From a graph to its loop program: schedule, decide what lies in memory, lower, plan the arena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from gradc.codegen import inplace, irregular, matmul
from gradc.codegen.arrange import arrange
from gradc.codegen.assemble import assemble
from gradc.codegen.blocked import BlockLowering
from gradc.codegen.blocks import Blocks, row_blocks
from gradc.codegen.buffers import Request, with_buffers
from gradc.codegen.chunks import chunked, shared
from gradc.codegen.epilogue import ROWS, fuse_epilogues, on_tiles
from gradc.codegen.loops import Contract, Irregular, LoopProgram, Print, Stage
from gradc.codegen.lower import NestBuilder
from gradc.codegen.prepare import ASSEMBLED, REGIONS, prepare
from gradc.codegen.region import refined, tape
from gradc.codegen.region.ranges import ANY, Range, ranges
from gradc.codegen.region.stages import Register, Scalar, number_of, takes_memory
from gradc.codegen.region.straight import CODES, Extent, Required, Straight
from gradc.codegen.remat import rematerialise
from gradc.codegen.schedule import Group, Scheduler, Single
from gradc.codegen.sharing import Sharing
from gradc.codegen.statements import Affine, Buffer, Load, Store
from gradc.codegen.targets import Target, host
from gradc.ir.graph import Graph, Node
from gradc.ir.types import I64, UNKNOWN, TensorType

_NOTHING: Mapping[int, int] = MappingProxyType({})


def schedule(
    graph: Graph, target: Target | None = None, donated: Mapping[int, int] | None = None
) -> LoopProgram:
    """The loop program of a graph for a target (this machine by default).

    ``donated`` says which outputs lie where inputs did: output number -> input number. Such an
    input is only handed to a loop, as what it carries and gives back as that output, or is itself
    the output; raises ValueError if it is not.
    """
    program = Lowering(prepare(graph), target or host(), donated=donated or {}).run()
    return replace(program, outputs=graph.output_types)


def element_of(type_: TensorType) -> tuple[np.dtype[Any], int]:
    """The dtype and number of elements of what is in memory for a value.

    For a tape whose length is known only at run time that is its address.
    """
    return (I64, 1) if UNKNOWN in type_.shape else (type_.dtype, type_.size)


class Lowering(Sharing):
    """The way from a prepared graph to its program, and what was decided on it.

    ``checked`` are nodes that may fail, by number: those of the regions of a program too.
    ``prefix`` begins the names of buffers.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target,
        checked: dict[Node, int] | None = None,
        prefix: str = "",
        donated: Mapping[int, int] = _NOTHING,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.donated = donated
        self.target = target
        self.checked = {} if checked is None else checked
        self.prefix = prefix
        self._ranges: dict[int, Range] | None = None
        self.scheduler = self._scheduler()
        self.steps = self.scheduler.run()
        rematerialise(self.scheduler, target)
        self._order()
        self.blocks = row_blocks(self.scheduler, target)
        self._recompute_far()
        fuse_epilogues(self.scheduler, target, self.blocks)
        self.users = self._users()
        self.stored = self._stored()
        self.over: dict[str, str] = {}  # buffers of results -> those of operands they overwrite
        self.share()
        self.buffers: dict[int, Buffer] = {}
        self.scratches: list[tuple[Buffer, int]] = []
        self.lasting: set[str] = set()  # buffers that nothing else may be in the place of
        self.nested: dict[str, tuple[Buffer, Buffer]] = {}  # of regions: and what it lies in
        self.private = {id_ for b in self.blocks for id_ in self._private(b)}
        self.step_of: list[int] = []  # of each stage of the program

    def _scheduler(self) -> Scheduler:
        return Scheduler(self.graph)

    def _order(self) -> None:
        """Bring the steps in the order in which most updates can be in place."""

    def _recompute_far(self) -> None:
        """Weigh once more what leaves the cache, now that blocks of rows are known."""
        rematerialise(self.scheduler, self.target, self.blocks)

    def number(self, node: Node) -> int:
        """What a failing kernel calls a node in its status."""
        return self.checked.setdefault(node, len(self.checked))

    def run(self) -> LoopProgram:
        """The program."""
        stages = self.stages()
        tapes = None
        if takes_memory(stages):
            tapes = Buffer("tapes", "arena", I64, tape.WORDS)
            self.scratches.append((tapes, 0))
            self.lasting.add(tapes.name)
        place = self._plan_arena(stages)
        return LoopProgram(
            self.graph.name,
            tuple(
                with_buffers(stage, lambda b: self.placed(b, place))
                for stage in refined(stages, self.target)
            ),
            tuple(self.all_placed(place)),
            self.arena,
            self.graph.input_types,
            self.graph.output_types,
            tuple(self.checked),
            tapes=tapes and place[tapes.name],
        )

    def placed(self, buffer: Buffer, place: dict[str, Buffer]) -> Buffer:
        """A buffer at its place in the arena."""
        if buffer.kind in ("private", "window", "slot"):
            return buffer
        if buffer.kind == "tapes":
            return place.get(buffer.name, buffer)
        if buffer.name in self.nested:
            inner, space = self.nested[buffer.name]
            if inner.kind not in ("arena", "part"):
                return buffer
            return replace(buffer, offset=inner.offset + place[space.name].offset)
        at = place[buffer.name]
        return replace(buffer, offset=at.offset) if buffer.kind == "part" else at

    def all_placed(self, place: dict[str, Buffer]) -> list[Buffer]:
        """All buffers, those of regions too."""
        nested = [self.placed(inner, place) for inner, _ in self.nested.values()]
        return [*(place[b.name] for b in self._all_buffers()), *nested]

    def stages(self) -> list[Stage]:
        """The stages; their buffers have no place yet."""
        self._place_values()
        stages: list[Stage] = []
        blocks = {k: b for b in self.blocks for k in range(b.first, b.last + 1)}
        for index, step in enumerate(self.steps):
            if index in blocks:
                made = self._blocks(blocks[index]) if index == blocks[index].first else []
            else:
                made = self._stages(index, step)
            stages.extend(made)
            self.step_of.extend([index] * len(made))
        return stages

    # -- which values lie in memory ------------------------------------------------------------

    def _users(self) -> dict[int, set[int]]:
        """The steps that read each computed value (aliases seen through)."""
        users: dict[int, set[int]] = {}
        for index, step in enumerate(self.steps):
            inside = {node.id for node in step.nodes}
            for node in step.nodes:
                for source in self.scheduler.memory_operands(node):
                    if source in inside:
                        continue
                    users.setdefault(source, set()).add(index)
        return users

    def _stored(self) -> set[int]:
        """Computed values that must lie in memory."""
        home, stored = self.scheduler.home, set()
        outputs = {self.scheduler.root(i) for i in self.graph.outputs}
        for id_, index in home.items():
            step = self.steps[index]
            elsewhere = self.users.get(id_, set()) - {index}
            single = isinstance(step, Single) and step.epilogue is None
            several = bool(self.graph.nodes[id_].type.items)  # its items have memory
            if single or elsewhere or id_ in outputs or self._accumulated(step, id_):
                stored |= set() if several else {id_}
        # What an alias inside the same group reads was kept out of it by the scheduler.
        return stored

    def _at_home(self, index: int) -> set[int]:
        """Values that a step stores: of copies made elsewhere the memory may be another's."""
        ids = {node.id for node in self.steps[index].nodes} & self.stored
        return {id_ for id_ in ids if self.scheduler.home[id_] == index}

    def _accumulated(self, step: Group | Single, id_: int) -> bool:
        """Whether a value is a reduction over outer loops, which lies in memory."""
        group = step if isinstance(step, Group) else step.epilogue
        if group is None or id_ not in group.members:
            return False
        member = group.members[id_]
        return member.reduced is not None and member.reduced != frozenset(
            range(group.split, len(group.domain))
        )

    # -- buffers -------------------------------------------------------------------------------

    def _place_values(self) -> None:
        self._place_ends()
        for id_ in sorted(self.stored):
            if id_ not in self.buffers and id_ not in self.owners and id_ not in self.private:
                dtype, size = element_of(self.graph.nodes[id_].type)
                self.buffers[id_] = Buffer(f"{self.prefix}buf{id_}", "arena", dtype, size)

    def _place_ends(self) -> None:
        for k, id_ in enumerate(self.graph.inputs):
            node = self.graph.nodes[id_]
            self.buffers[id_] = Buffer(
                f"in{k}", "input", node.type.dtype, node.type.size, index=k
            )
        for k, id_ in enumerate(self.graph.outputs):
            node = self.graph.nodes[id_]
            self.buffers[id_] = Buffer(
                f"out{k}", "output", node.type.dtype, node.type.size, index=k
            )
        for k, n in self.donated.items():
            output, input_ = self.graph.outputs[k], self.graph.inputs[n]
            self.check_donated(output, input_)
            self.buffers[input_] = self.buffers[output]

    def memory(self, id_: int) -> Buffer:
        """The buffer of a value; constants get one when they are first read."""
        id_ = self.owner(self.scheduler.root(id_))
        if id_ not in self.buffers:
            node = self.graph.nodes[id_]
            if node.op.name != "const":
                raise AssertionError(f"%{id_} {node.op.name} was given no memory")
            value = np.ascontiguousarray(node.attrs["value"])
            self.buffers[id_] = Buffer(
                f"{self.prefix}const{id_}", "constant", value.dtype, value.size,
                data=value.tobytes(),
            )
        return self.buffers[id_]

    def scratch(self, index: int, dtype: np.dtype[Any], size: int) -> Buffer:
        """Memory for the duration of one step."""
        buffer = Buffer(f"{self.prefix}tmp{len(self.scratches)}", "arena", dtype, size)
        self.scratches.append((buffer, index))
        return buffer

    def _all_buffers(self) -> list[Buffer]:
        return [*self.buffers.values(), *(b for b, _ in self.scratches)]

    def _plan_arena(self, stages: Sequence[Stage]) -> dict[str, Buffer]:
        wanted: list[tuple[Buffer, Request]] = []
        family: dict[int, list[int]] = {}
        for id_ in self.owners:
            family.setdefault(self.owner(id_), []).append(id_)
        for id_, buffer in self.buffers.items():
            if buffer.kind == "arena":
                ids = [id_, *family.get(id_, [])]
                last = max(max(self.users.get(i, {self.born(i)})) for i in ids)
                first = min(self.born(i) for i in ids)
                wanted.append((buffer, self._request(buffer, first, max(first, last))))
        for buffer, index in self.scratches:
            wanted.append((buffer, self._request(buffer, index, index)))
        of_step: dict[int, list[Stage]] = {}
        for index, stage in zip(self.step_of, stages, strict=True):
            of_step.setdefault(index, []).append(stage)
        found = inplace.place(wanted, of_step, self.target)
        self.arena = found.nbytes
        self.over |= found.over
        place = {b.name: b for b in self._all_buffers()}
        return place | {b.name: replace(b, offset=found.offsets[b.name]) for b, _ in wanted}

    def scalar(self, id_: int) -> Scalar:
        """Where a scalar operand of control flow is."""
        return number_of(self.graph.nodes[id_]) or self.memory(id_)

    def target_of(self, id_: int) -> Buffer | Register | None:
        """Where a scalar result of control flow goes."""
        return self.memory(id_)

    def range_of(self, id_: int) -> Range:
        """The interval that an integer scalar is in."""
        if self._ranges is None:
            self._ranges = ranges(self.graph, {})
        return self._ranges.get(id_, ANY)

    def _request(self, buffer: Buffer, first: int, last: int) -> Request:
        """The life of a buffer: steps that run in blocks all run until the last block."""
        for b in self.blocks:
            first = b.first if b.first <= first <= b.last else first
            last = b.last if b.first <= last <= b.last else last
        if buffer.name in self.lasting:
            first, last = -1, len(self.steps)
        return Request(buffer.nbytes, first, last)

    # -- stages --------------------------------------------------------------------------------

    def _private(self, blocks: Blocks) -> set[int]:
        """Values in memory that only steps of the same blocks read, row by row."""
        outputs = {self.scheduler.root(i) for i in self.graph.outputs}
        steps = range(blocks.first, blocks.last + 1)
        return {
            id_ for id_, home in self.scheduler.home.items()
            if home in steps and id_ in self.stored and id_ not in blocks.sums | outputs
            and all(user in steps for user in self.users.get(id_, ()))
        }

    def _blocks(self, blocks: Blocks) -> list[Stage]:
        def scratch(dtype: np.dtype[Any], size: int) -> Buffer:
            return self.scratch(blocks.first, dtype, size)

        lowering = BlockLowering(
            self.graph, self.target, blocks, self.scheduler.accesses, self.stored, self.private,
            self.users, self.scheduler.home, self.memory, scratch, self.number,
        )
        stages = lowering.stages(self.steps[blocks.first : blocks.last + 1])
        self.over |= lowering.over
        return stages

    def _stages(self, index: int, step: Group | Single) -> list[Stage]:
        def scratch(dtype: np.dtype[Any], size: int) -> Buffer:
            return self.scratch(index, dtype, size)

        if isinstance(step, Group):
            if not step.members:
                return []
            reads = self.scheduler.accesses
            build = NestBuilder(
                self.graph, step, reads, self._at_home(index), self.memory, scratch, self.number,
                l2=self.target.l2,
            )
            nest = build.build()
            nests = arrange(nest, self.target, scratch) if nest.writes else []
            return [part for made in nests for part in chunked(made, scratch)]
        node = step.node
        if node.op.name in ASSEMBLED:
            return assemble(
                self.graph, node, self.scheduler.pieces(node), self.memory, scratch,
                in_place=node.id in self.in_place,
            )
        if node.op.name == "extent":
            read = Load(0, self.memory(node.operands[0]), Affine(0, ()))
            found = Store(self.memory(node.id), Affine(0, ()), 1)
            return [Straight((read, Extent(1, 0), found))]
        if node.op.name in ("assigned", "fitting"):
            read = Load(0, self.memory(node.operands[0]), Affine(0, ()))
            return [Straight((read, Required(0, CODES[node.op.name], self.number(node))))]
        if node.op.name in REGIONS:
            from gradc.codegen.region import stages_of  # which lowers regions as graphs are

            return stages_of(self, node, index)
        operands = tuple(self.memory(i) for i in node.operands)
        types = tuple(self.graph.nodes[i].type for i in node.operands)
        if node.op.name == "debug_print":
            return [Print(node, types, operands, self.number(node))]
        if node.op.name == "matmul":
            return self._contract(step, index)
        nbytes = irregular.scratch_bytes(node.op.name, node.attrs, types)
        space = scratch(np.dtype(np.uint8), nbytes) if nbytes else None
        out = self.memory(node.id)
        in_place = node.id in self.in_place
        number = self.number(node) if node.op.name in irregular.CHECKED else 0
        return [Irregular(node, types, operands, out, space, in_place, number)]

    def _contract(self, step: Single, index: int) -> list[Stage]:
        node = step.node
        spec = matmul.product(self.graph, node)
        nbytes = matmul.scratch_bytes(spec, self.target)
        a, b = (self.memory(i) for i in node.operands)
        space = self.scratch(index, np.dtype(np.uint8), nbytes) if nbytes else None
        kind = matmul.strategy(spec, self.target)

        def scratch(dtype: np.dtype[Any], size: int) -> Buffer:
            return self.scratch(index, dtype, size)

        if step.epilogue is None:
            plain = Contract(spec, a, b, self.memory(node.id), space, kind)
            return [*shared(plain, self.target, scratch)]

        def memory(id_: int) -> Buffer:
            return tile if id_ == node.id else self.memory(id_)

        tile = Buffer(f"{self.prefix}tile{node.id}", "register", node.type.dtype, node.type.size)
        reads, stored = self.scheduler.accesses, self._at_home(index)
        build = NestBuilder(
            self.graph, step.epilogue, reads, stored, memory, scratch, self.number, ROWS
        )
        held = self.memory(node.id) if node.id in stored else None
        value, nest, out = on_tiles(build.nest(), node, tile, held)
        fused = Contract(spec, a, b, out, space, kind, value, nest)
        return [*shared(fused, self.target, scratch)]
