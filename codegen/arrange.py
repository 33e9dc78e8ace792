"""What lies in the lanes of a nest's vectors: the inner loop, or rows.

Usually the last inner loop goes in vectors, row by row, and what is computed once a row is
scalar. Where that scalar work is long (a logistic function of each row) it is done for a block of
rows at a time. Where the inner loops are short, and their reductions a matter of shuffling lanes,
the whole nest may go across the rows instead: each lane is a row, and the inner loops are serial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

import numpy as np

from gradc.codegen.collapse import remapped
from gradc.codegen.loops import Nest, Phase
from gradc.codegen.statements import (
    MATH_COST,
    Accumulate,
    Affine,
    Buffer,
    Compute,
    Gather,
    Literal,
    Load,
    Reduce,
    Statement,
    Store,
    cost,
    flops_of,
    uses,
)
from gradc.codegen.targets import Target

#: What follows was fitted to nests of 3 to 100 elements a row, timed in every way.
#: flops of reading, and of writing, one element of a vector whose elements lie apart
GATHERED, SCATTERED = 0.6, 0.7
#: instructions of vector math, for a vector and for one number, for each flop it is taken to cost
CALL, SCALAR_CALL = 2, 2.5
#: flops of a row's value on its way from lanes to a scalar or back; the loop over them has three
CROSSING = 1
#: flops of combining the lanes of a vector, for each halving
HALVING = 2
#: bytes that the nearest cache holds: sweep after sweep of more than that reads from the next
NEAR = 1 << 15
#: flops of inner loops across rows that are written out rather than loops
WRITTEN_OUT = 320
#: bytes of what rows keep from one sweep to the next, if every row has its own
KEPT = 1 << 15
#: rows at least of a loop that is cut for the sake of what they keep
FEWEST = 32
#: rows that must read a transposed copy for it to pay
COPIED = 4

Scratch = Callable[[np.dtype[Any], int], Buffer]


class Way(Enum):
    """What lies in the lanes of a nest's vectors."""

    SWEEP = "the inner loop, row by row"
    BLOCK = "rows for what is computed once a row, else the inner loop"
    ACROSS = "rows"


def arrange(nest: Nest, target: Target, scratch: Scratch) -> list[Nest]:
    """The nest with its lanes chosen, after the copies that it reads in place of its operands."""
    if not nest.outer or not math.prod(nest.outer) or not math.prod(nest.inner):
        return [nest]
    cut = _cut(nest)
    costs = estimates(cut, target)
    match min(costs, key=lambda way: costs[way]):
        case Way.ACROSS:
            cut = _keep_each(cut, scratch)
            return _across(cut, _rows_across(cut, target), _copied(cut), scratch)
        case Way.BLOCK:
            cut = _keep_each(cut, scratch)
            return [replace(cut, rows=_rows(_in_rows(cut), cut.outer[-1], target))]
    return [nest]


def estimates(nest: Nest, target: Target) -> dict[Way, float]:
    """What a row costs in each way that is open to a nest, in flops."""
    axis, last, inner = len(nest.outer) - 1, nest.outer[-1], math.prod(nest.inner)
    in_rows, in_body = _in_rows(nest), _in_body(nest)
    lanes = lanes_at_a_time(nest, target)
    vectors = inner // nest.inner[-1] * -(-nest.inner[-1] // lanes) if nest.inner else 1
    reduces = sum(isinstance(s, Reduce) for s in in_body) if nest.inner else 0
    shuffles = reduces * HALVING * math.log2(lanes)
    sweep = vectors * _flops(in_body, axis + len(nest.inner), lanes) + shuffles
    costs = {Way.SWEEP: _flops(in_rows, None, 1) + sweep}
    if last == 1 or sum(b.nbytes for b in _kept(nest)) * last > KEPT:
        return costs
    if nest.inner:
        rows = _rows(in_rows, last, target)
        computed = {s.value for s in in_rows if isinstance(s, Compute)}
        crossing = len({v for s in in_body for v in uses(s)} & computed) + reduces
        scalar = _flops(in_rows, axis, rows) / _used(last, rows)
        costs[Way.BLOCK] = scalar + CROSSING * (3 + crossing) + sweep
        swept = {s.buffer.name: s.buffer for s in in_body if isinstance(s, (Load, Store))}
        if rows * inner * sum(b.dtype.itemsize for b in swept.values()) > NEAR:
            costs[Way.BLOCK] += vectors * sum(isinstance(s, Load) for s in in_body)
    if not _long_sums(nest):
        rows, copied = _rows_across(nest, target), _copied(nest)
        moved = [replace(s, index=_still(s.index)) if s in copied else s for s in in_body]
        work = _flops(in_rows, axis, rows) + inner * _flops(moved, axis, rows, in_rows)
        costs[Way.ACROSS] = work / _used(last, rows)
    return costs


def _in_rows(nest: Nest) -> list[Statement]:
    return [s for phase in nest.phases for s in phase.row]


def _in_body(nest: Nest) -> list[Statement]:
    return [s for phase in nest.phases for s in phase.body]


def _rows_across(nest: Nest, target: Target) -> int:
    return _rows([*_in_rows(nest), *_in_body(nest)], nest.outer[-1], target)


def _rows(statements: Sequence[Statement], extent: int, target: Target) -> int:
    """Rows at a time: a full register of the widest dtype, or all."""
    return min(target.lanes(_widest(statements)), 1 << (extent - 1).bit_length())


def _used(extent: int, lanes: int) -> float:
    """Lanes that hold something, on average over the vectors of a loop."""
    return extent / -(-extent // lanes)


def _long_sums(nest: Nest) -> bool:
    """Whether a lane would sum more, one after the other, than is accurate."""
    sums = any(isinstance(s, Reduce) and s.kind == "sum" for s in _in_body(nest))
    return sums and math.prod(nest.inner) > 64


def _flops(
    statements: Sequence[Statement],
    axis: int | None,
    lanes: int,
    before: Sequence[Statement] = (),
) -> float:
    """Of statements with ``lanes`` of an axis at a time: instructions, by their throughput.

    before: statements that give values which the axis moves as well.
    """
    made = {s.value: s for s in (*before, *statements) if isinstance(s, (Load, Compute, Gather))}
    total = 0.0
    for s in statements:
        match s:
            case Compute():
                call = SCALAR_CALL if axis is None else CALL
                total += cost(s.node) * (call if cost(s.node) >= MATH_COST else 1)
            case Load() | Store() | Accumulate():
                step = abs(s.index.coefficients[axis]) if axis is not None else 0
                read = GATHERED * lanes if step > 1 else 1
                written = SCATTERED * lanes if step > 1 else 1
                if isinstance(s, Accumulate):
                    total += read + written if step else HALVING * math.log2(lanes)
                else:
                    total += read if isinstance(s, Load) else written
            case Gather(indices=indices, rest=rest):
                if axis is None or not all(_stays(made.get(v), axis) for v in indices):
                    total += GATHERED * lanes + 4
                else:
                    total += GATHERED * lanes if abs(rest.coefficients[axis]) > 1 else 1
            case Reduce():
                total += 1
    return total


def _stays(statement: Statement | None, axis: int) -> bool:
    """Whether a value is the same along an axis: one from before, or a load that stands still."""
    return statement is None or (
        isinstance(statement, Load) and not statement.index.coefficients[axis]
    )


def _kept(nest: Nest) -> list[Buffer]:
    """Memory that every row of the last loop uses anew, from one sweep to the next."""
    axis = len(nest.outer) - 1
    stores = (s for s in _in_body(nest) if isinstance(s, Store))
    kept = (s.buffer for s in stores if not s.index.coefficients[axis])
    return list({buffer.name: buffer for buffer in kept}.values())


def _cut(nest: Nest) -> Nest:
    """The nest with its last loop over rows in two, so that what the inner one keeps is near."""
    axis, extent = len(nest.outer) - 1, nest.outer[-1]
    kept = sum(b.nbytes for b in _kept(nest))
    if kept * extent <= KEPT:
        return nest
    most = KEPT // kept
    size = next((d for d in range(most, FEWEST - 1, -1) if extent % d == 0), 0)
    if not size:
        return nest

    def halves(affine: Affine) -> Affine:
        c = affine.coefficients
        return Affine(affine.offset, (*c[:axis], c[axis] * size, *c[axis:]))

    phases = tuple(
        Phase(*(tuple(remapped(s, halves) for s in part) for part in (p.row, p.body)))
        for p in nest.phases
    )
    return replace(nest, outer=(*nest.outer[:axis], extent // size, size), phases=phases)


def _keep_each(nest: Nest, scratch: Scratch) -> Nest:
    """The nest with such memory for each of the rows, several of which are under way at once."""
    axis, extent = len(nest.outer) - 1, nest.outer[-1]
    own = {b.name: scratch(b.dtype, b.size * extent) for b in _kept(nest)}

    def moved(s: Statement) -> Statement:
        if not isinstance(s, (Load, Store)) or s.buffer.name not in own:
            return s
        steps = list(s.index.coefficients)
        steps[axis] = s.buffer.size
        index = Affine(s.index.offset, tuple(steps))
        return replace(s, buffer=own[s.buffer.name], index=index)

    phases = (Phase(tuple(map(moved, p.row)), tuple(map(moved, p.body))) for p in nest.phases)
    return replace(nest, phases=tuple(phases)) if own else nest


# -- across rows ------------------------------------------------------------------------------


def _copied(nest: Nest) -> list[Load]:
    """Loads of elements apart that the same few rows make again and again."""
    axis = len(nest.outer) - 1
    if math.prod(nest.outer[:-1]) < COPIED:
        return []
    every = [*_in_rows(nest), *_in_body(nest)]
    own = {s.buffer.name for s in every if isinstance(s, (Store, Accumulate))}
    return [
        s
        for s in _in_body(nest)
        if isinstance(s, Load)
        and not s.guards
        and s.buffer.name not in own
        and abs(s.index.coefficients[axis]) > 1
        and not any(s.index.coefficients[:axis])
    ]


def _across(nest: Nest, rows: int, copied: Sequence[Load], scratch: Scratch) -> list[Nest]:
    """The nest across its rows; the loads of ``copied`` read copies in which rows lie together."""
    axis, extent = len(nest.outer) - 1, nest.outer[-1]
    copies: list[Nest] = []
    instead: dict[Load, Load] = {}
    for load in dict.fromkeys(copied):
        loops = [axis + 1 + k for k in range(len(nest.inner))]
        loops = [k for k in loops if load.index.coefficients[k]]
        shape = [nest.inner[k - axis - 1] for k in loops]
        buffer = scratch(load.buffer.dtype, extent * math.prod(shape))
        to, size = [0] * (axis + 1 + len(nest.inner)), extent
        to[axis] = 1
        for k, n in zip(reversed(loops), reversed(shape), strict=True):
            to[k] = size
            size *= n
        at = [*loops, axis]
        read = Affine(load.index.offset, tuple(load.index.coefficients[k] for k in at))
        write = Store(buffer, Affine(0, tuple(to[k] for k in at)), load.value)
        body = (Load(load.value, load.buffer, read), write)
        copies.append(Nest((), (*shape, extent), (Phase((), body),)))
        instead[load] = Load(load.value, buffer, Affine(0, tuple(to)))
    phases = tuple(
        Phase(p.row, tuple(instead.get(s, s) if isinstance(s, Load) else s for s in p.body))
        for p in nest.phases
    )
    return [*copies, replace(nest, phases=phases, rows=rows, across=True)]


def _still(affine: Affine) -> Affine:
    return Affine(0, (0,) * len(affine.coefficients))


def written_out(nest: Nest) -> bool:
    """Whether the inner loops, across rows, are written out."""
    size = math.prod(nest.inner)
    work = max((flops_of(phase.body) for phase in nest.phases), default=0)
    return size <= 16 and size * work <= WRITTEN_OUT


# -- statements -------------------------------------------------------------------------------


def lanes_at_a_time(nest: Nest, target: Target) -> int:
    """Elements of the innermost loop at a time: a full register of the widest dtype, or all."""
    shortest = nest.inner[-1] if nest.inner else 1
    return min(target.lanes(_widest(_in_body(nest))), 1 << (max(shortest, 2) - 1).bit_length())


def _widest(statements: Sequence[Statement]) -> int:
    """The bytes of the widest dtype, at least four."""
    return max((d.itemsize for s in statements for d in _dtypes(s)), default=4)


def _dtypes(statement: Statement) -> Iterator[np.dtype[Any]]:
    yield np.dtype(np.int32)
    match statement:
        case Load() | Store() | Accumulate():
            yield statement.buffer.dtype
        case Gather():
            yield np.dtype(np.int64)
        case Compute():
            yield statement.node.type.dtype
        case Literal() | Reduce():
            yield statement.dtype
