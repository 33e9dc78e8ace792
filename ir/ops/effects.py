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
