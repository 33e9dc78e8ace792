"""Ufuncs: from NumPy's loop dtypes and broadcast operands to ops.

An entry takes values of one shape, of the dtypes of NumPy's loop, and gives the result's value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import constant_number, full_like
from gradc.ir.types import BOOL

Emit = Callable[..., Any]


def _as_bool(x: Value) -> Value:
    return x if x.dtype == BOOL else ops.ne(x, full_like(x, 0))


def _logical(op: Any) -> Emit:
    return lambda x, y: op(_as_bool(x), _as_bool(y))


def _square(x: Value) -> Value:
    return ops.mul(x, x)


def _power(x: Value, y: Value) -> Value:
    number = constant_number(y)
    if number == 2:
        return ops.mul(x, x)
    return ops.pow_(x, y)


def _reciprocal(x: Value) -> Value:
    if x.dtype.kind != "f":
        whole = ops.where(ops.eq(_absolute(x), full_like(x, 1)), x, full_like(x, 0))
        if x.dtype.kind != "i" or x.dtype.itemsize < 4:
            return whole
        # NumPy converts 1.0 / 0 back, of which x86-64 makes the least number.
        zero, least = full_like(x, 0), full_like(x, np.iinfo(x.dtype).min)
        return ops.where(ops.eq(x, zero), least, whole)
    return ops.div(full_like(x, 1), x)


def _heaviside(x: Value, at_zero: Value) -> Value:
    zero, one = full_like(x, 0), full_like(x, 1)
    step = ops.where(x > 0, one, ops.where(x < 0, zero, at_zero))
    return ops.where(ops.ne(x, x), x, step)


def _isfinite(x: Value) -> Value:
    if x.dtype.kind != "f":
        return ops.eq(x, x)
    return ops.lt(ops.abs_(x), full_like(x, math.inf))


def _isinf(x: Value) -> Value:
    if x.dtype.kind != "f":
        return ops.ne(x, x)
    return ops.eq(ops.abs_(x), full_like(x, math.inf))


def _signbit(x: Value) -> Value:
    return ops.copysign(full_like(x, 1), x) < 0


def _logaddexp(x: Value, y: Value) -> Value:
    """max + log1p(exp(−|x − y|)), by a choice, not max: every derivative is right in a tie."""
    first = x >= y
    high, low = ops.where(first, x, y), ops.where(first, y, x)
    shift = ops.where(_isinf(high), full_like(high, 0), high)
    return high + ops.softplus(low - shift)


def _logaddexp2(x: Value, y: Value) -> Value:
    log2 = math.log(2)
    return _logaddexp(x * log2, y * log2) / log2


def _divmod(x: Value, y: Value) -> tuple[Value, Value]:
    return ops.floordiv(x, y), ops.mod(x, y)


def _modf(x: Value) -> tuple[Value, Value]:
    whole = ops.trunc(x)
    rest = ops.where(_isinf(x), full_like(x, 0), x - whole)
    return ops.copysign(rest, x), whole


def _rounded(op: Any) -> Emit:
    """Rounding leaves integers and bools as they are."""
    return lambda x: op(x) if x.dtype.kind == "f" else x


def _absolute(x: Value) -> Value:
    return x if x.dtype.kind in "bu" else ops.abs_(x)


def _invert(x: Value) -> Value:
    return ops.logical_not(x) if x.dtype == BOOL else ops.bit_not(x)


def _xor(x: Value, y: Value) -> Value:
    return ops.ne(x, y) if x.dtype == BOOL else ops.bit_xor(x, y)


UFUNCS: dict[np.ufunc, Emit] = {
    np.add: ops.add, np.subtract: ops.sub, np.multiply: ops.mul, np.true_divide: ops.div,
    np.floor_divide: ops.floordiv, np.remainder: ops.mod, np.fmod: ops.fmod,
    np.divmod: _divmod, np.modf: _modf, np.power: _power, np.float_power: _power,
    np.negative: ops.neg, np.positive: lambda x: x, np.absolute: _absolute, np.fabs: ops.abs_,
    np.conjugate: lambda x: x, np.sign: ops.sign, np.square: _square,
    np.reciprocal: _reciprocal, np.sqrt: ops.sqrt, np.cbrt: ops.cbrt, np.hypot: ops.hypot,
    np.exp: ops.exp, np.exp2: ops.exp2, np.expm1: ops.expm1,
    np.log: ops.log, np.log2: ops.log2, np.log10: ops.log10, np.log1p: ops.log1p,
    np.logaddexp: _logaddexp, np.logaddexp2: _logaddexp2,
    np.sin: ops.sin, np.cos: ops.cos, np.tan: ops.tan,
    np.arcsin: ops.asin, np.arccos: ops.acos, np.arctan: ops.atan, np.arctan2: ops.atan2,
    np.sinh: ops.sinh, np.cosh: ops.cosh, np.tanh: ops.tanh,
    np.arcsinh: ops.asinh, np.arccosh: ops.acosh, np.arctanh: ops.atanh,
    np.deg2rad: lambda x: x * (math.pi / 180), np.radians: lambda x: x * (math.pi / 180),
    np.rad2deg: lambda x: x * (180 / math.pi), np.degrees: lambda x: x * (180 / math.pi),
    np.floor: _rounded(ops.floor), np.ceil: _rounded(ops.ceil),
    np.trunc: _rounded(ops.trunc), np.rint: _rounded(ops.rint),
    np.maximum: ops.maximum, np.minimum: ops.minimum, np.fmax: ops.fmax, np.fmin: ops.fmin,
    np.copysign: ops.copysign, np.signbit: _signbit, np.heaviside: _heaviside,
    np.isnan: lambda x: ops.ne(x, x), np.isinf: _isinf, np.isfinite: _isfinite,
    np.equal: ops.eq, np.not_equal: ops.ne, np.less: ops.lt, np.less_equal: ops.le,
    np.greater: ops.gt, np.greater_equal: ops.ge,
    np.logical_and: _logical(ops.bit_and), np.logical_or: _logical(ops.bit_or),
    np.logical_xor: _logical(ops.ne), np.logical_not: lambda x: ops.logical_not(_as_bool(x)),
    np.bitwise_and: ops.bit_and, np.bitwise_or: ops.bit_or, np.bitwise_xor: _xor,
    np.invert: _invert, np.left_shift: ops.shift_left, np.right_shift: ops.shift_right,
}  # fmt: skip

COMPARISONS = frozenset(
    (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
)
