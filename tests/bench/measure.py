"""Timing contenders in turns, and checking what they return."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import time
import timeit
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import limits
import numpy as np
from systems import PRIMALS, SYSTEMS, Skip
from workloads.workload import Array, Contender, Workload, directions

import gradc

#: seconds until the idle threads of whoever came before no longer spin on a core
PAUSE = 0.1

#: how far an answer may be from the reference, relative to the largest number of its array
TOLERANCE = {"float64": 1e-9, "float32": 2e-3}

#: how far a slope may be from one by differences
DIFFERENCES = 1e-6


def machine(peers: Sequence[str]) -> dict[str, Any]:
    """What the figures are taken on."""
    import llvmlite.binding as llvm

    versions = {}
    for package in dict.fromkeys(
        ["gradc", "numpy", "llvmlite", *(SYSTEMS[p].package for p in peers)]
    ):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "cpu": llvm.get_host_cpu_name(), "cpus": len(os.sched_getaffinity(0)),
        "system": platform.system(), "python": platform.python_version(), "versions": versions,
    }


def mismatch(w: Workload, found: Any, expected: Any, dtype: str) -> str:
    """What is wrong with an answer, or an empty text."""
    tolerance = TOLERANCE[dtype]
    if w.kind == "kernel":
        tolerance = DIFFERENCES
        along = directions(found[1])
        found = found[0], [sum(map(np.vdot, along, found[1]))]
    (value, gradients), (right, right_gradients) = found, expected
    pairs = [(value, right), *zip(gradients, right_gradients, strict=True)]
    for i, (got, wanted) in enumerate(pairs):
        got, wanted = np.asarray(got), np.asarray(wanted)
        if got.size != wanted.size:
            return f"result {i}: shape {got.shape}, not {wanted.shape}"
        error = np.max(np.abs(got.reshape(wanted.shape) - wanted))
        scale = max(np.max(np.abs(wanted)), 1e-30)
        if not error <= tolerance * scale:
            return f"result {i}: off by {error / scale:.1e}"
    return ""


class Timed:
    """A contender with its arguments, called directly from a timing loop."""

    def __init__(
        self, contender: Contender, arrays: Sequence[Array], budget: float, cpu: bool
    ) -> None:
        clock = time.process_time if cpu else time.perf_counter
        names = ", ".join(f"a{i}" for i in range(len(arrays)))
        given = {f"a{i}": a for i, a in enumerate(arrays)}
        self.timer = timeit.Timer(f"f({names})", timer=clock, globals={"f": contender, **given})
        once = max(self.timer.timeit(1), 1e-7)
        if once < budget / 20:
            once = self.timer.timeit(10) / 10
        self.times = max(1, int(budget / once))
        #: seconds of a round
        self.round = once * self.times
        self.samples: list[float] = []

    def warm(self) -> None:
        """Wake the threads up: that may take a system milliseconds, and has calls to follow."""
        self.timer.timeit(3 * self.times)

    def sample(self) -> None:
        self.samples.append(self.timer.timeit(self.times) / self.times)


def prepare(
    name: str, make: Any, w: Workload, dtype: str, reference: Any, cpu: bool
) -> tuple[Contender, float, str]:
    """A contender that has been called once, the seconds that took, what is wrong with it."""
    arrays, count = w.arguments(dtype)
    clock = time.process_time if cpu else time.perf_counter
    started = clock()
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        contender: Contender = make(w, arrays, count)
        answer = contender(*arrays)
    first = clock() - started
    wrong = "" if "primal" in name else mismatch(w, answer, reference, dtype)
    if name == "gradc":
        wrong = wrong or _differs(contender, arrays, answer)
    return contender, first, wrong


def _differs(contender: Contender, arrays: Sequence[Array], answer: Any) -> str:
    """What is wrong with an answer that another number of threads gives, or an empty text."""
    count = gradc.get_num_threads()
    gradc.set_num_threads(1 if count > 1 else 2)
    value, gradients = contender(*arrays)
    gradc.set_num_threads(count)
    pairs = zip((value, *gradients), (answer[0], *answer[1]), strict=True)
    same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
    return "" if same else "other bits with another number of threads"


def workload(
    w: Workload, dtype: str, peers: Sequence[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Medians, least times and first calls of all systems, in seconds."""
    arrays, _ = w.arguments(dtype)
    reference = w.by_hand(*(a.astype("float64") if a.dtype.kind == "f" else a for a in arrays))
    budget, rounds = (0.002, 3) if options.quick else (0.01, options.rounds)
    timed: dict[str, Timed] = {}
    row: dict[str, Any] = {"workload": w.name, "dtype": dtype, "first": {}, "wrong": {},
                           "failed": {}}
    makers = {name: SYSTEMS[name].make for name in ("gradc", *peers)} | PRIMALS
    for name, make in makers.items():
        if w.systems is not None and name not in (*w.systems, "gradc primal"):
            continue
        try:
            contender, first, wrong = prepare(name, make, w, dtype, reference, options.cpu)
        except Skip:
            continue
        except Exception as error:  # a peer that cannot do a workload does not stop the run
            row["failed"][name] = f"{type(error).__name__}: {error}"[:300]
            continue
        row["first"][name] = first
        if wrong:
            row["wrong"][name] = wrong
            if name != "gradc":
                continue
        timed[name] = Timed(contender, arrays, budget, options.cpu)
    turn = sum(t.round for t in timed.values())
    rounds = max(3, min(rounds, int((1 if options.quick else 12) / turn)))
    order = list(timed.values())
    for _ in range(rounds):
        for one in order:
            if options.threads > 1:
                time.sleep(PAUSE)
                one.warm()
            one.sample()
        order = [*order[1:], order[0]]  # nobody always follows the same neighbour
    row["seconds"] = {name: statistics.median(t.samples) for name, t in timed.items()}
    row["least"] = {name: min(t.samples) for name, t in timed.items()}
    row["rounds"] = rounds
    return row


def shares(
    w: Workload, row: dict[str, Any], gemm: float, copies: dict[int, float]
) -> dict[str, float | None]:
    """The part of gradc's time that the machine needs at least, for arithmetic or for memory.

    Of the median and of the least time; None where no one has counted what is needed.
    """
    if "gradc" not in row["seconds"] or not w.numbers:
        return {"share": None, "share_of_least": None}
    nbytes = w.numbers * np.dtype(row["dtype"]).itemsize
    least = max(w.flops / gemm, nbytes / limits.copy_rate(copies, nbytes))
    return {"share": least / row["seconds"]["gradc"],
            "share_of_least": least / row["least"]["gradc"]}
