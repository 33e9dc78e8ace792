"""What a wrapped function does when user code calls it in a trace."""

from __future__ import annotations

import functools
import math
from random import Random
from typing import Any

import numpy as np

from gradc.errors import DTypeError, RandomError, UnsupportedError
from gradc.ir import ops
from gradc.ir.types import F64, SHORT
from gradc.numpy_api.creating import _like, array_of
from gradc.numpy_api.creating import astype as convert_to
from gradc.numpy_api.dispatch import call, evaluate, has_dynamic, has_tracers, plain, tracers_in
from gradc.numpy_api.methods_of_ufuncs import elementwise
from gradc.numpy_api.shaping import atleast_1d
from gradc.numpy_api.special import FUNCTIONS as SPECIAL
from gradc.numpy_api.values import as_tracer, is_traced, to_value, type_of
from gradc.tracer import Tracer, constant, describe, fresh

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def own(result: Any) -> Any:
    """An array that NumPy has just made, as the trace's own; anything else as it is."""
    if type(result) is np.ndarray and result.dtype.newbyteorder("=") in SHORT:
        return constant(result)
    if isinstance(result, (list, tuple)) and not hasattr(result, "_fields"):
        return type(result)(own(item) for item in result)
    return result


def _known(value: Any) -> Any:
    """Arguments as NumPy takes them: constants plain, a traced integer asked for its number."""
    if isinstance(value, Tracer):
        return value.array() if value.is_constant else value.__index__()
    if type(value) in (tuple, list):
        return type(value)(_known(item) for item in value)
    return value


def make(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.zeros and its kin: a new array of constants."""
    args = tuple(_known(a) for a in args)
    kwargs = {key: _known(value) for key, value in kwargs.items()}
    return own(original(*args, **kwargs))


def empty(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.empty: zeros, so that a trace does not depend on what was in memory."""
    return make(np.zeros, args, kwargs)


def full(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.full, also of a traced number."""
    names = ("shape", "fill_value", "dtype", "order")
    given = dict(zip(names, args, strict=False)) | kwargs
    fill = given.get("fill_value")
    if isinstance(fill, (list, tuple)) and has_tracers(fill):
        fill = array_of(fill)
    if not is_traced(fill):
        return make(original, args, kwargs)
    shape = _known(given["shape"])
    dtype = type_of(fill).dtype if given.get("dtype") is None else given["dtype"]
    return _like(fill, fill, dtype, shape)


def dispatched(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """A function that NumPy's hooks see if an array is traced; else it makes a new array."""
    if has_tracers(args, kwargs):
        return of_a_list(original, args, kwargs)
    return own(original(*args, **kwargs))


def array(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.array: a new array, of Tracers too."""
    names = ("object", "dtype")
    given = dict(zip(names, args, strict=False)) | kwargs
    source: Any = given.get("object")
    dtype = given.get("dtype")
    if has_dynamic(source):
        return _of_unknown_length(source, dtype).copy()
    if not has_tracers(source):
        return _made(original(*args, **kwargs), source)
    _refuse_objects(dtype)
    out = _as_array(source, dtype)
    mode = given.get("copy", True)
    if out is source and mode not in (None, False, np._CopyMode.IF_NEEDED, np._CopyMode.NEVER):
        out = out.copy()
    rank = kwargs.get("ndmin", 0)
    return out.reshaped((1,) * (rank - out.ndim) + out.shape) if rank > out.ndim else out


def as_array(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.asarray and its kin: a Tracer is an array already; so is an array from outside."""
    given = dict(zip(("a", "dtype"), args, strict=False)) | kwargs
    source, dtype = given.get("a"), given.get("dtype")
    if has_dynamic(source):
        return _of_unknown_length(source, dtype)
    if has_tracers(source):
        _refuse_objects(dtype)
        return _as_array(source, dtype)
    return _made(original(*args, **kwargs), source)


def _of_unknown_length(source: Any, dtype: Any) -> Any:
    if isinstance(source, (list, tuple)):
        (one,) = [x for x in source if has_dynamic(x)][:1]
        raise one.refusal("an array of several")
    return source if dtype is None else source.astype(dtype, copy=False)


def _made(result: Any, source: Any) -> Any:
    """An array made of ``source``: where it is no copy, it is from outside like that."""
    if isinstance(source, np.ndarray) and np.may_share_memory(result, source):
        return result
    return own(result)


def _refuse_objects(dtype: Any) -> None:
    if dtype is not None and np.dtype(dtype) not in SHORT:
        raise DTypeError(f"an array of dtype {np.dtype(dtype)} cannot hold traced values",
                         remedy="a Python list, or one of NumPy's number types")


def _as_array(source: Any, dtype: Any) -> Any:
    if not isinstance(source, Tracer):
        return array_of(source, dtype)
    if dtype is not None and (np.dtype(dtype) != source.dtype or source.weak):
        source = convert_to(source, dtype)
    if source.is_scalar and not source.is_constant:
        return fresh(source.value, is_scalar=False)
    return source


def of_a_list(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """A function of arrays given a list of Tracers, or a Tracer where NumPy's hooks do not look."""
    if not has_tracers(args, kwargs):
        return original(*args, **kwargs)
    stacked = tuple(
        array_of(a) if isinstance(a, (list, tuple)) and has_tracers(a) else a for a in args
    )
    return call(original, stacked, kwargs)


def of_lists(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """A function of a sequence of arrays, some of which are lists of Tracers."""
    return call(original, args, kwargs) if has_tracers(args) else original(*args, **kwargs)


def random(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.random and random: refused."""
    module = "random" if isinstance(getattr(original, "__self__", None), Random) else "np.random"
    raise RandomError(
        f"{module}.{getattr(original, '__name__', 'function')} was called while tracing: its "
        "numbers would be frozen into the compiled code",
        remedy="gradc.random, or draw the numbers outside and pass them as an argument",
    )


def iteration(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.nditer, which reads and writes memory: refused."""
    if not has_tracers(args, kwargs):
        return original(*args, **kwargs)
    raise UnsupportedError(
        "np.nditer is not supported on traced arrays",
        types=map(describe, tracers_in(args, kwargs)),
        remedy="loop over the elements: for x in a.ravel()",
    )


def is_scalar(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.isscalar: whether NumPy would have a number here, and no array."""
    given = [*args, *kwargs.values()]
    if len(given) == 1 and isinstance(given[0], Tracer):
        return given[0].is_scalar
    return original(*args, **kwargs)


def error_state(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """np.errstate and np.seterr: refused if floating-point errors are to raise, or to call."""
    for name, how in (*kwargs.items(), *(("all", x) for x in args)):
        if how in ("raise", "call", "log"):
            raise UnsupportedError(
                f"np.{original.__name__}({name}={how!r}): compiled code gives infinities and NaN, "
                "and raises nothing",
                remedy="test the result: np.isfinite(y).all(), outside the compiled function",
            )
    return original(*args, **kwargs)


def concatenator(original: Any, columns: bool, key: Any) -> Any:
    """np.r_[...] and np.c_[...] of Tracers: arrays, numbers and ranges joined."""
    items = key if isinstance(key, tuple) else (key,)
    if not has_tracers(items):
        return own(original[key])
    parts = []
    for item in items:
        if isinstance(item, str):
            raise UnsupportedError(
                f"the directive {item!r} in np.r_ or np.c_ is not supported on traced values",
                remedy="np.concatenate or np.stack")
        part: Any = as_tracer(original[item] if isinstance(item, slice) else item)
        flat = atleast_1d(part)
        parts.append(flat[:, None] if columns and flat.ndim == 1 else flat)
    return np.concatenate(parts, axis=-1 if columns else 0)


def special(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """A function of ``scipy.special`` that is no ufunc."""
    given = list(tracers_in(args, kwargs))
    if not given:
        return original(*args, **kwargs)
    if all(t.is_constant for t in given):
        return evaluate(original, args, kwargs)
    name = original.__name__
    if name in SPECIAL:
        return SPECIAL[name](*args, **kwargs)
    if all(t.dtype.kind in "iu" and not t.shape for t in given):  # sizes and orders
        return original(*plain(args), **plain(kwargs))
    raise UnsupportedError(
        f"scipy.special.{name} is not supported on traced values", types=map(describe, given),
        remedy="write it with functions that gradc has, or compute it outside")


# -- math ----------------------------------------------------------------------------------------

_UFUNC_OF = {
    "exp": np.exp, "expm1": np.expm1, "exp2": np.exp2, "log1p": np.log1p, "log2": np.log2,
    "log10": np.log10, "sqrt": np.sqrt, "cbrt": np.cbrt, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "pow": np.power, "fabs": np.fabs, "fmod": np.fmod,
    "copysign": np.copysign, "degrees": np.degrees, "radians": np.radians, "isnan": np.isnan,
    "isinf": np.isinf, "isfinite": np.isfinite,
}  # fmt: skip
_OP_OF = {"erf": ops.erf, "erfc": ops.erfc, "lgamma": ops.lgamma}
_OF_INTEGERS = frozenset("factorial comb perm gcd lcm isqrt".split())
_TO_INTEGER = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}


def _number(x: Any) -> Any:
    """An argument of math as a Python float: traced, or plain."""
    if not isinstance(x, Tracer):
        return x
    if x.size != 1:
        raise DTypeError("math takes single numbers", types=[describe(x)],
                         remedy="the function of the same name in NumPy takes arrays")
    if x.is_constant:
        return x.array().item()
    value = to_value(x, F64)
    return fresh(ops.reshape(value, shape=()) if value.shape else value, weak=True)


def _apply(ufunc: np.ufunc, *numbers: Any) -> Any:
    return elementwise(ufunc, [float(x) if type(x) in (int, bool) else x for x in numbers],
                       operator=True)


def mathematics(original: Any, args: Args, kwargs: Kwargs) -> Any:
    """A function of ``math`` with a Tracer among its arguments; the result counts as a float."""
    given = list(tracers_in(args, kwargs))
    if not given:
        return original(*args, **kwargs)
    if all(t.is_constant for t in given):
        return original(*plain(args), **plain(kwargs))
    name = original.__name__
    if name in _OF_INTEGERS:
        return original(*(x.__index__() if isinstance(x, Tracer) else x for x in args))
    if name in ("fsum", "prod", "sumprod", "dist", "hypot"):
        return _of_many(name, args, kwargs)
    numbers = [_number(x) for x in args]
    if name in _UFUNC_OF:
        return _apply(_UFUNC_OF[name], *numbers)
    if name in _OP_OF:
        return fresh(_OP_OF[name](numbers[0].value), weak=True)
    if name == "log":
        logs = [_apply(np.log, x) if isinstance(x, Tracer) else math.log(x) for x in numbers]
        return logs[0] if len(logs) == 1 else logs[0] / logs[1]
    if name in _TO_INTEGER:
        whole = _apply(_TO_INTEGER[name], *numbers)
        return fresh(ops.convert(whole.value, dtype=np.dtype(np.int64)), weak=True)
    raise UnsupportedError(
        f"math.{name} is not supported on traced values", types=map(describe, given),
        remedy="math.exp(math.lgamma(x)) for x > 0" if name == "gamma" else
        "write it with functions that gradc has, or compute it outside")


def _is_sequence(x: Any) -> bool:
    return bool(x.shape) if isinstance(x, Tracer) else isinstance(x, (list, tuple, np.ndarray))


def _of_many(name: str, args: Args, kwargs: Kwargs) -> Any:
    lists = [[_number(x) for x in (a if _is_sequence(a) else [a])] for a in args]
    if name == "prod":
        return functools.reduce(lambda p, x: p * x, lists[0], _number(kwargs.get("start", 1)))
    if name == "fsum":
        return functools.reduce(lambda s, x: s + x, lists[0], 0.0)
    if name == "sumprod":
        pairs = zip(*lists, strict=True)
        return functools.reduce(lambda s, xy: s + xy[0] * xy[1], pairs, 0.0)
    if name == "dist":
        sides = [x - y for x, y in zip(*lists, strict=True)]
    else:
        sides = [x for part in lists for x in part]
    return functools.reduce(lambda h, x: _apply(np.hypot, h, x), sides, 0.0)


_MAKE = frozenset(
    "zeros ones eye identity arange tri indices logspace geomspace fromfunction".split()
)
_DISPATCHED = frozenset(
    "zeros_like ones_like empty_like full_like copy diag linspace meshgrid vander".split()
)
_AS_ARRAY = frozenset("asarray asanyarray ascontiguousarray asfortranarray require".split())
_OF_LISTS = frozenset("concatenate stack hstack vstack dstack column_stack".split())
_OF_A_LIST = frozenset(
    "sum prod mean std var max min amax amin ptp any all median average argmax argmin cumsum "
    "cumprod dot inner outer vdot cross kron reshape ravel transpose sort argsort flip roll tile "
    "repeat diff clip round around where trapezoid trapz convolve correlate interp pad take "
    "tensordot".split()
)
TABLES = (
    (_MAKE, make), (("empty",), empty), (("full",), full), (_DISPATCHED, dispatched),
    (("array",), array), (_AS_ARRAY, as_array), (_OF_A_LIST, of_a_list),
    (_OF_LISTS, of_lists),
)  # fmt: skip
