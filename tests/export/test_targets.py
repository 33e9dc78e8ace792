"""Objects for every target: their symbols, and that nothing is left to libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

import gradc
from gradc.codegen.targets import NAMED
from tests.export.programs import PROGRAMS
from tests.export.symbols import OWN, symbols

ALLOCATOR = {"malloc", "realloc", "free"}
MAGIC = {
    "x86-64-windows": b"\x64\x86", "arm64-macos": b"\xcf\xfa\xed\xfe\x0c\0\0\x01",
    "wasm32": b"\0asm",
}


@pytest.mark.parametrize("target", NAMED)
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_objects(name: str, target: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    made = gradc.compile(program.function).export(
        tmp_path / "model", *program.types, formats=("o", "h"), target=target
    )
    code = made.files["o"].read_bytes()
    assert code.startswith(MAGIC.get(target, b"\x7fELF\x02\x01\x01"))
    found = symbols(code)
    before = "_" if target == "arm64-macos" else ""
    shown = {f"{before}model_{end}" for end in ("value", "value_and_grad", "message")}
    if name in ("statistics", "product"):
        shown.remove(f"{before}model_value_and_grad")
    # the functions of 128 bits are weak and hidden
    assert found.defined - OWN.get(target, set()) == shown
    asked = {symbol.removeprefix(before) for symbol in found.undefined}
    asked -= OWN.get(target, set()) - {"__multi3", "__ashlti3"} | {"__indirect_function_table"}
    assert asked <= ALLOCATOR
    assert bool(asked) == (name == "newton")
    header = made.files["h"].read_text()
    assert NAMED[target].triple in header and ("malloc" in header) == (name == "newton")
