"""Lengths that are known only when the code runs, and slices that have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from gradc.errors import IndexingError, ShapeError, TracerIndexError
from gradc.ir import ops
from gradc.ir.forms import Form
from gradc.ir.types import I64
from gradc.numpy_api.values import as_tracer, convert, is_traced
from gradc.picks import distance
from gradc.reach import form_of
from gradc.tracer import Tracer, describe

Axis = Union[int, "Length"]

#: beyond any axis, also with what is added to it: reading there is an IndexingError of the run
BEYOND = 1 << 40


@dataclass(frozen=True, slots=True, eq=False)
class Length:
    """The length of an axis: an int64 that is traced. ``most`` is what it is not above.

    ``cut`` is the slice that it is of, and the axis that was sliced.
    """

    value: Tracer
    most: int
    cut: tuple[slice, Axis] | None = None

    def __str__(self) -> str:
        return f"<={self.most}"



@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """``start + step * k`` for ``0 <= k < length``: what a slice takes of an axis."""

    start: int | Tracer
    step: int | Tracer
    length: Length

    def place(self, k: Any) -> Any:
        """The place of element ``k``."""
        moved = k if type(self.step) is int and self.step == 1 else k * self.step
        return moved if type(self.start) is int and self.start == 0 else self.start + moved


def length_of(value: Any, most: int, cut: tuple[slice, Axis] | None = None) -> Length:
    """A length, which is 0 where ``value``, an integer, is negative; ``most`` bounds it."""
    form = form_of_number(value)
    if not is_positive(form):
        value = np.maximum(value, 0)
    known = form.most()
    most = most if known is None else max(0, min(most, known))
    return Length(convert(as_tracer(value), I64), most, cut)


def run_of(item: slice, axis: Axis) -> Run:
    """What a slice takes of an axis, one of which has a length or a bound that is traced.

    Bounds beyond the axis are cut off as in NumPy. Raises TracerIndexError for a traced step that
    may be negative.
    """
    step = 1 if item.step is None else item.step
    if is_traced(step):
        if not is_positive(form_of_number(step).plus(Form(-1))):
            raise TracerIndexError(
                "an array was sliced with a traced step, of which is not known that it is positive",
                types=[describe(as_tracer(step))],
                remedy="np.maximum(step, 1), a known step, or a loop",
            )
    else:
        step = step.__index__()
        if step == 0:
            raise ValueError("slice step cannot be zero")
    forward = is_traced(step) or step > 0
    n = axis.value if isinstance(axis, Length) else axis
    most = axis.most if isinstance(axis, Length) else axis
    low, high = (0, n) if forward else (-1, n - 1)
    first, last = (low, high) if forward else (high, low)
    start = first if item.start is None else _bound(item.start, n, low, high)
    stop = last if item.stop is None else _bound(item.stop, n, low, high)
    gap = _minus(stop, start) if forward else _minus(start, stop)
    stride = step if forward else -step
    if is_traced(stride):
        gap = (gap + (stride - 1)) // stride
    elif stride > 1:
        gap, most = (gap + (stride - 1)) // stride, math.ceil(most / stride)
    return Run(start, step, length_of(gap, most, (item, axis)))


def _minus(a: Any, b: Any) -> Any:
    return a if type(b) is int and b == 0 else a - b


def _bound(bound: Any, n: Any, low: Any, high: Any) -> Any:
    """A bound of a slice of ``n`` elements, counted from the end where it is negative, cut off."""
    form = form_of_number(bound)
    if type(bound) is int:
        bound = bound + n if bound < 0 else bound
    elif not is_positive(form):
        bound = np.where(bound < 0, bound + n, bound)
    form = form_of_number(bound)
    if not is_positive(form.plus(form_of_number(low), -1)):
        bound = np.maximum(bound, low)
    if not is_positive(form_of_number(high).plus(form, -1)):
        bound = np.minimum(bound, high)
    return bound


def form_of_number(x: Any) -> Form:
    """What is known of an integer."""
    return form_of(as_tracer(x))


def is_positive(form: Form) -> bool:
    """Whether an integer is known to be at least 0."""
    least = form.least()
    return least is not None and least >= 0


def is_same(a: Axis, b: Axis) -> bool | None:
    """Whether two axes have one length; None if that is not known."""
    if a is b:
        return True
    if not isinstance(a, Length) and not isinstance(b, Length):
        return a == b
    one, other = (as_tracer(x.value if isinstance(x, Length) else x) for x in (a, b))
    if distance(one, other) == 0 or _is_cut_alike(a, b):
        return True
    return form_of_number(one).plus(form_of_number(other), -1).is_zero()


def _is_cut_alike(a: Axis, b: Axis) -> bool:
    """Whether two axes are the same slice of axes of one length."""
    if not isinstance(a, Length) or not isinstance(b, Length) or not a.cut or not b.cut:
        return False
    (one, n), (other, m) = a.cut, b.cut
    pairs = ((one.start, other.start), (one.stop, other.stop), (one.step, other.step))
    return all(
        x is y or None not in (x, y) and distance(as_tracer(x), as_tracer(y)) == 0 for x, y in pairs
    ) and is_same(n, m) is True


def require_same(a: Axis, b: Axis) -> None:
    """Have two axes be of one length: if that shows only when the code runs, it is checked there.

    Raises ShapeError if they are not.
    """
    same = is_same(a, b)
    if same is None:
        one, other = (as_tracer(x.value if isinstance(x, Length) else x) for x in (a, b))
        ops.fitting((one == other).value)
    elif not same:
        raise ShapeError(
            "slices of different lengths meet, or one and an array of another length",
            types=[str(a), str(b)], remedy="slices with the same bounds on both sides",
        )


def items_of(index: Any, ndim: int) -> list[Any]:
    """An item of an index for each axis, and None for each new one. Raises IndexingError."""
    items = index if isinstance(index, tuple) else (index,)
    given = sum(i is not None and i is not Ellipsis for i in items)
    if given > ndim:
        raise IndexingError(
            f"too many indices for array: array is {ndim}-dimensional, but {given} were indexed",
            remedy="leave out an index")
    fill = [slice(None)] * (ndim - given)
    at = next((k for k, i in enumerate(items) if i is Ellipsis), len(items))
    return [*items[:at], *fill, *items[at + 1 :]]
