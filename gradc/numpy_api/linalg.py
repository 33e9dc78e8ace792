"""np.linalg: norms; what needs a factorisation is refused."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.errors import UnsupportedError
from gradc.numpy_api.dispatch import REMEDIES, implements
from gradc.numpy_api.shaping import diagonal, trace
from gradc.numpy_api.values import as_tracer, convert, full, normalized
from gradc.tracer import Tracer, describe


def _root_of_squares(t: Tracer, axis: Any, keepdims: bool) -> Any:
    """√Σx², with slope 0 at 0, where the norm has a kink."""
    total = np.sum(t * t, axis=axis, keepdims=keepdims)
    zero = np.equal(total, 0)
    return np.where(zero, full(total, 0), np.sqrt(np.where(zero, full(total, 1), total)))


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Vector norms of any order, matrix norms 'fro', ±1 and ±inf.

    The 2-norm has slope 0 at the zero vector. Raises UnsupportedError for norms by singular values.
    """
    t = as_tracer(x)
    if t.dtype.kind != "f":
        t = convert(t, np.float64)
    if axis is None and (ord is None or ord in ("f", "fro") and t.ndim == 2
                         or ord == 2 and t.ndim == 1):
        out = _root_of_squares(t.reshaped((t.size,)), None, False)
        return out.reshape((1,) * t.ndim) if keepdims else _scalar(out)
    axes = tuple(range(t.ndim)) if axis is None else axis
    if isinstance(axes, int) or len(axes) == 1:
        at = normalized(axes if isinstance(axes, int) else axes[0], t.ndim)
        return _scalar(_vector_norm(t, ord, at, keepdims))
    if len(axes) != 2:
        raise ValueError("Improper number of dimensions to norm.")
    return _scalar(_matrix_norm(t, ord, tuple(normalized(k, t.ndim) for k in axes), keepdims))


def _scalar(t: Any) -> Any:
    t.is_scalar = not t.shape
    return t


def _vector_norm(t: Tracer, order: Any, axis: int, keepdims: bool) -> Any:
    size = np.abs(t)
    if order is None or order == 2:
        return _root_of_squares(t, axis, keepdims)
    if order == np.inf:
        return np.max(size, axis=axis, keepdims=keepdims)
    if order == -np.inf:
        return np.min(size, axis=axis, keepdims=keepdims)
    if order == 0:
        return np.sum(convert(as_tracer(np.not_equal(t, 0)), t.dtype), axis=axis, keepdims=keepdims)
    if order == 1:
        return np.sum(size, axis=axis, keepdims=keepdims)
    if isinstance(order, str):
        raise ValueError(f"Invalid norm order '{order}' for vectors")
    return np.sum(size**order, axis=axis, keepdims=keepdims) ** (1.0 / order)


def _matrix_norm(t: Tracer, order: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if order is None or order in ("f", "fro"):
        return _root_of_squares(t, axes, keepdims)
    if order in (1, -1, np.inf, -np.inf):
        rows, columns = axes
        summed, best = (rows, columns) if abs(order) == 1 else (columns, rows)
        sums = np.sum(np.abs(t), axis=summed, keepdims=True)
        out = (np.max if order > 0 else np.min)(sums, axis=best, keepdims=True)
        return out if keepdims else np.squeeze(out, axes)
    raise UnsupportedError(f"np.linalg.norm of a matrix with ord={order!r} needs singular values",
                           types=[describe(t)], remedy="ord='fro'")


def _vector_norm_of_standard(x: Any, axis: Any = None, keepdims: bool = False,
                             ord: Any = 2) -> Any:
    t = as_tracer(x)
    return norm(t.reshaped((t.size,)) if axis is None else t, ord, axis, keepdims)


if hasattr(np.linalg, "vector_norm"):
    implements(np.linalg.vector_norm)(_vector_norm_of_standard)
    implements(np.linalg.diagonal)(lambda x, offset=0: diagonal(x, offset, -2, -1))
    implements(np.linalg.trace)(
        lambda x, offset=0, dtype=None: trace(x, offset, -2, -1, dtype=dtype))

_FACTORISED = "solve inv det slogdet pinv lstsq cholesky qr svd eig eigh eigvals eigvalsh"
for _name in _FACTORISED.split():
    REMEDIES[getattr(np.linalg, _name)] = (
        "gradc has no factorisations yet: for two or three unknowns write the formula out, else "
        "solve outside the traced function"
    )
