"""The suite runs: nothing about times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "run.py"


def test_two_small_workloads_without_peers(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, str(RUN), "--quick", "--peers", "numpy", "--dtype", "float64",
               "--only", "rosenbrock 10", "--only", "logreg 200", "--json", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(written.read_text())["rows"]
    names = {row["workload"] for row in rows}
    assert {"rosenbrock 10", "logreg 200x10"} <= names
    assert all(row["seconds"]["gradc"] > 0 and not row["wrong"] for row in rows)
    assert "geometric means" in done.stdout


def test_the_costs_around_calls_without_peers(tmp_path: Path) -> None:
    written = tmp_path / "figures.json"
    command = [sys.executable, str(RUN), "--costs", "--quick", "--peers", "", "--json",
               str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(written.read_text())["costs"]
    name = "first mlp 4-32-32-1 x32"
    assert [row["cost"] for row in rows] == ["import", name, f"{name}, warm"]
    assert all(row["figure"] > 0 for row in rows)


def test_training_without_peers() -> None:
    command = [sys.executable, str(RUN.parent / "bench_training.py"), "--quick", "--only", "eleven"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sgd eleven lines x4        float64  gradc" in done.stdout
