"""Joining, splitting and padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.numpy_api.dispatch import implements, plain
from gradc.numpy_api.shaping import moveaxis
from gradc.numpy_api.values import (
    as_tracer,
    broadcast,
    check_dtype,
    convert,
    integers,
    is_single,
    is_traced,
    normalized,
    operand,
    to_value,
)
from gradc.tracer import Tracer, fresh


def _concat(parts: Sequence[Tracer], axis: int, dtype: Any = None) -> Tracer:
    chosen = check_dtype(np.result_type(*(t.dtype for t in parts)) if dtype is None else dtype)
    first = parts[0]
    for k, t in enumerate(parts):
        if t.ndim != first.ndim:
            raise ValueError(
                "all the input array dimensions except for the concatenation axis must match "
                f"exactly, but the array at index 0 has {first.ndim} dimension(s) and the array at "
                f"index {k} has {t.ndim} dimension(s)")
    values = [to_value(t, chosen) for t in parts]
    return fresh(values[0] if len(values) == 1 else ops.concat(*values, axis=axis))


@implements(np.concatenate)
def concatenate(arrays: Any, axis: Any = 0, out: Any = None, dtype: Any = None,
                casting: str = "same_kind") -> Any:
    parts = [as_tracer(a) for a in arrays]
    if not parts:
        raise ValueError("need at least one array to concatenate")
    if axis is None:
        parts, axis = [t.reshaped((t.size,)) for t in parts], 0
    if any(t.ndim == 0 for t in parts):
        raise ValueError("zero-dimensional arrays cannot be concatenated")
    return _concat(parts, normalized(axis, parts[0].ndim), dtype)


@implements(np.stack)
def stack(arrays: Any, axis: int = 0, out: Any = None, dtype: Any = None,
          casting: str = "same_kind") -> Any:
    parts = [as_tracer(a) for a in arrays]
    if not parts:
        raise ValueError("need at least one array to stack")
    if any(t.shape != parts[0].shape for t in parts):
        raise ValueError("all input arrays must have the same shape")
    at = normalized(axis, parts[0].ndim + 1)
    shape = (*parts[0].shape[:at], 1, *parts[0].shape[at:])
    return _concat([t.reshaped(shape) for t in parts], at, dtype)


@implements(np.vstack, *([np.row_stack] if "row_stack" in np.__dict__ else []))
def vstack(tup: Any, dtype: Any = None, casting: str = "same_kind") -> Any:
    return concatenate([np.atleast_2d(as_tracer(a)) for a in tup], 0, None, dtype)


@implements(np.hstack)
def hstack(tup: Any, dtype: Any = None, casting: str = "same_kind") -> Any:
    parts = [np.atleast_1d(as_tracer(a)) for a in tup]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, None, dtype)


@implements(np.dstack)
def dstack(tup: Any) -> Any:
    return concatenate([np.atleast_3d(as_tracer(a)) for a in tup], 2)


@implements(np.column_stack)
def column_stack(tup: Any) -> Any:
    parts = [as_tracer(a) for a in tup]
    return concatenate(
        [t if t.ndim >= 2 else np.transpose(np.atleast_2d(t)) for t in parts], 1)


@implements(np.append)
def append(arr: Any, values: Any, axis: Any = None) -> Any:
    a, b = as_tracer(arr), as_tracer(values)
    if axis is None:
        return concatenate([np.ravel(a), np.ravel(b)])
    return concatenate([a, b], axis)


@implements(np.block)
def block(arrays: Any) -> Any:
    return _block(arrays, _depth(arrays))


def _depth(nested: Any) -> int:
    return 1 + _depth(nested[0]) if isinstance(nested, list) else 0


def _block(nested: Any, depth: int) -> Any:
    if depth == 0:
        return nested
    parts = [as_tracer(_block(item, depth - 1)) for item in nested]
    rank = max(depth, *(t.ndim for t in parts))
    wide = [t.reshaped((1,) * (rank - t.ndim) + t.shape) for t in parts]
    return _concat(wide, rank - depth)


@implements(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    t = as_tracer(arr)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    at = normalized(axis, t.ndim)
    keep = np.delete(np.arange(t.shape[at]), plain(obj))
    return t[(*(slice(None),) * at, keep)]


@implements(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    t, new = as_tracer(arr), as_tracer(values)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    at = normalized(axis, t.ndim)
    where = plain(obj)
    where = np.arange(t.shape[at])[where] if isinstance(where, slice) else np.asarray(where)
    if where.size == 1 and new.ndim <= t.ndim:
        new = new.reshaped((1,) * (t.ndim - new.ndim) + new.shape)
        if where.ndim == 0:
            new = moveaxis(new, 0, at)
    count = new.shape[at] if where.size == 1 and new.ndim == t.ndim else where.size
    new = broadcast(convert(new, t.dtype), (*t.shape[:at], count, *t.shape[at + 1 :]))
    n = t.shape[at]
    order = np.insert(np.arange(n), where, n + np.arange(count))
    return _concat([t, new], at)[(*(slice(None),) * at, order)]


# -- splitting -----------------------------------------------------------------------------------


@implements(np.array_split, views=True)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    t = as_tracer(ary)
    at = normalized(axis, t.ndim)
    bounds = _bounds(t.shape[at], indices_or_sections)
    lead = (slice(None),) * at
    return [t[(*lead, slice(a, b))] for a, b in zip(bounds, bounds[1:], strict=False)]


def _bounds(n: int, given: Any) -> list[int]:
    if not is_single(given):
        # Cuts may lie beyond the end; a part that would run backwards is empty.
        return [0, *integers(given), n]
    sections = given.__index__()
    if sections <= 0:
        raise ValueError("number sections must be larger than 0.")
    each, extra = divmod(n, sections)
    return [k * each + min(k, extra) for k in range(sections + 1)]


@implements(np.split, views=True)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    t = as_tracer(ary)
    d = t.shape[normalized(axis, t.ndim)]
    if is_single(indices_or_sections) and d % indices_or_sections.__index__():
        raise ValueError("array split does not result in an equal division")
    return array_split(t, indices_or_sections, axis)


@implements(np.hsplit, views=True)
def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    t = as_tracer(ary)
    if t.ndim == 0:
        raise ValueError("hsplit only works on arrays of 1 or more dimensions")
    return split(t, indices_or_sections, 1 if t.ndim > 1 else 0)


@implements(np.vsplit, views=True)
def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    t = as_tracer(ary)
    if t.ndim < 2:
        raise ValueError("vsplit only works on arrays of 2 or more dimensions")
    return split(t, indices_or_sections, 0)


@implements(np.dsplit, views=True)
def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    t = as_tracer(ary)
    if t.ndim < 3:
        raise ValueError("dsplit only works on arrays of 3 or more dimensions")
    return split(t, indices_or_sections, 2)


# -- padding -------------------------------------------------------------------------------------


@implements(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", constant_values: Any = 0,
        reflect_type: str = "even") -> Any:
    t = as_tracer(array)
    widths = np.broadcast_to(np.asarray(plain(pad_width)), (t.ndim, 2)).tolist()
    if any(w < 0 for pair in widths for w in pair):
        raise ValueError("index can't contain negative values")
    if mode == "constant":
        return _pad_constant(t, widths, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap") or reflect_type != "even":
        raise ValueError(f"pad: the mode {mode!r} is not supported; constant, edge, reflect, "
                         "symmetric and wrap are")
    for axis, pair in enumerate(widths):
        if any(pair):
            index = np.pad(np.arange(t.shape[axis]), pair, mode=mode)
            t = t[(*(slice(None),) * axis, index)]
    return t.copy()


def _pad_constant(t: Tracer, widths: list[list[int]], fill: Any) -> Any:
    shape = tuple(d + a + b for d, (a, b) in zip(t.shape, widths, strict=True))
    starts = tuple(a if d else 0 for d, (a, _) in zip(t.shape, widths, strict=True))
    steps = (1,) * t.ndim
    number = operand(fill)
    known = None if is_traced(number) else np.asarray(plain(number)).astype(t.dtype)
    if known is None or not known.ndim:
        if known is not None and not known:
            return fresh(ops.embed(t.value, shape=shape, starts=starts, steps=steps))
        filled = to_value(number if known is None else known, t.dtype, shape)
        return fresh(ops.update_slice(filled, t.value, starts=starts, steps=steps))
    pairs = np.broadcast_to(known, (t.ndim, 2))
    out = t
    for axis, (before, after) in enumerate(widths):
        ends = []
        for count, value in zip((before, after), pairs[axis], strict=True):
            end = (*out.shape[:axis], count, *out.shape[axis + 1 :])
            ends.append(as_tracer(np.full(end, value).astype(t.dtype)))
        out = _concat([ends[0], out, ends[1]], axis)
    return out


@implements(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue,
         append: Any = np._NoValue) -> Any:
    t = as_tracer(a)
    if t.ndim == 0:
        raise ValueError("diff requires input that is at least one dimensional")
    at = normalized(axis, t.ndim)
    parts: list[Any] = []
    for extra in (prepend, t, append):
        if extra is np._NoValue:
            continue
        piece: Any = as_tracer(extra)
        if piece.ndim == 0:
            piece = broadcast(piece, (*t.shape[:at], 1, *t.shape[at + 1 :]))
        parts.append(piece)
    out = parts[0] if len(parts) == 1 else _concat([as_tracer(p) for p in parts], at)
    lead = (slice(None),) * at
    for _ in range(n):
        later, earlier = out[(*lead, slice(1, None))], out[(*lead, slice(None, -1))]
        out = later != earlier if out.dtype == bool else later - earlier
    return out.copy() if n == 0 else out


@implements(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    steps = diff(np.ravel(as_tracer(ary)))
    return concatenate([np.ravel(as_tracer(p)) for p in (to_begin, steps, to_end)
                        if p is not None])


@implements(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Central differences on a uniform grid, one-sided at the ends (of first order)."""
    t = as_tracer(f)
    if t.dtype.kind != "f":
        t = as_tracer(t * 1.0)
    if edge_order != 1:
        raise ValueError("np.gradient is supported with edge_order=1")
    axes = range(t.ndim) if axis is None else np.atleast_1d(axis).tolist()
    spacings = list(varargs) * (len(axes) if len(varargs) == 1 else 1) or [1.0] * len(axes)
    if any(np.ndim(s) for s in spacings) or len(spacings) != len(axes):
        raise ValueError("np.gradient is supported with one spacing, or one for each axis")
    out = []
    for at, h in zip(axes, spacings, strict=True):
        if t.shape[at] < 2:
            raise ValueError("Shape of array too small to calculate a numerical gradient, at "
                             "least (edge_order + 1) elements are required.")
        x = moveaxis(t, at, 0)
        inner = (x[2:] - x[:-2]) / (2.0 * h)
        rows = [(x[1:2] - x[0:1]) / h, inner, (x[-1:] - x[-2:-1]) / h]
        out.append(moveaxis(concatenate(rows), 0, at))
    return out[0] if len(out) == 1 else tuple(out)


@implements(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    t = moveaxis(as_tracer(y), axis, -1)
    if x is not None:
        points = as_tracer(x)
        dx = diff(points if points.ndim == 1 else moveaxis(points, axis, -1))
    return np.sum(dx * (t[..., 1:] + t[..., :-1]) / 2.0, axis=-1)


