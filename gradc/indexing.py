"""Reading and writing ``a[index]``: NumPy's basic and advanced indexing.

An index is planned as two stages: steps to a view (slices, new axes, constant integers), then
integer arrays on some axes of that view. A constant boolean mask is the integer arrays of its
nonzeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.cells import Reshape, Slice, Transpose
from gradc.context import current
from gradc.errors import (
    CastingError,
    IndexingError,
    ReadOnlyError,
    ShapeError,
    TracerIndexError,
    from_numpy,
)
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import BOOL, I64, Shape, broadcast_shapes
from gradc.numpy_api.dispatch import has_tracers, tracers_in, wrap
from gradc.numpy_api.values import (
    as_tracer,
    is_traced,
    operand,
    shape_of,
    to_value,
)
from gradc.tracer import Tracer, describe, fresh, require_shape

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

    steps: list[Slice | Reshape]
    arrays: list[tuple[int, Any]]
    first: int
    scalar: bool
    shape: Shape


def _normalize(item: Any) -> Any:
    """None, Ellipsis, slice, an int, a constant array, or a Tracer that is traced."""
    if item is None or item is Ellipsis:
        return item
    if isinstance(item, slice):
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
            "an array was read with a traced boolean mask: the size of the result is not known",
            types=[describe(item)],
            remedy="np.where(mask, a, other), or (a * mask).sum() in place of a[mask].sum(), or "
            "a[...] = np.where(mask, a * 2, a) in place of a[mask] *= 2",
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
    items = [_normalize(item) for item in raw]
    full = _expand(items, shape)
    arrays = [i for i in full if isinstance(i, (np.ndarray, Tracer))]
    # Beside arrays with axes, plain integers are arrays too and share in the rule of adjacency.
    spread = any(i.ndim for i in arrays)
    starts, sizes, steps, view_shape = [], [], [], []
    picked: list[tuple[int, Any]] = []
    places: list[int] = []
    axis = 0
    for place, item in enumerate(full):
        if item is None:
            view_shape.append(1)
            continue
        d = shape[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(d)
            size = len(range(start, stop, step))
            view_shape.append(size)
        elif isinstance(item, int) and not spread:
            start, size, step = _in_bounds(item, axis, d), 1, 1
        else:
            if isinstance(item, np.ndarray):
                item = _array_in_bounds(item, axis, d)
            elif isinstance(item, int):
                item = np.asarray(_in_bounds(item, axis, d))
            start, size, step = 0, d, 1
            picked.append((len(view_shape), item))
            places.append(place)
            view_shape.append(d)
        starts.append(start if size else 0)
        sizes.append(size)
        steps.append(step if size > 1 else 1)
        axis += 1
    basic: list[Slice | Reshape] = []
    if tuple(sizes) != shape or any(s < 0 for s in steps):
        basic.append(Slice(tuple(starts), tuple(sizes), tuple(steps)))
    if view_shape != sizes:
        basic.append(Reshape(tuple(view_shape)))
    adjacent = bool(places) and places == list(range(places[0], places[0] + len(places)))
    scalar = not arrays and len(raw) == len(shape) and all(isinstance(i, int) for i in items)
    return Plan(basic, picked, picked[0][0] if adjacent else 0, scalar, tuple(view_shape))


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


def _array_index(t: Tracer, index: Any) -> Any:
    """The index as NumPy itself takes it, if it is known while tracing; else None."""
    raw = index if isinstance(index, tuple) else (index,)
    if any(is_traced(i) for i in tracers_in(raw)):
        return None
    return tuple(_plain(i) for i in raw)


def _plain(item: Any) -> Any:
    if isinstance(item, Tracer):
        return item.array()
    if isinstance(item, (list, tuple)):
        return [_plain(i) for i in item]
    if isinstance(item, slice):
        return _normalize(item)
    return item


def read(t: Tracer, index: Any) -> Any:
    """``t[index]``: a view for a basic index, a new array for an advanced one."""
    if t.is_constant:
        known = _array_index(t, index)
        if known is not None and current() is None:
            return t.array()[known]
        if known is not None:
            return _read_constant(t, known, index)
    p = plan(index, t.shape)
    if not p.arrays:
        view = t.through(*p.steps)
        view.weak = t.weak and not view.shape
        if not p.scalar:
            return view
        return fresh(view.value, weak=t.weak)
    moved, indices, where, perm = _gather_plan(t, p)
    value = ops.gather(moved.value, *indices)
    if perm is not None:
        value = ops.transpose(value, perm=perm)
    return fresh(value)


def _read_constant(t: Tracer, known: Any, index: Any) -> Any:
    array = t.array()
    try:
        result = array[known]
    except IndexError as error:
        raise from_numpy(error, types=[describe(t)], remedy="check the index") from error
    if isinstance(result, np.ndarray) and np.may_share_memory(result, array):
        return t.through(*plan(index, t.shape).steps)
    return wrap(result, [], [])


def _gather_plan(t: Tracer, p: Plan) -> tuple[Tracer, list[Value], Shape, Shape | None]:
    """The view with the indexed axes first, the indices, their shape, the result's axes."""
    view = t.through(*p.steps)
    axes = [axis for axis, _ in p.arrays]
    rest = [axis for axis in range(len(p.shape)) if axis not in axes]
    perm = (*axes, *rest)
    moved = view if perm == tuple(range(len(perm))) else view.through(Transpose(perm))
    try:
        where = broadcast_shapes(*(shape_of(i) for _, i in p.arrays))
    except ValueError:
        shapes = " ".join(str(shape_of(i)) for _, i in p.arrays)
        raise IndexingError(
            f"shape mismatch: indexing arrays could not be broadcast together with shapes {shapes}",
            remedy="np.ix_ combines indices of different axes") from None
    indices = [to_value(i, I64, where) for _, i in p.arrays]
    before = p.first
    if before == 0 or not where:
        return moved, indices, where, None
    # gather gives the indices' axes first; they belong after ``before`` others.
    n = len(where)
    order = (*range(n, n + before), *range(n), *range(n + before, n + len(rest)))
    return moved, indices, where, order


def write(t: Tracer, index: Any, new: Any) -> None:
    """``t[index] = new``. Raises ReadOnlyError, CastingError, ShapeError, IndexingError."""
    if t.is_scalar:
        raise ReadOnlyError("a scalar does not support item assignment", types=[describe(t)],
                            remedy="np.array(x) makes an array of it")
    new = operand(new)
    _check_cast(t, new)
    t.check_writable()
    own = current() is None or t.context is current()
    if t.is_constant and not is_traced(new) and own and not t.cell.guard:
        known = _array_index(t, index)
        if known is not None:
            t.array()[known] = new.array() if isinstance(new, Tracer) else new
            t.cell.version += 1
            return
    mask = _mask(index, t, new)
    if mask is not None:
        _write_masked(t, mask, new)
        return
    p = plan(index, t.shape)
    if not p.arrays:
        view = t.through(*p.steps)
        same = isinstance(new, Tracer) and new.cell is t.cell and new.path == view.path
        if not same:
            view.assign(_fitted(new, t.dtype, view.shape))
        return
    moved, indices, where, perm = _gather_plan(t, p)
    update = _fitted(new, t.dtype, _result_shape(moved, p, where, perm))
    if perm is not None:
        update = ops.transpose(update, perm=tuple(int(i) for i in np.argsort(perm)))
    moved.assign(ops.scatter_set(moved.value, update, *indices))


def _result_shape(moved: Tracer, p: Plan, where: Shape, perm: Shape | None) -> Shape:
    shape = where + moved.shape[len(p.arrays) :]
    return shape if perm is None else tuple(shape[axis] for axis in perm)


def add_at(t: Tracer, index: Any, new: Any) -> None:
    """``np.add.at(t, index, new)``: repeated indices add up."""
    new = operand(new)
    _check_cast(t, new)
    p = plan(index, t.shape)
    if not p.arrays:
        view = t.through(*p.steps)
        view.assign(view.value + _fitted(new, t.dtype, view.shape))
        return
    moved, indices, where, perm = _gather_plan(t, p)
    update = _fitted(new, t.dtype, _result_shape(moved, p, where, perm))
    if perm is not None:
        update = ops.transpose(update, perm=tuple(int(i) for i in np.argsort(perm)))
    moved.assign(ops.scatter_add(moved.value, update, *indices))


def _fitted(new: Any, dtype: np.dtype[Any], shape: Shape) -> Value:
    """The value to be written; leading axes of length one may be dropped, as in NumPy."""
    given = shape_of(new)
    require_shape(given, shape)
    if len(given) > len(shape):
        value = to_value(new, dtype)
        new = fresh(ops.reshape(value, shape=given[len(given) - len(shape) :]))
    return to_value(new, dtype, shape)


def _check_cast(t: Tracer, new: Any) -> None:
    if is_traced(new) and new.dtype.kind == "f" and t.dtype.kind != "f":
        raise CastingError(
            f"a traced {new.dtype} was written into an array of {t.dtype}, which would cut it off "
            "and lose its gradient",
            types=[describe(t), describe(new)],
            remedy=f"make the array float (dtype={new.dtype}), or write x.astype({t.dtype})",
        )


def _mask(index: Any, t: Tracer, new: Any) -> Any:
    """The mask of ``t[mask] = new`` where new is the same for every element that is written."""
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    if not isinstance(index, (Tracer, np.ndarray)) or index.dtype != BOOL or not index.shape:
        return None
    k = len(index.shape)
    if index.shape != t.shape[:k]:
        raise IndexingError(
            f"boolean index of shape {index.shape} did not match the indexed array of shape "
            f"{t.shape}", types=[describe(t)], remedy="check the shape of the mask")
    given = shape_of(new)
    if len(given) <= len(t.shape) - k:
        return index
    if is_traced(index):
        raise ShapeError(
            f"values of shape {given} were written under a traced boolean mask: how many of them "
            "are needed is not known", types=[describe(t), describe(as_tracer(index))],
            remedy="a[...] = np.where(mask, values_of_the_shape_of_a, a)")
    return None


def _write_masked(t: Tracer, mask: Any, new: Any) -> None:
    require_shape(shape_of(new), t.shape[len(mask.shape) :])
    wide = as_tracer(mask).reshaped((*mask.shape, *(1 for _ in t.shape[len(mask.shape) :])))
    condition = to_value(wide, BOOL, t.shape)
    t.assign(ops.where(condition, to_value(new, t.dtype, t.shape), t.value))
