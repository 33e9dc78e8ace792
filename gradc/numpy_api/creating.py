"""Arrays made of other values: np.array, the ``_like`` functions, ranges, grids, conversion."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import CastingError, ShapeError
from gradc.ir import ops
from gradc.ir.types import Shape
from gradc.numpy_api.dispatch import has_tracers, implements, tracers_in
from gradc.numpy_api.values import (
    as_tracer,
    broadcast,
    check_dtype,
    common_shape,
    convert,
    is_traced,
    promoted,
    shape_of,
    to_value,
    type_of,
)
from gradc.tracer import Tracer, constant, describe, fresh


def array_of(nested: Any, dtype: Any = None) -> Any:
    """``np.array`` of nested sequences with Tracers in them: one new array.

    Python numbers count as float64, int64 and bool, as in NumPy. Raises ShapeError if ragged.
    """
    if not isinstance(nested, (list, tuple)):
        return nested
    if not has_tracers(nested):
        return np.array(nested, dtype=dtype)
    leaves: list[Any] = []
    shape = _collect(nested, leaves)
    chosen = check_dtype(np.result_type(*(type_of(x).dtype for x in leaves))
                         if dtype is None else dtype)
    if not any(is_traced(x) for x in leaves):
        plain = [x.array() if isinstance(x, Tracer) else x for x in leaves]
        return constant(np.array(plain, dtype=chosen).reshape(shape))
    rows = []
    for leaf in leaves:
        value = to_value(leaf, chosen)
        rows.append(ops.reshape(value, shape=(1, *value.shape)))
    joined = rows[0] if len(rows) == 1 else ops.concat(*rows, axis=0)
    out = joined if joined.shape == shape else ops.reshape(joined, shape=shape)
    return fresh(out, is_scalar=False)


def _collect(nested: Any, leaves: list[Any]) -> Shape:
    """Append the leaves in order; return the whole shape. All leaves must have one shape."""
    if not isinstance(nested, (list, tuple)):
        leaves.append(nested)
        return shape_of(nested)
    start = len(leaves)
    shapes = [_collect(item, leaves) for item in nested]
    if not shapes:
        return (0,)
    if any(s != shapes[0] for s in shapes):
        raise ShapeError(
            f"the parts of the array have different shapes: {', '.join(map(str, shapes))}",
            types=[describe(t) for t in tracers_in(nested)],
            remedy="make them of one shape, or join them with np.concatenate",
        )
    _level(leaves, start)
    return (len(shapes), *shapes[0])


def _level(leaves: list[Any], start: int) -> None:
    """Bring leaves of different depth to the shape of the shallowest, row by row."""
    shapes = [shape_of(x) for x in leaves[start:]]
    least = min((len(s) for s in shapes), default=0)
    if all(len(s) == least for s in shapes):
        return
    spread: list[Any] = []
    for leaf, shape in zip(leaves[start:], shapes, strict=True):
        lead = shape[: len(shape) - least]
        t = leaf if isinstance(leaf, (Tracer, np.ndarray)) else np.asarray(leaf)
        spread.extend(t[index] for index in np.ndindex(*lead))
    leaves[start:] = spread


def astype(x: Any, dtype: Any, *, casting: str = "unsafe", copy: bool = True) -> Any:
    """The values in another dtype, a new array. Raises CastingError where ``casting`` forbids."""
    wanted = check_dtype(dtype)
    if not np.can_cast(x.dtype, wanted, casting):  # type: ignore[arg-type]
        raise CastingError(
            f"Cannot cast array data from {x.dtype!r} to {wanted!r} according to the rule "
            f"{casting!r}", types=[describe(x)], remedy="casting='unsafe'")
    if x.dtype == wanted and not copy:
        return x
    if x.is_constant:
        return x.array().astype(wanted) if current() is None else constant(
            x.array().astype(wanted))
    return fresh(to_value(x, wanted), is_scalar=x.is_scalar)


@implements(*(f for f in (getattr(np, "astype", None),) if f))
def _astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    return astype(x, dtype, copy=copy)


@implements(np.copy, views=True)
def copy(a: Any, order: str = "K", subok: bool = False) -> Any:
    t = as_tracer(a)
    return t.snapshot() if t.is_constant else fresh(t.value, weak=t.weak, is_scalar=t.is_scalar)


def _like(a: Any, fill: Any, dtype: Any, shape: Any) -> Any:
    t = as_tracer(a)
    chosen = t.dtype if dtype is None else check_dtype(dtype)
    size = t.shape if shape is None else shape
    if is_traced(fill):
        wide = tuple(np.broadcast_to(0, size).shape)
        if fill.dtype.kind == "f" and chosen.kind != "f":
            raise CastingError(
                f"a traced {fill.dtype} would be cut off in an array of {chosen}",
                types=[describe(fill)], remedy=f"dtype={fill.dtype}")
        return fresh(to_value(fill, chosen, wide), is_scalar=False)
    return constant(np.full(size, fill.array() if isinstance(fill, Tracer) else fill, chosen))


@implements(np.zeros_like, np.empty_like)
def zeros_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True,
               shape: Any = None) -> Any:
    return _like(a, 0, dtype, shape)


@implements(np.ones_like)
def ones_like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None) -> Any:
    return _like(a, 1, dtype, shape)


@implements(np.full_like)
def full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True,
              shape: Any = None) -> Any:
    return _like(a, fill_value, dtype, shape)


@implements(np.linspace)
def linspace(start: Any, stop: Any, num: Any = 50, endpoint: bool = True, retstep: bool = False,
             dtype: Any = None, axis: int = 0) -> Any:
    """NumPy's own formula: start + k·step, the last point set to stop."""
    count = num.__index__()
    parts = count - 1 if endpoint else count
    work = promoted([start, stop, 0.0])
    first, last = convert(as_tracer(start), work), convert(as_tracer(stop), work)
    shape = common_shape(first, last)
    first, last = broadcast(first, shape), broadcast(last, shape)
    step = (last - first) / max(parts, 1)
    ks = np.arange(count).reshape(-1, *(1 for _ in shape)).astype(work)
    out = first + step * ks
    if endpoint and count > 1:
        out[-1] = last
    if axis != 0:
        out = np.moveaxis(out, 0, axis)
    if dtype is not None:
        out = astype(out, dtype)
    return (out, step) if retstep else out


@implements(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    n = len(xi)
    order = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    out = []
    for k, x in enumerate(xi):
        shape = [1] * n
        shape[order[k]] = -1
        out.append(np.reshape(x, shape))
    if not sparse:
        whole = common_shape(*out)
        out = [broadcast(as_tracer(x), whole).copy() for x in out]
    return tuple(out)


@implements(np.shape)
def shape(a: Any) -> Any:
    return shape_of(a)


@implements(np.ndim)
def ndim(a: Any) -> Any:
    return len(shape_of(a))


@implements(np.size)
def size(a: Any, axis: Any = None) -> Any:
    return as_tracer(a).size if axis is None else shape_of(a)[axis]


@implements(np.result_type)
def result_type(*arrays_and_dtypes: Any) -> Any:
    known = [x for x in arrays_and_dtypes if not isinstance(x, Tracer)]
    return np.result_type(*known, *_representatives(arrays_and_dtypes))


def _representatives(values: tuple[Any, ...]) -> list[Any]:
    """For each Tracer what NumPy promotes like it: a Python number, or its dtype."""
    number = {"b": True, "i": 1, "f": 1.0}
    return [number[t.dtype.kind] if t.weak else t.dtype for t in tracers_in(values)]


@implements(np.iscomplexobj)
def iscomplexobj(x: Any) -> bool:
    return False


@implements(np.isrealobj)
def isrealobj(x: Any) -> bool:
    return True


@implements(np.real, views=True)
def real(val: Any) -> Any:
    return val


@implements(np.imag)
def imag(val: Any) -> Any:
    return zeros_like(val)
