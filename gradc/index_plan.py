"""The plan of an index: which view it takes, and which arrays of places on that.

An index is planned as two stages: steps to a view (slices, new axes, integers), then integer arrays
on some axes of that view. A constant boolean mask is the integer arrays of its nonzeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.cells import Reshape, Slice
from gradc.context import current
from gradc.conversions import ask_static
from gradc.errors import IndexingError, TracerIndexError
from gradc.ir.types import BOOL, I64, Shape
from gradc.numpy_api.dispatch import has_dynamic, has_tracers
from gradc.numpy_api.values import is_traced, operand
from gradc.picks import Entry, Pick, Stretch, Window, window_of
from gradc.tracer import Tracer, describe

_KINDS = (
    "only integers, slices (`:`), ellipsis (`...`), numpy.newaxis (`None`) and integer or boolean "
    "arrays are valid indices"
)


@dataclass
class Plan:
    """steps: the basic part. arrays: (axis of that view, index). first: where their axes go in the
    result.

    scalar: the index picks one element, which is a value and no view.
    """

    steps: list[Slice | Reshape | Pick]
    arrays: list[tuple[int, Any]]
    first: int
    scalar: bool
    shape: Shape


def is_dynamic(index: Any) -> bool:
    """Whether an index takes a part of an array whose length is not known while tracing."""
    found = False
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, slice):
            bounds = [b for b in (item.start, item.stop, item.step) if is_traced(b)]
            for bound in bounds:
                ask_static(bound)
            found = found or bool(bounds) and window_of(item) is None
        else:
            found = found or has_dynamic(item)
    return found


def traced_mask(index: Any) -> Tracer | None:
    """The mask that an index is, if it is one that is known only when the code runs."""
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    is_mask = type(index) is Tracer and index.dtype == BOOL and index.shape and is_traced(index)
    return index if is_mask else None


def normalized(item: Any) -> Any:
    """None, Ellipsis, slice, window, an int, a constant array, or a Tracer that is traced."""
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
        traced = [v for v in (item.start, item.stop, item.step) if is_traced(v)]
        if traced:
            for bound in traced:
                ask_static(bound)
            found = window_of(item)
            assert found is not None, "a slice whose length is not known"
            return found if isinstance(found, Window) else slice(0, 0)
        return slice(*(None if v is None else v.__index__() for v in
                       (item.start, item.stop, item.step)))
    if isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
        item = item if isinstance(item, (list, tuple)) else list(item)
        item = operand(item) if has_tracers(item) else np.asarray(item)
        if isinstance(item, np.ndarray) and item.size == 0:
            item = item.astype(I64)
    if isinstance(item, Tracer):
        if not item.is_constant:
            return _checked_traced(item)
        item = item.array()
    if isinstance(item, (bool, np.bool_)):
        raise IndexingError("True and False as an index are not supported",
                            remedy="index with integers, slices or a mask of the array's shape")
    if isinstance(item, (int, np.integer)):
        return int(item)
    if not isinstance(item, np.ndarray) or item.dtype.kind not in "biu":
        raise IndexingError(_KINDS, types=[type(item).__name__],
                            remedy="convert the index to integers (i.astype(int))")
    return int(item) if item.ndim == 0 and item.dtype != BOOL else item


def _checked_traced(item: Tracer) -> Tracer:
    if item.dtype.kind in "iu":
        return item
    if item.dtype == BOOL:
        raise TracerIndexError(
            "an array was indexed with a traced boolean mask beside other indices: the size of the "
            "result is not known",
            types=[describe(item)],
            remedy="the mask alone, a[:, 1][mask] in place of a[mask, 1]; or np.where",
        )
    raise IndexingError(_KINDS, types=[describe(item)],
                        remedy="convert the index to integers (i.astype(int))")


def _expand(items: Sequence[Any], shape: Shape) -> list[Any]:
    """Masks as integer arrays, the ellipsis as slices, missing slices at the end."""
    out: list[Any] = []
    consumed = sum(_consumes(item) for item in items)
    if consumed > len(shape):
        raise IndexingError(
            f"too many indices for array: array is {len(shape)}-dimensional, but {consumed} were "
            "indexed", types=[str(shape)], remedy="leave out an index")
    ellipses = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexingError("an index can only have a single ellipsis ('...')",
                            remedy="leave out one")
    fill = [slice(None)] * (len(shape) - consumed)
    at = ellipses[0] if ellipses else len(items)
    axis = 0
    for k, item in enumerate([*items[:at], *fill, *items[at + len(ellipses):]]):
        if isinstance(item, np.ndarray) and item.dtype == BOOL:
            if item.shape != shape[axis : axis + item.ndim]:
                raise IndexingError(
                    f"boolean index of shape {item.shape} did not match the indexed array of shape "
                    f"{shape} along axis {axis}", remedy=f"check index {k}")
            out.extend(np.nonzero(item))
        else:
            out.append(item)
        axis += _consumes(item)
    return out


def _consumes(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == BOOL else 1


def plan(index: Any, shape: Shape) -> Plan:
    """Sort an index into its basic and its advanced part. Raises IndexingError."""
    raw = index if isinstance(index, tuple) else (index,)
    items = [normalized(item) for item in raw]
    full = _expand(items, shape)
    arrays = [i for i in full if isinstance(i, (np.ndarray, Tracer))]
    if all(isinstance(i, Tracer) and i.is_scalar for i in arrays):
        arrays = []  # integers: what they pick is a view
    # Beside arrays with axes, plain integers are arrays too and share in the rule of adjacency.
    spread = any(i.ndim for i in arrays)
    entries: list[Entry] = []
    view_shape: list[int] = []
    picked: list[tuple[int, Any]] = []
    places: list[int] = []
    for place, item in enumerate(full):
        if item is None:
            view_shape.append(1)
            continue
        axis = len(entries)
        d = shape[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(d)
            entries.append(Stretch(start, len(range(start, stop, step)), step))
        elif isinstance(item, Window):
            entries.append(item)
        elif isinstance(item, int) and not spread:
            entries.append(_in_bounds(item, axis, d))
        elif isinstance(item, Tracer) and not arrays:
            entries.append(item)
        else:
            if isinstance(item, np.ndarray):
                item = _array_in_bounds(item, axis, d)
            elif isinstance(item, int):
                item = np.asarray(_in_bounds(item, axis, d))
            picked.append((len(view_shape), item))
            places.append(place)
            entries.append(Stretch(0, d, 1))
        entry = entries[-1]
        if isinstance(entry, (Stretch, Window)):
            view_shape.append(entry.size)
    adjacent = bool(places) and places == list(range(places[0], places[0] + len(places)))
    single = (int, Tracer)
    scalar = not arrays and len(raw) == len(shape) and all(isinstance(i, single) for i in items)
    basic = steps_to(entries, shape, tuple(view_shape))
    return Plan(basic, picked, picked[0][0] if adjacent else 0, scalar, tuple(view_shape))


def steps_to(
    entries: Sequence[Entry], shape: Shape, wanted: Shape
) -> list[Slice | Reshape | Pick]:
    """The steps to the part of an array that the entries say, one for each axis, as ``wanted``."""
    traced = [k for k, entry in enumerate(entries) if isinstance(entry, (Tracer, Window))]
    count = traced[-1] + 1 if traced else 0
    while 0 < count < len(entries) and isinstance(entries[count], int):
        count += 1  # an element is one place
    basic: list[Slice | Reshape | Pick] = []
    if count:
        pick = Pick(tuple(entries[:count]), current())
        for place in pick.tracers:
            place.note_read()
        basic.append(pick)
        entries = [*(Stretch(0, n, 1) for n in pick.kept), *entries[count:]]
        shape = pick.shape_after(shape)
    rest = [Stretch(e, 1, 1) if isinstance(e, int) else e for e in entries]
    known = [e for e in rest if isinstance(e, Stretch)]
    sizes = tuple(e.size for e in known)
    steps = tuple(e.step if e.size > 1 else 1 for e in known)
    if sizes != shape or any(step < 0 for step in steps):
        basic.append(Slice(tuple(e.start if e.size else 0 for e in known), sizes, steps))
    if wanted != sizes:
        basic.append(Reshape(wanted))
    return basic


def _in_bounds(index: int, axis: int, d: int) -> int:
    if not -d <= index < d:
        raise IndexingError(f"index {index} is out of bounds for axis {axis} with size {d}",
                            remedy="check the index against the shape")
    return index % d


def _array_in_bounds(index: Any, axis: int, d: int) -> Any:
    whole = index.astype(I64)
    bad = (whole < -d) | (whole >= d)
    if bad.any():
        _in_bounds(int(whole[bad][0]), axis, d)
    return np.where(whole < 0, whole + d, whole)
