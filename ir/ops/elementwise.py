"""Elementwise ops. Operands agree in dtype and shape; broadcasts are explicit.

Conventions at kinks: abs has slope 0 at 0; maximum and minimum share the slope equally in a tie;
sqrt has slope +inf at 0; hypot has slope 0 at the origin, as norms have, and atan2 has none there
(NaN); floor, ceil, rint, trunc, sign and comparisons have slope 0 everywhere. The branch that a
where does not take contributes nothing, of any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import (
    REGISTRY,
    Attrs,
    Op,
    Sample,
    constant_number,
    elementwise,
)
from gradc.ir.ops.cotangent import Cotangent, Masked
from gradc.ir.types import BOOL, TensorType

_ANY, _POSITIVE, _NONZERO, _UNIT = (-3.0, 3.0), (0.1, 4.0), (0.5, 3.0), (-0.9, 0.9)


def _op(name: str, *operands: Value, **attrs: Any) -> Value:
    return REGISTRY[name](*operands, **attrs)


# -- arithmetic ----------------------------------------------------------------------------------

add = elementwise("add", np.add, (lambda x, y, out: 1, lambda x, y, out: 1), kinds="biuf",
                  lower=lambda s, x, y: s.or_(x, y) if s.dtype(x) == BOOL else s.add(x, y))
sub = elementwise("sub", np.subtract, (lambda x, y, out: 1, lambda x, y, out: -1), kinds="iuf")
mul = elementwise("mul", np.multiply, (lambda x, y, out: y, lambda x, y, out: x), kinds="biuf",
                  lower=lambda s, x, y: s.and_(x, y) if s.dtype(x) == BOOL else s.mul(x, y))
div = elementwise("div", np.divide, (lambda x, y, out: 1 / y, lambda x, y, out: -out * (1 / y)),
                  domain=(_ANY, _NONZERO))
neg = elementwise("neg", np.negative, (lambda x, out: -1,), kinds="iuf")
abs_ = elementwise("abs", np.abs, (lambda x, out: _op("sign", x),), kinds="biuf",
                   lower=lambda s, x: x if s.dtype(x).kind in "bu" else s.abs(x))


def _pow_base(x: Value, y: Value, out: Value) -> Value | float:
    """y·x^(y−1), which is 0 for y = 0 whatever x is."""
    number = constant_number(y)
    if number == 2:
        return x * 2
    if number is not None:
        return x ** (number - 1) * number if number else 0
    zero = _op("eq", y, _like(y, 0))
    return where(zero, _like(x, 0), y * _op("pow", x, where(zero, _like(y, 1), y) - 1))


def _pow_exponent(x: Value, y: Value, out: Value) -> Value:
    """x^y·log x, which is 0 at x = 0 (for y > 0)."""
    zero = _op("eq", x, _like(x, 0))
    return where(zero, _like(x, 0), out * log(where(zero, _like(x, 1), x)))


def _like(x: Value, number: float) -> Value:
    from gradc.ir.ops import full_like

    return full_like(x, number)


def _pow_lower(s: Any, x: Any, y: Any) -> Any:
    if s.dtype(x).kind == "f":
        return s.math("pow", x, y)
    # Exponentiation by squaring over every bit of y: branch-free. Tracing refuses negative ones.
    result, base = s.const(1, x), x
    for bit in range(s.dtype(x).itemsize * 8):
        odd = s.ne(s.and_(s.shift_right(y, s.const(bit, y)), s.const(1, y)), s.const(0, y))
        result = s.select(odd, s.mul(result, base), result)
        base = s.mul(base, base)
    return result


pow_ = elementwise("pow", np.power, (_pow_base, _pow_exponent), kinds="iuf", lower=_pow_lower,
                   domain=(_POSITIVE, (0.0, 3.0)))


def _floor_divide(s: Any, x: Any, y: Any) -> Any:
    zero = s.const(0, x)
    if s.dtype(x).kind == "u":
        return s.div(x, y)
    if s.dtype(x).kind == "i":
        quotient, rest = s.div(x, y), s.rem(x, y)
        apart = s.and_(s.ne(rest, zero), s.ne(s.lt(rest, zero), s.lt(y, zero)))
        return s.select(apart, s.sub(quotient, s.const(1, x)), quotient)
    quotient, _ = _float_divmod(s, x, y)
    return quotient


def _modulo(s: Any, x: Any, y: Any) -> Any:
    if s.dtype(x).kind == "u":
        return s.rem(x, y)
    if s.dtype(x).kind == "i":
        rest, zero = s.rem(x, y), s.const(0, x)
        apart = s.and_(s.ne(rest, zero), s.ne(s.lt(rest, zero), s.lt(y, zero)))
        return s.select(apart, s.add(rest, y), rest)
    return _float_divmod(s, x, y)[1]


def _float_divmod(s: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Python's divmod on floats, as NumPy defines it (npy_divmod)."""
    zero, one, half = s.const(0.0, x), s.const(1.0, x), s.const(0.5, x)
    rest = s.math("fmod", x, y)
    quotient = s.div(s.sub(x, rest), y)
    nonzero = s.ne(rest, zero)
    apart = s.and_(nonzero, s.ne(s.lt(rest, zero), s.lt(y, zero)))
    mod = s.select(nonzero, s.select(apart, s.add(rest, y), rest), s.copysign(zero, y))
    quotient = s.select(apart, s.sub(quotient, one), quotient)
    floor = s.floor(quotient)
    floor = s.select(s.gt(s.sub(quotient, floor), half), s.add(floor, one), floor)
    plain = s.div(x, y)
    floor = s.select(s.ne(quotient, zero), floor, s.copysign(zero, plain))
    by_zero = s.eq(y, zero)
    return s.select(by_zero, plain, floor), s.select(by_zero, rest, mod)


floordiv = elementwise("floordiv", np.floor_divide, (None, None), kinds="iuf",
                       lower=_floor_divide, domain=(_ANY, _NONZERO))
mod = elementwise("mod", np.remainder,
                  (lambda x, y, out: 1, lambda x, y, out: -_op("floordiv", x, y)),
                  kinds="iuf", lower=_modulo, domain=(_ANY, _NONZERO))
fmod = elementwise("fmod", np.fmod,
                   (lambda x, y, out: 1, lambda x, y, out: -_op("trunc", x / y)),
                   kinds="iuf", domain=(_ANY, _NONZERO),
                   lower=lambda s, x, y: s.math("fmod", x, y) if s.dtype(x).kind == "f"
                   else s.rem(x, y))

# -- exponentials and roots ----------------------------------------------------------------------


def vector_math(name: str, numpy: Any, partial: Any, domain: tuple[float, float] = _ANY) -> Op:
    """Declare a function of one operand that the vector math library computes."""
    return elementwise(name, numpy, (partial,), domain=(domain,),
                       lower=lambda s, x: s.math(name, x))


exp = vector_math("exp", np.exp, lambda x, out: out)
# Not out + 1, which has no digit of exp(x) left where x is far below 0.
expm1 = vector_math("expm1", np.expm1, lambda x, out: exp(x))
exp2 = vector_math("exp2", np.exp2, lambda x, out: out * math.log(2))
log = vector_math("log", np.log, lambda x, out: 1 / x, _POSITIVE)
log1p = vector_math("log1p", np.log1p, lambda x, out: 1 / (x + 1), (-0.5, 3.0))
log2 = vector_math("log2", np.log2, lambda x, out: (1 / math.log(2)) / x, _POSITIVE)
log10 = vector_math("log10", np.log10, lambda x, out: (1 / math.log(10)) / x, _POSITIVE)
sqrt = elementwise("sqrt", np.sqrt, (lambda x, out: 0.5 / out,), domain=(_POSITIVE,))
cbrt = vector_math("cbrt", np.cbrt, lambda x, out: (1 / 3) / (out * out), _POSITIVE)
cube = vector_math("cube", lambda x: np.power(x, x.dtype.type(3)), lambda x, out: x * x * 3)
fourth = vector_math("fourth", lambda x: np.power(x, x.dtype.type(4)), lambda x, out: cube(x) * 4)
hypot = elementwise("hypot", np.hypot,
                    (lambda x, y, out: _unless_zero(out, x / out),
                     lambda x, y, out: _unless_zero(out, y / out)),
                    lower=lambda s, x, y: s.math("hypot", x, y), domain=(_NONZERO, _ANY))



def _unless_zero(out: Value, partial: Value) -> Masked:
    """A partial that is 0 by convention where the result is."""
    return Masked(_op("ne", out, _like(out, 0)), partial)


# -- trigonometric and hyperbolic ----------------------------------------------------------------

sin = vector_math("sin", np.sin, lambda x, out: cos(x))
cos: Op = vector_math("cos", np.cos, lambda x, out: -sin(x))
tan = vector_math("tan", np.tan, lambda x, out: out * out + 1, (-1.2, 1.2))
asin = vector_math("asin", np.arcsin, lambda x, out: 1 / sqrt((1 - x) * (x + 1)), _UNIT)
acos = vector_math("acos", np.arccos, lambda x, out: -1 / sqrt((1 - x) * (x + 1)), _UNIT)
atan = vector_math("atan", np.arctan, lambda x, out: 1 / (x * x + 1))


def _over_square(x: Value, distance: Value) -> Value:
    return x / distance / distance  # the square could overflow or underflow


atan2 = elementwise("atan2", np.arctan2,
                    (lambda x, y, out: _over_square(y, hypot(x, y)),
                     lambda x, y, out: _over_square(-x, hypot(x, y))),
                    lower=lambda s, x, y: s.math("atan2", x, y), domain=(_ANY, _NONZERO))
sinh = vector_math("sinh", np.sinh, lambda x, out: cosh(x))
cosh: Op = vector_math("cosh", np.cosh, lambda x, out: sinh(x))


def _logistic_density(s: Any, x: Any) -> Any:
    small = s.math("exp", s.neg(s.abs(x)))
    below = s.add(s.const(1, x), small)
    return s.div(small, s.mul(below, below))


def _logistic_density_numpy(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return small / ((1 + small) * (1 + small))


# σ(x)·σ(−x), the slope of sigmoid: as sigmoid·(1 − sigmoid) it would lose its digits in saturation.
logistic_density = elementwise("logistic_density", _logistic_density_numpy,
                               (lambda x, out: -out * tanh(x * 0.5),),
                               domain=(_ANY,), lower=_logistic_density)
# The slope of tanh, as a function of its own for the same reason.
sech2: Op = vector_math("sech2", lambda x: np.square(1 / np.cosh(x)),
                  lambda x, out: out * tanh(x) * -2)
tanh: Op = vector_math("tanh", np.tanh, lambda x, out: sech2(x))
asinh = vector_math("asinh", np.arcsinh, lambda x, out: 1 / hypot(x, _like(x, 1)))
acosh = vector_math("acosh", np.arccosh, lambda x, out: 1 / (sqrt(x - 1) * sqrt(x + 1)),
                    (1.5, 4.0))
atanh = vector_math("atanh", np.arctanh, lambda x, out: 1 / ((1 - x) * (x + 1)), _UNIT)


def _sigmoid_numpy(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small).astype(x.dtype) / (1 + small)


sigmoid = vector_math("sigmoid", _sigmoid_numpy, lambda x, out: logistic_density(x))
softplus = vector_math("softplus", lambda x: np.logaddexp(0, x).astype(x.dtype),
                 lambda x, out: sigmoid(x))

# -- rounding and signs --------------------------------------------------------------------------


def _sign(s: Any, x: Any) -> Any:
    zero, one = s.const(0, x), s.const(1, x)
    if s.dtype(x).kind == "u":
        return s.select(s.ne(x, zero), one, zero)
    signed = s.select(s.lt(x, zero), s.const(-1, x), zero)
    return s.select(s.gt(x, zero), one, s.select(s.ne(x, x), x, signed))


sign = elementwise("sign", np.sign, (None,), kinds="iuf", lower=_sign)


def _rounding(name: str, numpy: Any) -> Op:
    return elementwise(name, numpy, (None,))


floor = _rounding("floor", np.floor)
ceil = _rounding("ceil", np.ceil)
rint = _rounding("rint", np.rint)
trunc = _rounding("trunc", np.trunc)
copysign = elementwise("copysign", np.copysign,
                       (lambda x, y, out: _op("sign", x) * _op("sign", out), None),
                       domain=(_NONZERO, _NONZERO))

# -- extrema and choice --------------------------------------------------------------------------


def _share(x: Value, y: Value) -> Value:
    """1, or one half where the operands tie."""
    return where(_op("eq", x, y), _like(x, 0.5), _like(x, 1))


def _extremum(name: str, numpy: Any, order: str, ignore_nan: bool) -> Op:
    def lower(s: Any, x: Any, y: Any) -> Any:
        if s.dtype(x) == BOOL:
            return s.or_(x, y) if order == "gt" else s.and_(x, y)
        better = getattr(s, order)(x, y)
        if s.dtype(x).kind != "f":
            return s.select(better, x, y)
        # One NaN fails the comparison: x is taken if it is the NaN (maximum) or y is (fmax).
        nan = s.ne(y, y) if ignore_nan else s.ne(x, x)
        return s.select(s.or_(better, nan), x, y)

    first, second = ("ge", "ge") if order == "gt" else ("le", "le")
    return elementwise(name, numpy,
                       (lambda x, y, out: Masked(_op(first, x, y), _share(x, y)),
                        lambda x, y, out: Masked(_op(second, y, x), _share(x, y))),
                       kinds="biuf", lower=lower, domain=((-3.0, 0.9), (1.0, 3.0)))


maximum = _extremum("maximum", np.maximum, "gt", False)
minimum = _extremum("minimum", np.minimum, "lt", False)
fmax = _extremum("fmax", np.fmax, "gt", True)
fmin = _extremum("fmin", np.fmin, "lt", True)


def _where_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    condition, x, y = types
    if condition.dtype != BOOL or condition.shape != x.shape:
        raise TypeError(f"where: the condition is {condition}, the branches are {x}")
    if (x.dtype, x.shape) != (y.dtype, y.shape):
        raise TypeError(f"where: branches differ: {x}, {y}")
    return TensorType(x.dtype, x.shape)


def _where_jvp(operands: Any, result: Any, attrs: Any, tangents: Any) -> Value | None:
    _, x, y = operands
    _, dx, dy = tangents
    if dx is None and dy is None:
        return None
    return where(operands[0], _like(x, 0) if dx is None else dx, _like(y, 0) if dy is None else dy)


def _where_vjp(
    operands: Any, result: Any, attrs: Any, cotangent: Cotangent, needed: Sequence[bool]
) -> list[Cotangent | None]:
    condition = operands[0]
    return [
        None,
        cotangent.under(condition, guard=True) if needed[1] else None,
        cotangent.under(condition, holds=False, guard=True) if needed[2] else None,
    ]


where = Op(name="where", family="elementwise", infer=_where_type, numpy=np.where,
           jvp=_where_jvp, vjp=_where_vjp, lower=lambda s, c, x, y: s.select(c, x, y),
           samples=tuple(Sample((s,) * 3, dtypes=("bool", None, None))
                         for s in ((), (5,), (2, 3), (0,))))

# -- comparisons, logic, bits --------------------------------------------------------------------


def _compare(name: str, numpy: Any) -> Op:
    return elementwise(name, numpy, (None, None), kinds="biuf", result="bool")


eq = _compare("eq", np.equal)
ne = _compare("ne", np.not_equal)
lt = _compare("lt", np.less)
le = _compare("le", np.less_equal)
gt = _compare("gt", np.greater)
ge = _compare("ge", np.greater_equal)


def _bitwise(name: str, numpy: Any, lower: Any, kinds: str, arity: int = 2) -> Op:
    return elementwise(name, numpy, (None,) * arity, kinds=kinds, lower=lower)


logical_not = _bitwise("logical_not", np.logical_not, lambda s, x: s.not_(x), "b", 1)
bit_and = _bitwise("bit_and", np.bitwise_and, lambda s, x, y: s.and_(x, y), "biu")
bit_or = _bitwise("bit_or", np.bitwise_or, lambda s, x, y: s.or_(x, y), "biu")
bit_xor = _bitwise("bit_xor", np.bitwise_xor, lambda s, x, y: s.xor(x, y), "biu")
bit_not = _bitwise("bit_not", np.invert, lambda s, x: s.not_(x), "biu", 1)
shift_left = _bitwise("shift_left", np.left_shift, None, "iu")
shift_right = _bitwise("shift_right", np.right_shift, None, "iu")

# -- conversion and stop_gradient ----------------------------------------------------------------


def _convert_jvp(operands: Any, result: Value, attrs: Attrs, tangents: Any) -> Value | None:
    if tangents[0] is None or not result.type.differentiable:
        return None
    return convert(tangents[0], dtype=attrs["dtype"])


def _convert_vjp(
    operands: Any, result: Value, attrs: Attrs, cotangent: Cotangent, needed: Sequence[bool]
) -> list[Cotangent | None]:
    return [replace(cotangent, value=convert(cotangent.value, dtype=operands[0].dtype))]


convert = Op(name="convert", family="elementwise",
             infer=lambda types, attrs: TensorType(attrs["dtype"], types[0].shape),
             numpy=lambda x, dtype: np.asarray(x).astype(dtype),
             jvp=_convert_jvp, vjp=_convert_vjp,
             samples=tuple(Sample(((2, 9),), {"dtype": np.dtype(d)}, ((0.0, 100.0),))
                           for d in ("bool", "int8", "int32", "int64", "uint8", "uint64",
                                     "float32", "float64")))

stop_gradient = elementwise("stop_gradient", lambda x: x, (None,), kinds="biuf",
                            lower=lambda s, x: x)
copy = elementwise("copy", np.array, (lambda x, out: 1,), kinds="biuf", lower=lambda s, x: x)
