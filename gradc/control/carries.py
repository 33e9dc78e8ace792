"""What a loop hands from one iteration to the next: types of carries, and how they are unified.

A Python number takes the dtype of what it meets (NEP 50), so ``s = 0`` before a loop that adds
float64s to it is a float64 throughout. An array or NumPy scalar keeps its dtype and shape; in the
loops of statements a scalar may be *widened* before the loop, a float32 or int64 to a float64,
where that is what becomes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.errors import CarryError, DTypeError
from gradc.ir.graph import Builder, Loc, Node, Value
from gradc.ir.types import I64, SHORT, Shape, TensorType, promote
from gradc.numpy_api.values import as_tracer
from gradc.tracer import Tracer

#: leaves that are numbers; all others stay as they are
NUMBERS = (bool, int, float, np.generic, np.ndarray)


@dataclass(frozen=True, slots=True)
class Carry:
    """A value that an iteration gets from the one before.

    name: as the user would write it. scalar: whether it is a number, and no 0-d array.
    """

    name: str
    type: TensorType
    scalar: bool


def is_number(leaf: Any) -> bool:
    """Whether a leaf is a number or an array: what can change while the compiled code runs."""
    if isinstance(leaf, Tracer):
        return True
    if not isinstance(leaf, NUMBERS) or isinstance(leaf, (str, bytes)):
        return False
    if type(leaf) is int:
        return -(2**63) <= leaf < 2**63
    dtype = getattr(leaf, "dtype", None)
    return dtype is None or dtype.newbyteorder("=") in SHORT


def carry_of(name: str, leaf: Any) -> Carry:
    """The carry that begins as a leaf."""
    tracer = as_tracer(leaf)
    return Carry(name, tracer.type, tracer.is_scalar)


def described(type_: TensorType) -> str:
    """A type for messages: ``f64[3]``, ``a Python int``."""
    if type_.weak:
        return {"i": "a Python int", "f": "a Python float"}[type_.dtype.kind]
    return str(type_)


def unified(
    carry: Carry, leaf: Any, given: Value | None = None, *, widens: bool = False
) -> Carry:
    """The carry that holds both what it was and what an iteration made of it.

    ``given`` is the input that the iteration had it as; ``widens``: it may be widened. Raises
    CarryError.
    """
    after = as_tracer(leaf)
    was, now = carry.type, after.type
    scalar = carry.scalar and after.is_scalar
    shape = was.shape
    if now.shape != was.shape:
        if not was.weak or given is None or not _only_spread(given, now.shape):
            raise changed(carry, leaf)
        shape, scalar = now.shape, False
    dtype = promote(was, now)
    # A number that is not Python's has a dtype of its own, which another cannot take from it.
    strong = [t.dtype for t in (was, now) if not t.weak]
    if any(dtype != d for d in strong) and not (
        widens and scalar and dtype in (was.dtype, now.dtype) and _is_wider(dtype, strong)
    ):
        raise changed(carry, leaf)
    return Carry(carry.name, TensorType(dtype, shape, was.weak and now.weak), scalar)


def _is_wider(dtype: np.dtype[Any], of: Sequence[np.dtype[Any]]) -> bool:
    """Whether a float holds what these are, the same numbers by the same arithmetic."""
    same = all(d == I64 or d.kind == "f" for d in of)
    return dtype.kind == "f" and same and all(np.can_cast(d, dtype) for d in of)


def _only_spread(given: Value, shape: Shape) -> bool:
    """Whether an input, a number, is only computed with element by element, and then broadcast to
    ``shape``: it might as well be an array of that shape.
    """
    builder: Builder = given.builder
    same = {given.id}
    for node in builder.nodes:
        if same.isdisjoint(node.operands):
            continue
        if node.op.family == "elementwise":  # numbers still, or its operands are of other shapes
            same.add(node.id)
        elif node.op.name != "broadcast" or node.type.shape != shape:
            return False
    return True


def changed(carry: Carry, leaf: Any) -> CarryError:
    """The error for a carry that an iteration gives another type or shape."""
    after = as_tracer(leaf)
    was, now = described(carry.type), described(after.type)
    what = "type" if carry.type.shape == after.shape else "shape"
    if what == "shape":
        remedy = f"begin with an array of that shape: {carry.name} = np.zeros({after.shape})"
        if carry.type.shape:  # no number that an array could take the place of
            remedy = "write the new values into an array of one shape, or loop over its parts"
    elif after.dtype.kind == "f" and carry.type.dtype.kind != "f":
        remedy = f"begin with a float: {carry.name} = {carry.name}.astype({after.dtype})"
    else:
        remedy = f"convert what the iteration gives: .astype({carry.type.dtype})"
    return CarryError(
        f"`{carry.name}` changes its {what} in a loop: it is {was} before an iteration and {now} "
        "after it",
        where=line_of(leaf), types=[was, now], remedy=remedy,
    )


def restructured(name: str, was: str, now: str, where: Loc | None = None) -> CarryError:
    """The error for a carry whose structure, or what is static in it, changes."""
    return CarryError(
        f"`{name}` changes in a loop: it is {was} before an iteration and {now} after it",
        where=where,
        remedy=f"give `{name}` one structure, of which only numbers and arrays change",
    )


def line_of(leaf: Any) -> Loc | None:
    """The user's line where a traced value was computed."""
    if not isinstance(leaf, Tracer) or leaf.cell.value is None:
        return None
    node: Node = leaf.cell.value.node
    return node.locs[-1] if node.locs and node.op.name != "input" else None


def refuse_dtype(name: str, leaf: Any) -> DTypeError:
    """The error for a leaf that cannot be traced."""
    return DTypeError(f"`{name}` is {leaf!r}, which gradc cannot trace",
                      remedy="pass numbers and arrays of floats, integers and bools")
