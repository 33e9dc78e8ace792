"""SciPy's special functions: its ufuncs by name, and softmax, logsumexp and their kin.

SciPy is not imported here: a function of its own that reaches a trace is there already.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.errors import UnsupportedError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import full_like
from gradc.numpy_api.values import as_tracer
from gradc.tracer import Tracer, describe, emit


def _between(x: Value, low: float) -> Value:
    return ops.bit_and(x > low, x < math.inf)


def _product(x: Value, y: Value, log: Callable[[Value], Value], pole: float, one: float) -> Value:
    """x·log y, 0 where x is, whatever y is but nan."""
    void = ops.bit_and(ops.eq(x, full_like(x, 0)), ops.logical_not(_between(y, pole)))
    void = ops.bit_and(void, ops.eq(y, y))
    return x * log(ops.where(void, full_like(y, one), y))


def _xlogy(x: Value, y: Value) -> Value:
    return _product(x, y, ops.log, 0, 1)


def _xlog1py(x: Value, y: Value) -> Value:
    return _product(x, y, ops.log1p, -1, 0)


def _entr(x: Value) -> Value:
    return ops.where(x < 0, full_like(x, -math.inf), -_xlogy(x, x))


def _entropy(x: Value, y: Value, more: Callable[[Value, Value], Value]) -> Value:
    """x·log(x / y) + more inside, more where x is 0, else inf."""
    inside = ops.bit_and(x > 0, y > 0)
    one = full_like(x, 1)
    over, under = ops.where(inside, x, one), ops.where(inside, y, one)
    ratio = over / under
    info = np.finfo(ratio.type.dtype)
    normal = ops.bit_and(ratio > float(info.tiny), ratio < float(info.max))
    logarithm = ops.where(
        normal, ops.log(ops.where(normal, ratio, one)), ops.log(over) - ops.log(under)
    )
    terms = x * logarithm + more(x, y)
    at_zero = ops.bit_and(ops.eq(x, full_like(x, 0)), y >= 0)
    nan = ops.bit_or(ops.ne(x, x), ops.ne(y, y))
    outside = ops.where(nan, full_like(x, math.nan), full_like(x, math.inf))
    return ops.where(inside, terms, ops.where(at_zero, more(x, y), outside))


def _rel_entr(x: Value, y: Value) -> Value:
    return _entropy(x, y, lambda x, y: full_like(x, 0))


def _kl_div(x: Value, y: Value) -> Value:
    return _entropy(x, y, lambda x, y: y - x)


def _logit(x: Value) -> Value:
    """log(x / (1 − x)), by log1p around ½, where it is 0."""
    middle = ops.lt(ops.abs_(x - 0.5), full_like(x, 0.25))
    near = ops.where(middle, x, full_like(x, 0.5))
    around = ops.log1p((near * 2 - 1) / (1 - near))
    return ops.where(middle, around, ops.log(x) - ops.log1p(-x))


def _loggamma(x: Value) -> Value:
    return ops.where(x < 0, full_like(x, math.nan), ops.lgamma(x))


#: by SciPy's name of the ufunc
_EMITTERS: dict[str, Callable[..., Value]] = {
    "erf": ops.erf, "erfc": ops.erfc, "ndtr": lambda x: ops.erfc(x * -math.sqrt(0.5)) * 0.5,
    "gammaln": ops.lgamma, "loggamma": _loggamma, "psi": ops.digamma,
    "expit": ops.sigmoid, "log_expit": lambda x: -ops.softplus(-x), "logit": _logit,
    "log1p": ops.log1p, "expm1": ops.expm1, "exp2": ops.exp2, "cbrt": ops.cbrt,
    "exp10": lambda x: ops.pow_(full_like(x, 10), x),
    "xlogy": _xlogy, "xlog1py": _xlog1py, "entr": _entr, "rel_entr": _rel_entr,
    "kl_div": _kl_div,
}  # fmt: skip


def is_special(ufunc: np.ufunc) -> bool:
    """Whether a ufunc is one of SciPy's special functions."""
    return getattr(sys.modules.get("scipy.special"), ufunc.__name__, None) is ufunc


def emitter_of(ufunc: np.ufunc) -> Callable[..., Value] | None:
    """What emits one of SciPy's ufuncs, if gradc has it."""
    return _EMITTERS.get(ufunc.__name__) if is_special(ufunc) else None


# -- functions that are no ufuncs ----------------------------------------------------------------


def _logsumexp(a: Any, axis: Any = None, b: Any = None, keepdims: bool = False,
               return_sign: bool = False) -> Any:
    if return_sign:
        raise UnsupportedError("scipy.special.logsumexp with return_sign= is not supported",
                               remedy="leave out return_sign=")
    t = _floating(a)
    top = np.max(t, axis=axis, keepdims=True)
    shift = np.where(np.isinf(top), 0.0, top)
    terms = np.exp(t - shift) if b is None else np.exp(t - shift) * b
    total = np.log(np.sum(terms, axis=axis, keepdims=True)) + shift
    return total if keepdims else np.sum(total, axis=axis)


def _softmax(x: Any, axis: Any = None) -> Any:
    t = _floating(x)
    e: Any = np.exp(t - np.max(t, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: Any = None) -> Any:
    t = _floating(x)
    apart: Any = t - np.max(t, axis=axis, keepdims=True)
    return apart - np.log(np.sum(np.exp(apart), axis=axis, keepdims=True))


def _polygamma(n: Any, x: Any) -> Any:
    order = n.__index__()
    if order not in (0, 1):
        raise UnsupportedError(
            f"scipy.special.polygamma({order}, x) is not supported on traced values",
            types=[describe(as_tracer(x))], remedy="polygamma(1, x), and differentiate it")
    return emit(ops.trigamma if order else ops.digamma, _floating(x))


def _softplus(x: Any) -> Any:
    return emit(ops.softplus, _floating(x))


def _floating(x: Any) -> Tracer:
    t = as_tracer(x)
    return t if t.dtype.kind == "f" else t.astype(np.float64)


#: SciPy's name -> ours, with its parameters
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "logsumexp": _logsumexp, "softmax": _softmax, "log_softmax": _log_softmax,
    "polygamma": _polygamma, "softplus": _softplus,
}  # fmt: skip
