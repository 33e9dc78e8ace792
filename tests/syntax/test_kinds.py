"""What a value is, as Python tells it: by type, isinstance, hasattr, and `is` of truths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Sequence, Sized
from numbers import Number, Real
from types import SimpleNamespace
from typing import Any, SupportsIndex

import numpy as np
import pytest

import gradc
from gradc.tracer import Tracer

A = np.arange(1.0, 4.0)
Program = Callable[[Any, Any], Any]


def by_try(x: Any, a: Any) -> Any:
    try:
        n = len(x.shape) + 2
    except AttributeError:
        n = 5
    try:
        n += np.zeros(a.shape).size
    except (TypeError, AttributeError):
        n = 0
    return x * n


def by_try_within(x: Any, a: Any) -> Any:
    for k in range(20):
        try:
            if x > k:
                x = x + a.size
            x = x + x.ndim
        except AttributeError:
            x = x - 1
    return x


def by_type(x: Any, a: Any) -> Any:
    names = [type(v).__name__ for v in (x, a, a[0], x > 1, a[0] > 1)]
    return x * sum(len(name) * 10**k for k, name in enumerate(names))


def by_match(x: Any, a: Any) -> Any:
    match x:
        case np.float64():
            x = x * 2
        case float():
            x = x * 3
        case np.ndarray():
            x = x * 5
    match a:
        case [first, *_]:
            return x * first
        case np.ndarray(shape=(3,)):
            return x * 7
    return x


def by_dispatch(x: Any, a: Any) -> Any:
    @functools.singledispatch
    def kind(value: Any) -> Any:
        return value * 2

    kind.register(float)(lambda value: value * 3)
    kind.register(np.ndarray)(lambda value: value[0] * 5)
    return kind(x) + kind(a)


def made_again(x: Any, a: Any) -> Any:
    return type(x)(3) * type(a[0])(2) * x


def type_of_other_things(x: Any, a: Any) -> Any:
    made = type("Made", (SimpleNamespace,), {"k": 3})
    return x * made.k * (1 if type(made(a=2)) is made else 2) * getattr(made(a=2), "a", 7)


@pytest.mark.parametrize("program", [
    lambda x, a: x * (2.0 if type(x) is float else 3.0),
    lambda x, a: x * (2.0 if type(x) == float else 3.0),  # noqa: E721  (as programs have it)
    lambda x, a: x * (2.0 if type(x) in (float, int) else 3.0),
    lambda x, a: x * (2.0 if type(a) is np.ndarray else 3.0) * (type(a[0]) is np.float64),
    lambda x, a: x * {float: 2.0, np.float64: 3.0, np.ndarray: 4.0}[type(x)],
    lambda x, a: x * (2.0 if issubclass(type(x), float) else 3.0),
    lambda x, a: x * np.finfo(type(a[0])).bits,
    lambda x, a: x * sum(2**k for k, kind in enumerate((
        Iterable, Sized, Hashable, Sequence, Number, Real, SupportsIndex, float, np.generic,
        np.ndarray, Callable, int | float, (str, float),
    )) if isinstance(x, kind)),
    lambda x, a: x * sum(2**k for k, kind in enumerate((
        Iterable, Sized, Hashable, Sequence, Number, Real, SupportsIndex, float, np.generic,
        np.ndarray, Callable, int | float, (str, float),
    )) if isinstance(a, kind)),
    lambda x, a: x * sum(2**k for k, kind in enumerate((
        Iterable, Sized, Hashable, Sequence, Number, Real, SupportsIndex, float, np.generic,
        np.ndarray, Callable, int | float, (str, float),
    )) if isinstance(a[0], kind)),
    lambda x, a: x * sum(2**k for k, name in enumerate((
        "shape", "__len__", "__iter__", "cell", "ctypes", "item", "is_integer", "real", "sum",
    )) if hasattr(x, name)),
    lambda x, a: x * sum(2**k for k, name in enumerate((
        "shape", "__len__", "__iter__", "cell", "ctypes", "item", "is_integer", "real", "sum",
    )) if hasattr(a, name)),
    lambda x, a: x * sum(2**k for k, name in enumerate((
        "shape", "__len__", "__iter__", "cell", "ctypes", "item", "is_integer", "real", "sum",
    )) if hasattr(a[0], name)),
    lambda x, a: x * (getattr(x, "ndim", 7) + getattr(a, "ndim", 7) + getattr(a[0], "size", 9)),
    lambda x, a: x * (2.0 if (x > 1) is True else 3.0),
    lambda x, a: x * (2.0 if (x > 1) is not False else 3.0),
    lambda x, a: x * (2.0 if True is (a[0] > 1) else 3.0),
    lambda x, a: (2.0 if (a[0] * x > 1) is np.True_ else 3.0) + (np.False_ is (x > 1)) * 4.0,
    lambda x, a: x * sum(2**k for k, v in enumerate(
        (x, a, a[0], x > 1, a[0] > 1, a[1:2], np.sum(a), 2, "a", [x])) if np.isscalar(v)),
    lambda x, a: ((x > 1) is not True) * 2.0 + ((x > 1) is False) * 3.0,
    by_try, by_try_within, by_type, by_match, by_dispatch, made_again, type_of_other_things,
])  # fmt: skip
@pytest.mark.parametrize("x", [0.5, 1.5, np.float64(1.5)])
def test_as_in_python(program: Program, x: float) -> None:
    wanted, got = program(x, A), gradc.compile(program)(x, A)
    assert float(got) == float(wanted)


def test_tracers_are_tracers() -> None:
    def f(x: Any) -> Any:
        return x * isinstance(x, Tracer) * isinstance(x, (int, Tracer))

    assert gradc.compile(f)(2.5) == 2.5


def test_of_truths_and_integers() -> None:
    def f(flag: Any, n: Any, x: Any) -> Any:
        known = (flag is True, isinstance(n, int), type(n) is int, hasattr(n, "bit_length"))
        return x * sum(2**k for k, one in enumerate(known) if one)

    for flag in (True, False, np.True_):
        for n in (3, np.int64(3), np.int32(2)):
            assert gradc.compile(f)(flag, n, 1.5) == f(flag, n, 1.5)
