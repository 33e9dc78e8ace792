"""Rules on shapes: broadcasts, reshapes, transposes, conversions, reductions. All are exact but the
one that is ``relaxed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.passes.rewriter import Draft, Rule
from gradc.ir.types import BOOL, broadcast_shapes, reduced_shape

Rewrite = Callable[[Draft], Value | None]


def local(
    *op_names: str, accurate: bool = False, relaxed: bool = False
) -> Callable[[Rewrite], list[Rule]]:
    """Make a function a rule on each of these ops, named after the function."""
    return lambda function: [
        Rule(function.__name__, name, function, relaxed, accurate) for name in op_names
    ]


def is_op(value: Value, name: str) -> bool:
    """Whether a value comes from this op and may be looked through (it has no fence)."""
    return value.node.op.name == name and not value.node.fence


def full(draft: Draft, number: float) -> Value:
    """A number in every element of what the draft would give."""
    return draft.builder.value(draft.builder._full(
        np.asarray(number).astype(draft.type.dtype), draft.type.shape))


# -- broadcasts ----------------------------------------------------------------------------------


@local("broadcast", "reshape")
def same_shape(draft: Draft) -> Value | None:
    """A broadcast or reshape to the shape it has already."""
    (x,) = draft.operands
    return x if x.shape == draft.type.shape else None


@local("broadcast")
def broadcast_broadcast(draft: Draft) -> Value | None:
    """Two broadcasts in a row are one."""
    (x,) = draft.operands
    if is_op(x, "broadcast"):
        return ops.broadcast(x.operands[0], shape=draft.type.shape)
    return None


@local("broadcast")
def broadcast_number(draft: Draft) -> Value | None:
    """A number is broadcast from a scalar."""
    (x,) = draft.operands
    number = draft.builder.numbers[x.id]
    return full(draft, number) if number is not None and x.shape else None


@local("broadcast")
def broadcast_reshape(draft: Draft) -> Value | None:
    """A reshape that only adds or drops leading ones is part of the broadcast."""
    (x,) = draft.operands
    if is_op(x, "reshape"):
        source = x.operands[0]
        rank = min(len(source.shape), len(x.shape))
        lead = source.shape[: len(source.shape) - rank] + x.shape[: len(x.shape) - rank]
        aligned = source.shape[len(source.shape) - rank :] == x.shape[len(x.shape) - rank :]
        if aligned and set(lead) <= {1} and len(source.shape) <= draft.type.rank:
            return ops.broadcast(source, shape=draft.type.shape)
    return None


@local("broadcast")
def broadcast_of_one_element(draft: Draft) -> Value | None:
    """Only axes are added and all are one: a reshape, which moves nothing."""
    (x,) = draft.operands
    if x.type.size == draft.type.size and draft.type.size:
        return ops.reshape(x, shape=draft.type.shape)
    return None


def _extents(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(d for d in shape if d != 1)


@local("reshape")
def reshape_broadcast(draft: Draft) -> Value | None:
    """A reshape that adds or drops ones moves before the broadcast."""
    (x,) = draft.operands
    shape = draft.type.shape
    if not is_op(x, "broadcast"):
        return None
    source = x.operands[0]
    if source.type.size == 1:
        if source.shape:
            source = ops.reshape(source, shape=())
        return ops.broadcast(source, shape=shape)
    if _extents(x.shape) != _extents(shape):
        return None
    lead = len(x.shape) - len(source.shape)
    positions = [axis for axis, d in enumerate(shape) if d != 1]
    wide = [axis for axis, d in enumerate(x.shape) if d != 1]
    target = [1] * len(shape)
    for axis, position in zip(wide, positions, strict=True):
        if axis >= lead:
            target[position] = source.shape[axis - lead]
    return ops.broadcast(ops.reshape(source, shape=tuple(target)), shape=shape)


@local("reshape")
def reshape_reshape(draft: Draft) -> Value | None:
    """Of two reshapes the last counts."""
    (x,) = draft.operands
    if is_op(x, "reshape"):
        return ops.reshape(x.operands[0], shape=draft.type.shape)
    return None


@local("transpose")
def transpose_identity(draft: Draft) -> Value | None:
    """A transpose that leaves every axis."""
    perm = draft.attrs["perm"]
    return draft.operands[0] if perm == tuple(range(len(perm))) else None


@local("transpose")
def transpose_transpose(draft: Draft) -> Value | None:
    """Two transposes in a row are one."""
    (x,) = draft.operands
    if is_op(x, "transpose"):
        inner = x.node.attrs["perm"]
        return ops.transpose(x.operands[0], perm=tuple(inner[k] for k in draft.attrs["perm"]))
    return None


@local("transpose")
def transpose_of_ones(draft: Draft) -> Value | None:
    """A transpose that moves only axes of extent one moves no element."""
    (x,) = draft.operands
    moved = [axis for axis in draft.attrs["perm"] if x.shape[axis] != 1]
    return ops.reshape(x, shape=draft.type.shape) if moved == sorted(moved) else None


@local("transpose")
def transpose_broadcast(draft: Draft) -> Value | None:
    """The smaller array is transposed, then broadcast."""
    (x,) = draft.operands
    if not is_op(x, "broadcast"):
        return None
    source = x.operands[0]
    lead = len(x.shape) - len(source.shape)
    padded = ops.reshape(source, shape=(1,) * lead + source.shape)
    return ops.broadcast(ops.transpose(padded, perm=draft.attrs["perm"]), shape=draft.type.shape)


def elementwise_of_broadcasts(draft: Draft) -> Value | None:
    """Operands that are all broadcast: compute what differs once, then broadcast the result."""
    shape = draft.type.shape
    if not shape:
        return None
    sources = []
    for operand in draft.operands:
        if not is_op(operand, "broadcast"):
            return None
        sources.append(operand.operands[0])
    joint = broadcast_shapes(*(s.shape for s in sources))
    if joint == shape:
        return None
    if len(set(joint)) <= 1 and set(joint) <= {1}:
        joint = ()
        sources = [ops.reshape(s, shape=()) for s in sources]
    moved = [ops.broadcast(s, shape=joint) for s in sources]
    return ops.broadcast(draft.builder.add(draft.op, moved, **draft.attrs), shape=shape)


# -- conversions ---------------------------------------------------------------------------------


@local("convert")
def convert_same(draft: Draft) -> Value | None:
    """A conversion to the dtype it has already."""
    (x,) = draft.operands
    return x if x.dtype == draft.type.dtype else None


@local("convert")
def convert_convert(draft: Draft) -> Value | None:
    """A conversion that loses nothing is skipped on the way to another."""
    (x,) = draft.operands
    if not is_op(x, "convert"):
        return None
    source, middle, result = x.operands[0], x.dtype, draft.type.dtype
    exact = np.can_cast(source.dtype, middle) and not (
        source.dtype.kind in "iu" and source.dtype.itemsize == 8 and middle.kind == "f")
    # An integer out of range wraps, a float out of range does not.
    if exact and (middle.kind != "f" or result.kind in "fb" or np.can_cast(source.dtype, result)):
        return ops.convert(source, dtype=result)
    return None


def quotient_of_truth(draft: Draft) -> Value | None:
    """A truth as a number, over what is spread: the two quotients there are, before they spread.

    The slopes of maxima and minima are shared out in this way among equal elements.
    """
    truth, number = draft.operands
    if not (is_op(truth, "convert") and is_op(number, "broadcast")):
        return None
    (condition,), (source,) = truth.operands, number.operands
    smaller = source.type.size < number.type.size
    if condition.dtype != BOOL or draft.type.dtype.kind != "f" or not smaller:
        return None
    one, zero = (
        ops.broadcast(ops.full(source, source.shape, value) / source, shape=draft.type.shape)
        for value in (1, 0)
    )
    return ops.where(condition, one, zero)


# -- reductions ----------------------------------------------------------------------------------

_FOLDS = ("sum", "prod", "max", "min", "any", "all")


@local(*_FOLDS)
def reduce_nothing(draft: Draft) -> Value | None:
    """Over axes of extent one. (NumPy adds a lone −0 to 0; here it stays what it is.)"""
    (x,) = draft.operands
    if all(x.shape[axis] == 1 for axis in draft.attrs["axes"]):
        return ops.reshape(x, shape=draft.type.shape)
    return None


@local(*_FOLDS)
def reduce_reduce(draft: Draft) -> Value | None:
    """Two reductions in a row are one over the axes of both."""
    (x,) = draft.operands
    if not is_op(x, draft.op.name) or draft.builder.shared(x):
        return None
    source, inner = x.operands[0], x.node.attrs["axes"]
    kept = [axis for axis in range(len(source.shape)) if axis not in inner]
    outer = [kept[axis] for axis in draft.attrs["axes"]]
    return draft.builder.add(draft.op, [source], axes=tuple(sorted((*inner, *outer))))


@local(*_FOLDS)
def reduce_broadcast(draft: Draft) -> Value | None:
    """Axes that were broadcast and are kept are broadcast after the reduction."""
    (x,) = draft.operands
    axes = draft.attrs["axes"]
    if not is_op(x, "broadcast"):
        return None
    source = x.operands[0]
    lead = len(x.shape) - len(source.shape)
    if any(a < lead or source.shape[a - lead] != x.shape[a] for a in axes):
        return None
    small = draft.builder.add(draft.op, [source], axes=tuple(a - lead for a in axes))
    return ops.broadcast(small, shape=draft.type.shape)


@local("sum", relaxed=True)
def sum_of_scaled(draft: Draft) -> Value | None:
    """A factor that is the same for all terms is taken out."""
    (x,) = draft.operands
    axes = draft.attrs["axes"]
    if not is_op(x, "mul") or x.dtype.kind != "f" or draft.builder.shared(x):
        return None
    for factor, other in (x.operands, x.operands[::-1]):
        if not is_op(factor, "broadcast"):
            continue
        source = factor.operands[0]
        narrow = (1,) * (len(factor.shape) - len(source.shape)) + source.shape
        if all(narrow[axis] == 1 for axis in axes):
            scale = ops.reshape(source, shape=reduced_shape(narrow, axes))
            return ops.sum_(other, axes=axes) * ops.broadcast(scale, shape=draft.type.shape)
    return None


@local("max", "min", "any", "all")
def idempotent_reduce_broadcast(draft: Draft) -> Value | None:
    """Copies do not change an extremum: a broadcast axis is not reduced but dropped."""
    (x,) = draft.operands
    if not is_op(x, "broadcast") or not x.type.size:
        return None
    source = x.operands[0]
    lead = len(x.shape) - len(source.shape)
    padded = ops.reshape(source, shape=(1,) * lead + source.shape)
    narrow = tuple(1 if a in draft.attrs["axes"] and padded.shape[a] == 1 else d
                   for a, d in enumerate(x.shape))
    if narrow == x.shape:
        return None
    return draft.builder.add(draft.op, [ops.broadcast(padded, shape=narrow)], **draft.attrs)


@local(*_FOLDS)
def reduce_transpose(draft: Draft) -> Value | None:
    """A transpose before a reduction, when what is left stays in order."""
    (x,) = draft.operands
    if not is_op(x, "transpose"):
        return None
    perm = x.node.attrs["perm"]
    reduced = [perm[axis] for axis in draft.attrs["axes"]]
    kept = [axis for axis in perm if axis not in reduced]
    if kept != sorted(kept):
        return None
    return draft.builder.add(draft.op, [x.operands[0]], axes=tuple(sorted(reduced)))


@local(*_FOLDS)
def reduce_reshape(draft: Draft) -> Value | None:
    """Everything is reduced, or only ones were added: the reshape does not matter."""
    (x,) = draft.operands
    axes = draft.attrs["axes"]
    if not is_op(x, "reshape"):
        return None
    source = x.operands[0]
    if draft.type.size == 1 and len(_extents(x.shape)) == len(
        _extents([x.shape[a] for a in axes])
    ):
        whole = draft.builder.add(draft.op, [source], axes=tuple(range(len(source.shape))))
        return ops.reshape(whole, shape=draft.type.shape)
    if _extents(source.shape) != _extents(x.shape):
        return None
    wide = [axis for axis, d in enumerate(x.shape) if d != 1]
    places = [axis for axis, d in enumerate(source.shape) if d != 1]
    inner = tuple(place for axis, place in zip(wide, places, strict=True) if axis in axes)
    small = draft.builder.add(draft.op, [source], axes=inner)
    return ops.reshape(small, shape=draft.type.shape)


@local("cumsum", "cumprod")
def scan_of_one(draft: Draft) -> Value | None:
    """A running sum or product of one element."""
    (x,) = draft.operands
    return x if x.shape[draft.attrs["axis"]] == 1 else None


STRUCTURE: tuple[Rule, ...] = (
    *same_shape, *broadcast_number, *broadcast_broadcast, *broadcast_reshape,
    *broadcast_of_one_element, *reshape_broadcast, *reshape_reshape, *transpose_identity,
    *transpose_transpose, *transpose_of_ones, *transpose_broadcast, *convert_same,
    *convert_convert, *reduce_nothing, *reduce_reduce, *reduce_broadcast,
    *sum_of_scaled, *idempotent_reduce_broadcast, *reduce_transpose, *reduce_reshape,
    *scan_of_one,
    Rule("quotient_of_truth", "div", quotient_of_truth, heads=(("convert", "broadcast"),)),
)

#: tried before all others, on every elementwise op
LIFT: tuple[Rule, ...] = tuple(
    Rule("elementwise_of_broadcasts", op.name, elementwise_of_broadcasts,
         heads=(("broadcast",) * 3,))
    for op in ops.REGISTRY.values() if op.family == "elementwise"
)
