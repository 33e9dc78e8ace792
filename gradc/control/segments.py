"""How many segments a scan is divided into, of which reverse mode keeps the beginnings alone.

With s segments of n iterations it keeps s carries, and what n / s iterations keep while it goes
back through one: least, where both take as much, at the square root of n (Griewank & Walther,
*Evaluating Derivatives*, 2008, ch. 12).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from gradc.conversions import ask_static
from gradc.errors import OptionError
from gradc.tracer import Tracer

Checkpoint = int | str | None

_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


def segments_of(
    checkpoint: Checkpoint, count: int, sizes: Callable[[], tuple[int, int]]
) -> int:
    """The number of segments of a scan of ``count`` iterations; 1 is no division.

    ``sizes`` are the bytes of the carries, and of what the reverse of an iteration needs to be
    kept. Raises OptionError for what is none of a number of segments, "sqrt" and a size, and for a
    size that does not hold what is kept.
    """
    if checkpoint is None:
        return 1
    if isinstance(checkpoint, Tracer):  # an argument of the function
        ask_static(checkpoint)
    if checkpoint == "sqrt":
        return math.isqrt(max(count - 1, 0)) + 1
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0:
        return min(checkpoint, max(count, 1))
    size = _bytes(checkpoint)
    carry, iteration = sizes()

    def kept(segments: int) -> int:
        return (segments > 1) * segments * carry + -(-count // segments) * iteration

    if kept(1) <= size:
        return 1
    # The least of s·carry + n/s·iteration is at a root.
    root = min(math.isqrt(count * iteration // max(carry, 1)) + 1, count)
    for segments in range(max(2, count * iteration // max(size, 1)), root + 1):
        if kept(segments) <= size:
            return segments
    raise OptionError(
        f"the reverse of a scan of {count} iterations keeps {min(kept(1), kept(root)):,} bytes at "
        f"least, which is more than checkpoint={checkpoint!r}",
        remedy="give it more, carry less, or scan over segments of scans with gradc.checkpoint",
    )


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Raise OptionError for what is none of a number of segments, "sqrt" and a size."""
    is_count = isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0
    if checkpoint is not None and checkpoint != "sqrt" and not is_count:
        _bytes(checkpoint)


def _bytes(text: object) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kKMG]?B)", text if isinstance(text, str) else "")
    if found is None:
        raise OptionError(f"checkpoint={text!r} of a scan",
                          remedy='"sqrt", a number of segments from 1, or a size as "64MB"')
    return int(float(found[1]) * _UNITS[found[2].upper()])
