"""Ops kept for what they do. They run in the order in which they were traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradc.ir.ops.base import Attrs, Op
from gradc.ir.types import BOOL, TensorType


def _print_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(BOOL, ())


def show(*values: Any, format: str) -> Any:
    """Print one line: ``format`` filled with the arrays. Returns True, the value of the node."""
    print(format.format(*values), flush=True)
    return True


debug_print = Op(name="debug_print", family="effect", infer=_print_type, numpy=show, effect=True)


class Unassigned(UnboundLocalError):
    """A variable was read that nothing had assigned."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"`{name}` has no value: {why}")


def _condition_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (holds,) = types
    if holds.dtype != BOOL or holds.shape:
        raise TypeError(f"a condition is {holds}, not one bool")
    return TensorType(BOOL, ())


def _assigned(holds: Any, name: str, why: str) -> Any:
    if not holds:
        raise Unassigned(name, why)
    return True


#: ends the run with Unassigned unless its operand holds: the variable ``name`` is read here, which
#: was not assigned, ``why``
assigned = Op(
    name="assigned", family="effect", infer=_condition_type, numpy=_assigned, effect=True,
)


class Mismatch(ValueError):
    """Arrays met that are of different lengths, which only showed at run time."""

    def __init__(self) -> None:
        super().__init__("slices of different lengths meet, or one and an array of another length")


def _fitting(holds: Any) -> Any:
    if not holds:
        raise Mismatch
    return True


#: ends the run with Mismatch unless its operand holds: lengths that are to be equal are
fitting = Op(
    name="fitting", family="effect", infer=_condition_type, numpy=_fitting, effect=True,
)
