"""The table of NumPy's functions, and how a call finds its way.

A call whose arrays are all constants goes to NumPy itself, with the wrappers out of the way; one
with a traced value goes to the function registered here, or is refused by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import GradcError, UnsupportedError, from_numpy
from gradc.ir.types import SHORT
from gradc.tracer import Tracer, constant, describe

Function = Callable[..., Any]

#: NumPy's function -> ours
FUNCTIONS: dict[Any, Function] = {}
#: functions that give or write views and so run ours on constants too
_VIEWS: set[Any] = set()
_PARAMETERS: dict[Any, frozenset[str]] = {}
#: where ``out`` stands among the positional parameters
_OUT_AT: dict[Any, int | None] = {}
#: NumPy's function -> the way out, for functions that are refused
REMEDIES: dict[Any, str] = {}


def implements(*functions: Any, views: bool = False) -> Callable[[Function], Function]:
    """Register the decorated function for NumPy's functions; it takes their parameters by name."""

    def register(ours: Function) -> Function:
        parameters = inspect.signature(ours).parameters
        positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        for function in functions:
            FUNCTIONS[function] = ours
            _PARAMETERS[function] = frozenset(parameters)
            _OUT_AT[function] = positional.index("out") if "out" in positional else None
            if views:
                _VIEWS.add(function)
        return ours

    return register


def tracers_in(*values: Any) -> Iterator[Tracer]:
    """The Tracers among values, also inside tuples, lists and dicts."""
    for value in values:
        if isinstance(value, Tracer):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tracers_in(*value)
        elif isinstance(value, dict):
            yield from tracers_in(*value.values())


def has_tracers(*values: Any) -> bool:
    """Whether there is a Tracer among values, also inside tuples, lists and dicts."""
    return next(tracers_in(*values), None) is not None


def has_dynamic(*values: Any) -> bool:
    """Whether there is an array of unknown length among values, also inside tuples and dicts."""
    for value in values:
        if type(value) is tuple or type(value) is list:
            if has_dynamic(*value):
                return True
        elif type(value) is dict:
            if value and has_dynamic(*value.values()):
                return True
        elif getattr(type(value), "is_dynamic", False):
            return True
    return False


def name_of(func: Any) -> str:
    """``np.linalg.norm``, as the user writes it."""
    module = getattr(func, "__module__", None) or "numpy"
    return f"{module}.{func.__name__}".replace("numpy.", "np.", 1)


def call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a NumPy function on arguments with Tracers among them.

    Raises UnsupportedError for a function or a parameter that gradc does not trace.
    """
    # While a thread traces, the name of a function may stand for the wrapper around it.
    func = getattr(func, "wrapped_by_gradc", func)
    if has_dynamic(args, kwargs):
        from gradc.dynamic import functions

        return functions.call(func, args, kwargs)
    given = list(tracers_in(args, kwargs))
    known = all(t.is_constant for t in given)
    if known and (func not in _VIEWS or current() is None):
        return evaluate(func, args, kwargs)
    ours = FUNCTIONS.get(func)
    if ours is None:
        remedy = REMEDIES.get(func, "write it with functions that gradc has (see its README)")
        raise UnsupportedError(
            f"{name_of(func)} is not supported on traced values",
            types=map(describe, given),
            remedy=remedy,
        )
    args, kwargs, out = _take_out(func, args, kwargs)
    try:
        result = ours(*args, **_known(func, kwargs))
    except GradcError:
        raise
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise from_numpy(
            error, types=map(describe, given), remedy=f"check the arguments of {name_of(func)}"
        ) from error
    if out is None:
        return result
    from gradc.numpy_api.methods_of_ufuncs import write_out

    return write_out(out, result, func.__name__)


def _take_out(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    """Take ``out`` from where it stands in the call, also by position."""
    kwargs = dict(kwargs)
    out = kwargs.pop("out", None)
    at = _OUT_AT[func]
    if at is not None and at < len(args):
        out, args = args[at], (*args[:at], None, *args[at + 1 :])
    return args, kwargs, out


def _known(func: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    names = _PARAMETERS[func]
    known = {}
    for name, value in kwargs.items():
        if value is np._NoValue:
            continue
        if name in names:
            known[name] = value
        elif value is not None:
            raise UnsupportedError(
                f"the parameter {name}= of {name_of(func)} is not supported on traced values",
                remedy=f"leave out {name}=",
            )
    return known


def plain(value: Any) -> Any:
    """Constants in place of Tracers, also inside tuples, lists and dicts.

    An argument that is an int is asked for its number. Raises TracerError.
    """
    if isinstance(value, Tracer):
        if value.is_constant:
            return value.array()
        return [plain(item) for item in value] if value.shape else value.__index__()
    if type(value) in (tuple, list):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def evaluate(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let NumPy compute on constants; arrays among the results are Tracers of constants again."""
    given = list(tracers_in(args, kwargs))
    arrays = [t.array() for t in given]
    result = func(*plain(args), **plain(kwargs))
    return wrap(result, given, arrays)


def wrap(result: Any, given: list[Tracer], arrays: list[np.ndarray[Any, Any]]) -> Any:
    if isinstance(result, (tuple, list)) and not hasattr(result, "_fields"):
        return type(result)(wrap(item, given, arrays) for item in result)
    if type(result) is not np.ndarray or current() is None:
        return result
    for tracer, array in zip(given, arrays, strict=True):
        if result is array:
            return tracer
    if result.dtype.newbyteorder("=") not in SHORT:
        return result
    shared = any(np.may_share_memory(result, array) for array in arrays)
    out = constant(result.copy() if shared else result)
    if shared:
        out.cell.guard = "a view that gradc does not follow"
        out.cell.rescue = "copy the view first (w = w.copy())"
    return out
