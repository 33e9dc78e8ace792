"""Sums, extremes and means along axes of unknown length: each is a loop over the elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.dynamic.array import DynamicArray, lifted
from gradc.dynamic.axes import BEYOND, Length
from gradc.dynamic.functions import implements
from gradc.dynamic.loops import folded_over
from gradc.dynamic.sources import Given, Places
from gradc.errors import UnsupportedError
from gradc.numpy_api.values import normalized

#: (lengths of the axes, their elements, shape of those) -> what they are reduced to
Make = Callable[[list[Length], Callable[[Places], Any], tuple[int, ...]], Any]


def reduced(
    a: DynamicArray,
    axis: Any,
    keepdims: bool,
    dtype: Any,
    inside: Callable[[Any, tuple[int, ...]], Any],
    make: Make,
) -> Any:
    """Reduce axes: ``inside(elements, axes)`` those of known length, ``make`` the others."""
    ndim = len(a.axes)
    chosen = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    out = {normalized(k, ndim) for k in chosen}
    unknown = [k for k, x in enumerate(a.axes) if isinstance(x, Length)]
    lengths = [x for k, x in enumerate(a.axes) if isinstance(x, Length) and k in out]
    others = [k for k in range(ndim) if k not in unknown]
    known = tuple(n for n, k in enumerate(others) if k in out)
    inner = tuple(n for k, n in zip(others, a.known, strict=True) if k not in out)
    kept = [1 if k in out else x for k, x in enumerate(a.axes) if keepdims or k not in out]
    shape = tuple(x for x in kept if not isinstance(x, Length))

    def at(places: Places, given: Given) -> Any:
        def elements(reduced_at: Places) -> Any:
            mine, rest = iter(reduced_at), iter(places)
            found = a.at([next(mine if k in out else rest) for k in unknown], given)
            return inside(found, known) if known else found

        found = make(lengths, elements, inner)
        return found if inner == shape else np.reshape(found, shape)

    sources = {s: s.unfollowed() for s in a.sources}
    made = DynamicArray(
        kept, np.dtype(dtype),
        lambda places, given: at(places, {old: given[new] for old, new in sources.items()}),
        list(sources.values()),
    )
    return made if made.lengths else made.at((), made.given())


def _accumulation(function: Any, join: Any, start: Any) -> None:
    """Register a reduction that begins with a number, or with the first element if that is None."""

    @implements(function)
    def ours(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        a = lifted(a)
        wanted = function(np.ones(1, a.dtype)).dtype if dtype is None else np.dtype(dtype)

        def make(lengths: list[Length], elements: Any, inner: tuple[int, ...]) -> Any:
            def element(places: Places) -> Any:
                found = elements(places)
                return found if found.dtype == wanted else found.astype(wanted)

            if start is None:
                first = element([np.where(n.value > 0, 0, BEYOND) for n in lengths])
            else:
                first = np.full(inner, start, wanted) if inner else wanted.type(start)
            return folded_over(lengths, first, lambda places, s: join(s, element(places)))

        return reduced(a, axis, keepdims, wanted, lambda x, axes: function(x, axis=axes), make)


for _function, _join, _start in (
    (np.sum, np.add, 0), (np.prod, np.multiply, 1), (np.max, np.maximum, None),
    (np.min, np.minimum, None), (np.any, np.logical_or, False), (np.all, np.logical_and, True),
):  # fmt: skip
    _accumulation(_function, _join, _start)


def _count(a: DynamicArray, axis: Any, dtype: Any) -> Any:
    """How many elements are reduced to one, as a number of a dtype."""
    ndim = len(a.axes)
    chosen = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    total: Any = 1
    for k in chosen:
        total = total * a.shape[normalized(k, ndim)]
    return dtype.type(total) if isinstance(total, int) else total.astype(dtype)


@implements(np.mean)
def mean(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
    a = lifted(a)
    wanted = np.dtype(np.mean(np.ones(1, a.dtype)).dtype if dtype is None else dtype)
    return np.sum(a, axis=axis, dtype=wanted, keepdims=keepdims) / _count(a, axis, wanted)


def _root(x: Any) -> Any:
    """The square root of a sum of squares, which has slope 0 where all of them are 0."""
    return np.where(x == 0, x, np.sqrt(x))


@implements(np.var)
def var(a: Any, axis: Any = None, dtype: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    a = lifted(a)
    centred = a - mean(a, axis, dtype, keepdims=True)
    wanted = centred.dtype
    total = np.sum(centred * centred, axis=axis, keepdims=keepdims)
    return total / (_count(a, axis, wanted) - wanted.type(ddof))


@implements(np.std)
def std(a: Any, axis: Any = None, dtype: Any = None, ddof: int = 0, keepdims: bool = False) -> Any:
    return _root(var(a, axis, dtype, ddof, keepdims))


@implements(np.median)
def median(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    a = np.sort(lifted(a))
    n = a.shape[0]
    middle = (a[(n - 1) // 2] + a[n // 2]) / 2
    found = middle if a.dtype.kind != "f" else np.where(np.isnan(a[-1]), np.nan, middle)
    return np.reshape(found, (1,)) if keepdims else found[()]


@implements(np.ptp)
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims) - np.min(a, axis=axis, keepdims=keepdims)


@implements(np.count_nonzero)
def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return np.sum(lifted(a) != 0, axis=axis, keepdims=keepdims)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    x = lifted(x)
    vector = len(x.axes) == 1 or isinstance(axis, int)
    if ord is None or (vector and ord == 2):
        return _root(np.sum(x * x, axis=axis, keepdims=keepdims))
    if vector and ord in (1, np.inf):
        return (np.sum if ord == 1 else np.max)(np.abs(x), axis=axis, keepdims=keepdims)
    raise UnsupportedError(
        f"np.linalg.norm of order {ord} of an array of unknown length is not supported",
        types=[str(x)], remedy="np.sum(np.abs(x) ** p) ** (1 / p)",
    )


def _position(function: Any, better: Any) -> None:
    """Register where an extreme is: at the first one, or at the first NaN."""

    @implements(function)
    def ours(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        a = lifted(a)
        if len(a.axes) != 1:
            raise UnsupportedError(
                f"np.{function.__name__} of an array of several axes, one of unknown length",
                types=[str(a)], remedy="a loop over rows",
            )

        def make(lengths: list[Length], elements: Any, inner: tuple[int, ...]) -> Any:
            def step(places: Sequence[Any], state: Any) -> Any:
                best, at = state
                found = elements(places)
                first = better(found, best)
                if a.dtype.kind == "f":
                    first = first | (np.isnan(found) & ~np.isnan(best))
                return np.where(first, found, best), np.where(first, places[0], at)

            start = elements([np.where(n.value > 0, 0, BEYOND) for n in lengths])
            return folded_over(lengths, (start, np.int64(0)), step)[1]

        return reduced(a, axis, keepdims, np.int64, lambda x, axes: x, make)


_position(np.argmax, np.greater)
_position(np.argmin, np.less)
