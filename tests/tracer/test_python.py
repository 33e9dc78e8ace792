"""What Python asks of traced values: classes, texts, hashes, attributes; and what it swallows."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import math
import pickle
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError, ReadOnlyError, TracerError
from gradc.ir.types import F64, TensorType
from tests.tracer.helpers import check, interpreted, trace_of

VECTOR = TensorType(F64, (3,))
X = np.arange(3.0) + 1


# -- arguments that turn static ------------------------------------------------------------------


@functools.lru_cache
def cached(n):
    return n + 1


def swallowed(x, n):
    try:
        numbers = list(range(n))
    except:  # noqa: E722  (the point of the test)
        numbers = []
    return x * len(numbers)


def suppressed(x, n):
    with contextlib.suppress(BaseException):
        x = x * len(range(n))
    return x


@pytest.mark.parametrize(
    "function",
    [
        lambda x, n: x * 100 if f"{n}" == "3" else x,
        lambda x, n: x * 100 if f"{n:03d}" == "003" else x,
        lambda x, n: x * 100 if str(n) == "3" else x,
        lambda x, n: x * {1: 2.0, 3: 5.0}[n],
        lambda x, n: x * (7.0 if n in {3, 4} else 1.0),
        lambda x, n: x * cached(n),
        lambda x, n: x * math.factorial(n),
        lambda x, n: x * math.comb(5, n) * math.gcd(n, 6) * math.isqrt(n),
        lambda x, n: x * pow(n, 2, 3),
        lambda x, n: x * n.bit_length(),
        lambda x, n: x * sum(itertools.islice([1, 2, 3, 4], n)),
        lambda x, n: x * sum(deque([1, 2, 3, 4], maxlen=n)),
        lambda x, n: x * 2 if isinstance(n, int) else x,
        swallowed,
        suppressed,
    ],
)
def test_ints_turn_static(function):
    check(function, X, 3)


def test_flags_turn_static_when_their_class_is_asked_for():
    check(lambda x, flag: x * 2 if isinstance(flag, bool) and flag else x, X, True)


@pytest.mark.parametrize(
    ("argument", "kind"), [(X, np.ndarray), (2.0, float), (np.float64(2), np.float64), (2, int)]
)
def test_classes(argument, kind):
    check(lambda x: x * 2 if isinstance(x, kind) else x * 3, argument)
    check(lambda x: x * 2 if isinstance(np.sum(x), float) else x * 3, X)


# -- what is swallowed ---------------------------------------------------------------------------


def test_errors_that_arrays_would_not_raise_are_raised_at_the_end():
    def by_number(x):
        try:
            return float(x)
        except TypeError:
            return 0.0

    def by_function(x):
        with contextlib.suppress(Exception):
            return np.linalg.svd(x)[0]
        return x

    for function in (by_number, by_function):
        with pytest.raises(GradcError) as info:
            trace_of(function, TensorType(F64))
        assert "Try:" in str(info.value)


def test_errors_of_numpy_may_be_caught():
    def function(x):
        try:
            return x @ np.ones(7)
        except ValueError:
            return x * 2

    check(function, X)
    check(lambda x: x * (2.0 if hasattr(x, "newbyteorder_") else 3.0), X)


def test_hashes_of_traced_values():
    with pytest.raises(TracerError, match="hash of a traced value"):
        trace_of(cached, TensorType(F64))
    with pytest.raises(TypeError, match="unhashable type"):
        trace_of(lambda x: {x: 1}[x], VECTOR)


# -- arguments that are changed ------------------------------------------------------------------


@dataclass
class Pair:
    a: object
    b: object


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ([X, X], lambda a: a.append(a[0] * 2)),
        ([X, X], lambda a: a.reverse()),
        ([], lambda a: a.append(1.0)),
        ({"x": X}, lambda a: a.update(y=a["x"])),
        ({"x": X, "y": [X]}, lambda a: a["y"].pop()),
        ({"x": X}, lambda a: a.update(x=a["x"] * 2)),
        ((X, {"x": X}), lambda a: a[1].clear()),
        (Pair(X, 2.0), lambda a: setattr(a, "a", 1.0)),
    ],
)
def test_changed_arguments(argument, change):
    def function(a):
        change(a)
        return 1.0

    with pytest.raises(ReadOnlyError, match="was changed"):
        interpreted(function, argument)


# -- attributes ----------------------------------------------------------------------------------


def test_the_shape_can_be_set():
    def function(x):
        m = x * 2
        m.shape = (3, 1)
        m[0] = 7.0
        return m + np.zeros(3)

    check(function, X)
    with pytest.raises(AttributeError, match="in-place modification"):
        trace_of(lambda x: setattr(np.outer(x, x).T, "shape", 9), VECTOR)
    with pytest.raises(ReadOnlyError, match="the shape of the argument x0"):
        trace_of(lambda x: setattr(x, "shape", (3, 1)), VECTOR)


def test_other_attributes_cannot():
    with pytest.raises(GradcError, match="the dtype of an array was set"):
        trace_of(lambda x: setattr(x, "dtype", np.int64), VECTOR)
    with pytest.raises(AttributeError):
        trace_of(lambda x: setattr(x, "name", "x"), VECTOR)


def test_flat():
    def function(x):
        m = np.outer(x, x)
        m.flat[1] = x[0]
        m.flat[4:6] = 5.0
        m.flat[::4] = x
        n = m.copy()
        n.flat = [1.0, 2.0]
        return m, n, m.flat[3], m.flat[2:4], sum(m.flat), len(m.flat)

    check(function, X)
    with pytest.raises(GradcError, match="nditer"):
        trace_of(lambda x: [float(e) for e in np.nditer(x)], VECTOR)


def test_none_is_compared_element_by_element():
    check(lambda x: (x == None, x != None), X)  # noqa: E711


def test_scalars_are_not_shared_with_their_views():
    def function(x):
        t = np.sum(x)
        views = [t.reshape(1), np.atleast_1d(t), t[...], t[None], np.expand_dims(t, 0)]
        for view in views:
            view[...] = 3.0
        return t, views

    check(function, X)


# -- constants after their trace -----------------------------------------------------------------


def test_constants_are_arrays_after_their_trace():
    tables = {}

    def table(n):
        if n not in tables:
            tables[n] = np.linspace(0.0, 1.0, n)
        return tables[n]

    trace_of(lambda x: x * table(3), VECTOR)
    kept = table(3)
    assert isinstance(kept, np.ndarray)
    assert kept.flags.c_contiguous
    assert type(kept + 1) is type(np.exp(kept)) is type(kept.T) is type(kept[1:]) is np.ndarray
    assert type(kept.astype(np.float32)) is type(kept.copy()) is np.ndarray
    assert repr(kept) == "array([0. , 0.5, 1. ])"
    kept[0] = 5.0
    kept += 1
    kept[1:][0] = 9.0
    np.asarray(kept)[2] = 8.0
    assert kept.tolist() == [6.0, 9.0, 8.0]
    for again in (pickle.loads(pickle.dumps(kept)), copy.deepcopy(kept), kept.view()):
        assert type(again) is np.ndarray
        assert again.tolist() == kept.tolist()
    assert gradc.compile(lambda t: t * 2)(kept).tolist() == [12.0, 18.0, 16.0]
    assert interpreted(lambda x: x * table(3), X).tolist() == (X * kept.tolist()).tolist()


def test_modes_of_copying():
    given = np.ones(3)

    def function(x):
        a = np.array(np.ones(3), copy=np._CopyMode.IF_NEEDED)
        a[0] = 2.0
        return x * a * np.array(given, copy=None)

    check(function, X)
