"""Graphs with loops and branches, briefly; compiled results against interpreted ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Nest
from gradc.codegen.region.stages import all_stages
from gradc.ir import interp, ops
from gradc.ir.graph import Builder, Graph, Loc, Value
from gradc.ir.types import F64, I64, TensorType

INDEX = TensorType(I64)


def f64(*shape: int) -> TensorType:
    return TensorType(F64, shape)


def graph(
    types: Sequence[TensorType], make: Callable[..., Value | Sequence[Value]], name: str = "g"
) -> Graph:
    """The graph of a function of values; each of its lines has a number in ``regions.py``."""
    builder = Builder(name)
    builder.locate = lambda: (Loc("regions.py", len(builder.nodes), name),)
    made = make(*(builder.input(f"x{k}", t) for k, t in enumerate(types)))
    return builder.build([made] if isinstance(made, Value) else list(made))


def number(like: Value, value: float, dtype: Any = None) -> Value:
    """A constant scalar in the graph of a value."""
    return ops.const(like.builder, np.asarray(value, dtype or like.dtype))


def agree(made: Graph, inputs: Sequence[Any]) -> Kernel:
    """The kernel of a graph, the results of which are the interpreter's to rounding."""
    kernel = Kernel(made)
    given = [np.array(x, t.dtype) for x, t in zip(inputs, made.input_types, strict=True)]
    before = [x.copy() for x in given]
    results = kernel(given)
    for got, want in zip(results, interp.run(made, given), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        if got.dtype.kind == "f":
            tolerance = 3e-5 if got.dtype == np.float32 else 1e-10
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, want)
    for x, y in zip(given, before, strict=True):
        np.testing.assert_array_equal(x, y)
    return kernel


def copies(kernel: Kernel) -> list[int]:
    """The sizes of what nests inside of loops copy from one buffer to another."""
    inside = [
        s for stage in kernel.program.stages for s in all_stages([stage]) if s is not stage
    ]
    found = []
    for nest in (s for s in inside if isinstance(s, Nest)):
        for phase in nest.phases:
            if [type(s).__name__ for s in phase.body] == ["Load", "Store"]:
                found.append(int(np.prod(nest.outer + nest.inner)))
    return found


def real(i: Value) -> Value:
    return ops.convert(i, dtype=np.dtype(float))
