"""Rules on slices, embeddings, updates, concatenations and indexed reads.

All are exact but one, which says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import constant_number
from gradc.ir.passes.rewriter import Draft, Rule
from gradc.ir.passes.structure import full, is_op, local
from gradc.ir.types import Shape


def _whole(shape: Shape, starts: Shape, sizes: Shape, steps: Shape) -> bool:
    """Whether a region is all of an array, in order."""
    return sizes == shape and all(
        d <= 1 or (start, step) == (0, 1)
        for d, start, step in zip(shape, starts, steps, strict=True))


def _span(start: int, size: int, step: int) -> tuple[int, int]:
    """The first and last place of a progression."""
    ends = (start, start + (size - 1) * step)
    return min(ends), max(ends)


def _apart(starts: Shape, sizes: Shape, steps: Shape,
           starts2: Shape, sizes2: Shape, steps2: Shape) -> bool:
    """Whether two regions have no place in common (True only when sure)."""
    for a, n, s, b, m, t in zip(starts, sizes, steps, starts2, sizes2, steps2, strict=True):
        low, high = _span(a, n, s)
        low2, high2 = _span(b, m, t)
        if high < low2 or high2 < low or (abs(s) == abs(t) and (a - b) % abs(s)):
            return True
    return False


@local("slice")
def slice_whole(draft: Draft) -> Value | None:
    """All of an array is the array."""
    (x,) = draft.operands
    at = draft.attrs
    return x if _whole(x.shape, at["starts"], at["sizes"], at["steps"]) else None


@local("slice")
def slice_slice(draft: Draft) -> Value | None:
    """Two slices in a row are one."""
    (x,) = draft.operands
    if not is_op(x, "slice"):
        return None
    inner, outer = x.node.attrs, draft.attrs
    starts = tuple(a + s * b for a, s, b in zip(
        inner["starts"], inner["steps"], outer["starts"], strict=True))
    steps = tuple(s * t for s, t in zip(inner["steps"], outer["steps"], strict=True))
    return ops.slice_(x.operands[0], starts=starts, sizes=outer["sizes"], steps=steps)


@local("slice")
def slice_broadcast(draft: Draft) -> Value | None:
    """Slice the smaller array; along broadcast axes only the extent changes."""
    (x,) = draft.operands
    if not is_op(x, "broadcast"):
        return None
    source = x.operands[0]
    lead = len(x.shape) - len(source.shape)
    starts, sizes, steps = [], [], []
    for k, d in enumerate(source.shape):
        own = d == x.shape[lead + k]
        starts.append(draft.attrs["starts"][lead + k] if own else 0)
        sizes.append(draft.attrs["sizes"][lead + k] if own else 1)
        steps.append(draft.attrs["steps"][lead + k] if own else 1)
    small = ops.slice_(source, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))
    return ops.broadcast(small, shape=draft.type.shape)


@local("slice")
def slice_update(draft: Draft) -> Value | None:
    """Read what was written, or past it."""
    (x,) = draft.operands
    if not is_op(x, "update_slice"):
        return None
    base, update = x.operands
    wrote, at = x.node.attrs, draft.attrs
    region = (at["starts"], at["sizes"], at["steps"])
    written = (wrote["starts"], update.shape, wrote["steps"])
    if region == written:
        return update
    return ops.slice_(base, **at) if _apart(*region, *written) else None


@local("slice")
def slice_embed(draft: Draft) -> Value | None:
    """Read what was embedded, or the zeros beside it."""
    (x,) = draft.operands
    if not is_op(x, "embed"):
        return None
    inner, at = x.node.attrs, draft.attrs
    region = (at["starts"], at["sizes"], at["steps"])
    placed = (inner["starts"], x.operands[0].shape, inner["steps"])
    if region == placed:
        return x.operands[0]
    return full(draft, 0) if _apart(*region, *placed) else None


@local("slice")
def slice_concat(draft: Draft) -> Value | None:
    """A slice within one piece of a concatenation is a slice of that piece."""
    (x,) = draft.operands
    if not is_op(x, "concat"):
        return None
    axis, at = x.node.attrs["axis"], draft.attrs
    low, high = _span(at["starts"][axis], at["sizes"][axis], at["steps"][axis])
    before = 0
    for piece in x.operands:
        extent = piece.shape[axis]
        if before <= low and high < before + extent:
            starts = tuple(s - before if k == axis else s for k, s in enumerate(at["starts"]))
            return ops.slice_(piece, starts=starts, sizes=at["sizes"], steps=at["steps"])
        before += extent
    return None


@local("slice")
def slice_of_one(draft: Draft) -> Value | None:
    """A step along an axis of which one place is read does not matter."""
    at = draft.attrs
    steps = tuple(1 if n <= 1 else s for n, s in zip(at["sizes"], at["steps"], strict=True))
    if steps == at["steps"]:
        return None
    return ops.slice_(draft.operands[0], starts=at["starts"], sizes=at["sizes"], steps=steps)


@local("embed")
def embed_whole(draft: Draft) -> Value | None:
    """An embedding without margins."""
    (x,) = draft.operands
    at = draft.attrs
    return x if _whole(at["shape"], at["starts"], x.shape, at["steps"]) else None


@local("embed")
def embed_zero(draft: Draft) -> Value | None:
    """Zeros in zeros."""
    number = draft.builder.numbers[draft.operands[0].id]
    return full(draft, 0) if number == 0 and np.copysign(1, number) == 1 else None


@local("update_slice")
def update_whole(draft: Draft) -> Value | None:
    """A write of everything."""
    x, u = draft.operands
    return u if _whole(x.shape, draft.attrs["starts"], u.shape, draft.attrs["steps"]) else None


@local("update_slice")
def update_nothing(draft: Draft) -> Value | None:
    """A write of nothing."""
    x, u = draft.operands
    return x if u.type.size == 0 else None


@local("update_slice")
def update_update(draft: Draft) -> Value | None:
    """A second write to the same region hides the first."""
    x, u = draft.operands
    if is_op(x, "update_slice") and x.node.attrs == draft.attrs and x.operands[1].shape == u.shape:
        return ops.update_slice(x.operands[0], u, **draft.attrs)
    return None


@local("update_slice")
def update_same(draft: Draft) -> Value | None:
    """Writing what is there already."""
    x, u = draft.operands
    numbers = draft.builder.numbers
    if is_op(u, "slice") and u.node.operands == (x.id,) and all(
        u.node.attrs[k] == draft.attrs[k] for k in ("starts", "steps")
    ):
        return x
    same = numbers[x.id] is not None and is_op(x, "broadcast") and is_op(u, "broadcast") and (
        x.node.operands == u.node.operands)
    return x if same else None


@local("update_slice")
def update_zeros(draft: Draft) -> Value | None:
    """A write into zeros is an embedding."""
    x, u = draft.operands
    number = draft.builder.numbers[x.id]
    if number is None or number != 0 or np.copysign(1, number) != 1:
        return None
    return ops.embed(u, shape=x.shape, **draft.attrs)


@local("concat")
def concat_one(draft: Draft) -> Value | None:
    """Pieces without elements are left out; one piece is itself."""
    pieces = [x for x in draft.operands if x.type.size]
    if len(pieces) == 1:
        return pieces[0]
    return ops.concat(*pieces, **draft.attrs) if len(pieces) < len(draft.operands) else None


def _progression(index: np.ndarray[Any, Any], extent: int) -> tuple[int, int, int] | None:
    """start, size, step of indices in bounds that form one."""
    flat = np.where(index < 0, index + extent, index).reshape(-1)
    if flat.size == 0 or flat.min() < 0 or flat.max() >= extent:
        return None
    step = int(flat[1] - flat[0]) if flat.size > 1 else 1
    if step == 0 or (np.diff(flat) != step).any():
        return None
    return int(flat[0]), flat.size, step


def _constant_region(
    draft: Draft, x: Value, indices: Sequence[Value]
) -> tuple[Shape, Shape, Shape] | None:
    """starts, sizes and steps of what constant indices read, if it is a region."""
    if len(indices) > 1 and indices[0].type.size != 1:
        return None
    starts, sizes, steps = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
    for axis, index in enumerate(indices):
        array = draft.builder.constant(index.id)
        found = None if array is None else _progression(array, x.shape[axis])
        if found is None:
            return None
        starts[axis], sizes[axis], steps[axis] = found
    return tuple(starts), tuple(sizes), tuple(steps)


def gathered(value: Value, indices: Sequence[Value]) -> Value:
    """A gather that skips the axes along which its operand is a copy.

    The bounds of the indices left out are not checked: another gather must do that.
    """
    if not is_op(value, "broadcast"):
        return ops.gather(value, *indices)
    source = value.operands[0]
    shape = (1,) * (len(value.shape) - len(source.shape)) + source.shape
    count = len(indices)
    own = [axis for axis in range(count) if shape[axis] == value.shape[axis]]
    small = ops.reshape(source, shape=(*(shape[axis] for axis in own), *shape[count:]))
    if own:
        small = ops.gather(small, *(indices[axis] for axis in own))
    return ops.broadcast(small, shape=(*indices[0].shape, *value.shape[count:]))


@local("gather")
def gather_of_copies(draft: Draft) -> Value | None:
    """x − m, where m is a copy for every index: read x, and m once."""
    x, *indices = draft.operands
    if x.node.op.name not in ("add", "sub", "mul", "div") or x.node.fence:
        return None
    few = draft.type.size * 8 <= x.type.size  # to compute them again spares x its memory
    if (draft.builder.shared(x) and not few) or draft.type.size > x.type.size:
        return None
    copies = [is_op(operand, "broadcast") for operand in x.operands]
    if sum(copies) != 1:
        return None
    parts = [gathered(operand, indices) if copy else ops.gather(operand, *indices)
             for operand, copy in zip(x.operands, copies, strict=True)]
    return draft.builder.add(x.node.op, parts)


@local("gather")
def gather_constant(draft: Draft) -> Value | None:
    """Constant indices in steps of one length read a slice."""
    x, *indices = draft.operands
    region = _constant_region(draft, x, indices)
    if region is None:
        return None
    starts, sizes, steps = region
    return ops.reshape(ops.slice_(x, starts=starts, sizes=sizes, steps=steps),
                       shape=draft.type.shape)


@local("gather")
def gather_written(draft: Draft) -> Value | None:
    """Read the element or row that was just written."""
    x, *indices = draft.operands
    if not is_op(x, "scatter_set") or any(index.shape for index in indices):
        return None
    _, u, *written = x.operands
    return u if [i.id for i in written] == [i.id for i in indices] else None


@local("scatter_set")
def scatter_set_constant(draft: Draft) -> Value | None:
    """Constant indices in steps of one length write a slice."""
    x, u, *indices = draft.operands
    region = _constant_region(draft, x, indices)
    if region is None:
        return None
    starts, sizes, steps = region
    return ops.update_slice(x, ops.reshape(u, shape=sizes), starts=starts, steps=steps)


@local("scatter_add")
def scatter_add_constant(draft: Draft) -> Value | None:
    """Constant indices in steps of one length add to a slice."""
    x, u, *indices = draft.operands
    region = _constant_region(draft, x, indices)
    if region is None:
        return None
    starts, sizes, steps = region
    old = ops.slice_(x, starts=starts, sizes=sizes, steps=steps)
    return ops.update_slice(x, old + ops.reshape(u, shape=sizes), starts=starts, steps=steps)


@local("add")
def add_scattered(draft: Draft) -> Value | None:
    """What is scattered into zeros and added is scattered into the other addend.

    So the cotangent of an indexed read goes into the running cotangent. The terms of an element
    are added in another order, which a sum of contributions leaves open.
    """
    for scattered, other in (draft.operands, draft.operands[::-1]):
        if not is_op(scattered, "scatter_add") or draft.builder.shared(scattered):
            continue
        base, u, *indices = scattered.operands
        if constant_number(base) == 0:
            return ops.scatter_add(other, u, *indices)
    return None


REGIONS: tuple[Rule, ...] = (
    *slice_whole, *slice_of_one, *slice_slice, *slice_broadcast, *slice_update, *slice_embed,
    *slice_concat, *embed_whole, *embed_zero, *update_nothing, *update_whole, *update_update,
    *update_same, *update_zeros, *concat_one, *gather_constant, *gather_of_copies, *gather_written,
    *scatter_set_constant, *scatter_add_constant, *add_scattered, )
