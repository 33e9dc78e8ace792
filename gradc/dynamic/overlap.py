"""Whether a value that is computed of an array can be written into it as it is computed."""

from __future__ import annotations

from typing import Any

from gradc.dynamic.array import Numbered
from gradc.dynamic.axes import form_of_number, is_positive
from gradc.dynamic.sources import Source
from gradc.ir.forms import Form
from gradc.tracer import Tracer


def is_apart(source: Source, target: Source) -> bool:
    """Whether what is read is what is written at the same time, or is not written at all."""
    if source.picked is None or target.picked is None or source.array.path != target.array.path:
        return False
    triples = list(zip(source.picked, target.picked, target.array.shape, strict=True))
    return all(_is_equal(a, b, n) for a, b, n in triples) or any(
        _is_disjoint(a, b, n) for a, b, n in triples
    )


def _is_equal(a: Any, b: Any, n: int) -> bool:
    if isinstance(a, Numbered) and isinstance(b, Numbered):
        return a.number == b.number and all(
            _distance(x, y) == Form(0)
            for x, y in ((a.run.start, b.run.start), (a.run.step, b.run.step))
        )
    if isinstance(a, slice) and isinstance(b, slice):
        return all(x is y or type(x) is int and x == y for x, y in (
            (a.start, b.start), (a.stop, b.stop), (a.step, b.step)))
    one, other = _place(a, n), _place(b, n)
    return one is not None and other is not None and one.plus(other, -1).is_zero() is True


def _is_disjoint(a: Any, b: Any, n: int) -> bool:
    one, other = _extent(a, n), _extent(b, n)
    if one is None or other is None:
        return False
    # The last place of one lies before the first one of the other.
    return any(
        is_positive(first.plus(last, -1).plus(Form(-1)))
        for (_, last), (first, _) in ((one, other), (other, one))
    ) or (one[0] is one[1] and other[0] is other[1]
          and one[0].plus(other[0], -1).is_zero() is False)


def _extent(item: Any, n: int) -> tuple[Form, Form] | None:
    """The first and the last place that is taken, in their order along the axis."""
    if isinstance(item, Numbered):
        run = item.run
        if isinstance(run.step, Tracer):
            return None
        start, length = form_of_number(run.start), form_of_number(run.length.value)
        end = start.plus(length, run.step).plus(Form(-run.step))
        return (start, end) if run.step > 0 else (end, start)
    if isinstance(item, slice):
        return None
    place = _place(item, n)
    return None if place is None else (place, place)


def _place(item: Any, n: int) -> Form | None:
    """An integer, counted from the beginning of an axis; None if it may count from the end."""
    if isinstance(item, (slice, Numbered)):
        return None
    if not isinstance(item, Tracer) or item.is_constant:
        return Form(int(item) % n)
    form = form_of_number(item)
    return form if is_positive(form) else None


def _distance(a: Any, b: Any) -> Form:
    return form_of_number(a).plus(form_of_number(b), -1)
