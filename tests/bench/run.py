"""The benchmark suite: value and gradient by every system that is installed, in one process.

    python tests/bench/run.py [--only PATTERN] [--threads N] [--json FILE] [--quick] ...

Contenders take NumPy arrays and return NumPy arrays; their answers are checked against a gradient
written by hand in NumPy, in float64. They take turns, round by round, so that a busy machine slows
all alike; a figure is the median over the rounds. Compiling, which is the first call, has a column
of its own. Nothing is asserted about time; the exit status is 1 if an answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time


def limit_threads(count: int) -> None:
    """Start the program again with ``count`` threads a system: libraries read it when loaded."""
    wanted = {f"{name}_NUM_THREADS": str(count) for name in
              ("OMP", "OPENBLAS", "MKL", "NUMBA", "GRADC")}
    wanted |= {"PJRT_NPROC": str(count), "NPROC": str(count)}
    if count == 1:
        wanted["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if not wanted.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="PATTERN",
                        help="part of a workload's name; repeatable")
    parser.add_argument("--peers", metavar="A,B", help="only these peers; an empty text for none")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="only this")
    parser.add_argument("--threads", type=int, default=1, help="threads a system (1)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="short rounds, few of them")
    parser.add_argument("--cpu", action="store_true",
                        help="measure the process's CPU time, all threads, in place of the wall's")
    parser.add_argument("--least", action="store_true",
                        help="show least times in place of medians: on a machine that others use")
    parser.add_argument("--slow", action="store_true",
                        help="also the peers that compile for seconds: torch.compile, PyTensor")
    parser.add_argument("--costs", action="store_true",
                        help="only imports, cold calls, unrolled graphs, memory (new processes)")
    parser.add_argument("--json", metavar="FILE", help="where to write all figures")
    return parser.parse_args()


def main() -> int:
    options = parse()
    limit_threads(options.threads)
    import costs
    import limits
    import measure
    import report
    from systems import SYSTEMS
    from workloads import ALL

    peers = [
        name for name, system in SYSTEMS.items()
        if name != "gradc" and system.installed
        and (options.slow or not system.slow_to_compile or options.peers)
        and (options.peers is None or name in options.peers.split(","))
    ]
    machine = measure.machine(peers)
    print(report.heading(machine, options.threads), flush=True)
    results: dict[str, object] = {"machine": machine, "threads": options.threads,
                                 "clock": "cpu" if options.cpu else "wall"}
    failed = False
    if options.costs:
        rows = costs.measure(peers, options.cpu, options.quick)
        print(report.costs(rows))
        results["costs"] = rows
    else:
        clock = time.process_time if options.cpu else time.perf_counter
        copies = limits.copy_rates(clock, options.quick)
        gemm = {d: limits.gemm_rate(d, clock) for d in ("float64", "float32")}
        results |= {"copy": copies, "gemm": gemm}
        rows = []
        for workload in ALL:
            if options.only and not any(part in workload.name for part in options.only):
                continue
            for dtype in workload.dtypes:
                if options.dtype in (None, dtype):
                    row = measure.workload(workload, dtype, peers, options)
                    row |= measure.shares(workload, row, gemm[dtype], copies)
                    rows.append(row)
                    print(report.progress(row), file=sys.stderr, flush=True)
                    failed |= bool(row["wrong"])
                    if options.json:
                        save(options.json, results | {"rows": rows})
        results["rows"] = rows
        if options.least:
            rows = [row | {"seconds": row["least"]} for row in rows]
            for row in rows:
                row["share"] = row["share_of_least"]
        print(report.limits(gemm, copies))
        print(report.table(rows, peers))
        print(report.summary(rows, peers))
    if options.json:
        save(options.json, results)
    return int(failed)


def save(path: str, results: dict[str, object]) -> None:
    with open(path, "w") as file:
        json.dump(results, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
