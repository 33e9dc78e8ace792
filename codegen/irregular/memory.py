"""What the templates share: element types in memory, axes, counted loops, sweeps over runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gradc.codegen.lanes import Lanes, Part, parts
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.targets import Target
from gradc.ir.types import TensorType

#: (offset of the first part, the parts, carried values) -> the next carried values
Body = Callable[[Val, list[Part], Sequence[Val]], Sequence[Val]]


class Split(NamedTuple):
    """A shape around one axis: element (o, j, i) stands at ``(o * n + j) * inner + i``."""

    outer: int
    n: int
    inner: int


def split(shape: Sequence[int], axis: int) -> Split:
    """The shape as three extents, the middle one that of ``axis``."""
    return Split(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))


def memory_type(dtype: np.dtype[Any]) -> str:
    """The LLVM type of an element in memory; a bool is a byte."""
    if dtype.kind == "f":
        return {4: "float", 8: "double"}[dtype.itemsize]
    return f"i{8 * dtype.itemsize}"


def lanes_of_type(b: Builder, type_: TensorType) -> Lanes:
    """Vector access to the elements of an array."""
    return Lanes(b, memory_type(type_.dtype), type_.dtype.itemsize, target_of(b))


def target_of(b: Builder) -> Target:
    """The machine a builder's module is for. Raises TypeError if it names none."""
    target = b.module.target
    if not isinstance(target, Target):
        raise TypeError("a loop template needs a module with a target")
    return target


@contextmanager
def counted(b: Builder, count: int) -> Iterator[Val]:
    """``for i in range(count)``; no loop at all for a count of one."""
    if count == 1:
        yield b.i64(0)
        return
    with b.loop(b.i64(0), b.i64(count)) as loop:
        yield loop.index


def sweep(
    b: Builder, n: int, lanes: int, unroll: int, body: Body, carried: Sequence[Val] = ()
) -> list[Val]:
    """Emit ``body`` over ``n`` consecutive elements, ``unroll`` vectors of ``lanes`` at a time.

    The part ``p`` of a body at ``offset`` is the elements from ``offset + p.offset`` on; the
    last body has what remains.
    """
    block = lanes * unroll
    full = n - n % block
    if full > block:
        with b.loop(b.i64(0), b.i64(full), block, carried) as loop:
            loop.next = list(body(loop.index, parts(block, lanes), loop.carried))
        carried = loop.results
    elif full:
        carried = body(b.i64(0), parts(block, lanes), carried)
    if n > full:
        carried = body(b.i64(full), parts(n - full, lanes), carried)
    return list(carried)


def copy(lanes: Lanes, n: int, source: Val, target: Val) -> None:
    """Copy ``n`` elements between buffers that do not overlap."""

    def body(offset: Val, pieces: list[Part], _: Sequence[Val]) -> Sequence[Val]:
        read, write = lanes.step(source, offset, 1), lanes.step(target, offset, 1)
        values = [lanes.load(lanes.at(read, p.offset), p.lanes, p.used) for p in pieces]
        for value, p in zip(values, pieces, strict=True):
            lanes.store(value, lanes.at(write, p.offset), p.used)
        return ()

    sweep(lanes.b, n, lanes.full, 4, body)
