"""Indexed reads and writes: k integer arrays index the first k axes.

Negative indices count from the end; an index out of bounds is an IndexError when it runs. A
``scatter_set`` with ``unique=True`` names no element twice, so that no write undoes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import Attrs, Op, Sample, linear
from gradc.ir.ops.cotangent import Cotangent
from gradc.ir.types import I64, Shape, TensorType


def _check_indices(x: TensorType, indices: Sequence[TensorType]) -> Shape:
    if not 1 <= len(indices) <= x.rank:
        raise IndexError(f"{len(indices)} indices for an array of shape {x.shape}")
    for index in indices:
        if index.dtype != I64 or index.shape != indices[0].shape:
            raise TypeError(f"indices must be int64 of one shape, not {index}")
    return indices[0].shape + x.shape[len(indices) :]


def _gather_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return types[0].with_shape(_check_indices(types[0], types[1:]))


def _scatter_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, u, *indices = types
    shape = _check_indices(x, indices)
    if (u.dtype, u.shape) != (x.dtype, shape):
        raise TypeError(f"scatter: the update is {u}, not {x.dtype}{list(shape)}")
    return x.with_shape(x.shape)


def _scatter_add_numpy(x: Any, u: Any, *indices: Any) -> Any:
    out = np.array(x)
    np.add.at(out, tuple(indices), u)
    return out


def _scatter_set_numpy(x: Any, u: Any, *indices: Any, unique: bool = False) -> Any:
    # The last write to an element wins: NumPy does so in practice, gradc promises it.
    out = np.array(x)
    flat = [np.broadcast_to(i, indices[0].shape).reshape(-1) for i in indices]
    rows = np.reshape(u, (indices[0].size, *x.shape[len(indices) :]))
    for k, at in enumerate(zip(*flat, strict=True)):
        out[at] = rows[k]
    return out


def _zeros(x: Value) -> Value:
    from gradc.ir.ops import full_like

    return full_like(x, 0)


# Samples are drawn as indices in 0..1 (and tested with repeats): see the domain of the indices.
_INDEX = (0.0, 1.99)
_SAMPLES = (
    (Sample(((5, 3), (4,)), {}, ((-3, 3), _INDEX), (None, "int64")),
     Sample(((4, 2, 3), (2, 2), (2, 2)), {}, ((-3, 3), _INDEX, _INDEX), (None, "int64", "int64")),
     Sample(((5,), ()), {}, ((-3, 3), _INDEX), (None, "int64")),
     Sample(((5,), (0,)), {}, ((-3, 3), _INDEX), (None, "int64"))),
    (Sample(((5, 3), (4, 3), (4,)), {}, ((-3, 3), (-3, 3), _INDEX), (None, None, "int64")),
     Sample(((4, 2), (3,), (3,), (3,)), {}, ((-3, 3), (-3, 3), _INDEX, _INDEX),
            (None, None, "int64", "int64")),
     Sample(((5,), (), ()), {}, ((-3, 3), (-3, 3), _INDEX), (None, None, "int64"))),
)

gather = linear(
    "gather", _gather_type, lambda x, *indices: np.asarray(x[tuple(indices)]).copy(),
    lambda ct, xs, attrs: [scatter_add(_zeros(xs[0]), ct, *xs[1:])],
    samples=_SAMPLES[0],
)

scatter_add: Op = linear(
    "scatter_add", _scatter_type, _scatter_add_numpy,
    lambda ct, xs, attrs: [ct, gather(ct, *xs[2:])],
    operands=2, kinds="iuf", samples=_SAMPLES[1],
)


def _winners(x: Value, u: Value, indices: Sequence[Value]) -> Value:
    """Which updates survive: those whose element holds their own position after the write."""
    from gradc.ir import ops

    ranks = ops.const(u.builder, np.arange(u.type.size, dtype=np.int64).reshape(u.shape))
    blank = ops.const(x.builder, np.int64(-1))
    held = scatter_set(ops.broadcast(blank, shape=x.shape), ranks, *indices)
    return ops.eq(gather(held, *indices), ranks)


def _set_jvp(xs: Sequence[Value], out: Value, attrs: Attrs, tangents: Any) -> Value | None:
    x, u, *indices = xs
    if tangents[0] is None and tangents[1] is None:
        return None
    dx, du = (_zeros(v) if t is None else t for v, t in zip((x, u), tangents[:2], strict=True))
    return scatter_set(dx, du, *indices, **attrs)


def _set_vjp(
    xs: Sequence[Value], out: Value, attrs: Attrs, cotangent: Cotangent, needed: Sequence[bool]
) -> list[Cotangent | None]:
    from gradc.ir import ops

    x, u, *indices = xs

    def transposed(ct: Value) -> list[Value | None]:
        du = None  # read before it is overwritten
        if needed[1]:
            du = gather(ct, *indices)
            if indices[0].type.size > 1 and not attrs.get("unique"):
                du = ops.where(_winners(x, u, indices), du, _zeros(u))
        dx = scatter_set(ct, _zeros(u), *indices, **attrs) if needed[0] else None
        return [dx, du, *(None for _ in indices)]

    return cotangent.mixed(transposed)


scatter_set = Op(
    name="scatter_set", family="index", infer=_scatter_type, numpy=_scatter_set_numpy,
    jvp=_set_jvp, vjp=_set_vjp, samples=_SAMPLES[1],
)


def _argsort_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return TensorType(I64, types[0].shape)


argsort = Op(
    name="argsort", family="index", infer=_argsort_type,
    numpy=lambda x, axis: np.argsort(x, axis=axis, kind="stable").astype(np.int64),
    samples=(Sample(((7,),), {"axis": 0}), Sample(((3, 40),), {"axis": 1}),
             Sample(((4, 3),), {"axis": 0}), Sample(((0,),), {"axis": 0})),
)
