"""Every float32, against NumPy's and SciPy's doubles; behind the marker ``exhaustive``."""

from __future__ import annotations

import pytest

from gradc.codegen import vecmath
from tests.vecmath.exhaustive import worst_of_every_float32
from tests.vecmath.functions import BOUNDS
from tests.vecmath.measure import BINARY
from tests.vecmath.table import EVERY, record


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(vecmath.FUNCTIONS - BINARY))
def test_every_float32(name: str, request: pytest.FixtureRequest) -> None:
    worst, at = worst_of_every_float32(name)
    bound = BOUNDS[name][1]
    assert worst <= bound, at
    if request.config.getoption("--update-goldens"):
        record(name, "float32", bound, worst, (at,), EVERY)
