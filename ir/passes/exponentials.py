"""Sums of exponentials: how rules recognise them, shift them, and follow their elements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import spread
from gradc.ir.passes.structure import is_op

#: ops that only choose and place elements of their first operand
PLACING = ("broadcast", "reshape", "transpose", "slice", "gather")
#: how far a rule looks through them
MAX_DEPTH = 16

Placement = list[tuple[Value, list[Value]]]


def placed(value: Value) -> tuple[Value, Placement]:
    """What a value was before it was broadcast, reshaped, sliced, ... and those steps, first to
    last.
    """
    steps: Placement = []
    while value.node.op.name in PLACING and not value.node.fence and len(steps) < MAX_DEPTH:
        source, *indices = value.operands
        steps.append((value, indices))
        value = source
    return value, steps[::-1]


def place(value: Value, steps: Placement) -> Value:
    """Do to another value of the same shape what was done to the first."""
    for step, indices in steps:
        value = step.builder.add(step.node.op, [value, *indices], **step.node.attrs)
    return value


# -- exponentials of sums, and sums of exponentials ----------------------------------------------


def exponent(value: Value) -> Value | None:
    """The t of exp(t), wherever its elements have been placed."""
    base, steps = placed(value)
    return place(base.operands[0], steps) if is_op(base, "exp") else None


def through_guards(value: Value) -> Value:
    """A maximum before it was placed, guarded against infinity and cut off from the gradient."""
    for _ in range(MAX_DEPTH):
        if value.node.op.name in ("broadcast", "reshape", "transpose", "stop_gradient"):
            value = value.operands[0]
        elif value.node.op.name == "where":
            value = value.operands[1]
        else:
            break
    return value


def _source(value: Value) -> int:
    while value.node.op.name in ("reshape", "transpose", "stop_gradient"):
        value = value.operands[0]
    return value.id


def shifted(z: Value, axes: Sequence[int]) -> bool:
    """Whether z is t − max(t) over these axes already."""
    if not is_op(z, "sub"):
        return False
    t, shift = z.operands
    top = through_guards(shift)
    groups = math.prod(d for axis, d in enumerate(z.shape) if axis not in axes)
    return is_op(top, "max") and top.type.size == groups and (
        _source(top.operands[0]) == _source(t))


def guarded(m: Value) -> Value:
    """m where it is finite, else 0; constant to the gradient, as results do not depend on it."""
    finite = ops.lt(ops.abs_(m), ops.full_like(m, math.inf))
    return ops.stop_gradient(ops.where(finite, m, ops.full_like(m, 0)))


def sum_of_exponentials(value: Value) -> tuple[Value, Value | None, tuple[int, ...]] | None:
    """z, w and the axes of Σ w·exp(z), when z is not shifted yet (w is None for one)."""
    if not is_op(value, "sum") or not value.operands[0].type.size:
        return None
    inner, axes = value.operands[0], value.node.attrs["axes"]
    z, weight = exponent(inner), None
    if z is None and is_op(inner, "mul"):
        for factor, other in (inner.operands, inner.operands[::-1]):
            z = exponent(factor)
            if z is not None:
                weight = other
                break
    return None if z is None or shifted(z, axes) else (z, weight, axes)


def shifted_sum(z: Value, weight: Value | None, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """m and Σ w·exp(z − m), with m the maximum of z."""
    m = guarded(ops.max_(z, axes=axes))
    terms = ops.exp(z - spread(m, z, axes))
    return m, ops.sum_(terms if weight is None else weight * terms, axes=axes)
