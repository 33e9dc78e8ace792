"""What a program costs and why it is cut as it is.

The graph is scheduled once more, with an eye on what the scheduler decided and why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from gradc.codegen import matmul
from gradc.codegen.arrange import Way, lanes_at_a_time
from gradc.codegen.loops import Contract, Irregular, Nest, Print, RowBlocks, Stage
from gradc.codegen.prepare import prepare
from gradc.codegen.program import Lowering
from gradc.codegen.region.explain import with_insides
from gradc.codegen.report import Apart, Loops, Product, Report, StageReport, Traffic, rather
from gradc.codegen.schedule import Copied, Group, Reason, Single
from gradc.codegen.statements import (
    MATH_COST,
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Load,
    Reduce,
    Statement,
    Store,
    cost,
)
from gradc.codegen.targets import Target, host
from gradc.ir.graph import Graph

#: ops that leave a number as it is
MOVES = frozenset(("copy", "convert", "stop_gradient"))


def explain(graph: Graph, target: Target | None = None, title: str | None = None) -> Report:
    """The report on the program of an optimized graph, for this machine by default."""
    target = target or host()
    lowering = Lowering(prepare(graph), target)
    program = lowering.run()
    stages = [
        _Explainer(lowering, target, number, stage, program.stages).report()
        for number, stage in enumerate(program.stages)
    ]
    return Report(title or graph.name, tuple(stages), program.arena)


@dataclass
class _Touched:
    """The elements of a buffer that accesses touch: each affine index once."""

    seen: dict[Affine, int] = field(default_factory=dict)
    low: int = 0
    high: int = 0

    def add(self, index: Affine, extents: tuple[int, ...]) -> None:
        if 0 in extents:
            return
        ends = (*index.span(extents), *((self.low, self.high) if self.seen else ()))
        self.low, self.high = min(ends), max(ends)
        pairs = zip(index.coefficients, extents, strict=True)
        self.seen[index] = math.prod(d for c, d in pairs if c)

    def count(self, size: int) -> int:
        return min(sum(self.seen.values()), self.high - self.low + 1, size)


class _Explainer:
    """Explains one stage."""

    def __init__(
        self,
        lowering: Lowering,
        target: Target,
        number: int,
        stage: Stage,
        program: Sequence[Stage] = (),
    ) -> None:
        self.lowering = lowering
        self.graph = lowering.graph
        self.target = target
        self.number = number
        self.stage = stage
        self.index = lowering.step_of[number]
        self.step = lowering.steps[self.index]
        self.beside = [s for s, k in zip(program, lowering.step_of, strict=False)
                       if k == self.index]
        self.scratch = {buffer.name for buffer, _ in lowering.scratches}

    def report(self) -> StageReport:
        stage, step = self.stage, self.step
        if isinstance(stage, RowBlocks):
            return self._row_blocks(stage)
        nodes = step.nodes
        single = () if isinstance(step, Group) or self._after_blocks() else (step.node.op.name,)
        arithmetic, calls = self._work()
        report = StageReport(
            number=self.number,
            kind=_kind(stage),
            roles=tuple(dict.fromkeys(n.role.kind for n in nodes)),
            lines=tuple(sorted({loc for n in nodes for loc in n.locs})),
            ops=single + self._ops(),
            loops=self._loops(stage) if isinstance(stage, Nest) else None,
            product=self._product(stage) if isinstance(stage, Contract) else None,
            arithmetic=arithmetic,
            calls=calls,
            memory=self._memory(),
            apart=self._apart(),
            kept=self._kept(),
            recomputed=self._recomputed(),
            in_place=self._in_place(),
        )
        return with_insides(report, stage)

    def _after_blocks(self) -> bool:
        """Whether this combines the sums of chunks."""
        first = any(b.first == self.index for b in self.lowering.blocks)
        return first and not isinstance(self.stage, RowBlocks)

    def _row_blocks(self, stage: RowBlocks) -> StageReport:
        """All steps that run in the blocks, as one."""
        (blocks,) = (b for b in self.lowering.blocks if b.first == self.index)
        steps = self.lowering.steps[blocks.first : blocks.last + 1]
        nodes = [node for step in steps for node in step.nodes]
        times = stage.chunks * stage.blocks
        parts = [
            _Explainer(self.lowering, self.target, self.number, part) for part in stage.stages
        ]
        work = [part._work() for part in parts]
        ops = [op for part in parts for op in (
            *(["matmul"] if isinstance(part.stage, Contract) else []), *part._ops()
        )]
        return StageReport(
            number=self.number,
            kind="row blocks",
            roles=tuple(dict.fromkeys(n.role.kind for n in nodes)),
            lines=tuple(sorted({loc for n in nodes for loc in n.locs})),
            ops=tuple(ops),
            loops=None,
            product=None,
            arithmetic=times * sum(arithmetic for arithmetic, _ in work),
            calls=times * sum(calls for _, calls in work),
            memory=self._through_windows(stage, [part._memory() for part in parts]),
            apart=self._apart(),
            kept=(),
            recomputed=(),
            in_place=tuple(text for part in parts for text in part._in_place()),
            blocks=str(blocks),
        )

    def _through_windows(
        self, stage: RowBlocks, parts: Sequence[Sequence[Traffic]]
    ) -> tuple[Traffic, ...]:
        """What blocks read and write in all: of whole buffers each element once."""
        behind = {w.view.name: w.of for w in stage.windows}
        whole: dict[str, Traffic] = {}
        for t in (t for part in parts for t in part if t.level not in ("private", "scratch")):
            of = behind.get(t.buffer)
            if of is not None:
                t = Traffic(
                    of.name, self._level(of), of.nbytes * bool(t.read),
                    of.nbytes * bool(t.written), self._argument(of),
                )
            seen = whole.get(t.buffer, t)
            whole[t.buffer] = replace(
                t, read=max(t.read, seen.read), written=max(t.written, seen.written)
            )
        own = Traffic(stage.space.name, "scratch", stage.nbytes, stage.nbytes)
        return (*whole.values(), own)

    def _name(self, id_: int) -> str:
        return f"v{id_} {self.graph.nodes[id_].op.name}"

    def _statements(self) -> Iterator[tuple[Statement, tuple[int, ...]]]:
        """The statements of a nest, and the extents of the loops they run in, 1 for the others."""
        stage = self.stage.epilogue if isinstance(self.stage, Contract) else self.stage
        if not isinstance(stage, Nest):
            return
        for phase in stage.phases:
            yield from ((s, stage.outer + (1,) * len(stage.inner)) for s in phase.row)
            yield from ((s, stage.outer + stage.inner) for s in phase.body)

    def _ops(self) -> tuple[str, ...]:
        """The ops computed, those of dead or copied values aside."""
        out: dict[int, str] = {}
        for s, _ in self._statements():
            match s:
                case Compute(value, node):
                    out[value] = node.op.name
                case Gather():
                    out[s.value] = "gather"
                case Reduce():
                    out[s.result] = s.kind if s.factor is None else f"{s.kind} of products"
                case Accumulate() if s.value not in out or out[s.value] != s.kind:
                    out[-len(out) - 1] = s.kind
        return tuple(out.values())

    def _loops(self, nest: Nest) -> Loops:
        lanes = lanes_at_a_time(nest, self.target) if nest.inner else 1
        way = Way.ACROSS if nest.across else Way.BLOCK if nest.rows > 1 else Way.SWEEP
        sweeps = sum(bool(p.body) for p in nest.phases)
        return Loops(nest.outer, nest.inner, lanes, sweeps, way, nest.chunks is not None)

    def _product(self, stage: Contract) -> Product:
        s, form = stage.spec, "one call of BLAS"
        if stage.strategy == "kernel" and 0 not in (s.m, s.n):
            f = matmul.form(s, self.target)
            unit = "vectors" if f.kind != "dot" else "columns"
            parts = [f"{f.kind} kernel", f"tiles of {f.rows} rows × {f.cols} {unit}"]
            parts += ["A packed"] * f.pack_a + ["B packed"] * f.pack_b
            parts += ["operands changed places"] * f.swapped
            parts += [str(stage.shares)] if stage.shares else []
            form = ", ".join(parts)
        why = matmul.reason(s, self.target)
        return Product(s.m, s.k, s.n, s.batch, stage.strategy, form, why)

    # -- work and memory -----------------------------------------------------------------------

    def _work(self) -> tuple[int, int]:
        """Arithmetic and calls of vector math."""
        if isinstance(self.stage, Irregular):
            return sum(t.size for t in self.stage.operand_types), 0
        arithmetic = calls = 0
        if isinstance(self.stage, Contract):
            s = self.stage.spec
            arithmetic = 2 * s.batch * s.m * s.n * s.k
        for s, extents in self._statements():
            times = math.prod(extents)
            match s:
                case Compute() if cost(s.node) >= MATH_COST:
                    calls += times
                case Compute() if s.node.op.name not in MOVES:
                    arithmetic += times
                case Reduce():
                    arithmetic += times * (1 if s.factor is None else 2)
                case Accumulate():
                    arithmetic += times
        return arithmetic, calls

    def _memory(self) -> tuple[Traffic, ...]:
        buffers: dict[str, Buffer] = {}
        read: dict[str, int] = {}
        written: dict[str, int] = {}

        def whole(sizes: dict[str, int], buffer: Buffer | None, nbytes: int | None = None) -> None:
            if buffer is not None:
                buffers[buffer.name] = buffer
                sizes[buffer.name] = buffer.nbytes if nbytes is None else nbytes

        match self.stage:
            case Nest():
                self._touch(buffers, read, written)
                for fill in self.stage.fills:
                    whole(written, fill.buffer)
            case Contract(_, a, b, out, scratch, epilogue=epilogue):
                self._touch(buffers, read, written)
                for buffer in (a, b, scratch):
                    whole(read, buffer)
                for buffer in (None if epilogue else out, scratch):
                    whole(written, buffer)
            case Irregular(_, _, operands, out, scratch, in_place):
                for buffer in (*operands, scratch):
                    whole(read, buffer)
                whole(written, out)
                whole(written, scratch)
                if in_place and len(operands) > 1:  # a scatter touches as much as it adds
                    part = min(out.nbytes, operands[1].nbytes)
                    whole(read, out, part)
                    whole(written, out, part)
            case Print():
                for buffer in self.stage.operands:
                    whole(read, buffer)
        return tuple(
            Traffic(
                name, self._level(b), read.get(name, 0), written.get(name, 0), self._argument(b)
            )
            for name, b in buffers.items()
        )

    def _argument(self, buffer: Buffer) -> str:
        if buffer.kind != "input":
            return ""
        return str(self.graph.nodes[self.graph.inputs[buffer.index]].attrs["name"])

    def _level(self, buffer: Buffer) -> str:
        return "scratch" if buffer.name in self.scratch else buffer.kind

    def _touch(
        self, buffers: dict[str, Buffer], read: dict[str, int], written: dict[str, int]
    ) -> None:
        """Count what a nest touches of each buffer."""
        touched: dict[tuple[str, bool], _Touched] = {}

        def add(buffer: Buffer, index: Affine, extents: tuple[int, ...], *, write: bool) -> None:
            buffers[buffer.name] = buffer
            touched.setdefault((buffer.name, write), _Touched()).add(index, extents)

        for s, extents in self._statements():
            match s:
                case Load():
                    add(s.buffer, s.index, extents, write=False)
                case Gather():  # one element at each point, wherever
                    every = Affine(0, tuple(s.buffer.size for _ in extents))
                    add(s.buffer, every, extents, write=False)
                case Store():
                    add(s.buffer, s.index, extents, write=True)
                case Accumulate():
                    add(s.buffer, s.index, extents, write=True)
                    for buffer in s.totals or ():
                        add(buffer, s.index, extents, write=False)
                        add(buffer, s.index, extents, write=True)
        for (name, write), elements in touched.items():
            buffer = buffers[name]
            sizes = written if write else read
            sizes[name] = elements.count(buffer.size) * buffer.dtype.itemsize

    # -- decisions -----------------------------------------------------------------------------

    def _apart(self) -> tuple[Apart, ...]:
        step_of, origin = self.lowering.step_of, self.lowering.scheduler.origins[self.index]
        if self._after_blocks():
            return (Apart(self.number - 1, Reason.UNFINISHED, "sums over blocks of rows"),)
        if self.number and step_of[self.number - 1] == self.index:
            name = self._name(origin.node)
            return (Apart(self.number - 1, Reason.WHOLE, f"the next part of {name}"),)
        last = {step: stage for stage, step in enumerate(step_of)}
        before = self.number - 1 if self.number else None
        return tuple(
            Apart(
                last.get(step, before if refusal.reason is Reason.WHOLE else None),
                refusal.reason,
                self._name(origin.node),
                None if refusal.value is None else self._name(refusal.value),
            )
            for step, refusal in origin.refused
        )

    def _kept(self) -> tuple[str, ...]:
        """Values that wait for a later sweep, and where."""
        if not isinstance(self.step, Group):
            return ()
        out = []
        for s, _ in self._statements():
            if not isinstance(s, Store) or s.value not in self.step.members:
                continue
            stored = s.value in self.lowering.stored
            if not stored or self.lowering.memory(s.value).name != s.buffer.name:
                place = f"{s.buffer.name} ({self._level(s.buffer)})"
                out.append(f"{self._name(s.value)} for a later sweep, in {place}")
        return tuple(out)

    def _in_place(self) -> tuple[str, ...]:
        """What takes the memory of an operand."""
        if isinstance(self.step, Single) and self.step.node.id in self.lowering.in_place:
            return ("it overwrites its first operand",)
        over = self.lowering.over
        names = dict.fromkeys(s.buffer.name for s, _ in self._statements() if isinstance(s, Store))
        return tuple(f"{name} overwrites {over[name]}" for name in names if name in over)

    def _recomputed(self) -> tuple[str, ...]:
        """Values that another stage, or an earlier sweep, computes as well."""
        home = self.lowering.scheduler.home
        times = _computed([self.stage])
        if isinstance(self.stage, Nest) and self.stage.chunks is not None:
            # Each sweep is a stage of its own, which leaves what is no whole chunk to another.
            sweeps = [s for s in self.beside if isinstance(s, Nest) and s.chunks is not None]
            everywhere = _computed(sweeps)
            times = Counter({id_: everywhere[id_] for id_ in times})
        group = self.step if isinstance(self.step, Group) else self.step.epilogue
        out, copied = [], dict[Copied | None, list[str]]()
        for id_, n in times.items():
            if id_ not in home:
                continue
            if home[id_] != self.index:
                why = group.members[id_].copied if group else None
                copied.setdefault(why, []).append(self._name(id_))
            elif n > 1:
                out.append(f"{self._name(id_)}, in {n} sweeps")
        return (*(rather(names, why) for why, names in copied.items()), *out)


def _computed(stages: Sequence[Stage]) -> Counter[int]:
    """How often the statements of nests, and of what follows products, compute each value."""
    nests = (s.epilogue if isinstance(s, Contract) else s for s in stages)
    phases = (phase for nest in nests if isinstance(nest, Nest) for phase in nest.phases)
    return Counter(
        s.value for phase in phases for s in (*phase.row, *phase.body) if isinstance(s, Compute)
    )


def _kind(stage: Stage) -> str:
    if isinstance(stage, Contract):
        return "matrix product"
    return stage.node.op.name if isinstance(stage, Irregular) else type(stage).__name__.lower()
