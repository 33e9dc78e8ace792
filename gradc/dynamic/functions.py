"""NumPy's functions of dynamic arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.dynamic.array import DynamicArray, lifted
from gradc.dynamic.broadcasting import combined
from gradc.dynamic.loops import assign
from gradc.errors import CastingError, GradcError, ShapeError, UnsupportedError, from_numpy
from gradc.numpy_api.dispatch import name_of
from gradc.numpy_api.methods_of_ufuncs import REDUCTIONS
from gradc.tracer import Tracer

FUNCTIONS: dict[Any, Callable[..., Any]] = {}


def implements(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function for NumPy's."""

    def register(ours: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, ours))
        return ours

    return register


def arrays_in(*values: Any) -> list[DynamicArray]:
    """The dynamic arrays among values, also inside tuples, lists and dicts."""
    found = []
    for value in values:
        if isinstance(value, DynamicArray):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found += arrays_in(*value)
        elif isinstance(value, dict):
            found += arrays_in(*value.values())
    return found


def call(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A function of NumPy's on arguments with dynamic arrays among them.

    Raises UnsupportedError for one that is not supported on them.
    """
    from gradc.dynamic import contraction, reductions, shaping  # noqa: F401  # they register theirs

    func = getattr(func, "wrapped_by_gradc", func)
    if func in FUNCTIONS:
        args, kwargs = _named(func, args, kwargs)
    kwargs = {k: v for k, v in kwargs.items() if v is not None and v is not np._NoValue}
    out = kwargs.pop("out", None)
    arrays = arrays_in(args, kwargs)
    if func not in ELEMENTWISE and func not in FUNCTIONS:
        raise refused(name_of(func), arrays)
    try:
        if func in ELEMENTWISE:
            made = elementwise(func, args, kwargs)
        else:
            made = FUNCTIONS[func](*args, **kwargs)
        return made if out is None else written(out, made)
    except GradcError:
        raise
    except (TypeError, ValueError, IndexError) as error:
        raise from_numpy(
            error, types=map(str, arrays), remedy=f"check the arguments of {name_of(func)}"
        ) from error


def _named(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Arguments that may be left out by NumPy's names for them, where it tells those."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except ValueError:  # of functions written in C
        return args, kwargs
    needed = sum(p.default is p.empty for p in parameters)
    names = [p.name for p in parameters][needed:]
    return args[:needed], dict(zip(names, args[needed:], strict=False)) | kwargs


def refused(name: str, arrays: Sequence[DynamicArray]) -> UnsupportedError:
    """The error of a function that needs known lengths."""
    return UnsupportedError(
        f"{name} is not supported on an array whose length is not known while tracing",
        types=map(str, arrays),
        remedy="a mask over all of the array, np.where(np.arange(len(a)) < i, a, 0) in place of "
        "a[:i]; or a loop",
    )


def call_ufunc(
    ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """A ufunc or one of its methods, with a dynamic array among the operands."""
    name = f"np.{ufunc.__name__}"
    kwargs = dict(kwargs)
    out = kwargs.pop("out", None)
    if ufunc is np.matmul and method == "__call__":
        made = call(np.matmul, inputs, kwargs)
    elif method == "__call__" and ufunc.signature is None and ufunc.nout == 1:
        made = elementwise(ufunc, inputs, kwargs)
    elif method == "outer" and len(inputs) == 2:
        a, b = map(lifted, inputs)
        made = elementwise(ufunc, [a.part(..., *[None] * len(b.axes)), b], kwargs)
    elif method == "reduce" and ufunc in REDUCTIONS:
        kwargs.setdefault("axis", 0)
        made = call(REDUCTIONS[ufunc], inputs, kwargs)
    else:
        raise refused(name if method == "__call__" else f"{name}.{method}", arrays_in(inputs, out))
    return made if out is None else written(out, made)


def written(out: Any, made: Any) -> Any:
    """Write a result into ``out=``."""
    (out,) = out if isinstance(out, tuple) else (out,)
    if isinstance(out, DynamicArray):
        dtype = made.dtype
        if not np.can_cast(dtype, out.dtype, "same_kind"):
            raise CastingError(
                f"Cannot cast ufunc output from {dtype!r} to {out.dtype!r} with casting rule "
                "'same_kind'", types=[str(out)],
                remedy="make the array float, or write a new one (x = x + y in place of x += y)")
        made = lifted(made)
        out.own()
        assign(out, made)
        return out
    if isinstance(out, Tracer) and not isinstance(made, DynamicArray):
        out[...] = made
        return out
    raise ShapeError(
        "a result of unknown length was written into an array",
        types=map(str, arrays_in(made, out)),
        remedy="a slice with the same bounds, out[:i] = result",
    )


# -- element by element ---------------------------------------------------------------------------

ELEMENTWISE = {
    np.where, np.clip, np.round, np.around, np.nan_to_num, np.isclose, np.fix,
    np.isposinf, np.isneginf, np.sinc,
}  # fmt: skip


def elementwise(operation: Any, operands: Sequence[Any], kwargs: dict[str, Any]) -> DynamicArray:
    """An operation on single elements that broadcasts."""
    arrays = [lifted(x) for x in operands]
    examples = [_example(x) for x in arrays]
    with np.errstate(all="ignore"):
        dtype = np.asarray(operation(*examples, **kwargs)).dtype
    return combined(lambda *each: operation(*each, **kwargs), arrays, dtype)


def _example(x: DynamicArray) -> Any:
    """A plain value of the dtype of an array; weak where it is a Python number."""
    if x.axes:
        return np.ones(1, x.dtype)
    number = x.at((), x.given())
    weak = number.weak if isinstance(number, Tracer) else not isinstance(number, np.generic)
    return x.dtype.type(1).item() if weak else x.dtype.type(1)
