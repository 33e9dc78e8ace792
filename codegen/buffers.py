"""Where values live: one arena for all that a call needs, planned from liveness before it runs."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gradc.codegen.loops import Nest
from gradc.codegen.region.stages import Loop
from gradc.codegen.region.straight import Known
from gradc.codegen.statements import Affine, Buffer, Compute, Literal, Load, Reduce

ALIGN = 64
#: arenas of more bytes are given back after each call, and their pages are new in the next
KEPT_WORKSPACE = 32 << 20
#: modules of the records that a program is made of
RECORDS = frozenset(c.__module__ for c in (Buffer, Nest, Loop, Known))


class Request(NamedTuple):
    """Bytes wanted from step ``first`` to step ``last``, both included."""

    nbytes: int
    first: int
    last: int


def plan(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Offsets for the requests, and the size of the arena.

    A scan over the steps (linear-scan allocation, Poletto & Sarkar 1999): what is dead is freed
    and joined with free neighbours, then each request takes the tightest gap, the largest first.
    """
    offsets = [0] * len(requests)
    order = sorted(range(len(requests)), key=lambda k: (requests[k].first, -requests[k].nbytes))
    ending: list[tuple[int, int]] = []  # (last, request), a heap
    free = _Free()
    for k in order:
        while ending and ending[0][0] < requests[k].first:
            _, done = heapq.heappop(ending)
            free.give(offsets[done], _aligned(requests[done].nbytes))
        offsets[k] = free.take(_aligned(requests[k].nbytes))
        heapq.heappush(ending, (requests[k].last, k))
    return offsets, free.total


class _Free:
    """The gaps of an arena that grows at its end."""

    def __init__(self) -> None:
        self.total = 0
        self.gaps: list[tuple[int, int]] = []  # (offset, size), by offset

    def take(self, size: int) -> int:
        """The offset of ``size`` bytes: the tightest gap, or the end."""
        fitting = [(gap, offset) for offset, gap in self.gaps if gap >= size]
        if fitting:
            gap, offset = min(fitting)
            self.gaps.remove((offset, gap))
            if gap > size:
                bisect.insort(self.gaps, (offset + size, gap - size))
            return offset
        offset = self.total
        if self.gaps and sum(self.gaps[-1]) == self.total:  # the last gap grows
            offset = self.gaps.pop()[0]
        self.total = offset + size
        return offset

    def give(self, offset: int, size: int) -> None:
        """Free a block."""
        at = bisect.bisect(self.gaps, (offset, 0))
        if at < len(self.gaps) and self.gaps[at][0] == offset + size:
            size += self.gaps.pop(at)[1]
        if at and sum(self.gaps[at - 1]) == offset:
            before, length = self.gaps.pop(at - 1)
            offset, size = before, length + size
        bisect.insort(self.gaps, (offset, size))


def _aligned(nbytes: int) -> int:
    return max(ALIGN, (nbytes + ALIGN - 1) // ALIGN * ALIGN)


def with_buffers(thing: Any, place: Callable[[Buffer], Buffer]) -> Any:
    """The same stage, or part of one, with ``place`` of its buffers."""
    if isinstance(thing, (Compute, Literal, Reduce)):  # most of a program, and none has a buffer
        return thing
    if isinstance(thing, Buffer):
        return place(thing)
    if isinstance(thing, Load):
        return Load(thing.value, place(thing.buffer), thing.index, thing.guards)
    if isinstance(thing, tuple) and not hasattr(thing, "_fields"):
        return tuple(with_buffers(x, place) for x in thing)
    if type(thing).__module__ in RECORDS and not isinstance(thing, (Affine, Known)):
        fields = {
            name: with_buffers(value, place)
            for name, value in vars(thing).items()
            if isinstance(value, (Buffer, tuple)) or type(value).__module__ in RECORDS
        }
        return replace(thing, **fields)
    return thing
