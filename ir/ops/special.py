"""Special functions: the error function and its kin, and the logarithm of the gamma function.

They are 0 or infinite where SciPy's are, but lgamma(−inf), which is inf as in C.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.ir.graph import Value
from gradc.ir.ops.base import REGISTRY, Op
from gradc.ir.ops.elementwise import cos, sin, vector_math, where


def _scipy(name: str) -> Any:
    def call(x: Any) -> Any:
        from scipy import special

        return getattr(special, name)(x)

    return call


_SLOPE_AT_0 = 2 / math.sqrt(math.pi)

# e^(−x²), a function of its own: of exp(−x·x) the rounding of x·x leaves few digits in the tails.
gaussian = vector_math("gaussian", lambda x: np.exp(-np.square(x)), lambda x, out: x * out * -2)
erf = vector_math("erf", _scipy("erf"), lambda x, out: gaussian(x) * _SLOPE_AT_0)
erfc = vector_math("erfc", _scipy("erfc"), lambda x, out: gaussian(x) * -_SLOPE_AT_0)

_SHIFT = 8
# B₂ₖ·(2k + 1): ψ″(x) = −1/x² − 1/x³ − Σ B₂ₖ·(2k + 1) / x^(2k + 2)
_TETRAGAMMA = (1 / 2, -1 / 6, 1 / 6, -3 / 10, 5 / 6, -691 / 210, 35 / 2)


def _tetragamma(x: Value) -> Value:
    """ψ″, the slope of trigamma, in the IR's own operators: derivatives of any order follow.

    The recurrence up to 8, Stirling's series from there, the reflection formula for x < 0
    (Abramowitz & Stegun, 6.4).
    """
    negative = x < 0
    positive = where(negative, 1 - x, x)
    total = None
    for k in range(_SHIFT):
        z = positive + k
        term = -2 / (z * z * z)
        total = term if total is None else total + term
    inverse = 1 / (positive + _SHIFT)
    square = inverse * inverse
    series = square * _TETRAGAMMA[-1]
    for number in reversed(_TETRAGAMMA[:-1]):
        series = (series + number) * square
    assert total is not None
    total = total - square * (series + inverse + 1)
    angle = where(negative, x - REGISTRY["rint"](x), x * 0 + 0.5) * math.pi
    reflection = cos(angle) * (2 * math.pi**3) / (sin(angle) * sin(angle) * sin(angle))
    return where(negative, total - reflection, total)


_POSITIVE = (0.3, 6.0)
lgamma = vector_math("lgamma", _scipy("gammaln"), lambda x, out: digamma(x), _POSITIVE)
digamma: Op = vector_math("digamma", _scipy("psi"), lambda x, out: trigamma(x), _POSITIVE)


def _trigamma_numpy(x: Any) -> Any:
    from scipy import special

    wide = x.astype(np.float64)
    return special.polygamma(1, wide).astype(x.dtype)


trigamma: Op = vector_math("trigamma", _trigamma_numpy, lambda x, out: _tetragamma(x), _POSITIVE)
