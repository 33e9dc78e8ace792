"""What the functions of control flow are called with: checked before anything is traced."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.control.carries import is_number
from gradc.errors import ArgumentError, OptionError
from gradc.tracer import Tracer, describe

#: a bound or an index is an int64 in the compiled code
_INT64 = range(-(2**63), 2**63)


def check_function(function: Any, what: str, takes: Sequence[str]) -> None:
    """Raise ArgumentError unless ``function`` can be called with the arguments ``takes``."""
    given = ", ".join(takes)
    if not callable(function):
        raise ArgumentError(f"{what} is a function of ({given}), not {shown(function)}",
                            types=[kind_of(function)], remedy=f"lambda {given}: ...")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin
        return
    try:
        signature.bind(*takes)
    except TypeError as error:
        name = getattr(function, "__name__", "function")
        raise ArgumentError(
            f"{what} is called with ({given}): {error}", types=[f"{name}{signature}"],
            remedy=f"def {'f' if name == '<lambda>' else name}({given}): ...") from None


def known_int(x: Any, what: str = "the bound of a loop") -> int | None:
    """An integer that is known while tracing; None for one that is traced. Raises ArgumentError."""
    if isinstance(x, Tracer) and not x.is_constant:
        if not x.shape and x.dtype.kind in "iu":
            return None
    else:
        try:
            known = operator.index(x)
        except TypeError:
            pass
        else:
            if known not in _INT64:
                raise OptionError(f"{what} is {known}, which no 64 bits hold",
                                  types=["int"], remedy="a number from -2**63 to 2**63 - 1")
            return known
    raise ArgumentError(f"{what} is {shown(x)}, no integer", types=[kind_of(x)],
                        remedy="convert it first: int(n), or n.astype(int) of a traced one")


def count_of(number: Any, name: str, least: int = 0) -> int:
    """A count that is known while tracing. Raises ArgumentError, OptionError."""
    count = known_int(number, name)
    if count is None:
        raise ArgumentError(f"{name} is {number!r}, which is no count known while tracing",
                            types=[kind_of(number)],
                            remedy=f"pass {name} as a static int, at least {least}")
    if count < least:
        raise OptionError(f"{name} is {count}, which is no count", types=["int"],
                          remedy=f"pass {name} as a static int, at least {least}")
    return count


def known_truth(value: Any, what: str) -> bool:
    """The truth of a number that is known. Raises ArgumentError for anything else."""
    if not is_number(value):
        raise ArgumentError(f"{what} is {shown(value)}, no truth", types=[kind_of(value)],
                            remedy="compare: x is not None, len(text) > 0")
    array = value.array() if isinstance(value, Tracer) else np.asarray(value)
    if array.size != 1:
        raise ArgumentError(
            f"{what}: the truth value of an array with more than one element is ambiguous",
            types=[kind_of(value)], remedy="np.any or np.all of it")
    return bool(array)


def shown(value: Any) -> str:
    """A value for messages."""
    text = describe(value) if isinstance(value, Tracer) else repr(value).partition("\n")[0]
    return text if len(text) <= 40 else f"{text[:37]}..."


def kind_of(value: Any) -> str:
    """The type of a value for messages."""
    if isinstance(value, Tracer):
        return describe(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
