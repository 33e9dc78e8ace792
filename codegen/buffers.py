"""Where values live: one arena for all that a call needs, planned from liveness before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGN = 64


@dataclass(frozen=True)
class Request:
    """Bytes wanted from step ``first`` to step ``last``, both included."""

    nbytes: int
    first: int
    last: int


def plan(requests: Sequence[Request]) -> tuple[list[int], int]:
    """Offsets for the requests, and the size of the arena.

    Greedy by size (Pisarchyk & Lee, *Efficient Memory Management for Deep Neural Net Inference*, 2020):
    the largest first, each at the lowest offset where nothing alive at the same time overlaps.
    """
    offsets = [0] * len(requests)
    placed: list[int] = []
    total = 0
    for k in sorted(range(len(requests)), key=lambda k: -requests[k].nbytes):
        want = requests[k]
        size = _aligned(want.nbytes)
        busy = sorted(
            (offsets[j], offsets[j] + _aligned(requests[j].nbytes))
            for j in placed
            if requests[j].first <= want.last and want.first <= requests[j].last
        )
        at = 0
        for start, stop in busy:
            if start - at >= size:
                break
            at = max(at, stop)
        offsets[k] = at
        placed.append(k)
        total = max(total, at + size)
    return offsets, total


def _aligned(nbytes: int) -> int:
    return max(ALIGN, (nbytes + ALIGN - 1) // ALIGN * ALIGN)
