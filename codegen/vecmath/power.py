"""pow, small whole powers, cbrt and hypot."""

from __future__ import annotations

from collections.abc import Callable

from gradc.codegen.vecmath.exponential import EXP_RANGE, LOG2_E, exp_tail
from gradc.codegen.vecmath.exponential import LN2 as LN2_FULL
from gradc.codegen.vecmath.logarithm import LN2, exponent_of, split
from gradc.codegen.vecmath.vec import (
    DOUBLE,
    INF,
    NAN,
    Vec,
    choose,
    coarse_reciprocal,
    fast_two_sum,
    fma,
    polynomial,
    power_of_two,
    round_scaled,
    two_powers_of_two,
    two_product,
    where,
)

TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
# ((2·atanh(s)/s - 2)/z - 2/3)/z, z = s² <= 0.0295: the error of log is 2^-72.5·s
LOG_TAIL = (
    0.3999999999999998,
    0.2857142857144385,
    0.22222222217785145,
    0.18181818844725872,
    0.15384558369829823,
    0.13336267017913045,
    0.11675725366539047,
    0.11982242958710998,
)


def log_double_double(x: Vec) -> tuple[Vec, Vec]:
    """log x of positive finite doubles as a sum of two, to about 2^-66 relative.

    2·atanh(s), s = f / (2 + f): s, s² and the cubic term in double-double, the rest in double
    (Dekker 1971 for the arithmetic).
    """
    n, f = split(x)
    d, d_low = fast_two_sum(x.const(2.0), f)
    inverse = 1.0 / d
    s = f * inverse
    s_low = fma(-s, d_low, fma(-s, d, f)) * inverse
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    tail = z * polynomial(z, LOG_TAIL)
    c, c_low = fast_two_sum(x.const(TWO_THIRDS[0]), tail)
    c_low = c_low + TWO_THIRDS[1]
    u, u_low = two_product(z, c)
    u_low = fma(z_low, c, fma(z, c_low, u_low))
    w, w_low = two_product(s, u)
    w_low = fma(s_low, u, fma(s, u_low, w_low))
    high, rest = x.pick(LN2)
    h, error = fast_two_sum(n * high, s + s)
    h, second_error = fast_two_sum(h, w)
    low = (error + second_error) + fma(n, rest, fma(s_low, 2.0, w_low))
    return fast_two_sum(h, low)


def exp_double_double(x: Vec, low: Vec) -> Vec:
    """e^(x + low), the argument already clamped to the range of exp."""
    high, rest = x.pick(LN2_FULL)
    n, t = round_scaled(x, LOG2_E, 2 * x.format.bias)
    r, r_low = fast_two_sum(fma(n, -high, x), fma(n, -rest, low))
    first, second = two_powers_of_two(t)
    return (1.0 + (r + fma(r * r, exp_tail(r), r_low))) * first * second


def pow_(x: Vec, y: Vec) -> Vec:
    """x^y with the whole table of special values of C99 Annex F.

    e^(y·log x) with a double-double logarithm; 2^(y·log2 x) in double for floats.
    """
    a = x.abs()
    result = _pow_of_floats(a, y) if x.scalar == "float" else _pow_of_doubles(a, y)
    result = where(a.eq(1.0) | y.eq(0.0), 1.0, result)  # even of infinite and nan operands
    half = y * 0.5
    integer = y.trunc().eq(y)
    odd = integer & half.trunc().ne(half)
    result = where(odd, result.copysign(x), result)
    return where(x.lt(0.0) & ~integer & a.lt(INF), NAN, result)


def _at_ends(a: Vec, logarithm: Vec) -> Vec:
    """The logarithm, -inf at 0, and inf and nan of a through."""
    return where(a.lt(INF), where(a.eq(0.0), -INF, logarithm), a)


def _pow_of_doubles(a: Vec, y: Vec) -> Vec:
    least, most = a.pick(EXP_RANGE)
    h, low = log_double_double(a)
    p, p_low = two_product(y, _at_ends(a, h))
    p_low = where(p.abs().lt(1000.0), fma(y, low, p_low), 0.0)
    return exp_double_double(p.at_least(least).at_most(most), p_low)


# log2(1 + f) / f, √½ - 1 <= f <= √2 - 1: relative error 2^-38.5
LOG2_WIDE = (
    1.4426950408865802,
    -0.7213475203274022,
    0.4808983488016,
    -0.3606737931628131,
    0.2885387958133629,
    -0.24044643225850706,
    0.20610711945649685,
    -0.18043677913515663,
    0.16021675148132708,
    -0.1424983848943544,
    0.13027467396433795,
    -0.13462974121288424,
    0.1325159567716289,
    -0.06974250531492622,
)
# 2^r, |r| <= 1/2: relative error 2^-33.0
EXP2_WIDE = (
    1.0,
    0.6931471805537204,
    0.24022650922331865,
    0.055504109287876746,
    0.009618056671580994,
    0.0013333454489493559,
    0.0001546144698412049,
    1.531009911260535e-05,
)


def _pow_of_floats(a: Vec, y: Vec) -> Vec:
    """a^y in double, to a little more than floats need: rounding it is all of the error."""
    n, f = split(a)
    n, f = _at_ends(a, n).cast("fpext", "double"), f.cast("fpext", "double")
    z = y.cast("fpext", "double") * fma(f, polynomial(f, LOG2_WIDE), n)
    z = z.at_least(-200.0).at_most(200.0)
    whole, t = round_scaled(z, 1.0, DOUBLE.bias)
    return (polynomial(z - whole, EXP2_WIDE) * power_of_two(t)).cast("fptrunc", "float")


def _completed(high: Vec, low: Vec) -> Vec:
    """The sum of a product and what its rounding lost, which is nothing for 0 and infinities."""
    a = high.abs()
    return where(a.gt(0.0) & a.lt(INF), high + low, high)


def _small_power(x: Vec, power: int, product: Callable[[Vec], Vec], least: float) -> Vec:
    """x^power, by products in double for floats, else with what these lost.

    Arguments below ``least`` are scaled: near the subnormals what is lost has no digits.
    """
    if x.scalar == "float":
        wide = x.cast("fpext", "double")
        square = wide * wide
        return (square * (square if power == 4 else wide)).cast("fptrunc", "float")
    small = x.abs().lt(least)
    lifted = product(where(small, x * (1.0 / least), x))
    return lifted * choose(small, least**power, 1.0, x)


def cube(x: Vec) -> Vec:
    """x³, a product of two products with what their roundings lost (Dekker 1971)."""

    def product(x: Vec) -> Vec:
        square, lost = two_product(x, x)
        result, low = two_product(square, x)
        return _completed(result, fma(lost, x, low))

    return _small_power(x, 3, product, 2.0**-300)


def fourth(x: Vec) -> Vec:
    """x⁴, the square of a square in the same way."""

    def product(x: Vec) -> Vec:
        square, lost = two_product(x, x)
        result, low = two_product(square, square)
        return _completed(result, fma(square + square, lost, low))

    return _small_power(x, 4, product, 2.0**-240)


# m^(-1/3), 1 <= m <= 2: relative error 2^-14.7 and 2^-11.9
INVERSE_CBRT = {
    "double": (
        1.6700110258768501,
        -1.1728916951491928,
        0.6954939227293677,
        -0.22124269441054867,
        0.02859178990199713,
    ),
    "float": (1.5418855, -0.80995685, 0.31775463, -0.049936328),
}
CBRT_2 = 1.2599210498948732


def cbrt(x: Vec) -> Vec:
    """The cube root.

    The exponent is divided by three; an inverse cube root without division (a polynomial, then
    a step of Householder's method of third order), then a Newton step on the exact residual.
    """
    format_ = x.format
    a = x.abs()
    subnormal = a.lt(format_.tiny)
    lift = 3 * ((format_.mantissa + 3) // 3)
    bits = where(subnormal, a * 2.0**lift, a).bits()
    m = ((bits & ~format_.exponent_mask) | format_.one).floats()
    n = exponent_of(bits, 2.0**format_.mantissa + format_.bias)
    third, t = round_scaled(n, 1.0 / 3.0, format_.bias)
    remainder = fma(third, -3.0, n)  # -1, 0 or 1
    above, below = remainder.gt(0.0), remainder.lt(0.0)
    m_scaled = m * where(above, 2.0, choose(below, 0.5, 1.0, x))
    y = polynomial(m, x.pick(INVERSE_CBRT)) * where(
        above, 1.0 / CBRT_2, choose(below, CBRT_2, 1.0, x)
    )
    square = y * y
    e = fma(-(m_scaled * y), square, 1.0)
    y = fma(y * e, fma(e, 2.0 / 9.0, 1.0 / 3.0), y)
    square = y * y
    root = m_scaled * square
    p, p_low = two_product(root, root)
    residual = fma(-p_low, root, fma(-p, root, m_scaled))
    root = fma(residual, square * (1.0 / 3.0), root)
    result = root * power_of_two(t) * choose(subnormal, 2.0 ** -(lift // 3), 1.0, x)
    return where(a.gt(0.0) & a.lt(INF), result.copysign(x), x)


# Outside 1/bound .. bound the squares would lose bits; times or over the factor they do not.
HYPOT_SCALE = {"double": (2.0**503, 2.0**575), "float": (2.0**55, 2.0**100)}


def hypot(x: Vec, y: Vec) -> Vec:
    """√(x² + y²) without overflow or underflow, and infinite if either is.

    The square root is corrected by its residual in double-double (Borges 2020).
    """
    a, b = x.abs(), y.abs()
    swap = b.gt(a)
    large, small = where(swap, b, a), where(swap, a, b)
    bound, factor = x.pick(HYPOT_SCALE)
    over, under = large.gt(bound), large.lt(1.0 / bound)
    scale = where(over, 1.0 / factor, choose(under, factor, 1.0, x))
    large, small = large * scale, small * scale
    h = fma(large, large, small * small).sqrt()
    square, square_low = two_product(h, h)
    p, p_low = two_product(large, large)
    excess = fma(-small, small, square - p) + (square_low - p_low)
    h = fma(excess, coarse_reciprocal(h) * -0.5, h)
    h = h * where(over, factor, choose(under, 1.0 / factor, 1.0, x))
    h = where(x.unordered(y), NAN, h)
    return where(a.eq(INF) | b.eq(INF), INF, h)
