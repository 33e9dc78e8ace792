"""Code for machines that are not at hand: no library calls, and vectors of the machine's width."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from gradc.codegen import jit
from gradc.codegen.emit import emit
from gradc.codegen.program import schedule
from gradc.codegen.targets import NAMED
from gradc.ir import autodiff, ops, passes
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import F32, F64, TensorType
from tests.export.symbols import undefined
from tests.programs import random_program

VECTORS = {
    "x86-64-v2": "(add|mul)p[sd]", "x86-64-v3": "%ymm", "x86-64-v4": "%zmm",
    "x86-64-windows": "%ymm", "aarch64-linux": r"\bv\d+\.(2d|4s)",
    "arm64-macos": r"\bf(mla|mul|add)\.(2d|4s)", "wasm32": "f(64x2|32x4)",
}


def network(x: Value, w: Value) -> Value:
    z = ops.matmul(x, w, ta=False, tb=False)
    total = ops.log(ops.sum_(ops.exp(ops.tanh(z)), axes=(1,)))
    return ops.sum_(total * total, axes=(0,))


def chain(x: Value, w: Value) -> Value:
    y = ops.sin(x) * ops.exp(-(x * x)) + ops.log1p(x * x)
    return ops.sum_(y, axes=(0, 1)) * ops.sum_(ops.sqrt(w * w), axes=(0, 1))


def gradient(function: Callable[[Value, Value], Value], dtype: Any) -> Graph:
    b = Builder("test")
    x = b.input("x", TensorType(dtype, (700, 65)))
    w = b.input("w", TensorType(dtype, (65, 100)))
    graph = passes.stabilize(b.build([function(x, w)]))
    return passes.optimize(autodiff.value_and_grad(graph, [0, 1]))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("function", [network, chain])
def test_gradients(function: Any, dtype: Any, name: str) -> None:
    text = str(emit(schedule(gradient(function, dtype), NAMED[name]), NAMED[name]))
    assert not undefined(text, name)
    assert re.search(VECTORS[name], jit.assembly(text, NAMED[name]))


@pytest.mark.parametrize("name", NAMED)
def test_random_programs(name: str) -> None:
    for seed in range(12):
        graph = passes.optimize(random_program(seed).graph)
        text = str(emit(schedule(graph, NAMED[name]), NAMED[name]))
        assert not undefined(text, name), seed


def test_a_library_call_would_be_seen() -> None:
    text = """
declare double @sin(double)
define double @f(double %x) {
  %y = call double @sin(double %x)
  %z = fadd double %y, 1.0
  ret double %z
}
"""
    for name in NAMED:
        assert undefined(text, name) == {"sin"}
