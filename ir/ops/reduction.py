"""Reductions and scans along axes.

Conventions: max and min share the slope equally among ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import Attrs, Op, Sample, linear
from gradc.ir.ops.cotangent import Cotangent
from gradc.ir.types import BOOL, I64, TensorType, kept_shape, reduced_shape


def spread(value: Value, like: Value, axes: Sequence[int]) -> Value:
    """Broadcast a reduced value back over the axes it was reduced along."""
    from gradc.ir import ops

    if not value.shape:
        return ops.broadcast(value, shape=like.shape) if like.shape else value
    kept = kept_shape(like.shape, axes)
    out = value if value.shape == kept else ops.reshape(value, shape=kept)
    return out if kept == like.shape else ops.broadcast(out, shape=like.shape)


def _reduce_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return types[0].with_shape(reduced_shape(types[0].shape, attrs["axes"]))


def _extremum_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    out = _reduce_type(types, attrs)
    if types[0].size == 0 and out.size:
        raise ValueError(f"a maximum or minimum over zero elements ({types[0]}) has no value")
    return out


_SAMPLES = tuple(
    Sample((shape,), {"axes": axes})
    for shape, axes in [
        ((7,), (0,)), ((3, 4), (0,)), ((3, 4), (1,)), ((3, 40), (0, 1)), ((2, 3, 4), (0, 2)),
        ((2, 3, 4), (1,)), ((1, 3), (0,)), ((), ()), ((130, 3), (0,)), ((2000,), (0,)),
    ]
)
_EMPTY = (Sample(((0, 3),), {"axes": (0,)}), Sample(((3, 0),), {"axes": (0,)}))

sum_ = linear(
    "sum", _reduce_type, lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
    lambda ct, xs, attrs: [spread(ct, xs[0], attrs["axes"])], under=Cotangent.copied,
    kinds="iuf", samples=_SAMPLES + _EMPTY,
)


def _product_jvp(xs: Any, out: Value, attrs: Attrs, tangents: Any) -> Value | None:
    return tangents[0] and sum_(tangents[0] * _others(xs[0], attrs["axes"]), axes=attrs["axes"])


def _product_vjp(
    xs: Any, out: Value, attrs: Attrs, ct: Cotangent, needed: Any
) -> list[Cotangent | None]:
    return _spread_times(ct, xs[0], attrs["axes"], _others(xs[0], attrs["axes"]))


def _spread_times(
    ct: Cotangent, x: Value, axes: Sequence[int], partial: Value
) -> list[Cotangent | None]:
    return [part and part.times(partial) for part in ct.copied(lambda v: [spread(v, x, axes)])]


def _others(x: Value, axes: Sequence[int]) -> Value:
    """The product of all other elements along the axes; right where elements are zero too."""
    from gradc.ir import ops

    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    perm = (*rest, *axes)
    moved = ops.transpose(x, perm=perm)
    flat_shape = (*(x.shape[axis] for axis in rest), int(np.prod([x.shape[a] for a in axes])))
    flat = ops.reshape(moved, shape=flat_shape)
    last = len(flat_shape) - 1
    before = _shifted(cumprod(flat, axis=last, reverse=False), last, 1)
    after = _shifted(cumprod(flat, axis=last, reverse=True), last, -1)
    back = ops.reshape(before * after, shape=moved.shape)
    return ops.transpose(back, perm=tuple(int(i) for i in np.argsort(perm)))


def _shifted(x: Value, axis: int, by: int) -> Value:
    """Move along the axis by one place, a one coming in."""
    from gradc.ir import ops

    n = x.shape[axis]
    sizes = tuple(n - 1 if k == axis else d for k, d in enumerate(x.shape))
    at = tuple(1 if k == axis else 0 for k in range(len(x.shape)))
    zero, steps = (0,) * len(x.shape), (1,) * len(x.shape)
    if n == 0:
        return x
    kept = ops.slice_(x, starts=zero if by > 0 else at, sizes=sizes, steps=steps)
    return ops.update_slice(ops.full_like(x, 1), kept, starts=at if by > 0 else zero, steps=steps)


prod = Op(name="prod", family="reduction", infer=_reduce_type, kinds="iuf",
          numpy=lambda x, axes: np.prod(x, axis=axes, dtype=x.dtype),
          jvp=_product_jvp, vjp=_product_vjp, samples=_SAMPLES[:8] + _EMPTY)


def _share_among_ties(x: Value, out: Value, axes: Sequence[int]) -> Value:
    """The slope of an extremum: 1 / (number of ties) at each element that attains it."""
    from gradc.ir import ops

    hit = ops.convert(ops.eq(x, spread(out, x, axes)), dtype=x.dtype)
    return hit / spread(sum_(hit, axes=axes), x, axes)


def _extremum_jvp(xs: Any, out: Value, attrs: Attrs, tangents: Any) -> Value | None:
    axes = attrs["axes"]
    return tangents[0] and sum_(tangents[0] * _share_among_ties(xs[0], out, axes), axes=axes)


def _extremum_vjp(
    xs: Any, out: Value, attrs: Attrs, ct: Cotangent, needed: Any
) -> list[Cotangent | None]:
    axes = attrs["axes"]
    return _spread_times(ct, xs[0], axes, _share_among_ties(xs[0], out, axes))


def _extremum(name: str, numpy: Callable[..., Any]) -> Op:
    return Op(name=name, family="reduction", infer=_extremum_type, jvp=_extremum_jvp,
              vjp=_extremum_vjp, numpy=lambda x, axes: numpy(x, axis=axes), samples=_SAMPLES)


max_ = _extremum("max", np.max)
min_ = _extremum("min", np.min)


def _arg_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, axis = types[0], attrs["axis"]
    if x.shape[axis] == 0:
        raise ValueError(f"argmax or argmin over zero elements ({x})")
    return TensorType(I64, reduced_shape(x.shape, (axis,)))


def _arg(name: str, numpy: Callable[..., Any]) -> Op:
    return Op(name=name, family="reduction", infer=_arg_type,
              numpy=lambda x, axis: numpy(x, axis=axis).astype(np.int64),
              samples=(Sample(((7,),), {"axis": 0}), Sample(((3, 40),), {"axis": 1}),
                       Sample(((4, 3),), {"axis": 0})))


argmax = _arg("argmax", np.argmax)
argmin = _arg("argmin", np.argmin)


def _logical_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    if types[0].dtype != BOOL:
        raise TypeError(f"any and all take bool, not {types[0]}")
    return _reduce_type(types, attrs)


def _logical(name: str, numpy: Callable[..., Any]) -> Op:
    return Op(name=name, family="reduction", infer=_logical_type, kinds="b",
              numpy=lambda x, axes: numpy(x, axis=axes), samples=_SAMPLES + _EMPTY)


any_ = _logical("any", np.any)
all_ = _logical("all", np.all)


def _scan_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    return types[0].with_shape(types[0].shape)


def _scan_numpy(numpy: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, axis: int, reverse: bool) -> Any:
        turned = np.flip(x, axis) if reverse else x
        out = numpy(turned, axis=axis, dtype=x.dtype)
        return np.ascontiguousarray(np.flip(out, axis)) if reverse else out

    return run


_SCANS = tuple(Sample((shape,), {"axis": axis, "reverse": reverse})
               for shape, axis in [((7,), 0), ((3, 40), 1), ((4, 3), 0), ((0,), 0)]
               for reverse in (False, True))

cumsum: Op = linear(
    "cumsum", _scan_type, _scan_numpy(np.cumsum),
    lambda ct, xs, attrs: [cumsum(ct, axis=attrs["axis"], reverse=not attrs["reverse"])],
    kinds="iuf", samples=_SCANS,
)


def _cumprod_jvp(xs: Any, out: Value, attrs: Attrs, tangents: Any) -> Value | None:
    """Σ over j ≤ i of dx_j · (out_i / x_j), the quotient formed as a product without division."""
    return tangents[0] and _cumprod_linear(xs[0], attrs, tangents[0], transposed=False)


def _cumprod_vjp(
    xs: Any, out: Value, attrs: Attrs, ct: Cotangent, needed: Any
) -> list[Cotangent | None]:
    return ct.weighted(lambda v: [_cumprod_linear(xs[0], attrs, v, transposed=True)])


def _cumprod_linear(x: Value, attrs: Attrs, t: Value, transposed: bool) -> Value:
    """Apply the Jacobian J[i, j] = Π_{k ≤ i, k ≠ j} x_k (j ≤ i), built as one n×n array."""
    from gradc.ir import ops

    axis, rank, n = attrs["axis"], len(x.shape), x.shape[attrs["axis"]]
    perm = (*(k for k in range(rank) if k != axis), axis)
    back = tuple(int(i) for i in np.argsort(perm))
    rows, moved = ops.transpose(x, perm=perm), ops.transpose(t, perm=perm)
    square = (*rows.shape[:-1], n, n)
    wide = ops.broadcast(ops.reshape(rows, shape=(*rows.shape[:-1], 1, n)), shape=square)
    eye = ops.const(x.builder, np.broadcast_to(np.eye(n, dtype=bool), square))
    # others[..., j, i] = the product up to i with x_j replaced by one
    others = cumprod(ops.where(eye, ops.full_like(wide, 1), wide), axis=rank,
                     reverse=attrs["reverse"])
    order = np.triu(np.ones((n, n), bool)) if not attrs["reverse"] else np.tril(
        np.ones((n, n), bool))
    mask = ops.const(x.builder, np.broadcast_to(order, square))
    jacobian = ops.where(mask, others, ops.full_like(others, 0))
    shape = (*moved.shape[:-1], 1, n) if transposed else (*moved.shape[:-1], n, 1)
    weighted = jacobian * ops.broadcast(ops.reshape(moved, shape=shape), shape=square)
    return ops.transpose(sum_(weighted, axes=(rank if transposed else rank - 1,)), perm=back)


cumprod = Op(name="cumprod", family="reduction", infer=_scan_type, kinds="iuf",
             numpy=_scan_numpy(np.cumprod), jvp=_cumprod_jvp, vjp=_cumprod_vjp, samples=_SCANS)
