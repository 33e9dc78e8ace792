"""Functions are rewritten by the source that they were made of, not by what a file has become."""

from __future__ import annotations

import ast
import importlib.util
import linecache
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.syntax import unchanged
from gradc.syntax.convert import call, family

#: functions of every kind, each under the name `f` of a file of its own
KINDS = {
    "function": """
def f(x):
    if x > 0:
        x = np.sin(x) * 2
    return x
""",
    "nested": """
def outer(factor):
    power = 2
    def f(x):
        def inner(y):
            return y * power
        if x > 0:
            x = inner(np.sin(x)) * factor * 2
        return x
    return f

f = outer(1)
""",
    "lambda": "f = lambda x: np.sin(x) * 2 if x > 0 else x\n",
    "lambda over lines": """
f = dict(
    g=lambda x: (
        np.sin(x) * 2 if x > 0 else x
    ),
    h=1)["g"]
""",
    "decorated": """
def doubled(times, *, of=None):
    def around(function):
        @wraps(function)
        def inside(x):
            if x > 0:
                x = function(x) * times
            return x
        return inside
    return around

@doubled(
    2,
    of=lambda x: x,
)
@doubled(1)
def f(
    x,
):
    return np.sin(x) if x > 0 else x
""",
    "method": """
class Model:
    __scale = 2

    def __init__(self):
        self.__rate = 1

    def apply(self, x):
        if x > 0:
            x = np.sin(x) * self.__scale * self.__rate * 2
        return x

class Fine(Model):
    @classmethod
    def made(cls):
        return cls()

    def apply(self, x):
        if x > 0:
            return super().apply(x) * 2
        return x

f = Fine.made().apply
""",
    "dataclass": """
@dataclass
class Model:
    scale: float = 2.0

    def __call__(self, x):
        return np.sin(x) * self.scale if x > 0 else x

f = Model()
""",
    "class in a function": """
def made():
    scale = 2
    class Model:
        rate = 2
        def apply(self, x):
            while x > 2:
                x = x - scale
            return [np.sin(x) * self.rate for _ in range(2)][0]
    return Model().apply

f = made()
""",
    "odd layout": '''
if True:
  def f(x, text="""
a text
"""):
    """A text
that begins in the first column."""
# and a comment
    if x > 0: x = np.sin(x) * \\
2
    return x
''',
}
HEAD = "import numpy as np\nfrom dataclasses import dataclass\nfrom functools import wraps\n"


def imported(path: Path, loader: Any = None) -> ModuleType:
    given = loader("edited", str(path)) if loader is not None else None
    spec = importlib.util.spec_from_file_location("edited", path, loader=given)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(path: Path, text: str, time: int) -> None:
    path.write_text(text)
    os.utime(path, (time, time))


def check(function: Callable[..., Any]) -> None:
    for x in (1.0, -1.0):
        assert gradc.compile(function)(x) == pytest.approx(function(x), rel=1e-15)


@pytest.fixture
def never_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("the whole file was compiled")

    monkeypatch.setattr(unchanged, "_of_file", refuse)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_not_changed(tmp_path: Path, kind: str, never_the_whole_file: None) -> None:
    path = tmp_path / "edited.py"
    write(path, HEAD + KINDS[kind], 1_000_000_000)
    check(imported(path).f)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_imported_again(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "edited.py"
    for number in ("2", "3"):
        write(path, HEAD + KINDS[kind].replace("2", number), 1_000_000_000 + int(number))
        check(imported(path).f)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [
    lambda text: text.replace(" > ", " >= "), lambda text: text.replace("sin", "cos"),
    lambda text: "\n" + text,
])  # fmt: skip
def test_a_file_that_has_changed_since_it_was_imported(
    tmp_path: Path, kind: str, change: Callable[[str], str]
) -> None:
    path, text = tmp_path / "edited.py", HEAD + KINDS[kind]
    write(path, text, 1_000_000_000)
    function = imported(path).f
    write(path, change(text), 1_000_000_100)
    with pytest.raises(gradc.GradcError, match="truth of a traced value") as info:
        gradc.compile(function)(1.0)
    assert "its source has changed since it was imported; import it anew" in info.value.remedy


def test_methods_of_what_was_imported_and_is_no_module(tmp_path: Path) -> None:
    path = tmp_path / "edited.py"
    text = "from gradc import random\nfrom math import pi\nfrom numpy import linalg, ndarray as A\n"
    write(path, text + "def f(x):\n    if x > 0:\n        x = A.sum(x) * pi\n    return x\n", 10**9)
    assert not isinstance(family(imported(path).f), str)


class Adding(SourceFileLoader):
    """An import hook that adds a statement to each function, as those that check types do."""

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        tree = ast.parse(data)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                node.body = [*ast.parse("x = np.asarray(x)").body, *node.body]
        return compile(ast.fix_missing_locations(tree), path, "exec")


def test_code_of_an_import_hook(tmp_path: Path) -> None:
    path, text = tmp_path / "edited.py", HEAD + KINDS["function"]
    write(path, text, 1_000_000_000)
    check(imported(path, Adding).f)
    function = imported(path, Adding).f
    write(path, text.replace("2", "3"), 1_000_000_100)
    assert "its source has changed" in family(function)


def test_functions_with_assertions_that_pytest_has_rewritten() -> None:
    def f(x: Any) -> Any:
        assert x.shape == (), "a scalar"
        if x > 0:
            x = np.sin(x) * 2
        return x

    assert any(name.startswith("@") for name in f.__code__.co_names)
    assert call(f) is not f
    for x in (np.float64(1), np.float64(-1)):
        assert gradc.compile(f)(x) == pytest.approx(f(x), rel=1e-15)


@pytest.mark.parametrize("text", [KINDS["function"], KINDS["function"] + "\nawait f(1)\n"])
def test_a_cell_of_a_notebook(text: str) -> None:
    name, text = f"<cell {hash(text)}>", HEAD + text
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    exec(compile(text.partition("\nawait")[0], name, "exec"), space)
    check(space["f"])
    del linecache.cache[name]


def test_a_script(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(HEAD + KINDS["nested"] + "import gradc\nprint(gradc.compile(f)(1.0))\n")
    for name, folder in ((str(path), None), ("script.py", tmp_path)):
        run = [sys.executable, name]
        done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True)
        assert float(done.stdout) == pytest.approx(4 * np.sin(1.0))
