"""Networks and attention in blocks of rows, against the interpreter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.codegen import threads
from gradc.codegen.explain import explain
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import LoopProgram, Nest, RowBlocks
from gradc.codegen.targets import Target, host
from gradc.ir import autodiff, interp, ops, passes
from gradc.ir.graph import Graph, Value
from gradc.ir.types import F32, F64
from tests.codegen.test_arrange import distances
from tests.codegen.test_epilogue import network, product, wide
from tests.codegen.test_nests import build, normal, poisoned

__all__ = ["poisoned"]

#: this machine with little cache, so that small arrays are too large for it
SMALL = dataclasses.replace(host(), l2=1 << 14)
Arrays = Sequence[np.ndarray[Any, Any]]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows go in blocks whatever the arithmetic hides."""
    monkeypatch.setattr("gradc.codegen.blocks.HIDDEN", -math.inf)


def blocks(program: LoopProgram) -> list[RowBlocks]:
    return [s for s in program.stages if isinstance(s, RowBlocks)]


def check(graph: Graph, arrays: Arrays, count: int = 1, target: Target = SMALL) -> Kernel:
    """The graph, of which ``count`` parts go in blocks, gives what the interpreter gives."""
    kernel = Kernel(graph, target)
    assert len(blocks(kernel.program)) == count, kernel.program
    for got, want in zip(kernel(arrays), interp.run(graph, arrays), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        tolerance = 1e-4 if got.dtype == F32 else 1e-10
        scale = max(1.0, float(np.max(np.abs(want), initial=0)))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)
    return kernel


def layers(x: Value, params: Sequence[Value], act: Any = ops.tanh) -> Value:
    for k in range(0, len(params), 2):
        z = product(x, params[k])
        z = z + wide(params[k + 1], z)
        x = act(z) if k + 2 < len(params) else z
    return x


def regression(x: Value, y: Value, *params: Value) -> Value:
    error = layers(x, params) - y
    return ops.sum_(error * error, axes=(0, 1)) * (1.0 / error.type.size)


def gradient(loss: Any, *shapes: tuple[int, ...], dtype: Any = F64) -> tuple[Graph, Arrays]:
    graph = build(loss, *shapes, dtype=dtype)
    graph = autodiff.value_and_grad(graph, list(range(len(shapes))))
    arrays = [
        (normal(*s, seed=i) / math.sqrt(s[-1])).astype(dtype) for i, s in enumerate(shapes)
    ]
    return passes.optimize(graph), arrays


def shapes_of(rows: int, *sizes: int) -> list[tuple[int, ...]]:
    pairs = zip(sizes, sizes[1:], strict=False)
    return [(rows, sizes[0]), (rows, sizes[-1]), *(s for m, n in pairs for s in ((m, n), (n,)))]


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("sizes", [(4, 16, 16, 1), (3, 17, 9, 5), (8, 33, 8)])
@pytest.mark.parametrize("rows", [64, 200, 1000])
def test_networks(sizes: tuple[int, ...], rows: int, dtype: Any) -> None:
    graph, arrays = gradient(regression, *shapes_of(rows, *sizes), dtype=dtype)
    kernel = check(graph, arrays)
    (found,) = blocks(kernel.program)
    assert found.chunks * found.blocks * found.size == rows


def test_rows_that_blocks_do_not_divide() -> None:
    graph, arrays = gradient(regression, *shapes_of(1009, 4, 16, 16, 2))
    check(graph, arrays, count=0)


def test_long_chains_are_not_one_function() -> None:
    def unrolled(x: Value, w: Value) -> Value:
        for _ in range(80):
            x = ops.tanh(product(x, w))
        return x

    graph = build(unrolled, (64, 8), (8, 8))
    assert not blocks(Kernel(graph, SMALL).program)


def test_what_stays_in_the_cache_is_not_cut() -> None:
    graph, _ = gradient(regression, *shapes_of(64, 4, 16, 16, 2))
    assert not blocks(Kernel(graph, dataclasses.replace(host(), l2=1 << 21)).program)


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize(("rows", "centres", "width"), [(320, 10, 3), (96, 33, 8), (64, 150, 5)])
def test_nests_of_all_pairs(rows: int, centres: int, width: int, dtype: Any) -> None:
    graph, arrays = gradient(distances, (rows, width), (centres, width), dtype=dtype)
    kernel = check(graph, arrays)
    (found,) = blocks(kernel.program)
    assert found.chunks * found.blocks * found.size == rows
    pairs = [b for b in kernel.program.buffers if b.dtype == dtype and b.size >= rows * centres]
    assert not any(b.kind == "arena" for b in pairs)


def test_nests_that_fit_the_cache_are_not_cut() -> None:
    graph, arrays = gradient(distances, (64, 3), (10, 3))
    check(graph, arrays, count=0, target=dataclasses.replace(host(), l2=1 << 21))


def attention(q: Value, k: Value, v: Value, t: Value) -> Value:
    scores = ops.matmul(q, k, ta=False, tb=True) * (1 / math.sqrt(q.shape[-1]))
    axis = len(q.shape) - 1
    largest = ops.stop_gradient(ops.max_(scores, axes=(axis,)))
    shifted = scores - ops.spread(largest, scores, (axis,))
    e = ops.exp(shifted)
    p = e / ops.spread(ops.sum_(e, axes=(axis,)), scores, (axis,))
    return ops.sum_(product(p, v) * t, axes=tuple(range(axis + 1)))


@pytest.mark.parametrize("dtype", [F64, F32])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_attention(batch: tuple[int, ...], dtype: Any) -> None:
    n, m, d = 48, 40, 7
    shapes = [(*batch, n, d), (*batch, m, d), (*batch, m, d), (*batch, n, d)]
    graph, arrays = gradient(attention, *shapes, dtype=dtype)
    kernel = check(graph, arrays)
    assert kernel.program.arena < n * m * math.prod(batch) * np.dtype(dtype).itemsize * 2


def test_weights_for_a_whole_batch() -> None:
    def f(x: Value, w: Value, u: Value) -> Value:
        def many(z: Value) -> Value:
            return ops.broadcast(z, shape=(3, *z.shape))

        return product(ops.tanh(product(x, many(w))), many(u))

    graph = build(f, (3, 320, 6), (6, 24), (24, 10))
    check(graph, [normal(3, 320, 6), normal(6, 24, seed=1), normal(24, 10, seed=2)])


def test_sums_and_results_of_all_kinds() -> None:
    def f(x: Value, w: Value, u: Value) -> list[Value]:
        h = ops.tanh(product(x, w))
        z = product(h, u)
        gram = ops.matmul(h, z, ta=True, tb=False)
        largest = ops.max_(z, axes=(0,))
        return [z, gram, largest, ops.sum_(h, axes=(0, 1)), ops.prod(h * 0.1 + 1.0, axes=(0,)),
                ops.any_(ops.gt(z, z * 0.0 + 1.0), axes=(0,)), product(gram, gram * 0.5)
                if gram.shape[0] == gram.shape[1] else gram * 2.0]

    graph = build(f, (320, 6), (6, 24), (24, 10))
    kernel = check(graph, [normal(320, 6), normal(6, 24, seed=1), normal(24, 10, seed=2)])
    assert any("+=" in line for line in blocks(kernel.program)[0].lines())


def test_a_batch_that_is_reduced_with_the_rows() -> None:
    def f(x: Value, w: Value, u: Value) -> list[Value]:
        h = ops.tanh(product(x, w))
        z = product(h, u)
        return [ops.sum_(z, axes=(0, 1)), ops.sum_(z, axes=(1,)), z]

    graph = build(f, (3, 64, 5), (3, 5, 40), (3, 40, 6))
    check(graph, [normal(3, 64, 5), normal(3, 5, 40, seed=1), normal(3, 40, 6, seed=2)])


def test_rows_that_read_other_rows_stay_out() -> None:
    def f(x: Value, w: Value, u: Value) -> list[Value]:
        h = ops.tanh(product(x, w))
        back = ops.slice_(h, starts=(319, 0), sizes=(320, 24), steps=(-1, 1))
        return [product(h + back, u), product(h, u)]

    graph = build(f, (320, 6), (6, 24), (24, 10))
    arrays = [normal(320, 6), normal(6, 24, seed=1), normal(24, 10, seed=2)]
    kernel = Kernel(graph, SMALL)
    for got, want in zip(kernel(arrays), interp.run(graph, arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_a_reduction_over_all_rows_between_cuts_the_blocks() -> None:
    def f(x: Value, w: Value, u: Value) -> Value:
        h = product(x, w)
        centred = h - wide(ops.sum_(h, axes=(0,)) * (1 / 320), h)
        return product(ops.tanh(product(ops.tanh(centred), u)), u)

    graph = build(f, (320, 6), (6, 16), (16, 16))
    kernel = check(graph, [normal(320, 6), normal(6, 16, seed=1), normal(16, 16, seed=2)])
    assert not isinstance(kernel.program.stages[0], RowBlocks)


def test_prints_keep_their_order() -> None:
    graph, arrays = gradient(regression, *shapes_of(200, 4, 16, 16, 1))
    assert blocks(Kernel(graph, SMALL).program)
    b = passes.optimize(build(lambda x, w, u: ops.debug_print(
        product(ops.tanh(product(x, w)), u), format="{}"
    ), (320, 6), (6, 24), (24, 10)))
    assert not blocks(Kernel(b, SMALL).program)


def test_threads_do_not_change_a_bit() -> None:
    graph, arrays = gradient(regression, *shapes_of(1024, 8, 64, 64, 8))
    kernel = check(graph, arrays, target=dataclasses.replace(SMALL, l2=1 << 17))
    assert blocks(kernel.program)[0].chunks > 1
    before = threads.num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            results.append([x.tobytes() for x in kernel(arrays)])
    finally:
        threads.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_the_report_of_blocks() -> None:
    rows, m, n, k = 512, 6, 24, 10
    graph, _ = gradient(regression, *shapes_of(rows, m, n, k))
    found = explain(graph, SMALL)
    stage, *rest = found.stages
    assert stage.kind == "row blocks" and f"{rows} rows in blocks of" in stage.blocks
    assert stage.calls == 2 * rows * n  # tanh and its slope
    products = 2 * rows * (m * n + n * k) + 2 * rows * (n * k + m * n) + 2 * rows * n * k
    assert stage.arithmetic > products
    level = {t.argument: t.read for t in stage.memory if t.level == "input"}
    assert level["x0"] == 8 * rows * m and level["x1"] == 8 * rows * k
    assert all(isinstance(s, Nest) for s in Kernel(graph, SMALL).program.stages[1:])
    assert "blocks " in str(stage)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_networks(seed: int) -> None:
    graph, arrays = network(seed, rows=(96, 128, 240))
    kernel = Kernel(graph, SMALL)
    for got, want in zip(kernel(arrays), interp.run(graph, arrays), strict=True):
        scale = max(1.0, float(np.max(np.abs(want), initial=0)))
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize(("rows", "widths"), [(512, (4, 4, 300)), (510, (3, 3, 300))])
def test_few_blocks_of_much_work(rows: int, widths: tuple[int, ...]) -> None:
    """More chunks would be wanted than there are blocks."""
    check(*gradient(regression, *shapes_of(rows, *widths)), target=host())
