"""log, log1p, log2 and log10.

x = 2^n·(1 + f) with integer arithmetic on the bits; with s = f / (2 + f),
log(1 + f) = 2·atanh(s) = f - f²/2 + s·(f²/2 + R(s²)), R a minimax polynomial (Tang 1990; the
arrangement is that of FreeBSD's msun). The large terms are added as a sum of two.
"""

from __future__ import annotations

from gradc.codegen.vecmath.vec import (
    INF,
    NAN,
    Vec,
    choose,
    fast_two_sum,
    fma,
    polynomial,
    two_product,
    where,
)

SQRT_HALF = 0.7071067811865476
LN2 = {  # n times the first part is exact
    "double": (0.6931471805598903, 5.497923018708371e-14),
    "float": (0.693145751953125, 1.428606765330187e-06),
}
LOG10_2 = {
    "double": (0.30102999566395283, 2.8363394551044964e-14),
    "float": (0.301025390625, 4.605039066518657e-06),
}
LOG2_E = {
    "double": (1.4426950408889634, 2.0355273740931033e-17),
    "float": (1.4426950216293335, 1.925963033500011e-08),
}
LOG10_E = {
    "double": (0.4342944819032518, 1.098319650216765e-17),
    "float": (0.4342944920063019, -1.0103049952192578e-08),
}
# (2·atanh(s) / s - 2) / z, z = s² <= 0.04: absolute error of R 2^-61.7 and 2^-34.2
LOG = {
    "double": (
        0.666666666666666,
        0.4000000000005664,
        0.2857142855584674,
        0.2222222429349353,
        0.18181666094607102,
        0.15391103795908298,
        0.13173749091085982,
        0.1384195980527704,
    ),
    "float": (0.6666666, 0.40000933, 0.28503516, 0.2415159),
}


def exponent_of(bits: Vec, base: Vec | float) -> Vec:
    """2^mantissa + the exponent field of positive floats, given as bits, less ``base``.

    The field becomes the low bits of a large power of two: no conversion instruction is needed.
    """
    mantissa = bits.format.mantissa
    power = (mantissa + bits.format.bias) << mantissa  # the bits of 2^mantissa
    return ((bits >> mantissa) | power).floats() - base


def split(x: Vec) -> tuple[Vec, Vec]:
    """n and f: x = 2^n·(1 + f), 1 + f in [√½, √2), for finite positive x; f is exact."""
    format_ = x.format
    low = 0x3FE6A09E667F3BCD if format_.bias == 1023 else 0x3F3504F3  # bits of √½
    subnormal = x.lt(format_.tiny)
    lift = 2.0 ** (format_.mantissa + 2)
    bits = where(subnormal, x * lift, x).bits() + (format_.one - low)
    m = ((bits & ~format_.exponent_mask) + low).floats()
    base = 2.0**format_.mantissa + format_.bias
    return exponent_of(bits, choose(subnormal, base + (format_.mantissa + 2), base, x)), m - 1.0


def log_kernel(f: Vec) -> tuple[Vec, Vec, Vec]:
    """s, f²/2 and f²/2 + R: log(1 + f) = f - f²/2 + s·(f²/2 + R), |s| <= 0.2."""
    s = f / (f + 2.0)
    z = s * s
    half_square = (f * 0.5) * f
    return s, half_square, fma(z, polynomial(z, f.pick(LOG)), half_square)


def log_sum(n: Vec, f: Vec, low: Vec | None = None) -> tuple[Vec, Vec]:
    """n·ln 2 + log(1 + f + low) as a sum of two."""
    high, rest = f.pick(LN2)
    s, half_square, tail = log_kernel(f)
    h, error = fast_two_sum(n * high, f)
    if low is not None:  # 1 / (1 + f) = (1 - s) / (1 + s), and low is at most an ulp
        error = fma(low, fma(s, fma(s, 2.0, -2.0), 1.0), error)
    return h, fma(s, tail, -half_square) + fma(n, rest, error)


def specials(x: Vec, y: Vec, at: float = 0.0) -> Vec:
    """Put -inf at the pole ``at``, nan below it, and inf and nan of x through."""
    outside = choose(x.eq(at), -INF, NAN, x)
    return where(x.gt(at), where(x.lt(INF), y, x), outside)


def log(x: Vec) -> Vec:
    """The natural logarithm."""
    h, low = log_sum(*split(x))
    return specials(x, h + low)


def log2(x: Vec) -> Vec:
    """The logarithm to base 2; exact for powers of two."""
    n, f = split(x)
    return specials(x, _scaled(f, LOG2_E, n, None))


def log10(x: Vec) -> Vec:
    """The logarithm to base 10."""
    n, f = split(x)
    high, rest = x.pick(LOG10_2)
    return specials(x, _scaled(f, LOG10_E, n * high, n * rest))


def _scaled(f: Vec, factor: dict[str, tuple[float, float]], base: Vec, small: Vec | None) -> Vec:
    """base + small + factor·log(1 + f)."""
    high, rest = f.pick(factor)
    s, half_square, tail = log_kernel(f)
    h = f - half_square
    low = fma(s, tail, (f - h) - half_square)
    p, p_low = two_product(h, h.const(high))
    p_low = fma(low, high, fma(h, rest, p_low))
    if small is not None:
        p_low = p_low + small
    y, error = fast_two_sum(base, p)
    return y + (error + p_low)


def log1p_kernel(v: Vec, low: Vec | None = None, offset: Vec | None = None) -> tuple[Vec, Vec]:
    """log(1 + v + low) + offset·ln 2 as a sum of two, for finite v > -1; offset is an integer.

    n comes from 1 + v rounded, then f = v·2^-n + (2^-n - 1) is exact, because 1 + f in
    [3/4, 3/2) keeps the two terms within a factor of two of each other.
    """
    format_ = v.format
    mantissa = format_.mantissa
    low_end = format_.one - (1 << (mantissa - 1))  # bits of 3/4
    u = v + 1.0
    bits = u.bits() + (format_.one - low_end)
    n = exponent_of(bits, 2.0**mantissa + format_.bias)
    scale = (2 * format_.one - (bits & format_.exponent_mask)).floats()  # 2^-n
    f = fma(v, scale, scale - 1.0)
    if offset is not None:
        n = n + offset
    return log_sum(n, f, None if low is None else low * scale)


def log1p(x: Vec) -> Vec:
    """log(1 + x), to full relative accuracy near 0."""
    large = x.gt(2.0 ** (x.format.bias - 27))  # 2^-n would be subnormal
    v = where(large, x * 2.0**-64, x)
    h, low = log1p_kernel(v, None, choose(large, 64.0, 0.0, x))
    return specials(x, h + low, -1.0).copysign(x)
