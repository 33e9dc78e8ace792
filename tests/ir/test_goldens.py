"""The dumps of a few programs at each stage. ``pytest --update-goldens`` writes them anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Loc, Value
from gradc.ir.interp import run
from gradc.ir.ops import exp, log, spread
from gradc.ir.passes import optimize, stabilize
from gradc.ir.text import dump, parse
from gradc.ir.types import F32, F64, TensorType
from tests.sampling import fill

GOLDENS = Path(__file__).parent.parent / "goldens"


class Program:
    """A function written gate by gate; each gate has the next line."""

    def __init__(self, name: str, *inputs: tuple[str, TensorType]) -> None:
        self.builder = Builder(name)
        self.line = 0
        self.inputs = [self.builder.input(n, t) for n, t in inputs]
        self.builder.locate = self.next_line

    def next_line(self) -> tuple[Loc, ...]:
        self.line += 1
        return (Loc(f"{self.builder.name}.py", self.line, self.builder.name),)


def matmul(a: Value, b: Value) -> Value:
    return ops.matmul(a, b, ta=False, tb=False)


def mean(x: Value) -> Value:
    return ops.sum_(x, axes=tuple(range(len(x.shape)))) / x.type.size


def lecture() -> Graph:
    """f = (x + y)·z"""
    program = Program("lecture", *((n, TensorType(F64)) for n in "xyz"))
    x, y, z = program.inputs
    return program.builder.build([(x + y) * z])


def logreg() -> Graph:
    """−mean(y·log p + (1 − y)·log(1 − p)), p = 1/(1 + exp(−x·w))"""
    program = Program("logreg", ("x", TensorType(F64, (20, 3))), ("w", TensorType(F64, (3,))),
                      ("y", TensorType(F64, (20,))))
    x, w, y = program.inputs
    column = matmul(x, ops.reshape(w, shape=(3, 1)))
    p = 1 / (exp(-ops.reshape(column, shape=(20,))) + 1)
    return program.builder.build([-mean(y * log(p) + (1 - y) * log(1 - p))])


def network() -> Graph:
    """A network of two layers with softmax cross-entropy and L2, in float32."""
    program = Program(
        "network", ("x", TensorType(F32, (8, 4))), ("labels", TensorType(np.dtype("int64"), (8,))),
        ("params['W1']", TensorType(F32, (4, 5))), ("params['b1']", TensorType(F32, (5,))),
        ("params['W2']", TensorType(F32, (5, 3))))
    x, labels, w1, b1, w2 = program.inputs
    hidden = matmul(x, w1) + ops.broadcast(b1, shape=(8, 5))
    scores = matmul(ops.maximum(hidden, ops.full_like(hidden, 0)), w2)
    e = exp(scores)
    p = e / spread(ops.sum_(e, axes=(1,)), e, (1,))
    losses = -log(ops.gather(p, ops.const(program.builder, np.arange(8)), labels))
    penalty = (ops.sum_(w1 * w1, axes=(0, 1)) + ops.sum_(w2 * w2, axes=(0, 1))) * 0.01
    return program.builder.build([mean(losses) + penalty])


def squares() -> Graph:
    """‖W·x‖², the transposes left in."""
    program = Program("squares", ("W", TensorType(F64, (2, 2))), ("x", TensorType(F64, (2,))))
    w, x = program.inputs
    q = matmul(ops.reshape(x, shape=(1, 2)), ops.transpose(w, perm=(1, 0)))
    return program.builder.build([ops.sum_(ops.reshape(q, shape=(2,)) ** 2, axes=(0,))])


PROGRAMS: dict[str, tuple[Callable[[], Graph], tuple[int, ...]]] = {
    "lecture": (lecture, (0, 1, 2)),
    "logreg": (logreg, (1,)),
    "network": (network, (2, 3, 4)),
    "squares": (squares, (0, 1)),
}


def stages(traced: Graph, wrt: tuple[int, ...]) -> dict[str, Graph]:
    stable = stabilize(traced)
    adjoint = autodiff.value_and_grad(stable, wrt)
    return {"traced": traced, "stable": stable, "adjoint": adjoint, "optimized": optimize(adjoint)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_dump_at_each_stage(name: str, request: pytest.FixtureRequest) -> None:
    make, wrt = PROGRAMS[name]
    text = "\n".join(f"[{stage}]\n{dump(graph)}" for stage, graph in stages(make(), wrt).items())
    path = GOLDENS / f"{name}.txt"
    if request.config.getoption("--update-goldens"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", PROGRAMS)
def test_goldens_execute(name: str) -> None:
    """What stands in the file, read back, computes what the program computes."""
    make, wrt = PROGRAMS[name]
    parts = (GOLDENS / f"{name}.txt").read_text(encoding="utf-8").split("[")
    texts = {stage: "[".join(parts).split(f"[{stage}]\n")[1].split("\n\n")[0]
             for stage in ("traced", "stable", "adjoint", "optimized")}
    rng = np.random.default_rng(0)
    inputs = [fill(t, rng, 0, 1) for t in make().input_types]
    want = run(autodiff.value_and_grad(make(), wrt), inputs)
    for text in texts.values():
        graph = parse(text)
        for got, value in zip(run(graph, inputs), want, strict=False):
            np.testing.assert_allclose(got, value, rtol=1e-5)
