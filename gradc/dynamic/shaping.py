"""Copies, new arrays like a dynamic one, and other orders of its axes and elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.dynamic.array import DynamicArray, lifted
from gradc.dynamic.axes import Length, Run, length_of
from gradc.dynamic.broadcasting import combined
from gradc.dynamic.functions import implements
from gradc.dynamic.loops import assign, each, folded_over, materialised, room_for
from gradc.dynamic.sources import Given, Places
from gradc.dynamic.views import whole
from gradc.errors import UnsupportedError
from gradc.numpy_api.values import as_tracer, normalized
from gradc.tracer import constant


@implements(np.copy)
def copy(a: Any) -> Any:
    return materialised(lifted(a))


@implements(np.zeros_like, np.empty_like)
def zeros_like(a: Any, dtype: Any = None) -> Any:
    return room_for(a, a.dtype if dtype is None else np.dtype(dtype))


@implements(np.ones_like)
def ones_like(a: Any, dtype: Any = None) -> Any:
    return room_for(a, a.dtype if dtype is None else np.dtype(dtype), 1)


@implements(np.shape)
def shape(a: Any) -> Any:
    return a.shape


@implements(np.ndim)
def ndim(a: Any) -> int:
    return len(a.axes)


@implements(np.size)
def size(a: Any, axis: Any = None) -> Any:
    return a.size if axis is None else a.shape[axis]


@implements(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    chosen = range(m.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    turned = {normalized(k, m.ndim) for k in chosen}
    return m[tuple(slice(None, None, -1 if k in turned else None) for k in range(m.ndim))]


@implements(np.expand_dims)
def expand_dims(a: Any, axis: int) -> Any:
    at = normalized(axis, a.ndim + 1)
    return a[(*[slice(None)] * at, None)]


@implements(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    _require_vector(a, "np.ravel")
    return a


@implements(np.transpose)
def transpose(a: Any, axes: Any = None) -> Any:
    order = tuple(reversed(range(a.ndim))) if axes is None else tuple(
        normalized(k, a.ndim) for k in axes)
    if order == tuple(range(a.ndim)):
        return a
    # Writes into the new array are writes into the old one, which has memory for them.
    return turned(a if a.is_view else a[...], order)


def turned(a: DynamicArray, order: Sequence[int]) -> DynamicArray:
    """The axes in another order."""
    unknown = [k for k, x in enumerate(a.axes) if isinstance(x, Length)]
    known = [k for k in range(len(a.axes)) if k not in unknown]
    # Which of the new unknown axes an old one is, and how the known ones are to be turned.
    places_of = [[k for k in order if k in unknown].index(k) for k in unknown]
    perm = tuple(known.index(k) for k in order if k in known)
    new = {s: s.unfollowed() for s in a.sources}

    def at(places: Places, given: Given) -> Any:
        found = a.at([places[n] for n in places_of], {old: given[s] for old, s in new.items()})
        return np.transpose(found, perm) if len(perm) > 1 else found

    def put(places: Places, rests: tuple[Any, ...], value: Any) -> None:
        if len(perm) > 1:
            raise UnsupportedError(
                "a write into a transposed array of unknown length and several axes of known "
                "length", types=[str(a)], remedy="a write into the array itself")
        a.put([places[n] for n in places_of], value, rests)

    axes = [a.axes[k] for k in order]
    return DynamicArray(axes, a.dtype, at, list(new.values()), put if a.is_view else None)


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    _require_vector(a, "np.diff")
    for _ in range(n):
        a = lifted(a)
        a = a.part(slice(1, None)) - a.part(slice(-1))
    return a


def _in_order(function: Any) -> None:
    """Register what sorts a vector, or says how."""

    @implements(function)
    def ours(a: Any, axis: int = -1, kind: Any = None, stable: Any = None) -> Any:
        a = lifted(a)
        _require_vector(a, f"np.{function.__name__}")
        # What is beyond the end sorts behind all others, and equal ones stay in their order.
        last = np.nan if a.dtype.kind == "f" else True if a.dtype == bool else np.iinfo(a.dtype).max
        return whole(as_tracer(function(_memory(a, last), kind="stable"))).first(a.axes)


_in_order(np.sort)
_in_order(np.argsort)


@implements(np.concatenate, np.hstack)
def concatenate(arrays: Any, axis: int = 0) -> Any:
    parts = [lifted(x) for x in arrays]
    for part in parts:
        _require_vector(part, "np.concatenate")
    lengths = [x.axes[0] for x in parts]
    most = sum(n.most if isinstance(n, Length) else n for n in lengths)
    memory = constant(np.zeros(most, np.result_type(*(x.dtype for x in parts))))
    start: Any = 0
    for part, n in zip(parts, lengths, strict=True):
        if isinstance(n, Length):
            assign(whole(memory).runs([Run(start, 1, n)]), part)
            start = start + n.value
        else:
            memory[start : start + n] = part.at((), part.given())
            start += n
    return whole(memory).first([length_of(start, most)])


@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    return concatenate([x if np.ndim(x) else np.asarray(x)[None] for x in (arr, values)])


def _memory(x: DynamicArray, fill: Any) -> Any:
    """Memory that holds the elements, and ``fill`` behind them."""
    room = tuple(a.most if isinstance(a, Length) else a for a in x.axes)
    memory, given = constant(np.full(room, fill, x.dtype)), x.given()
    view = whole(memory).first(x.axes)
    each(x.lengths, lambda places: view.put(places, x.at(places, given)))
    return memory


def _require_vector(a: DynamicArray, name: str) -> None:
    if len(a.axes) != 1:
        raise UnsupportedError(
            f"{name} of an array of several axes, one of unknown length", types=[str(a)],
            remedy="a loop over rows",
        )


def _running(function: Any, join: Any, start: int) -> None:
    """Register a reduction with all that it gives on its way."""

    @implements(function)
    def ours(a: Any, axis: Any = None, dtype: Any = None) -> Any:
        a = lifted(a)
        _require_vector(a, f"np.{function.__name__}")
        wanted = function(np.ones(1, a.dtype)).dtype if dtype is None else np.dtype(dtype)
        out, given = room_for(a, wanted), a.given()

        def step(places: Places, state: Any) -> Any:
            state = join(state, a.at(places, given).astype(wanted))
            out.put(places, state)
            return state

        folded_over(a.lengths, wanted.type(start), step)
        return out


_running(np.cumsum, np.add, 0)
_running(np.cumprod, np.multiply, 1)


@implements(np.real)
def real(val: Any) -> Any:
    return val


def astype(a: DynamicArray, dtype: Any, copy: bool) -> DynamicArray:
    """The elements in another dtype; without ``copy`` the array itself if it has that one."""
    wanted = np.dtype(dtype)
    if wanted == a.dtype and not copy:
        return a
    return combined(lambda x: x.astype(wanted), [lifted(a)], wanted)
