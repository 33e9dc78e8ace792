"""exp, exp2, expm1, the logistic sigmoid and softplus.

x = n·ln 2 + r, |r| <= ln 2 / 2: with a fused multiply-add x - n·RN(ln 2) is exact, so two parts
of ln 2 suffice (Cody & Waite 1980; Muller et al., Handbook of Floating-Point Arithmetic, ch. 11).
e^r is a minimax polynomial (Remez, leading coefficients rounded first, the rest fitted again),
2^n is two powers of two made of exponent bits. Where 1 ulp needs more than one word of e^r - 1,
it is carried as a sum of two (Tang 1989, 1992).
"""

from __future__ import annotations

import math

from gradc.codegen.vecmath.logarithm import log1p_kernel
from gradc.codegen.vecmath.vec import (
    Vec,
    fast_two_sum,
    fma,
    polynomial,
    power_of_two,
    round_scaled,
    two_powers_of_two,
    two_sum,
    where,
)

LOG2_E = 1.4426950408889634
LN2 = {  # RN(ln 2) and the rest
    "double": (0.6931471805599453, 2.3190468138462996e-17),
    "float": (0.6931471824645996, -1.9046542121259336e-09),
}
# (e^r - 1 - r) / r², error relative to r: 2^-57.5 and 2^-31.0
EXP = {
    "double": (
        0.5000000000000001,
        0.1666666666666667,
        0.04166666666664979,
        0.008333333333328637,
        0.0013888888897152201,
        0.000198412698651836,
        2.4801570763851416e-05,
        2.7557266838972294e-06,
        2.75716251016212e-07,
        2.5100904527580275e-08,
        1.643621403390283e-09,
    ),
    "float": (0.5, 0.16666666, 0.041666467, 0.00833364, 0.0013934948, 0.00019670949),
}
# (2^r - 1) / r, |r| <= 1/2: absolute error of 2^r 2^-59.6 and 2^-28.2
EXP2 = {
    "double": (
        0.6931471805599453,
        0.24022650695910072,
        0.055504108664823096,
        0.009618129107626635,
        0.0013333558146134154,
        0.00015403530398883732,
        1.5252734054965605e-05,
        1.3215480996504373e-06,
        1.0177981943747212e-07,
        7.057424657342218e-09,
        4.4656357161750277e-10,
        2.184923138839538e-11,
    ),
    "float": (0.6931472, 0.2402265, 0.055503577, 0.009618105, 0.0013391969, 0.00015441052),
}
# Beyond these e^x is 0 or inf; at them the exponents still fit two powers of two.
EXP_RANGE = {"double": (-746.0, 710.0), "float": (-104.0, 89.0)}
EXP2_RANGE = {"double": (-1076.0, 1025.0), "float": (-151.0, 129.0)}
# Below minus this e^x vanishes beside 1.
VANISHING = {"double": 40.0, "float": 20.0}


def reduce_ln2(x: Vec, bias: int) -> tuple[Vec, Vec, Vec, Vec]:
    """x = n·ln 2 + r + low; returns n, r, low and the float that holds n + bias."""
    high, rest = x.pick(LN2)
    n, t = round_scaled(x, LOG2_E, bias)
    exact = fma(n, -high, x)
    r = fma(n, -rest, exact)
    return n, r, fma(n, -rest, exact - r), t


def exp_tail(r: Vec) -> Vec:
    """(e^r - 1 - r) / r², its constant added last, so that its rounding is the only large one."""
    half, *others = r.pick(EXP)
    return fma(r, polynomial(r, others), half)


def expm1_kernel(r: Vec, low: Vec) -> tuple[Vec, Vec]:
    """e^(r + low) - 1 as a sum of two, |r| <= 0.347."""
    q, square = exp_tail(r), r * r
    c = fma(square, q, r)
    return c, fma(square, q, r - c) + low


def exp_kernel(r: Vec) -> Vec:
    """e^r, |r| <= 0.347."""
    return fma(r, fma(r, exp_tail(r), 1.0), 1.0)


def exp(x: Vec) -> Vec:
    """e^x."""
    least, most = x.pick(EXP_RANGE)
    x = x.at_least(least).at_most(most)
    high, rest = x.pick(LN2)
    n, t = round_scaled(x, LOG2_E, 2 * x.format.bias)
    first, second = two_powers_of_two(t)
    return exp_kernel(fma(n, -rest, fma(n, -high, x))) * first * second


def exp2(x: Vec) -> Vec:
    """2^x; exact for integers."""
    least, most = x.pick(EXP2_RANGE)
    x = x.at_least(least).at_most(most)
    n, t = round_scaled(x, 1.0, 2 * x.format.bias)
    r = x - n
    first, second = two_powers_of_two(t)
    ln2, *others = x.pick(EXP2)
    return fma(r, fma(r, polynomial(r, others), ln2), 1.0) * first * second


def expm1(x: Vec) -> Vec:
    """e^x - 1, to full relative accuracy near 0."""
    clamped = x.at_least(-x.pick(VANISHING)).at_most(x.pick(EXP_RANGE)[1])
    _, r, low, t = reduce_ln2(clamped, x.format.bias - 1)
    c, c_low = expm1_kernel(r, low)
    half = power_of_two(t)  # 2^(n-1): 2^n may overflow before the result does
    base = half - 0.5
    h = fma(half, c, base)
    rest = fma(half, c_low, fma(half, c, (base - h) + ((half - base) - 0.5)))
    y = (h + rest) * 2.0
    return where(x.abs().lt(2.0 ** -(x.format.mantissa + 2)), x, y)


def sigmoid(x: Vec) -> Vec:
    """1 / (1 + e^-x), to full relative accuracy in the left tail."""
    least, most = x.pick(EXP_RANGE)
    u = (-x).at_least(-x.pick(VANISHING)).at_most(-least)
    n, r, low, _ = reduce_ln2(u, 0)
    c, c_low = expm1_kernel(r, low)
    # y = scale / (scale + grow·(1 + c)), scale = 2^-max(n, 0), grow = 2^min(n, 0): one is 1
    up = n.at_least(0.0)
    first, second = two_powers_of_two((x.format.shifter + 2.0 * x.format.bias) - up)
    grow = power_of_two((n - up) + (x.format.shifter + x.format.bias))
    d, d_low = fast_two_sum(x.const(1.0), fma(grow, c, grow * first * second))
    y = 1.0 / d
    d_low = fma(grow, c_low, d_low)
    return fma(y, fma(-y, d_low, fma(-y, d, 1.0)), y) * first * second


def softplus(x: Vec) -> Vec:
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|)."""
    u = (-x.abs()).at_least(x.pick(EXP_RANGE)[0])
    _, r, low, t = reduce_ln2(u, 2 * x.format.bias)
    c, c_low = expm1_kernel(r, low)
    first, second = two_powers_of_two(t)
    e = fma(second, c, second)
    e_low = fma(second, c_low, fma(second, c, second - e))
    h, rest = log1p_kernel(e * first, e_low * first)
    s, error = two_sum(where(x.lt(0.0), 0.0, x), h)
    return where(x.lt(math.inf), s + (error + rest), x)
