"""Variables that a loop or branch may leave without a value: as in Python, an error where read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import UndefinedError
from tests.control.helpers import count

A = np.array([0.2, 0.6, 0.3, 0.9])


def counted(a, n, m):
    for i in range(n):
        s = a[i] * a[i]
    return s


def index(a, n, m):
    for i in range(n):  # noqa: B007  (it is read after the loop)
        pass
    return a[0] * i  # !


def as_index(a, n, m):
    for i in range(n):  # noqa: B007
        pass
    return a[i]  # !


def array(a, n, m):
    for i in range(n):
        row = a * i
    return np.sum(row)  # !


def written(a, n, m):
    for i in range(n):
        row = a * i
    row[0] = 1.0  # !
    return np.sum(row)


def several(a, n, m):
    for i in range(n):
        pair = (a[i], a * i)
    return pair[0] * np.sum(pair[1])  # !


def by_test(a, n, m):
    k = 0.0 * a[0]
    while k < n:
        s = a[1] * a[0]
        k = k + 1
    return s + 0.0  # !


def if_in_loop(a, n, m):
    for i in range(n):
        if a[i] > 0.5:
            s = a[i] * a[i]
    return s * 2  # !


def if_in_loop_read_in_loop(a, n, m):
    total = 0.0
    for i in range(n):
        if i > m:
            s = a[i] * a[i]
        total = total + s  # !
    return total


def one_branch(a, n, m):
    if n > a[0] + 1:
        s = a[0] * a[1]
    return s + 1.0  # !


def two_ifs(a, n, m):
    if n > a[0] + 1:
        s = a[0] * a[1]
    if m > a[0] + 1:
        s = a[2] * a[1]
    return s + 1.0  # !


def read_in_one_branch(a, n, m):
    for i in range(n):
        s = a[i] * a[i]
    if m > 0:
        return s + 1.0  # !
    return a[0]


def read_in_a_loop(a, n, m):
    for i in range(n):
        s = a[i] * a[i]
    t = a[0]
    for j in range(m):
        t = t + s * j  # !
    return t


def again(a, n, m):
    for i in range(n):
        row = a * i
    for i in range(m):
        row = a + i
    return np.sum(row * row)  # !


def nested(a, n, m):
    for i in range(n):
        for j in range(m):
            s = a[j] * i
    return s * s  # !


def in_a_branch(a, n, m):
    if m > 0:
        for i in range(n):
            s = a[i] * a[i]
    else:
        s = a[0]
    return s + 1.0  # !


def until_found(a, n, m):
    for i in range(n):
        if a[i] > 0.5:
            s = a[i] * a[i]
            break
    return s + 1.0  # !


def returned_in_a_loop(a, n, m):
    for i in range(n):
        for j in range(m):
            s = a[j] * a[i]
        if i == 1:
            return s + 0.0  # !
    return a[0]


def other_name(a, n, m):
    for i in range(n):
        s = a[i]
    t = s
    return t * t  # !   (to give it another name is no read here)


PROGRAMS = [
    counted, index, as_index, array, written, several, by_test, if_in_loop,
    if_in_loop_read_in_loop, one_branch, two_ifs, read_in_one_branch, read_in_a_loop, again,
    nested, in_a_branch, until_found, returned_in_a_loop, other_name,
]
SIZES = [(n, m) for n in range(4) for m in range(3)] + [(1, -1), (2, -1)]


def derivatives(f: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """What is compiled of a function, each for the arguments of the function."""
    jvp = gradc.compile(lambda a, n, m: gradc.jvp(lambda b: f(b, n, m), (a,), (a * a,)))
    return {
        "value": gradc.compile(f),
        "gradient": gradc.grad(f),
        "jvp": jvp,
        "second": gradc.grad(lambda a, n, m: np.sum(gradc.grad(f)(a, n, m) * A)),
    }


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_as_python(f: Callable[..., Any]) -> None:
    step = 1e-6
    missing = 0
    for what, compiled in derivatives(f).items():
        for n, m in SIZES:
            try:
                expected = f(A.copy(), n, m)
            except UnboundLocalError:
                missing += 1
                with pytest.raises(UndefinedError, match="has no value: .* in line") as info:
                    compiled(A, n, m)
                assert info.value.where is not None
                assert info.value.where.function == f.__name__
                continue
            got = compiled(A, n, m)
            slope = (f(A + step * A * A, n, m) - f(A - step * A * A, n, m)) / (2 * step)
            if what == "value":
                np.testing.assert_allclose(got, expected, rtol=1e-14)
            elif what == "gradient":
                np.testing.assert_allclose(np.sum(got * A * A), slope, rtol=1e-8, atol=1e-9)
            elif what == "jvp":
                np.testing.assert_allclose(got[1], slope, rtol=1e-8, atol=1e-9)
            else:
                ahead, behind = (gradc.grad(f)(A + h * A, n, m) for h in (step, -step))
                np.testing.assert_allclose(got, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-8)
    assert missing


def fails(f: Callable[..., Any]) -> tuple[int, int]:
    """Sizes for which a function fails in Python."""
    for n, m in SIZES:
        try:
            f(A.copy(), n, m)
        except UnboundLocalError:
            return n, m
    raise AssertionError


def marked(f: Callable[..., Any]) -> int | None:
    """The line of a function that is marked with ``# !``."""
    lines, first = inspect.getsourcelines(f)
    return next((first + k for k, line in enumerate(lines) if "# !" in line), None)


@pytest.mark.parametrize("f", [f for f in PROGRAMS if marked(f)], ids=lambda f: f.__name__)
def test_the_error_names_the_variable_and_the_line_that_reads_it(f: Callable[..., Any]) -> None:
    with pytest.raises(UnboundLocalError) as python:
        f(A.copy(), *fails(f))
    with pytest.raises(UndefinedError) as info:
        gradc.compile(f)(A, *fails(f))
    assert info.value.where is not None
    assert str(python.value).split("'")[1] == str(info.value).split("`")[1]
    assert info.value.where.line == marked(f)
    assert "assign it before the loop" in info.value.remedy


def of_a_branch(a, n, m):
    if a[0] > m:
        y = a[0]
    return {"y": (y, 1.0)}


def of_a_text(a, n, m):
    if a[0] > m:
        text = "positive"
    return text


def of_a_helper(a, n, m):
    return counted(a, n, m) * 2


@pytest.mark.parametrize(("f", "g", "name"), [
    (counted, counted, "s"), (of_a_branch, of_a_branch, "y"), (of_a_text, of_a_text, "text"),
    (of_a_helper, counted, "s"),
])  # fmt: skip
def test_of_what_is_returned_the_error_names_the_return(
    f: Callable[..., Any], g: Callable[..., Any], name: str
) -> None:
    with pytest.raises(UndefinedError, match=f"`{name}` has") as info:
        gradc.compile(f)(-np.ones(3), 0, 0)
    lines, first = inspect.getsourcelines(g)
    line = first + next(k for k, line in enumerate(lines) if "return" in line)
    assert info.value.where is not None
    assert (info.value.where.line, info.value.where.function) == (line, g.__name__)


def test_what_is_not_read_is_not_checked() -> None:
    def dead(a, n):
        for i in range(n):
            s = a[i]
            if s > 0.5:
                t = s
        for i in range(n):
            if i > 1:
                t = a[i]  # noqa: F841  (so it is)
        return a[0]

    assert count(dead, "assigned", A, 2) == 0


def test_what_is_certain_is_not_checked() -> None:
    def certain(a):
        for i in gradc.range(4):
            s = a[i]
        if s > 0:  # noqa: SIM108  (the statement is what is tested)
            t = a[0]
        else:
            t = a[1]
        return s + t + i

    assert count(certain, "assigned", A) == 0
    assert gradc.compile(certain)(A) == certain(A)


def test_a_variable_is_checked_once_and_outside_the_loop_that_assigns_it() -> None:
    def f(a, n):
        for i in range(n):
            s = a[i]
        return s * s + s

    text = gradc.compile(f).ir(A, 2, stage="traced", grad=False)
    assert text.count("= assigned") == 1
    assert "{carries=1, " in text  # nothing besides `s`


def test_what_has_no_iterations_leaves_the_variable_unassigned() -> None:
    def f(a):
        for i in gradc.range(0):
            s = a[i]
        return s + 1

    with pytest.raises(UnboundLocalError):
        gradc.compile(f)(A)


def test_an_argument_of_functional_loops_is_read() -> None:
    def f(a, n):
        for i in range(n):
            s = a[i]
        return gradc.fori_loop(0, 3, lambda k, t: t * 2, s)

    assert gradc.compile(f)(A, 2) == 8 * A[1]
    with pytest.raises(UndefinedError):
        gradc.compile(f)(A, 0)


def test_interpreted() -> None:
    with gradc.config(jit=False):
        with pytest.raises(UndefinedError, match="`s` has no value"):
            gradc.compile(if_in_loop)(A, 1, 0)
        assert gradc.compile(if_in_loop)(A, 3, 0) == if_in_loop(A, 3, 0)
