"""Loops that are unrolled though they are long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from tests.control.helpers import count, graph_of, ops_of


def test_a_long_loop_that_is_unrolled_is_told_of():
    """Its variable changes its dtype: NumPy's meaning needs every iteration by itself."""

    def f(x, s):
        for i in range(900):
            x = np.sin(x) * 0.9 + s * 0.01
            s = np.argmax(np.stack([x, 0.1 * i])) if i % 2 else np.uint8(7) * s.astype(np.uint8)
        return x

    with pytest.warns(gradc.UnrolledLoopWarning, match=r"more than 3000 operations.*`s`") as told:
        found = gradc.compile(f)(0.25, np.uint8(3))
    np.testing.assert_allclose(found, f(0.25, np.uint8(3)), rtol=1e-12)
    assert len(told) == 1
    assert told[0].filename == __file__ and told[0].lineno == f.__code__.co_firstlineno + 1


X = np.linspace(0.5, 1.5, 20)


def simple(x: np.ndarray) -> Any:
    x, i = x.copy(), 0
    while i < 300:
        x[i % 20] *= 0.99
        i += 1
    return np.sum(x)


def nothing_at_first(x: np.ndarray) -> Any:
    x, i = x.copy(), 0
    while i < 3000:
        if i > 100:
            x[i % 20] *= 0.999
        i += 1
    return np.sum(x)


def now_and_then(x: np.ndarray) -> Any:
    x, i, s = x.copy(), 0, 0.0
    while i < 400:
        i += 1
        if i % 7 != 3:
            continue
        x[i % 20] *= x[0]
        s += x[i % 19]
        if i > 390:
            break
    else:
        s += 1.0
    return s


def around_another(x: np.ndarray) -> Any:
    s, i = 0.0, 0
    while i < 20:
        j = 0
        while j < i:
            s += x[i] * x[j]
            j += 1
        i += 1
    return s


def returns(x: np.ndarray) -> Any:
    i = 0
    while True:
        x = np.sin(x) + 0.1
        i += 1
        if i >= 50:
            return np.sum(x)


def dies_out(x: np.ndarray) -> Any:
    i = 300
    while i:
        i -= 1
        if i > 150:
            x = x * 1.001
    return np.sum(x)


def stopped(x: np.ndarray) -> Any:
    x, i = x.copy(), 0
    while i < 300:
        x[i % 20] *= 1.01
        if x[3] > 2.0:
            break
        i += 1
    return np.sum(x)


@pytest.mark.parametrize("f", [
    simple, nothing_at_first, now_and_then, around_another, dies_out, stopped])
def test_a_long_while_on_known_values_becomes_a_loop(f: Callable[..., Any]) -> None:
    assert len(ops_of(graph_of(f, X))) < 1000
    assert count(f, "loop", X) >= 1
    same_with_slopes(f)


def same_with_slopes(f: Callable[..., Any]) -> None:
    value, slope = gradc.compile(f).value_and_grad(X)
    np.testing.assert_allclose(value, f(X), rtol=1e-12)
    differences = [(f(X + step) - f(X - step)) / 2e-6 for step in 1e-6 * np.eye(20)]
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-6)


def short(x: np.ndarray) -> Any:
    i = 0
    while i < 16:
        x = x * np.arange(20.0)[i]
        i += 1
    return np.sum(x)


def halves(x: np.ndarray) -> Any:
    n = 16
    while n > 1:
        n //= 2
        x = x[:n] + x[n : 2 * n]
    return x[0]


def counted(x: np.ndarray) -> Any:
    s, i = 0.0, 0
    while i < 30:
        s += x[i % 20]
        i += 1
    return s / np.ones(i).sum()


def listed(x: np.ndarray) -> Any:
    todo, found = list(range(30)), []
    x = x.copy()
    while todo:
        k = todo.pop()
        x[k % 20] += 1.0
        found.append(x[k % 20])
        if k < 10:
            todo = todo[:-1]
    return sum(found) + np.sum(x)


@pytest.mark.parametrize("f", [short, halves, counted, listed, returns])
def test_other_whiles_on_known_values_are_unrolled(f: Callable[..., Any]) -> None:
    same_with_slopes(f)


@pytest.mark.parametrize("last", [5, 30])
def test_what_a_loop_writes_before_it_turns_out_to_be_unrolled_is_written_once(last: int) -> None:
    def for_(x: np.ndarray) -> Any:
        x, held = x.copy(), []
        for i in range(20):
            x[i] += 1.0
            held.append(i)
            if i > last:
                break
        return np.sum(x) * len(held)

    def while_(x: np.ndarray) -> Any:
        x, held, i = x.copy(), {}, 0
        while i < 19:
            i += 1
            x[i] += 1.0
            held["x"] = x[i]
            if i > last:
                break
        return np.sum(x) * held["x"]

    for f in (for_, while_):
        same_with_slopes(f)


def single(x: np.ndarray) -> Any:
    s = np.float32(0.1)
    for i in range(20):
        s += x[i]
    return s


def whole_numbers(x: np.ndarray) -> Any:
    s = np.zeros(2, int)
    for i in range(40):
        s = s // 2 + x[i % 20]
    return np.sum(s)


def wraps_once(x: np.ndarray) -> Any:
    s = np.arange(250, 256, dtype=np.uint8)
    for _ in range(40):
        x = x * 0.9 + np.sum(s + np.uint8(10)) / 1000
        s = np.argsort(-x)[:6]
    else:
        x = x * 2
    return np.sum(x) + s[0]


def none_at_first(x: np.ndarray) -> Any:
    before, s = None, 0.0
    for row in np.reshape(np.arange(60.0), (30, 2)):
        if before is not None:
            s += x[0] * before * row[0]
        before = x[1] + row[1]
    return s


def enumerated(x: np.ndarray) -> Any:
    last = np.float32(0.5)
    for k, a in enumerate(reversed(x), start=3):
        last = last * a - x[0] / k
    return last


@pytest.mark.parametrize("f", [single, whole_numbers, wraps_once, none_at_first, enumerated])
def test_the_first_iteration_settles_the_types(f: Callable[..., Any]) -> None:
    assert count(f, "loop", X) == 1
    found, expected = gradc.compile(f)(X), f(X)
    assert np.asarray(found).dtype == np.asarray(expected).dtype
    same_with_slopes(f)


def test_a_loop_of_floats_of_pythons_stays_one() -> None:
    def f(x: float) -> float:
        s = 0.0
        for k in range(40):
            s += x * k
        return s

    assert count(f, "loop", 1.5) == 1
    assert gradc.compile(f)(1.5) == f(1.5)


def widened(x: np.ndarray) -> Any:
    s, n, k = np.float32(0.5), np.int64(2), 0
    while s < 10.0:
        s = s + x[k % 20] * n
        n = n * 1.25
        k += 1
    return s * n


def widened_in_range(x: np.ndarray) -> Any:
    s = np.float32(0.25)
    for k in gradc.range(5):
        if x[k] > 0.55:
            s = s * x[k]
    return s


@pytest.mark.parametrize("f", [widened, widened_in_range])
def test_numbers_are_widened_before_a_loop(f: Callable[..., Any]) -> None:
    assert count(f, "loop", X) == 1
    assert np.asarray(gradc.compile(f)(X)).dtype == np.float64
    same_with_slopes(f)


def test_what_cannot_be_widened_is_refused() -> None:
    def array(x: np.ndarray) -> Any:  # NumPy would cut 0.5 off in the first iteration alone
        s = np.zeros(2, int)
        while np.sum(s) < 9 + x[0]:
            s[0] = 0.5
            s = s + x[0]
        return s

    def wraps(x: np.ndarray) -> Any:
        s = np.uint8(250)
        while s < 300.0 + x[0]:
            s = (s + np.uint8(10)) + x[0]
        return s

    for f in (array, wraps):
        with pytest.raises(gradc.errors.CarryError, match="`s` changes its type"):
            gradc.compile(f)(X)
