"""The wheel holds the whole source tree, and modules import one another one way."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: the folders of the checkout and the packages they install as
FOLDERS = {"gradc": "gradc", "ir": "gradc.ir", "codegen": "gradc.codegen"}
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def modules() -> dict[str, Path]:
    """Every module of the source tree, by its installed name."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the sources so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder,
                        ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    subprocess.run([sys.executable, "-c", BUILD, str(source)], cwd=source, check=True,
                   capture_output=True)
    [path] = source.glob("*.whl")
    return zipfile.ZipFile(path)


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {name.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
              for name, path in modules().items()}
    assert held == wanted | {"gradc/py.typed"}


def test_the_wheel_is_pure_python_and_carries_its_licence(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name.endswith("-py3-none-any.whl")
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_every_package_is_named() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    assert set(settings["packages"]) == packages
    assert settings["package-dir"] == {package: folder for folder, package in FOLDERS.items()}


def imports(name: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a module imports, at its top or in a function."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - max(node.level - 1, 0)]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def within(name: str, package: str) -> bool:
    """Whether a dotted name is a package or stands in it."""
    return f"{name}.".startswith(f"{package}.")


def allowed(importer: str, imported: str) -> bool:
    """Whether a module may import a name: gradc -> codegen -> ir, and only codegen knows LLVM."""
    if within(imported, "ir") or within(imported, "codegen"):
        return False  # a second copy of every class
    if within(importer, "gradc.ir"):
        return not within(imported, "llvmlite") and (
            not within(imported, "gradc") or within(imported, "gradc.ir"))
    if within(importer, "gradc.codegen"):
        return not within(imported, "gradc") or any(
            within(imported, package) for package in ("gradc.ir", "gradc.codegen"))
    return True


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name} imports {imported}"
        for name, path in modules().items()
        for line, imported in imports(name, path)
        if not allowed(name, imported)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("importer", "imported", "expected"), [
    ("gradc.ir.graph", "gradc.ir.types", True),
    ("gradc.ir.graph", "networkx", True),
    ("gradc.ir.graph", "llvmlite.binding", False),
    ("gradc.ir.ops.base", "gradc.codegen.jit", False),
    ("gradc.ir.ops.base", "gradc.tracer.Tracer", False),
    ("gradc.codegen.jit", "gradc.ir.graph", True),
    ("gradc.codegen.jit", "gradc.tracer", False),
    ("gradc.codegen.jit", "gradc.errors", False),
    ("gradc.compile", "gradc.codegen", True),
    ("gradc.compile", "ir.graph", False),
    ("gradc.irregular", "irregular", True),
])
def test_the_rule_of_direction(importer: str, imported: str, expected: bool) -> None:
    assert allowed(importer, imported) is expected
