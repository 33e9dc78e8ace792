"""Builtins that choose by the truth of what they are given, where that is traced."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gradc.conversions import describe
from gradc.errors import TracerBoolError
from gradc.syntax.convert import call
from gradc.syntax.values import is_traced, known, predicate, where
from gradc.tracer import Tracer

#: the largest array whose elements ``max`` and ``min`` compare one by one
_MANY = 1000


def truth(value: Any = False) -> Any:
    """``bool``: True, False, or traced."""
    return predicate(value) if is_traced(value) else builtins.bool(value)


def any_of(values: Any) -> Any:
    """``any``: a value that is known to be true ends it, as in Python."""
    if is_traced(values) and len(values.shape) == 1:
        return np.any(values)
    found: Any = False
    for value in values:
        one = truth(value)
        if one is True:
            return True
        found = one if found is False else found | one
    return found


def all_of(values: Any) -> Any:
    """``all``: a value that is known to be false ends it."""
    if is_traced(values) and len(values.shape) == 1:
        return np.all(values)
    found: Any = True
    for value in values:
        one = truth(value)
        if one is False:
            return False
        found = one if found is True else found & one
    return found


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(*args: Any, **options: Any) -> Any:
        numbers: Any = args
        if len(args) == 1 and not options:
            (given,) = args
            if hasattr(given, "__next__") or type(given) is Tracer and len(given) <= _MANY:
                args = (tuple(given),)
            numbers = args[0] if isinstance(args[0], (tuple, list)) else args
        plainly = options or len(numbers) < 2 or any(getattr(x, "shape", ()) for x in numbers)
        if plainly or not any(map(is_traced, numbers)):
            return function(*args, **options)
        best = numbers[0]
        for other in numbers[1:]:  # the first of equals, as in Python
            better = other > best if function is builtins.max else other < best
            best = where(better, other, best)
        return best

    return extreme


def _sorted(values: Iterable[Any], **options: Any) -> list[Any]:
    items = list(values)
    if len(items) > 1 and any(map(is_traced, items)):
        raise TracerBoolError(
            "`sorted` of traced values: their order is known only when the compiled code runs",
            types=[describe(one) for one in items if is_traced(one)],
            remedy="np.sort(np.array(values)), or np.argsort",
        )
    return builtins.sorted(items, **options)


def _filter(function: Callable[[Any], Any] | None, values: Iterable[Any]) -> Iterator[Any]:
    asked = call(function) if function is not None else truth
    return (value for value in values if known(asked(value), "`filter`"))


#: the name of a builtin -> what stands for it
INSTEAD: dict[str, Callable[..., Any]] = {
    "all": all_of, "any": any_of, "bool": truth, "filter": _filter,
    "max": _extreme(builtins.max), "min": _extreme(builtins.min), "sorted": _sorted,
}
