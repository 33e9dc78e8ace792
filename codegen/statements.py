"""What nests are made of: memory, affine indices, and statements at one point of the loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir.graph import Node
from gradc.ir.scalar import MATH
from gradc.ir.types import SHORT

#: flops of a call of vector math
MATH_COST = 20

_FLOPS = dict.fromkeys((*MATH, "logistic_density", "floordiv", "mod"), MATH_COST)
_FLOPS |= {"div": 4, "sqrt": 4, "gather": 4, "cube": 8, "fourth": 8}


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

    def span(self, extents: Sequence[int]) -> tuple[int, int]:
        """The least and the greatest value in loops of these extents, none of them 0."""
        ends = [c * (n - 1) for c, n in zip(self.coefficients, extents, strict=True)]
        low, high = sum(e for e in ends if e < 0), sum(e for e in ends if e > 0)
        return self.offset + low, self.offset + high

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
    node: int  # its number among the program's checked ones

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
    return _FLOPS.get(node.op.name, 1)


def flops_of(statements: tuple[Statement, ...]) -> int:
    """Rough flops of statements, once each."""
    return sum(cost(s.node) if isinstance(s, Compute) else 1 for s in statements)
