"""What ``import gradc`` costs and loads."""

from __future__ import annotations

import statistics
import subprocess
import sys

#: seconds of processor time that ``import gradc`` may add to ``import numpy``
LIMIT = 0.3
TIMED = """
import time
import numpy
started = time.process_time()
import gradc
print(time.process_time() - started)
"""
#: imported when they are used: each costs more than gradc may
HEAVY = ("matplotlib", "sklearn", "scipy.linalg", "scipy.special", "pandas", "hypothesis")


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                          text=True).stdout


def test_import_is_quick() -> None:
    times = sorted(float(python(TIMED)) for _ in range(5))
    print(f"import gradc adds {statistics.median(times):.3f} s to import numpy (all: {times})")
    assert min(times) < LIMIT


def test_heavy_libraries_wait_until_they_are_used() -> None:
    loaded = python("import sys, gradc; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)
