"""How far outside the loops an element at a computed place may be read.

An element that a loop reads over and over, always the same one, is read once before the loop. Of a
loop that may run no iteration, the place may then be out of bounds, where NumPy reads nothing: it
is read before the loop where bounds prove it inside, else at the place or, of no iteration, at 0.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from gradc.cells import Cell, Step
from gradc.context import Context, contexts
from gradc.ir import ops
from gradc.ir.forms import RULES, Form, symbol
from gradc.ir.graph import Value
from gradc.ir.types import I64, Shape
from gradc.picks import Entry, Pick, Window, origin
from gradc.tracer import Tracer

#: how many nodes deep the form of an integer is looked for
_DEEP = 40


def earliest(path: Sequence[Step], shape: Shape, owner: int) -> tuple[int, list[Step]]:
    """The trace under way, by number, in which a view may be read, and the path to it there.

    ``shape`` is that of the storage, which belongs to trace ``owner``; all places are known there.
    """
    stack, level, steps = contexts(), len(contexts()) - 1, list(path)
    while level > owner:
        runs = stack[level].trips
        if not stack[level].certain:
            if runs is None:
                break
            taken = _taken(steps, shape, stack[level:])
            if not all(_is_inside(pick, dims) for pick, dims in taken):
                if all(_fits(pick, dims) for pick, dims in taken):
                    level -= 1
                    steps = _guarded(steps, {pick for pick, _ in taken}, runs > 0, stack[level])
                break
        level -= 1
    return level, steps


def _taken(
    path: Sequence[Step], shape: Shape, inner: Sequence[Context]
) -> list[tuple[Pick, Shape]]:
    """The computed places of a path that are taken in some traces, and the shapes they are in."""
    found = []
    for step in path:
        if isinstance(step, Pick) and step.taken in inner:
            found.append((step, shape))
        shape = step.shape_after(shape)
    return found


def _is_inside(pick: Pick, shape: Shape) -> bool:
    """Whether a computed place is within the bounds, wherever its integers are known."""
    for entry, d in zip(pick.entries, shape, strict=False):
        if isinstance(entry, (Tracer, Window)):
            first = entry if isinstance(entry, Tracer) else entry.start
            form = form_of(first)
            least, most = form.least(), form.most()
            low = -d if isinstance(entry, Tracer) else 0
            if least is None or most is None or least < low or most >= d - _span(entry):
                return False
    return True


def _span(entry: Entry) -> int:
    """How far behind the first place of an entry the last one is."""
    return (entry.size - 1) * entry.step if isinstance(entry, Window) else 0


def _fits(pick: Pick, shape: Shape) -> bool:
    """Whether a computed place would be within the bounds if it began at 0."""
    return all(
        _span(entry) < d for entry, d in zip(pick.entries, shape, strict=False)
        if isinstance(entry, (Tracer, Window))
    )


def _guarded(
    path: Sequence[Step], picks: Collection[Step], runs: Value, context: Context
) -> list[Step]:
    """A path on which computed places are as they are if a loop ``runs``, else at 0."""

    def place(given: Tracer) -> Tracer:
        value = given.value_in(context)
        value = value if value.dtype == I64 else ops.convert(value, dtype=I64)
        return Tracer(Cell(context, ops.where(runs, value, ops.full_like(value, 0))), (), I64)

    def entry(given: Entry) -> Entry:
        if isinstance(given, Window):
            return Window(place(given.start), given.size, given.step)
        return place(given) if isinstance(given, Tracer) else given

    return [
        Pick(tuple(map(entry, step.entries)), context)
        if isinstance(step, Pick) and step in picks else step
        for step in path
    ]


def form_of(place: Tracer) -> Form:
    """What is known of a traced integer."""
    if place.is_constant:
        return Form(int(place.array()))
    assert place.cell.trace is not None
    return _form(place.value_in(place.cell.trace), place.cell.trace, _DEEP)


def count_of(length: int, trips: Value | None, context: Context) -> Form | None:
    """What is known of how often a loop in a trace runs; ``length`` is -1 if that is traced."""
    if trips is not None:
        return _form(trips, context, _DEEP)
    return Form(length) if length >= 0 else None


def _form(value: Value, context: Context, deep: int) -> Form:
    value, context = origin(value, context)
    known = ops.constant_number(value)
    if known is not None and isinstance(known, (int, np.integer)):
        return Form(int(known))
    if value.id not in context.forms:
        node = value.node
        rule = RULES.get(node.op.name)
        form = None
        if rule is not None and deep and value.dtype == I64 and not value.shape:
            form = rule(*(_form(operand, context, deep - 1) for operand in value.operands))
        context.forms[value.id] = symbol() if form is None else form
    return context.forms[value.id]
