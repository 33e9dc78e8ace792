"""Dynamic arrays that meet: their common axes, and the elements of each at a common place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.dynamic.array import DynamicArray, Numbered
from gradc.dynamic.axes import Axis, Length, require_same
from gradc.dynamic.sources import Given, Places, Source


def common_axes(arrays: Sequence[DynamicArray]) -> tuple[Axis, ...]:
    """The axes that arrays broadcast to. Raises ShapeError where they do not."""
    ndim = max(len(x.axes) for x in arrays)
    out: list[Axis] = [1] * ndim
    for x in arrays:
        for k, axis in enumerate(x.axes, ndim - len(x.axes)):
            if out[k] == 1:
                out[k] = axis
            elif axis != 1:
                require_same(out[k], axis)
                out[k] = axis if isinstance(axis, Length) else out[k]
    return tuple(out)


def aligned(x: DynamicArray, axes: Sequence[Axis]) -> DynamicArray:
    """An array as one of so many axes of unknown length, which broadcasts to ``axes``.

    Its elements at a place have its own known axes, without those that an unknown one repeats.
    """
    lead = len(axes) - len(x.axes)
    # Of each unknown axis of the whole its number; of x the numbers of its own.
    numbers = {k: n for n, k in enumerate(k for k, a in enumerate(axes) if isinstance(a, Length))}
    own = [numbers[lead + k] for k, a in enumerate(x.axes) if isinstance(a, Length)]
    # Of its known axes those that an unknown one of the whole repeats, or goes along.
    known = [(lead + k, a) for k, a in enumerate(x.axes) if not isinstance(a, Length)]
    fixed = {j: (numbers[k], a) for j, (k, a) in enumerate(known) if k in numbers}
    if own == list(range(len(numbers))) and not fixed:
        return x
    pairs = [(old, _renumbered(old, own)) for old in x.sources]

    def at(places: Places, given: Given) -> Any:
        found = x.at([places[n] for n in own], {old: given[new] for old, new in pairs})
        if not fixed:
            return found
        index: list[Any] = [slice(None)] * len(known)
        for j, (n, size) in fixed.items():
            index[j] = 0 if size == 1 else places[n]
        return found[tuple(index)]

    return DynamicArray(axes, x.dtype, at, [new for _, new in pairs])


def _renumbered(source: Source, numbers: Sequence[int]) -> Source:
    if source.picked is None:
        return source
    picked = tuple(
        Numbered(e.run, numbers[e.number]) if isinstance(e, Numbered) else e for e in source.picked
    )
    return Source(source.array, picked, source.version, source.copy)


def combined(
    operation: Callable[..., Any], arrays: Sequence[DynamicArray], dtype: np.dtype[Any]
) -> DynamicArray:
    """What an operation on single elements, which broadcasts as NumPy does, makes of arrays."""
    axes = common_axes(arrays)
    given_each = [aligned(x, axes) for x in arrays]

    def at(places: Places, given: Given) -> Any:
        return operation(*(x.at(places, given) for x in given_each))

    sources = list(dict.fromkeys(s for x in given_each for s in x.sources))
    return DynamicArray(axes, dtype, at, sources)
