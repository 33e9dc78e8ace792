"""Sums of exponentials: how rules recognise them, shift them, and follow their elements.

A shift by the largest exponent m costs a rounding of z − m, which is a relative error of about
|z − m| units in exp(z − m): terms that far below the largest do not show in the sum, and a quotient
by the sum has the error that its own exponent's rounding would give it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import spread
from gradc.ir.passes.rewriter import Rewriter
from gradc.ir.passes.structure import is_op

#: ops that only choose and place elements of their first operand
PLACING = ("broadcast", "reshape", "transpose", "slice", "gather")
#: how far a rule looks through them
MAX_DEPTH = 16
#: a factor is mild if it and its reciprocal are no larger: its logarithm loses no digits of a sum
MILD = 64

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


def _unit_axes(source: Sequence[int], shape: Sequence[int]) -> dict[int, int] | None:
    """Where the axes of ``shape`` that are not one stand in ``source``, if they are the same."""
    wide = [axis for axis, d in enumerate(shape) if d != 1]
    own = [axis for axis, d in enumerate(source) if d != 1]
    same = [shape[axis] for axis in wide] == [source[axis] for axis in own]
    return dict(zip(wide, own, strict=True)) if same else None


def constant_along(value: Value, axes: Sequence[int]) -> bool:
    """Whether a value is a copy along these axes (True only when sure)."""
    left = {axis for axis in axes if value.shape[axis] != 1}
    for _ in range(MAX_DEPTH):
        if not left:
            return True
        name = value.node.op.name
        if name not in ("broadcast", "reshape", "transpose", "stop_gradient"):
            return False
        (source,) = value.operands
        if name == "broadcast":
            lead = len(value.shape) - len(source.shape)
            left = {a - lead for a in left if a >= lead and source.shape[a - lead] != 1}
        elif name == "transpose":
            left = {value.node.attrs["perm"][a] for a in left}
        elif name == "reshape":
            places = _unit_axes(source.shape, value.shape)
            if places is None:
                return False
            left = {places[a] for a in left}
        value = source
    return False


def shifted(z: Value, axes: Sequence[int]) -> bool:
    """Whether z is t − max(t) over these axes already."""
    if not is_op(z, "sub"):
        return False
    t, shift = z.operands
    top = through_guards(shift)
    groups = math.prod(d for axis, d in enumerate(z.shape) if axis not in axes)
    return is_op(top, "max") and top.type.size == groups and (
        _source(top.operands[0]) == _source(t)) and constant_along(shift, axes)


def guarded(m: Value) -> Value:
    """m where it is finite, else 0; constant to the gradient, as results do not depend on it."""
    finite = ops.lt(ops.abs_(m), ops.full_like(m, math.inf))
    return ops.stop_gradient(ops.where(finite, m, ops.full_like(m, 0)))


def _mild(weight: Value) -> bool:
    """Whether weights are known, positive and mild.

    Of other weights the largest exponent says too little: Σ w·exp(z − max z) is 0 where a weight
    of 0 meets the largest z, though Σ w·exp(z) is not.
    """
    builder = weight.builder
    assert isinstance(builder, Rewriter)
    array = builder.constant(weight.id)
    return array is not None and bool(((array >= 1 / MILD) & (array <= MILD)).all())


def _weighted(value: Value) -> tuple[Value, Value | None, tuple[int, ...]] | None:
    """z, w and the axes of Σ w·exp(z) (w is None for one)."""
    if not is_op(value, "sum") or not value.operands[0].type.size:
        return None
    inner, axes = value.operands[0], value.node.attrs["axes"]
    z = exponent(inner)
    if z is not None:
        return z, None, axes
    if is_op(inner, "mul"):
        for factor, weight in (inner.operands, inner.operands[::-1]):
            z = exponent(factor)
            if z is not None and _mild(weight):
                return z, weight, axes
    return None


def sum_of_exponentials(value: Value) -> tuple[Value, Value | None, tuple[int, ...]] | None:
    """z, w and the axes of Σ w·exp(z), when z is not shifted yet (w is None for one)."""
    found = _weighted(value)
    return None if found is None or shifted(found[0], found[2]) else found


def is_shifted_sum(value: Value) -> bool:
    """Whether a value is Σ exp(t − max t), placed or not: its logarithm is of moderate size."""
    found = _weighted(placed(value)[0])
    return found is not None and shifted(found[0], found[2])


def shifted_sum(z: Value, weight: Value | None, axes: tuple[int, ...]) -> tuple[Value, Value]:
    """m and Σ w·exp(z − m), with m the maximum of z."""
    m = guarded(ops.max_(z, axes=axes))
    terms = ops.exp(z - spread(m, z, axes))
    return m, ops.sum_(terms if weight is None else weight * terms, axes=axes)
