"""What a loop can go over natively: what has a length and an element at each index."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradc.syntax.values import (
    as_index,
    as_traced,
    control,
    is_array,
    is_count,
    is_dynamic,
    is_traced,
    where,
)


class Indexed:
    """A sequence whose length, or whose elements, may be traced.

    forced: it was asked for as a loop (``gradc.range``).
    """

    length: Any
    forced = False

    def at(self, i: Any) -> Any:
        """The element at a traced index."""
        raise NotImplementedError

    def bounds(self) -> Iterator[Any]:
        """The traced values that the length depends on."""
        yield from ()


class Counted(Indexed):
    """``range`` of traced bounds, or ``gradc.range``, which stays a loop however short."""

    def __init__(self, numbers: Any, forced: bool) -> None:
        self.numbers, self.forced = numbers, forced
        self.length = numbers.trips

    def at(self, i: Any) -> Any:
        """``start + i * step``, as Python's int."""
        start, step = as_index(self.numbers.start), as_index(self.numbers.step)
        scaled = as_index(i) if is_one(step) else as_index(i) * step
        return scaled if is_zero(start) else start + scaled

    def bounds(self) -> Iterator[Any]:
        """Those that are traced."""
        numbers = self.numbers
        return (x for x in (numbers.start, numbers.stop, numbers.step) if is_traced(x))

    def python(self) -> builtins.range:
        """The range in Python; asks for the values of traced bounds."""
        return builtins.range(self.numbers.start, self.numbers.stop, self.numbers.step)


class Rows(Indexed):
    """The elements of an array along its first axis."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.length = array.shape[0]

    def bounds(self) -> Iterator[Any]:
        """The length, where it is traced."""
        return (n for n in (self.length,) if is_traced(n))

    def at(self, i: Any) -> Any:
        """``array[i]``."""
        if isinstance(self.array, np.ndarray):
            return as_traced(self.array)[i]
        return self.array[i]


class Numbers(Indexed):
    """A ``range`` in Python."""

    def __init__(self, numbers: builtins.range) -> None:
        self.numbers = numbers
        self.length = len(numbers)

    def at(self, i: Any) -> Any:
        """The number at an index."""
        scaled = as_index(i) if self.numbers.step == 1 else as_index(i) * self.numbers.step
        return scaled + self.numbers.start if self.numbers.start else scaled


class Enumerated(Indexed):
    """``enumerate``."""

    def __init__(self, inner: Indexed, start: Any) -> None:
        self.inner, self.start = inner, start
        self.length, self.forced = inner.length, inner.forced

    def at(self, i: Any) -> Any:
        """The count, and the element."""
        return as_index(i) + self.start, self.inner.at(i)

    def bounds(self) -> Iterator[Any]:
        """Those of what is counted."""
        return self.inner.bounds()

    def __iter__(self) -> Iterator[Any]:
        yield from enumerate(plain(self.inner), self.start)


class Later(Indexed):
    """What follows the first element, of a length that is known."""

    def __init__(self, inner: Indexed) -> None:
        self.inner = inner
        self.length = inner.length - 1

    def at(self, i: Any) -> Any:
        """The element after that at an index."""
        return self.inner.at(as_index(i) + 1)


class Zipped(Indexed):
    """``zip``, as long as its shortest part."""

    def __init__(self, parts: list[Indexed]) -> None:
        self.parts = parts
        self.forced = any(part.forced for part in parts)
        self.length = parts[0].length
        for part in parts[1:]:
            if is_traced(self.length) or is_traced(part.length):
                self.length = where(part.length < self.length, part.length, self.length)
            else:
                self.length = min(self.length, part.length)

    def at(self, i: Any) -> Any:
        """An element of each."""
        return tuple(part.at(i) for part in self.parts)

    def bounds(self) -> Iterator[Any]:
        """Those of the parts."""
        return (bound for part in self.parts for bound in part.bounds())

    def __iter__(self) -> Iterator[Any]:
        yield from builtins.zip(*map(plain, self.parts), strict=False)


class Reversed(Indexed):
    """``reversed``."""

    def __init__(self, inner: Indexed) -> None:
        self.inner = inner
        self.length, self.forced = inner.length, inner.forced

    def at(self, i: Any) -> Any:
        """The element as far from the end."""
        return self.inner.at(as_index(self.length) - 1 - as_index(i))

    def bounds(self) -> Iterator[Any]:
        """Those of what is reversed."""
        return self.inner.bounds()

    def __iter__(self) -> Iterator[Any]:
        yield from reversed(plain(self.inner))


def plain(sequence: Indexed) -> Any:
    """What Python goes over instead; asks for the values of traced bounds."""
    if isinstance(sequence, Counted):
        return sequence.python()
    if isinstance(sequence, Numbers):
        return sequence.numbers
    return sequence.array if isinstance(sequence, Rows) else sequence


def made_range() -> Any:
    """The class of ``gradc.range``."""
    module = control()
    return module.Range if module is not None else None


def is_zero(x: Any) -> bool:
    """Whether a number is known to be 0."""
    return isinstance(x, int) and x == 0


def is_one(x: Any) -> bool:
    """Whether a number is known to be 1."""
    return isinstance(x, int) and x == 1


def indexed(iterable: Any) -> Indexed | None:
    """What a loop can go over natively, if an iterable is such."""
    if isinstance(iterable, Indexed):
        return iterable
    if type(iterable) is builtins.range:
        return Numbers(iterable)
    if type(iterable) is made_range():
        return Counted(iterable, forced=True)
    if (is_array(iterable) or is_dynamic(iterable)) and iterable.shape:
        return Rows(iterable)
    return None


def _range(*args: Any) -> Any:
    if not any(map(is_traced, args)) or not all(map(is_count, args)):
        return builtins.range(*args)
    return Counted(made_range()(*args), forced=False)


def _enumerate(iterable: Any, start: Any = 0) -> Any:
    inner = indexed(iterable)
    if inner is None or not isinstance(start, int):
        return builtins.enumerate(iterable, start)
    return Enumerated(inner, start)


def _zip(*iterables: Any, strict: bool = False) -> Any:
    parts = [indexed(one) for one in iterables]
    if not parts or strict or any(part is None for part in parts):
        return builtins.zip(*iterables, strict=strict)
    return Zipped([part for part in parts if part is not None])


def _reversed(iterable: Any) -> Any:
    inner = indexed(iterable)
    return builtins.reversed(iterable) if inner is None else Reversed(inner)


#: what makes an iterable in Python -> what makes one that may be looped over natively
INSTEAD: dict[Any, Callable[..., Any]] = {
    builtins.range: _range, builtins.enumerate: _enumerate, builtins.zip: _zip,
    builtins.reversed: _reversed,
}
