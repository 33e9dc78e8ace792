"""The loops that a dynamic array is computed in: over its elements, into a number or a place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.control.functional import counted_by
from gradc.control.loops import Loop
from gradc.control.state import State
from gradc.dynamic.array import DynamicArray, is_whole, lifted
from gradc.dynamic.axes import Axis, Length, Run, require_same
from gradc.dynamic.broadcasting import aligned
from gradc.dynamic.overlap import is_apart
from gradc.dynamic.sources import Source
from gradc.errors import ShapeError
from gradc.ir.types import I64
from gradc.numpy_api.values import to_value
from gradc.tracer import Tracer, constant


def folded(length: Axis, first: Any, body: Callable[[Any, Any], Any]) -> Any:
    """``for k in range(length): state = body(k, state)``; the last state, a pytree of arrays."""
    state = State("state", first)

    def step(k: Tracer, carries: list[Tracer], _: Any) -> tuple[list[Any], list[Any]]:
        return state.taken(body(k, state.filled(carries))), []

    trips = to_value(length.value, I64) if isinstance(length, Length) else length
    last, _ = Loop(state.carries(), state.initial, step, **counted_by(trips)).run()
    return state.filled(last)


def folded_over(
    lengths: Sequence[Length], first: Any, body: Callable[[list[Any], Any], Any]
) -> Any:
    """The same over all places along several axes."""
    if not lengths:
        return body([], first)
    outer, *inner = lengths
    return folded(
        outer, first,
        lambda k, state: folded_over(inner, state, lambda places, s: body([k, *places], s)),
    )


def each(lengths: Sequence[Length], body: Callable[[list[Any]], None]) -> None:
    """Do something at all places, which writes into arrays."""

    def step(places: list[Any], state: tuple[()]) -> tuple[()]:
        body(places)
        return state

    folded_over(lengths, (), step)


def assign(view: DynamicArray, new: Any) -> None:
    """``view[...] = new``. Raises ShapeError where the shapes do not fit, or may not."""
    value = lifted(new)
    view = _opened(view, value)
    value = fitted(value, view.axes)
    (target,) = view.sources[:1]
    if any(_clashes(source, target) for source in value.sources):
        value = fitted(materialised(value), view.axes)
    given = value.given()
    each(view.lengths, lambda places: view.put(places, value.at(places, given)))


def _opened(view: DynamicArray, value: DynamicArray) -> DynamicArray:
    """A view that goes along an axis as the value does, where the value's is of unknown length."""
    lead = len(view.axes) - len(value.axes)
    items: list[Run | slice] = [slice(None)] * len(view.axes)
    for k, axis in enumerate(value.axes, lead):
        if k >= 0 and isinstance(axis, Length) and not isinstance(view.axes[k], Length):
            require_same(view.axes[k], axis)
            items[k] = Run(0, 1, axis)
    return view if all(map(is_whole, items)) else view.runs(items)


def _clashes(source: Source, target: Source) -> bool:
    """Whether an element may be read after another one was written in its place."""
    return source.now().cell is target.array.cell and not is_apart(source, target)


def fitted(value: DynamicArray, axes: Sequence[Axis]) -> DynamicArray:
    """An array that is broadcast to axes. Raises ShapeError."""
    lead = len(axes) - len(value.axes)
    if lead < 0:
        raise ShapeError(
            f"could not broadcast an array of {len(value.axes)} axes into one of {len(axes)}",
            types=[str(value)], remedy="check the shapes on both sides of the assignment")
    for mine, its in zip(value.axes, axes[lead:], strict=True):
        if mine != 1:
            require_same(mine, its)
    return aligned(value, axes)


def materialised(x: DynamicArray) -> DynamicArray:
    """A view of memory of its own that holds the elements, and has room for all there can be."""
    view = room_for(x, x.dtype)
    given = x.given()
    each(x.lengths, lambda places: view.put(places, x.at(places, given)))
    return view


def room_for(x: DynamicArray, dtype: Any, fill: Any = 0) -> DynamicArray:
    """An array of the axes of ``x`` in memory of its own."""
    from gradc.dynamic.views import whole

    room = tuple(a.most if isinstance(a, Length) else a for a in x.axes)
    return whole(constant(np.full(room, fill, dtype))).first(x.axes)
