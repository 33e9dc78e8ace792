"""Slices of arrays with traced bounds, and elements at places that are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.context import contexts
from gradc.dynamic.array import DynamicArray, is_whole, lifted
from gradc.dynamic.axes import BEYOND, Length
from gradc.dynamic.sources import Given, Places, Source
from gradc.errors import IndexingError, ReadOnlyError, UnsupportedError
from gradc.numpy_api.values import as_tracer
from gradc.picks import key_of
from gradc.tracer import Tracer, constant, describe


def whole(t: Tracer) -> DynamicArray:
    """An array as a dynamic one, that parts are taken of: what is written into them it has."""
    source = Source(t, (slice(None),) * t.ndim)

    def at(places: Places, given: Given) -> Any:
        return given[source]

    def put(places: Places, rests: tuple[Any, ...], value: Any) -> None:
        target = t
        for rest in rests[:-1]:
            target = target[(*rest, ...)]  # a view, of a single element too
        target[rests[-1] if rests else ...] = value

    return DynamicArray(t.shape, t.dtype, at, [source], put)


def picked_by(whole: DynamicArray, items: Sequence[Any]) -> Any:
    """``whole[items]`` where one of the items is an array of integers."""
    arrays = [k for k, i in enumerate(items) if isinstance(i, DynamicArray) or np.ndim(i)]
    others = [i for k, i in enumerate(items) if k not in arrays]
    if len(arrays) > 1 or not all(map(is_whole, others)):
        raise UnsupportedError(
            "an array of unknown length among several indices", types=map(str, items),
            remedy="one index at a time, x[rows][:, column]; or a loop",
        )
    (k,) = arrays
    index, whole = lifted(items[k]), whole.unfollowed()
    if index.dtype.kind not in "iu":
        raise UnsupportedError(
            f"an array of {index.dtype} as an index of an array of unknown length, or of unknown "
            "length itself", types=[str(index)], remedy="np.where(mask, a, other), or a loop",
        )
    axis = whole.axes[k]
    if isinstance(axis, Length):
        index = within(index, axis)
    # Of the unknown axes: those before the axis, those of the index, those behind.
    before = sum(isinstance(a, Length) for a in whole.axes[:k])
    count = len(index.lengths)
    known = [slice(None)] * (k - before)

    def placed(places: Places, place: Any) -> tuple[list[Any], tuple[Any, ...]]:
        """Where to look in the whole, and the index into what is there."""
        rest = [*places[:before], *places[before + count :]]
        if isinstance(axis, Length):
            return [*rest[:before], place, *rest[before:]], ()
        return rest, (*known, place)

    def at(places: Places, given: Given) -> Any:
        where, inner = placed(places, index.at(places[before : before + count], given))
        found = whole.at(where, given)
        return found[inner] if inner else found

    def put(places: Places, rests: tuple[Any, ...], value: Any) -> None:
        where, inner = placed(
            places, index.at(places[before : before + count], index.given()))
        assert whole._put is not None
        whole._put(where, (inner, *rests) if inner else rests, value)

    if isinstance(axis, Length) and index.known:
        if len(whole.axes) > 1 or index.lengths:
            raise UnsupportedError(
                "an array of several axes, one of unknown length, was indexed by an array along "
                "that one", types=[str(whole), str(index)], remedy="a loop over the places",
            )
        return lifted(_at_each(whole, index.at((), index.given())))
    axes = (*whole.axes[:k], *index.axes, *whole.axes[k + 1 :])
    sources = [*whole.sources, *index.sources]
    return DynamicArray(axes, whole.dtype, at, sources, put if whole.is_view else None)


def _at_each(vector: DynamicArray, index: Tracer) -> Any:
    """The elements of a vector at places of known number."""
    from gradc.dynamic.loops import folded

    flat, given = index.reshaped((index.size,)), vector.given()
    memory = constant(np.zeros(index.size, vector.dtype))

    def step(k: Any, state: tuple[()]) -> tuple[()]:
        memory[k] = vector.at([flat[k]], given)
        return state

    folded(index.size, (), step)
    return memory.reshaped(index.shape)


def within(index: DynamicArray, axis: Length) -> DynamicArray:
    """Places along an axis, counted from its beginning; of those outside, one beyond any axis."""
    n = axis.value
    made: Any = np.where(index < 0, index + n, index)
    return lifted(np.where((made >= 0) & (made < n), made, BEYOND))


def masked(t: Tracer, mask: Any) -> DynamicArray:
    """The elements of ``t`` where a mask over its first axes holds."""
    mask = as_tracer(mask)
    n = mask.ndim
    if mask.shape != t.shape[:n]:
        raise IndexingError(
            f"boolean index of shape {mask.shape} did not match the indexed array of shape "
            f"{t.shape}", types=[describe(t)], remedy="check the shape of the mask")
    rest = t.shape[n:]
    flat = whole(t if n == 1 else t.reshaped((mask.size, *rest)))
    made: DynamicArray = picked_by(flat, [places_of(mask), *[slice(None)] * len(rest)])
    return made


def places_of(mask: Tracer) -> DynamicArray:
    """Where a mask holds, as places in the order of its elements: int64, of unknown length.

    Masks that are computed alike have the same places, found once.
    """
    from gradc.dynamic.loops import folded

    context = contexts()[-1]
    key = key_of(mask.value, context)
    if key not in context.places:
        flat = mask.reshaped((mask.size,))
        memory = constant(np.zeros(mask.size, np.int64))

        def step(k: Any, count: Any) -> Any:
            memory[count] = k  # overwritten by the next one unless it counts
            return count + flat[k]

        count = folded(mask.size, np.int64(0), step) if mask.size else np.int64(0)
        context.places[key] = whole(memory).first([Length(as_tracer(count), mask.size)])
    return context.places[key]


#: what cannot be written, and the way out
_ELSEWHERE = "an array of unknown length that was computed outside of what is traced here"
_COPY = "t = t.copy() where it is computed"


def lost(a: DynamicArray) -> ReadOnlyError:
    """The error of a write into what an enclosing trace computes, which would not see it."""
    return ReadOnlyError(f"a write into {_ELSEWHERE}", types=[str(a)], remedy=_COPY)


def read_only(part: Any) -> Any:
    """A part of what an enclosing trace computes."""
    if not isinstance(part, DynamicArray):
        own = part.copy()
        own.cell.guard, own.cell.rescue = _ELSEWHERE, _COPY
        return own

    def put(places: Places, rests: tuple[Any, ...], value: Any) -> None:
        raise lost(part)

    return DynamicArray(part.axes, part.dtype, part.at, part.sources, put)
