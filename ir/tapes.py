"""Zeros and sums of values that may be tapes, whose length is only known at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.ir import ops
from gradc.ir.graph import Builder, Value
from gradc.ir.types import I64, UNKNOWN, TensorType


def is_tape(type_: TensorType) -> bool:
    """Whether an extent is only known at run time."""
    return UNKNOWN in type_.shape


def zeros_of(builder: Builder, type_: TensorType) -> Value:
    """Zeros of a type; of a tape one without elements."""
    if not is_tape(type_):
        scalar = ops.const(builder, 0, type_.dtype)
        return ops.broadcast(scalar, shape=type_.shape) if type_.shape else scalar
    body = Builder("nothing")
    body.input("i", TensorType(I64))
    element = body.build([zeros_of(body, TensorType(type_.dtype, type_.shape[1:]))])
    length = type_.shape[0]
    trips = ops.const(builder, 0, I64) if length == UNKNOWN else None
    (tape,) = ops.loop(builder, element, trips=trips, length=length)
    return tape


def zeros_like(value: Value) -> Value:
    """Zeros of a value's type and extents, in its graph."""
    if not is_tape(value.type):
        return zeros_of(value.builder, value.type)
    return _each([value], lambda rows: zeros_like(rows[0]))


def added(a: Value, b: Value) -> Value:
    """The sum of two values of one type and the same extents."""
    return _each([a, b], lambda rows: added(*rows)) if is_tape(a.type) else a + b


def _each(tapes: Sequence[Value], make: Callable[[Sequence[Value]], Value]) -> Value:
    """The tape of what is made of the elements of tapes of the same length."""
    first = tapes[0]
    element = TensorType(first.dtype, first.shape[1:])
    body = Builder("each")
    body.input("i", TensorType(I64))
    made = make([body.input(f"x{k}", element) for k in range(len(tapes))])
    length = first.shape[0]
    trips = ops.extent(first) if length == UNKNOWN else None
    (tape,) = ops.loop(first.builder, body.build([made]), xs=tapes, trips=trips, length=length)
    return tape
