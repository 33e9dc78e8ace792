"""What surrounds the calls: import, the first call, unrolled graphs, memory. In new processes.

``python costs.py SYSTEM COST CLOCK`` is such a process: it prints one number.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

#: of the process's CPU time or of the wall
CLOCK = time.process_time if sys.argv[-1] == "cpu" else time.perf_counter
#: seconds after which a process is stopped
PATIENCE = 60
UNROLLED = (100, 1000, 10_000)
MODULES = {"compile": "torch", "casadi-c": "casadi"}
#: what compiles or differentiates unrolled graphs
UNROLLING = ("gradc", "jax", "torch", "autograd", "pytensor", "compile")


def recurrence(xp: Any, steps: int) -> Any:
    """A logistic map with a sine in it, ``steps`` operations long."""

    def loss(x: Any) -> Any:
        for _ in range(steps // 4):
            x = 0.5 * xp.sin(x) + x * 0.25
        return xp.sum(x)

    return loss


def _import(system: str) -> float:
    started = CLOCK()
    importlib.import_module(MODULES.get(system, system))
    return CLOCK() - started


def _first(system: str, name: str) -> float:
    """The seconds to make a contender and to call it, after imports."""
    from systems import SYSTEMS
    from workloads import ALL
    from workloads.workload import Workload

    importlib.import_module(MODULES.get(system, system))
    if name.startswith("unrolled"):
        steps = int(name.split()[1])
        w = Workload(name, lambda xp: recurrence(xp, steps), lambda x: (0, [x]),
                     lambda rng: ([rng.normal(size=8)], []), 1, 1)
    else:
        w = next(w for w in ALL if w.name == name)
    arrays, count = w.arguments("float64")
    sys.setrecursionlimit(100_000)
    started = CLOCK()
    contender = SYSTEMS[system].make(w, arrays, count)
    contender(*arrays)
    return CLOCK() - started


def _memory(system: str, name: str) -> float:
    """Peak MiB of a process that called a contender ten times, less what the import needs."""
    from systems import SYSTEMS
    from workloads import ALL

    importlib.import_module(MODULES.get(system, system))
    w = next(w for w in ALL if w.name == name)
    arrays, count = w.arguments("float64")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contender = SYSTEMS[system].make(w, arrays, count)
    for _ in range(10):
        contender(*arrays)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


FIRST = ("mlp 4-32-32-1 x32",)
MEMORY = ("chain 1000000", "attention 4x512x64", "k-means n10000 d8 k100")


def measure(peers: Sequence[str], cpu: bool = False, quick: bool = False) -> list[dict[str, Any]]:
    """Every cost of every system, each in a process of its own."""
    rows = []
    for system in ("gradc", *(p for p in peers if p != "casadi-c")):
        tasks = [("import", "import", "s")]
        tasks += [(f"first {name}", f"first:{name}", "s") for name in FIRST]
        if system in UNROLLING:
            tasks += [(f"unrolled {n}", f"first:unrolled {n}", "s") for n in UNROLLED]
        tasks += [(f"memory of {name}", f"memory:{name}", "MiB") for name in MEMORY]
        for cost, task, unit in tasks[:2] if quick else tasks:
            rows.append({"system": system, "cost": cost, "unit": unit,
                         "figure": _child(system, task, "cpu" if cpu else "wall")})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _child(system: str, task: str, clock: str) -> float | str | None:
    command = [sys.executable, __file__, system, task, clock]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                              cwd=os.path.dirname(os.path.abspath(__file__)), check=False)
    except subprocess.TimeoutExpired:
        return f"> {PATIENCE} s"
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    system, task, _ = sys.argv[1:]
    kind, _, name = task.partition(":")
    if kind == "import":
        print(_import(system))
    else:
        print({"first": _first, "memory": _memory}[kind](system, name))


if __name__ == "__main__":
    main()
