"""Tables of the figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from systems import SYSTEMS

Row = dict[str, Any]


def heading(machine: dict[str, Any], threads: int) -> str:
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    return (f"{machine['cpu']}, {machine['cpus']} cpus, {threads} thread(s) a system, "
            f"Python {machine['python']}, {versions}")


def limits(gemm: dict[str, float], copies: dict[int, float]) -> str:
    products = ", ".join(f"{dtype} {rate / 1e9:.0f} GF/s" for dtype, rate in gemm.items())
    memory = ", ".join(f"{size >> 10} KiB {rate / 1e9:.0f} GB/s" for size, rate in copies.items())
    return f"products: {products}; copies: {memory}"


def quantity(seconds: float) -> str:
    """A time in three digits or so, in µs."""
    us = seconds * 1e6
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 1000 else f"{us:.0f}"


def best(row: Row, differentiates: bool) -> tuple[str, float] | None:
    """The fastest peer of a row that does, or does not, differentiate by itself: name, seconds."""
    times = {
        name: t for name, t in row["seconds"].items()
        if name in SYSTEMS and name != "gradc" and SYSTEMS[name].differentiates is differentiates
    }
    return min(times.items(), key=lambda item: item[1]) if times else None


def ratio(row: Row, name: str) -> float | None:
    """How many times longer than gradc a contender takes."""
    times = row["seconds"]
    return times[name] / times["gradc"] if name in times and "gradc" in times else None


def progress(row: Row) -> str:
    times = "  ".join(f"{k} {quantity(t)}" for k, t in row["seconds"].items())
    notes = [f"{k} {word}: {text}" for word in ("wrong", "failed") for k, text in row[word].items()]
    return "\n    ".join([f"{row['workload']} {row['dtype']} (µs): {times}", *notes])


def _cell(number: float | None, digits: int = 2) -> str:
    return "-" if number is None else f"{number:.{digits}f}"


def _key(row: Row) -> float:
    found = best(row, True)
    if "gradc" not in row["seconds"]:
        return -1.0
    return found[1] / row["seconds"]["gradc"] if found else math.inf


def table(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """Rows from the slowest to the fastest, relative to the best peer that differentiates.

    Peers' columns are their time over gradc's. ``v&g/v`` is gradc's value and gradient over its
    value alone, ``np v`` NumPy's value alone over gradc's value and gradient, ``nb v/v`` the value
    by Numba over the value by gradc, ``share`` the part of the time that the machine's rate of
    copying or multiplying needs.
    """
    columns = ["workload", "type", "gradc µs", "first s", "best peer", "ratio", *peers, "v&g/v",
               "np v", "nb v/v", "share"]
    lines = [columns]
    for row in sorted(rows, key=_key):
        found, ours = best(row, True), row["seconds"].get("gradc")
        primal, numba = (row["seconds"].get(f"{name} primal") for name in ("gradc", "numba"))
        lines.append([
            row["workload"], row["dtype"].replace("float", "f"),
            "failed" if ours is None else quantity(ours) + ("!" if "gradc" in row["wrong"] else ""),
            _cell(row["first"].get("gradc")),
            found[0] if found else "-", _cell(ratio(row, found[0]) if found else None),
            *(("wrong" if p in row["wrong"] else _cell(ratio(row, p))) for p in peers),
            _cell(ours / primal if ours and primal else None),
            _cell(ratio(row, "numpy primal")), _cell(numba / primal if numba and primal else None),
            _cell(row["share"]),
        ])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the first to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]),
                   *(c.rjust(n) for c, n in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _mean(ratios: Iterable[float | None]) -> str:
    logs = [math.log(r) for r in ratios if r]
    return f"{math.exp(sum(logs) / len(logs)):.2f} ({len(logs)})" if logs else "-"


def summary(rows: Sequence[Row], peers: Sequence[str]) -> str:
    """Geometric means of time over gradc's, with the number of workloads behind each."""
    done = [r for r in rows if "gradc" in r["seconds"]]
    pairs = [("best that differentiates", [_of_best(r, True) for r in done]),
             ("best by hand", [_of_best(r, False) for r in done]),
             *((p, [ratio(r, p) for r in done]) for p in peers)]
    behind = sum(1 for r in done if (of := _of_best(r, True)) and of < 1)
    means = "; ".join(f"{name} {_mean(ratios)}" for name, ratios in pairs)
    return (f"\ngeometric means of time over gradc's: {means}\n"
            f"slower than the best that differentiates: {behind} of {len(done)}")


def _of_best(row: Row, differentiates: bool) -> float | None:
    found = best(row, differentiates)
    return ratio(row, found[0]) if found else None


def costs(rows: Sequence[Row]) -> str:
    """What surrounds calls: systems by costs."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    names = list(dict.fromkeys((row["cost"], row["unit"]) for row in rows))
    found = {(row["cost"], row["system"]): row["figure"] for row in rows}
    lines = [["cost", *systems]]
    for cost, unit in names:
        figures = [found.get((cost, s)) for s in systems]
        lines.append([f"{cost} ({unit})", *(
            f if isinstance(f, str) else _cell(f, 3 if unit == "s" else 0) for f in figures)])
    return aligned(lines)
