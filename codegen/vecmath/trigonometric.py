"""sin, cos and tan, for every finite argument.

After the reduction modulo π/2 both sin r and cos r are computed, |r| <= π/4, as odd and even
minimax polynomials with the low part of r carried along (the arrangement of FreeBSD's msun),
and the quadrant selects. tan is their quotient, corrected by its residual.
"""

from __future__ import annotations

from gradc.codegen.vecmath.reduction import reduce_half_pi
from gradc.codegen.vecmath.vec import Vec, fast_two_sum, fma, polynomial, where

# (sin r - r) / r³ and (cos r - 1 + r²/2) / r⁴ in z = r²: absolute errors of the functions
# 2^-58.0 and 2^-64.2, 2^-28.0 and 2^-33.1
SIN = {
    "double": (
        -0.16666666666666632,
        0.008333333333322469,
        -0.0001984126982983103,
        2.7557313695219937e-06,
        -2.505075809131452e-08,
        1.5896769952267203e-10,
    ),
    "float": (-0.16666655, 0.008332191, -0.0001951859),
}
COS = {
    "double": (
        0.0416666666666666,
        -0.0013888888888874452,
        2.4801587289648193e-05,
        -2.7557314392073645e-07,
        2.0875727816826674e-09,
        -1.1359847565795435e-11,
    ),
    "float": (0.041666646, -0.0013887301, 2.4430661e-05),
}


def sin_cos_kernel(r: Vec, low: Vec) -> tuple[tuple[Vec, Vec], tuple[Vec, Vec]]:
    """sin and cos of r + low as unevaluated sums of a large and a small part."""
    z = r * r
    half = z * 0.5
    w = 1.0 - half
    s = fma(z * r, polynomial(z, r.pick(SIN)), low * w)
    c = ((1.0 - w) - half) + fma(z * z, polynomial(z, r.pick(COS)), -(r * low))
    return (r, s), (w, c)


def _sign_bit(q: Vec) -> Vec:
    """Bit 1 of q, as the sign bit."""
    return (q & 2) << (q.format.mantissa + (10 if q.format.bias == 1023 else 7))


def sin_cos(x: Vec) -> tuple[Vec, Vec]:
    """The sine and the cosine of x radians: one reduction and both polynomials serve both."""
    r, low, q = reduce_half_pi(x.abs())
    (s, s_low), (c, c_low) = sin_cos_kernel(r, low)
    odd = (q & 1).ne(0)
    sine = where(odd, c, s) + where(odd, c_low, s_low)
    cosine = where(odd, s, c) + where(odd, s_low, c_low)
    sine = (sine.bits() ^ _sign_bit(q) ^ (x.bits() & x.format.sign)).floats()
    return sine, (cosine.bits() ^ _sign_bit(q + 1)).floats()


def sin(x: Vec) -> Vec:
    """The sine of x radians. Code generation drops what only the cosine needs."""
    return sin_cos(x)[0]


def cos(x: Vec) -> Vec:
    """The cosine of x radians."""
    return sin_cos(x)[1]


def tan(x: Vec) -> Vec:
    """The tangent of x radians."""
    r, low, q = reduce_half_pi(x.abs())
    sine, cosine = sin_cos_kernel(r, low)
    s, s_low = fast_two_sum(*sine)
    c, c_low = fast_two_sum(*cosine)
    c_low = fma(fma(r, r, -(r * r)), -0.5, c_low)  # cos r took r² rounded
    odd = (q & 1).ne(0)
    over, over_low = where(odd, c, s), where(odd, c_low, s_low)
    under, under_low = where(odd, s, c), where(odd, s_low, c_low)
    inverse = 1.0 / under
    y = over * inverse
    residual = fma(-y, under, over) + fma(-y, under_low, over_low)
    y = fma(residual, inverse, y)
    sign = (q & 1) << (q.format.mantissa + (11 if q.format.bias == 1023 else 8))
    return (y.bits() ^ sign ^ (x.bits() & x.format.sign)).floats()
