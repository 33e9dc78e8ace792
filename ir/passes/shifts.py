"""Shifts by the maximum that a user wrote: results do not depend on them, so no gradient need.

The maximum is marked with ``stop_gradient``; the adjoint then looks for no ties.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.passes.exponentials import MAX_DEPTH, Placement, place, placed, shifted
from gradc.ir.passes.rewriter import Draft, Rule
from gradc.ir.passes.structure import is_op, local
from gradc.ir.types import reduced_shape


def _attached(z: Value, axes: Sequence[int]) -> bool:
    """Whether z is t − max(t) and the maximum still carries a gradient."""
    if not shifted(z, axes):
        return False
    shift = z.operands[1]
    while shift.node.op.name in ("broadcast", "reshape", "transpose", "where"):
        shift = shift.operands[1 if shift.node.op.name == "where" else 0]
    return not is_op(shift, "stop_gradient")


def _same_shift(z: Value, axes: Sequence[int], steps: Placement, other: Value) -> bool:
    """Whether another value is, in every place, the shift of the group whose sum stands there.

    It need not be: e / e.sum(1) without keepdims divides each row by the sums of all rows.
    """
    value = shift = z.operands[1]
    for _ in range(MAX_DEPTH):
        if value.shape == reduced_shape(z.shape, axes) and (
            ops.spread(value, z, tuple(axes)).id == shift.id
        ):
            return place(value, steps).id == other.id
        if value.node.op.name not in ("broadcast", "reshape"):
            break
        value = value.operands[0]
    return False


def _detached(z: Value) -> Value:
    t, shift = z.operands
    return t - ops.stop_gradient(shift)


def _plain_sum(value: Value) -> tuple[Value, tuple[int, ...]] | None:
    """z and the axes of Σ exp(z)."""
    if not is_op(value, "sum") or not is_op(value.operands[0], "exp"):
        return None
    return value.operands[0].operands[0], value.node.attrs["axes"]


def _log_of_plain_sum(value: Value) -> tuple[tuple[Value, tuple[int, ...]] | None, Placement]:
    """z and the axes of log Σ exp(z), and what was done to place the sum and the logarithm."""
    base, outer = placed(value)
    if not is_op(base, "log"):
        return None, []
    total, inner = placed(base.operands[0])
    return _plain_sum(total), inner + outer


@local("div")
def softmax_shift(draft: Draft) -> Value | None:
    """exp(z)/Σ exp(z) does not depend on the shift in z: no gradient need pass through it."""
    numerator, denominator = draft.operands
    total, steps = placed(denominator)
    found = _plain_sum(total)
    base, own = placed(numerator)
    if found is None or not is_op(base, "exp") or base.operands[0].id != found[0].id:
        return None
    if not _attached(*found) or not _same_shift(*found, steps, place(found[0].operands[1], own)):
        return None
    e = ops.exp(_detached(found[0]))
    return place(e, own) / place(ops.sum_(e, axes=found[1]), steps)


@local("sub")
def log_softmax_shift(draft: Draft) -> Value | None:
    """Nor does z − log Σ exp(z)."""
    z, logarithm = draft.operands
    found, steps = _log_of_plain_sum(logarithm)
    if found is None or z.id != found[0].id or not _attached(*found):
        return None
    if not _same_shift(*found, steps, z.operands[1]):
        return None
    free = _detached(z)
    return free - place(ops.log(ops.sum_(ops.exp(free), axes=found[1])), steps)


@local("add")
def log_sum_exp_shift(draft: Draft) -> Value | None:
    """Nor does m + log Σ exp(t − m)."""
    for m, logarithm in (draft.operands, draft.operands[::-1]):
        found, steps = _log_of_plain_sum(logarithm)
        if found is None or not _attached(*found):
            continue
        if _same_shift(*found, steps, m):
            total = ops.sum_(ops.exp(_detached(found[0])), axes=found[1])
            return ops.stop_gradient(m) + place(ops.log(total), steps)
    return None


SHIFTS: tuple[Rule, ...] = (*softmax_shift, *log_softmax_shift, *log_sum_exp_shift)
