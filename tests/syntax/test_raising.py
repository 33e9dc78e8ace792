"""Exceptions of arithmetic: where a program catches one that compiled code does not raise."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError


def ratio(x: Any, y: Any) -> Any:
    return x / y


def of_a_division(x: Any, y: Any) -> Any:
    try:
        return x / y  # !
    except ZeroDivisionError:
        return 0.0


def of_a_remainder(x: Any, y: Any) -> Any:
    try:
        z = x % y  # !
    except ArithmeticError:
        z = 0.0
    return z


def of_integers(x: Any, y: Any) -> Any:
    try:
        z = round(x) // round(y)  # !
    except (KeyError, ZeroDivisionError):
        z = 0
    return z


def of_a_power(x: Any, y: Any) -> Any:
    try:
        z = x**y  # !
    except OverflowError:
        z = math.inf
    return z


def of_a_root(x: Any, y: Any) -> Any:
    try:
        z = math.sqrt(x - y)  # !
    except ValueError:
        z = 0.0
    return z


def of_a_logarithm(x: Any, y: Any) -> Any:
    try:
        z = math.log(x)  # !
    except Exception:
        z = y
    return z


def of_an_exponential(x: Any, y: Any) -> Any:
    try:
        z = math.exp(x * y)  # !
    except:  # noqa: E722  (as programs have it)
        z = y
    return z


def in_a_loop(x: Any, y: Any) -> Any:
    for _ in range(30):
        try:
            x = x / y  # !
        except ZeroDivisionError:
            x = 0.0
    return x


def around_a_loop(x: Any, y: Any) -> Any:
    try:
        for _ in range(30):
            if x > 1:
                x = x / y  # !
    except ZeroDivisionError:
        x = 0.0
    return x


def in_a_function(x: Any, y: Any) -> Any:
    def inverse(z: Any) -> Any:
        return 1 / z  # !

    try:
        return x * inverse(y)
    except ZeroDivisionError:
        return 0.0


def suppressed(x: Any, y: Any) -> Any:
    z = 0.0
    with contextlib.suppress(KeyError, ZeroDivisionError):
        z = x / y  # !
    return z


@pytest.mark.parametrize(("program", "what"), [
    (suppressed, "`/` of traced Python numbers in a `try` that catches ZeroDivisionError"),
    (of_a_division, "`/` of traced Python numbers in a `try` that catches ZeroDivisionError"),
    (of_a_remainder, "`%` of traced Python numbers in a `try` that catches ArithmeticError"),
    (of_integers, "`//` of traced Python numbers in a `try` that catches ZeroDivisionError"),
    (of_a_power, "`**` of traced Python numbers in a `try` that catches OverflowError"),
    (of_a_root, "`sqrt` of traced Python numbers in a `try` that catches ValueError"),
    (of_a_logarithm, "`log` of traced Python numbers in a `try` that catches Exception"),
    (of_an_exponential, "`exp` of traced Python numbers in a `try` that catches BaseException"),
    (in_a_loop, "`/` of traced Python numbers in a `try` that catches ZeroDivisionError"),
    (around_a_loop, "`/` of traced Python numbers in a `try` that catches ZeroDivisionError"),
    (in_a_function, "`/` of traced Python numbers in a `try` that catches ZeroDivisionError"),
])  # fmt: skip
def test_refused(program: Callable[[Any, Any], Any], what: str) -> None:
    with pytest.raises(GradcError) as info:
        gradc.compile(program)(2.5, 1.5)
    assert info.value.what.startswith(what)
    assert "if b != 0" in info.value.remedy
    lines = Path(__file__).read_text().splitlines()[program.__code__.co_firstlineno - 1 :]
    marked = next(k for k, line in enumerate(lines) if line.endswith("# !"))
    assert info.value.where is not None
    assert info.value.where.file == __file__
    assert info.value.where.line == program.__code__.co_firstlineno + marked


@pytest.mark.parametrize(("state", "name"), [
    (lambda: np.errstate(all="raise"), "np.errstate(all='raise')"),
    (lambda: np.errstate(divide="raise", over="ignore"), "np.errstate(divide='raise')"),
    (lambda: np.seterr("raise"), "np.seterr(all='raise')"),
    (lambda: np.seterr(invalid="call"), "np.seterr(invalid='call')"),
])  # fmt: skip
def test_of_numpys_errors(state: Callable[[], Any], name: str) -> None:
    def f(x: Any) -> Any:
        state()
        return 1 / x

    before = np.geterr()
    with pytest.raises(GradcError) as info:
        gradc.compile(f)(np.ones(2))
    assert info.value.what.startswith(name)
    assert np.geterr() == before

    def ignoring(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return 1 / x

    assert gradc.compile(ignoring)(np.zeros(1)) == np.inf


def by_what_is_known(x: Any, y: Any) -> Any:
    try:
        return x / 3 + y % 2 + x // 2.0
    except ZeroDivisionError:
        return 0.0


def before_and_after(x: Any, y: Any) -> Any:
    try:
        z = x * y
    except ZeroDivisionError:
        z = 0.0
    else:
        z = z / y
    finally:
        x = x / y
    return x + z / x


def of_other_exceptions(x: Any, y: Any) -> Any:
    try:
        return x / y + math.exp(x)
    except (KeyError, TypeError, ValueError):
        return 0.0


def raised_while_tracing(x: Any, y: Any) -> Any:
    try:
        z = x / y
        if isinstance(y, float):
            z = 1 / len([])
    except ZeroDivisionError:
        z = x
    return z


def in_a_handler(x: Any, y: Any) -> Any:
    try:
        raise ArithmeticError
    except ArithmeticError:
        return x / y


@pytest.mark.parametrize("program", [
    ratio, by_what_is_known, before_and_after, of_other_exceptions, raised_while_tracing,
    in_a_handler,
])  # fmt: skip
def test_as_in_python(program: Callable[[Any, Any], Any]) -> None:
    assert gradc.compile(program)(2.5, 1.5) == pytest.approx(program(2.5, 1.5), rel=1e-15)


@pytest.mark.parametrize("program", [of_a_division, of_a_remainder, in_a_loop, in_a_function])
def test_numpys_numbers_raise_nothing(program: Callable[[Any, Any], Any]) -> None:
    x, zero = np.float64(2.5), np.float64(0.0)
    with np.errstate(all="ignore"):
        assert gradc.compile(program)(x, zero) == pytest.approx(program(x, zero), nan_ok=True)
