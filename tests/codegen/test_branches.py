"""Branches as native code, and how regions fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.codegen.kernel import Kernel
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import BOOL, I64, TensorType
from tests.codegen.regions import INDEX, agree, copies, f64, graph, number, real

RNG = np.random.default_rng(0)


# -- branches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [-5, 0, 1, 2, 9])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_branches(index: int, count: int) -> None:
    branches = [
        graph([f64(), f64(5)], lambda x, a: (x, a)),
        graph([f64(), f64(5)], lambda x, a: (ops.sin(x), a * ops.broadcast(x, shape=(5,)))),
        graph([f64(), f64(5)], lambda x, a: (number(x, 3), ops.scatter_set(
            a, x, number(x, 2, int)))),
    ][:count]
    made = graph([INDEX, f64(), f64(5)], lambda k, x, a: ops.branch(k, branches, [x, a]))
    agree(made, [index, 0.4, np.arange(5.0)])


def test_branches_nest_deeply() -> None:
    types = [INDEX, *[f64(3)] * 4]

    def turned(k: Value, *arrays: Value) -> Any:
        part = ops.slice_(arrays[0], starts=(0,), sizes=(1,), steps=(1,))
        return [ops.update_slice(a, part, starts=(1,), steps=(1,)) for a in arrays]

    inner = graph(types, turned)
    for _ in range(12):  # time that doubles with each would not end
        branches = [inner, graph(types, lambda k, *arrays: list(arrays))]
        inner = graph(types, lambda k, *arrays, b=branches: ops.branch(k, b, [k, *arrays]))
    agree(inner, [0, *RNG.normal(size=(4, 3))])


@pytest.mark.parametrize("index", [0, 1])
def test_branches_give_scalars_as_arrays(index: int) -> None:
    branches = [
        graph([f64()], lambda x: (ops.reshape(x, shape=(1,)), ops.sin(x))),
        graph([f64()], lambda x: (ops.broadcast(number(x, 7.0), shape=(1,)), x)),
    ]

    def f(k: Value, x: Value) -> Any:
        part, scalar = ops.branch(k, branches, [ops.cos(x)])
        return ops.exp(part), scalar

    agree(graph([INDEX, f64()], f), [index, 0.3])


def test_branches_update_the_same_array() -> None:
    typed = [f64(8), INDEX, f64()]
    branches = [
        graph(typed, lambda a, i, x: (a, x)),
        graph(typed, lambda a, i, x: (ops.scatter_set(a, x, i), ops.gather(a, i))),
        graph(typed, lambda a, i, x: (ops.scatter_add(a, x, i), x * x)),
    ]

    def step(i: Value, a: Value, x: Value) -> Any:
        which = ops.mod(i, number(i, 3))
        return ops.branch(which, branches, [a, i, x])

    body = graph([INDEX, f64(8), f64()], step)
    made = graph([f64(8), f64()], lambda a, x: ops.loop(
        a.builder, body, carries=[a, x], length=8))
    kernel = agree(made, [np.arange(8.0), 0.7])
    assert copies(kernel) == []
    assert "checked" not in str(kernel.program)


def test_bools_choose() -> None:
    branches = [
        graph([f64(), TensorType(BOOL)], lambda x, p: (x * 2, p)),
        graph([f64(), TensorType(BOOL)], lambda x, p: (x - 1, ops.logical_not(p))),
    ]

    def step(i: Value, x: Value, p: Value) -> Any:
        return ops.branch(ops.convert(x > 3, dtype=I64), branches, [x, p])

    body = graph([INDEX, f64(), TensorType(BOOL)], step)
    made = graph([f64(), TensorType(BOOL)], lambda x, p: ops.loop(
        x.builder, body, carries=[x, p], length=30))
    agree(made, [0.1, True])


# -- failures ------------------------------------------------------------------------------------


def test_an_index_out_of_bounds_fails_at_its_line() -> None:
    inner = graph([INDEX, f64(), f64(5), INDEX], lambda j, s, a, k: s + ops.gather(a, j + k))
    outer = graph([INDEX, f64(), f64(5), INDEX], lambda i, s, a, k: ops.loop(
        i.builder, inner, carries=[s], captures=[a, k], length=3))
    made = graph([f64(5), INDEX], lambda a, k: [
        *ops.loop(a.builder, outer, carries=[number(a, 0)], captures=[a, k], length=3),
        ops.gather(a, number(k, 2))])
    agree(made, [np.arange(5.0), 2])
    agree(made, [np.arange(5.0), -5])
    kernel = Kernel(made)
    for k in (3, -6):
        with pytest.raises(IndexError):
            kernel([np.arange(5.0), np.array(k)])
    assert {n.op.name for n in kernel.program.checked} >= {"gather"}


def test_scatters_out_of_bounds_fail() -> None:
    body = graph([INDEX, f64(5), INDEX], lambda i, a, k: ops.scatter_set(a, real(i), i + k))
    made = graph([f64(5), INDEX], lambda a, k: ops.loop(
        a.builder, body, carries=[a], captures=[k], length=3))
    agree(made, [np.arange(5.0), 2])
    with pytest.raises(IndexError):
        Kernel(made)([np.arange(5.0), np.array(3)])
