"""Reductions and scans. Means, variances and the like are composites without rules of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.ir.ops import Op
from gradc.ir.types import BOOL, F64, I64, kept_shape, normalize_axes
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.shaping import moveaxis
from gradc.numpy_api.values import (
    as_tracer,
    broadcast,
    check_dtype,
    convert,
    full,
    normalized,
    to_value,
)
from gradc.tracer import Tracer, fresh


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    return normalize_axes(axis if axis is None or isinstance(axis, tuple) else int(axis), ndim)


def _lenient(axis: Any, ndim: int) -> Any:
    """NumPy's own reductions let axis 0 and −1 of a scalar pass."""
    return None if ndim == 0 and axis in (0, -1, (), (0,), (-1,)) else axis


def reduce(op: Op, t: Tracer, axis: Any, keepdims: bool) -> Tracer:
    """The op along the axes of ``axis`` (None: all)."""
    axes = _axes(_lenient(axis, t.ndim), t.ndim)
    value = op(t.value, axes=axes)
    if keepdims:
        value = ops.reshape(value, shape=kept_shape(t.shape, axes))
    return fresh(value)


def _wide(t: Tracer, dtype: Any) -> Tracer:
    """NumPy sums and multiplies small integers in the machine's integers."""
    if dtype is None and t.dtype.kind in "bi":
        dtype = np.promote_types(t.dtype, I64)
    elif dtype is None and t.dtype.kind == "u":
        dtype = np.promote_types(t.dtype, np.uint64)
    return convert(t, t.dtype if dtype is None else dtype)


def _masked(t: Tracer, where: Any, other: float) -> Tracer:
    if where is True:
        return t
    return as_tracer(np.where(where, t, full(t, other)))


def _start(initial: Any, like: Tracer) -> Tracer:
    """The first value of a reduction, in the dtype of its result."""
    return fresh(to_value(as_tracer(initial), like.dtype))


@implements(np.sum)
def sum_(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
         initial: Any = None, where: Any = True) -> Any:
    t = _wide(_masked(as_tracer(a), where, 0), dtype)
    if t.dtype == BOOL:
        return reduce(ops.any_, t, axis, keepdims)
    total = reduce(ops.sum_, t, axis, keepdims)
    return total if initial is None else total + _start(initial, total)


@implements(np.prod)
def prod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
         initial: Any = None, where: Any = True) -> Any:
    t = _wide(_masked(as_tracer(a), where, 1), dtype)
    total = reduce(ops.prod, t, axis, keepdims)
    return total if initial is None else total * _start(initial, total)


def _extremum(op: Op, choose: Any, a: Any, axis: Any, keepdims: bool, initial: Any,
              where: Any) -> Any:
    t = as_tracer(a)
    if where is not True:
        if initial is None:
            raise ValueError("reduction operations with where= need initial=")
        t = _masked(t, where, initial)
    if initial is not None and not t.size:
        axes = _axes(axis, t.ndim)
        shape = kept_shape(t.shape, axes)
        kept = tuple(d for k, d in enumerate(t.shape) if k not in axes)
        return fresh(to_value(initial, t.dtype, shape if keepdims else kept))
    best = reduce(op, t, axis, keepdims)
    return best if initial is None else choose(best, _start(initial, best))


@implements(np.max, np.amax)
def max_(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
         where: Any = True) -> Any:
    return _extremum(ops.max_, np.maximum, a, axis, keepdims, initial, where)


@implements(np.min, np.amin)
def min_(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None,
         where: Any = True) -> Any:
    return _extremum(ops.min_, np.minimum, a, axis, keepdims, initial, where)


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return max_(a, axis, None, keepdims) - min_(a, axis, None, keepdims)


def _as_bool(t: Tracer) -> Tracer:
    return t if t.dtype == BOOL else as_tracer(np.not_equal(t, 0))


@implements(np.any)
def any_(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False,
         where: Any = True) -> Any:
    return reduce(ops.any_, _masked(_as_bool(as_tracer(a)), where, False), axis, keepdims)


@implements(np.all)
def all_(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False,
         where: Any = True) -> Any:
    return reduce(ops.all_, _masked(_as_bool(as_tracer(a)), where, True), axis, keepdims)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return sum_(_as_bool(as_tracer(a)), axis, None, None, keepdims)


# -- means ---------------------------------------------------------------------------------------


def _float(t: Tracer, dtype: Any) -> Tracer:
    """What NumPy averages in: integers in float64, floats as they are."""
    if dtype is None:
        dtype = t.dtype if t.dtype.kind == "f" else F64
    return convert(t, check_dtype(dtype))


def _count(t: Tracer, axis: Any, keepdims: bool, where: Any) -> Any:
    if where is True:
        return math.prod(t.shape[k] for k in _axes(axis, t.ndim))
    mask = np.broadcast_to(where, t.shape)
    return np.sum(mask, axis, t.dtype, keepdims=keepdims)


@implements(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False,
         where: Any = True) -> Any:
    t = _float(as_tracer(a), dtype)
    total = sum_(t, axis, None, None, keepdims, where=where)
    return total / _count(t, axis, keepdims, where)


@implements(np.var)
def var(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
        keepdims: bool = False, where: Any = True, mean: Any = None,
        correction: Any = None) -> Any:
    t = _float(as_tracer(a), dtype)
    if mean is None:
        mean = sum_(t, axis, None, None, True, where=where) / _count(t, axis, True, where)
    away = t - mean
    total = sum_(away * away, axis, None, None, keepdims, where=where)
    spare = ddof if correction is None else correction
    return total / np.maximum(_count(t, axis, keepdims, where) - spare, 0).item() if (
        where is True
    ) else total / np.maximum(_count(t, axis, keepdims, where) - spare, 0)


@implements(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
        keepdims: bool = False, where: Any = True, mean: Any = None,
        correction: Any = None) -> Any:
    """The root of the variance, with slope 0 at 0, where it has a kink, as the norm has."""
    return _root(var(a, axis, dtype, None, ddof, keepdims, where, mean, correction))


def _root(variance: Any) -> Any:
    zero = np.equal(variance, 0)
    root = np.where(zero, variance, np.sqrt(np.where(zero, variance + 1, variance)))
    return fresh(as_tracer(root).value)


@implements(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False,
            keepdims: bool = False) -> Any:
    t = as_tracer(a)
    if weights is None:
        out = mean(t, axis, keepdims=keepdims)
        return (out, np.full_like(out, t.size / max(out.size, 1))) if returned else out
    w: Any = as_tracer(weights)
    work = np.result_type(t.dtype, w.dtype, *([F64] if t.dtype.kind in "biu" else []))
    if w.shape != t.shape:
        if w.ndim != 1 or axis is None or isinstance(axis, tuple):
            raise TypeError("weights of another shape need one axis and one dimension")
        w = w.reshaped(tuple(w.size if k == normalized(axis, t.ndim) else 1
                             for k in range(t.ndim)))
        w = broadcast(w, t.shape)
    total = np.sum(convert(as_tracer(w), work), axis, keepdims=keepdims)
    out = np.sum(convert(t, work) * convert(as_tracer(w), work), axis, keepdims=keepdims) / total
    return (out, total) if returned else out


@implements(np.median)
def median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False,
           keepdims: bool = False) -> Any:
    t = _float(as_tracer(a), None)
    rows = np.ravel(t) if axis is None else moveaxis(t, axis, -1)
    ordered = np.sort(rows, axis=-1)
    n = ordered.shape[-1]
    if not n:
        return np.sum(rows, axis=-1) * math.nan
    middle = (ordered[..., (n - 1) // 2] + ordered[..., n // 2]) / 2 if n % 2 == 0 else (
        ordered[..., n // 2])
    nan = ordered[..., -1]
    middle = np.where(np.isnan(nan), nan, middle)
    if keepdims:
        middle = np.reshape(middle, kept_shape(t.shape, _axes(axis, t.ndim)))
    return fresh(as_tracer(middle).value)


# -- where an extremum stands --------------------------------------------------------------------


def _arg(op: Op, a: Any, axis: Any, keepdims: bool) -> Any:
    t = as_tracer(a)
    axis = _lenient(axis, t.ndim)
    flat = t.reshaped((t.size,)) if axis is None else t
    at = 0 if axis is None else normalized(axis, t.ndim)
    if flat.dtype == BOOL:
        flat = convert(flat, np.uint8)
    value = op(flat.value, axis=at)
    if keepdims:
        value = ops.reshape(value, shape=kept_shape(t.shape, _axes(axis, t.ndim)))
    return fresh(value)


@implements(np.argmax)
def argmax(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return _arg(ops.argmax, a, axis, keepdims)


@implements(np.argmin)
def argmin(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return _arg(ops.argmin, a, axis, keepdims)


# -- scans ---------------------------------------------------------------------------------------


def _scan(op: Op, a: Any, axis: Any, dtype: Any) -> Any:
    t = _wide(as_tracer(a), dtype)
    axis = _lenient(axis, t.ndim)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    if t.dtype == BOOL:
        raise TypeError("a running sum of dtype bool")
    return fresh(op(t.value, axis=normalized(axis, t.ndim), reverse=False))


@implements(np.cumsum)
def cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return _scan(ops.cumsum, a, axis, dtype)


@implements(np.cumprod)
def cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
    return _scan(ops.cumprod, a, axis, dtype)


def _cumulative(scan: Any, first: float, x: Any, axis: Any, dtype: Any, initial: bool) -> Any:
    t = as_tracer(x)
    if axis is None and t.ndim > 1:
        raise ValueError("For arrays which have more than one dimension ``axis`` argument is "
                         "required.")
    at = 0 if axis is None else normalized(axis, t.ndim)
    out = scan(t, at, dtype)
    if not initial:
        return out
    shape = (*t.shape[:at], 1, *t.shape[at + 1 :])
    return np.concatenate([np.full(shape, first, out.dtype), out], axis=at)


if hasattr(np, "cumulative_sum"):
    implements(np.cumulative_sum)(
        lambda x, axis=None, dtype=None, out=None, include_initial=False: _cumulative(
            cumsum, 0, x, axis, dtype, include_initial))
    implements(np.cumulative_prod)(
        lambda x, axis=None, dtype=None, out=None, include_initial=False: _cumulative(
            cumprod, 1, x, axis, dtype, include_initial))

# -- with NaN left out ---------------------------------------------------------------------------


def _without_nan(t: Tracer, other: float) -> Tracer:
    return t if t.dtype.kind != "f" else as_tracer(np.where(np.isnan(t), full(t, other), t))


@implements(np.nansum)
def nansum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
           keepdims: bool = False) -> Any:
    return sum_(_without_nan(as_tracer(a), 0), axis, dtype, None, keepdims)


@implements(np.nanprod)
def nanprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
            keepdims: bool = False) -> Any:
    return prod(_without_nan(as_tracer(a), 1), axis, dtype, None, keepdims)


@implements(np.nanmean)
def nanmean(a: Any, axis: Any = None, dtype: Any = None, out: Any = None,
            keepdims: bool = False) -> Any:
    t = _float(as_tracer(a), dtype)
    return mean(t, axis, None, None, keepdims, where=np.logical_not(np.isnan(t)))


@implements(np.nanvar)
def nanvar(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
           keepdims: bool = False) -> Any:
    t = _float(as_tracer(a), dtype)
    return var(t, axis, None, None, ddof, keepdims, np.logical_not(np.isnan(t)))


@implements(np.nanstd)
def nanstd(a: Any, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
           keepdims: bool = False) -> Any:
    return _root(nanvar(a, axis, dtype, None, ddof, keepdims))


def _nan_extremum(extremum: Any, worst: float, a: Any, axis: Any, keepdims: bool) -> Any:
    t = as_tracer(a)
    if t.dtype.kind != "f":
        return extremum(t, axis, None, keepdims)
    best = extremum(_without_nan(t, worst), axis, None, keepdims)
    none = np.all(np.isnan(t), axis, keepdims=keepdims)
    return fresh(as_tracer(np.where(none, full(best, np.nan), best)).value)


@implements(np.nanmax)
def nanmax(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return _nan_extremum(max_, -math.inf, a, axis, keepdims)


@implements(np.nanmin)
def nanmin(a: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    return _nan_extremum(min_, math.inf, a, axis, keepdims)
