"""Objects for every target: their symbols, and that nothing is left to libraries."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

import gradc
from gradc.codegen import jit
from gradc.codegen.aot import module, objects
from gradc.codegen.aot.routine import call_of
from gradc.codegen.kernel import Kernel
from gradc.codegen.program import schedule
from gradc.codegen.targets import NAMED, host
from gradc.ir import autodiff, passes
from tests.export.programs import PROGRAMS
from tests.export.symbols import OWN, symbols
from tests.programs import random_program
from tests.region_programs import region_program

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


LIBRARIES = {
    "aarch64-linux": ("libmodel.so", b"\x7fELF"), "arm64-macos": ("libmodel.dylib", b"\xcf\xfa"),
    "x86-64-windows": ("model.dll", b"MZ"), "wasm32": ("model.wasm", b"\0asm"),
}


@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="ziglang is not installed")
@pytest.mark.parametrize("target", LIBRARIES)
def test_libraries(target: str, tmp_path: Path) -> None:
    program = PROGRAMS["network"]
    made = gradc.compile(program.function).export(
        tmp_path / "model", *program.types, formats=("so",), target=target
    )
    name, magic = LIBRARIES[target]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert made.files["so"].read_bytes().startswith(magic)
    assert made.files["so"].stat().st_size < 60_000


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_are_equal_to_the_bit(seed: int) -> None:
    """The object for this machine, loaded as it is, against the compiled program."""
    machine = dataclasses.replace(host(), blas=False)
    loops = region_program(seed)
    gradient = autodiff.vjp(loops.graph, [0, 1, 2])
    ones = [np.ones(t.shape, t.dtype) for t in gradient.input_types[len(loops.inputs) :]]
    programs = [
        (random_program(seed).graph, random_program(seed).inputs), (loops.graph, loops.inputs),
        (gradient, [*loops.inputs, *ones]),
    ]
    routines, graphs = [], [passes.optimize(graph) for graph, _ in programs]
    for k, graph in enumerate(graphs):
        names = [[(f"{c}{n}", "") for n in range(len(some))]
                 for c, some in (("a", graph.inputs), ("r", graph.outputs))]
        routines.append(call_of(f"model_{k}", schedule(graph, machine), *names, "a program"))
    made = module.emit_library("model", routines, machine)
    names = tuple(routine.name for routine in routines)
    keep, addresses = jit.link(objects.compile(module.text_of(made), machine), names)
    for routine, graph, (_, inputs) in zip(routines, graphs, programs, strict=True):
        pairs = zip(inputs, graph.input_types, strict=True)
        given = [np.require(x, t.dtype, "C") for x, t in pairs]
        results = [np.empty(t.shape, t.dtype) for t in graph.output_types]
        values = [
            np.ctypeslib.as_ctypes_type(x.dtype)(x.item()) if p.kind == "value"
            else ctypes.c_void_p(x.ctypes.data)
            for p, x in zip(routine.params, [*given, *results], strict=True)
        ]
        space = np.full(routine.workspace + 256, 99, np.uint8)
        begin = 128 + seed  # of any alignment
        call = ctypes.CFUNCTYPE(ctypes.c_int64, *(type(v) for v in values), ctypes.c_void_p)
        assert call(addresses[routine.name])(*values, space.ctypes.data + begin) == 0
        assert np.all(space[:begin] == 99) and np.all(space[begin + routine.workspace :] == 99)
        expected = Kernel(graph, machine)([np.asarray(x) for x in inputs])
        for got, wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    del keep


@pytest.mark.parametrize("target", NAMED)
def test_the_text_is_a_module_of_its_own(target: str, tmp_path: Path) -> None:
    program = PROGRAMS["single"]
    made = gradc.compile(program.function).export(
        tmp_path / "model", *program.types, formats=("ll", "o"), target=target
    )
    text = made.files["ll"].read_text()
    assert text.startswith(f'target triple = "{NAMED[target].triple}"')
    assert objects.compile(text, NAMED[target]) == made.files["o"].read_bytes()
