"""Where values come from: inputs and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Builder, Value
from gradc.ir.ops.base import Attrs, Op
from gradc.ir.types import TensorType


def _input_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    raise TypeError("an input is made by Builder.input")


def _const_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    value = attrs["value"]
    return TensorType(value.dtype, value.shape, bool(attrs.get("weak", False)))


def _no_meaning(**attrs: Any) -> Any:
    raise TypeError("an input has no value of its own")


input_ = Op(name="input", family="source", infer=_input_type, numpy=_no_meaning)

const_ = Op(
    name="const",
    family="source",
    infer=_const_type,
    numpy=lambda value, weak=False: value,
)


def const(builder: Builder, value: Any, dtype: Any = None, weak: bool = False) -> Value:
    """A constant array; the value is copied and frozen."""
    array = np.array(value, dtype=dtype, order="C")
    array.flags.writeable = False
    return builder.add(const_, (), value=array, **({"weak": True} if weak else {}))
