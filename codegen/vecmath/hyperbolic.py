"""tanh, sinh, cosh and their inverses."""

from __future__ import annotations

from gradc.codegen.vecmath.exponential import LN2, LOG2_E, reduce_ln2
from gradc.codegen.vecmath.logarithm import log1p_kernel
from gradc.codegen.vecmath.vec import (
    INF,
    NAN,
    Vec,
    choose,
    coarse_reciprocal,
    fast_two_sum,
    fma,
    horner,
    polynomial,
    power_of_two,
    round_scaled,
    two_product,
    two_sum,
    where,
)

# tanh(x) = x + x³·(-1/3 + x²·P(x²)/Q(x²)), |x| <= 0.98: relative error 2^-60.8 and 2^-31.7
TANH_OVER = {
    "double": (0.13333333333333258, 0.007927964748218682, 8.470960942449674e-05),
    "float": (0.13333344, 0.0068334127),
}
TANH_UNDER = {
    "double": (1.0, 0.46422164037348296, 0.02451339343909713, 0.000254180476145707),
    "float": (1.0, 0.4560153, 0.02055219),
}
# (e^2r - 1) / r, |r| <= ln 2 / 4: relative error of e^2r 2^-57.7 and 2^-28.0
EXPM1_DOUBLE = {
    "double": (
        2.0,
        2.000000000000005,
        1.3333333333333177,
        0.666666666664316,
        0.2666666666706773,
        0.08888888925389477,
        0.025396825063931504,
        0.006349181703934294,
        0.0014109451082978171,
        0.0002829404933236964,
        5.124111329397312e-05,
    ),
    "float": (2.0, 1.9999995, 1.3333215, 0.6667144, 0.2678063, 0.087970085),
}
# Beyond it the slope of tanh is 0.
TANH_RANGE = {"double": 374.0, "float": 53.0}
# e^2x is divided by two to this power, that it does not overflow before the slope is 0.
TANH_SCALE = 64


def tanh_sech2(x: Vec) -> tuple[Vec, Vec]:
    """tanh x and its slope sech² x, which keeps its digits where tanh saturates.

    tanh is x + x³·(-1/3 + x²·P/Q), or 1 + q with q = -2 / (e^2x + 1) from 0.973 on; the slope is
    (tanh x - 1)·(-1 - tanh x), or q·(-1 - tanh x). One division serves all. The rational
    approximation is the form of Cody & Waite (1980), its leading term set apart; at 0.973 the
    quotient falls below 1/4, and with it its rounding.
    """
    a = x.abs().at_most(x.pick(TANH_RANGE))
    z = a * a
    over, under = horner(z, x.pick(TANH_OVER)), horner(z, x.pick(TANH_UNDER))
    high, rest = x.pick(LN2)
    n, t = round_scaled(a, 2.0 * LOG2_E, x.format.bias - TANH_SCALE)
    r = fma(n, -0.5 * rest, fma(n, -0.5 * high, a))
    scale = 2.0**-TANH_SCALE
    power = power_of_two(t)
    e_plus_1 = fma(power, r * polynomial(r, x.pick(EXPM1_DOUBLE)), power + scale)  # rounded once
    small = a.lt(0.973)
    quotient = where(small, over, -2.0 * scale) / where(small, under, e_plus_1)
    # A vector's operation and the choice of it or of its operand are one instruction.
    inner = where(small, fma(z, quotient, -1.0 / 3.0), quotient)
    y = fma(where(small, a * z, 1.0), inner, where(small, a, 1.0))
    return y.copysign(x), where(small, y - 1.0, quotient) * (-1.0 - y)


def tanh(x: Vec) -> Vec:
    """The hyperbolic tangent. Code generation drops what only its slope needs."""
    return tanh_sech2(x)[0]


def sech2(x: Vec) -> Vec:
    """sech² x = 1 - tanh² x, the slope of tanh, to 4 ulp."""
    return tanh_sech2(x)[1]


# (sinh r - r) / r³ and (cosh r - 1) / r² in z = r², |r| <= 0.347: absolute errors of the
# functions below 2^-61.7 and 2^-70, 2^-34.3 and 2^-33.2
SINH = {
    "double": (
        0.16666666666666677,
        0.008333333333321386,
        0.0001984126988681344,
        2.755724345850937e-06,
        2.510931655716099e-08,
    ),
    "float": (0.16666667, 0.008333175, 0.00019974055),
}
COSH = {
    "double": (
        0.5,
        0.041666666666666685,
        0.0013888888888873286,
        2.4801587349192884e-05,
        2.7557251832185373e-07,
        2.0921764508846533e-09,
    ),
    "float": (0.5, 0.04166646, 0.0013935443),
}
# A little beyond the overflow threshold, so that overflow happens in the last multiplication.
OVERFLOW = {"double": 710.6, "float": 89.6}
# e^-2x vanishes beside 1 from this exponent of e^x on.
ONE_SIDED = {"double": 64.0, "float": 32.0}


def _half_powers(x: Vec) -> tuple[Vec, Vec, Vec, Vec]:
    """|x| = n·ln 2 + r + low; returns r, low, 2^n / 4 and 2^-n / 4 (or 0 if it vanishes)."""
    format_ = x.format
    n, r, low, t = reduce_ln2(x.abs().at_most(x.pick(OVERFLOW)), format_.bias - 2)
    grow = t.bits() << format_.mantissa
    shrink = ((2 * (format_.bias - 2)) << format_.mantissa) - grow
    return r, low, grow.floats(), where(n.lt(x.pick(ONE_SIDED)), shrink.floats(), 0.0)


def _combine(r: Vec, low: Vec, up: Vec, down: Vec) -> Vec:
    """2·((up + down)·cosh(r + low) + (up - down)·sinh(r + low)), up >= |down|."""
    a, a_low = fast_two_sum(up, down)
    b, b_low = fast_two_sum(up, -down)
    z = r * r
    p, p_low = two_product(b, r)
    h, error = fast_two_sum(a, p)
    rest = fma(low, fma(a, r, b), fma(b_low, r, (error + p_low) + a_low))
    c, s = polynomial(z, r.pick(COSH)), polynomial(z, r.pick(SINH))
    return (h + fma(z, fma(a, c, p * s), rest)) * 2.0


def sinh(x: Vec) -> Vec:
    """The hyperbolic sine: by the addition theorem from n·ln 2 and r, without cancellation."""
    r, low, up, down = _half_powers(x)
    y = _combine(r, low, up, -down).copysign(x)
    return where(x.abs().lt(2.0 ** -(x.format.mantissa // 2 + 3)), x, y)


def cosh(x: Vec) -> Vec:
    """The hyperbolic cosine, by the addition theorem."""
    r, low, up, down = _half_powers(x)
    return _combine(r, low, up, down)


def _sqrt_sum(w: Vec, low: Vec) -> tuple[Vec, Vec]:
    """√(w + low) as a sum of two; the division by 2√w only needs to be coarse."""
    s = w.sqrt()
    return s, (fma(-s, s, w) + low) * (coarse_reciprocal(s) * 0.5)


# From here on √(x² ± 1) = x, and asinh x = acosh x = log 2x.
LARGE = {"double": 2.0**30, "float": 2.0**14}


def asinh(x: Vec) -> Vec:
    """The inverse hyperbolic sine: log1p(x + x²/(1 + √(1 + x²))), the argument a sum of two."""
    a = x.abs()
    large = a.ge(x.pick(LARGE))
    z, z_low = two_product(a, a)
    w, w_low = two_sum(z, a.const(1.0))
    s, s_low = _sqrt_sum(w, w_low + z_low)
    d, d_low = fast_two_sum(s, s.const(1.0))
    inverse = 1.0 / d
    q = z * inverse
    q_low = (fma(-q, d, z) + fma(-q, d_low + s_low, z_low)) * inverse
    v, v_low = fast_two_sum(a, q)
    return _log1p_or_log_double(large, a, v, v_low + q_low).copysign(x)


def acosh(x: Vec) -> Vec:
    """The inverse hyperbolic cosine: log1p(t + √(2t + t²)), t = x - 1; nan below 1."""
    t = x - 1.0
    large = x.ge(x.pick(LARGE))
    square, square_low = two_product(t, t)
    w, w_low = two_sum(t + t, square)
    s, s_low = _sqrt_sum(w, w_low + square_low)
    v, v_low = fast_two_sum(s, t)
    return where(x.ge(1.0), _log1p_or_log_double(large, x, v, v_low + s_low), NAN)


def _log1p_or_log_double(large: Vec, x: Vec, v: Vec, low: Vec) -> Vec:
    """log(1 + v + low), or log 2x where x is large."""
    huge = x.gt(2.0 ** (x.format.bias - 27))
    v = where(large, where(huge, x * 2.0**-64, x) - 1.0, v)
    offset = where(huge, 65.0, choose(large, 1.0, 0.0, x))
    h, rest = log1p_kernel(v, where(large, 0.0, low), offset)
    return where(x.lt(INF), h + rest, x)


def atanh(x: Vec) -> Vec:
    """The inverse hyperbolic tangent: log1p(2x / (1 - x)) / 2, the argument a sum of two."""
    a = x.abs()
    d, d_low = fast_two_sum(a.const(1.0), -a)
    inverse = 1.0 / d
    over = a + a
    v = over * inverse
    v_low = fma(-v, d_low, fma(-v, d, over)) * inverse
    h, rest = log1p_kernel(v, v_low)
    y = where(a.lt(1.0), (h + rest) * 0.5, choose(a.eq(1.0), INF, NAN, a))
    return y.copysign(x)
