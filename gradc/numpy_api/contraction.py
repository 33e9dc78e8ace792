"""Products of matrices and tensors, over the one contraction of the IR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.errors import ShapeError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import BOOL, I64, Shape, broadcast_shapes
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.shaping import moveaxis
from gradc.numpy_api.values import (
    as_tracer,
    convert,
    is_single,
    normalized,
    promoted,
    to_value,
)
from gradc.tracer import Tracer, describe, fresh


def _array(x: Any) -> Tracer:
    """An operand as these functions take it: a Python number counts as an array."""
    t = as_tracer(x)
    return convert(t, t.dtype) if t.weak else t


def _pair(a: Any, b: Any) -> tuple[Tracer, Tracer, np.dtype[Any]]:
    one, two = _array(a), _array(b)
    return one, two, promoted([one, two])


def work_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype to multiply and add in: a product of bools is an any of alls, counted."""
    return I64 if dtype == BOOL else dtype


def finish(value: Value, dtype: np.dtype[Any]) -> Tracer:
    """A result in NumPy's dtype."""
    return fresh(ops.ne(value, ops.full_like(value, 0)) if dtype == BOOL else value)


def _misfit(name: str, a: Tracer, b: Tracer) -> ShapeError:
    return ShapeError(
        f"{name}: shapes {a.shape} and {b.shape} do not fit", types=[describe(a), describe(b)],
        remedy="the last axis of the first must be as long as the second-to-last of the second; "
        "transpose one of them (x.T)")


@implements(np.linalg.matmul)
def matmul(x1: Any, x2: Any) -> Tracer:
    """Matrix product with NumPy's rules for vectors and batches. Raises ShapeError."""
    a, b, dtype = _pair(x1, x2)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul: an operand is a scalar", types=[describe(a), describe(b)],
                         remedy="* multiplies by a scalar")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise _misfit("matmul", a, b)
    x, y = (to_value(t, work_dtype(dtype)) for t in (a, b))
    if a.ndim == b.ndim == 1:
        return finish(ops.sum_(x * y, axes=(0,)), dtype)
    if a.ndim == 1:
        x = ops.reshape(x, shape=(1, a.size))
    if b.ndim == 1:
        y = ops.reshape(y, shape=(b.size, 1))
    out = _batched(x, y)
    drop = ({out.type.rank - 2} if a.ndim == 1 else set()) | (
        {out.type.rank - 1} if b.ndim == 1 else set())
    if drop:
        out = ops.reshape(out, shape=tuple(d for k, d in enumerate(out.shape) if k not in drop))
    return finish(out, dtype)


def _batched(x: Value, y: Value) -> Value:
    """The product of matrices whose leading axes broadcast."""
    if y.type.rank == 2 and x.type.rank > 2:
        # One matrix on the right: the batch is more rows of one product.
        rows = ops.reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
        flat = ops.matmul(rows, y, ta=False, tb=False)
        return ops.reshape(flat, shape=(*x.shape[:-1], y.shape[-1]))
    batch = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = (v if v.shape[:-2] == batch else ops.broadcast(v, shape=(*batch, *v.shape[-2:]))
            for v in (x, y))
    return ops.matmul(x, y, ta=False, tb=False)


@implements(np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    a, b, dtype = _pair(x1, x2)
    if axis != -1:
        a, b = as_tracer(moveaxis(a, axis, -1)), as_tracer(moveaxis(b, axis, -1))
    if a.shape[-1:] != b.shape[-1:]:
        raise _misfit("vecdot", a, b)
    shape = broadcast_shapes(a.shape, b.shape)
    x, y = (to_value(t, work_dtype(dtype), shape) for t in (a, b))
    return finish(ops.sum_(x * y, axes=(len(shape) - 1,)), dtype)


def matvec(x1: Any, x2: Any) -> Any:
    return np.matmul(as_tracer(x1), as_tracer(x2)[..., None])[..., 0]


def vecmat(x1: Any, x2: Any) -> Any:
    return np.matmul(as_tracer(x1)[..., None, :], as_tracer(x2))[..., 0, :]


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Any:
    x, y = _array(a), _array(b)
    if not x.ndim or not y.ndim:
        return np.multiply(x, y)
    if x.ndim <= 2 and y.ndim <= 2 or y.ndim == 1:
        return matmul(x, y)
    if x.shape[-1] != y.shape[-2]:
        raise _misfit("dot", x, y)
    return tensordot(x, y, ((-1,), (-2,)))


@implements(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    return matmul(np.ravel(as_tracer(a)), np.ravel(as_tracer(b)))


@implements(np.inner)
def inner(a: Any, b: Any) -> Any:
    x, y = _array(a), _array(b)
    if not x.ndim or not y.ndim:
        return np.multiply(x, y)
    if x.shape[-1] != y.shape[-1]:
        raise _misfit("inner", x, y)
    return tensordot(x, y, ((-1,), (-1,)))


@implements(np.outer, np.linalg.outer)
def outer(a: Any, b: Any, out: Any = None) -> Any:
    return np.multiply(np.ravel(_array(a))[:, None], np.ravel(_array(b))[None, :])


@implements(np.tensordot, np.linalg.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    x, y, dtype = _pair(a, b)
    if is_single(axes):
        n = axes.__index__()
        left, right = list(range(x.ndim - n, x.ndim)), list(range(n))
    else:
        left, right = ([normalized(k, t.ndim) for k in np.atleast_1d(given)]
                       for given, t in zip(axes, (x, y), strict=True))
    if [x.shape[k] for k in left] != [y.shape[k] for k in right]:
        raise ShapeError("shape-mismatch for sum", types=[describe(x), describe(y)],
                         remedy="name axes of equal length")
    p, q = (to_value(t, work_dtype(dtype)) for t in (x, y))
    return finish(contract(p, q, left, right), dtype)


def contract(x: Value, y: Value, left: Sequence[int], right: Sequence[int]) -> Value:
    """Sum over pairs of axes; the result has the free axes of x, then those of y."""
    free_x = [k for k in range(len(x.shape)) if k not in left]
    free_y = [k for k in range(len(y.shape)) if k not in right]
    shape_x, shape_y = [x.shape[k] for k in free_x], [y.shape[k] for k in free_y]
    summed = math.prod(x.shape[k] for k in left)
    rows = arranged(x, (*free_x, *left), (math.prod(shape_x), summed))
    columns = arranged(y, (*right, *free_y), (summed, math.prod(shape_y)))
    if not free_x and not free_y:
        flat = [ops.reshape(v, shape=(summed,)) for v in (rows, columns)]
        return ops.sum_(flat[0] * flat[1], axes=(0,))
    out = ops.matmul(rows, columns, ta=False, tb=False)
    shape = (*shape_x, *shape_y)
    return out if out.shape == shape else ops.reshape(out, shape=shape)


def arranged(x: Value, perm: Sequence[int], shape: Shape) -> Value:
    """Axes in another order, then another shape, each only where it changes something."""
    if tuple(perm) != tuple(range(len(x.shape))):
        x = ops.transpose(x, perm=tuple(perm))
    return x if x.shape == shape else ops.reshape(x, shape=shape)


@implements(np.kron)
def kron(a: Any, b: Any) -> Any:
    x, y = as_tracer(a), as_tracer(b)
    rank = max(x.ndim, y.ndim)
    one, two = ((1,) * (rank - t.ndim) + t.shape for t in (x, y))
    wide = np.multiply(
        x.reshaped(tuple(d for n in one for d in (n, 1))),
        y.reshaped(tuple(d for n in two for d in (1, n))),
    )
    return np.reshape(wide, tuple(m * n for m, n in zip(one, two, strict=True)))


@implements(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
          axis: Any = None) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moveaxis(as_tracer(a), axisa, 0), moveaxis(as_tracer(b), axisb, 0)
    if x.shape[0] != 3 or y.shape[0] != 3:
        raise ValueError("np.cross is supported for vectors of three components")
    parts = [x[i] * y[j] - x[j] * y[i] for i, j in ((1, 2), (2, 0), (0, 1))]
    return np.stack(parts, axis=axisc)


@implements(np.linalg.multi_dot)
def multi_dot(arrays: Any, out: Any = None) -> Any:
    """The product in the order given; the association is not optimised."""
    total = as_tracer(arrays[0])
    for a in arrays[1:]:
        total = np.matmul(total, a)
    return total


@implements(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    t = as_tracer(a)
    if n < 0:
        raise ValueError("a negative power needs the inverse, which gradc has not")
    out = as_tracer(np.broadcast_to(np.eye(t.shape[-1], dtype=t.dtype), t.shape))
    for _ in range(n):
        out = np.matmul(out, t) if _ else t
    return fresh(out.value)
