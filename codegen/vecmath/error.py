"""The error function, its complement, and the bell curve e^(-x²) that is the slope of both.

erf x is a polynomial in x² up to 0.86 and 1 - erfc(1)·e^-P(x - 1) beyond. The complement keeps its
digits to the last subnormal as e^(-x²)·Q(t) / (1 + 2x), t = (x - 4)/(x + 4), for
(1 + 2x)·e^(x²)·erfc x is nearly a polynomial in t for all x >= 0 (Shepherd & Laframboise 1981).
x² is taken as a sum of two: the rounding of x² alone is worth 500 ulp at 26.
"""

from __future__ import annotations

from gradc.codegen.vecmath.exponential import (
    EXP_RANGE,
    LN2,
    LOG2_E,
    exp,
    expm1_kernel,
)
from gradc.codegen.vecmath.vec import (
    Vec,
    fast_two_sum,
    fma,
    polynomial,
    round_scaled,
    two_powers_of_two,
    two_product,
    two_sum,
    where,
)

# erf x / x - 1 in x² <= 1: relative error of erf 2^-56.3 and 2^-29.4
ERF = {
    "double": (
        0.1283791670955126,
        -0.376126389031841,
        0.11283791670971094,
        -0.026866170648029892,
        0.0052239776526752275,
        -0.0008548328534526235,
        0.00012055386137508496,
        -1.4926879908173119e-05,
        1.6481030710145746e-06,
        -1.6556799431983286e-07,
        1.601081058212985e-08,
        -1.6454690614652029e-09,
        1.4325447626540544e-10,
    ),
    "float": (
        0.12837917,
        -0.37612626,
        0.11283579,
        -0.02685335,
        0.0051871715,
        -0.00079979625,
        7.8073455e-05,
    ),
}
# erfc 1, and -log(erfc(1 + u) / erfc 1) / u from u = -0.15 on: absolute error of erf 2^-56.9
# and 2^-31.2
ERFC_1 = {"double": 0.15729920705028513, "float": 0.1572992}
LOG_ERFC = {
    "double": (
        2.638967514234792,
        0.8431072563584897,
        0.041561098046346695,
        -0.010033825434341967,
        0.0019779030320139328,
        -0.00023732474776993554,
        -2.6270485868246133e-05,
        2.7142347521167976e-05,
        -9.581662488234261e-06,
        2.0274810637612887e-06,
        -1.1464775904026457e-07,
        -1.1579367761534856e-07,
        6.071302320717554e-08,
        -1.789899561608558e-08,
        3.587286175486308e-09,
        -4.847203199627605e-10,
        3.9996882530738624e-11,
        -1.5224280573248944e-12,
    ),
    "float": (
        2.6389675,
        0.84310734,
        0.04156063,
        -0.010037363,
        0.0019993752,
        -0.00028173934,
        1.993579e-05,
    ),
}
# From here on erf is 1.
ERF_RANGE = {"double": 5.95, "float": 3.95}
# (1 + 2x)·e^(x²)·erfc x in t = (x - 4)/(x + 4): the constant; its rest and what goes with the
# powers of t: error 2^-58.5 and 2^-29.0
ERFCX_0 = {"double": 1.2329951186255526, "float": 1.2329951524734497}
ERFCX = {
    "double": (
        -4.524922480841521e-17,
        -0.13962111684056253,
        0.015379652102619684,
        0.06809705425469471,
        -0.10103906603630099,
        0.09373283499827009,
        -0.06633036581229361,
        0.03716751553882923,
        -0.01619773405690828,
        0.005031969965614253,
        -0.0007577732950476263,
        -0.00019925662645186532,
        0.00015062170885758096,
        -2.439944844305651e-05,
        -1.122215501695964e-05,
        5.7102276305364e-06,
        2.941410174268268e-07,
        -8.260250763805933e-07,
        7.408652798811936e-08,
        1.1038130115629692e-07,
        -1.742405998593921e-08,
        -1.4077676317040676e-08,
        1.653177112008949e-09,
        1.1899950183824948e-09,
    ),
    "float": (
        -3.3677875e-08,
        -0.13962114,
        0.015379619,
        0.06809812,
        -0.10103722,
        0.09371961,
        -0.066361904,
        0.037215944,
        -0.016008042,
        0.0050873063,
        -0.0010971721,
        -0.00062944007,
    ),
}
# From here on e^(-x²) is 0.
GAUSSIAN_RANGE = {"double": 27.31, "float": 10.2}


def erf(x: Vec) -> Vec:
    """The error function, 2/√π·∫₀ˣ e^(-t²) dt."""
    a = x.abs().at_most(x.pick(ERF_RANGE))
    z, u = a * a, a - 1.0
    first, second, *others = x.pick(ERF)
    # The last steps in one chain: the even and the odd part would cancel.
    near = fma(a, fma(z, fma(z, polynomial(z, others), second), first), a)
    far = fma(exp(-u * polynomial(u, x.pick(LOG_ERFC))), -x.pick(ERFC_1), 1.0)
    return where(a.lt(0.86), near, far).copysign(x)


def erfc(x: Vec) -> Vec:
    """1 - erf x, to full relative accuracy in the right tail."""
    a = x.abs().at_most(x.pick(GAUSSIAN_RANGE))
    e, e_low, first, second = _gaussian(a)
    q, q_low = _scaled_complement(a)
    tail = fma(q, e, fma(q, e_low, q_low * e)) * first * second
    return where(x.lt(0.0), 2.0 - tail, tail)


def gaussian(x: Vec) -> Vec:
    """e^(-x²)."""
    e, e_low, first, second = _gaussian(x.abs().at_most(x.pick(GAUSSIAN_RANGE)))
    return (e + e_low) * first * second


def _gaussian(a: Vec) -> tuple[Vec, Vec, Vec, Vec]:
    """e^(-a²) as a sum of two, times two powers of two."""
    square, square_low = two_product(a, a)
    least = a.pick(EXP_RANGE)[0]
    x = (-square).at_least(least)
    high, rest = x.pick(LN2)
    n, t = round_scaled(x, LOG2_E, 2 * x.format.bias)
    r, r_low = fast_two_sum(fma(n, -high, x), fma(n, -rest, -square_low))
    c, c_low = expm1_kernel(r, fma(r_low, r, r_low))
    e, e_low = fast_two_sum(x.const(1.0), c)
    return e, e_low + c_low, *two_powers_of_two(t)


def _scaled_complement(a: Vec) -> tuple[Vec, Vec]:
    """e^(a²)·erfc a as a sum of two, for a >= 0. One division serves both quotients."""
    over, under = a - 4.0, a + 4.0
    scale, scale_low = two_sum(a + a, a.const(1.0))
    inverse = 1.0 / (under * scale)
    inverse_under, inverse_scale = inverse * scale, inverse * under
    coarse = over * inverse_under
    residual = fma(-coarse, a, fma(coarse + 1.0, -4.0, a))
    t = fma(residual, inverse_under, coarse)
    t_low = fma(residual, inverse_under, coarse - t)
    constant, *others = a.pick(ERFCX)
    p, p_low = fast_two_sum(a.const(a.pick(ERFCX_0)), fma(t, polynomial(t, others), constant))
    steep = (-0.55 - t).at_least(0.0)  # near t = -1 the slope in t is about 8.6·(t + 0.55)²
    p_low = fma(t_low * 8.6, steep * steep, p_low)
    q = p * inverse_scale
    residual = fma(-q, scale_low, fma(-q, scale, p))
    return q, (residual + p_low) * inverse_scale
