"""The benchmark runs; its figures are nobody's promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_bench_gradients(tmp_path: Path) -> None:
    script = Path(__file__).with_name("bench_gradients.py")
    rows = tmp_path / "rows.json"
    subprocess.run([sys.executable, str(script), "--rounds", "1", "--case", "squares",
                    "--peer", "autograd", "--json", str(rows)], check=True, capture_output=True)
    first = json.loads(rows.read_text())["rows"][0]
    assert first["peer"] == "gradc" and first["ratio"] == 1 and first["seconds"] > 0
