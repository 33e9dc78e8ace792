"""What a trainer shows of its loop."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradc
from gradc.codegen import jit
from gradc.codegen.program import schedule
from gradc.codegen.targets import NAMED
from gradc.codegen.training import TrainingProgram
from gradc.codegen.training_emit import emit_training
from gradc.ir.graph import Builder
from gradc.ir.text import parse
from gradc.ir.types import F64, TensorType
from gradc.optim import adam, sgd
from tests.train.networks import mlp_data, mlp_loss


@pytest.fixture(scope="module")
def shown():
    params, x, y = mlp_data(np.float64)
    trainer = gradc.train(mlp_loss, optimizer=adam(), batch_size=8)
    return lambda stage=None: trainer.ir(params, (x, y), stage=stage)


def test_the_whole_loop(shown):
    text = shown()
    in_order = [
        "training mlp_loss: 53 samples, 7 steps an epoch of 8 samples, the last of 5",
        "params['W1']: f64[7,9] parameter, in two copies",
        "state.step: i64[] state, in two copies",
        "state.mean['W1']: f64[7,9] state, in two copies",
        "x: f64[53,7] data",
        "y: i64[53] data",
        "for epoch < epochs:",
        "order = shuffle(53)   # Philox4x64-10, key (seed, epoch)",
        "for k < 6:",
        "batch x = x[order[8*k : 8*k + 8]]   # gathered, 56 bytes a row",
        "stage 0:",
        "@ in0",
        "total += 8 * loss",
        "swap the two copies of params['W1']",
        "# the last 5 samples",
        "batch x = x[order[48 : 53]]",
        "losses[epoch] = total / 53",
        "report(epoch, losses[epoch])",
        "graph mlp_loss(params['W1']: f64[7,9]",
        "-- adjoint",
        "-- update",
    ]
    at = 0
    for part in in_order:
        at = text.find(part, at)
        assert at >= 0, part


def test_graphs_parse_back(shown):
    for stage in ("traced", "adjoint", "optimized"):
        graph = parse(shown(stage))
        assert graph.name == "mlp_loss"
    assert {node.role.kind for node in graph.nodes} == {"primal", "adjoint", "update"}


def test_code(shown):
    assert "define i64 @fit(ptr %carried, ptr %data" in shown("llvm")
    assert "fit:" in shown("asm")
    assert shown("loops").count("swap the two copies") == 2


def test_data_in_place():
    x = np.ones((6, 2))
    trainer = gradc.train(
        lambda w, x: np.sum(x @ w), optimizer=sgd(1.0), batch_size=3, shuffle=False
    )
    text = trainer.ir(np.ones(2), (x,))
    assert "batch x = x[3*k : 3*k + 3]   # in place" in text
    assert "shuffle" not in text and "@shuffle" not in trainer.ir(np.ones(2), (x,), stage="llvm")
    whole = gradc.train(lambda w, x: np.sum(x @ w), optimizer=sgd(1.0)).ir(np.ones(2), (x,))
    assert "6 samples, 1 step an epoch" in whole and "in1 is x" in whole


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_the_loop_stands_alone_on_every_machine(target):
    """No target needs a library function for it, and no shift or product is left to a runtime."""

    def loss(w, x):
        return np.mean((x @ w) ** 2)

    types = [TensorType(F64, (2,)), TensorType(F64, (8, 2))]
    graph = gradc.compile(loss).specialization(np.ones(2), np.ones((8, 2))).optimized
    assert list(graph.input_types) == types
    builder = Builder.extending(graph)
    outputs = [builder.value(graph.inputs[0]), builder.value(graph.outputs[0])]
    step = schedule(builder.build(outputs), target)
    program = TrainingProgram("loss", step, None, ("w",), ("x",), 1, 80, 8, True)
    text = jit.assembly(str(emit_training(program, target)), target)
    called = set(re.findall(r"\b(?:callq|bl)\s+([.\w]+)", text))
    assert {name.removeprefix(".L") for name in called} <= {
        "step", "shuffle", "philox", "rows_2_i64",
    }


def test_repr():
    trainer = gradc.train(mlp_loss, optimizer=sgd(0.1, momentum=0.9))
    assert repr(trainer) == "<trainer of mlp_loss by sgd(lr=0.1, momentum=0.9)>"
    assert repr(adam()) == "adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08)"
