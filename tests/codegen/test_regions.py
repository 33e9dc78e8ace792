"""Loops and branches as native code, against the interpreter."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.explain import explain
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Nest
from gradc.codegen.region.stages import Loop
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import F32, I64, TensorType
from tests.codegen.regions import INDEX, agree, copies, f64, graph, number, real

RNG = np.random.default_rng(0)


# -- counted loops -------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [0, 1, 7])
def test_scalar_carries(length: int, reverse: bool) -> None:
    body = graph([INDEX, f64(), f64(), f64()], lambda i, x, y, c: (y, ops.tanh(x) * c + real(i)))
    made = graph([f64()] * 3, lambda x, y, c: ops.loop(
        x.builder, body, carries=[x, y], captures=[c], length=length, reverse=reverse))
    agree(made, [0.3, 0.7, 0.5])


@pytest.mark.parametrize("trips", [-3, 0, 1, 6])
def test_trips_are_known_when_it_runs(trips: int) -> None:
    body = graph([INDEX, f64(), f64(4)], lambda i, x, y: (
        x * 0.5 + real(i), y * ops.broadcast(x, shape=(4,))))
    made = graph([INDEX, f64(), f64(4)], lambda n, x, y: ops.loop(
        x.builder, body, carries=[x, y], trips=n))
    agree(made, [trips, 0.3, np.arange(4.0)])


@pytest.mark.parametrize("start", [1.0, 0.3, 300.0])
def test_while(start: float) -> None:
    test = graph([INDEX, f64(), f64()], lambda i, x, y: x > 1)
    body = graph([INDEX, f64(), f64()], lambda i, x, y: x * y)
    made = graph([f64(), f64()], lambda x, y: ops.loop(
        x.builder, body, carries=[x], captures=[y], test=test))
    agree(made, [start, 0.5])


def test_while_with_arrays() -> None:
    test = graph([INDEX, f64(3), f64()], lambda i, x, y: ops.sum_(x * x, axes=(0,)) > y)
    body = graph([INDEX, f64(3), f64()], lambda i, x, y: x * 0.5)
    made = graph([f64(3), f64()], lambda x, y: ops.loop(
        x.builder, body, carries=[x], captures=[y], test=test, limit=1000))
    agree(made, [[1.0, 2.0, 3.0], 1e-3])


def test_while_that_runs_too_often() -> None:
    test = graph([INDEX, f64()], lambda i, x: x > 0)
    body = graph([INDEX, f64()], lambda i, x: x * 0.5)
    made = graph([f64()], lambda x: ops.loop(x.builder, body, carries=[x], test=test, limit=10))
    kernel = Kernel(made)
    with pytest.raises(RuntimeError, match="10 times"):
        kernel([np.array(1.0)])
    agree(made, [-1.0])


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint16", "float32"])
def test_dtypes(dtype: str) -> None:
    t = TensorType(np.dtype(dtype))
    row = TensorType(np.dtype(dtype), (5,))

    def step(i: Value, x: Value, a: Value, e: Value) -> Any:
        new = ops.logical_not(x) if dtype == "bool" else x + e
        return new, ops.scatter_set(a, new, i), x

    body = graph([INDEX, t, row, t], step)
    made = graph([t, row, row], lambda x, a, xs: ops.loop(
        x.builder, body, carries=[x, a], xs=[xs], length=5))
    values = RNG.integers(0, 2, 5)
    agree(made, [1, np.zeros(5), values])


@pytest.mark.parametrize("reverse", [False, True])
def test_scan(reverse: bool) -> None:
    def step(i: Value, h: Value, s: Value, x: Value, z: Value, w: Value) -> Any:
        product = ops.matmul(w, ops.reshape(h, shape=(4, 1)), ta=False, tb=False)
        new = ops.tanh(ops.reshape(product, shape=(4,)) + x)
        return new, s + z, new, s, x, h, ops.sum_(x, axes=(0,))

    body = graph([INDEX, f64(4), f64(), f64(4), f64(), f64(4, 4)], step)
    made = graph([f64(4), f64(), f64(9, 4), f64(9), f64(4, 4)], lambda h, s, x, z, w: ops.loop(
        h.builder, body, carries=[h, s], xs=[x, z], captures=[w], length=9, reverse=reverse))
    agree(made, [RNG.normal(size=t.shape) for t in made.input_types])


# -- in place ------------------------------------------------------------------------------------


def test_an_update_at_an_index_is_in_place() -> None:
    def step(i: Value, a: Value, c: Value) -> Value:
        before = ops.gather(a, ops.mod(i + 9, number(i, 10)))
        return ops.scatter_set(a, before * c + real(i), i)

    body = graph([INDEX, f64(10), f64()], step)
    made = graph([f64(10), f64()], lambda a, c: ops.loop(
        a.builder, body, carries=[a], captures=[c], length=10))
    kernel = agree(made, [np.arange(10.0), 0.5])
    assert copies(kernel) == []
    assert "checked" not in str(kernel.program)
    assert "wrapped" not in str(kernel.program)


def test_readers_of_the_old_value_come_first() -> None:
    def step(i: Value, a: Value) -> Any:
        new = ops.scatter_set(a, real(i), i)
        return ops.scatter_add(new, ops.gather(a, i), i), ops.gather(a, i), ops.sum_(a, axes=(0,))

    body = graph([INDEX, f64(10)], step)
    made = graph([f64(10)], lambda a: ops.loop(a.builder, body, carries=[a], length=10))
    kernel = agree(made, [np.arange(10.0)])
    assert copies(kernel) == []


def test_a_copy_where_the_old_value_is_needed() -> None:
    def step(i: Value, a: Value) -> Any:
        new = ops.scatter_set(a, ops.gather(a, i) * 2, i)
        return new + a

    body = graph([INDEX, f64(10)], step)
    made = graph([f64(10)], lambda a: ops.loop(a.builder, body, carries=[a], length=10))
    agree(made, [np.arange(10.0)])


def test_elementwise_carries_are_in_place() -> None:
    body = graph([INDEX, f64(50), f64(50)], lambda i, x, v: (x + v * 0.1, v - x * 0.1))
    made = graph([f64(50), f64(50)], lambda x, v: ops.loop(
        x.builder, body, carries=[x, v], length=20))
    agree(made, RNG.normal(size=(2, 50)))


def test_carries_that_change_places() -> None:
    def step(i: Value, a: Value, b: Value, c: Value) -> Any:
        inner = ops.slice_(a, starts=(0,), sizes=(8,), steps=(1,))
        outer = ops.slice_(a, starts=(2,), sizes=(8,), steps=(1,))
        return c, ops.update_slice(a, inner + outer, starts=(1,), steps=(1,)), b

    body = graph([INDEX] + [f64(10)] * 3, step)
    for length in range(5):
        made = graph([f64(10)] * 3, lambda a, b, c, n=length: ops.loop(
            a.builder, body, carries=[a, b, c], length=n))
        agree(made, RNG.normal(size=(3, 10)))


def test_a_value_carried_twice() -> None:
    body = graph([INDEX, f64(4), f64(4)], lambda i, a, b: [ops.exp(a * 0.1)] * 2)
    made = graph([f64(4)], lambda a: ops.loop(a.builder, body, carries=[a, a], length=3))
    agree(made, [np.arange(4.0)])


def test_the_callers_arrays_stay() -> None:
    def step(i: Value, a: Value, b: Value, c: Value) -> Any:
        return ops.scatter_set(a, ops.gather(c, i), i), b

    body = graph([INDEX] + [f64(4)] * 3, step)
    made = graph([f64(4), f64(4)], lambda a, b: [
        *ops.loop(a.builder, body, carries=[a, b], captures=[a], length=3), a, b])
    agree(made, RNG.normal(size=(2, 4)))


def test_constants_and_zeros_as_carries() -> None:
    def step(i: Value, a: Value, b: Value, c: Value) -> Any:
        table = ops.const(i.builder, np.arange(6.0) ** 2)
        return (
            ops.scatter_add(a, ops.gather(table, i), i),
            ops.scatter_set(b, ops.gather(a, i), i), ops.broadcast(ops.gather(c, i), shape=(6,)),
        )

    body = graph([INDEX] + [f64(6)] * 3, step)

    def main(x: Value) -> Any:
        zeros = ops.broadcast(number(x, 0), shape=(6,))
        return ops.loop(
            x.builder, body, carries=[zeros, zeros, ops.const(x.builder, np.ones(6))], length=6)

    agree(graph([f64()], main), [1.0])


def test_rows_are_seen_where_they_lie() -> None:
    def step(i: Value, a: Value, b: Value) -> Any:
        row = ops.gather(a, i)
        other = ops.gather(b, number(i, 4) - i)
        return ops.scatter_set(a, row * 2 + other, i), ops.sum_(row, axes=(0,))

    body = graph([INDEX, f64(5, 30), f64(5, 30)], step)
    made = graph([f64(5, 30)] * 2, lambda a, b: ops.loop(
        a.builder, body, carries=[a], captures=[b], length=5))
    kernel = agree(made, RNG.normal(size=(2, 5, 30)))
    assert 150 not in copies(kernel)


def test_what_is_added_to_a_part_is_added_in_place() -> None:
    def step(i: Value, a: Value, c: Value) -> Value:
        part = ops.slice_(a, starts=(40,), sizes=(20,), steps=(2,)) * ops.broadcast(c, shape=(20,))
        return a + ops.embed(part, shape=(100,), starts=(3,), steps=(3,))

    body = graph([INDEX, f64(100), f64()], step)
    made = graph([f64(100), f64()], lambda a, c: ops.loop(
        a.builder, body, carries=[a], captures=[c], length=4))
    kernel = agree(made, [RNG.normal(size=100), 0.5])
    (loop,) = (s for s in kernel.program.stages if isinstance(s, Loop))
    extents = [int(np.prod(s.outer + s.inner)) for s in loop.inside if isinstance(s, Nest)]
    assert extents
    assert max(extents) <= 20


# -- nests of regions ----------------------------------------------------------------------------


def sweeps(n: int, count: int) -> Any:
    """Gauss-Seidel on a grid of n x n."""
    def cell(j: Value, a: Value, i: Value) -> Value:
        i, j = i + 1, j + 1
        around = [ops.gather(a, *at) for at in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1))]
        total = around[0] + around[1] + around[2] + around[3]
        return ops.scatter_set(a, total * 0.25, i, j)

    inner = graph([INDEX, f64(n, n), INDEX], cell)
    row = graph([INDEX, f64(n, n)], lambda i, a: ops.loop(
        i.builder, inner, carries=[a], captures=[i], length=n - 2))
    sweep = graph([INDEX, f64(n, n)], lambda k, a: ops.loop(
        k.builder, row, carries=[a], length=n - 2))
    return graph([f64(n, n)], lambda a: ops.loop(a.builder, sweep, carries=[a], length=count))


def test_gauss_seidel() -> None:
    kernel = agree(sweeps(9, 3), [RNG.normal(size=(9, 9))])
    assert copies(kernel) == []
    assert "checked" not in str(kernel.program)
    assert "wrapped" not in str(kernel.program)


def test_triangular_loops() -> None:
    inner = graph(
        [INDEX, f64(6), INDEX, f64()],
        lambda j, a, i, c: ops.scatter_add(a, ops.gather(a, j) * c, i),
    )
    outer = graph([INDEX, f64(6), f64()], lambda i, a, c: ops.loop(
        i.builder, inner, carries=[a], captures=[i, c], trips=i))
    made = graph([f64(6), f64()], lambda a, c: ops.loop(
        a.builder, outer, carries=[a], captures=[c], length=6))
    kernel = agree(made, [RNG.normal(size=6), 0.3])
    assert copies(kernel) == []
    assert "checked" not in str(kernel.program)


# -- what bodies may hold ------------------------------------------------------------------------


def test_products_and_reductions() -> None:
    def step(i: Value, w: Value, x: Value, y: Value) -> Any:
        out = ops.matmul(x, w, ta=False, tb=False)
        error = ops.tanh(out) - y
        loss = ops.sum_(error * error, axes=(0, 1))
        slope = ops.matmul(x, error, ta=True, tb=False)
        return w - slope * 0.01, loss, ops.max_(error, axes=(1,))

    body = graph([INDEX, f64(6, 3), f64(20, 6), f64(20, 3)], step)
    made = graph([f64(6, 3), f64(20, 6), f64(20, 3)], lambda w, x, y: ops.loop(
        w.builder, body, carries=[w], captures=[x, y], length=5))
    agree(made, [RNG.normal(size=t.shape) for t in made.input_types])


def test_irregular_ops() -> None:
    def step(i: Value, a: Value, k: Value) -> Any:
        order = ops.argsort(a, axis=0)
        moved = ops.gather(a, order)
        return ops.cumsum(moved, axis=0, reverse=False) * 0.5, ops.scatter_add(
            k, number(k, 1), ops.argmax(a, axis=0))

    body = graph([INDEX, f64(7), TensorType(I64, (7,))], step)
    made = graph([f64(7), TensorType(I64, (7,))], lambda a, k: ops.loop(
        a.builder, body, carries=[a, k], length=4))
    agree(made, [RNG.normal(size=7), np.zeros(7)])


def test_float32() -> None:
    t, row = TensorType(F32), TensorType(F32, (12,))

    def step(i: Value, x: Value, a: Value) -> Any:
        return ops.sin(x) + ops.gather(a, i), ops.exp(a * ops.broadcast(x, shape=(12,))) * 0.1

    body = graph([INDEX, t, row], step)
    made = graph([t, row], lambda x, a: ops.loop(x.builder, body, carries=[x, a], length=12))
    agree(made, [0.4, RNG.normal(size=12)])


def test_calls_are_inlined() -> None:
    inner = graph([f64(), f64(3)], lambda x, a: (x * 2, ops.exp(a)))
    step = graph([INDEX, f64(), f64(3)], lambda i, x, a: ops.call(
        i.builder, inner, [x, a], "recompute"))
    made = graph([f64(), f64(3)], lambda x, a: ops.call(x.builder, inner, ops.loop(
        x.builder, step, carries=[x, a], length=2), "recompute"))
    agree(made, [0.3, [0.1, -0.2, -3.0]])


def test_prints_in_loops(capsys: pytest.CaptureFixture[str]) -> None:
    def step(i: Value, x: Value) -> Value:
        ops.debug_print(i, x, format="{} {}")
        return x * 2

    body = graph([INDEX, f64()], step)
    made = graph([f64()], lambda x: ops.loop(x.builder, body, carries=[x], length=3))
    Kernel(made)([np.array(1.5)])
    assert capsys.readouterr().out == "0 1.5\n1 3.0\n2 6.0\n"


@pytest.mark.parametrize("threads", [1, 3])
def test_long_stages_are_shared_out(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONG", "CHUNK", "LONG_PRODUCT", "CHUNK_OF_PRODUCT"):
        monkeypatch.setattr(f"gradc.codegen.chunks.{name}", 1)
    monkeypatch.setattr("gradc.codegen.chunks.WHOLE", 2)

    def step(i: Value, a: Value, c: Value, x: Value) -> Any:
        row = ops.gather(x, i)
        moved = ops.slice_(a, starts=(5,), sizes=(35,), steps=(1,))
        new = ops.update_slice(ops.sin(a) + row, moved, starts=(0,), steps=(1,))
        square = ops.reshape(new, shape=(8, 5))
        product = ops.matmul(square, square, ta=False, tb=True)
        return c, ops.tanh(new), product, ops.sum_(new * row, axes=(0,))

    body = graph([INDEX, f64(40), f64(40), f64(6, 40)], step)
    made = graph([f64(40), f64(40), f64(6, 40)], lambda a, c, x: ops.loop(
        a.builder, body, carries=[a, c], captures=[x], length=6))
    before = gradc.get_num_threads()
    try:
        gradc.set_num_threads(threads)
        agree(made, [RNG.normal(size=t.shape) for t in made.input_types])
    finally:
        gradc.set_num_threads(before)


# -- what is said about them ---------------------------------------------------------------------


def test_the_report_counts_what_iterations_do() -> None:
    text = str(explain(sweeps(10, 3)))
    assert "3 iterations, of 8 iterations, of 8 iterations" in text
    assert "gather ×3, " in text
    test = graph([INDEX, f64()], lambda i, x: x > 1)
    body = graph([INDEX, f64()], lambda i, x: ops.sin(x))
    made = graph([f64()], lambda x: ops.loop(x.builder, body, carries=[x], test=test))
    assert "while its test holds" in str(explain(made))


def two_of_zeros(x: Any) -> Any:
    """Two loops write into arrays that begin as the same zeros."""
    a, b = np.zeros(20), np.zeros(20)
    for i in gradc.range(1, 20):
        a[i] = a[i - 1] * 0.5 + x[i]
    for i in gradc.range(1, 20):
        b[i] = b[i - 1] * a[i] + x[i]
    return a + b


def test_zeros_that_loops_write_into_are_filled_and_not_copied() -> None:
    x = np.linspace(0.25, 1.0, 20)
    compiled = gradc.compile(two_of_zeros)
    np.testing.assert_array_equal(compiled(x), two_of_zeros(x))
    text = compiled.ir(x, stage="loops", grad=False)
    before = text.partition("loop\n")[0]
    assert "= copy" in before
    loads = [line for line in before.splitlines() if re.match(r" +v\d+ = \w+\[", line)]
    assert not loads
