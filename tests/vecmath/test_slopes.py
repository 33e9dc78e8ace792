"""The derivatives that gradc computes of the vector math, against mpmath: to a few ulps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special

import gradc
from tests.vecmath.functions import pairs, samples
from tests.vecmath.measure import EXACT, Array, errors, least_scale
from tests.vecmath.table import record

DTYPES = [np.float64, np.float32]


@dataclass(frozen=True)
class Slope:
    """A function as users write it, its derivative in an operand, and what is promised."""

    function: Callable[..., Any]
    exact: Callable[..., Any]
    bound: float
    operand: int = 0


def _per_scale(scale: float, power: int = -1) -> Callable[[Any], Any]:
    return lambda x: x**power / mpmath.log(scale)


def _erf_slope(x: Any) -> Any:
    return 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-(x**2))


def _over_square_sum(top: Callable[..., Any]) -> Callable[..., Any]:
    return lambda y, x: top(y, x) / (x**2 + y**2)


SLOPES = {
    "exp": Slope(np.exp, mpmath.exp, 1),
    "expm1": Slope(np.expm1, mpmath.exp, 1),
    "exp2": Slope(np.exp2, lambda x: mpmath.power(2, x) * mpmath.log(2), 2),
    "log": Slope(np.log, lambda x: 1 / x, 0.5),
    "log1p": Slope(np.log1p, lambda x: 1 / (1 + x), 1.5),
    "log2": Slope(np.log2, _per_scale(2), 2),
    "log10": Slope(np.log10, _per_scale(10), 2),
    "sin": Slope(np.sin, mpmath.cos, 1),
    "cos": Slope(np.cos, lambda x: -mpmath.sin(x), 1),
    "tan": Slope(np.tan, lambda x: mpmath.sec(x) ** 2, 3),
    "asin": Slope(np.arcsin, lambda x: 1 / mpmath.sqrt((1 - x) * (1 + x)), 2.5),
    "acos": Slope(np.arccos, lambda x: -1 / mpmath.sqrt((1 - x) * (1 + x)), 2.5),
    "atan": Slope(np.arctan, lambda x: 1 / (1 + x**2), 2),
    "sinh": Slope(np.sinh, mpmath.cosh, 1),
    "cosh": Slope(np.cosh, mpmath.sinh, 1),
    "tanh": Slope(np.tanh, EXACT["sech2"], 4),
    "asinh": Slope(np.arcsinh, lambda x: 1 / mpmath.sqrt(x**2 + 1), 2.5),
    "acosh": Slope(np.arccosh, lambda x: 1 / mpmath.sqrt((x - 1) * (x + 1)), 3),
    "atanh": Slope(np.arctanh, lambda x: 1 / ((1 - x) * (1 + x)), 2.5),
    "sigmoid": Slope(special.expit, lambda x: mpmath.sech(x / 2) ** 2 / 4, 4),
    "softplus": Slope(lambda x: np.logaddexp(0, x), EXACT["sigmoid"], 1),
    "sqrt": Slope(np.sqrt, lambda x: 1 / (2 * mpmath.sqrt(x)), 1.5),
    "cbrt": Slope(np.cbrt, lambda x: 1 / (3 * mpmath.cbrt(abs(x)) ** 2), 3.5),
    "erf": Slope(special.erf, _erf_slope, 2),
    "erfc": Slope(special.erfc, lambda x: -_erf_slope(x), 2),
    "lgamma": Slope(special.gammaln, EXACT["digamma"], 4),
    "digamma": Slope(special.psi, EXACT["trigamma"], 4),
    "atan2 (1)": Slope(np.arctan2, _over_square_sum(lambda y, x: x), 4, 0),
    "atan2 (2)": Slope(np.arctan2, _over_square_sum(lambda y, x: -y), 4, 1),
    "hypot (1)": Slope(np.hypot, lambda x, y: x / mpmath.hypot(x, y), 2, 0),
    "hypot (2)": Slope(np.hypot, lambda x, y: y / mpmath.hypot(x, y), 2, 1),
    "pow (1)": Slope(np.power, lambda x, y: y * mpmath.power(x, y - 1), 3, 0),
    "pow (2)": Slope(np.power, lambda x, y: mpmath.power(x, y) * mpmath.log(x), 3, 1),
}


#: functions whose slope is worth measuring where they themselves are constant
_AS_FAR_AS = {"expm1": "exp", "sigmoid": "tanh"}


def arguments(name: str, dtype: type, dense: int = 1) -> tuple[Array, ...]:
    function = name.split(" ")[0]
    with np.errstate(all="ignore"):
        if function == name:
            args: tuple[Array, ...] = (samples(_AS_FAR_AS.get(name, name), dtype, dense),)
        else:
            args = pairs(function, dtype, dense)
    if function == "pow":  # beyond, y - 1 rounds, and the slope feels it as much as pow feels y
        keep = (args[1] >= 0.5) & (args[1] < 2 ** (np.finfo(dtype).nmant - 1))
        args = tuple(a[keep] for a in args)
    if function in ("atan2", "hypot"):  # of subnormal numbers few digits are left
        with np.errstate(all="ignore"):
            size = np.hypot(*args)
        keep = (size >= np.finfo(dtype).tiny) & np.isfinite(size)
        args = tuple(a[keep] for a in args)
    return args


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SLOPES)
def test_slopes(name: str, dtype: type, request: pytest.FixtureRequest) -> None:
    slope = SLOPES[name]
    update = request.config.getoption("--update-goldens")
    args = arguments(name, dtype, 8 if update else 1)
    got = gradc.grad(lambda *a: np.sum(slope.function(*a)), argnums=slope.operand)(*args)
    scale = least_scale("digamma", args[0].astype(float)) if name == "lgamma" else 0.0
    error = errors(slope.exact, got, args, scale, least=float(np.finfo(dtype).tiny))
    worst = int(np.argmax(error))
    at = tuple(float(a[worst]) for a in args)
    assert error[worst] <= slope.bound, (error[worst], at)
    if update:
        record(f"slope of {name}", np.dtype(dtype).name, slope.bound, float(error[worst]), at,
               str(len(got)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_slopes_keep_their_digits_in_saturation(name: str, dtype: type) -> None:
    """Where tanh and sigmoid are 1 to the last digit, to the end of the normal numbers."""
    end = 1.01 * np.log(float(np.finfo(dtype).max)) / (2 if name == "tanh" else 1)
    x = np.linspace(-end, end, 5001).astype(dtype)
    slope = SLOPES[name]
    got = gradc.grad(lambda x: np.sum(slope.function(x)))(x)
    assert errors(slope.exact, got, (x,), least=float(np.finfo(dtype).tiny)).max() <= slope.bound
    assert (got[[0, -1]] > 0).all()
    assert (got <= 1).all()
