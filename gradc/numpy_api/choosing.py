"""Choice, clipping, rounding, sorting, taking, comparing within tolerances."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import UnsupportedError
from gradc.ir import ops
from gradc.ir.types import BOOL
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.values import (
    as_tracer,
    common_shape,
    convert,
    full,
    normalized,
    operand,
    promoted,
    shape_of,
    to_value,
)
from gradc.tracer import Tracer, describe, fresh


@implements(np.where)
def where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """The choice of three arguments; its gradient leaks nothing from the branch not taken."""
    if x is None and y is None:
        return np.nonzero(condition)
    if x is None or y is None:
        raise ValueError("either both or neither of x and y should be given")
    condition, x, y = (operand(v) for v in (condition, x, y))
    dtype, shape = promoted([x, y]), common_shape(condition, x, y)
    test = as_tracer(condition)
    if test.dtype != BOOL:
        test = as_tracer(np.not_equal(test, 0))
    return fresh(ops.where(to_value(test, BOOL, shape), to_value(x, dtype, shape),
                           to_value(y, dtype, shape)), is_scalar=False)


@implements(np.select)
def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError("list of cases must be same length as list of conditions")
    dtype = promoted([*choicelist, default])
    out: Any = as_tracer(np.asarray(default) if not isinstance(default, Tracer) else default)
    out = convert(out, dtype)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = where(condition, choice, out)
    return out


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, min: Any = None,
         max: Any = None) -> Any:
    """minimum(maximum(a, min), max); at a bound the slope is shared, one half."""
    low = a_min if min is None or min is np._NoValue else min
    high = a_max if max is None or max is np._NoValue else max
    result = as_tracer(a)
    if result.weak:
        result = convert(result, result.dtype)
    bounds = [b for b in (low, high) if b is not None and b is not np._NoValue]
    dtype = promoted([result, *bounds])
    if result.dtype != dtype or result.weak:
        result = convert(result, dtype)
    if low is not None and low is not np._NoValue:
        result = np.maximum(result, low)
    if high is not None and high is not np._NoValue:
        result = np.minimum(result, high)
    return fresh(as_tracer(result).value)


@implements(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None,
               neginf: Any = None) -> Any:
    t = as_tracer(x)
    if not copy:
        raise UnsupportedError("np.nan_to_num with copy=False", types=[describe(t)],
                               remedy="x = np.nan_to_num(x)")
    if t.dtype.kind != "f":
        return t.copy()
    info = np.finfo(t.dtype)
    top = info.max if posinf is None else posinf
    bottom = info.min if neginf is None else neginf
    out = np.where(np.isnan(t), nan, t)
    out = np.where(t == np.inf, top, out)
    return convert(as_tracer(np.where(t == -np.inf, bottom, out)), t.dtype)


@implements(np.round, np.around)
def round_(a: Any, decimals: int = 0, out: Any = None) -> Any:
    t = as_tracer(a)
    if t.dtype.kind != "f":
        if decimals < 0:
            raise ValueError("np.round of integers to tens is not supported")
        if t.dtype == BOOL:
            raise TypeError("np.round of bools gives float16")
        return t.copy()
    if decimals == 0:
        return np.rint(t)
    scale = 10.0 ** abs(decimals)
    return np.rint(t * scale) / scale if decimals > 0 else np.rint(t / scale) * scale


@implements(np.fix)
def fix(x: Any, out: Any = None) -> Any:
    return np.trunc(as_tracer(x))


@implements(np.sinc)
def sinc(x: Any) -> Any:
    t = as_tracer(x)
    zero = np.equal(t, 0)
    y = np.pi * np.where(zero, 1.0, t)
    return np.where(zero, 1.0, np.sin(y) / y)


@implements(np.isposinf)
def isposinf(x: Any, out: Any = None) -> Any:
    return np.equal(as_tracer(x), np.inf)


@implements(np.isneginf)
def isneginf(x: Any, out: Any = None) -> Any:
    return np.equal(as_tracer(x), -np.inf)


@implements(np.isclose)
def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    x, y = as_tracer(a), as_tracer(b)
    if y.dtype.kind != "f":
        y = convert(y, np.float64)
    near = np.less_equal(np.abs(np.subtract(x, y)), atol + rtol * np.abs(y))
    out = np.logical_or(np.logical_and(near, np.isfinite(y)), np.equal(x, y))
    if equal_nan:
        out = np.logical_or(out, np.logical_and(np.isnan(x), np.isnan(y)))
    return out


@implements(np.allclose)
def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    return np.all(isclose(a, b, rtol, atol, equal_nan))


@implements(np.array_equal)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    if shape_of(operand(a1)) != shape_of(operand(a2)):
        return False
    same = np.equal(as_tracer(a1), as_tracer(a2))
    if equal_nan:
        same = np.logical_or(same, np.logical_and(np.isnan(a1), np.isnan(a2)))
    return np.all(same)


# -- taking --------------------------------------------------------------------------------------


@implements(np.take)
def take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
    t = as_tracer(a)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    at = normalized(axis, t.ndim)
    index = operand(indices)
    if not isinstance(index, Tracer):
        index = np.asarray(index)
    if mode == "wrap":
        index = index % t.shape[at]
    elif mode == "clip":
        index = np.clip(index, 0, t.shape[at] - 1)
    picked = t[(*(slice(None),) * at, index)]
    return picked if picked.is_scalar else picked.copy()


@implements(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Any:
    t, index = as_tracer(arr), as_tracer(indices)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    at = normalized(axis, t.ndim)
    if index.ndim != t.ndim:
        raise ValueError("`indices` and `arr` must have the same number of dimensions")
    parts: list[Any] = []
    for k, d in enumerate(t.shape):
        shape = tuple(-1 if j == k else 1 for j in range(t.ndim))
        parts.append(index if k == at else np.arange(d).reshape(shape))
    return t[tuple(parts)]


@implements(np.sort)
def sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, stable: Any = None) -> Any:
    t = as_tracer(a)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    return take_along_axis(t, argsort(t, axis, order=order), axis)


@implements(np.argsort)
def argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None,
            stable: Any = None) -> Any:
    """Always the stable order."""
    t = as_tracer(a)
    if order is not None:
        raise ValueError("order= is for structured arrays, which gradc has not")
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    if t.dtype == BOOL:
        t = convert(t, np.uint8)
    return fresh(ops.argsort(t.value, axis=normalized(axis, t.ndim)))


# -- writing -------------------------------------------------------------------------------------


@implements(np.copyto, views=True)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, Tracer):
        dst = as_tracer(dst)
        dst.cell.guard = "a plain NumPy array"
        dst.cell.rescue = "copy it first (w = np.array(w)) and return the copy"
    if not np.can_cast(as_tracer(src).dtype, dst.dtype, casting):  # type: ignore[arg-type]
        raise TypeError(f"Cannot cast array data from {as_tracer(src).dtype!r} to {dst.dtype!r} "
                        f"according to the rule {casting!r}")
    dst[...] = src if where is True else np.where(where, src, dst)


@implements(np.fill_diagonal, views=True)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    if not isinstance(a, Tracer) or a.ndim != 2 or wrap:
        raise ValueError("np.fill_diagonal is supported for two axes, in arrays made by the "
                         "traced function")
    index = np.arange(min(a.shape))
    a[index, index] = val


# -- interpolation, polynomials, signals ---------------------------------------------------------


@implements(np.interp)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None,
           period: Any = None) -> Any:
    """Piecewise linear; the interval is found by counting, x against every point of ``xp``."""
    if period is not None:
        raise UnsupportedError("np.interp with period=", remedy="reduce x with x % period")
    work = np.dtype(np.float64)
    at, points, values = (convert(as_tracer(v), work) for v in (x, xp, fp))
    n = points.size
    if n < 2:
        raise ValueError("np.interp needs at least two points")
    below = np.sum(np.greater_equal(at[..., None], points), axis=-1)
    k = np.clip(below - 1, 0, n - 2)
    x0, x1, y0, y1 = points[k], points[k + 1], values[k], values[k + 1]
    inside = y0 + (y1 - y0) / (x1 - x0) * (at - x0)
    out = np.where(at < points[0], values[0] if left is None else left, inside)
    out = np.where(at >= points[-1], np.where(
        at > points[-1], values[-1] if right is None else right, values[-1]), out)
    return fresh(as_tracer(out).value)


@implements(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Horner's rule."""
    t = as_tracer(x)
    total: Any = full(t, 0)
    for coefficient in as_tracer(p):
        total = total * t + coefficient
    return total


def _correlate(a: Tracer, v: Tracer, mode: str) -> Any:
    """Σ_k a[n + k]·v[k], a padded with zeros, as a sum over the taps of the shorter one."""
    n, m = a.size, v.size
    padded = np.pad(a, (m - 1, m - 1))
    length = n + m - 1
    total: Any = None
    for k in range(m):
        term = padded[k : k + length] * v[k]
        total = term if total is None else total + term
    if mode == "full":
        return total
    if mode == "same":
        start = (m - 1) // 2
        return total[start : start + n]
    if mode == "valid":
        return total[m - 1 : n]
    raise ValueError("mode must be one of 'valid', 'same', or 'full'")


def _signals(a: Any, v: Any) -> tuple[Tracer, Tracer]:
    x, y = as_tracer(a), as_tracer(v)
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise ValueError("object of too small depth for desired array")
    return x, y


@implements(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    x, y = _signals(a, v)
    if y.size > x.size:
        x, y = y, x
    return fresh(as_tracer(_correlate(x, y[::-1], mode)).value)


@implements(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    x, y = _signals(a, v)
    if y.size > x.size:
        return np.flip(correlate(y, x, mode)).copy()
    return fresh(as_tracer(_correlate(x, y, mode)).value)
