"""Compiled vector functions on arrays, exact values from mpmath, and errors in ulps."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

from gradc.codegen import jit, vecmath
from gradc.codegen.llvm import Builder, Module
from gradc.codegen.llvm_types import vector
from gradc.codegen.targets import Target, host

Array = np.ndarray[Any, np.dtype[Any]]
SCALARS = {8: "double", 4: "float"}
BINARY = frozenset({"atan2", "fmod", "hypot", "pow"})


def emit_loop(module: Module, kernel: str, name: str, itemsize: int, lanes: int) -> None:
    """``void kernel(ptr x, ptr y, ptr result, i64 n)``, n a multiple of the lanes."""
    scalar = SCALARS[itemsize]
    params = [("ptr", "x"), ("ptr", "y"), ("ptr", "result"), ("i64", "n")]
    b = Builder(module, kernel, "void", params)
    *operands, result, n = b.params
    with b.loop(b.i64(0), n, lanes) as loop:
        used = operands if name in BINARY else operands[:1]
        args = [b.load(b.gep(p, scalar, loop.index), vector(scalar, lanes), itemsize) for p in used]
        b.store(vecmath.emit(b, name, args), b.gep(result, scalar, loop.index), itemsize)
    b.ret()
    b.finish()


def new_module(target: Target) -> Module:
    """A module whose functions use the target's registers."""
    module = Module(target)
    module.attributes = target.attributes
    return module


@functools.cache
def compiled(
    name: str, itemsize: int, lanes: int | None = None, target: Target | None = None
) -> Callable[..., Array]:
    """The function on one-dimensional arrays, by default with full registers of this machine."""
    target = target or host()
    width = lanes or target.lanes(itemsize)
    module = new_module(target)
    emit_loop(module, "kernel", name, itemsize, width)
    library = jit.load(str(module), ("kernel",))
    address = library.address("kernel")
    kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(address)

    def call(x: Array, y: Array | None = None, keep: object = library) -> Array:
        padding = (0, -len(x) % width)
        x_padded = np.pad(x, padding, constant_values=1)
        y_padded = x_padded if y is None else np.pad(y, padding, constant_values=1)
        result = np.empty_like(x_padded)
        pointers = (a.ctypes.data for a in (x_padded, y_padded, result))
        kernel(*pointers, len(x_padded))
        return result[: len(x)]

    return call


def _softplus(x: Any) -> Any:
    return mpmath.log1p(mpmath.exp(x)) if x < 0 else x + mpmath.log1p(mpmath.exp(-x))


def _lgamma(x: Any) -> Any:
    if x > 0:
        return mpmath.loggamma(x)
    return mpmath.log(mpmath.pi / abs(x * mpmath.sinpi(x))) - mpmath.loggamma(-x)


def _digamma(x: Any) -> Any:
    if x > 0:
        return mpmath.psi(0, x)
    return mpmath.psi(0, -x) - 1 / x - mpmath.pi * mpmath.cospi(x) / mpmath.sinpi(x)


def _trigamma(x: Any) -> Any:
    if x > 0:
        return mpmath.psi(1, x)
    return (mpmath.pi / mpmath.sinpi(x)) ** 2 - mpmath.psi(1, 1 - x)


EXACT: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(mpmath, name)
        for name in "exp expm1 log log1p log10 sin cos tan asin acos atan atan2 sinh cosh tanh "
        "asinh acosh atanh hypot sqrt".split()
    },
    "exp2": lambda x: mpmath.power(2, x),
    "log2": lambda x: mpmath.log(x, 2),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "pow": mpmath.power,
    "cube": lambda x: x**3,
    "fourth": lambda x: x**4,
    "sech2": lambda x: mpmath.sech(x) ** 2,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": _softplus,
    "fmod": mpmath.fmod,
    "erf": mpmath.erf,
    "erfc": mpmath.erfc,
    "lgamma": _lgamma,
    "digamma": _digamma,
    "trigamma": _trigamma,
    "gaussian": lambda x: mpmath.exp(-(x**2)),
}


def least_scale(name: str, x: Array) -> Array:
    """The magnitude whose last place is the least unit of an error at x, where it is absolute.

    Around the negative zeros of lgamma and digamma that is 1, or the larger term of the reflection
    formula of digamma, log|x|; the functions change by far more between two neighbours x there.
    """
    if name not in ("lgamma", "digamma"):
        return np.zeros(len(x))
    scale = np.maximum(1, np.log(np.maximum(np.abs(x), 1))) if name == "digamma" else 1
    return np.where(x < 0, scale, 0)


def ulps(name: str, got: Array, *args: Array) -> Array:
    """The errors of a function's results, as :func:`errors` has them."""
    return errors(EXACT[name], got, args, least_scale(name, args[0].astype(float)))


def errors(
    exact: Callable[..., Any],
    got: Array,
    args: Sequence[Array],
    scale: Array | float = 0,
    least: float = 0,
) -> Array:
    """The errors of finite results at finite arguments, in units of the last place.

    The unit is that of the format at the exact value (the smallest subnormal at least), or at
    ``scale`` where that is larger; where the exact value overflows or underflows the nearest result
    counts as 0, and so does any where it is below ``least``.
    """
    info = np.finfo(got.dtype)
    high, low, exponent = np.empty(len(got)), np.empty(len(got)), np.empty(len(got), np.int32)
    with mpmath.workprec(150):
        for k, values in enumerate(zip(*(a.tolist() for a in args), strict=True)):
            mantissa, power = mpmath.frexp(exact(*map(mpmath.mpf, values)))
            high[k] = float(mantissa)
            low[k], exponent[k] = float(mantissa - high[k]), max(int(power), -9999)
    at = np.where(np.asarray(scale) > 0, np.maximum(exponent, np.frexp(scale)[1]), exponent)
    unit = np.maximum(at - info.nmant - 1, info.minexp - info.nmant)
    with np.errstate(all="ignore"):
        distance = np.abs((np.ldexp(got.astype(float), -exponent) - high) - low)
        error = np.ldexp(distance, exponent - unit)
        overflow = np.isinf(np.ldexp(high, exponent).astype(got.dtype))
        error[overflow & (got == np.copysign(np.inf, high))] = 0
        error[np.abs(np.ldexp(high, exponent)) < least] = 0
    return error
