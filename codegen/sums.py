"""Steps of reductions in registers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of
from gradc.ir.types import BOOL

#: longer sums over outer loops are compensated
COMPENSATE = 128


def reduction_identity(kind: str, dtype: np.dtype[Any]) -> Any:
    """What a reduction starts from."""
    if kind in ("sum", "any"):
        return dtype.type(0)
    if kind in ("prod", "all"):
        return dtype.type(1)
    if dtype.kind == "b":
        return dtype.type(kind == "min")
    if dtype.kind == "f":
        return dtype.type(-math.inf if kind == "max" else math.inf)
    info = np.iinfo(dtype)
    return dtype.type(info.min if kind == "max" else info.max)


def combine(b: Builder, kind: str, dtype: np.dtype[Any], total: Val, value: Val) -> Val:
    """One step of a reduction. A NaN stays in a maximum or minimum, as in NumPy."""
    floating = dtype.kind == "f"
    match kind:
        case "sum":
            return b.fadd(total, value) if floating else b.add(total, value)
        case "prod":
            return b.fmul(total, value) if floating else b.mul(total, value)
        case "any":
            return b.or_(total, value)
        case "all":
            return b.and_(total, value)
    if dtype == BOOL:
        return b.or_(total, value) if kind == "max" else b.and_(total, value)
    order = "gt" if kind == "max" else "lt"
    if not floating:
        better = b.icmp(("s" if dtype.kind == "i" else "u") + order, value, total)
        return b.select(better, value, total)
    better = b.or_(b.fcmp("o" + order, value, total), b.fcmp("uno", value, value))
    return b.select(better, value, total)


def two_sum(b: Builder, total: Val, lost: Val, value: Val) -> tuple[Val, Val]:
    """Neumaier's step with Knuth's branch-free error term; nothing is lost of an infinity."""
    new = b.fadd(total, value)
    back = b.fsub(new, total)
    error = b.fadd(b.fsub(total, b.fsub(new, back)), b.fsub(value, back))
    finite = b.fcmp("ord", error, error)
    error = b.select(finite, error, b.const(0, error.ty))
    return new, b.fadd(lost, error)


def horizontal(b: Builder, kind: str, dtype: np.dtype[Any], value: Val) -> Val:
    """Combine the lanes of a vector, halves first."""
    lanes = lanes_of(value.ty)
    while lanes > 2:
        lanes //= 2
        low = b.shuffle(value, value, range(lanes))
        high = b.shuffle(value, value, range(lanes, 2 * lanes))
        value = combine(b, kind, dtype, low, high)
    if lanes == 1:
        return value
    return combine(b, kind, dtype, b.extract(value, 0), b.extract(value, 1))
