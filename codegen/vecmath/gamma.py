"""lgamma, digamma and trigamma, in double; floats are widened.

From 4 on by Stirling's asymptotic series, its polynomial in 1/x² minimax on that range. Below, the
recurrence leads into an interval of length 1 with a minimax polynomial there, the zeros at 1, 2
and 1.46 taken out as factors. Where some argument is negative, the reflection formulas are
evaluated for all lanes, in a branch (Abramowitz & Stegun, ch. 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradc.codegen.vecmath.logarithm import log_sum, split
from gradc.codegen.vecmath.power import log_double_double
from gradc.codegen.vecmath.trigonometric import sin_cos_kernel
from gradc.codegen.vecmath.vec import (
    INF,
    NAN,
    Vec,
    any_lane,
    choose,
    fast_two_sum,
    fma,
    phi,
    polynomial,
    round_scaled,
    two_product,
    two_sum,
    where,
)

STIRLING = 4.0
PI = (3.141592653589793, 1.2246467991473532e-16)
# ½·log 2π
HALF_LOG_TWO_PI = 0.9189385332046728
# (lgamma x - (x - ½)·log x + x - ½·log 2π)·x in 1/x², x >= 4: error of lgamma 2^-59.4
LGAMMA_LARGE = (
    0.08333333333333316,
    -0.0027777777776055003,
    0.0007936507428379206,
    -0.0005952312423533608,
    0.0008412438164610846,
    -0.0018949667907150068,
    0.005775868961966334,
    -0.017921168330796503,
    0.03458750084569878,
)
# lgamma(1 + u) / (u·(u - 1)) in u - ½, 0 <= u <= 1: relative error 2^-54.5
LGAMMA_SMALL = (
    0.4831289505409809,
    -0.14595989591430608,
    0.06291140107456437,
    -0.03130848750100938,
    0.016797098631276017,
    -0.009425622448635575,
    0.00544645783903086,
    -0.003212074069353773,
    0.0019229163152715229,
    -0.0011644146799504964,
    0.000711519030385243,
    -0.0004379918255669559,
    0.00027131407682609625,
    -0.0001689280913966927,
    0.00010535321856035722,
    -6.608806154153244e-05,
    4.303417314232235e-05,
    -2.737123367487606e-05,
    1.3173782062171439e-05,
    -8.053220635376277e-06,
    1.2149810287605198e-05,
    -7.990930264307199e-06,
)
# (log x - ½/x - digamma x)·x² in 1/x², x >= 4: relative error of digamma 2^-61.4
DIGAMMA_LARGE = (
    0.08333333333333234,
    -0.008333333332527481,
    0.003968253740492492,
    -0.004166634566428172,
    0.0075731252771622255,
    -0.020956413124404438,
    0.0786448724271757,
    -0.3326160487224436,
    1.1920394275064992,
    -2.349758620539993,
)
# digamma(1 + u) is 0 at the sum of these
DIGAMMA_ZERO = (0.46163214496836236, -1.5522348162858677e-17)
# digamma(1 + u) / (u - zero) in u - ½: relative error 2^-54.2
DIGAMMA_SMALL = (
    0.9510558760318328,
    -0.4236274212814606,
    0.24054248424078722,
    -0.14840492305388028,
    0.09498872445284977,
    -0.06192213327554299,
    0.04076083394339093,
    -0.026975796657616874,
    0.017907248235584,
    -0.01190822015332041,
    0.007927023327240764,
    -0.005279936634244468,
    0.0035180887074089794,
    -0.0023454998475754773,
    0.001563503382634404,
    -0.0010364319695652716,
    0.0006902822112333581,
    -0.0004860347502793344,
    0.00032588055296394695,
    -0.00014465622968076104,
    9.329544678650053e-05,
    -0.0001783334601554334,
    0.00012117303519121633,
)
# (trigamma x - 1/x - ½/x²)·x³ in 1/x², x >= 4: relative error of trigamma 2^-61.2
TRIGAMMA_LARGE = (
    0.1666666666666607,
    -0.03333333332885711,
    0.023809522541450006,
    -0.03333314434570216,
    0.07574051362480709,
    -0.25210535841896986,
    1.1257520130073833,
    -5.911260223673826,
    29.857254624460133,
    -112.8818364372855,
    218.80175351882448,
)
# trigamma(2 + u) in u - ½: relative error 2^-54.8
TRIGAMMA_SMALL = (
    0.49035775610023485,
    -0.23620405164172742,
    0.11195292440862602,
    -0.05229266658444805,
    0.024107049106964727,
    -0.01098338423008891,
    0.0049517171564217675,
    -0.0022115140179668454,
    0.0009794325733378305,
    -0.00043052716511663737,
    0.0001879809388493514,
    -8.158433292338222e-05,
    3.521952231396376e-05,
    -1.5148518325315504e-05,
    6.479320554634904e-06,
    -2.6963588858796e-06,
    1.146151626509918e-06,
    -6.140061527832486e-07,
    2.579670202474208e-07,
)
# From here on a·log a could overflow where a·(log a - 1) does not, and half a log is nothing.
HUGE = 1e300
# lgamma overflows beyond.
LGAMMA_RANGE = 2.5599833278516383e305


def _in_double(function: Callable[[Vec], Vec], x: Vec) -> Vec:
    if x.scalar == "double":
        return function(x)
    return function(x.cast("fpext", "double")).cast("fptrunc", "float")


def _where_negative(x: Vec, y: Vec, reflected: Callable[[], Vec]) -> Vec:
    """``reflected()`` where x < 0, else y: in a branch that is taken if any lane is negative."""
    b, negative = x.b, x.lt(0.0)
    there, done = b.label("reflect"), b.label("reflected")
    before = b.block
    b.cond_br(any_lane(negative), there, done)
    b.place(there)
    new = where(negative, reflected(), y)
    tail = b.block
    b.br(done)
    b.place(done)
    return phi(before, y, tail, new)


def _around_half(u: Vec, coefficients: Sequence[float]) -> Vec:
    """The polynomial in u - ½, its constant added last."""
    constant, *others = coefficients
    return fma(u - 0.5, polynomial(u - 0.5, others), constant)


def _sin_cos_pi(a: Vec) -> tuple[Vec, tuple[Vec, Vec], tuple[Vec, Vec]]:
    """For a >= 0: where the halves of π in πa are odd, and sin and cos of what is left of πa.

    Each is a sum of two, of an angle of at most π/4.
    """
    fraction = a - a.trunc()
    halves, _ = round_scaled(fraction, 2.0, 0)
    v = fma(halves, -0.5, fraction)  # exact
    r, low = two_product(v, v.const(PI[0]))
    r, low = fast_two_sum(r, fma(v, PI[1], low))
    s, c = sin_cos_kernel(r, low)
    return halves.eq(1.0), fast_two_sum(*s), fast_two_sum(*c)


def lgamma(x: Vec) -> Vec:
    """log|Γ(x)|; the error is absolute near the negative zeros."""
    return _in_double(_lgamma, x)


def _lgamma(x: Vec) -> Vec:
    """m·log p + the rest: lgamma(1 + u) and the factors of the recurrence, or Stirling's series.

    1 + u = a - k in [1, 2), p the product of a - 1 .. a - k; for a < 1 it is 1 + a, and p = a.
    """
    a = x.abs()
    large, below_one = a.ge(STIRLING), a.lt(1.0)
    product = where(a.ge(2.0), a - 1.0, 1.0) * where(a.ge(3.0), a - 2.0, 1.0)
    h, h_low = log_double_double(where(large | below_one, a, product))
    inverse = 1.0 / a
    series = fma(polynomial(inverse * inverse, LGAMMA_LARGE), inverse, HALF_LOG_TWO_PI)
    # u·(u - 1)·P(u - ½) as a sum of two: right of 2 it cancels against log p.
    u = a - a.trunc()
    v, (constant, *others) = u - 0.5, LGAMMA_SMALL
    bend, bend_low = two_product(u, u - 1.0)
    small, small_low = two_product(bend, bend.const(constant))
    small_low = fma(bend, v * polynomial(v, others), fma(bend_low, constant, small_low))
    # Of a < 1 reflected: lgamma(1 + a), for what is subtracted is log a too.
    times = where(below_one, choose(x.lt(0.0), 0.0, -1.0, x), where(large, a - 0.5, 1.0))
    huge = a.ge(HUGE)  # where a·log a overflows before a·(log a - 1) does
    y, y_low = two_product(times, where(huge, h - 1.0, h))
    y, error = two_sum(y, where(large, where(huge, 0.0, -a), small))
    y_low = (error + fma(times, h_low, y_low)) + where(large, series, small_low)

    def reflected() -> Vec:
        odd, (s, _), (c, _) = _sin_cos_pi(a)
        sine = where(odd, c, s.abs())
        log_p, log_low = log_double_double(where(below_one, 1.0, a) * (1.0 / PI[0]) * sine)
        total, total_error = two_sum(log_p, y)
        z = -(total + (total_error + (log_low + y_low)))
        return where(sine.eq(0.0), INF, z)

    result = _where_negative(x, y + y_low, reflected)
    return where(a.gt(LGAMMA_RANGE), INF, where(a.eq(0.0), INF, result))


def digamma(x: Vec) -> Vec:
    """The slope of lgamma; the error is absolute near the negative zeros."""
    return _in_double(_digamma, x)


def _digamma(x: Vec) -> Vec:
    """The polynomial at u and the sum of 1/(a - j) as one fraction, or the asymptotic series.

    For negative x it is digamma(1 + a), which is 1/a more.
    """
    a, negative = x.abs(), x.lt(0.0)
    large, below_one = a.ge(STIRLING), a.lt(1.0)
    over = where(large, choose(negative, 0.5, -0.5, x), choose(negative, 1.0, 0.0, x))
    over = where(below_one, choose(negative, 0.0, -1.0, x), over)
    under = where(large, a, where(negative, a, 1.0))
    under = where(below_one, where(negative, 1.0, x), under)
    for j in (1.0, 2.0):
        step = a.ge(j + 1.0) & ~large
        over = where(step, fma(over, a - j, under), over)
        under = under * where(step, a - j, 1.0)
    q = over / under
    u = a - a.trunc()
    apart = (u - DIGAMMA_ZERO[0]) - DIGAMMA_ZERO[1]
    small = fma(apart, _around_half(u, DIGAMMA_SMALL), q)
    h, h_low = log_sum(*split(a))
    w = (q * q) * 4.0
    y = where(large, h + (q + fma(-w, polynomial(w, DIGAMMA_LARGE), h_low)), small)
    y = where(a.lt(INF), y, a)

    def reflected() -> Vec:
        odd, (s, s_low), (c, c_low) = _sin_cos_pi(a)
        top, top_low = where(odd, -s, c), where(odd, -s_low, c_low)
        bottom, bottom_low = where(odd, c, s), where(odd, c_low, s_low)
        reciprocal = 1.0 / bottom
        cotangent = top * reciprocal
        residual = fma(-cotangent, bottom, top) + fma(-cotangent, bottom_low, top_low)
        p, p_low = two_product(cotangent, cotangent.const(PI[0]))
        p_low = fma(cotangent, PI[1], fma(residual * reciprocal, PI[0], p_low))
        z, error = two_sum(p, y)
        return where(bottom.eq(0.0), NAN, where(p.abs().lt(INF), z + (error + p_low), p))

    return _where_negative(x, y, reflected)


def trigamma(x: Vec) -> Vec:
    """The slope of digamma, which is positive everywhere."""
    return _in_double(_trigamma, x)


def _trigamma(x: Vec) -> Vec:
    """trigamma(2 + u) and the terms 1/(a + j)² of the recurrence, or the asymptotic series."""
    a = x.abs()
    u = a - a.trunc()
    inverse = 1.0 / a
    beside = 1.0 / (a + choose(a.ge(3.0), -1.0, 1.0, x))
    term = where(a.lt(1.0), beside, where(a.ge(3.0), -beside, 0.0)) * beside
    w = inverse * inverse
    rest = _around_half(u, TRIGAMMA_SMALL) + term
    small = where(a.lt(2.0), w + rest, rest)
    series = fma(inverse, polynomial(w, TRIGAMMA_LARGE), 0.5)
    y = where(a.ge(STIRLING), fma(w, series, inverse), small)

    def reflected() -> Vec:
        odd, (s, s_low), (c, c_low) = _sin_cos_pi(a.at_least(1e-160))
        sine, sine_low = where(odd, c, s), where(odd, c_low, s_low)
        q = PI[0] / sine
        q_low = (fma(-q, sine, PI[0]) + fma(-q, sine_low, PI[1])) / sine
        square = fma(q, q, q * q_low * 2.0)
        after = where(a.lt(2.0), rest, y - w)  # trigamma(1 + a)
        return where(sine.eq(0.0) | a.eq(INF), INF, square - after)

    return _where_negative(x, y, reflected)
