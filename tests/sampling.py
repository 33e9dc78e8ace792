"""Operands for the tests of ops: drawn from an op's samples, in any dtype it takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.ir.graph import Builder, Graph
from gradc.ir.ops import REGISTRY, Op, Sample
from gradc.ir.types import LONG, TensorType

Array = np.ndarray[Any, Any]


def sampled_ops() -> list[Op]:
    """Every op that computes something by itself: no source, effect or control flow."""
    return [op for op in REGISTRY.values() if op.family not in ("source", "effect", "control")]


def dtypes_of(op: Op) -> list[np.dtype[Any]]:
    """The dtypes an op takes."""
    return [dtype for dtype in LONG.values() if dtype.kind in op.kinds]


def operand_types(sample: Sample, dtype: Any) -> list[TensorType]:
    """The operand types of a sample under a dtype; some operands have a dtype of their own."""
    fixed = sample.dtypes or (None,) * len(sample.shapes)
    return [TensorType(np.dtype(own or dtype), shape)
            for shape, own in zip(sample.shapes, fixed, strict=True)]


def draw(sample: Sample, dtype: Any, seed: int = 0) -> list[Array]:
    """Operands of a sample, drawn from its domains."""
    rng = np.random.default_rng(seed)
    types = operand_types(sample, dtype)
    out = []
    for k, type_ in enumerate(types):
        low, high = sample.domain[min(k, len(sample.domain) - 1)] if sample.domain else (-3.0, 3.0)
        out.append(fill(type_, rng, low, high))
    return out


def fill(type_: TensorType, rng: np.random.Generator, low: float = -3, high: float = 3) -> Array:
    """An array of random values in a range, of any type; integers are those within the range."""
    kind = type_.dtype.kind
    if kind == "b":
        return rng.integers(0, 2, type_.shape).astype(bool)
    if kind in "iu":
        start = max(int(np.ceil(low)), 0 if kind == "u" else -128)
        return rng.integers(start, max(int(np.floor(high)), start) + 1, type_.shape).astype(
            type_.dtype)
    return np.asarray(rng.uniform(low, high, type_.shape)).astype(type_.dtype)


def graph_of(op: Op, sample: Sample, dtype: Any) -> Graph:
    """The graph that applies an op to inputs of a sample's types."""
    builder = Builder(op.name)
    inputs = [builder.input(f"x{k}", t) for k, t in enumerate(operand_types(sample, dtype))]
    return builder.build([builder.add(op, inputs, **sample.attrs)])
