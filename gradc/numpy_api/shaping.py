"""Functions that give another view, or another arrangement, of the same elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.cells import Broadcast, Reshape, Slice, Transpose
from gradc.ir import ops
from gradc.ir.types import Shape
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.values import as_tracer, common_shape, integers, normalized
from gradc.tracer import Tracer, fresh


def target(size: int, shape: Any) -> Shape:
    """A shape with −1 worked out. Raises ValueError, in NumPy's words."""
    given = integers(shape)
    dims = list(given)
    known = math.prod(d for d in dims if d != -1)
    if dims.count(-1) > 1:
        raise ValueError("can only specify one unknown dimension")
    if -1 in dims and known and size % known == 0:
        dims[dims.index(-1)] = size // known
    if math.prod(dims) != size or any(d < 0 for d in dims):
        shown = str(given).replace(" ", "")
        raise ValueError(f"cannot reshape array of size {size} into shape {shown}")
    return tuple(dims)


@implements(np.reshape, views=True)
def reshape(a: Any, shape: Any = None, order: str = "C", newshape: Any = None,
            copy: Any = None) -> Any:
    t = as_tracer(a)
    wanted = target(t.size, newshape if shape is None else shape)
    if order == "F":
        turned = transpose(t).reshaped(wanted[::-1])
        return transpose(turned)
    out = t.reshaped(wanted) if wanted != t.shape or t.is_scalar else t.through()
    return out.copy() if copy else out


@implements(np.ravel, views=True)
def ravel(a: Any, order: str = "C") -> Any:
    t = as_tracer(a)
    return reshape(t, (t.size,), "F" if order == "F" else "C")


@implements(np.transpose, views=True)
def transpose(a: Any, axes: Any = None) -> Tracer:
    t = as_tracer(a)
    if axes is None:
        perm = tuple(reversed(range(t.ndim)))
    else:
        perm = tuple(normalized(axis, t.ndim) for axis in integers(axes))
        if sorted(perm) != list(range(t.ndim)):
            raise ValueError("axes don't match array")
    if perm == tuple(range(t.ndim)):
        out = t.through()
        out.weak, out.is_scalar = t.weak, t.is_scalar
        return out
    return t.through(Transpose(perm))


@implements(np.swapaxes, views=True)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    t = as_tracer(a)
    perm = list(range(t.ndim))
    one, two = normalized(axis1, t.ndim), normalized(axis2, t.ndim)
    perm[one], perm[two] = perm[two], perm[one]
    return transpose(t, perm)


if hasattr(np, "matrix_transpose"):
    implements(np.matrix_transpose, np.linalg.matrix_transpose, views=True)(
        lambda x: swapaxes(x, -1, -2)
    )


def _axis_list(axis: Any, ndim: int) -> list[int]:
    out = [normalized(k, ndim) for k in integers(axis)]
    if len(set(out)) != len(out):
        raise ValueError("repeated axis")
    return out


@implements(np.moveaxis, views=True)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    t = as_tracer(a)
    sources, targets = _axis_list(source, t.ndim), _axis_list(destination, t.ndim)
    if len(sources) != len(targets):
        raise ValueError("`source` and `destination` arguments must have the same number of "
                         "elements")
    perm = [k for k in range(t.ndim) if k not in sources]
    for target, origin in sorted(zip(targets, sources, strict=True)):
        perm.insert(target, origin)
    return transpose(t, perm)


@implements(np.rollaxis, views=True)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    t = as_tracer(a)
    origin = normalized(axis, t.ndim)
    target = start + t.ndim if start < 0 else start
    return moveaxis(t, origin, target - 1 if origin < target else target)


@implements(np.squeeze, views=True)
def squeeze(a: Any, axis: Any = None) -> Any:
    t = as_tracer(a)
    axes = [k for k, d in enumerate(t.shape) if d == 1] if axis is None else _axis_list(
        axis, t.ndim)
    if any(t.shape[k] != 1 for k in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    shape = tuple(d for k, d in enumerate(t.shape) if k not in axes)
    return t.through(Reshape(shape)) if axes else t.through()


@implements(np.expand_dims, views=True)
def expand_dims(a: Any, axis: Any) -> Any:
    t = as_tracer(a)
    count = len(integers(axis))
    axes = _axis_list(axis, t.ndim + count)
    rest = iter(t.shape)
    return t.through(Reshape(tuple(1 if k in axes else next(rest) for k in range(t.ndim + count))))


def _at_least(arrays: tuple[Any, ...], rank: int) -> Any:
    out = []
    for a in arrays:
        t = as_tracer(a)
        if t.ndim >= rank:
            shape = t.shape
        elif rank == 3:
            shape = {0: (1, 1, 1), 1: (1, *t.shape, 1), 2: (*t.shape, 1)}[t.ndim]
        else:
            shape = (1,) * (rank - t.ndim) + t.shape
        out.append(t if shape == t.shape else t.through(Reshape(shape)))
    return out[0] if len(out) == 1 else tuple(out)


@implements(np.atleast_1d, views=True)
def atleast_1d(*arys: Any) -> Any:
    return _at_least(arys, 1)


@implements(np.atleast_2d, views=True)
def atleast_2d(*arys: Any) -> Any:
    return _at_least(arys, 2)


@implements(np.atleast_3d, views=True)
def atleast_3d(*arys: Any) -> Any:
    return _at_least(arys, 3)


@implements(np.broadcast_to, views=True)
def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """Repeated: a view, read-only as in NumPy."""
    wanted = integers(shape)
    t = as_tracer(array)
    lead = len(wanted) - t.ndim
    if lead < 0 or any(
        d not in (1, w) for d, w in zip(t.shape, wanted[lead:], strict=True)
    ):
        raise ValueError(f"input operand has shape {t.shape}, which cannot be broadcast to "
                         f"{wanted}")
    return t.through(Broadcast(wanted, "np.broadcast_to"))


@implements(np.broadcast_arrays, views=True)
def broadcast_arrays(*args: Any, subok: bool = False) -> Any:
    shape = common_shape(*args)
    return tuple(broadcast_to(a, shape) for a in args)


# -- reversal and rotation -----------------------------------------------------------------------


@implements(np.flip, views=True)
def flip(m: Any, axis: Any = None) -> Any:
    t = as_tracer(m)
    axes = range(t.ndim) if axis is None else _axis_list(axis, t.ndim)
    return t[tuple(slice(None, None, -1) if k in axes else slice(None) for k in range(t.ndim))]


@implements(np.fliplr, views=True)
def fliplr(m: Any) -> Any:
    return flip(m, 1)


@implements(np.flipud, views=True)
def flipud(m: Any) -> Any:
    return flip(m, 0)


@implements(np.rot90, views=True)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    t = as_tracer(m)
    one, two = _axis_list(axes, t.ndim)
    turns = k % 4
    if turns == 0:
        return t.through()
    if turns == 2:
        return flip(t, (one, two))
    if turns == 1:
        return swapaxes(flip(t, two), one, two)
    return flip(swapaxes(t, one, two), two)


@implements(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    t = as_tracer(a)
    if axis is None:
        flat = roll(t.reshaped((t.size,)), shift, 0)
        return flat.reshaped(t.shape)
    shifts = np.broadcast_arrays(integers(shift), integers(axis))
    out = t.copy()
    for by, given in zip(*(s.tolist() for s in shifts), strict=True):
        at = normalized(given, t.ndim)
        cut = by % t.shape[at] if t.shape[at] else 0
        if cut:
            lead = (slice(None),) * at
            parts = [out[(*lead, slice(-cut, None))], out[(*lead, slice(None, -cut))]]
            out = np.concatenate(parts, axis=at)
    return out


# -- repetition ----------------------------------------------------------------------------------


@implements(np.tile)
def tile(A: Any, reps: Any) -> Any:
    t = as_tracer(A)
    counts = list(integers(reps))
    rank = max(len(counts), t.ndim)
    counts = [1] * (rank - len(counts)) + counts
    shape = (1,) * (rank - t.ndim) + t.shape
    apart = tuple(d for dim in shape for d in (1, dim))
    wide = tuple(d for count, dim in zip(counts, shape, strict=True) for d in (count, dim))
    value = ops.reshape(t.value, shape=apart)
    if wide != apart:
        value = ops.broadcast(value, shape=wide)
    merged = tuple(c * d for c, d in zip(counts, shape, strict=True))
    return fresh(ops.reshape(value, shape=merged), is_scalar=False)


@implements(np.repeat)
def repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    t = as_tracer(a)
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    at = normalized(axis, t.ndim)
    if np.ndim(repeats) == 0 or np.size(repeats) == 1:
        count = int(np.asarray(repeats).reshape(()))
        lead, rest = t.shape[: at + 1], t.shape[at + 1 :]
        value = ops.reshape(t.value, shape=(*lead, 1, *rest))
        value = ops.broadcast(value, shape=(*lead, count, *rest))
        merged = (*lead[:-1], lead[-1] * count, *rest)
        return fresh(ops.reshape(value, shape=merged))
    index = np.repeat(np.arange(t.shape[at]), repeats)
    return t[(*(slice(None),) * at, index)]


# -- diagonals -----------------------------------------------------------------------------------


@implements(np.diagonal, views=True)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """A view, read-only as in NumPy: a strided slice of the rows laid end to end."""
    t = moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = t.shape[-2:]
    count = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    start = offset if offset >= 0 else -offset * columns
    flat = t.reshaped((*t.shape[:-2], rows * columns))
    lead = (0,) * (t.ndim - 2)
    sizes = (*t.shape[:-2], count)
    part = Slice((*lead, start if count else 0), sizes,
                 (*(1 for _ in lead), columns + 1 if count > 1 else 1))
    return flat.through(part, Broadcast(sizes, "np.diagonal"))


@implements(np.diag, views=True)
def diag(v: Any, k: int = 0) -> Any:
    t = as_tracer(v)
    if t.ndim == 2:
        return diagonal(t, k)
    if t.ndim != 1:
        raise ValueError("Input must be 1- or 2-d.")
    n = t.size + abs(k)
    start = k if k >= 0 else -k * n
    flat = ops.embed(t.value, shape=(n * n,), starts=(start if t.size else 0,),
                     steps=(n + 1 if t.size > 1 else 1,))
    return fresh(ops.reshape(flat, shape=(n, n)))


@implements(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    return diag(ravel(v), k)


@implements(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None,
          out: Any = None) -> Any:
    return np.sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def _triangle(t: Tracer, k: int) -> Any:
    """Where the lower triangle is; a row counts as many."""
    return np.tri(t.shape[-2] if t.ndim > 1 else t.size, t.shape[-1], k, dtype=bool)


@implements(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    t = as_tracer(m)
    return np.where(~_triangle(t, k - 1), t, np.zeros((), t.dtype))


@implements(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    t = as_tracer(m)
    return np.where(_triangle(t, k), t, np.zeros((), t.dtype))


if hasattr(np, "unstack"):
    implements(np.unstack, views=True)(lambda x, axis=0: tuple(moveaxis(x, axis, 0)))
