"""The exported network of the examples: in a C program, and in a web page's code under Node."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.export.test_wasm import LINKER

EXAMPLES = Path(__file__).parents[2] / "examples" / "export"
sklearn = pytest.importorskip("sklearn")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_c_program(capsys: pytest.CaptureFixture[str]) -> None:
    """Its losses are Python's to the last bit, else the example fails."""
    digits = load("digits")
    digits.main(epochs=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "13002 weights, 3 epochs in Python"
    assert int(lines[1].split()[1].replace(",", "")) < 200_000
    before, after = (int(lines[k].split()[0]) for k in (2, 6))
    assert before < after and after > 1400
    assert lines[-1] == "3 more epochs in Python give the same losses, to the last bit"


PAGE = """
import fs from "node:fs";
const folder = process.argv[2];
const { Network } = await import(`file://${folder}/digits.js`);
const read = (name) => fs.readFileSync(`${folder}/${name}`);
const data = read("digits.dat");
const network = await Network.load(
  read("digits.wasm"), JSON.parse(read("digits.json")),
  data.buffer.slice(data.byteOffset, data.byteOffset + data.length),
);
const before = network.classified();
const losses = [network.train(3), network.train(3)];
let message = "";
try { network.check(32n); } catch (error) { message = error.message; }
console.log(JSON.stringify({
  before, losses, after: network.classified(), samples: network.samples, message,
}));
"""


@pytest.mark.skipif(
    not (LINKER and shutil.which("node")), reason="Node, or a linker of WebAssembly, is missing"
)
def test_the_page(tmp_path: Path) -> None:
    web = load("web")
    digits = sys.modules["digits"]
    weights = web.write(tmp_path, epochs=3)
    (tmp_path / "page.mjs").write_text(PAGE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    command = ["node", str(tmp_path / "page.mjs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    data = digits.digits()
    result = digits.trainer().fit(weights, data, epochs=2, seed=3)
    np.testing.assert_allclose(found["losses"], result.losses, rtol=1e-12)
    for key, params in (("before", weights), ("after", result.params)):
        guesses = np.argmax(digits.outputs(params, data[0]), axis=1)
        assert found[key] == int(np.sum(guesses == np.argmax(data[1], axis=1)))
    assert found["samples"] == 1797 and found["message"] == "a pointer is null"
    assert {path.name for path in tmp_path.iterdir()} >= {"index.html", "digits.js", "digits.wasm"}
