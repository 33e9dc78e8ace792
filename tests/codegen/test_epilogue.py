"""Elementwise work on the tiles of matrix products, against the interpreter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.codegen.explain import explain
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Contract
from gradc.codegen.schedule import Reason
from gradc.codegen.targets import host
from gradc.ir import autodiff, ops, passes
from gradc.ir.graph import Graph, Value
from gradc.ir.types import F32, F64
from tests.codegen.test_nests import build, check, normal, poisoned

__all__ = ["poisoned"]

#: this machine, with a cache of a size that the choice of kernels is known for
TARGET = dataclasses.replace(host(), l2=1 << 21)
Form = Callable[[Value, Value, Value], Any]
#: (m, k, n): odd ones, small ones, columns few and many, a sum that goes in slices
SHAPES = [
    (4, 3, 5), (30, 20, 19), (64, 40, 3), (3, 50, 9), (9, 5, 64), (70, 33, 130), (20, 700, 190)
]


def product(a: Value, b: Value) -> Value:
    return ops.matmul(a, b, ta=False, tb=False)


def wide(x: Value, like: Value) -> Value:
    return ops.broadcast(x, shape=like.shape)


def column(x: Value, like: Value) -> Value:
    """The first column of ``x`` (a row value), along rows."""
    first = ops.slice_(x, starts=(0, 0), sizes=(x.shape[0], 1), steps=(1, 1))
    return ops.broadcast(first, shape=like.shape)


def bias(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return c + wide(ops.sum_(z, axes=(0,)), c)


def rectified(a: Value, b: Value, z: Value) -> Any:
    c = bias(a, b, z)
    return ops.maximum(c, c * 0.1)


def product_too(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return [c * z, c]


def two_results(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return [c * z, c - z]


def masked(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return ops.where(ops.gt(c, z), c, z)


def row_scalars(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return c * column(z, c) + 2.0


def column_sums(a: Value, b: Value, z: Value) -> Any:
    d = product(a, b) * z
    return [d, ops.sum_(d, axes=(0,))]


def only_sums(a: Value, b: Value, z: Value) -> Any:
    c = product(a, b)
    return [ops.sum_(c * z, axes=(0,)), ops.sum_(c, axes=(0,))]


FORMS = [bias, rectified, product_too, two_results, masked, row_scalars, column_sums, only_sums]


def epilogues(graph: Graph) -> list[Contract]:
    stages = Kernel(graph, TARGET).program.stages
    return [s for s in stages if isinstance(s, Contract) and s.epilogue is not None]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("dtype", [F64, F32])
def test_every_form(form: Form, dtype: Any) -> None:
    for m, k, n in SHAPES:
        graph = build(form, (m, k), (k, n), (m, n), dtype=dtype)
        if form is not only_sums or k < 400:  # sums in slices need memory to wait in
            assert len(epilogues(graph)) == 1
        arrays = [normal(m, k), normal(k, n, seed=1) / np.sqrt(k), normal(m, n, seed=2)]
        check(graph, [x.astype(dtype) for x in arrays])


@pytest.mark.parametrize("batch", [(3,), (2, 3), (1, 4)])
def test_batches(batch: tuple[int, ...]) -> None:
    def f(a: Value, b: Value, bias: Value, z: Value) -> Any:
        c = product(a, b)
        d = (c + wide(bias, c)) * z
        return [d, ops.sum_(d, axes=tuple(range(len(batch) + 1)))]

    m, k, n = 7, 9, 21
    graph = build(f, (*batch, m, k), (*batch, k, n), (n,), (*batch, m, n))
    assert len(epilogues(graph)) == 1
    shapes = [(*batch, m, k), (*batch, k, n), (n,), (*batch, m, n)]
    check(graph, [normal(*s, seed=i) for i, s in enumerate(shapes)])


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_a_bias_for_each_matrix_of_a_batch(batch: tuple[int, ...]) -> None:
    def f(a: Value, b: Value, bias: Value) -> Any:
        c = product(a, b)
        return c + wide(bias, c)

    shapes = [(*batch, 7, 9), (*batch, 9, 21), (3, 1, 21)]
    graph = build(f, *shapes)
    assert len(epilogues(graph)) == (len(batch) == 1)  # else the batch is no single loop
    check(graph, [normal(*s, seed=i) for i, s in enumerate(shapes)])


@pytest.mark.parametrize("dtype", [F64, F32])
def test_long_column_sums_are_compensated(dtype: Any) -> None:
    def f(a: Value, b: Value) -> Any:
        c = product(a, b)
        return ops.sum_(c * c, axes=(0,))

    m = 100_000
    graph = build(f, (m, 2), (2, 5), dtype=dtype)
    assert len(epilogues(graph)) == 1
    a, b = np.full((m, 2), 0.1, dtype), normal(2, 5).astype(dtype)
    (got,) = Kernel(graph)([a, b])
    one = (a[:1] @ b).astype(dtype)
    exact = m * (one * one).astype(np.longdouble)[0]
    np.testing.assert_allclose(got, exact, rtol=8 * np.finfo(dtype).eps)


def test_what_stays_apart() -> None:
    def f(a: Value, b: Value) -> Any:
        return ops.tanh(product(a, b))

    graph = build(f, (30, 20), (20, 10))
    assert not epilogues(graph)
    assert [a.reason for a in explain(graph).stages[-1].apart] == [Reason.TILES]


def test_the_report_of_an_epilogue() -> None:
    graph = build(rectified, (30, 20), (20, 10), (30, 10))
    *_, stage = explain(graph).stages
    assert stage.ops == ("matmul", "add", "mul", "maximum")
    assert stage.arithmetic == 2 * 30 * 20 * 10 + 3 * 30 * 10
    written = {t.buffer: t.written for t in stage.memory if t.written and t.level != "scratch"}
    assert written == {"out0": 8 * 300}


def network(
    seed: int, rows: Sequence[int] = range(2, 40)
) -> tuple[Graph, list[np.ndarray[Any, Any]]]:
    """The value and gradient of a random network: layers, activations, links past layers."""
    rng = np.random.default_rng(seed)
    batch = int(rng.choice(rows))
    sizes = [int(n) for n in rng.integers(2, 40, size=int(rng.integers(2, 5)))]
    acts: list[Callable[[Value], Value]] = [
        ops.tanh, ops.sigmoid, lambda x: ops.maximum(x, x * 0.01), lambda x: x * x, lambda x: x,
    ]
    chosen = [acts[int(i)] for i in rng.integers(len(acts), size=len(sizes))]
    shapes: list[tuple[int, ...]] = [(batch, sizes[0])]
    for m, n in zip(sizes, sizes[1:], strict=False):
        shapes += [(m, n), (n,)]

    def loss(x: Value, *params: Value) -> Value:
        kept = x
        for k, act in enumerate(chosen[1:]):
            z = product(x, params[2 * k])
            z = act(z + wide(params[2 * k + 1], z))
            x = z * 0.5 + x if z.shape == x.shape else z
        return ops.sum_(x * x, axes=(0, 1)) * (1.0 / batch) + ops.sum_(kept, axes=(0, 1))

    graph = build(loss, *shapes)
    wanted = list(range(len(shapes)))
    arrays = [rng.normal(size=s) / np.sqrt(s[0]) for s in shapes]
    return passes.optimize(autodiff.value_and_grad(graph, wanted)), arrays


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_networks(seed: int) -> None:
    graph, arrays = network(seed)
    check(graph, arrays, rtol=1e-9)
