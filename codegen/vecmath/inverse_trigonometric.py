"""asin, acos, atan and atan2.

Odd minimax polynomials on |x| <= 1/2 (asin) and |x| <= 1 (atan); beyond, the half-angle
formula and the reciprocal. What the square root and the quotient lose is computed from their
residuals and carried along (Muller et al., Handbook of Floating-Point Arithmetic, ch. 5).
"""

from __future__ import annotations

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
    two_product,
    where,
)

HALF_PI = {
    "double": (1.5707963267948966, 6.123233995736766e-17),
    "float": (1.5707963705062866, -4.371138828673793e-08),
}
# (asin x - x) / x³ in z = x² <= 1/4: absolute error of asin 2^-59.8 and 2^-31.7
ASIN = {
    "double": (
        0.16666666666666763,
        0.07499999999970142,
        0.044642857175236444,
        0.030381942677954677,
        0.02237221582140294,
        0.017351597209830948,
        0.01398099552850372,
        0.011397502135468631,
        0.010788037227262489,
        0.0036774240683032085,
        0.021777054492181848,
        -0.021096439150189595,
        0.032688919779457565,
    ),
    "float": (0.1666666, 0.07500521, 0.044513643, 0.031835932, 0.014329833, 0.03767204),
}
# (atan x - x) / x³ in z = x² <= 1: relative error of atan 2^-60.0 and 2^-30.9
ATAN = {
    "double": (
        -0.33333333333333287,
        0.1999999999999062,
        -0.14285714285045215,
        0.11111111086679266,
        -0.09090908551176782,
        0.07692299756831392,
        -0.06666584093494618,
        0.05881718417710648,
        -0.05259444308338815,
        0.04744963970168316,
        -0.0428649759024659,
        0.03821243299732027,
        -0.03278958254481317,
        0.026157401273940308,
        -0.018620383926092002,
        0.011322788672984129,
        -0.0056156005276111675,
        0.002153046197421671,
        -0.0005933448423114206,
        0.00010395690295738132,
        -8.661503797035059e-06,
    ),
    "float": (
        -0.33333328,
        0.19999716,
        -0.14280345,
        0.11061239,
        -0.088214315,
        0.06763406,
        -0.044976972,
        0.022769636,
        -0.007420314,
        0.0011332484,
    ),
}


def _asin_kernel(a: Vec) -> tuple[Vec, Vec, Vec]:
    """For a in [0, 1]: where a > 1/2, and asin of s as a sum of two.

    s is a up to 1/2 and √((1 - a)/2) beyond, where asin a = π/2 - 2·asin s.
    """
    beyond = a.gt(0.5)
    half = fma(a, -0.5, 0.5)
    root = half.sqrt()
    root_low = fma(-root, root, half) * (coarse_reciprocal(root) * 0.5)
    z = where(beyond, half, a * a)
    s = where(beyond, root, a)
    return beyond, s, fma(s * z, polynomial(z, a.pick(ASIN)), where(beyond, root_low, 0.0))


def asin(x: Vec) -> Vec:
    """The inverse sine, in [-π/2, π/2]; nan outside [-1, 1]."""
    high, rest = x.pick(HALF_PI)
    beyond, s, low = _asin_kernel(x.abs())
    h, error = fast_two_sum(x.const(high), s * -2.0)
    y = where(beyond, h + fma(low, -2.0, error + rest), s + low)
    return y.copysign(x)


def acos(x: Vec) -> Vec:
    """The inverse cosine, in [0, π]; nan outside [-1, 1]."""
    high, rest = x.pick(HALF_PI)
    beyond, s, low = _asin_kernel(x.abs())
    # base + factor·asin s: π/2 - asin x, 2·asin s, or π - 2·asin s
    negative = x.lt(0.0)
    factor = where(beyond, choose(negative, -2.0, 2.0, x), choose(negative, 1.0, -1.0, x))
    count = where(beyond, choose(negative, 2.0, 0.0, x), 1.0)
    h, error = fast_two_sum(count * high, s * factor)
    return h + fma(low, factor, fma(count, rest, error))


def _atan_kernel(over: Vec, under: Vec) -> tuple[Vec, Vec]:
    """atan of a quotient in [0, 1], of moderate positive numbers, as a sum of two."""
    q = over / under
    q_low = fma(-q, under, over) * coarse_reciprocal(under)
    z, z_low = two_product(q, q)
    cube, cube_low = two_product(z, q)
    cube_low = fma(z_low, q, cube_low)
    # One chain: the even and odd parts of this polynomial would cancel.
    first, *others = q.pick(ATAN)
    rest = fma(cube_low, first, q_low * fma(z, -0.5, 1.0))
    rest = fma(cube * z, horner(z, others), rest)
    return q, fma(cube, first, rest)


def atan(x: Vec) -> Vec:
    """The inverse tangent, in [-π/2, π/2]."""
    high, rest = x.pick(HALF_PI)
    a = x.abs().at_most(2.0**64)
    beyond = a.gt(1.0)
    q, low = _atan_kernel(where(beyond, 1.0, a), where(beyond, a, 1.0))
    h, error = fast_two_sum(x.const(high), -q)
    return where(beyond, h + ((error + rest) - low), q + low).copysign(x)


def atan2(y: Vec, x: Vec) -> Vec:
    """The angle of the point (x, y), in [-π, π], with C99's table for zeros and infinities."""
    high, rest = x.pick(HALF_PI)
    a, b = y.abs(), x.abs()
    steep = a.gt(b)
    over, under = where(steep, b, a), where(steep, a, b)
    # Zero over zero counts as 0, infinity over infinity as 1.
    infinite = under.eq(INF)
    over = where(infinite, choose(over.eq(INF), 1.0, 0.0, x), over)
    under = where(infinite | under.eq(0.0), 1.0, under)
    # Keep the residual of the quotient and the coarse reciprocal in range.
    limit = 2.0 ** (x.format.bias - x.format.mantissa)
    scale = where(under.gt(limit), 1.0 / limit, choose(under.lt(1.0 / limit), limit, 1.0, x))
    q, low = _atan_kernel(over * scale, under * scale)
    left = x.bits().lt(0)
    flip = steep ^ left
    q, low = where(flip, -q, q), where(flip, -low, low)
    count = where(steep, 1.0, choose(left, 2.0, 0.0, x))
    h, error = fast_two_sum(count * high, q)
    angle = (h + (low + fma(count, rest, error))).copysign(y)
    return where(y.unordered(x), NAN, angle)
