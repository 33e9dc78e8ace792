"""What a trainer shows of its loop."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradc
from gradc.codegen import jit
from gradc.codegen.emit import emit
from gradc.codegen.program import schedule
from gradc.codegen.targets import NAMED
from gradc.ir.text import parse
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
        "graph mlp_loss(params['W1']: f64[7,9]",
        "state.mean['W1']: f64[7,9]",
        "x: f64[53,7], y: i64[53], for.seed: u64[], for.epoch: i64[], for.batch: i64[], for.steps",
        "= loop params['W1']",
        "body = graph step(",
        "graph shuffle(",
        "random_permutation key {n=53}",
        "graph full(",
        "gather for.order,",
        "gather x,",
        "matmul",
        "-- adjoint",
        "-- update",
        "graph last(",
        "scatter_set for.losses,",
        "test = graph unfinished(",
    ]
    at = 0
    for part in in_order:
        found = text.find(part, at)
        assert found >= 0, part
        at = found


def test_graphs_parse_back(shown):
    for stage in ("traced", "adjoint", "optimized"):
        graph = parse(shown(stage))
        assert graph.name == "mlp_loss"
    step = parse(shown("adjoint"))
    assert {node.role.kind for node in step.nodes} == {"primal", "adjoint", "update"}


def test_code(shown):
    assert "define i64 @kernel(ptr %args, ptr %outs, ptr %ws)" in shown("llvm")
    assert "kernel:" in shown("asm")
    assert "loop" in shown("loops")


def large():
    """Layers that threads share, and whose updates go in chunks."""
    rng = np.random.default_rng(0)
    params = [(rng.standard_normal((784, 256)), np.zeros(256)),
              (rng.standard_normal((256, 10)), np.zeros(10))]

    def loss(params, x, y):
        (w, b), (v, c) = params
        return np.mean((np.tanh(x @ w + b) @ v + c - y) ** 2)

    trainer = gradc.train(loss, optimizer=adam(), batch_size=256)
    return trainer.ir(params, (np.zeros((512, 784)), np.zeros((512, 10))), stage="loops")


def test_what_is_carried_is_in_place():
    """No array is copied from one step to the next, nor when a run begins or ends."""
    params, x, y = mlp_data(np.float64, features=8, hidden=16, classes=8)
    small = gradc.train(mlp_loss, adam(), 8).ir(params, (x, y), stage="loops")
    for program in (small, large()):
        assert not re.search(r"in[0-9]: ", program)  # what is carried is not an input apart
        assert "slot" not in program and "'" not in program  # nothing moves


def test_data_in_place():
    x = np.ones((6, 2))
    trainer = gradc.train(
        lambda w, x: np.sum(x @ w), optimizer=sgd(1.0), batch_size=3, shuffle=False
    )
    text = trainer.ir(np.ones(2), (x,))
    assert "x: f64[2,3,2]" in text and "gather x, for.batch" in text
    assert "permutation" not in text
    whole = gradc.train(lambda w, x: np.sum(x @ w), optimizer=sgd(1.0)).ir(np.ones(2), (x,))
    assert "x: f64[6,2]" in whole and "gather" not in whole


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_the_loop_stands_alone_on_every_machine(target):
    """No target needs a library function for it, and no shift or product is left to a runtime."""
    params, x, y = mlp_data(np.float64)
    text = gradc.train(mlp_loss, adam(), batch_size=8).ir(params, (x, y), stage="optimized")
    code = jit.assembly(str(emit(schedule(parse(text), target), target)), target)
    called = set(re.findall(r"^\s*(?:callq|bl)\s+([.\w]+)", code, re.MULTILINE))
    assert {name.removeprefix(".L").rstrip("0123456789") for name in called} <= {
        "philox", "exp_f", "log_f", "kernel_",
    }, called


def test_repr():
    trainer = gradc.train(mlp_loss, optimizer=sgd(0.1, momentum=0.9))
    assert repr(trainer) == "<trainer of mlp_loss by sgd(lr=0.1, momentum=0.9)>"
    assert repr(adam()) == "adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08)"
