"""Functions of the logistic family of one argument share their exponential."""

from __future__ import annotations

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder
from gradc.ir.interp import run
from gradc.ir.passes import optimize
from gradc.ir.passes.share import FAMILY, share_exponentials
from gradc.ir.types import F32, F64, TensorType
from gradc.ir.verify import verify

POINTS = np.array([0.0, -0.0, 1e-9, 0.3, -2, 20, -20, 37, -800, 800, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_members_agree_with_their_ops(dtype: np.dtype) -> None:
    builder = Builder()
    x = builder.input("x", TensorType(dtype, POINTS.shape))
    values = [ops.REGISTRY[name](v) for name in FAMILY for v in (x, -x)]
    graph = builder.build(values)
    shared = share_exponentials(graph)
    verify(shared)
    assert [n.op.name for n in shared.nodes].count("exp") == 1
    given = [POINTS.astype(dtype)]
    for got, want in zip(run(shared, given), run(graph, given), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)


def test_a_sigmoid_and_its_slope_take_one_exponential() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (5,)))
    loss = builder.build([ops.sum_(ops.sigmoid(x), axes=(0,))])
    graph = optimize(autodiff.value_and_grad(loss, [0]))
    names = [n.op.name for n in graph.nodes]
    assert names.count("exp") == 1 and not set(names) & set(FAMILY)


def test_one_member_alone_stays_what_it_is() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64, (5,)))
    y = builder.input("y", TensorType(F64, (5,)))
    graph = builder.build([ops.sigmoid(x), ops.softplus(y)])
    assert share_exponentials(graph) is graph
