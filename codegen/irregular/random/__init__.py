"""Random numbers: Philox, and what NumPy's generator makes of its words, to the bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gradc.codegen.irregular.random import integers, normal, philox, sample, uniform
from gradc.codegen.llvm import Builder, Val
from gradc.ir.types import TensorType

#: The ops emitted here.
OPS = frozenset(
    "random_key random_keys random_uniform random_normal random_integers random_permutation "
    "random_sample random_weighted".split()
)

#: Those whose parameters may be none.
CHECKED = frozenset({"random_integers", "random_weighted"})


def scratch_bytes(op: str, attrs: Mapping[str, Any], operand_types: Sequence[TensorType]) -> int:
    """The bytes of scratch that :func:`emit` asks for."""
    if op == "random_sample":
        return sample.sample_bytes(attrs["n"], attrs["size"])
    return sample.weighted_bytes(operand_types[1].size) if op == "random_weighted" else 0


def emit(
    b: Builder,
    op: str,
    attrs: Mapping[str, Any],
    types: Sequence[TensorType],
    operands: Sequence[Val],
    out: Val,
    scratch: Val,
) -> Val | None:
    """Emit ``out = op(*operands)``; whether it failed, for ops of :data:`CHECKED`."""
    key, *rest = operands
    match op:
        case "random_key":
            philox.emit_key(b, key, out)
        case "random_keys":
            philox.emit_keys(b, attrs["domain"], types[1].size, key, rest[0], out)
        case "random_uniform":
            uniform.emit(b, attrs["dtype"], math.prod(attrs["shape"]), key, out)
        case "random_normal":
            normal.emit(b, attrs["dtype"], math.prod(attrs["shape"]), key, out)
        case "random_integers":
            n = math.prod(attrs["shape"])
            return integers.emit(b, types[1].dtype, n, key, rest[0], rest[1], out)
        case "random_permutation":
            integers.emit_permutation(b, attrs["n"], key, out)
        case "random_sample":
            sample.emit(b, attrs["n"], attrs["size"], key, out, scratch)
        case "random_weighted":
            n, size, replace = types[1].size, attrs["size"], attrs["replace"]
            return sample.emit_weighted(b, n, size, replace, key, rest[0], out, scratch)
    return None
