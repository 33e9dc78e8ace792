"""Every op of the IR, by family. ``REGISTRY`` has them by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import REGISTRY, Op, Sample, constant_number
from gradc.ir.ops.conditions import Conditions, Mask
from gradc.ir.ops.contraction import matmul, matmul_dims
from gradc.ir.ops.control import (
    LoopParts,
    branch,
    branch_,
    call,
    call_,
    extent,
    item_,
    items,
    loop,
    loop_,
)
from gradc.ir.ops.cotangent import Cotangent, Masked
from gradc.ir.ops.effects import assigned, debug_print, fitting
from gradc.ir.ops.elementwise import (
    abs_,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bit_and,
    bit_not,
    bit_or,
    bit_xor,
    cbrt,
    ceil,
    convert,
    copy,
    copysign,
    cos,
    cosh,
    cube,
    div,
    eq,
    exp,
    exp2,
    expm1,
    floor,
    floordiv,
    fmax,
    fmin,
    fmod,
    fourth,
    ge,
    gt,
    hypot,
    le,
    log,
    log1p,
    log2,
    log10,
    logical_not,
    logistic_density,
    lt,
    maximum,
    minimum,
    mod,
    mul,
    ne,
    neg,
    pow_,
    rint,
    sech2,
    shift_left,
    shift_right,
    sigmoid,
    sign,
    sin,
    sinh,
    softplus,
    sqrt,
    stop_gradient,
    sub,
    tan,
    tanh,
    trunc,
    where,
)
from gradc.ir.ops.indexing import argsort, gather, scatter_add, scatter_set
from gradc.ir.ops.random import (
    random_integers,
    random_key,
    random_keys,
    random_normal,
    random_permutation,
    random_sample,
    random_uniform,
    random_weighted,
)
from gradc.ir.ops.reduction import (
    all_,
    any_,
    argmax,
    argmin,
    cumprod,
    cumsum,
    max_,
    min_,
    prod,
    spread,
    sum_,
)
from gradc.ir.ops.shape import (
    broadcast,
    concat,
    embed,
    region,
    reshape,
    slice_,
    transpose,
    unbroadcast,
    update_slice,
)
from gradc.ir.ops.sources import const, const_, input_
from gradc.ir.ops.special import digamma, erf, erfc, gaussian, lgamma, trigamma


def full(builder_of: Value, shape: Sequence[int], number: float) -> Value:
    """A constant of a value's dtype and this shape, in that value's graph."""
    scalar = const(builder_of.builder, np.asarray(number).astype(builder_of.dtype))
    return broadcast(scalar, shape=tuple(shape)) if shape else scalar


def full_like(value: Value, number: float) -> Value:
    """A constant of a value's dtype and shape, in that value's graph."""
    return full(value, value.shape, number)
