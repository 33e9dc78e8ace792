"""Algebraic rules. Those that are not ``relaxed`` give the same bits for every input, NaN,
infinities and signed zeros included (a NaN's own sign and payload are not kept).
"""

from __future__ import annotations

import math

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.passes.patterns import Const, Var, op, rule
from gradc.ir.passes.rewriter import Rule

x, y, z, c = Var("x"), Var("y"), Var("z"), Var("c")
a, b, k = Const("a"), Const("b"), Const("k")
abs_, sqrt, where, convert = op("abs"), op("sqrt"), op("where"), op("convert")
exp, log, cube, fourth = op("exp"), op("log"), op("cube"), op("fourth")
maximum, minimum, fmax, fmin = op("maximum"), op("minimum"), op("fmax"), op("fmin")
eq, ne, lt, le, gt, ge = (op(name) for name in ("eq", "ne", "lt", "le", "gt", "ge"))
not_, and_, or_, xor = op("logical_not"), op("bit_and"), op("bit_or"), op("bit_xor")
invert, stop_gradient = op("bit_not"), op("stop_gradient")


def _power_of_two(number: float) -> bool:
    """Whether both a number and its reciprocal are normal powers of two in float32."""
    mantissa, exponent = math.frexp(number)
    return abs(mantissa) == 0.5 and -125 < exponent < 126


def _scaled(x: Value, a: float, b: float) -> Value | None:
    """x·(a·b), if that constant is exact; the value differs only where x·a overflowed or was
    subnormal.
    """
    product = np.asarray(a, x.dtype) * np.asarray(b, x.dtype)
    tiny = np.finfo(x.dtype).tiny
    if not (_power_of_two(a) or _power_of_two(b)) or not tiny <= abs(product) < math.inf:
        return None
    return x * float(product)


def _shifted(x: Value, a: int, b: int) -> Value:
    """x + (a + b), wrapped as integers of the dtype are."""
    return x + int((np.full(1, a, x.dtype) + np.full(1, b, x.dtype))[0])


def _lowered(x: Value, a: int) -> Value:
    """x + (−a), wrapped as integers of the dtype are."""
    return x + int((-np.full(1, a, x.dtype))[0])


ARITHMETIC: tuple[Rule, ...] = (
    rule("mul_one", x * 1, x),
    rule("div_one", x / 1, x),
    rule("sub_zero", x - 0, x),
    rule("add_minus_zero", x + -0.0, x, kinds="f"),
    rule("add_zero", x + 0, x, kinds="biu"),
    rule("add_zero_float", x + 0, x, kinds="f", relaxed=True),
    rule("zero_sub", 0 - x, -x, kinds="iu"),
    rule("minus_zero_sub", -0.0 - x, -x, kinds="f"),
    rule("zero_sub_float", 0 - x, -x, kinds="f", relaxed=True),
    rule("mul_zero", x * 0, 0, kinds="biu"),
    rule("sub_self", x - x, 0, kinds="iu"),
    rule("sub_number", x - a, _lowered, kinds="i"),
    rule("add_twice", (x + a) + b, _shifted, kinds="i"),
    rule("add_self", x + x, x * 2, kinds="iuf"),
    rule("neg_neg", -op("neg")(x), x),
    rule("add_neg", x + (-y), x - y),
    rule("sub_neg", x - (-y), x + y),
    rule("mul_minus_one", x * -1, -x),
    rule("div_minus_one", x / -1, -x),
    rule("mul_neg_neg", (-x) * (-y), x * y),
    rule("div_neg_neg", (-x) / (-y), x / y),
    rule("neg_times_number", (-x) * a, lambda x, a: x * -a, kinds="f"),
    rule("neg_over_number", (-x) / a, lambda x, a: x / -a, kinds="f"),
    rule("number_over_neg", a / (-x), lambda x, a: -a / x, kinds="f"),
    rule("neg_of_scaled", -(x * a), lambda x, a: x * -a, kinds="f"),
    rule("neg_of_quotient", -(x / a), lambda x, a: x / -a, kinds="f"),
    rule("neg_of_reciprocal", -(a / x), lambda x, a: -a / x, kinds="f"),
    rule("neg_mul", (-x) * y, -(x * y)),
    rule("neg_div", (-x) / y, -(x / y)),
    rule("div_neg", x / (-y), -(x / y)),
    rule("neg_sub", -(x - y), y - x, kinds="iu"),
    rule("neg_sub_float", -(x - y), y - x, kinds="f", relaxed=True),
    rule("div_power_of_two", x / a, lambda x, a: x * (1 / a), when=lambda x, a: _power_of_two(a)),
    rule("scale_twice", (x * a) * b, _scaled, kinds="f", accurate=True),
    rule("abs_neg", abs_(-x), abs_(x), kinds="if"),
    rule("abs_abs", abs_(abs_(x)), abs_(x)),
    rule("abs_squared", abs_(x) * abs_(x), x * x),
    rule("pow_zero", x ** 0, 1),
    rule("pow_one", x ** 1, x),
    rule("pow_two", x ** 2, x * x),
    rule("pow_minus_one", x ** -1, 1 / x, kinds="f"),
    rule("pow_half", x ** 0.5, sqrt(x), relaxed=True),
    rule("pow_three", x ** 3, x * x * x, kinds="iu"),
    rule("pow_three_float", x ** 3, cube(x), kinds="f", accurate=True),
    rule("pow_four", x ** 4, (x * x) * (x * x), kinds="iu"),
    rule("pow_four_float", x ** 4, fourth(x), kinds="f", accurate=True),
    rule("sqrt_squared", sqrt(x) * sqrt(x), x, relaxed=True),
    rule("exp_log", exp(log(x)), x, relaxed=True),
    rule("exp_product", exp(x) * exp(y), exp(x + y), relaxed=True),
    rule("factor", x * z + y * z, (x + y) * z, kinds="f", relaxed=True),
    rule("stop_gradient", stop_gradient(x), x),
)

_ROUNDING = [op(name) for name in ("floor", "ceil", "rint", "trunc")]

CHOICE: tuple[Rule, ...] = (
    rule("where_same", where(c, x, x), x),
    rule("where_of_numbers", where(c, a, b) * k, where(c, a * k, b * k)),
    rule("where_not", where(not_(c), x, y), where(c, y, x)),
    rule("where_true", where(a, x, y), lambda a, x, y: x if a else y),
    rule("where_inner_taken", where(c, where(c, x, y), z), where(c, x, z)),
    rule("where_inner_other", where(c, x, where(c, y, z)), where(c, x, z)),
    rule("where_true_false", where(c, True, False), c, kinds="b"),
    rule("where_false_true", where(c, False, True), not_(c), kinds="b"),
    rule("not_not", not_(not_(x)), x),
    rule("not_eq", not_(eq(x, y)), ne(x, y)),
    rule("not_ne", not_(ne(x, y)), eq(x, y)),
    rule("and_self", and_(x, x), x),
    rule("or_self", or_(x, x), x),
    rule("xor_self", xor(x, x), 0),
    rule("and_true", and_(x, True), x, kinds="b"),
    rule("and_false", and_(x, 0), 0),
    rule("or_false", or_(x, 0), x),
    rule("or_true", or_(x, True), True, kinds="b"),
    rule("xor_false", xor(x, 0), x),
    rule("xor_true", xor(x, True), not_(x), kinds="b"),
    rule("invert_invert", invert(invert(x)), x),
    rule("eq_self", eq(x, x), True, kinds="biu"),
    rule("le_self", le(x, x), True, kinds="biu"),
    rule("ge_self", ge(x, x), True, kinds="biu"),
    rule("ne_self", ne(x, x), False, kinds="biu"),
    rule("lt_self", lt(x, x), False),
    rule("gt_self", gt(x, x), False),
    *(rule(f"{name}_self", op(name)(x, x), x) for name in ("maximum", "minimum", "fmax", "fmin")),
    *(rule(f"{name}_twice", op(name)(op(name)(x, y), y), op(name)(x, y))
      for name in ("maximum", "minimum")),
    *(rule(f"{outer(x).op}_{inner(x).op}", outer(inner(x)), inner(x))
      for outer in _ROUNDING for inner in _ROUNDING),
)

ALGEBRA = ARITHMETIC + CHOICE
