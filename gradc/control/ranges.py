"""``gradc.range``: a range that is to stay a loop."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Iterator
from typing import Any

from gradc.control.arguments import known_int
from gradc.control.loops import trips_of
from gradc.errors import ArgumentError, LoopError, OptionError
from gradc.ir.graph import Value
from gradc.numpy_api.values import as_tracer, is_traced
from gradc.tracer import describe, fresh


class Range:
    """``range(stop)``, ``range(start, stop)``, ``range(start, stop, step)`` that stays a loop.

    A ``for`` over it in a compiled function is one loop of the native code, however short; its
    bounds may be traced. Anywhere else it is the range of Python.

    Raises ArgumentError for bounds that are no integers, OptionError for a step of zero.

    >>> import gradc
    >>> list(gradc.range(2, 8, 3))
    [2, 5]
    """

    __slots__ = ("start", "step", "stop")

    def __init__(self, *bounds: Any) -> None:
        if not 1 <= len(bounds) <= 3:
            raise ArgumentError(f"gradc.range takes 1 to 3 arguments, not {len(bounds)}",
                                remedy="gradc.range(stop), gradc.range(start, stop, step)")
        start, stop = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
        self.start, self.stop = start, stop
        self.step = bounds[2] if len(bounds) == 3 else 1
        for bound in (start, stop, self.step):
            known_int(bound, "a bound of gradc.range")
        if not is_traced(self.step) and self.step == 0:
            raise OptionError("the step of gradc.range is zero",
                              remedy="1, or -1 to count down")

    @property
    def trips(self) -> Any:
        """How many iterations there are: an int, or a traced int64."""
        count = trips_of(self.start, self.stop, self.step)
        return fresh(count) if isinstance(count, Value) else count

    def __iter__(self) -> Iterator[int]:
        for bound in (self.start, self.stop, self.step):
            if is_traced(bound):
                raise LoopError(
                    "a range with a traced bound was gone through outside a compiled `for`",
                    types=[describe(as_tracer(bound))],
                    remedy="gradc.fori_loop(lo, hi, body, init)",
                )
        return iter(builtins.range(*map(operator.index, (self.start, self.stop, self.step))))

    def __len__(self) -> int:
        return len(builtins.range(*map(operator.index, (self.start, self.stop, self.step))))

    def __repr__(self) -> str:
        return f"gradc.range({self.start}, {self.stop}, {self.step})"
