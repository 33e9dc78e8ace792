"""Prices of keeping values and of computing them again, as measured (:mod:`gradc.ir.mincut`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradc.codegen.buffers import KEPT_WORKSPACE
from gradc.codegen.statements import MATH_COST, cost
from gradc.ir.graph import Node
from gradc.ir.types import UNKNOWN, Shape, TensorType

#: flops of a load and of a store outside the second-level cache, of one element as wide as the
#: arithmetic's. Measured, both together: 20 at 8 MB, 28 at 32 MB.
LOAD, STORE = 10, 14
#: and of a store in memory that is new in every call, as that of over ``LAST`` times that cache:
#: 200 measured, of which results that are written in any case must not be charged the most
STORE_FAR, LAST = 72, 16
#: a load and a store within the cache, together (sweeps over rows that it holds have a rule of
#: their own). Measured: 1.5 at 16 kB, 5 at 80 kB, 9 at 800 kB.
NEAREST, NEAR, WITHIN = (1, 1), (2, 3), (4, 6)
#: and of few registers' bytes, each value in a cache line of its own. Not measured apart: of five
#: pairs tried, that with which a thousand unrolled steps of Runge-Kutta on a number took least.
WAITED, REGISTERS = (2, 6), 1 << 9
#: bytes that are surely in the nearest cache when they are read, as of sweeps' rows, and which
#: part of the second-level cache stays in it
FEW, PART = 1 << 13, 16
#: flops of a quotient and of a root, for each byte of an element: they occupy a unit of their own
SLOW = {"div": 2, "sqrt": 3}
#: flops of reading what is the same for all of a row, or small
SMALL = 1
#: values that one cut weighs: compile time stays in proportion to the program
REGION = 64


def bytes_of(type_: TensorType) -> int:
    """The bytes of a value; none of a tape whose length is known only at run time."""
    return 0 if UNKNOWN in type_.shape else type_.nbytes


@dataclass(frozen=True)
class Prices:
    """What groups pay for an element of a value, in flops times bytes of an element.

    ``held`` bytes wait for later steps at a time: long values among them leave a second-level cache
    of ``l2`` bytes when they take more than half of it, and lie in memory that is new in every call
    when they take more than is kept from call to call. None if no value leaves the cache.
    """

    l2: int
    held: int | None

    def load(self, type_: TensorType) -> int:
        """The price of loading it from where it was stored."""
        return self._level(type_)[0]

    def store(self, type_: TensorType) -> int:
        """The price of storing it."""
        return self._level(type_)[1]

    def read(self, type_: TensorType, steps: Sequence[int], domain: Shape) -> int:
        """The price of reading it at each point of a domain, along whose axes it moves so."""
        if not any(steps):
            return 0
        points = math.prod(d for d, step in zip(domain, steps, strict=True) if step)
        nbytes = bytes_of(type_)
        if 2 * points <= math.prod(domain) and nbytes <= self.l2 // 2:  # again and again
            near = NEAREST[0] * max(4, type_.dtype.itemsize)
            return near if nbytes <= FEW else replace(self, held=None).load(type_)
        if not steps[-1]:  # once for all of a row
            return SMALL * type_.dtype.itemsize
        return self.load(type_) * (1 if steps[-1] == 1 else 2)

    def _level(self, type_: TensorType) -> tuple[int, int]:
        """The prices of a load and of a store of a value."""
        itemsize = type_.dtype.itemsize
        nbytes = bytes_of(type_)
        width = max(4, itemsize)
        if nbytes <= REGISTERS:
            load, store = WAITED
        elif nbytes <= FEW:
            load, store = NEAREST
        elif nbytes <= self.l2 // PART:
            load, store = NEAR
        elif self.held is None or max(nbytes, self.held) <= self.l2 // 2:
            load, store = WITHIN
        else:
            load, store = LOAD, STORE_FAR if self.held > KEPT_WORKSPACE else STORE
            width = itemsize
        return load * width, store * width


def computable(node: Node) -> bool:
    """Whether a value may be computed again where it is read.

    Calls of vector math are not: one takes as long as 40 to 55 flops, and computing the sine
    of an array of 8 MB again took half as long again as keeping it.
    """
    return cost(node) < MATH_COST and node.op.name != "gather"


def computing(node: Node) -> int:
    """The price of computing a value, in flops times bytes of an element."""
    itemsize = max(4, node.type.dtype.itemsize)
    flops = SLOW[node.op.name] * itemsize if node.op.name in SLOW else cost(node)
    return flops * itemsize
