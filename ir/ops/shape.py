"""Linear ops that move elements: each is described by its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import Attrs, Op, Sample, linear
from gradc.ir.ops.cotangent import Cotangent
from gradc.ir.types import Shape, TensorType, broadcast_shapes


def _reshape_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    out = types[0].with_shape(attrs["shape"])
    if out.size != types[0].size:
        raise ValueError(f"cannot reshape {types[0]} to {attrs['shape']}")
    return out


reshape: Op = linear(
    "reshape", _reshape_type, lambda x, shape: np.reshape(x, shape),
    lambda ct, xs, attrs: [reshape(ct, shape=xs[0].shape)],
    under=Cotangent.moved,
    samples=(Sample(((2, 6),), {"shape": (3, 4)}), Sample(((4,),), {"shape": (1, 4, 1)}),
             Sample(((1,),), {"shape": ()}), Sample(((0, 3),), {"shape": (3, 0)})),
)


def _transpose_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    perm = attrs["perm"]
    if sorted(perm) != list(range(types[0].rank)):
        raise ValueError(f"transpose: {perm} is no permutation of the axes of {types[0]}")
    return types[0].with_shape([types[0].shape[axis] for axis in perm])


transpose: Op = linear(
    "transpose", _transpose_type, lambda x, perm: np.transpose(x, perm),
    lambda ct, xs, attrs: [transpose(ct, perm=tuple(int(i) for i in np.argsort(attrs["perm"])))],
    under=Cotangent.moved,
    samples=(Sample(((3, 5),), {"perm": (1, 0)}), Sample(((2, 3, 4),), {"perm": (2, 0, 1)}),
             Sample(((17, 20),), {"perm": (1, 0)}), Sample(((2, 3, 4),), {"perm": (0, 2, 1)}),
             Sample(((0, 2),), {"perm": (1, 0)})),
)


def _broadcast_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    shape = tuple(attrs["shape"])
    if broadcast_shapes(types[0].shape, shape) != shape:
        raise ValueError(f"cannot broadcast {types[0]} to {shape}")
    return types[0].with_shape(shape)


def unbroadcast(ct: Value, shape: Shape) -> Value:
    """Sum over the axes that a broadcast from ``shape`` made or stretched."""
    from gradc.ir.ops.reduction import sum_

    lead = len(ct.shape) - len(shape)
    stretched = [lead + k for k, d in enumerate(shape) if d == 1 and ct.shape[lead + k] != 1]
    axes = (*range(lead), *stretched)
    out = sum_(ct, axes=axes) if axes else ct
    return out if out.shape == shape else reshape(out, shape=shape)


broadcast = linear(
    "broadcast", _broadcast_type, lambda x, shape: np.broadcast_to(x, shape).copy(),
    lambda ct, xs, attrs: [unbroadcast(ct, xs[0].shape)],
    under=Cotangent.summed,
    samples=(Sample(((),), {"shape": (3, 4)}), Sample(((4,),), {"shape": (3, 4)}),
             Sample(((3, 1),), {"shape": (3, 19)}), Sample(((1,),), {"shape": (0,)}),
             Sample(((1, 3, 1),), {"shape": (5, 2, 3, 4)})),
)


def region(shape: Shape, attrs: Attrs) -> tuple[slice, ...]:
    """starts, sizes and steps as NumPy slices over an array of ``shape``."""
    out = []
    for start, size, step in zip(attrs["starts"], attrs["sizes"], attrs["steps"], strict=True):
        stop = start + size * step
        out.append(slice(start, stop if stop >= 0 else None, step) if size else slice(0, 0))
    return tuple(out)


def _check_region(shape: Shape, sizes: Shape, attrs: Attrs) -> None:
    for d, start, size, step in zip(shape, attrs["starts"], sizes, attrs["steps"], strict=True):
        last = start + (size - 1) * step
        if size and not (0 <= start < d and 0 <= last < d):
            raise ValueError(f"region {dict(attrs)} leaves an array of shape {shape}")


def _slice_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_region(types[0].shape, attrs["sizes"], attrs)
    return types[0].with_shape(attrs["sizes"])


slice_ = linear(
    "slice", _slice_type,
    lambda x, starts, sizes, steps: x[
        region(x.shape, {"starts": starts, "sizes": sizes, "steps": steps})].copy(),
    lambda ct, xs, attrs: [
        embed(ct, shape=xs[0].shape, starts=attrs["starts"], steps=attrs["steps"])],
    under=Cotangent.moved,
    samples=(Sample(((7,),), {"starts": (1,), "sizes": (3,), "steps": (2,)}),
             Sample(((7,),), {"starts": (6,), "sizes": (7,), "steps": (-1,)}),
             Sample(((4, 5),), {"starts": (1, 0), "sizes": (2, 5), "steps": (1, 1)}),
             Sample(((4, 30),), {"starts": (3, 2), "sizes": (2, 27), "steps": (-2, 1)}),
             Sample(((4,),), {"starts": (0,), "sizes": (0,), "steps": (1,)})),
)


def _embed_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    _check_region(attrs["shape"], types[0].shape, attrs)
    return types[0].with_shape(attrs["shape"])


def _embed_numpy(x: Any, shape: Shape, starts: Shape, steps: Shape) -> Any:
    out = np.zeros(shape, x.dtype)
    out[region(shape, {"starts": starts, "sizes": x.shape, "steps": steps})] = x
    return out


embed: Op = linear(
    "embed", _embed_type, _embed_numpy,
    lambda ct, xs, attrs: [
        slice_(ct, starts=attrs["starts"], sizes=xs[0].shape, steps=attrs["steps"])],
    under=Cotangent.moved,
    samples=(Sample(((3,),), {"shape": (7,), "starts": (1,), "steps": (2,)}),
             Sample(((2, 5),), {"shape": (4, 30), "starts": (3, 2), "steps": (-2, 3)}),
             Sample(((0,),), {"shape": (4,), "starts": (0,), "steps": (1,)})),
)


def _update_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    x, u = types
    _check_region(x.shape, u.shape, attrs)
    if x.dtype != u.dtype:
        raise TypeError(f"update_slice: {u} into {x}")
    return x.with_shape(x.shape)


def _update_numpy(x: Any, u: Any, starts: Shape, steps: Shape) -> Any:
    out = np.array(x)
    out[region(out.shape, {"starts": starts, "sizes": u.shape, "steps": steps})] = u
    return out


def _update_transpose(ct: Value, xs: Sequence[Value], attrs: Attrs) -> list[Value | None]:
    from gradc.ir.ops import full

    where = {"starts": attrs["starts"], "steps": attrs["steps"]}
    return [update_slice(ct, full(ct, xs[1].shape, 0), **where),
            slice_(ct, sizes=xs[1].shape, **where)]


update_slice = linear(
    "update_slice", _update_type, _update_numpy, _update_transpose, operands=2,
    under=Cotangent.moved,
    samples=(Sample(((7,), (3,)), {"starts": (1,), "steps": (2,)}),
             Sample(((4, 20), (2, 17)), {"starts": (3, 2), "steps": (-1, 1)}),
             Sample(((4,), (0,)), {"starts": (0,), "steps": (1,)}),
             Sample(((), ()), {"starts": (), "steps": ()})),
)


def _concat_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    axis = attrs["axis"]
    first = types[0]
    for t in types:
        same = t.rank == first.rank and all(
            a == b for k, (a, b) in enumerate(zip(t.shape, first.shape, strict=True)) if k != axis)
        if t.dtype != first.dtype or not same:
            raise ValueError(f"concat along axis {axis}: {', '.join(map(str, types))}")
    shape = list(first.shape)
    shape[axis] = sum(t.shape[axis] for t in types)
    return first.with_shape(shape)


def _concat_transpose(ct: Value, xs: Sequence[Value], attrs: Attrs) -> list[Value]:
    out, at = [], 0
    for x in xs:
        starts = [0] * len(x.shape)
        starts[attrs["axis"]] = at
        at += x.shape[attrs["axis"]]
        out.append(slice_(ct, starts=tuple(starts), sizes=x.shape, steps=(1,) * len(x.shape)))
    return out


concat = linear(
    "concat", _concat_type, lambda *xs, axis: np.concatenate(xs, axis), _concat_transpose,
    operands=None, under=Cotangent.moved,
    samples=(Sample(((2,), (3,), (1,)), {"axis": 0}), Sample(((2, 3), (2, 20)), {"axis": 1}),
             Sample(((1, 4), (0, 4)), {"axis": 0})),
)
