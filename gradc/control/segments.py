"""How many segments a scan is divided into, of which reverse mode keeps the beginnings alone.

With s segments of n iterations it keeps s carries, and n / s while it goes back through one: least
at the square root of n (Griewank & Walther, *Evaluating Derivatives*, 2008, ch. 12).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from gradc.control.carries import Carry
from gradc.conversions import ask_static
from gradc.errors import OptionError
from gradc.tracer import Tracer

Checkpoint = int | str | None

_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


def segments_of(checkpoint: Checkpoint, count: int, carries: Sequence[Carry]) -> int:
    """The number of segments of a scan of ``count`` iterations; 1 is no division.

    Raises OptionError for what is none of a number of segments, "sqrt" and a size, and for a size
    in which the carries cannot be kept.
    """
    if checkpoint is None:
        return 1
    if isinstance(checkpoint, Tracer):  # an argument of the function
        ask_static(checkpoint)
    root = math.isqrt(max(count - 1, 0)) + 1
    if checkpoint == "sqrt":
        return root
    if isinstance(checkpoint, int) and not isinstance(checkpoint, bool) and checkpoint > 0:
        return min(checkpoint, max(count, 1))
    size = _bytes(checkpoint)
    carry = max(sum(c.type.nbytes for c in carries), 1)
    for segments in range(1, root + 1):
        if (segments + -(-count // segments)) * carry <= size:
            return segments
    least = (root + -(-count // root)) * carry
    raise OptionError(
        f"the carries of a scan of {count} iterations take {least:,} bytes at least, which is more "
        f"than checkpoint={checkpoint!r}",
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
