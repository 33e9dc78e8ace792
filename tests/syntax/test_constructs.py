"""Constructs of Python on traced values, one by one: each works as in Python or is refused by name.

A line that is refused ends with the mark that the test looks for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError

A = np.arange(1.0, 6.0)
SEEN = 0


def walrus_in_while(x: Any, a: Any) -> Any:
    total = 0.0
    while (half := x * 0.5) > 0.1:
        x = half
        total = total + half
    return total + half


def walrus_in_while_after_and(x: Any, a: Any) -> Any:
    y, n = 0.0, 0
    while x < 50 and (y := x * x) < 40 or n < 2:
        x, n = x + y * 0.1, n + 1
    return x + y


def walrus_in_if(x: Any, a: Any) -> Any:
    if (y := x * 2) > 1:
        x = y + 1
    return x + y


def walrus_after_and(x: Any, a: Any) -> Any:
    y = 1.0
    if x > 2 and (y := x * 2) > 6 and (z := y + x) > 1:
        x = z + 1
    elif not (x > 4 or (y := x - 1) > 0):
        x = -y
    return x * y


def walrus_in_a_chain(x: Any, a: Any) -> Any:
    while 0 < (y := x - 1) < 100:
        x = y
    return x + y


def walrus_in_a_list(x: Any, a: Any) -> Any:
    return [y := x * 2, y + 1][1] + sum((last := z) * x for z in a) + last


def match_of_values(x: Any, a: Any) -> Any:
    for i in gradc.range(7):
        match i % 4:
            case 0:
                x = x + 1
            case 1 | 2 if x > 3:
                x = x * 1.1
            case 1:
                continue
            case other:
                x = x + other
    return x


def match_with_guards(x: Any, a: Any) -> Any:
    match x * 2:
        case y if y > 6:
            return y
        case y if y < 2:
            x = x - y
        case _:
            return -y
    return x + y


def match_of_what_is_known(x: Any, a: Any) -> Any:
    match (a.shape, "sine"):
        case ((n,), "sine" | "cosine" as kind) if n > 3:
            return np.sin(x) if kind == "sine" else np.cos(x)
        case _:
            return -x


def any_and_all(x: Any, a: Any) -> Any:
    if any(z > x for z in a) and not all([z > x, z < 9] for z in a):
        x = x + 1
    if all(z > 0 for z in a):
        x = x * 2
    if any(a > 100) or any([]) or not all(a):
        x = -x
    return x if bool(x > 3) else x * 3


def sums(x: Any, a: Any) -> Any:
    return sum(z * x if z > 2 else 0.0 for z in a) + sum([x * i for i in range(3) if i != 1])


def extremes(x: Any, a: Any) -> Any:
    return max(z * x for z in a) - min([x, 2.0, a[1]]) + max(a) * min(x, 3.0)


def contained(x: Any, a: Any) -> Any:
    if x in (1.0, 2.5) or 3 in [x, 4.0] or x + 0.5 in a:
        x = x * 2
    return x if x not in a else -x


def chained(x: Any, a: Any) -> Any:
    return (x if 0 < x < 3 <= a[2] else -x) + (1 if 2 < x != 3 else 2)


def ternaries(x: Any, a: Any) -> Any:
    return x * 2 if not x > 1 else (x or 5.0) if x is not None and a is not x else a[0]


def for_else(x: Any, a: Any) -> Any:
    for i in range(30):
        if x > 100:
            break
        x = x * 1.1 + i
    else:
        x = -x
    return x


def while_else(x: Any, a: Any) -> Any:
    while x < 100:
        x = x * 1.5
        if x > 1000:
            break
    else:
        x = -x
    return x


def in_try(x: Any, a: Any) -> Any:
    try:
        if x > 1:
            x = x * 2
    except ValueError:
        x = 0.0
    else:
        x = x + 3
    finally:
        x = x + 1
    return x


def in_with(x: Any, a: Any) -> Any:
    with np.errstate(all="ignore"), contextlib.nullcontext():
        while x < 100:
            x = x * 2
    return x


def in_a_generator(x: Any, a: Any) -> Any:
    def parts() -> Any:
        for i in range(3):
            yield x * i if i > 1 else x

    return sum(parts())


def nonlocal_and_global(x: Any, a: Any) -> Any:
    global SEEN
    total = 0.0

    def add(y: Any) -> None:
        nonlocal total
        if x > 1:
            total = total + y * x

    SEEN = 5
    for k in range(20):
        add(a[k % 5])
    return total + SEEN


def deleted(x: Any, a: Any) -> Any:
    y = x * 2
    if x > 1:
        x = y
    del y
    return x


def lambdas(x: Any, a: Any) -> Any:
    square = lambda z: z * z if z > 1 else -z  # noqa: E731
    return sum(map(lambda z: max(z, 2.0), a)) * square(x)


def starred(x: Any, a: Any) -> Any:
    if x > 1:
        first, *rest = a
    else:
        first, *rest = a * 2
    return first * rest[-1] + np.maximum(*a[:2]) * x


def local_class(x: Any, a: Any) -> Any:
    class Point:
        def __init__(self, scale: Any) -> None:
            self.scale = scale

        def stretched(self, z: Any) -> Any:
            return z * self.scale if z > 1 else z

    return Point(3.0).stretched(x)


def asserted(x: Any, a: Any) -> Any:
    assert a.shape == (5,), "five"
    assert x is not None
    return x * 2


def written_out(x: Any, a: Any) -> Any:
    text = f"{a.shape} {len(a):>3}"
    return x * len(text)


WORKING: list[Callable[[Any, Any], Any]] = [
    walrus_in_while, walrus_in_while_after_and, walrus_in_if, walrus_after_and, walrus_in_a_chain,
    walrus_in_a_list, match_of_values, match_with_guards, match_of_what_is_known, any_and_all, sums,
    extremes, contained, chained, ternaries, for_else, while_else, in_try, in_with, in_a_generator,
    nonlocal_and_global, deleted, lambdas, starred, local_class, asserted, written_out,
]  # fmt: skip


@pytest.mark.parametrize("program", WORKING)
@pytest.mark.parametrize("x", [0.6, 2.5, 3.3])
def test_works_as_in_python(program: Callable[[Any, Any], Any], x: float) -> None:
    compiled = gradc.compile(program)
    assert compiled(x, A) == pytest.approx(float(program(x, A)), rel=1e-13)
    if (program, x) != (contained, 2.5):
        difference = (program(x + 1e-7, A) - program(x - 1e-7, A)) / 2e-7
        assert compiled.grad(x, A) == pytest.approx(float(difference), rel=1e-6, abs=1e-6)


def if_of_a_comprehension(x: Any, a: Any) -> Any:
    return sum([z * z for z in a if z > x])  # !


def comprehension_over_a_range(x: Any, a: Any) -> Any:
    n = np.argmax(a)
    return sum([x * i for i in range(n)])  # !


def first_of_a_generator(x: Any, a: Any) -> Any:
    return next(z for z in a if z > 2)  # !


def filtered(x: Any, a: Any) -> Any:
    return sum(filter(lambda z: z > x, a))  # !


def in_order(x: Any, a: Any) -> Any:
    return sorted([x, a[0]])[0]  # !


def asserted_of_a_value(x: Any, a: Any) -> Any:
    assert x > 0, "positive"  # !
    return x


def element_of_a_list(x: Any, a: Any) -> Any:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    return x * values[np.argmax(a)]  # !


def element_of_a_dict(x: Any, a: Any) -> Any:
    values = {4: 2.0}
    return x * values[np.argmax(a)]  # !


def branch_of_a_generator(x: Any, a: Any) -> Any:
    def parts() -> Any:
        for z in a:
            if z > x:  # !
                yield z

    return sum(parts())


def return_in_try(x: Any, a: Any) -> Any:
    try:
        if x > 1:  # !
            return x
    finally:
        x = x + 1
    return x


def raised(x: Any, a: Any) -> Any:
    if x > 100:  # !
        raise ValueError("big")
    return x


def walrus_in_a_ternary(x: Any, a: Any) -> Any:
    return (y := x * 2) + y if x > 1 else x  # !


def walrus_in_a_value(x: Any, a: Any) -> Any:
    return x > 1 and (y := x * 2) > 3 and y  # !


REFUSED: list[tuple[Callable[[Any, Any], Any], str, str]] = [
    (if_of_a_comprehension, "the `if` of a comprehension", "a conditional expression in it"),
    (comprehension_over_a_range, "a comprehension over a range", "for i in range"),
    (first_of_a_generator, "the `if` of a comprehension", "np.where"),
    (filtered, "`filter`", "np.where"),
    (in_order, "`sorted` of traced values", "np.sort"),
    (asserted_of_a_value, "`assert` on a traced value", "as shapes"),
    (element_of_a_list, "an element of a list", "np.array(values)[i]"),
    (element_of_a_dict, "an element of a dict", "gradc.switch"),
    (branch_of_a_generator, "the truth of a traced value", "it is a generator"),
    (return_in_try, "`return` on a traced value, out of a `try`", "test it after"),
    (raised, r"raises ValueError\('big'\)", "np.nan"),
    (walrus_in_a_ternary, "`:=` in a conditional expression", "a statement of its own"),
    (walrus_in_a_value, "`:=` in a conditional expression, or after", "a statement of its own"),
]


@pytest.mark.parametrize(("program", "what", "remedy"), REFUSED)
def test_refused_by_name(program: Callable[[Any, Any], Any], what: str, remedy: str) -> None:
    with pytest.raises(GradcError, match=what) as info:
        gradc.compile(program)(2.5, A)
    assert remedy in info.value.remedy
    first = program.__code__.co_firstlineno
    lines = Path(__file__).read_text().splitlines()[first - 1 :]
    marked = next(k for k, line in enumerate(lines) if line.endswith("# !"))
    assert info.value.where is not None
    assert (info.value.where.file, info.value.where.line) == (__file__, first + marked)
