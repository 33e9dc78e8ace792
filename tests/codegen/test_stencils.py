"""Padded reads: sums of shifted and scaled copies of one array, as in gradients of stencils."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Nest
from gradc.codegen.sink import sink
from gradc.ir import autodiff, ops, passes
from gradc.ir.graph import Graph, Value
from gradc.ir.types import F32
from tests.codegen.test_nests import build, check, normal


def part(x: Value, starts: tuple[int, ...], sizes: tuple[int, ...]) -> Value:
    return ops.slice_(x, starts=starts, sizes=sizes, steps=(1,) * len(starts))


def diffusion(u: Value, across: Value, down: Value) -> Value:
    """The squared residual of a five-point stencil with coefficients by row and column."""
    n, m = (d - 2 for d in u.shape)
    left, middle, right = (part(u, (1, k), (n, m)) for k in range(3))
    above, below = part(u, (0, 1), (n, m)), part(u, (2, 1), (n, m))
    rows = ops.broadcast(ops.reshape(across, shape=(n, 1)), shape=(n, m))
    total = rows * (right - 2.0 * middle + left)
    total = total + ops.broadcast(down, shape=(n, m)) * (below - 2.0 * middle + above)
    return ops.sum_(total * total, axes=(0, 1))


def gradient(n: int, m: int, dtype: Any = float) -> tuple[Graph, list[Any]]:
    graph = build(diffusion, (n, m), (n - 2,), (m - 2,), dtype=dtype)
    inputs = [a.astype(dtype) for a in (normal(n, m), normal(n - 2), normal(m - 2))]
    return passes.optimize(autodiff.value_and_grad(graph, [0, 1, 2])), inputs


@pytest.mark.parametrize("m", [3, 4, 9, 10, 33, 66, 131, 700])
@pytest.mark.parametrize("n", [3, 5, 40])
def test_the_gradient_of_a_stencil(n: int, m: int) -> None:
    check(*gradient(n, m))
    check(*gradient(n, m, F32))


def test_one_array_lies_in_memory_for_a_stencil() -> None:
    graph, _ = gradient(300, 300)
    large = [b for b in Kernel(graph).program.buffers if b.kind == "arena" and b.size > 298 * 100]
    assert len(large) == 1


def test_a_stencil_agrees_with_numpy() -> None:
    graph, (u, across, down) = gradient(64, 50)
    _, du, dacross, ddown = Kernel(graph)([u, across, down])
    row = u[1:-1, 2:] - 2 * u[1:-1, 1:-1] + u[1:-1, :-2]
    column = u[2:, 1:-1] - 2 * u[1:-1, 1:-1] + u[:-2, 1:-1]
    d = 2 * (across[:, None] * row + down * column)
    want = np.zeros_like(u)
    a, b = d * across[:, None], d * down
    parts = ((1, 2, a), (1, 0, a), (2, 1, b), (0, 1, b), (1, 1, -2 * (a + b)))
    for i, j, value in parts:
        want[i : i + 62, j : j + 48] += value
    np.testing.assert_allclose(du, want, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dacross, np.sum(d * row, axis=1), rtol=1e-12)
    np.testing.assert_allclose(ddown, np.sum(d * column, axis=0), rtol=1e-12, atol=1e-12)


def padded(x: Value, size: int, start: int) -> Value:
    return ops.embed(x, shape=(size,), starts=(start,), steps=(1,))


@pytest.mark.parametrize("special", [0.0, -0.0, np.inf, np.nan])
def test_what_lies_around_a_padded_value_is_a_positive_zero(special: float) -> None:
    def f(x: Value) -> list[Value]:
        y = ops.sin(x)
        b = ops.const(x.builder, special)
        factor = ops.broadcast(b, shape=x.shape)
        return [padded(-y, 40, 3), padded(y * factor, 40, 5), padded(-(y * -2.0) - y, 40, 20)]

    graph = build(f, (17,))
    assert len(sink(graph).nodes) > len(graph.nodes)
    x = normal(17)
    first, second, third = Kernel(graph)([x])
    y = np.sin(x)
    for got, start, inner in ((first, 3, -y), (second, 5, y * special), (third, 20, 2 * y - y)):
        want = np.zeros(40)
        want[start : start + 17] = inner
        np.testing.assert_allclose(got, want, rtol=1e-14)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


def test_a_value_that_is_stored_anyway_stays() -> None:
    def f(x: Value) -> list[Value]:
        y = ops.sin(x)
        a, b = y * 2.0, -y
        return [a, padded(a, 30, 2), ops.copy(padded(b, 30, 1))]

    graph = build(f, (17,))
    assert sink(graph) is graph
    check(graph, [normal(17)])


@pytest.mark.parametrize("inner", [1, 7, 30, 200])
@pytest.mark.parametrize("start", [0, 1, 9, 50])
def test_sums_over_padded_reads(inner: int, start: int) -> None:
    def f(x: Value, y: Value) -> list[Value]:
        wide = padded(ops.exp(x), 260, start)
        return [ops.sum_(wide * y, axes=(0,)), ops.max_(wide + y, axes=(0,)), wide - y]

    check(build(f, (inner,), (260,)), [normal(inner), normal(260, seed=1)])


def test_rows_of_padded_reads_share_their_sums() -> None:
    def f(x: Value) -> Value:
        wide = ops.embed(ops.exp(x), shape=(20, 50), starts=(3, 4), steps=(1, 1))
        return ops.sum_(wide * wide, axes=(0,))

    graph = build(f, (12, 41))
    check(graph, [normal(12, 41)])
    assert any(isinstance(s, Nest) for s in Kernel(graph).program.stages)


def test_graphs_without_padding_are_left_alone() -> None:
    graph = build(lambda x: x * 2.0 - x, (5,))
    assert sink(graph) is graph
