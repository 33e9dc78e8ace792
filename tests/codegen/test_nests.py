"""Compiled graphs against the interpreter: ops, random programs, fusion, accuracy, failures."""

from __future__ import annotations

import math
import platform
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradc.codegen.emit import emit
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Contract, Nest
from gradc.ir import autodiff, interp, ops, passes
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import F32, F64, I64, TensorType
from tests.programs import random_program
from tests.sampling import draw, dtypes_of, graph_of, sampled_ops


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that nobody has written to holds NaNs, rather than zeros by luck."""
    empty = np.empty

    def poison(shape: Any, dtype: Any = float) -> np.ndarray[Any, Any]:
        out = empty(shape, dtype)
        out.reshape(-1).view(np.uint8)[:] = 0xFF
        return out

    monkeypatch.setattr("gradc.codegen.kernel.np.empty", poison)


def check(graph: Graph, inputs: Any, rtol: float = 1e-11) -> None:
    """The compiled graph gives what the interpreter gives, in the same types."""
    for got, want in zip(Kernel(graph)(inputs), interp.run(graph, inputs), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        if got.dtype.kind == "f":
            tolerance = 3e-5 if got.dtype == F32 else rtol
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, want)


def build(function: Any, *shapes: tuple[int, ...], dtype: Any = F64) -> Graph:
    """The graph of a function of Values with float inputs."""
    b = Builder("test")
    inputs = [b.input(f"x{k}", TensorType(np.dtype(dtype), s)) for k, s in enumerate(shapes)]
    out = function(*inputs)
    return b.build(out if isinstance(out, list) else [out])


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape)


def together(parts: list[tuple[Graph, list[Any]]]) -> tuple[Graph, list[Any]]:
    """Many small graphs as one: one compilation."""
    b = Builder("together")
    given, outputs = [], []
    for graph, inputs in parts:
        values = [b.input(f"x{len(given) + k}", t) for k, t in enumerate(graph.input_types)]
        given.extend(inputs)
        outputs.extend(b.splice(graph, values))
    return b.build(outputs), given


@pytest.mark.parametrize("op", sampled_ops(), ids=lambda op: op.name)
def test_every_op_in_every_dtype(op: Any) -> None:
    parts = []
    for sample in op.samples:
        for dtype in dtypes_of(op):
            inputs = draw(sample, dtype)
            if op.name == "pow" and dtype.kind == "i":
                inputs = [np.abs(x) for x in inputs]
            parts.append((graph_of(op, sample, dtype), inputs))
    check(*together(parts))


@pytest.mark.parametrize("op", [op for op in sampled_ops() if op.vjp], ids=lambda op: op.name)
def test_every_gradient(op: Any) -> None:
    parts = []
    for sample in op.samples:
        graph = graph_of(op, sample, F64)
        if graph.output_types[0].differentiable:
            wrt = [k for k, t in enumerate(graph.input_types) if t.differentiable]
            seed = np.ones(graph.output_types[0].shape)
            optimized = passes.optimize(autodiff.vjp(graph, wrt))
            parts.append((optimized, [*draw(sample, F64), seed]))
    check(*together(parts))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_programs(seed: int) -> None:
    program = random_program(seed)
    check(program.graph, program.inputs, rtol=1e-8)
    check(passes.optimize(program.graph), program.inputs, rtol=1e-8)


@pytest.mark.exhaustive
@settings(max_examples=5000, deadline=None)
@given(st.integers(0, 2**32))
def test_many_random_programs(seed: int) -> None:
    program = random_program(seed)
    check(passes.optimize(program.graph), program.inputs, rtol=1e-8)


def softmax_loss(z: Value, y: Value) -> Value:
    m = ops.stop_gradient(ops.max_(z, axes=(1,)))
    shifted = z - ops.spread(m, z, (1,))
    total = ops.log(ops.sum_(ops.exp(shifted), axes=(1,)))
    return -ops.sum_(y * (shifted - ops.spread(total, z, (1,))), axes=(0, 1))


def test_softmax_forward_and_backward_share_one_nest() -> None:
    graph = autodiff.value_and_grad(build(softmax_loss, (50, 200), (50, 200)), [0])
    kernel = Kernel(passes.optimize(graph))
    check(kernel.graph, [normal(50, 200), normal(50, 200, seed=1) ** 2])
    nests = [s for s in kernel.program.stages if isinstance(s, Nest) and s.inner]
    assert [n.outer for n in nests] == [(50,)]


@pytest.mark.parametrize(("rows", "ahead"), [(50, False), (1000, True)])
def test_the_next_row_of_a_large_array_is_fetched_ahead(rows: int, ahead: bool) -> None:
    program = Kernel(build(softmax_loss, (rows, 200), (rows, 200))).program
    assert ("llvm.prefetch" in str(emit(program))) is ahead


def test_an_elementwise_chain_and_its_sum_are_one_loop() -> None:
    def f(x: Value) -> Value:
        return ops.sum_(ops.sin(x) * ops.exp(-x * x), axes=(0, 1))

    graph = passes.optimize(autodiff.value_and_grad(build(f, (30, 7)), [0]))
    (nest,) = Kernel(graph).program.stages
    assert isinstance(nest, Nest)
    assert (nest.outer, nest.inner, len([p for p in nest.phases if p.body])) == ((), (210,), 1)


def test_views_are_never_computed() -> None:
    def f(x: Value) -> Value:
        part = ops.slice_(x, starts=(1, 4), sizes=(2, 3), steps=(1, -1))
        padded = ops.embed(ops.transpose(part, perm=(1, 0)), shape=(5, 6), starts=(1, 2),
                           steps=(1, 1))
        return padded * ops.broadcast(ops.reshape(ops.sum_(x, axes=(0, 1)), shape=(1, 1)),
                                      shape=(5, 6))

    graph = build(f, (4, 5))
    check(graph, [normal(4, 5)])
    assert len(Kernel(graph).program.stages) == 2


def test_products_with_vectors_fuse_and_matrices_are_contracted() -> None:
    def f(x: Value, w: Value) -> Value:
        z = ops.matmul(x, w, ta=False, tb=False)
        return ops.sum_(ops.sigmoid(z), axes=(0, 1))

    vector = Kernel(build(f, (40, 30), (30, 1))).program
    assert not any(isinstance(s, Contract) for s in vector.stages)
    matrix = Kernel(build(f, (40, 30), (30, 5))).program
    assert any(isinstance(s, Contract) for s in matrix.stages)


@pytest.mark.parametrize("ones", [0, 1, 2])
@pytest.mark.parametrize("first", [False, True])
def test_a_matrix_for_a_whole_batch_is_not_copied(ones: int, first: bool) -> None:
    def f(x: Value, w: Value) -> Value:
        w = ops.broadcast(w, shape=(2, 3, *w.shape[-2:]))
        a, b = (w, x) if first else (x, w)
        return ops.tanh(ops.matmul(a, b, ta=False, tb=False))

    x, w = ((2, 3, 6, 5), (7, 6)) if first else ((2, 3, 5, 6), (6, 7))
    shapes = x, (*(1,) * ones, *w)
    graph = build(f, *shapes)
    stages = Kernel(graph).program.stages
    assert [type(s) for s in stages] == [Contract, Nest]
    assert isinstance(stages[0], Contract)
    assert (stages[0].a if first else stages[0].b).kind == "input"
    check(graph, [normal(*s, seed=k) for k, s in enumerate(shapes)])
    gradient = autodiff.vjp(graph, [0, 1])
    seed = normal(*graph.output_types[0].shape, seed=2)
    check(passes.optimize(gradient), [*(normal(*s, seed=k) for k, s in enumerate(shapes)), seed])


@pytest.mark.parametrize("n", [1, 7, 8, 100, 1000, 4097, 100_003, 1_000_000])
@pytest.mark.parametrize("dtype", [F64, F32])
def test_long_sums_are_at_least_as_good_as_pairwise(n: int, dtype: Any) -> None:
    x = (np.random.default_rng(n).random(n) + 1e-3).astype(dtype)
    (got,) = Kernel(build(lambda v: ops.sum_(v, axes=(0,)), (n,), dtype=dtype))([x])
    exact = math.fsum(x.tolist())
    unit = np.finfo(dtype).eps
    assert abs(float(got) - exact) <= unit * (2 + math.log2(n)) * exact


def test_sums_over_rows_are_compensated() -> None:
    x = (np.random.default_rng(0).random((300_000, 3)) + 1e-3).astype(F32)
    (got,) = Kernel(build(lambda v: ops.sum_(v, axes=(0,)), x.shape, dtype=F32))([x])
    exact = [float(sum(map(Fraction, x[:2000, k].tolist()))) for k in range(3)]
    (short,) = Kernel(build(lambda v: ops.sum_(v, axes=(0,)), (2000, 3), dtype=F32))([x[:2000]])
    np.testing.assert_allclose(short, exact, rtol=2e-7)
    np.testing.assert_allclose(got, x.astype(F64).sum(0), rtol=2e-7)


def test_sums_keep_infinities_and_nans() -> None:
    for special in (np.inf, -np.inf, np.nan):
        x = np.ones(5000)
        x[1234] = special
        (got,) = Kernel(build(lambda v: ops.sum_(v, axes=(0,)), (5000,)))([x])
        np.testing.assert_equal(got, special)


def index_graph(n: int, count: int) -> Graph:
    b = Builder("take")
    x = b.input("x", TensorType(F64, (n,)))
    i = b.input("i", TensorType(I64, (count,)))
    return b.build([ops.gather(x, i)])


@pytest.mark.parametrize("bad", [5, -6, 2**62, -(2**63)])
def test_an_index_out_of_bounds_is_an_error(bad: int) -> None:
    x = normal(5)
    for count in (1, 3, 8, 20):
        kernel = Kernel(index_graph(5, count))
        indices = np.zeros(count, np.int64)
        np.testing.assert_array_equal(kernel([x, indices])[0], x[indices])
        indices[-1] = bad
        with pytest.raises(IndexError):
            kernel([x, indices])


def test_a_write_into_a_dead_array_is_in_place() -> None:
    def f(x: Value) -> Value:
        y = ops.tanh(x)
        for k in range(6):
            y = ops.update_slice(y, ops.slice_(x, starts=(k,), sizes=(1,), steps=(1,)) * 2.0,
                                 starts=(k + 1,), steps=(1,))
        return ops.copy(y)

    graph = build(f, (1000,))
    check(graph, [normal(1000)])
    copies = [s for s in Kernel(graph).program.stages if isinstance(s, Nest) and s.inner == (1000,)]
    assert len(copies) == 2


def test_a_write_that_reads_what_it_overwrites_copies_first() -> None:
    def f(x: Value) -> Value:
        y = ops.tanh(x)
        shifted = ops.slice_(y, starts=(0,), sizes=(99,), steps=(1,))
        return ops.copy(ops.update_slice(y, shifted, starts=(1,), steps=(1,)))

    check(build(f, (100,)), [normal(100)])


@pytest.mark.parametrize("keep", [False, True])
def test_rows_against_rows(keep: bool) -> None:
    def f(x: Value) -> list[Value]:
        m = ops.sum_(x, axes=(1,))
        column, row = ops.reshape(m, shape=(9, 1)), ops.reshape(m, shape=(1, 9))
        square = ops.broadcast(column, shape=(9, 9)) - ops.broadcast(row, shape=(9, 9))
        total = ops.sum_(ops.tanh(square) * square, axes=(0, 1))
        return [total, square] if keep else [total]

    graph = build(f, (9, 5))
    check(graph, [normal(9, 5)])
    check(passes.optimize(autodiff.value_and_grad(graph, [0])), [normal(9, 5)])


def test_an_unused_input_and_constant_outputs() -> None:
    b = Builder("constants")
    b.input("unused", TensorType(F64, (3,)))
    x = b.input("x", TensorType(F64, (2,)))
    one = ops.const(b, np.arange(3.0))
    check(b.build([x, x, one, ops.broadcast(one, shape=(2, 3)), ops.const(b, np.float32(2.5))]),
          [np.ones(3), np.ones(2)])


@pytest.mark.parametrize("n", [2000, 9000])
def test_a_long_unrolled_recurrence(n: int) -> None:
    b = Builder("recurrence")
    x = y = b.input("x", TensorType(F64, (4,)))
    for k in range(n // 3):
        y = ops.sin(y) * 0.5 + x if k % 50 else y * 0.25 + x
    graph = passes.optimize(autodiff.value_and_grad(b.build([ops.sum_(y, axes=(0,))]), [0]))
    check(graph, [normal(4)])


def test_constants_small_and_large() -> None:
    for n in (10, 100_000):
        table = normal(n)

        def f(x: Value, table: Any = table) -> Value:
            return ops.sum_(x * ops.const(x.builder, table), axes=(0,))

        check(build(f, (n,)), [normal(n, seed=1)])


@pytest.mark.parametrize("source", [F64, F32])
@pytest.mark.parametrize("target", ["i1", "i2", "i4", "i8", "u1", "u2"])
def test_casts_out_of_range_are_numpys(source: Any, target: str) -> None:
    """C leaves them open; NumPy on x86-64 gives the same everywhere but for u4 and u8."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("other machines saturate")
    ends = [2147483647.5, 2147483648.0, -2147483648.5, -2147483649.0, 9.3e18, -9.3e18]
    x = np.array([np.inf, -np.inf, np.nan, 1e30, 3e9, -3e9, 1.9, -1.9, 255.7, *ends], source)
    b = Builder("cast")
    v = b.input("x", TensorType(x.dtype, x.shape))
    (got,) = Kernel(b.build([ops.convert(v, dtype=np.dtype(target))]))([x])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(got, x.astype(target))
