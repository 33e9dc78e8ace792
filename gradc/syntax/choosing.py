"""Builtins that choose by the truth of what they are given, where that is traced."""

from __future__ import annotations

import builtins
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gradc.conversions import describe
from gradc.errors import TracerBoolError
from gradc.syntax.convert import call
from gradc.syntax.values import is_dynamic, is_traced, known, predicate, where
from gradc.tracer import Tracer

#: the largest array whose elements ``max`` and ``min`` compare one by one
_MANY = 1000
_NUMBERS = (Tracer, int, float, np.number, np.bool_, np.ndarray)


def truth(value: Any = False) -> Any:
    """``bool``: True, False, or traced."""
    return predicate(value) if is_traced(value) else builtins.bool(value)


def any_of(values: Any) -> Any:
    """``any``: a value that is known to be true ends it, as in Python."""
    if (is_traced(values) or is_dynamic(values)) and len(values.shape) == 1:
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
    if (is_traced(values) or is_dynamic(values)) and len(values.shape) == 1:
        return np.all(values)
    found: Any = True
    for value in values:
        one = truth(value)
        if one is False:
            return False
        found = one if found is True else found & one
    return found


def _extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    name = function.__name__

    def extreme(*args: Any, **options: Any) -> Any:
        if len(args) == 1 and not options and is_dynamic(args[0]):
            return getattr(np, name)(args[0], axis=0)
        if len(args) == 1 and (type(args[0]) is not Tracer or len(args[0]) <= _MANY):
            args = (tuple(args[0]),)
        values = args[0] if len(args) == 1 and type(args[0]) is tuple else args
        key = options.pop("key", None)
        marks = values if key is None else tuple(map(call(key), values))
        if len(values) < 2 or not any(map(is_traced, marks)) or any(
            getattr(mark, "shape", ()) for mark in marks
        ):
            if key is None:
                return function(*args, **options)
            place = function(range(len(values)), key=marks.__getitem__, **options)
            return values[place] if len(values) else place
        if key is not None and not all(isinstance(x, _NUMBERS) for x in values):
            raise TracerBoolError(
                f"`{name}(key=...)` of what are no numbers, by a traced key: which one it is, is "
                "known only when the compiled code runs",
                types=[describe(one) for one in marks if is_traced(one)],
                remedy=f"np.arg{name}(np.array(keys)), which indexes arrays",
            )
        best, mark = values[0], marks[0]
        for other, its in zip(values[1:], marks[1:], strict=True):
            better = its > mark if name == "max" else its < mark  # the first of equals is kept
            best = where(better, other, best)
            mark = best if key is None else where(better, its, mark)
        return best

    return extreme


def length(value: Any) -> Any:
    """``len``, traced of an array whose length is."""
    return value.shape[0] if is_dynamic(value) else builtins.len(value)


def total(values: Any, start: Any = 0) -> Any:
    """``sum``, of the elements of an array of unknown length as of any other."""
    return start + np.sum(values, axis=0) if is_dynamic(values) else builtins.sum(values, start)


def _sorted(values: Iterable[Any], *, key: Any = None, reverse: Any = False) -> list[Any]:
    items = list(values)
    marks = items if key is None else list(map(call(key), items))
    if len(items) > 1 and any(map(is_traced, marks)):
        raise TracerBoolError(
            f"`sorted{'(key=...)' if key else ''}` of traced values: their order is known only "
            "when the compiled code runs",
            types=[describe(one) for one in marks if is_traced(one)],
            remedy="np.sort(np.array(values)), or np.argsort(np.array(keys)), which indexes arrays",
        )
    if key is None:
        return builtins.sorted(items, reverse=reverse)
    order = builtins.sorted(range(len(items)), key=marks.__getitem__, reverse=reverse)
    return [items[k] for k in order]


def _filter(function: Callable[[Any], Any] | None, values: Iterable[Any]) -> Iterator[Any]:
    asked = call(function) if function is not None else truth
    return (value for value in values if known(asked(value), "`filter`"))


def _given(original: Callable[..., Any], place: int) -> Callable[..., Any]:
    """What takes a function at a place among its arguments, which is rewritten."""

    def made(*args: Any, **options: Any) -> Any:
        options = {k: call(v) if k == "func" else v for k, v in options.items()}
        return original(*(call(x) if k == place else x for k, x in enumerate(args)), **options)

    return made


#: builtins, and functions of Python's modules -> what stands for them
INSTEAD: dict[Any, Callable[..., Any]] = {
    builtins.all: all_of, builtins.any: any_of, builtins.bool: truth, builtins.filter: _filter,
    builtins.max: _extreme(builtins.max), builtins.min: _extreme(builtins.min),
    builtins.sorted: _sorted, builtins.len: length, builtins.sum: total,
    builtins.map: _given(builtins.map, 0),
    functools.reduce: _given(functools.reduce, 0),
    itertools.accumulate: _given(itertools.accumulate, 1),
    itertools.starmap: _given(itertools.starmap, 0),
}
