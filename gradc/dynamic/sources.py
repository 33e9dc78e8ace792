"""Where the elements of dynamic arrays come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradc.cells import Cell
from gradc.context import contexts
from gradc.tracer import Tracer

#: where elements are: an integer for each axis of unknown length, in order
Places = Sequence[Any]
Given = Mapping["Source", Tracer]
#: the elements at places: an array of the axes whose length is known
At = Callable[[Places, Given], Any]


@dataclass(frozen=True, eq=False)
class Source:
    """An array that elements are read from: as it is, or as it was at a ``version``.

    ``picked`` is what is read of it, as an index whose runs are numbered: the axis of the array
    made of it that they go along. It is None if that is not followed.
    """

    array: Tracer
    picked: tuple[Any, ...] | None
    version: int | None = None
    copy: Tracer | None = None

    def now(self) -> Tracer:
        """What is to be read."""
        if self.copy is None or self.version == self.array.cell.version:
            return self.array
        return self.copy

    def unfollowed(self) -> Source:
        """The same, of which is not known any more what is read."""
        return Source(self.array, None, self.version, self.copy)

    def frozen(self) -> Source:
        """The same with the values that there are now."""
        if self.copy is not None or self.array.is_scalar:
            return self
        cell = self.array.cell
        own = Cell(cell.trace, cell.value, None if cell.array is None else cell.array.copy())
        own.check = cell.check
        copy = Tracer(own, self.array.shape, self.array.dtype, self.array.path)
        return Source(self.array, self.picked, cell.version, copy)


class Elements:
    """What gives elements; those that were asked for last are kept, for expressions repeat them."""

    __slots__ = ("_at", "_known", "_last")

    def __init__(self, at: At) -> None:
        self._at = at
        self._known: tuple[Any, ...] = ()
        self._last: Any = None

    def __call__(self, places: Places, given: Given) -> Any:
        """The elements at places."""
        read = [(s, given[s], given[s].cell.version) for s in given]
        known = (*places, *(x for one in read for x in one), *contexts()[-1:])
        if len(known) != len(self._known) or not all(map(_is_one, known, self._known)):
            # Found out first: it may ask for its own elements elsewhere.
            found = self._at(places, given)
            self._known, self._last = known, found
        return self._last


def _is_one(a: Any, b: Any) -> bool:
    return a is b or type(a) is int and type(b) is int and a == b
