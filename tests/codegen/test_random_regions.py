"""Random programs of loops and branches, and their gradients, against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradc
from gradc.codegen.kernel import Kernel
from gradc.ir import autodiff, interp, passes
from gradc.ir.graph import Graph
from tests.region_programs import Program, region_program

SEEDS = st.integers(0, 2**32)


def compare(graph: Graph, program: Program) -> None:
    given = [np.array(x, t.dtype) for x, t in zip(program.inputs, graph.input_types, strict=True)]
    want = interp.run(graph, given)
    for a, b in zip(Kernel(graph)(given), want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        scale = max(1.0, float(np.abs(b).max(initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * scale)


def check(seed: int) -> None:
    program = region_program(seed)
    compare(program.graph, program)
    compare(passes.optimize(program.graph), program)
    gradient = autodiff.value_and_grad(program.graph, [0, 1, 2])
    compare(passes.optimize(gradient), program)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_programs(seed: int) -> None:
    check(seed)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is long enough to be shared out among threads."""
    for name in ("LONG", "CHUNK", "LONG_PRODUCT", "CHUNK_OF_PRODUCT"):
        monkeypatch.setattr(f"gradc.codegen.chunks.{name}", 1)
    monkeypatch.setattr("gradc.codegen.chunks.WHOLE", 2)
    monkeypatch.setattr("gradc.codegen.chunks.COMPENSATE", 2)


@pytest.mark.usefixtures("tiny")
def test_programs_in_chunks() -> None:
    @settings(max_examples=10, deadline=None, derandomize=True)
    @given(seed=SEEDS)
    def run(seed: int) -> None:
        check(seed)

    before = gradc.get_num_threads()
    try:
        gradc.set_num_threads(2)
        run()
    finally:
        gradc.set_num_threads(before)


@pytest.mark.exhaustive
@settings(max_examples=2000, deadline=None)
@given(seed=SEEDS)
def test_many_programs(seed: int) -> None:
    check(seed)
