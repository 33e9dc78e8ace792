"""WebAssembly modules, run by Node."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.tree import flatten
from tests.export.programs import PROGRAMS

LINKER = shutil.which("wasm-ld") or importlib.util.find_spec("ziglang")
pytestmark = pytest.mark.skipif(
    not (LINKER and shutil.which("node")), reason="Node, or a linker of WebAssembly, is missing"
)

#: runs one function on arrays of bytes and numbers, and prints what it returns and writes
RUN = """
import fs from "node:fs";
const [file, name, task] = process.argv.slice(2);
const { inputs, outputs, workspace } = JSON.parse(fs.readFileSync(task));
let memory;
const allocate = (size) => {
  const at = heap; heap += (Number(size) + 63) & ~63;
  const pages = Math.ceil((heap - memory.buffer.byteLength) / 65536);
  if (pages > 0) memory.grow(pages);
  return at;
};
const env = {
  malloc: allocate, free: () => {},
  realloc: (old, size) => {
    const at = allocate(size);
    new Uint8Array(memory.buffer).copyWithin(at, old, old + size);
    return at;
  },
};
const wasm = new WebAssembly.Module(fs.readFileSync(file));
const exports = new WebAssembly.Instance(wasm, { env }).exports;
memory = exports.memory;
let heap = exports.__heap_base.value;
const bytes = (at, size) => new Uint8Array(memory.buffer, at, size);
const given = inputs.map((input) => {
  if ("number" in input) return input.wide ? BigInt(input.number) : input.number;
  const at = allocate(input.bytes.length);
  bytes(at, input.bytes.length).set(input.bytes);
  return at;
});
const results = outputs.map(allocate);
const status = exports[name](...given, ...results, allocate(workspace));
console.log(JSON.stringify({
  status: Number(status),
  results: results.map((at, k) => Array.from(bytes(at, outputs[k]))),
}));
"""


def call(path: Path, name: str, workspace: int, args: list[Any], outputs: list[Any]) -> list[Any]:
    """The arrays that a function of a module writes, of the shapes and dtypes of ``outputs``."""
    inputs: list[dict[str, Any]] = []
    for arg in map(np.asarray, args):
        if arg.ndim:
            inputs.append({"bytes": list(arg.tobytes())})
        else:
            inputs.append({"number": arg.item(), "wide": arg.dtype == np.int64})
    task = {"inputs": inputs, "outputs": [o.nbytes for o in outputs], "workspace": workspace}
    (path.parent / "run.mjs").write_text(RUN)
    (path.parent / "task.json").write_text(json.dumps(task))
    command = ["node", path.parent / "run.mjs", path, name, path.parent / "task.json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == 0
    return [
        np.frombuffer(bytes(got), o.dtype).reshape(o.shape)
        for got, o in zip(answer["results"], outputs, strict=True)
    ]


@pytest.mark.parametrize("name", sorted(PROGRAMS.keys() - {"large"}))
def test_values(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    f = gradc.compile(program.function)
    made = f.export(
        tmp_path / "model", *program.types, formats=("so", "h"), target="wasm32"
    )
    header = made.files["h"].read_text()
    for end, function in (("value", f), ("value_and_grad", f.value_and_grad)):
        if f"model_{end}(" not in header:
            continue
        expected = list(map(np.asarray, flatten(function(*program.args))[0]))
        macro = f"MODEL_{end.upper()}_WORKSPACE "
        workspace = int(header.partition(macro)[2].split()[0])
        given = flatten(program.args)[0]
        got = call(made.files["so"], f"model_{end}", workspace, given, expected)
        for a, b in zip(got, expected, strict=True):
            if a.dtype.kind == "f":
                close = 64 * np.finfo(a.dtype).eps
                np.testing.assert_allclose(a, b, rtol=close, atol=close * np.abs(b).max())
            else:
                np.testing.assert_array_equal(a, b)


def test_random_numbers_are_the_same(tmp_path: Path) -> None:
    """128 bits of a product, which WebAssembly has not."""

    def draw(seed: Any) -> Any:
        key = gradc.random.key(seed)
        return gradc.random.normal(key, (50,)), gradc.random.integers(key, (50,), 0, 1000)

    f = gradc.compile(draw)
    made = f.export(tmp_path / "model", "u64[]", formats=("so", "h"), target="wasm32")
    expected = list(f(np.uint64(7)))
    header = made.files["h"].read_text()
    workspace = int(header.partition("MODEL_VALUE_WORKSPACE ")[2].split()[0])
    got = call(made.files["so"], "model_value", workspace, [np.int64(7)], expected)
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-15)
    np.testing.assert_array_equal(got[1], expected[1])


def test_sines_of_large_numbers(tmp_path: Path) -> None:
    """Their reduction shifts 128 bits by a computed number."""
    x = np.ldexp(np.random.default_rng(2).uniform(1, 2, 64), np.arange(64) * 16)
    f = gradc.compile(np.sin)
    made = f.export(tmp_path / "model", "f64[64]", formats=("so",), target="wasm32")
    (got,) = call(made.files["so"], "model_value", 1 << 20, [x], [x])
    np.testing.assert_allclose(got, np.sin(x), rtol=4e-16)
