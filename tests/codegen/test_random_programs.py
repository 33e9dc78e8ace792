"""Random programs against the interpreter: as they are, on narrower machines, cut into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradc
from gradc.codegen.kernel import Kernel
from gradc.codegen.targets import Target, host
from gradc.ir import autodiff, interp, passes
from gradc.ir.graph import Graph
from tests.programs import random_program

#: seeds of programs
SEEDS = st.integers(0, 2**32)


@pytest.fixture(autouse=True, scope="module")
def everywhere() -> Iterator[None]:
    """Operands are overwritten in short rows, too, where that is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradc.codegen.inplace.ROW", 0)
        yield


def graphs(seed: int) -> tuple[Graph, Graph, list[Any]]:
    """A program, optimized, and the value and gradient of another with the same seed."""
    program = random_program(seed)
    smooth = random_program(seed, differentiable=True)
    wrt = [k for k, t in enumerate(smooth.graph.input_types) if t.differentiable]
    gradient = autodiff.value_and_grad(passes.stabilize(smooth.graph), wrt)
    return passes.optimize(program.graph), passes.optimize(gradient), [program, smooth]


def equal(kernel: Kernel, graph: Graph, inputs: Any) -> list[Any]:
    """The kernel's results, which are the interpreter's to rounding."""
    results = kernel(inputs)
    for got, want in zip(results, interp.run(graph, inputs), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if got.dtype.kind == "f":
            tolerance = 3e-5 if got.dtype == np.float32 else 1e-8
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, want)
    return results


def compare(seed: int, target: Target | None = None) -> None:
    plain, gradient, (program, smooth) = graphs(seed)
    equal(Kernel(plain, target), plain, program.inputs)
    equal(Kernel(gradient, target), gradient, smooth.inputs)


def test_rows_side_by_side_keep_what_is_theirs() -> None:
    compare(168998842)


def test_copies_computed_again_are_not_stored() -> None:
    """Nor into memory that has become another's since."""
    compare(690640832, replace(host(), l2=1 << 14))


@pytest.mark.parametrize("count", [17, 3 * 2**17 + 1])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_quotients_of_a_last_chunk_of_one(count: int, dtype: Any) -> None:
    """The lanes beside it are no 0 / 0."""
    a, b = np.random.default_rng(count).uniform(1, 2, size=(2, count)).astype(dtype)
    index = np.arange(count)[::-1].copy()
    for loss in (
        lambda a, b: np.sum(a / b),
        lambda a, b: np.sum(a[::2] / b[::2]),
        lambda a, b: np.sum(a[index] / b[index]),
    ):
        kernel = gradc.compile(loss)
        assert kernel(a, b) == pytest.approx(loss(a.astype(float), b), rel=1e-5)
        assert all(np.isfinite(x).all() for x in kernel.grad(a, b))


@pytest.mark.parametrize("width", [16, 32])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_narrower_machines(width: int, seed: int) -> None:
    compare(seed, replace(host(), width=width, l2=1 << 14))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is long enough to be cut."""
    for name in ("LONG", "CHUNK", "LONG_PRODUCT", "CHUNK_OF_PRODUCT"):
        monkeypatch.setattr(f"gradc.codegen.chunks.{name}", 1)
    monkeypatch.setattr("gradc.codegen.chunks.WHOLE", 2)
    monkeypatch.setattr("gradc.codegen.chunks.COMPENSATE", 2)


def in_chunks(seed: int) -> None:
    plain, gradient, (program, smooth) = graphs(seed)
    before = gradc.get_num_threads()
    try:
        for graph, inputs in ((plain, program.inputs), (gradient, smooth.inputs)):
            kernel = Kernel(graph)
            gradc.set_num_threads(1)
            alone = equal(kernel, graph, inputs)
            gradc.set_num_threads(3)
            for _ in range(3):
                together = kernel(inputs)
                for a, b in zip(alone, together, strict=True):
                    assert a.tobytes() == b.tobytes()
    finally:
        gradc.set_num_threads(before)


@pytest.mark.usefixtures("tiny")
def test_quotients_of_a_last_chunk_of_one_among_tiny_ones() -> None:
    a, b = np.random.default_rng(1).uniform(1, 2, size=(2, 17))
    assert gradc.compile(lambda a, b: np.sum(a / b))(a, b) == pytest.approx(np.sum(a / b))


@pytest.mark.usefixtures("tiny")
def test_programs_in_chunks() -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(seed=SEEDS)
    def run(seed: int) -> None:
        in_chunks(seed)

    run()


@pytest.mark.exhaustive
@pytest.mark.usefixtures("tiny")
def test_many_programs_in_chunks() -> None:
    @settings(max_examples=3000, deadline=None)
    @given(seed=SEEDS)
    def run(seed: int) -> None:
        in_chunks(seed)

    run()


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [16, 32, 64])
@settings(max_examples=2000, deadline=None)
@given(seed=SEEDS)
def test_many_programs(width: int, seed: int) -> None:
    compare(seed, replace(host(), width=min(width, host().width), l2=1 << 14))
