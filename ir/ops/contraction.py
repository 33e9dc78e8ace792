"""The contraction: a batch of matrix products, transposes as flags.

dot, tensordot, inner, outer and einsum are plain functions over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import Attrs, Sample, bilinear
from gradc.ir.ops.conditions import Conditions
from gradc.ir.types import TensorType


def matmul_dims(a: TensorType, b: TensorType, attrs: Attrs) -> tuple[int, int, int]:
    """m, n, k of ``op(a) @ op(b)``. Raises ValueError when the shapes do not fit."""
    m, k = a.shape[-2:][:: -1 if attrs["ta"] else 1]
    k2, n = b.shape[-2:][:: -1 if attrs["tb"] else 1]
    if k != k2 or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"matmul: {a} and {b} do not fit")
    return m, n, k


def _matmul_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    a, b = types
    if a.dtype != b.dtype or a.dtype.kind not in "iuf":
        raise TypeError(f"matmul: {a} and {b}")
    if a.rank < 2 or b.rank < 2:
        raise ValueError(f"matmul takes matrices, not {a} and {b}")
    m, n, _ = matmul_dims(a, b, attrs)
    return a.with_shape((*a.shape[:-2], m, n))


def _matmul_numpy(a: Any, b: Any, ta: bool, tb: bool) -> Any:
    return np.matmul(np.swapaxes(a, -1, -2) if ta else a, np.swapaxes(b, -1, -2) if tb else b)


def _left(ct: Value, b: Value, attrs: Attrs) -> Value:
    if attrs["ta"]:
        return matmul(b, ct, ta=attrs["tb"], tb=True)
    return matmul(ct, b, ta=False, tb=not attrs["tb"])


def _right(ct: Value, a: Value, attrs: Attrs) -> Value:
    if attrs["tb"]:
        return matmul(ct, a, ta=True, tb=attrs["ta"])
    return matmul(a, ct, ta=not attrs["ta"], tb=False)


def _narrow(
    known: Conditions, condition: Value, k: int, xs: Sequence[Value], attrs: Attrs
) -> Value | None:
    """The condition of rows for the left operand, of columns for the right one."""
    *batch, m, n = condition.shape
    one = known.narrowed(condition, (*batch, *((1, n) if k else (m, 1))))
    if one is not None and attrs["tb" if k else "ta"]:
        one = known.shaped(one, (*batch, *((n, 1) if k else (1, m))))
    return one and known.spread(one, xs[k].shape)


_FORMS = [(ta, tb) for ta in (False, True) for tb in (False, True)]

matmul = bilinear(
    "matmul", _matmul_type, _matmul_numpy, (_left, _right), _narrow, kinds="iuf",
    samples=tuple(
        Sample(((k, m) if ta else (m, k), (n, k) if tb else (k, n)), {"ta": ta, "tb": tb})
        for m, k, n in [(3, 4, 5), (1, 3, 1), (17, 9, 20)] for ta, tb in _FORMS
    ) + (Sample(((2, 3, 4), (2, 4, 2)), {"ta": False, "tb": False}),
         Sample(((2, 4, 3), (2, 2, 4)), {"ta": True, "tb": True}),
         Sample(((3, 0), (0, 2)), {"ta": False, "tb": False}),
         Sample(((0, 3), (3, 2)), {"ta": False, "tb": False})),
)
