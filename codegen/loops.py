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

import numpy as np

from gradc.ir.graph import Node
from gradc.ir.scalar import MATH
from gradc.ir.types import SHORT, TensorType

#: flops of a call of vector math
MATH_COST = 20

_EXPENSIVE = MATH | {"logistic_density", "floordiv", "mod"}


@dataclass(frozen=True)
class Buffer:
    """Memory of a program: an input, an output, a constant, or at ``offset`` of the arena.

    Or it is ``private``: at ``offset`` of what each thread has for itself; or the ``part`` of a
    chunk: there are as many of them, one after the other, from ``offset`` of the arena on.
    """

    name: str
    kind: str
    dtype: np.dtype[Any]
    size: int
    index: int = 0  # of an input or output
    offset: int = 0  # bytes into the arena
    data: bytes = b""  # of a constant

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.size * self.dtype.itemsize


@dataclass(frozen=True)
class Affine:
    """``offset + Σ coefficients[k]·i_k`` over the loops of a nest."""

    offset: int
    coefficients: tuple[int, ...]

    def __str__(self) -> str:
        terms = [
            f"i{k}" if c == 1 else f"{c}*i{k}" for k, c in enumerate(self.coefficients) if c
        ]
        if self.offset or not terms:
            terms.append(str(self.offset))
        return " + ".join(terms)


@dataclass(frozen=True)
class Guard:
    """The access takes place where ``0 <= index < extent``; elsewhere a load gives zero."""

    index: Affine
    extent: int

    def __str__(self) -> str:
        return f"0 <= {self.index} < {self.extent}"


@dataclass(frozen=True)
class Load:
    """A value read from a buffer."""

    value: int
    buffer: Buffer
    index: Affine
    guards: tuple[Guard, ...] = ()

    def __str__(self) -> str:
        text = f"v{self.value} = {self.buffer.name}[{self.index}]"
        return text + "".join(f" if {g}" for g in self.guards)


@dataclass(frozen=True)
class Literal:
    """A constant scalar."""

    value: int
    number: Any
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"v{self.value} = {self.number!s} : {SHORT[self.dtype]}"


@dataclass(frozen=True)
class Compute:
    """An elementwise op on values."""

    value: int
    node: Node
    operands: tuple[int, ...]

    def __str__(self) -> str:
        operands = ", ".join(f"v{v}" for v in self.operands)
        return f"v{self.value} = {self.node.op.name} {operands} : {SHORT[self.node.type.dtype]}"


@dataclass(frozen=True)
class Gather:
    """``buffer[Σ strides[k]·index_k + rest]``, indices wrapped and checked against ``extents``."""

    value: int
    buffer: Buffer
    indices: tuple[int, ...]
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    rest: Affine
    node: int

    def __str__(self) -> str:
        at = " + ".join(f"{s}*v{i}" for i, s in zip(self.indices, self.strides, strict=True))
        return f"v{self.value} = {self.buffer.name}[{at} + {self.rest}] checked {self.extents}"


@dataclass(frozen=True)
class Store:
    """A value written to a buffer."""

    buffer: Buffer
    index: Affine
    value: int

    def __str__(self) -> str:
        return f"{self.buffer.name}[{self.index}] = v{self.value}"


@dataclass(frozen=True)
class Reduce:
    """A reduction over the inner loops, in registers; ``result`` is a row value after the phase.

    A ``factor`` makes it a sum of products, accumulated with fused multiply-add.
    """

    result: int
    kind: str
    value: int
    dtype: np.dtype[Any]
    factor: int | None = None

    def __str__(self) -> str:
        times = "" if self.factor is None else f" * v{self.factor}"
        return f"v{self.result} = {self.kind} over inner of v{self.value}{times}"


@dataclass(frozen=True)
class Accumulate:
    """A reduction over outer loops into a buffer.

    Long floating sums are compensated: ``totals`` is memory for the total and for what rounding
    lost, used unless the sums stay in registers.
    """

    buffer: Buffer
    index: Affine
    kind: str
    value: int
    totals: tuple[Buffer, Buffer] | None = None

    def __str__(self) -> str:
        mark = " (compensated)" if self.totals else ""
        return f"{self.buffer.name}[{self.index}] {self.kind}= v{self.value}{mark}"


Statement = Load | Literal | Compute | Gather | Store | Reduce | Accumulate


def uses(statement: Statement) -> tuple[int, ...]:
    """The values that a statement reads."""
    match statement:
        case Compute():
            return statement.operands
        case Gather():
            return statement.indices
        case Store() | Accumulate():
            return (statement.value,)
        case Reduce():
            return (statement.value, *([] if statement.factor is None else [statement.factor]))
    return ()


def cost(node: Node) -> int:
    """Rough flops of one element: recomputing is cheaper than memory below about ten."""
    if node.op.name in _EXPENSIVE:
        return MATH_COST
    return 4 if node.op.name in ("div", "sqrt", "gather") else 1


def flops_of(statements: tuple[Statement, ...]) -> int:
    """Rough flops of statements, once each."""
    return sum(cost(s.node) if isinstance(s, Compute) else 1 for s in statements)


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


Stage = Nest | Contract | Irregular | Print | RowBlocks


@dataclass(frozen=True)
class LoopProgram:
    """All that a kernel does, in order, and the memory it does it in."""

    name: str
    stages: tuple[Stage, ...]
    buffers: tuple[Buffer, ...]
    arena: int
    inputs: tuple[TensorType, ...] = ()
    outputs: tuple[TensorType, ...] = ()
    checked: tuple[Node, ...] = ()  # those that a failing kernel may name in its status

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
