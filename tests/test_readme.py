"""The README's Python blocks run, one after another, and print what the block after them shows.

``pytest tests/test_readme.py --update-goldens`` writes what they print into the README.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n*```text\n.*?^```\n)?", re.DOTALL | re.MULTILINE)
#: a first line that names the file the block is in, as a dump gives it
NAME = re.compile(r"# (\w+\.py)\n")


def test_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}

    def with_output(block: re.Match[str]) -> str:
        code = block.group(1)
        named = NAME.match(code)
        name = named.group(1) if named else f"block{block.start()}.py"
        Path(name).write_text(code)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, name, "exec"), namespace)
        shown = f"\n```text\n{printed.getvalue()}```\n" if printed.getvalue() else ""
        return f"```python\n{code}```\n{shown}"

    text = README.read_text()
    run = BLOCK.sub(with_output, text)
    if pytestconfig.getoption("--update-goldens"):
        README.write_text(run)
    else:
        assert run == text


def test_the_first_screen_gives_the_two_commands() -> None:
    first = README.read_text().splitlines()[:60]
    assert 'pip install -e ".[examples]" && python examples/digits.py' in first
    assert 'pip install -e ".[test]" && pytest' in first
