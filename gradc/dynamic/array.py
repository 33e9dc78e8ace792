"""The array itself: what its elements are is told when they are asked for, by loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.context import current, outside
from gradc.dynamic.axes import BEYOND, Axis, Length, Run, items_of, run_of
from gradc.dynamic.sources import At, Elements, Given, Places, Source
from gradc.errors import TracerIndexError
from gradc.ir.graph import Loc
from gradc.ir.types import SHORT, Shape
from gradc.methods import Methods
from gradc.numpy_api.values import as_tracer, is_traced, operand
from gradc.operators import Operators
from gradc.picks import window_of
from gradc.tracer import Tracer


class DynamicArray(Operators, Methods):
    """An array of which axes have a length that is known only when the code runs.

    It is a view (``a[:i]``), which can be written, or computed of others, which delays the
    computation to the loop that needs the elements.
    """

    __slots__ = ("__weakref__", "_at", "_dtype", "_put", "_trace", "axes", "sources")
    __array_priority__ = 1001
    is_dynamic = True
    is_scalar = False
    is_constant = False
    weak = False

    def __init__(
        self,
        axes: Sequence[Axis],
        dtype: np.dtype[Any],
        at: At,
        sources: Sequence[Source] = (),
        put: Callable[[Places, tuple[Any, ...], Any], None] | None = None,
    ) -> None:
        self.axes = tuple(axes)
        self._dtype = dtype
        self._at = at if isinstance(at, Elements) else Elements(at)
        self.sources = tuple(sources)
        self._put = put
        self._trace = current()

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> Any:  # type: ignore[override]  # ints and traced integers
        """The lengths of the axes: ints, and traced integers."""
        return tuple(a.value if isinstance(a, Length) else a for a in self.axes)

    @property
    def dtype(self) -> Any:  # type: ignore[override]  # as a Tracer's, only to be read
        """The dtype."""
        return self._dtype

    @property
    def lengths(self) -> list[Length]:
        """Those of the axes whose length is not known."""
        return [a for a in self.axes if isinstance(a, Length)]

    @property
    def known(self) -> Shape:
        """The lengths of the other axes: the shape of what is :meth:`at` a place."""
        return tuple(a for a in self.axes if not isinstance(a, Length))

    @property
    def is_view(self) -> bool:
        """Whether it can be written into."""
        return self._put is not None

    def __str__(self) -> str:
        return f"{SHORT[self.dtype]}[{','.join(map(str, self.axes))}]"

    __repr__ = __str__

    # -- elements ------------------------------------------------------------------------------

    def given(self) -> Given:
        """What the sources are now."""
        return {source: source.now() for source in self.sources}

    def at(self, places: Places, given: Given) -> Any:
        """The elements at places along the axes of unknown length."""
        return self._at(places, given)

    def put(self, places: Places, value: Any, rests: tuple[Any, ...] = ()) -> None:
        """Write the elements at places, or what indices take of them."""
        assert self._put is not None
        self._put(places, rests, value)

    def frozen(self) -> DynamicArray:
        """An array of the values that there are now, whatever is written later."""
        pairs = [(source, source.frozen()) for source in self.sources]
        elements = self._at
        if all(old is new for old, new in pairs):
            # Another array, for this one may be written into.
            return DynamicArray(self.axes, self.dtype, elements, self.sources)

        def at(places: Places, given: Given) -> Any:
            return elements(places, {old: given[new] for old, new in pairs})

        return DynamicArray(self.axes, self.dtype, at, [new for _, new in pairs])

    def unfollowed(self) -> DynamicArray:
        """The same array, of which is not known any more what it reads where."""
        pairs = [(source, source.unfollowed()) for source in self.sources]
        elements = self._at

        def at(places: Places, given: Given) -> Any:
            return elements(places, {old: given[new] for old, new in pairs})

        return DynamicArray(self.axes, self.dtype, at, [new for _, new in pairs], self._put)

    def own(self) -> None:
        """Give an array that was computed memory of its own, to be written into.

        Raises ReadOnlyError where the trace that computed it would not see the write.
        """
        from gradc.dynamic import views

        if not self.owned():
            raise views.lost(self)

    def owned(self) -> bool:
        """Give it memory if that can be done; whether it has some now."""
        if self._put is None:
            from gradc.dynamic.loops import materialised

            with outside(self._trace, [s.now().cell.trace for s in self.sources]) as found:
                if not found:
                    return False
                made = materialised(self)
            self._at, self._put, self.sources = made._at, made._put, made.sources
        return True

    def first(self, axes: Sequence[Axis]) -> DynamicArray:
        """As much of an array, from its beginning, as other axes are long."""
        return self.runs([Run(0, 1, a) if isinstance(a, Length) else slice(None) for a in axes])

    def runs(self, items: Sequence[Run | slice]) -> DynamicArray:
        """What runs take of the axes."""
        made: DynamicArray = _Part(self, items).array()
        return made

    # -- indexing ------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        from gradc.dynamic import views

        items = items_of(index, len(self.axes))
        if _is_advanced(items):
            picked = views.picked_by(self, items)
            return picked.frozen() if picked.lengths else picked.at((), picked.given())
        part = _Part(self, items)
        # What is written into the part is in the whole, which has memory for it.
        if not part.axes or self.owned():
            return part.array()
        return views.read_only(part.array())

    def part(self, *index: Any) -> Any:
        """A part to be read at once: not what is written into it, nor later into the whole."""
        return _Part(self, items_of(index, len(self.axes))).array()

    def __setitem__(self, index: Any, new: Any) -> None:
        from gradc.dynamic.loops import assign
        from gradc.dynamic.views import picked_by

        self.own()
        items = items_of(index, len(self.axes))
        if _is_advanced(items):
            assign(picked_by(self, items), new)
            return
        part = _Part(self, items)
        view = part.array()
        if isinstance(view, DynamicArray):
            if view is not new:
                assign(view, new)
        else:
            part.put((), (), new)

    # -- what needs the length now -------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from gradc.dynamic.functions import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from gradc.dynamic.functions import call

        return call(func, args, kwargs)

    def __len__(self) -> int:
        first = self.axes[0]
        if isinstance(first, Length):
            raise self.refusal("len()", "x.shape[0], which is traced")
        return first

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.axes[0], Length):
            raise self.refusal("iteration outside a compiled `for`", "for k in range(x.shape[0])")
        return (self[k] for k in range(len(self)))

    def __bool__(self) -> bool:
        raise self.refusal("a test", "np.any or np.all of it")

    def _scalar(self) -> Any:
        raise self.refusal("a conversion to a number", "x[0]")

    __float__ = __int__ = __index__ = __complex__ = _scalar

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.refusal("a NumPy array")

    def refusal(
        self, what: str, remedy: str | None = None, where: Loc | None = None
    ) -> TracerIndexError:
        """The error of what needs an array whose length is known."""
        return TracerIndexError(
            "the length of an array is known only when the compiled code runs, but needed for "
            f"{what} while tracing",
            types=[str(self)],
            where=where,
            remedy=remedy or "a window of known length, a[i-1:i+2] in place of a[i-1:j]; or all of "
            "the array with np.where(mask, a, 0), which is of its length",
        )


def _is_advanced(items: Sequence[Any]) -> bool:
    """Whether there is an array among the items of an index."""
    return any(isinstance(i, DynamicArray) or np.ndim(i) for i in items if type(i) is not slice)


def is_whole(item: Any) -> bool:
    """Whether an item is ``:``."""
    return type(item) is slice and item.start is item.stop is item.step is None


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """A run along the axis of that number among the axes of unknown length."""

    run: Run
    number: int


class _Part:
    """What an index takes of a dynamic array: integers, slices and new axes."""

    def __init__(self, whole: DynamicArray, items: Sequence[Any]) -> None:
        self.whole = whole
        self.axes: list[Axis] = []
        self.runs = 0
        self.entries: list[Any] = []  # of the axes of unknown length: a place, or a run
        self.rest: list[Any] = []  # of the others, and of new ones
        axes = iter(whole.axes)
        for item in items:
            if item is None:
                self.axes.append(1)
                self.rest.append(None)
                continue
            axis = next(axes)
            if isinstance(axis, Length):
                self.entries.append(self._along(axis, item))
            else:
                self.rest.append(self._along_known(axis, item))

    def _along(self, axis: Length, item: Any) -> Any:
        if isinstance(item, slice):
            return self._run(Run(0, 1, axis) if is_whole(item) else run_of(item, axis))
        n = axis.value
        if not is_traced(item):
            item = item.__index__()
        place = np.where(item < 0, item + n, item) if is_traced(item) or item < 0 else item
        return np.where((place >= 0) & (place < n), place, BEYOND)[()]

    def _along_known(self, axis: int, item: Any) -> Any:
        if isinstance(item, Run):
            return self._run(item)
        if not isinstance(item, slice):
            return item
        if any(map(is_traced, (item.start, item.stop, item.step))):
            found = window_of(item)
            if found is None:
                return self._run(run_of(item, axis))
            self.axes.append(found.size)
            return item
        self.axes.append(len(range(axis)[item]))
        return item

    def _run(self, run: Run) -> Numbered:
        self.axes.append(run.length)
        self.runs += 1
        return Numbered(run, self.runs - 1)

    def _places(self, places: Places) -> tuple[list[Any], tuple[Any, ...]]:
        """The places in the whole, and the index into what is there."""

        def placed(entry: Any) -> Any:
            return entry.run.place(places[entry.number]) if isinstance(entry, Numbered) else entry

        return [placed(e) for e in self.entries], tuple(map(placed, self.rest))

    def at(self, places: Places, given: Given) -> Any:
        """The elements at places."""
        inner, rest = self._places(places)
        found = self.whole.at(inner, given)
        return found if all(map(is_whole, rest)) else found[rest]

    def put(self, places: Places, rests: tuple[Any, ...], value: Any) -> None:
        """Write the elements at places, or a part of them."""
        inner, rest = self._places(places)
        assert self.whole._put is not None
        if not all(map(is_whole, rest)):
            rests = (rest, *rests)
        self.whole._put(inner, rests, value)

    def array(self) -> Any:
        """The part as an array, which is no dynamic one if all its lengths are known."""
        whole = self.whole
        picked = None if whole.lengths else tuple(e for e in self.rest if e is not None)
        sources = [
            Source(s.array, picked if s.picked is not None else None, s.version, s.copy)
            for s in whole.sources
        ]
        old = dict(zip(whole.sources, sources, strict=True))

        def at(places: Places, given: Given) -> Any:
            return self.at(places, {s: given[new] for s, new in old.items()})

        put = self.put if whole.is_view else None
        made = DynamicArray(self.axes, whole.dtype, at, sources, put)
        return made if made.lengths else made.at((), made.given())


def lifted(x: Any) -> DynamicArray:
    """An operand as a dynamic array, with the values that it has now."""
    if isinstance(x, DynamicArray):
        return x.frozen()
    x = operand(x)
    if not isinstance(x, (Tracer, np.ndarray)) or (isinstance(x, Tracer) and x.is_scalar):
        dtype = x.dtype if isinstance(x, Tracer) else np.asarray(x).dtype
        return DynamicArray((), dtype, lambda places, given: x)
    source = Source(as_tracer(x), None).frozen()
    return DynamicArray(
        source.array.shape, source.array.dtype, lambda places, given: given[source], [source]
    )
