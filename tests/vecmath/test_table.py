"""docs/vecmath.md as it stands: every function is in it, within what is promised."""

from __future__ import annotations

from gradc.codegen import vecmath
from tests.vecmath.functions import BOUNDS
from tests.vecmath.measure import BINARY
from tests.vecmath.table import EVERY, PATH, Row, read
from tests.vecmath.test_slopes import SLOPES

DTYPES = ("float64", "float32")


def test_the_table_lists_every_function_and_slope() -> None:
    functions = vecmath.FUNCTIONS - {"fmod"}  # which is exact
    assert BOUNDS.keys() == functions
    names = functions | {f"slope of {name}" for name in SLOPES}
    assert read().keys() == {(name, dtype) for name in names for dtype in DTYPES}


def test_what_was_measured_is_within_what_is_promised() -> None:
    for (name, dtype), row in read().items():
        slope = SLOPES.get(name.removeprefix("slope of "))
        promised = BOUNDS[name][dtype == "float32"] if name in BOUNDS else slope and slope.bound
        assert row.bound == promised, row
        assert row.worst <= row.bound, row


def test_functions_of_one_float32_are_measured_at_all_of_them() -> None:
    for name in BOUNDS.keys() - BINARY:
        assert read()[name, "float32"].sample == EVERY


def test_rows_read_back() -> None:
    for row in read().values():
        assert isinstance(row, Row)
        assert str(row) in PATH.read_text(encoding="utf-8").splitlines()
