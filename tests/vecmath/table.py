"""docs/vecmath.md, the errors that were measured: how it is read and written.

``pytest tests/vecmath --update-goldens`` measures what it samples anew, and ``pytest -m exhaustive
tests/vecmath --update-goldens`` every float32; both in one process, for each test writes its rows.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs" / "vecmath.md"
EVERY = "every float32"
_HEAD = """\
# Errors of the vector math

The largest errors measured, in units in the last place of the exact value (ulp): half a unit is
what rounding alone may cost. *Bound* is what the tests hold the function to, *worst* what was
found, *at* the argument where it was found. *Every float32* means all 2³² arguments, compared with
NumPy's and SciPy's doubles, and the worst of each 131,072 with mpmath; otherwise that many were
drawn from every binade of either sign (the subnormals included) and, denser, from where the
function varies, and compared with mpmath. Every target with fused multiply-adds runs the same
sequence of IEEE operations, so the figures do not depend on the machine or the number of lanes.
Those without (WebAssembly, x86-64-v2) round the terms of polynomials twice, and put together a
fused multiply-add where one is needed: the bounds hold there too, but for results of atan2 below
2^-960, which may be 2 ulp off.

Near their negative zeros lgamma is measured in units of the last place of 1, and digamma of
log|x|: between two neighbours x the functions change by far more there. `gaussian` is e^(−x²), the
slope of erf up to a factor, and `sech2` that of tanh; `cube` and `fourth` are x³ and x⁴.

The slopes are those of `gradc.grad`, compiled; an operand's slope is named by its place.

| function | type | bound | worst | at | arguments |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Row:
    """A measurement: the function, its dtype, errors in ulps, the worst argument, the sample."""

    function: str
    dtype: str
    bound: float
    worst: float
    at: str
    sample: str

    def __str__(self) -> str:
        return "| " + " | ".join(map(str, astuple(self))) + " |"


def read() -> dict[tuple[str, str], Row]:
    """The rows, by function and dtype."""
    rows = {}
    lines = PATH.read_text(encoding="utf-8").splitlines() if PATH.exists() else []
    for line in lines:
        if line.startswith("| ") and "float" in line.split(" | ")[1]:
            function, dtype, bound, worst, at, sample = line.strip("| ").split(" | ")
            rows[function, dtype] = Row(function, dtype, float(bound), float(worst), at, sample)
    return rows


def record(
    function: str, dtype: str, bound: float, worst: float, at: tuple[float, ...], sample: str
) -> None:
    """Write a row in the place of the one that stands there.

    What was drawn does not replace what was found among all arguments.
    """
    rows = read()
    before = rows.get((function, dtype))
    if before is not None and before.sample == EVERY != sample and before.bound == bound:
        return
    # Where every result is the nearest number, the worst argument says nothing.
    digits = 9 if dtype == "float32" else 17
    place = "–" if worst == 0.5 else ", ".join(f"{x:.{digits}g}" for x in at)
    # Rounded upward: a table must not promise more than was found.
    rounded = -(-worst * 1000 // 1) / 1000
    rows[function, dtype] = Row(function, dtype, float(bound), rounded, place, sample)
    ordered = sorted(rows.values(), key=lambda r: (r.function.startswith("slope"), r.function,
                                                   r.dtype != "float64"))
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(_HEAD + "".join(f"{row}\n" for row in ordered), encoding="utf-8")
