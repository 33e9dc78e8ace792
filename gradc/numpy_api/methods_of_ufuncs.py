"""Calls of ufuncs (NEP 13): dtypes, broadcasting, ``out=``, and reduce, accumulate, outer, at."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradc import raising
from gradc.context import current
from gradc.conversions import ask_static
from gradc.errors import (
    CastingError,
    GradcError,
    ReadOnlyError,
    ShapeError,
    UnsupportedError,
    from_numpy,
)
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import BOOL, F32, F64, I64, TensorType
from gradc.numpy_api import special
from gradc.numpy_api.dispatch import call, evaluate, has_dynamic, tracers_in
from gradc.numpy_api.ufuncs import COMPARISONS, UFUNCS
from gradc.numpy_api.values import (
    as_tracer,
    check_dtype,
    common_shape,
    dtype_of,
    operand,
    shape_of,
    to_value,
    type_of,
)
from gradc.tracer import MAKE_INSIDE, Tracer, describe, fresh, require_shape

#: ufunc -> what its ``reduce`` is
REDUCTIONS = {
    np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min,
    np.logical_and: np.all, np.logical_or: np.any,
}  # fmt: skip
_SCANS = {np.add: np.cumsum, np.multiply: np.cumprod}
_CONTRACTIONS = {
    getattr(np, name): name for name in ("matmul", "vecdot", "matvec", "vecmat")
    if hasattr(np, name)
}  # fmt: skip


def call_ufunc(
    ufunc: np.ufunc,
    method: str,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    operator: bool = False,
) -> Any:
    """A ufunc or one of its methods, with a Tracer among its operands.

    ``operator``: written as a Python operator, so two Python numbers give a Python number again.
    """
    if has_dynamic(inputs, kwargs):
        from gradc.dynamic import functions

        return functions.call_ufunc(ufunc, method, inputs, kwargs)
    given = list(tracers_in(inputs, kwargs))
    try:
        written = inputs[0] if method == "at" else kwargs.get("out")
        if all(t.is_constant for t in given) and _writable_here(written):
            for tracer in tracers_in(written):
                tracer.cell.version += 1
            return evaluate(_bound(ufunc, method), inputs, kwargs)
        if ufunc.__name__ == "clip" and method == "__call__":  # the method of an array
            return call(np.clip, inputs, kwargs)
        if method == "reduce" and ufunc is np.logaddexp:
            return _logsumexp(*inputs, **kwargs)
        if method == "__call__":
            return _call(ufunc, [operand(x) for x in inputs], kwargs, operator)
        if method == "outer":
            return _outer(ufunc, *inputs, **kwargs)
        if method == "at":
            return _at(ufunc, *inputs)
        if method == "reduce" and ufunc in REDUCTIONS:
            kwargs.setdefault("axis", 0)
            if isinstance(kwargs.get("out"), tuple):
                kwargs["out"] = kwargs["out"][0]
            return call(REDUCTIONS[ufunc], inputs, kwargs)
        if method == "accumulate" and ufunc in _SCANS:
            kwargs.setdefault("axis", 0)
            if isinstance(kwargs.get("out"), tuple):
                kwargs["out"] = kwargs["out"][0]
            return call(_SCANS[ufunc], inputs, kwargs)
    except GradcError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise from_numpy(
            error, types=map(describe, given), remedy=f"check the operands of np.{ufunc.__name__}"
        ) from error
    raise UnsupportedError(
        f"np.{ufunc.__name__}.{method} is not supported on traced values",
        types=map(describe, given),
        remedy="write it as a loop or with np.add and np.multiply",
    )


def _bound(ufunc: np.ufunc, method: str) -> Any:
    return getattr(ufunc, method) if method != "__call__" else ufunc


def _writable_here(written: Any) -> bool:
    """Whether NumPy itself may write these outputs: else :func:`write_out` refuses."""
    here = current()
    return all(
        not t.cell.guard and (here is None or t.cell.trace is here) for t in tracers_in(written)
    )


@lru_cache(maxsize=4096)
def _loop(ufunc: np.ufunc, types: tuple[Any, ...], dtype: Any) -> tuple[np.dtype[Any], ...]:
    padded = (*types, *(None for _ in range(ufunc.nout)))
    options: dict[str, Any] = {"casting": "same_kind"}
    if dtype is not None:
        options["signature"] = (*(None for _ in types), *(dtype for _ in range(ufunc.nout)))
    loop = ufunc.resolve_dtypes(padded, **options)
    if loop[0] == np.dtype(object) and set(types) == {int}:
        # Python ints alone: NumPy compares them as objects, whatever their size.
        loop = ufunc.resolve_dtypes((*(np.dtype(int) for _ in types), *padded[len(types):]))
    if loop[-1] == BOOL:
        # A predicate of small integers, for which NumPy takes float16.
        loop = tuple(F32 if t == np.float16 else t for t in loop)
    return tuple(check_dtype(t) for t in loop)


def loop_dtypes(ufunc: np.ufunc, types: list[TensorType], dtype: Any = None) -> Any:
    """The dtypes of NumPy's loop, operands then results. Raises TypeError where there is none."""
    python = {"i": int, "f": float}
    spec = tuple(python[t.dtype.kind] if t.weak else t.dtype for t in types)
    return _loop(ufunc, spec, None if dtype is None else np.dtype(dtype))


def _call(ufunc: np.ufunc, inputs: list[Any], kwargs: dict[str, Any], operator: bool) -> Any:
    out = kwargs.get("out")
    where = kwargs.get("where", True)
    for given in out if isinstance(out, tuple) else (out,):
        if isinstance(given, np.ndarray):
            raise _not_into(ufunc.__name__, inputs)
    unknown = set(kwargs) - {"out", "where", "dtype", "casting", "order", "subok"}
    if unknown:
        raise UnsupportedError(
            f"the parameter {unknown.pop()}= of np.{ufunc.__name__} is not supported",
            remedy="leave it out",
        )
    if ufunc in _CONTRACTIONS:
        from gradc.numpy_api import contraction

        result: Any = getattr(contraction, _CONTRACTIONS[ufunc])(*inputs)
    else:
        result = elementwise(ufunc, inputs, kwargs.get("dtype"), operator)
    if where is not True:
        if out is None:
            raise UnsupportedError(
                f"np.{ufunc.__name__} with where= and no out= leaves elements undefined",
                remedy="np.where(condition, result, other)",
            )
        old = out[0] if isinstance(out, tuple) else out
        result = call(np.where, (where, result, old), {})
    if out is None:
        return result
    outs = out if isinstance(out, tuple) else (out,)
    if len(outs) == 1:
        return write_out(outs[0], result, ufunc.__name__)
    pairs = zip(outs, result, strict=True)
    return tuple(r if o is None else write_out(o, r, ufunc.__name__) for o, r in pairs)


def elementwise(
    ufunc: np.ufunc, inputs: list[Any], dtype: Any = None, operator: bool = False
) -> Any:
    """The ufunc of operands that broadcast. Raises what NumPy does, and UnsupportedError."""
    emit = UFUNCS.get(ufunc) or special.emitter_of(ufunc)
    if emit is None:
        home = "scipy.special" if special.is_special(ufunc) else "np"
        raise UnsupportedError(
            f"{home}.{ufunc.__name__} is not supported on traced values",
            types=[describe(t) for t in tracers_in(inputs)],
            remedy="write it with functions that gradc has, or compute it outside",
        )
    types = [type_of(x) for x in inputs]
    weak = operator and all(map(_is_python_number, inputs))
    if weak and raising.is_guarded():
        raising.note(ufunc.__name__, inputs)
    if operator and all(t.dtype == BOOL for t in types):
        inputs, types, weak = _counted(ufunc, inputs, types, weak)
    if ufunc is np.power and operator and type(inputs[1]) is int and inputs[1] == 2 and (
        types[0].dtype == BOOL and types[0].shape
    ):
        return elementwise(np.square, inputs[:1])  # as NumPy's operator does: int8
    if ufunc is np.power:
        inputs, types = _checked_power(inputs, types, weak)
    loop = loop_dtypes(ufunc, types, dtype)
    if ufunc in COMPARISONS and any(_too_large(x, loop[0]) for x in inputs):
        loop = (F64, F64, BOOL)
    shape = common_shape(*inputs)
    values = [to_value(x, d, shape) for x, d in zip(inputs, loop, strict=False)]
    if ufunc in COMPARISONS and values[0].dtype != values[1].dtype:
        return fresh(_compared(ufunc, *values))
    result = emit(*values)
    if isinstance(result, tuple):
        return tuple(_finish(v, d, weak) for v, d in zip(result, loop[ufunc.nin :], strict=True))
    return _finish(result, loop[-1], weak)


def _finish(value: Value, dtype: np.dtype[Any], weak: bool) -> Tracer:
    assert value.dtype == dtype, f"{value} is not {dtype}"
    return fresh(value, weak=weak and dtype.kind in "bif")


def _is_python_number(x: Any) -> bool:
    return x.weak if isinstance(x, Tracer) else type(x) in (bool, int, float)


#: what Python's operators do to two bools as to 0 and 1
_COUNTING = frozenset((
    np.add, np.subtract, np.multiply, np.floor_divide, np.remainder, np.power, np.divmod,
    np.negative, np.positive, np.absolute, np.invert, np.left_shift, np.right_shift,
))  # fmt: skip


def _counted(
    ufunc: np.ufunc, inputs: list[Any], types: list[TensorType], weak: bool
) -> tuple[list[Any], list[TensorType], bool]:
    """Python's bools as the ints that its arithmetic takes them for; NumPy's as they are.

    Which of them an argument is shows only when it is static.
    """
    if ufunc not in _COUNTING or any(t.shape for t in types):
        return inputs, types, weak
    context = current()
    for x in inputs:
        if isinstance(x, Tracer) and not x.is_constant and not x.weak and (
            context is not None and x.value_in(context).id in context.leaf_of
        ):
            ask_static(x)
    if not weak:
        return inputs, types, weak
    whole = [fresh(to_value(x, I64), weak=True) if isinstance(x, Tracer) else int(x)
             for x in inputs]
    return whole, [type_of(x) for x in whole], weak


def _compared(ufunc: np.ufunc, x: Value, y: Value) -> Value:
    """A signed integer against an unsigned one, or the other way: exact, as in NumPy."""
    signed, unsigned = (x, y) if x.dtype.kind == "i" else (y, x)
    negative = ops.lt(signed, ops.full_like(signed, 0))
    same = ops.convert(signed, dtype=unsigned.dtype)
    sides = (same, unsigned) if signed is x else (unsigned, same)
    below = ufunc in (np.less, np.less_equal) if signed is x else (
        ufunc in (np.greater, np.greater_equal))
    answer = ops.ne(negative, negative) if not (below or ufunc is np.not_equal) else (
        ops.eq(negative, negative))
    return ops.where(negative, answer, UFUNCS[ufunc](*sides))


def _too_large(x: Any, dtype: np.dtype[Any]) -> bool:
    """Whether a Python int, which may be compared with anything, does not fit the dtype."""
    return type(x) is int and dtype.kind in "iu" and not (
        np.iinfo(dtype).min <= x <= np.iinfo(dtype).max
    )


def _checked_power(
    inputs: list[Any], types: list[TensorType], weak: bool
) -> tuple[list[Any], list[TensorType]]:
    """NumPy refuses negative powers of integers; whether a traced power is one shows too late."""
    base, power = types
    if base.dtype.kind == "f" or power.dtype.kind in "fbu":
        return inputs, types
    if isinstance(inputs[1], Tracer) and not inputs[1].is_constant:
        raise UnsupportedError(
            "an integer to the power of a traced integer: a negative power would be an error",
            types=map(str, types),
            remedy="make the base float (x * 1.0, x.astype(float)), or the power a constant",
        )
    known = inputs[1].array() if isinstance(inputs[1], Tracer) else np.asarray(inputs[1])
    if (known < 0).any():
        if weak:
            real = TensorType(np.dtype(np.float64), base.shape, weak=True)
            return [fresh(to_value(inputs[0], real.dtype), weak=True), inputs[1]], [real, power]
        raise ShapeError(
            "Integers to negative integer powers are not allowed.",
            types=map(str, types),
            remedy="make the base float (x * 1.0, x.astype(float))",
        )
    return inputs, types


def _not_into(name: str, traced: Any) -> ReadOnlyError:
    return ReadOnlyError(
        f"the traced result of np.{name} cannot be written into a plain NumPy array",
        types=[describe(t) for t in tracers_in(traced)],
        remedy=f"a new array (m = m @ x in place of m @= x), or {MAKE_INSIDE}",
    )


def write_out(out: Any, result: Any, name: str) -> Any:
    """Write a result into ``out=`` under NumPy's same-kind casting; return ``out``."""
    if isinstance(out, tuple):
        (out,) = out
    if not isinstance(out, Tracer):
        raise _not_into(name, result)
    if out.is_scalar:
        raise ReadOnlyError(
            f"the result of np.{name} cannot be written into a scalar: it is immutable",
            types=[describe(out)], remedy="leave out out=",
        )
    if not np.can_cast(dtype_of(result), out.dtype, "same_kind"):
        raise CastingError(
            f"Cannot cast ufunc '{name}' output from {dtype_of(result)!r} to {out.dtype!r} "
            "with casting rule 'same_kind'",
            types=[describe(out)],
            remedy="make the array float, or write a new one (x = x + y in place of x += y)",
        )
    shape = shape_of(result)
    if shape != out.shape:
        if len(shape) > len(out.shape) or common_shape(result, out) != out.shape:
            raise ShapeError(
                f"non-broadcastable output operand with shape {out.shape} doesn't match the "
                f"broadcast shape {shape}",
                types=[describe(out)],
                remedy="write a new array (x = x + y in place of x += y)",
            )
        require_shape(shape, out.shape)
    out.assign(to_value(result, out.dtype, out.shape))
    return out


def _logsumexp(a: Any, axis: Any = 0, dtype: Any = None, out: Any = None,
               keepdims: bool = False, **others: Any) -> Any:
    if out is not None or others:
        raise UnsupportedError("np.logaddexp.reduce is supported with axis=, dtype= and keepdims=",
                               remedy="leave out the others")
    t = as_tracer(a) if dtype is None else as_tracer(a).astype(dtype)
    top = np.max(t, axis=axis, keepdims=True)
    shift = np.where(np.isinf(top), 0.0, top)
    total = np.log(np.sum(np.exp(t - shift), axis=axis, keepdims=True)) + shift
    return total if keepdims else np.sum(total, axis=axis)


def _outer(ufunc: np.ufunc, a: Any, b: Any, **kwargs: Any) -> Any:
    a, b = as_tracer(a), as_tracer(b)
    weak = a.weak, b.weak
    wide = a.reshaped((*a.shape, *(1 for _ in b.shape)))
    wide.weak, b.weak = weak
    return _call(ufunc, [wide, b], kwargs, False)


def _at(ufunc: np.ufunc, a: Any, indices: Any, b: Any = None) -> None:
    from gradc.indexing import add_at

    if not isinstance(a, Tracer):
        raise ReadOnlyError(
            f"np.{ufunc.__name__}.at cannot write traced values into a plain NumPy array",
            types=[describe(t) for t in tracers_in((indices, b))],
            remedy=MAKE_INSIDE,
        )
    if ufunc not in (np.add, np.subtract):
        raise UnsupportedError(
            f"np.{ufunc.__name__}.at is not supported on traced values",
            types=[describe(a)],
            remedy="np.add.at, or a loop over the indices",
        )
    add_at(a, indices, b if ufunc is np.add else call_ufunc(np.negative, "__call__", (b,), {}))
