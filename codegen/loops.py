"""The loop program: what will run, as frozen data that prints itself.

A program is a list of stages over buffers. The usual stage is a :class:`Nest`: outer loops over
*rows*, and inside a row a sequence of phases, each of which computes values of the row (scalars),
then sweeps the inner loops, the last of them in vectors. A reduction over the inner loops ends
with its phase and is a row value afterwards; one over outer loops accumulates into memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gradc.codegen.region.stages import Branch, Loop
from gradc.codegen.region.straight import Straight
from gradc.codegen.statements import Accumulate, Buffer, Gather, Statement, Store, flops_of
from gradc.ir.graph import Node
from gradc.ir.types import SHORT, TensorType


@dataclass(frozen=True)
class Phase:
    """Row statements (scalars), then the body of the inner loops."""

    row: tuple[Statement, ...]
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Fill:
    """Set a whole buffer to a number before a nest accumulates into it."""

    buffer: Buffer
    number: Any

    def __str__(self) -> str:
        return f"{self.buffer.name}[:] = {self.number}"


@dataclass(frozen=True)
class Chunks:
    """How the first loop of a nest, over chunks of the second, is shared out among threads.

    ``last`` is what the second loop counts to in the last chunk, 0 if there is no second one;
    ``space`` is the calling thread's ``nbytes`` of private memory, None if they need none.
    """

    last: int
    space: Buffer | None = None
    nbytes: int = 0


@dataclass(frozen=True)
class Nest:
    """A fused kernel. Loops 0..len(outer)-1 are the rows, the rest the inner loops.

    Row statements are computed for ``rows`` consecutive rows at a time, in the lanes of vectors.
    The inner loops then run row by row, or ``across`` the rows, which stay in their lanes.
    """

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    phases: tuple[Phase, ...]
    fills: tuple[Fill, ...] = ()  # of buffers that are then written in part
    chunks: Chunks | None = None
    rows: int = 1
    across: bool = False

    @property
    def writes(self) -> bool:
        """Whether it does anything: stores, accumulates, or may fail."""
        parts = (s for phase in self.phases for s in (*phase.row, *phase.body))
        return bool(self.fills) or any(
            isinstance(s, (Store, Accumulate, Gather)) for s in parts
        )

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        rows, inner = math.prod(self.outer), math.prod(self.inner)
        return sum(
            rows * (flops_of(phase.row) + inner * flops_of(phase.body)) for phase in self.phases
        )

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        for fill in self.fills:
            yield str(fill)
        indent = ""
        for k, extent in enumerate(self.outer):
            mark = " parallel" if self.chunks and k == 0 else ""
            if self.chunks and k == 1 and self.chunks.last != extent:
                mark = f" ({self.chunks.last} in the last)"
            if self.rows > 1 and k == len(self.outer) - 1:
                mark = f"{mark} vector" if self.across else f"{mark} in blocks of {self.rows}"
            yield f"{indent}for i{k} < {extent}{mark}:"
            indent += "  "
        for phase in self.phases:
            for statement in phase.row:
                yield f"{indent}{statement}"
            deeper = indent
            for k, extent in enumerate(self.inner):
                kind = " vector" if k == len(self.inner) - 1 and not self.across else ""
                if phase.body:
                    yield f"{deeper}for i{k + len(self.outer)} < {extent}{kind}:"
                deeper += "  "
            for statement in phase.body:
                yield f"{deeper}{statement}"


@dataclass(frozen=True)
class Shares:
    """How a matrix product is shared out among threads: in ``count`` chunks.

    ``each`` of them has as many products of the batch, or rows (or columns) of every product, the
    last one what is left. A thread needs ``nbytes`` of private memory.
    """

    along: str  # "batch", "rows" or "columns"
    each: int
    count: int
    nbytes: int

    def __str__(self) -> str:
        return f"parallel in {self.count} chunks of {self.each} of its {self.along}"


@dataclass(frozen=True)
class Contract:
    """A batch of matrix products: an emitted kernel or a BLAS call.

    With an ``epilogue``, a nest over batch, rows and columns in which the product is ``value``,
    each tile goes through its statements; ``out`` then only holds sums that go in slices.
    """

    spec: Any
    a: Buffer
    b: Buffer
    out: Buffer | None
    scratch: Buffer | None
    strategy: str
    value: int = 0
    epilogue: Nest | None = None
    shares: Shares | None = None
    onto: bool = False  # the product is added to what ``out`` holds

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        s = self.spec
        after = self.epilogue.flops if self.epilogue else 0
        return int(2 * s.batch * s.m * s.n * s.k) + after

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        s = self.spec
        flags = f"{'ᵀ' if s.ta else ''}", f"{'ᵀ' if s.tb else ''}"
        batch = f" batch {s.batch}" if s.batch != 1 else ""
        result = f"v{self.value}" if self.epilogue or self.out is None else self.out.name
        sign = "+=" if self.onto else "="
        yield (
            f"{result} {sign} {self.a.name}{flags[0]} @ {self.b.name}{flags[1]}"
            f"   # {s.m}x{s.k}x{s.n}{batch} {SHORT[s.dtype]}, {self.strategy}"
            + (f", {self.shares}" if self.shares else "")
        )
        if self.epilogue:
            yield f"at each i0 < {s.batch}, i1 < {s.m}, i2 < {s.n}, on its tiles:"
            for phase in self.epilogue.phases:
                yield from (f"  {statement}" for statement in phase.body)


@dataclass(frozen=True)
class Irregular:
    """An op with a loop template of its own (scatter, scan along an axis, sort, argmax)."""

    node: Node
    operand_types: tuple[TensorType, ...]
    operands: tuple[Buffer, ...]
    out: Buffer
    scratch: Buffer | None
    in_place: bool = False
    number: int = 0  # among the program's checked nodes

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        return 4 * sum(t.size for t in self.operand_types)

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        names = ", ".join(b.name for b in self.operands)
        attrs = ", ".join(f"{k}={v}" for k, v in self.node.attrs.items())
        mark = "   # in place" if self.in_place else ""
        yield f"{self.out.name} = {self.node.op.name}({names}) {{{attrs}}}{mark}"


@dataclass(frozen=True)
class Print:
    """A call back into Python that prints arrays."""

    node: Node
    operand_types: tuple[TensorType, ...]
    operands: tuple[Buffer, ...]
    number: int = 0  # among the program's checked nodes

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        return 0

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        yield f"print {self.node.attrs['format']!r}, {', '.join(b.name for b in self.operands)}"


@dataclass(frozen=True)
class Window:
    """A buffer seen from ``chunk`` elements further on a chunk, and ``block`` a block."""

    view: Buffer
    of: Buffer
    chunk: int
    block: int

    def __str__(self) -> str:
        moves = [f"{n}*{i}" for n, i in ((self.chunk, "chunk"), (self.block, "block")) if n]
        return f"{self.view.name} = {self.of.name}[{' + '.join(moves)}:]"


@dataclass(frozen=True)
class Sum:
    """A reduction over blocks, of ``size`` elements: ``part`` of each, or added up in place."""

    kind: str
    total: Buffer
    size: int
    part: Buffer | None

    def __str__(self) -> str:
        part = self.part.name if self.part else "as they come"
        return f"{self.total.name} {self.kind}= {part}"


@dataclass(frozen=True)
class RowBlocks:
    """Stages that go block by block of ``size`` rows; threads share out the chunks of blocks.

    ``space`` is the calling thread's ``nbytes`` of private memory.
    """

    chunks: int
    blocks: int
    size: int
    stages: tuple[Nest | Contract, ...]
    windows: tuple[Window, ...]
    sums: tuple[Sum, ...]
    space: Buffer
    nbytes: int

    @property
    def flops(self) -> int:
        """A rough count of what it computes."""
        return self.chunks * self.blocks * sum(stage.flops for stage in self.stages)

    def lines(self) -> Iterator[str]:
        """The text of the stage, line by line."""
        yield f"for chunk < {self.chunks}{' parallel' if self.chunks > 1 else ''}:"
        yield f"  for block < {self.blocks}, of {self.size} rows:"
        for window in self.windows:
            yield f"    {window}"
        for stage in self.stages:
            yield from (f"    {line}" for line in stage.lines())
        for total in self.sums:
            yield f"    {total}"


Stage = Nest | Contract | Irregular | Print | RowBlocks | Straight | Loop | Branch


@dataclass(frozen=True)
class LoopProgram:
    """All that a kernel does, in order, and the memory it does it in."""

    name: str
    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...]
    arena: int
    inputs: tuple[TensorType, ...] = ()
    outputs: tuple[TensorType, ...] = ()
    checked: tuple[Node, ...] = ()  # those that a failing kernel may name, by number
    tapes: Buffer | None = None  # what was taken of memory as it runs

    @property
    def flops(self) -> int:
        """A rough count of what a call computes."""
        return sum(stage.flops for stage in self.stages)

    def __str__(self) -> str:
        out = [f"program {self.name}: {len(self.stages)} stages, arena {self.arena} bytes"]
        for buffer in self.buffers:
            where = f" at {buffer.offset}" if buffer.kind == "arena" else ""
            out.append(
                f"  {buffer.name}: {SHORT[buffer.dtype]}[{buffer.size}] {buffer.kind}{where}"
            )
        for k, stage in enumerate(self.stages):
            out.append(f"stage {k}: {type(stage).__name__.lower()}")
            out.extend(f"  {line}" for line in stage.lines())
        return "\n".join(out)
