"""Arrays that a loop updates from products: on their tiles, in place where nothing else reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.kernel import Kernel
from gradc.codegen.targets import host
from gradc.ir import interp, ops
from gradc.ir.graph import Graph, Value
from tests.codegen.regions import INDEX, agree, f64, graph
from tests.codegen.test_nests import poisoned

__all__ = ["poisoned"]

RNG = np.random.default_rng(0)


def rate_at(i: Value) -> Value:
    """A scalar that follows from the number of the iteration."""
    return 0.1 / (1 + ops.exp(ops.convert(i, dtype=np.dtype(float))))


def descent(k: int, m: int, n: int) -> Graph:
    """Gradient descent with a momentum: products, and an update by a scalar."""
    def step(i: Value, w: Value, v: Value, x: Value) -> Any:
        slope = ops.matmul(x, ops.tanh(ops.matmul(x, w, ta=False, tb=False)), ta=True, tb=False)
        v = v * 0.9 + slope
        return w - v * ops.broadcast(rate_at(i), shape=(m, n)), v

    body = graph([INDEX, f64(m, n), f64(m, n), f64(k, m)], step)
    return graph([f64(m, n), f64(m, n), f64(k, m)], lambda w, v, x: ops.loop(
        w.builder, body, carries=[w, v], captures=[x], length=7))


def arrays(made: Graph) -> list[Any]:
    return [RNG.normal(size=t.shape) / 4 for t in made.input_types]


def moves(kernel: Kernel) -> bool:
    """Whether what a loop carries lies in two places by turns."""
    return "'" in str(kernel.program)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("shape", [(16, 48, 32), (64, 64, 64), (5, 7, 3), (9, 1, 8), (1, 40, 129)])
def test_an_update_by_a_product(shape: tuple[int, int, int]) -> None:
    made = descent(*shape)
    kernel = agree(made, arrays(made))
    if shape[-1] % 32 == 0:
        assert not moves(kernel)
        assert "on its tiles" in str(kernel.program)


@pytest.mark.parametrize("threads", [1, 3])
def test_in_chunks(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LONG", "CHUNK", "LONG_PRODUCT", "CHUNK_OF_PRODUCT"):
        monkeypatch.setattr(f"gradc.codegen.chunks.{name}", 1)
    monkeypatch.setattr("gradc.codegen.chunks.WHOLE", 2)
    made = descent(16, 48, 32)
    before = gradc.get_num_threads()
    try:
        gradc.set_num_threads(threads)
        assert not moves(agree(made, arrays(made)))
    finally:
        gradc.set_num_threads(before)


def test_sums_in_slices() -> None:
    """A product that waits in memory between its slices does so beside what is updated."""
    made = descent(300, 40, 64)
    given = arrays(made)
    kernel = Kernel(made, dataclasses.replace(host(), l2=1 << 14))
    for got, want in zip(kernel(given), interp.run(made, given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("update", [
    lambda w, x: w + 0.1 * ops.matmul(w, x, ta=False, tb=False),
    lambda w, x: w + 0.1 * ops.matmul(x, w, ta=False, tb=False),
    lambda w, x: w + 0.1 * ops.matmul(x, w, ta=False, tb=True),
    lambda w, x: 0.1 * ops.matmul(w, w, ta=True, tb=False) + w,
    lambda w, x: ops.transpose(w, perm=(1, 0)) + 0.1 * ops.matmul(x, x, ta=False, tb=False),
    lambda w, x: w + ops.transpose(w, perm=(1, 0)) * 0.1 * ops.matmul(x, x, ta=False, tb=True),
    lambda w, x: w + 0.1 * ops.matmul(x, x, ta=False, tb=True) + ops.broadcast(
        ops.reshape(ops.slice_(w, starts=(0, 0), sizes=(1, 64), steps=(1, 1)), shape=(64,)),
        shape=(64, 64)),
])
def test_what_the_product_reads_stays_until_it_has(update: Any) -> None:
    body = graph([INDEX, f64(64, 64), f64(64, 64)], lambda i, w, x: update(w, x))
    made = graph([f64(64, 64), f64(64, 64)], lambda w, x: ops.loop(
        w.builder, body, carries=[w], captures=[x], length=6))
    assert moves(agree(made, arrays(made)))


def test_two_that_read_each_other() -> None:
    def step(i: Value, v: Value, w: Value, x: Value) -> Any:
        product = ops.matmul(x, x, ta=False, tb=True)
        return v + product * w, w - product * v

    body = graph([INDEX, f64(64, 64), f64(64, 64), f64(64, 8)], step)
    made = graph([f64(64, 64), f64(64, 64), f64(64, 8)], lambda v, w, x: ops.loop(
        v.builder, body, carries=[v, w], captures=[x], length=5))
    agree(made, arrays(made))


def test_scalars_come_first() -> None:
    """A nest that began before its scalar was known could not be one nest."""
    def step(i: Value, a: Value, b: Value) -> Any:
        a = ops.sin(a)
        rate = rate_at(i)
        return a, b - a * ops.broadcast(rate, shape=(50,)), rate

    body = graph([INDEX, f64(50), f64(50)], step)
    made = graph([f64(50), f64(50)], lambda a, b: ops.loop(
        a.builder, body, carries=[a, b], length=4))
    kernel = agree(made, arrays(made))
    inside = str(kernel.program).partition(": loop")[2]
    assert inside.count("for i0 <") == 1
    assert inside.index("= exp ") < inside.index("for i0 <")
