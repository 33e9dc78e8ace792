"""Reading and writing ``a[index]``: NumPy's basic and advanced indexing.

An index is planned (:mod:`gradc.index_plan`) as steps to a view, then integer arrays on some of its
axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.cells import Transpose
from gradc.context import current
from gradc.errors import (
    CastingError,
    IndexingError,
    ReadOnlyError,
    ShapeError,
    UnsupportedError,
    from_numpy,
)
from gradc.index_plan import Plan, is_dynamic, normalized, plan, traced_mask
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import BOOL, I64, Shape, broadcast_shapes
from gradc.numpy_api.dispatch import has_dynamic, tracers_in, wrap
from gradc.numpy_api.values import (
    as_tracer,
    is_traced,
    operand,
    shape_of,
    to_value,
)
from gradc.tracer import Tracer, describe, fresh, require_shape


def _array_index(t: Tracer, index: Any) -> Any:
    """The index as NumPy itself takes it, if it is known while tracing; else None."""
    raw = index if isinstance(index, tuple) else (index,)
    bounds = [(i.start, i.stop, i.step) for i in raw if isinstance(i, slice)]
    if any(is_traced(i) for i in tracers_in(raw, bounds)):
        return None
    return tuple(_plain(i) for i in raw)


def _plain(item: Any) -> Any:
    if isinstance(item, Tracer):
        return item.array()
    if isinstance(item, (list, tuple)):
        return [_plain(i) for i in item]
    if isinstance(item, slice):
        return normalized(item)
    return item


def read(t: Tracer, index: Any) -> Any:
    """``t[index]``: a view for a basic index, a new array for an advanced one."""
    if is_dynamic(index):
        from gradc.dynamic.views import whole

        return whole(t)[index]
    mask = traced_mask(index)
    if mask is not None:
        from gradc.dynamic.views import masked

        return masked(t, mask).frozen()
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
    if is_dynamic(index):
        from gradc.dynamic.views import whole

        whole(t)[index] = new
        return
    if has_dynamic(new):
        _write_dynamic(t, index, new)
        return
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


def _write_dynamic(t: Tracer, index: Any, new: Any) -> None:
    """Write an array of unknown length."""
    from gradc.dynamic.loops import assign
    from gradc.dynamic.views import masked, whole

    mask = traced_mask(index)
    if mask is not None:
        assign(masked(t, mask), new)
        return
    (given,) = [x for x in (new if isinstance(new, (list, tuple)) else [new]) if has_dynamic(x)][:1]
    if given is not new:
        raise given.refusal("an array of several, which is written")
    assign(whole(t.through(*_basic(t, index))), new)


def _basic(t: Tracer, index: Any) -> list[Any]:
    """The steps to the view that an index takes. Raises UnsupportedError for arrays of places."""
    p = plan(index, t.shape)
    if p.arrays:
        raise UnsupportedError(
            "an array of unknown length was written to places", types=[describe(t)],
            remedy="a slice of the places with the same bounds, a[places[:i]] = x[:i]")
    return p.steps


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
