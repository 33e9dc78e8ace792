"""Every op against NumPy, its declared type, and finite differences."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder
from gradc.ir.interp import run
from gradc.ir.ops import REGISTRY, Op, Sample
from gradc.ir.types import F32, F64, TensorType
from gradc.ir.verify import verify
from tests.ir.derivatives import check_derivatives
from tests.sampling import draw, dtypes_of, graph_of, operand_types, sampled_ops

CASES = [pytest.param(op, sample, id=f"{op.name}-{k}")
         for op in sampled_ops() for k, sample in enumerate(op.samples)]
SMOOTH = [c for c in CASES if c.values[0].vjp is not None]


@pytest.mark.parametrize("op", sampled_ops(), ids=lambda op: op.name)
def test_every_op_is_sampled(op: Op) -> None:
    assert op.samples, f"{op.name} has no samples"
    assert (op.jvp is None) == (op.vjp is None)


def test_every_op_belongs_to_a_family() -> None:
    families = "elementwise linear bilinear reduction index source effect control random".split()
    assert {op.family for op in REGISTRY.values()} <= set(families)
    assert [op.name for op in REGISTRY.values()] == list(REGISTRY)


@pytest.mark.parametrize(("op", "sample"), CASES)
def test_numpy_meaning_has_the_declared_type(op: Op, sample: Sample) -> None:
    for dtype in dtypes_of(op):
        operands = draw(sample, dtype)
        declared = op.infer(operand_types(sample, dtype), sample.attrs)
        before = [x.copy() for x in operands]
        with np.errstate(all="ignore"):
            result = np.asarray(op.numpy(*operands, **sample.attrs))
        assert (result.dtype, result.shape) == (declared.dtype, declared.shape), dtype
        for x, old in zip(operands, before, strict=True):
            np.testing.assert_array_equal(x, old)


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_derivatives(op: Op, sample: Sample) -> None:
    graph = graph_of(op, sample, F64)
    if graph.output_types[0].dtype == F64:
        check_derivatives(graph, draw(sample, F64))


def test_the_derivative_of_a_conversion_is_a_conversion() -> None:
    sample = Sample(((3,),), {"dtype": F32})
    adjoint = autodiff.vjp(graph_of(REGISTRY["convert"], sample, F64), [0])
    tangent = autodiff.jvp(graph_of(REGISTRY["convert"], sample, F64), [0])
    x = np.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(run(adjoint, [x, x.astype(F32)])[1], x.astype(F32).astype(F64))
    np.testing.assert_array_equal(run(tangent, [x, x])[1], x.astype(F32))


@pytest.mark.parametrize(("op", "sample"), SMOOTH)
def test_derivatives_in_float32(op: Op, sample: Sample) -> None:
    graph = graph_of(op, sample, F32)
    if not graph.output_types[0].differentiable:
        return
    wrt = [k for k, t in enumerate(graph.input_types) if t.differentiable]
    adjoint = autodiff.vjp(graph, wrt)
    verify(adjoint)
    inputs = draw(sample, F32)
    seed = np.ones(graph.output_types[0].shape, F32)
    single = run(adjoint, [*inputs, seed])
    wide = autodiff.vjp(graph_of(op, sample, F64), wrt)
    widened = [x.astype(F64) if x.dtype == F32 else x for x in inputs]
    double = run(wide, [*widened, seed])
    for a, b in zip(single[1:], double[1:], strict=True):
        assert a.dtype == F32
        scale = max(1.0, float(np.abs(b).max())) if b.size else 1.0
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("op", sampled_ops(), ids=lambda op: op.name)
def test_dtypes_an_op_does_not_take_are_refused(op: Op) -> None:
    for dtype in set("bool int32 uint8 float64".split()):
        if np.dtype(dtype).kind not in op.kinds and op.family == "elementwise":
            with pytest.raises(TypeError):
                op.infer(operand_types(op.samples[0], dtype), op.samples[0].attrs)


def test_operands_of_two_graphs_are_refused() -> None:
    here, there = Builder(), Builder()
    x, y = here.input("x", TensorType(F64)), there.input("y", TensorType(F64))
    with pytest.raises(ValueError, match="another graph"):
        ops.add(x, y)


def test_planted_wrong_rules_are_caught() -> None:
    """The checker is checked: each defect below must fail it."""
    right = REGISTRY["tanh"]
    sample = right.samples[2]
    inputs = draw(sample, F64)

    def planted(**changes: Any) -> Op:
        del REGISTRY["tanh"]
        try:
            return dataclasses.replace(right, **changes)
        finally:
            REGISTRY["tanh"] = right

    def wrong_jvp(xs: Any, out: Any, attrs: Any, tangents: Any) -> Any:
        return tangents[0] * (1 - out)

    def wrong_vjp(xs: Any, out: Any, attrs: Any, ct: Any, needed: Any) -> Any:
        return [ct.times((1 - out * out) * 1.001)]

    def first_order_only(xs: Any, out: Any, attrs: Any, ct: Any, needed: Any) -> Any:
        return [ct.times(ops.stop_gradient(1 - out * out))]

    def wrong_shape(xs: Any, out: Any, attrs: Any, ct: Any, needed: Any) -> Any:
        return ct.moved(lambda v: [ops.reshape(v, shape=(5, 1))])

    def wrong_meaning(x: Any) -> Any:
        return np.tanh(x) * 1.01

    for changes in ({"jvp": wrong_jvp}, {"vjp": wrong_vjp}, {"vjp": first_order_only},
                    {"vjp": wrong_shape}, {"numpy": wrong_meaning}):
        bad = planted(**changes)
        REGISTRY["tanh"] = bad
        try:
            with pytest.raises(AssertionError):
                check_derivatives(graph_of(bad, sample, F64), inputs)
        finally:
            REGISTRY["tanh"] = right
    check_derivatives(graph_of(right, sample, F64), inputs)


def test_scatter_with_repeated_indices() -> None:
    sample = Sample(((5,), (4,), (4,)), {}, (), (None, None, "int64"))
    x, u = np.arange(5.0), np.array([1.0, 2.0, 3.0, 4.0])
    index = np.array([1, 1, -1, 4])
    added, written = (run(graph_of(REGISTRY[n], sample, F64), [x, u, index])[0]
                      for n in ("scatter_add", "scatter_set"))
    np.testing.assert_array_equal(added, [0, 4, 2, 3, 11])
    np.testing.assert_array_equal(written, [0, 2, 2, 3, 4])
    for name in ("scatter_add", "scatter_set"):
        check_derivatives(graph_of(REGISTRY[name], sample, F64), [x, u, index])


@pytest.mark.parametrize("name", ["gather", "scatter_add", "scatter_set"])
def test_an_index_out_of_bounds_is_an_error(name: str) -> None:
    op = REGISTRY[name]
    sample = op.samples[0]
    operands = draw(sample, F64)
    operands[-1] = operands[-1] + 1000
    with pytest.raises(IndexError):
        run(graph_of(op, sample, F64), operands)
