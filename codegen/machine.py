"""The machine this process runs on, as the system describes it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

#: lines of Linux's description of an x86 processor that LLVM decides by
_TELLING = ("vendor_id", "cpu family", "model", "stepping", "flags")


def identity() -> str:
    """What tells this machine from others that other code might be generated for.

    Where the system describes its processors, LLVM need not be loaded to ask.
    """
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:
        first = []
    told = [line for line in first if line.startswith(_TELLING)]
    if not any(line.startswith("flags") for line in told):
        from gradc.codegen.targets import host

        return repr(host())
    return "\n".join([*told, str(l2_bytes())])


def l2_bytes() -> int:
    """The size of a core's second-level cache, where the system tells it; else 1 MiB."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip()
        return int(text.rstrip("KM")) * {"K": 1 << 10, "M": 1 << 20}.get(text[-1], 1)
    except (OSError, ValueError, IndexError):
        return 1 << 20


@functools.cache
def memory_bytes() -> int:
    """The memory of this machine, in bytes; where it does not say, as much as anyone asks for."""
    try:
        return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 1 << 62
