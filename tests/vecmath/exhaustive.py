"""The worst error of a float32 function over all of its 2³² arguments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from tests.vecmath.measure import Array, compiled, ulps

CHUNK = 1 << 17  # whose doubles fit the cache


def _sech2(x: Array) -> Array:
    return np.square(1 / np.cosh(x))


def _lgamma(x: Array) -> Array:
    """SciPy's is inf for subnormals, and -inf for -inf."""
    tiny = np.abs(x) < np.finfo(x.dtype).tiny
    value = np.where(tiny, -np.log(np.abs(x)), special.gammaln(x))
    return np.where(np.isinf(x), np.inf, value)


def _by_sign(
    positive: Callable[[Array], Array], negative: Callable[[Array, Array], Array], pole: float
) -> Callable[[Array], Array]:
    """By the reflection formula, from the fraction of x: SciPy's loses digits near the poles.

    ``positive(x)``; ``negative(a, v)`` for x = -a < 0 that are no integers, v the fraction of a.
    """

    def call(x: Array) -> Array:
        out = np.full(len(x), pole)
        out[np.isnan(x)] = np.nan
        right, a = ~(x < 0), -x
        fraction = a - np.trunc(a)
        left = (x < 0) & (fraction > 0)
        out[right] = positive(x[right])
        out[left] = negative(a[left], np.pi * fraction[left])
        return out

    return call


def _trigamma(x: Array) -> Array:
    """By the recurrence and, from 8 on, the asymptotic series: SciPy's takes a microsecond."""
    total, z = np.zeros(len(x)), x
    if not (x >= 8).all():
        for k in range(8):
            total += 1 / np.square(x + k)
        z = x + 8
    w = 1 / np.square(z)
    series = 1 / 6 - w * (1 / 30 - w * (1 / 42 - w * (1 / 30 - w * (5 / 66))))
    return total + 1 / z + w / 2 + w / z * series


#: float64 functions of NumPy and SciPy: exact, beside a float32
ORACLES: dict[str, Callable[[Array], Array]] = {
    "lgamma": _lgamma,
    "digamma": _by_sign(special.psi, lambda a, v: special.psi(1 + a) + np.pi / np.tan(v), np.nan),
    "trigamma": _by_sign(
        _trigamma, lambda a, v: np.square(np.pi / np.sin(v)) - _trigamma(1 + a), np.inf),
    "acos": np.arccos, "acosh": np.arccosh, "asin": np.arcsin, "asinh": np.arcsinh,
    "atan": np.arctan, "atanh": np.arctanh, "sech2": _sech2, "sigmoid": special.expit,
    "erf": special.erf, "erfc": special.erfc, "gaussian": lambda x: np.exp(-np.square(x)),
    "softplus": lambda x: np.logaddexp(0, x), "cube": lambda x: x * x * x,
    "fourth": lambda x: np.square(np.square(x)),
    **{name: getattr(np, name)
       for name in "cbrt cos cosh exp exp2 expm1 log log10 log1p log2 sin sinh sqrt tan tanh"
       .split()},
}  # fmt: skip


def worst_of_every_float32(name: str) -> tuple[float, float]:
    """The largest error in ulps, and the argument it was found at.

    NumPy's double function finds the worst argument of each chunk; mpmath says how large
    the error is there. An error is infinite where only one of the two is nan.
    """
    single, exact = compiled(name, 4), ORACLES[name]
    candidates = []
    for start in range(0, 1 << 32, CHUNK):
        x = (np.arange(CHUNK, dtype=np.uint32) + np.uint32(start)).view(np.float32)
        got = single(x)
        with np.errstate(all="ignore"):
            want = exact(x.astype(np.float64))
            apart = np.flatnonzero((got != want.astype(np.float32)) & ~np.isnan(x))
            error = _errors(got[apart], want[apart])
        if len(error):
            worst = int(np.argmax(error))
            if np.isinf(error[worst]):
                return np.inf, float(x[apart[worst]])
            if error[worst] > 0:
                candidates.append(apart[worst] + start)
        assert np.isnan(got[np.isnan(x)]).all()
    if not candidates:
        return 0.5, np.nan
    x = np.array(candidates, np.uint32).view(np.float32)
    true = ulps(name, single(x), x)
    worst = int(np.argmax(true))
    return float(true[worst]), float(x[worst])


def _errors(got: Array, want: Array) -> Array:
    """In units of the last place of ``want`` in float32; overflow counts as 2^128."""
    limit = 2.0**128
    wide = np.clip(got.astype(np.float64), -limit, limit)
    distance = np.abs(wide - np.clip(want, -limit, limit))
    unit = np.ldexp(1.0, np.maximum(np.frexp(want)[1] - 24, -149))
    error = distance / unit
    return np.where(np.isnan(got) & np.isnan(want), 0, np.where(np.isnan(error), np.inf, error))
