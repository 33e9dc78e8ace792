"""What the functions of :mod:`gradc.random` ask of their arguments."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, AxisError, DTypeError, OptionError, ShapeError
from gradc.ir.types import Shape, TensorType
from gradc.numpy_api.values import as_tracer, convert, integers, is_traced, operand, shape_of
from gradc.tracer import Tracer, describe

#: how many things 32 bits number
LARGEST = 1 << 32


def check_key(key: Any) -> Any:
    """A key. Raises ArgumentError for what is none."""
    if key is None:
        raise ArgumentError(
            "the key is None: there are no random numbers here, as where a trainer measures a "
            "loss on samples held out",
            remedy="if key is not None: ..., with what holds without random numbers otherwise",
        )
    given = as_tracer(key) if is_traced(key) or isinstance(key, (list, tuple)) else key
    if not isinstance(given, Tracer):
        given = np.asarray(given)
    if given.dtype != np.uint64 or given.shape != (2,):
        kind = describe(given) if isinstance(given, Tracer) else str(given.dtype)
        raise ArgumentError(
            "a key is an array of two uint64",
            types=[kind],
            remedy="gradc.random.key(seed), and one row of gradc.random.split(key, num)",
        )
    return given


def check_shape(shape: Any) -> Shape:
    """A shape as a tuple. Raises ArgumentError and ShapeError."""
    try:
        dims = integers(shape)
    except (TypeError, AttributeError):
        raise ArgumentError(
            f"a shape is an integer or a tuple of integers, not {shape!r}", remedy="shape=(3, 4)"
        ) from None
    if any(d < 0 for d in dims):
        raise ShapeError(f"negative dimensions in the shape {dims}", remedy="shape=()")
    return dims


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """float64 or float32. Raises DTypeError for another."""
    kind: np.dtype[Any] = np.dtype(dtype)
    if kind not in (np.dtype(np.float64), np.dtype(np.float32)):
        raise DTypeError(
            f"random numbers of {kind}",
            remedy="dtype=np.float64 or np.float32, or gradc.random.integers",
        )
    return kind


def is_number(x: Any, number: int) -> bool:
    """Whether a parameter is the number that changes nothing."""
    return isinstance(x, (int, float)) and x == number


def parameter(x: Any, dtype: np.dtype[Any], shape: Shape, name: str) -> Any:
    """A parameter of a distribution, in its dtype.

    Raises ShapeError if it does not broadcast to the shape.
    """
    x = operand(x)
    given = convert(x, dtype) if isinstance(x, Tracer) else np.asarray(x, dtype)[()]
    try:
        fits = np.broadcast_shapes(tuple(given.shape), shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{name} has the shape {tuple(given.shape)}, which does not broadcast to {shape}",
            remedy=f"shape={tuple(given.shape)}",
        )
    return given


def known_integer(x: Any, what: str) -> int:
    """An integer that is known while tracing. Raises ArgumentError."""
    given = x.array() if isinstance(x, Tracer) else x
    try:
        number = operator.index(given)
    except TypeError:
        number = None
    if number is None or isinstance(given, bool):
        raise ArgumentError(
            f"{what} is an integer, not {given!r}", types=[type(given).__name__], remedy="int(x)"
        )
    return number


def traced_integer(x: Any, what: str) -> Tracer:
    """An integer that is known when the compiled code runs. Raises ArgumentError."""
    t = as_tracer(x)
    if t.shape or t.dtype.kind not in "iu":
        raise ArgumentError(
            f"{what} is an integer", types=[describe(t)], remedy="x.astype(np.int64), of one number"
        )
    return t


def bound(x: Any, name: str, dtype: np.dtype[Any], less: int) -> Any:
    """A bound of integers, less so much. Raises ArgumentError and OptionError."""
    if is_traced(x):
        return convert(traced_integer(x, name) - less, dtype)
    if shape_of(x):
        raise ArgumentError(
            f"{name} is one integer, not an array",
            remedy="np.floor(gradc.random.uniform(key, shape) * n) for bounds n in an array",
        )
    number = known_integer(x, name) - less
    first, last = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not first <= number <= last:
        raise OptionError(
            f"{name}={number + less} is out of the range of {dtype}",
            types=[TensorType(dtype)], remedy="a wider dtype: dtype=np.int64",
        )
    return number


def population(x: Any, axis: int) -> tuple[int, Any]:
    """How many there are to take, and the array that they are taken of, if it is one.

    Raises ArgumentError, AxisError and OptionError.
    """
    x = operand(x)
    ndim = len(shape_of(x))
    array = None
    if ndim == 0:
        n = x.__index__() if is_traced(x) else known_integer(x, "a population")
    else:
        array = x if isinstance(x, Tracer) else np.asarray(x)
        if not -ndim <= axis < ndim:
            raise AxisError(
                f"axis {axis} is out of bounds for an array of {ndim} axes", remedy="axis=0"
            )
        n = array.shape[axis]
    if not 0 <= n <= LARGEST:
        raise OptionError(
            f"{n} things cannot be permuted or chosen from: there are 0 to 2**32",
            remedy="gradc.random.integers draws from any range",
        )
    return n, array


def shown(x: Any) -> str:
    """A parameter as messages show it."""
    return describe(x) if isinstance(x, Tracer) else repr(x)
