"""Slices of arrays with traced bounds, and elements at places that are many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.context import contexts
from gradc.dynamic.array import DynamicArray, Given, Places, Source, lifted
from gradc.dynamic.axes import Length
from gradc.errors import IndexingError, UnsupportedError
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
            target = target[rest]
        target[rests[-1] if rests else ...] = value

    return DynamicArray(t.shape, t.dtype, at, [source], put)


def picked_by(whole: DynamicArray, items: Sequence[Any]) -> DynamicArray:
    """``whole[items]`` where one of the items is an array of integers."""
    arrays = [k for k, i in enumerate(items) if isinstance(i, DynamicArray) or np.ndim(i)]
    others = [i for k, i in enumerate(items) if k not in arrays]
    if len(arrays) > 1 or any(not (type(i) is slice and i == slice(None)) for i in others):
        raise UnsupportedError(
            "an array of unknown length among several indices", types=map(str, items),
            remedy="one index at a time, x[rows][:, column]; or a loop",
        )
    (k,) = arrays
    index, whole = lifted(items[k]), whole.unfollowed()
    if index.dtype.kind not in "iu":
        raise UnsupportedError(
            f"an array of {index.dtype} of unknown length as an index", types=[str(index)],
            remedy="np.where(mask, a, other), or a loop",
        )
    count = len(index.lengths)
    # Of what is before the axis, of the index, of what is behind it.
    before = sum(isinstance(a, Length) for a in whole.axes[:k])
    lead = len(whole.known[: k - before])
    inside = isinstance(whole.axes[k], Length)
    sources = [*whole.sources, *index.sources]

    def split(places: Places) -> tuple[list[Any], list[Any]]:
        mine = places[before : before + count]
        return list(mine), [*places[:before], *places[before + count :]]

    def at(places: Places, given: Given) -> Any:
        mine, rest = split(places)
        place = index.at(mine, given)
        if inside:
            raise UnsupportedError("an array of unknown length was indexed by an array",
                                   types=[str(whole)], remedy="a loop")
        return whole.at(rest, given)[(*[slice(None)] * lead, place)]

    def put(places: Places, rests: tuple[Any, ...], value: Any) -> None:
        mine, rest = split(places)
        place = index.at(mine, index.given())
        assert whole._put is not None
        whole._put(rest, ((*[slice(None)] * lead, place), *rests), value)

    axes = (*whole.axes[:k], *index.axes, *whole.axes[k + 1 :])
    return DynamicArray(axes, whole.dtype, at, sources, put if whole.is_view else None)


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
    return picked_by(flat, [places_of(mask), *[slice(None)] * len(rest)])


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
