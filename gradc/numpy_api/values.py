"""What every function needs: operands, their types, conversion and broadcast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import DTypeError, ShapeError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import SHORT, Shape, TensorType, broadcast_shapes
from gradc.ir.types import type_of as ir_type_of
from gradc.tracer import Tracer, constant, describe, fresh


def operand(x: Any) -> Any:
    """A Tracer, an array or a number; a list with traced values in it is stacked."""
    # The class of a Tracer, asked for by isinstance, is found in Python.
    if not isinstance(x, Tracer) and isinstance(x, (list, tuple)):
        from gradc.numpy_api.creating import array_of

        return array_of(x)
    return x


def type_of(x: Any) -> TensorType:
    """The type of an operand. Raises DTypeError for a dtype that gradc has not."""
    if isinstance(x, Tracer):
        return supported(x.type)
    try:
        return ir_type_of(x)
    except TypeError:
        dtype = np.asarray(x).dtype
        raise DTypeError(
            f"dtype {dtype} is not supported",
            remedy="convert to float64, float32, an integer or bool first (a.astype(np.float64))",
        ) from None


def supported(type_: TensorType) -> TensorType:
    """The type itself. Raises DTypeError for a dtype that gradc has not."""
    if type_.dtype not in SHORT:
        raise DTypeError(
            f"dtype {type_.dtype} is not supported",
            remedy="convert to float64, float32, an integer or bool first (x.astype(np.float64))",
        )
    return type_


def check_dtype(dtype: Any) -> np.dtype[Any]:
    """A dtype that gradc has. Raises DTypeError."""
    return supported(TensorType(np.dtype(dtype))).dtype


def dtype_of(x: Any) -> np.dtype[Any]:
    return type_of(x).dtype


def shape_of(x: Any) -> Shape:
    return tuple(x.shape) if isinstance(x, Tracer) else np.shape(x)


def as_tracer(x: Any) -> Tracer:
    """An operand as a Tracer; an array from outside cannot be written to through it."""
    x = operand(x)
    if isinstance(x, Tracer):
        return x
    type_ = type_of(x)
    out = constant(np.array(x, dtype=type_.dtype))
    out.weak, out.is_scalar = type_.weak, not isinstance(x, np.ndarray)
    return out


def to_value(x: Any, dtype: np.dtype[Any], shape: Shape | None = None) -> Value:
    """An operand as a node of the current trace, of this dtype, broadcast to this shape.

    Constants are converted here and now.
    """
    x = operand(x)
    if isinstance(x, Tracer) and not x.is_constant:
        value = x.value
        if value.dtype != dtype:
            value = ops.convert(value, dtype=dtype)
    elif isinstance(x, Tracer) and x.dtype == dtype:
        value = x.value
    else:
        array = x.array() if isinstance(x, Tracer) else x
        # An array is cast as astype does, a Python number must fit.
        known = isinstance(array, (np.ndarray, np.generic))
        value = constant(array.astype(dtype) if known else np.asarray(array, dtype)).value
    return value if shape is None or value.shape == shape else ops.broadcast(value, shape=shape)


def convert(t: Tracer, dtype: Any) -> Tracer:
    """The same values in another dtype."""
    wanted = check_dtype(dtype)
    return t if t.dtype == wanted and not t.weak else fresh(to_value(t, wanted))


def broadcast(t: Tracer, shape: Shape) -> Tracer:
    """The values repeated to a shape."""
    return t if t.shape == shape else fresh(to_value(t, t.dtype, shape))


def common_shape(*operands: Any) -> Shape:
    """The shape that operands broadcast to. Raises ShapeError, in NumPy's words."""
    shapes = [shape_of(x) for x in operands]
    try:
        return broadcast_shapes(*shapes)
    except ValueError:
        shown = " ".join(str(s).replace(" ", "") for s in shapes)
        raise ShapeError(
            f"operands could not be broadcast together with shapes {shown}",
            types=[describe(x) if isinstance(x, Tracer) else str(type_of(x)) for x in operands],
            remedy="reshape one of them: x[:, None] adds an axis of length one",
        ) from None


def promoted(operands: Sequence[Any]) -> np.dtype[Any]:
    """The dtype in which operands meet (NEP 50). Raises DTypeError for one that gradc has not."""
    from gradc.ir.types import promote

    return check_dtype(promote(*(type_of(x) for x in operands)))


def normalized(axis: Any, ndim: int) -> int:
    """An axis in 0..ndim-1. Raises AxisError."""
    at = int(axis.__index__())
    if not -ndim <= at < ndim:
        raise np.exceptions.AxisError(at, ndim)
    return at % ndim


def is_single(x: Any) -> bool:
    """Whether an argument is one integer, and no sequence of them."""
    return not isinstance(x, (tuple, list)) and not shape_of(x)


def integers(x: Any) -> tuple[int, ...]:
    """An integer or a sequence of integers, as a tuple: a shape, axes, repetitions."""
    return (x.__index__(),) if is_single(x) else tuple(i.__index__() for i in x)


def is_traced(x: Any) -> bool:
    """Whether an operand is known only when the compiled code runs."""
    return isinstance(x, Tracer) and not x.is_constant


def full(like: Tracer, number: float, dtype: Any = None) -> Tracer:
    """A constant of the shape of ``like``."""
    context = current()
    assert context is not None
    scalar = ops.const(context.builder, number, dtype or like.dtype)
    return fresh(ops.broadcast(scalar, shape=like.shape) if like.shape else scalar)
