"""Products of vectors and matrices with axes of unknown length."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.dynamic.array import DynamicArray, lifted
from gradc.dynamic.axes import Length, require_same
from gradc.dynamic.functions import implements
from gradc.dynamic.shaping import turned
from gradc.errors import UnsupportedError


@implements(np.matmul)
def matmul(a: Any, b: Any) -> Any:
    a, b = lifted(a), lifted(b)
    if not 1 <= len(a.axes) <= 2 or not 1 <= len(b.axes) <= 2:
        raise UnsupportedError(
            "a product of a matrix or vector of unknown length with an array of other axes",
            types=[str(a), str(b)], remedy="a loop over the leading axes",
        )
    inner, other = a.axes[-1], b.axes[-len(b.axes)]
    require_same(inner, other)
    if isinstance(inner, Length) or isinstance(other, Length):
        # Of two matrices the sum of the outer products of columns and rows.
        left = a if len(b.axes) == 1 else a.part(..., None)
        return np.sum(left * b, axis=len(a.axes) - 1)
    return _rows(a, b)


def _rows(a: DynamicArray, b: DynamicArray) -> Any:
    """A product whose inner axis is known: of a row with a column at each place."""
    dtype = np.matmul(np.ones((1, 1), a.dtype), np.ones((1, 1), b.dtype)).dtype
    count = len(a.lengths)

    def at(places: Any, given: Any) -> Any:
        return np.matmul(a.at(places[:count], given), b.at(places[count:], given))

    sources = dict.fromkeys((*a.sources, *b.sources))
    new = {s: s.unfollowed() for s in sources}
    return DynamicArray(
        (*a.axes[:-1], *b.axes[1:]), dtype,
        lambda places, given: at(places, {old: given[s] for old, s in new.items()}),
        list(new.values()),
    )


@implements(np.dot)
def dot(a: Any, b: Any) -> Any:
    a, b = lifted(a), lifted(b)
    return matmul(a, b) if a.axes and b.axes else a * b


@implements(np.inner, np.vdot)
def inner(a: Any, b: Any) -> Any:
    a, b = lifted(a), lifted(b)
    if len(a.axes) == len(b.axes) == 1:
        return np.sum(a * b)
    return matmul(a, turned(b, range(len(b.axes))[::-1]))


@implements(np.outer)
def outer(a: Any, b: Any) -> Any:
    a, b = lifted(a), lifted(b)
    if len(a.axes) != 1 or len(b.axes) != 1:
        raise UnsupportedError("np.outer of an array of unknown length that is no vector",
                               types=[str(a), str(b)], remedy="a[..., None] * b")
    return a.part(slice(None), None) * b


