"""The text of a traced value: the tracer's where it is only shown, else refused by name and line.

That the texts are made in so many ways is the point: ``ruff`` would have f-strings alone.
"""
# ruff: noqa: UP031, UP032

from __future__ import annotations

import io
import json
import logging
import pprint
import string
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import GradcError

Program = Callable[[Any], Any]
LOGGER = logging.getLogger("tests.texts")
X = np.array([1.5, 2.0])
TEXT = "Tracer<x: f64[2]>"


# -- what only shows it ----------------------------------------------------------------------------


@dataclass
class Pair:
    left: Any
    right: Any


class Named:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Named({self.value})"


def described(x: Any) -> str:
    text = f"x = {x}"
    return text


def printed(x: Any) -> Any:
    print(x)
    return x


def printed_among_others(x: Any) -> Any:
    print("x", [x, 2], {"x": x}, (x,), file=sys.stderr, sep="\n")
    print(str(x), repr(x), f"{x}", f"{x!r} and {x!s:>40}", end="!\n")
    print("%s %r" % (x, x), "{} {!r}".format(x, x), "x: " + str(x), ", ".join(map(str, [x, x])))
    print(*(f"{v}" for v in (x, x)), [str(v) for v in (x,)], f"{x}".ljust(50)[:40])
    print(f"{x}" if x.ndim else "")
    pprint.pprint({"x": x})
    sys.stdout.write(f"{x}\n")
    return x


def printed_objects(x: Any) -> Any:
    print(Pair(x, 2.0), Named(x), [Named(x)], described(x))
    return x


def in_variables(x: Any) -> Any:
    text = f"x = {x}"
    more: str = text + "!"
    more += str(x)
    print(more)
    return x


def logged(x: Any) -> Any:
    LOGGER.warning("x = %s", x)
    LOGGER.warning(f"x = {x}")
    warnings.warn(f"x = {x}", stacklevel=1)
    return x


def in_messages(x: Any) -> Any:
    assert x.ndim == 1, f"not a vector: {x}"
    try:
        if x.ndim == 1:
            error = ValueError(f"a vector: {x}")
            raise error
    except ValueError:
        pass
    try:
        raise TypeError("so " + repr(x))
    except TypeError:
        return x


def for_nothing(x: Any) -> Any:
    repr(x)
    str(x)
    return x


@pytest.mark.parametrize("program", [
    printed, printed_among_others, printed_objects, in_variables, logged, in_messages, for_nothing,
])  # fmt: skip
def test_shown(program: Program, capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert gradc.compile(program)(X).tolist() == X.tolist()
    out = capsys.readouterr()
    shown = [line for line in (out.out + out.err).splitlines() if line != "x"]
    assert (program in (in_messages, for_nothing, logged)) == (not shown)
    assert all(TEXT in line for line in shown)
    if program is logged:
        assert all(TEXT in record.getMessage() for record in caplog.records)
        assert len(caplog.records) == 2 and TEXT in str(given[0].message)


def test_a_message_of_an_error() -> None:
    @gradc.compile
    def checked(x: Any) -> Any:
        if x.ndim == 1:
            raise ValueError(f"a vector: {x}")
        return x

    with pytest.raises(ValueError, match=TEXT.replace("[", r"\[")):
        checked(X)


def test_the_message_of_an_error_in_a_branch() -> None:
    def checked(x: Any) -> Any:
        if x[0] > 1:
            raise ValueError(x)
        return x

    with pytest.raises(GradcError, match=r"raises ValueError\('Tracer<x: f64"):
        gradc.compile(checked)(X)


def test_print_without_a_source(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    exec("def f(x):\n    print('x', [x])\n    return x", namespace)
    exec("def g(x):\n    return x * len(str(x))", namespace)
    gradc.compile(namespace["f"])(X)
    assert capsys.readouterr().out == f"x [{TEXT}]\n"
    with pytest.raises(GradcError, match="the text of a traced value"):
        gradc.compile(namespace["g"])(X)


def test_known_values_have_their_texts() -> None:
    @gradc.compile
    def f(x: Any, n: int) -> Any:
        half = np.float64(0.5)
        return x * len(f"{np.zeros(2)}{half:.3f}{np.ones(1)!r}{n:03d}") + len(str(n) + repr(n))

    assert f(X, 12).tolist() == f.__wrapped__(X, 12).tolist()


# -- what computes with it -------------------------------------------------------------------------


def measured(x: Any) -> Any:
    return x * len(f"{x[0]}")  # !


def measured_with_a_spec(x: Any) -> Any:
    return x * len(f"{x[0]:.2f}")  # !


def printed_with_a_spec(x: Any) -> Any:
    print(f"{x[0]:.2f}")  # !
    return x


def by_a_method(x: Any) -> Any:
    return x * len("{:.1f}".format(x[0]))  # !


def by_format(x: Any) -> Any:
    return x * len(format(x[0], "e"))  # !


def by_percent(x: Any) -> Any:
    return x * len("%s" % x[0])  # !


def by_percent_of_a_tuple(x: Any) -> Any:
    return x * len("%s and %s" % (x[0], 1))  # !


def by_percent_as_a_float(x: Any) -> Any:
    return x * len("%.2f" % x[0])  # !


def parsed(x: Any) -> Any:
    return x * float(str(x[0]))  # !


def in_a_list(x: Any) -> Any:
    return x * len(str([x[0]]))  # !


def looked_up(x: Any) -> Any:
    return x * {"1.5": 2.0}.get(str(x[0]), 3.0)  # !


def compared(x: Any) -> Any:
    return x * 2 if repr(x[0]) == "1.5" else x  # !


def joined(x: Any) -> Any:
    return x * len(",".join(map(str, x)))  # !


def joined_by_a_lambda(x: Any) -> Any:
    return x * len(",".join(map(lambda v: f"{v}", x)))  # !


def kept(x: Any) -> Any:
    text = f"{x[0]}"  # !
    print(text)
    return x * len(text)


def kept_by_a_closure(x: Any) -> Any:
    text = f"{x[0]}"  # !

    def size() -> int:
        return len(text)

    return x * size()


def returned(x: Any) -> Any:
    def text(v: Any) -> str:
        return f"{v}"  # !

    return x * len(text(x[0]))


def of_an_object(x: Any) -> Any:
    return x * len(str(Pair(x[0], 1)))  # !


def written(x: Any) -> Any:
    file = io.StringIO()
    print(x[0], file=file)  # !
    return x * len(file.getvalue())


def in_a_template(x: Any) -> Any:
    return x * len(string.Template("$x").substitute(x=x[0]))  # !


def as_json(x: Any) -> Any:
    return x * len(json.dumps({"x": str(x[0])}))  # !


def as_a_spec(x: Any) -> Any:
    print(f"{1.5:{x[0]}}")  # !
    return x


REFUSED: list[tuple[Program, str]] = [
    (measured, "the text of a traced value was asked for by an f-string"),
    (measured_with_a_spec, "the format '.2f' of a traced value was asked for by an f-string"),
    (printed_with_a_spec, "the format '.2f' of a traced value was asked for by an f-string"),
    (by_a_method, "the format '.1f' of a traced value was asked for by `'{:.1f}'.format`"),
    (by_format, "the format 'e' of a traced value was asked for by `format`"),
    (by_percent, "the text of a traced value was asked for by formatting by `%`"),
    (by_percent_of_a_tuple, "the text of a traced value was asked for by formatting by `%`"),
    (by_percent_as_a_float, "float() of a traced value was asked for by formatting by `%`"),
    (parsed, "the text of a traced value was asked for by `str`"),
    (in_a_list, "the text of a traced value was asked for by `str`"),
    (looked_up, "the text of a traced value was asked for by `str`"),
    (compared, "the text of a traced value was asked for by `repr`"),
    (joined, "the text of a traced value was asked for by `"),
    (joined_by_a_lambda, "the text of a traced value was asked for by an f-string"),
    (kept, "the text of a traced value was asked for by an f-string"),
    (kept_by_a_closure, "the text of a traced value was asked for by an f-string"),
    (returned, "the text of a traced value was asked for by an f-string"),
    (of_an_object, "the text of a traced value was asked for by `str`"),
    (written, "the text of a traced value was asked for by `print`"),
    (in_a_template, "the text of a traced value was asked for by `"),
    (as_json, "the text of a traced value was asked for by `str`"),
    (as_a_spec, "the text of a traced value was asked for by an f-string"),
]


@pytest.mark.parametrize(("program", "what"), REFUSED)
def test_refused(program: Program, what: str) -> None:
    with pytest.raises(GradcError) as info:
        gradc.compile(program)(X)
    assert info.value.what.startswith(what)
    if "float()" not in what:
        assert "gradc.debug_print('{" in info.value.remedy
    lines = Path(__file__).read_text().splitlines()[program.__code__.co_firstlineno - 1 :]
    marked = next(k for k, line in enumerate(lines) if line.endswith("# !"))
    assert info.value.where is not None
    assert info.value.where.file == __file__
    assert info.value.where.line == program.__code__.co_firstlineno + marked
