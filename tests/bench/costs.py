"""What surrounds the calls: import, the first call, unrolled graphs, memory. In new processes.

A first call is cold, or finds the object code of another process in gradc's cache. Each figure is
the least of a few processes, whose bytecode is there, as after an installation.

``python costs.py SYSTEM COST CLOCK`` is such a process: it prints one number.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

#: of the process's CPU time or of the wall
CLOCK = time.process_time if sys.argv[-1] == "cpu" else time.perf_counter
#: seconds after which a process is stopped, and after which a cost is not measured once more
PATIENCE, ENOUGH = 60, 4
ROUNDS = 5
UNROLLED = (100, 1000, 10_000)
#: those for which more than that many operations take minutes
AT_MOST = {"jax": 1000, "compile": 100}
MODULES = {"compile": "torch", "casadi-c": "casadi"}
#: what compiles or differentiates unrolled graphs
UNROLLING = ("gradc", "jax", "torch", "autograd", "pytensor", "compile")


def recurrence(xp: Any, steps: int) -> Any:
    """A logistic map with a sine in it, ``steps`` operations long."""

    def loss(x: Any) -> Any:
        for _ in [None] * (steps // 4):  # over a list: a range would become a native loop
            x = 0.5 * xp.sin(x) + x * 0.25
        return xp.sum(x)

    return loss


def _import(system: str) -> float:
    started = CLOCK()
    importlib.import_module(MODULES.get(system, system))
    return CLOCK() - started


def _workload(name: str) -> Any:
    from workloads import ALL
    from workloads.workload import Workload

    if not name.startswith("unrolled"):
        return next(w for w in ALL if w.name == name)
    steps = int(name.split()[1])
    sys.setrecursionlimit(100_000)
    return Workload(name, lambda xp: recurrence(xp, steps), lambda x: (0, [x]),
                    lambda rng: ([rng.normal(size=8)], []), 1, 1)


def _first(system: str, name: str) -> float:
    """The seconds to make a contender and to call it, after imports."""
    from systems import SYSTEMS

    importlib.import_module(MODULES.get(system, system))
    w = _workload(name)
    arrays, count = w.arguments("float64")
    started = CLOCK()
    contender = SYSTEMS[system].make(w, arrays, count)
    contender(*arrays)
    return CLOCK() - started


def _memory(system: str, name: str) -> float:
    """Peak MiB of a process that called a contender ten times, less what the import needs."""
    from systems import SYSTEMS

    importlib.import_module(MODULES.get(system, system))
    w = _workload(name)
    arrays, count = w.arguments("float64")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    contender = SYSTEMS[system].make(w, arrays, count)
    for _ in range(10):
        contender(*arrays)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


FIRST = ("mlp 4-32-32-1 x32", "mlp 64-128-10 x64")
MEMORY = ("chain 1000000", "attention 4x512x64", "k-means n10000 d8 k100")


def measure(peers: Sequence[str], cpu: bool = False, quick: bool = False) -> list[dict[str, Any]]:
    """Every cost of every system, each in a process of its own."""
    rows = []
    clock = "cpu" if cpu else "wall"
    for system in ("gradc", *(p for p in peers if p != "casadi-c")):
        first = [*FIRST[:1]] if quick else [*FIRST]
        if system in UNROLLING and not quick:
            first += [f"unrolled {n}" for n in UNROLLED if n <= AT_MOST.get(system, n)]
        tasks = [("import", "import", "s", False)]
        tasks += [(f"first {name}", f"first:{name}", "s", False) for name in first]
        if system == "gradc":
            tasks += [(f"first {name}, warm", f"first:{name}", "s", True) for name in first]
        large = [*MEMORY, *(["unrolled 1000"] if system in UNROLLING else [])]
        tasks += [(f"memory of {name}", f"memory:{name}", "MiB", False)
                  for name in large if not quick]
        for cost, task, unit, warm in tasks:
            rows.append({"system": system, "cost": cost, "unit": unit,
                         "figure": _least(system, task, clock, warm, 1 if quick else ROUNDS)})
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _least(system: str, task: str, clock: str, warm: bool, rounds: int) -> float | str | None:
    """The least figure of so many processes; fewer where one takes long."""
    figures = []
    with tempfile.TemporaryDirectory() as cache:
        if warm or task == "import":  # the first leaves object code, and bytecode
            _child(system, task, clock, cache)
        started = time.perf_counter()
        for k in range(rounds):
            figure = _child(system, task, clock, cache if warm else os.path.join(cache, str(k)))
            if not isinstance(figure, float):
                return figure
            figures.append(figure)
            if time.perf_counter() - started > ENOUGH:
                break
    return min(figures)


def _child(system: str, task: str, clock: str, cache: str) -> float | str | None:
    command = [sys.executable, __file__, system, task, clock]
    environment = {k: v for k, v in os.environ.items()
                   if k not in ("PYTHONDONTWRITEBYTECODE", "GRADC_CACHE")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                              cwd=os.path.dirname(os.path.abspath(__file__)), check=False,
                              env=environment | {"GRADC_CACHE_DIR": cache})
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
