"""What cannot be compiled is refused, by line, construct and remedy; static code never is."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import gradc


class Box:
    value = 0.0


BOX = Box()


def shape_changes(x):
    for _ in gradc.range(3):
        x = np.append(x, x)  # !
    return x


def list_grows(x):
    out = []
    while np.sum(x) > 0:  # !
        x = x - 1
        out.append(x)
    return x


def return_in_with(x):
    with nullcontext():
        if x[0] > 0:  # !
            return x
    return -x


def break_in_try(x):
    for k in range(3):
        try:
            if x[k] > 0:  # !
                break
        finally:
            x = x + 1
    return x


def attribute_set(x):
    if x[0] > 0:  # !
        BOX.value = x
    return x


def raises(x):
    if x[0] > 0:  # !
        raise ValueError("positive")
    return x


def deletes(x):
    y = x
    while y[0] > 0:  # !
        y = y - 1
        del y
    return x


def one_way_only(x):
    if x[0] < 0:
        z = "low"
    return z


def returns_nothing(x):
    if x[0] > 0:  # !
        return x


def recurs(x):
    if x[0] > 0:
        return recurs(x - 1) + 1
    return x


def iterates(x):
    rest = iter([1.0, 2.0])
    while x[0] > 0:  # !
        x = x - next(rest)
    return x


def in_a_comprehension(x):
    return sum(v for v in (1.0, 2.0) if x[0] > v)  # !


@pytest.mark.parametrize(("function", "what", "remedy"), [
    (shape_changes, "`x` changes its shape in a loop", "one shape"),
    (list_grows, "changes the list `out`", "np.zeros"),
    (return_in_with, "`return` on a traced value, out of a `with`", "test it after"),
    (break_in_try, "`break` on a traced value, out of a `try`", "test it after"),
    (attribute_set, "changes the attribute `BOX.value` of a Box", "assign to a variable"),
    (raises, r"raises ValueError\('positive'\)", "np.nan"),
    (deletes, "`del y`", "leave it out"),
    (one_way_only, "`z` has a value in some branches only", "in every branch"),
    (returns_nothing, "`the value returned` is None", "in all branches"),
    (recurs, "a recursion that ends on a traced value", "write it as a loop"),
    (iterates, "may advance the iterator `rest`", "make a list"),
    (in_a_comprehension, "the `if` of a comprehension on a traced value", "np.where"),
])  # fmt: skip
def test_refused(function, what, remedy):
    before = BOX.value
    with pytest.raises(gradc.GradcError, match=what) as info:
        gradc.compile(function)(np.ones(3))
    assert remedy in info.value.remedy
    lines = Path(__file__).read_text().splitlines()
    first = function.__code__.co_firstlineno
    end = lines.index("", first)
    marked = [k for k, line in enumerate(lines[first - 1 : end]) if line.endswith("# !")]
    if marked:
        assert info.value.where.line == first + marked[0]
        assert info.value.where.file == __file__
    assert BOX.value is before


def test_without_a_source():
    namespace: dict = {}
    exec("def made(x):\n    return x if x > 0 else -x\n", namespace)
    with pytest.raises(gradc.GradcError, match="truth of a traced value") as info:
        gradc.compile(namespace["made"])(1.0)
    assert "its source is not available" in info.value.remedy


def test_static_code_is_never_refused():
    @gradc.compile
    def f(x, flag=True, kind="a"):
        out = []
        with nullcontext():
            for k in range(20):
                if k == 3 and flag:
                    continue
                try:
                    if kind == "b":
                        raise ValueError
                    out.append(x * k)
                finally:
                    BOX.value = 1.0
            if flag:
                return sum(out)
        return x

    assert f(1.0) == 187.0 and f(1.0, False) == 1.0
