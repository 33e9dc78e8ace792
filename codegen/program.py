"""From a graph to its loop program: schedule, decide what lies in memory, lower, plan the arena."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradc.codegen import inplace, irregular, matmul
from gradc.codegen.access import Access, identity, resolve
from gradc.codegen.arrange import arrange
from gradc.codegen.blocked import BlockLowering
from gradc.codegen.blocks import Blocks, row_blocks
from gradc.codegen.buffers import Request, with_buffers
from gradc.codegen.chunks import Scratch, chunked, shared
from gradc.codegen.collapse import collapse
from gradc.codegen.epilogue import ROWS, fuse_epilogues, on_tiles
from gradc.codegen.loops import Contract, Fill, Irregular, LoopProgram, Nest, Phase, Print, Stage
from gradc.codegen.lower import NestBuilder
from gradc.codegen.prepare import ASSEMBLED, prepare
from gradc.codegen.remat import rematerialise
from gradc.codegen.schedule import Group, Scheduler, Single
from gradc.codegen.statements import Affine, Buffer, Guard, Literal, Load, Statement, Store
from gradc.codegen.targets import Target, host
from gradc.ir.graph import Graph, Node
from gradc.ir.types import strides_of

#: ops that can fail when they run
CHECKED = irregular.CHECKED | {"gather", "debug_print"}


def schedule(graph: Graph, target: Target | None = None) -> LoopProgram:
    """The loop program of a graph for a target (this machine by default)."""
    program = Lowering(prepare(graph), target or host()).run()
    return replace(program, outputs=graph.output_types)


class Lowering:
    """The way from a prepared graph to its program, and what was decided on it."""

    def __init__(self, graph: Graph, target: Target) -> None:
        self.graph = graph
        self.target = target
        self.scheduler = Scheduler(graph)
        self.steps = self.scheduler.run()
        rematerialise(self.scheduler)
        self.blocks = row_blocks(self.scheduler, target)
        fuse_epilogues(self.scheduler, target, self.blocks)
        self.users = self._users()
        self.stored = self._stored()
        self.owners: dict[int, int] = {}
        self.in_place: set[int] = set()
        self.over: dict[str, str] = {}  # buffers of results -> those of operands they overwrite
        self._share()
        self.buffers: dict[int, Buffer] = {}
        self.scratches: list[tuple[Buffer, int]] = []
        self.private = {id_ for b in self.blocks for id_ in self._private(b)}
        self.step_of: list[int] = []  # of each stage of the program

    def run(self) -> LoopProgram:
        """The program."""
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
        place = self._plan_arena(stages)

        def placed(buffer: Buffer) -> Buffer:
            if buffer.kind in ("private", "window"):
                return buffer
            at = place[buffer.name]
            return replace(buffer, offset=at.offset) if buffer.kind == "part" else at

        return LoopProgram(
            self.graph.name,
            tuple(with_buffers(stage, placed) for stage in stages),
            tuple(place[b.name] for b in self._all_buffers()),
            self.arena,
            self.graph.input_types,
            self.graph.output_types,
            tuple(n for n in self.graph.nodes if n.op.name in CHECKED),
        )

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
            if single or elsewhere or id_ in outputs or self._accumulated(step, id_):
                stored.add(id_)
        # What an alias inside the same group reads was kept out of it by the scheduler.
        return stored

    def _accumulated(self, step: Group | Single, id_: int) -> bool:
        """Whether a value is a reduction over outer loops, which lies in memory."""
        group = step if isinstance(step, Group) else step.epilogue
        if group is None or id_ not in group.members:
            return False
        member = group.members[id_]
        return member.reduced is not None and member.reduced != frozenset(
            range(group.split, len(group.domain))
        )

    def _share(self) -> None:
        """Let updates overwrite their first operand where they are its last use.

        The two then have one buffer: that of the update if it is an output, else of the operand.
        """
        outputs = {self.scheduler.root(i) for i in self.graph.outputs}
        for index, step in enumerate(self.steps):
            if not isinstance(step, Single) or step.node.op.name not in (
                "update_slice",
                *irregular.IN_PLACE,
            ):
                continue
            node = step.node
            rank = node.type.rank
            access = resolve(self.graph, node.operands[0], identity(rank), rank)
            base = self.scheduler.root(access.source)
            whole = access.source == node.operands[0] and not access.guards
            others = [self.scheduler.root(i) for i in self._other_sources(node)]
            if (
                whole
                and base in self.scheduler.home
                and base not in outputs
                and base not in others
                and self.owner(base) not in outputs
                and max(self.users[base]) == index
                and self.scheduler.home[base] < index
            ):
                self.in_place.add(node.id)
                child, parent = (base, node.id) if node.id in outputs else (node.id, base)
                self.owners[self.owner(child)] = self.owner(parent)

    def owner(self, id_: int) -> int:
        """The value whose buffer a value in memory has: its own, or that of one it shares with."""
        while id_ in self.owners:
            id_ = self.owners[id_]
        return id_

    def _other_sources(self, node: Node) -> list[int]:
        if node.op.name in ASSEMBLED:
            return [a.source for a in self.scheduler.pieces(node)[1:]]
        return list(node.operands[1:])

    # -- buffers -------------------------------------------------------------------------------

    def _place_values(self) -> None:
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
        for id_ in sorted(self.stored):
            if id_ not in self.buffers and id_ not in self.owners and id_ not in self.private:
                node = self.graph.nodes[id_]
                self.buffers[id_] = Buffer(
                    f"buf{id_}", "arena", node.type.dtype, node.type.size
                )

    def memory(self, id_: int) -> Buffer:
        """The buffer of a value; constants get one when they are first read."""
        id_ = self.owner(self.scheduler.root(id_))
        if id_ not in self.buffers:
            node = self.graph.nodes[id_]
            if node.op.name != "const":
                raise AssertionError(f"%{id_} {node.op.name} was given no memory")
            value = np.ascontiguousarray(node.attrs["value"])
            self.buffers[id_] = Buffer(
                f"const{id_}", "constant", value.dtype, value.size, data=value.tobytes()
            )
        return self.buffers[id_]

    def scratch(self, index: int, dtype: np.dtype[Any], size: int) -> Buffer:
        """Memory for the duration of one step."""
        buffer = Buffer(f"tmp{len(self.scratches)}", "arena", dtype, size)
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
                last = max(max(self.users.get(i, {self.scheduler.home[i]})) for i in ids)
                first = min(self.scheduler.home[i] for i in ids)
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

    def _request(self, buffer: Buffer, first: int, last: int) -> Request:
        """The life of a buffer: steps that run in blocks all run until the last block."""
        for b in self.blocks:
            first = b.first if b.first <= first <= b.last else first
            last = b.last if b.first <= last <= b.last else last
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
            self.users, self.scheduler.home, self.memory, scratch,
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
                self.graph, step, reads, self.stored, self.memory, scratch, l2=self.target.l2
            )
            nest = build.build()
            nests = arrange(nest, self.target, scratch) if nest.writes else []
            return [part for made in nests for part in chunked(made, scratch)]
        node = step.node
        if node.op.name in ASSEMBLED:
            return self._assemble(node, scratch)
        operands = tuple(self.memory(i) for i in node.operands)
        types = tuple(self.graph.nodes[i].type for i in node.operands)
        if node.op.name == "debug_print":
            return [Print(node, types, operands)]
        if node.op.name == "matmul":
            return self._contract(step, index)
        nbytes = irregular.scratch_bytes(node.op.name, node.attrs, types)
        space = scratch(np.dtype(np.uint8), nbytes) if nbytes else None
        out = self.memory(node.id)
        return [Irregular(node, types, operands, out, space, node.id in self.in_place)]

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

        tile = Buffer(f"tile{node.id}", "register", node.type.dtype, node.type.size)
        reads, stored = self.scheduler.accesses, self.stored
        build = NestBuilder(self.graph, step.epilogue, reads, stored, memory, scratch, ROWS)
        held = self.memory(node.id) if node.id in stored else None
        value, nest, out = on_tiles(build.nest(), node, tile, held)
        fused = Contract(spec, a, b, out, space, kind, value, nest)
        return [*shared(fused, self.target, scratch)]

    def _assemble(self, node: Node, scratch: Scratch) -> list[Stage]:
        """Nests that write the pieces of a concat, update_slice or embed to their places."""
        rank, shape = node.type.rank, node.type.shape
        out = self.memory(node.id)
        ones, zeros = (1,) * rank, (0,) * rank
        shapes = [self.graph.nodes[i].type.shape for i in node.operands]
        places: list[tuple[tuple[int, ...], tuple[int, ...]]]
        if node.op.name == "concat":
            places, at = [], 0
            for piece in shapes:
                places.append(
                    (tuple(at * (k == node.attrs["axis"]) for k in range(rank)), ones)
                )
                at += piece[node.attrs["axis"]]
        else:
            places = [(node.attrs["starts"], node.attrs["steps"])]
            if node.op.name == "update_slice":
                places.insert(0, (zeros, ones))
        stages: list[Stage] = []
        if node.op.name == "embed":
            stages.append(Nest((), (), (), (Fill(out, node.type.dtype.type(0)),)))
        strides = strides_of(shape)
        for k, (access, piece, (starts, steps)) in enumerate(
            zip(self.scheduler.pieces(node), shapes, places, strict=True)
        ):
            in_place = k == 0 and node.id in self.in_place
            if math.prod(piece) == 0 or in_place:
                continue
            target = Affine(
                sum(s * p for s, p in zip(starts, strides, strict=True)),
                tuple(s * p for s, p in zip(steps, strides, strict=True)),
            )
            read = self._read(access)
            nest = Nest((), piece, (Phase((), (read, Store(out, target, 0))),))
            stages.extend(chunked(collapse(nest), scratch))
        return stages

    def _read(self, access: Access) -> Statement:
        node = self.graph.nodes[access.source]
        if node.type.size == 0:
            return Literal(0, 0, node.type.dtype)
        guards = tuple(Guard(g.index, g.extent) for g in access.guards)
        return Load(0, self.memory(access.source), access.linear(node.type.shape), guards)
