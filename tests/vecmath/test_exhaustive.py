"""Every float32, against the double function rounded; behind the marker ``exhaustive``."""

from __future__ import annotations

import numpy as np
import pytest

from gradc.codegen import vecmath
from tests.vecmath.measure import BINARY, compiled

CHUNK = 1 << 22


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS - BINARY))
def test_every_float32(name: str) -> None:
    """Within one ulp; the double function, tested against mpmath, is exact beside that."""
    single, double = compiled(name, 4), compiled(name, 8)
    worst = 0.0
    for start in range(0, 1 << 32, CHUNK):
        x = (np.arange(CHUNK, dtype=np.uint32) + np.uint32(start)).view(np.float32)
        with np.errstate(all="ignore"):
            got = single(x)
            exact = double(x.astype(float))
            unit = np.maximum(np.frexp(exact)[1] - 24, -149)
            error = np.abs(np.ldexp(got.astype(float) - exact, -unit))
            rounded = exact.astype(np.float32)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        worst = max(worst, float(np.max(np.where(same, 0, error))))
    assert worst <= 1, worst
