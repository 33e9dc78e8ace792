"""Mistakes in calling the functions of control flow: each is named, with line and remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc import checkpoint, cond, custom_jvp, custom_vjp, fori_loop, scan, switch, while_loop

X = np.array([1.0, 2.0, 3.0])
Case = tuple[Callable[[Any], Any], type[Exception], str]


def square(x):
    return x * x


def by_vjp(fwd=lambda x: (x * x, x), bwd=lambda r, ct: (2 * r * ct,), fun=square, **options):
    f = custom_vjp(fun, **options)
    f.defvjp(fwd, bwd)
    return f


def by_jvp(rule, fun=square):
    f = custom_jvp(fun)
    f.defjvp(rule)
    return f


def gradient(f, x):
    return gradc.grad(lambda y: np.sum(f(y)))(x)


def pair(carry, x):
    return carry, x


def keep(i, s):
    return s


#: refused wherever it is called
EVERYWHERE: list[Case] = [
    (lambda x: fori_loop(0, 3.0, keep, x), TypeError, "bound of a loop is 3.0, no integer"),
    (lambda x: fori_loop(0, "3", keep, x), TypeError, "bound of a loop is '3', no integer"),
    (lambda x: fori_loop(None, 3, keep, x), TypeError, "bound of a loop is None"),
    (lambda x: fori_loop(0, x, keep, x), TypeError, "no integer.*(64|f64).*3"),
    (lambda x: fori_loop(0, x[0], keep, x), TypeError, "no integer"),
    (lambda x: fori_loop(0, np.array([1, 2]), keep, x), TypeError, "no integer"),
    (lambda x: fori_loop(0, 2**70, keep, x), ValueError, "no 64 bits hold"),
    (lambda x: fori_loop(0, 3, 5, x), TypeError, r"a function of \(i, state\), not 5"),
    (lambda x: fori_loop(0, 3, lambda s: s, x), TypeError, r"called with \(i, state\)"),
    (lambda x: while_loop(True, square, x), TypeError, r"condition .* of \(state\), not True"),
    (lambda x: while_loop(square, x, x), TypeError, r"the body of gradc.while_loop is a function"),
    (lambda x: while_loop(square, keep, x), TypeError, "missing a required argument: 's'"),
    (lambda x: while_loop(lambda s: s < 5, square, x), TypeError, "ambiguous"),
    (lambda x: while_loop(lambda s: None, square, x), TypeError, "None|dtype object"),
    (lambda x: while_loop(square, square, 0, max_trips=2.5), TypeError, "max_trips is 2.5"),
    (lambda x: while_loop(square, square, 0, max_trips=-1), ValueError, "max_trips is -1"),
    (lambda x: while_loop(square, square, 0, max_trips="3"), TypeError, "max_trips is '3'"),
    (lambda x: scan(3, 0.0, x), TypeError, r"gradc.scan is a function of \(carry, x\), not 3"),
    (lambda x: scan(square, 0.0, x), TypeError, r"called with \(carry, x\)"),
    (lambda x: scan(lambda c, v: c + v, 0.0, x), TypeError, r"returns \(carry, y\), not"),
    (lambda x: scan(lambda c, v: (c, v, v), 0.0, x), TypeError, r"returns \(carry, y\), not"),
    (lambda x: scan(lambda c, v: [c, v], 0.0, x), TypeError, r"returns \(carry, y\), not"),
    (lambda x: scan(lambda c, v: (c, "s"), 0.0, x), TypeError, "`y` is 's'"),
    (lambda x: scan(pair, 0.0, (x, x[:2])), ValueError, r"`xs\[1\]` has 2 elements"),
    (lambda x: scan(pair, 0.0, x[0]), ValueError, "`xs` has no axis"),
    (lambda x: scan(pair, 0.0, None), TypeError, "needs xs or a length"),
    (lambda x: scan(pair, 0.0, "abc"), TypeError, "`xs` is 'abc'"),
    (lambda x: scan(pair, 0.0, x, length=5), ValueError, "3 elements .* not 5"),
    (lambda x: scan(pair, 0.0, None, length=-1), ValueError, "length is -1"),
    (lambda x: scan(pair, 0.0, None, length=2.0), TypeError, "length is 2.0, no integer"),
    (lambda x: scan(pair, 0.0, x, unroll=0), ValueError, "unroll is 0"),
    (lambda x: scan(pair, 0.0, x, unroll=-2), ValueError, "unroll is -2"),
    (lambda x: scan(pair, 0.0, x, unroll=1.5), TypeError, "unroll is 1.5"),
    (lambda x: scan(pair, 0.0, x, reverse="yes"), TypeError, "reverse is 'yes'"),
    (lambda x: scan(pair, 0.0, x, checkpoint="cube"), ValueError, "checkpoint='cube'"),
    (lambda x: scan(pair, 0.0, x, checkpoint=0), ValueError, "checkpoint=0"),
    (lambda x: scan(pair, 0.0, x, checkpoint=1.5), ValueError, "checkpoint=1.5"),
    (lambda x: scan(pair, 0.0, x, checkpoint="64XB"), ValueError, "checkpoint='64XB'"),
    (lambda x: cond(x[0] > 0, x, square), TypeError, "a branch is a function, not"),
    (lambda x: cond(x > 0, lambda: x, lambda: -x), TypeError, "ambiguous"),
    (lambda x: cond("a", lambda: x, lambda: -x), TypeError, "gradc.cond is 'a', no truth"),
    (lambda x: cond(None, lambda: x, lambda: -x), TypeError, "gradc.cond is None, no truth"),
    (lambda x: cond(x[0] > 0, keep, keep, x), TypeError, "missing a required argument: 's'"),
    (lambda x: cond(x[0] > 0, square, square, x, x), TypeError, "too many positional"),
    (lambda x: switch(0, [], x), TypeError, "needs a sequence of branches"),
    (lambda x: switch(0, square, x), TypeError, "needs a sequence of branches"),
    (lambda x: switch(0, [square, 3], x), TypeError, "a branch is a function, not 3"),
    (lambda x: switch(1.5, [square, square], x), TypeError, "index of gradc.switch is 1.5"),
    (lambda x: switch(x[0], [square, square], x), TypeError, "index of gradc.switch is"),
    (lambda x: switch(x.astype(int), [square] * 2, x), TypeError, "index of gradc.switch is"),
    (lambda x: switch(1, [square, square]), TypeError, "missing a required argument: 'x'"),
    (lambda x: gradc.range(), TypeError, "takes 1 to 3 arguments, not 0"),
    (lambda x: gradc.range(1, 2, 3, 4), TypeError, "takes 1 to 3 arguments, not 4"),
    (lambda x: gradc.range(2.5), TypeError, "bound of gradc.range is 2.5"),
    (lambda x: gradc.range(x[0]), TypeError, "bound of gradc.range is"),
    (lambda x: gradc.range(1, 5, 0), ValueError, "the step of gradc.range is zero"),
    (lambda x: custom_vjp(3), TypeError, "given a derivative, not 3"),
    (lambda x: custom_jvp("a"), TypeError, "given a derivative, not 'a'"),
    (lambda x: by_vjp(fwd=3), TypeError, r"forward rule of square is a function of \(x\), not 3"),
    (lambda x: by_vjp(bwd=None), TypeError, "the backward rule of square is a function"),
    (lambda x: by_jvp(None), TypeError, "the rule of square is a function"),
    (lambda x: checkpoint(3), TypeError, "gradc.checkpoint takes a function, not 3"),
    (lambda x: gradient(custom_vjp(square), x), TypeError, "square has no derivative yet"),
    (lambda x: gradient(by_vjp(fwd=square), x), TypeError, "returns its value and what"),
    (lambda x: gradient(by_vjp(fwd=keep), x), TypeError, "the forward rule .* 's'"),
    (lambda x: gradient(by_vjp(bwd=keep), x), TypeError, "returns a tuple of 1 cotangents"),
    (lambda x: gradient(by_vjp(bwd=square), x), TypeError, r"\(residuals, cotangent\)"),
    (lambda x: gradient(by_vjp(bwd=lambda r, c: (c[:2],)), x), TypeError, r"\(2,\), not \(3,\)"),
    (lambda x: gradient(by_vjp(bwd=lambda r, c: ("a",)), x), TypeError, "'a', no number"),
    (lambda x: gradient(by_vjp(nondiff_argnums=(5,)), x), ValueError, "names argument 5 of square"),
    (lambda x: gradient(by_vjp(fun=lambda x: "a"), x), TypeError, "returns 'a': no number"),
    (lambda x: gradient(lambda y: by_vjp()(y, y), x), TypeError, "too many positional"),
    (lambda x: gradc.jvp(by_vjp(), (x,), (x,)), TypeError, "square has a custom_vjp"),
    (lambda x: gradc.jvp(by_jvp(square), (x,), (x,)), TypeError, r"\(primals, tangents\)"),
    (lambda x: gradc.jvp(by_jvp(lambda p, t: t[0]), (x,), (x,)), TypeError, "and its tangent"),
    (lambda x: gradc.jvp(by_jvp(lambda p, t: (p[0], t)), (x,), (x,)), TypeError, "no number"),
    (lambda x: gradc.jvp(by_jvp(lambda p, t: (p[0], t[0][:1])), (x,), (x,)), TypeError, "shape"),
    (lambda x: gradc.jvp(custom_jvp(square), (x,), (x,)), TypeError, "has no derivative yet"),
]  # fmt: skip

#: what plain Python would do, and one loop or branch of the graph cannot
COMPILED: list[Case] = [
    (lambda x: fori_loop(0, x[0].astype(float), keep, x), TypeError, r"f64\[\], no integer"),
    (lambda x: fori_loop(0, 3, lambda i, s: None, x), TypeError, "`state` .* None after it"),
    (lambda x: fori_loop(0, 3, lambda i, s: (s, s), x), TypeError, r"`state` .* \(\*, \*\) after"),
    (lambda x: fori_loop(0, 3, lambda i, s: s[:2], x), TypeError, r"f64\[3\] .* f64\[2\] after"),
    (lambda x: fori_loop(0, 3, lambda i, s: s > 0, x), TypeError, r"f64\[3\] .* bool\[3\] after"),
    (lambda x: fori_loop(0, 3, lambda i, s: s + "d", "a"), TypeError, "'a' before .* 'ad' after"),
    (lambda x: while_loop(lambda s: True, square, x), TypeError, "would never end"),
    (lambda x: while_loop(lambda s: s[0] < 9, lambda s: (s,), x), TypeError, r"\(\*,\) after it"),
    (lambda x: scan(lambda c, v: ((c, c), v), 0.0, x), TypeError, r"`carry` .* \(\*, \*\) after"),
    (lambda x: scan(lambda c, v: (np.append(c, v), v), x, x), TypeError, r"f64\[4\] after it"),
    (lambda x: scan(pair, 0.0, None, length=x[0]), TypeError, "length is f64"),
    (lambda x: cond(x[0] > 0, lambda: x, lambda: x[:2]), TypeError, r"f64\[2\] .* f64\[3\]"),
    (lambda x: cond(x[0] > 0, lambda: x, lambda: x > 0), TypeError, r"bool\[3\] .* f64\[3\]"),
    (lambda x: cond(x[0] > 0, lambda: (x, x), lambda: x), TypeError, r"number .* \(\*, \*\)"),
    (lambda x: cond(x[0] > 0, lambda: x, lambda: None), TypeError, "None .* number"),
    (lambda x: switch(x.size * (x[0] > 0), [square, lambda y: y[:1]], x), TypeError, r"f64\[1\]"),
]  # fmt: skip


def check(f: Callable[[Any], Any], case: Case) -> None:
    function, kind, message = case
    with pytest.raises(gradc.GradcError, match=f"(?s){message}") as info:
        f(X)
    error = info.value
    assert isinstance(error, kind)
    assert error.where is not None
    assert error.where.file == __file__
    helpers = range(square.__code__.co_firstlineno, keep.__code__.co_firstlineno)
    assert error.where.line in (function.__code__.co_firstlineno, *helpers)
    assert error.remedy


@pytest.mark.parametrize("case", EVERYWHERE, ids=lambda case: f"{case[0].__code__.co_firstlineno}")
@pytest.mark.parametrize("compiled", [False, True])
def test_refused(case: Case, compiled: bool) -> None:
    check(gradc.compile(case[0]) if compiled else case[0], case)


@pytest.mark.parametrize("case", COMPILED, ids=lambda case: f"{case[0].__code__.co_firstlineno}")
def test_refused_while_tracing(case: Case) -> None:
    check(gradc.compile(case[0]), case)


def test_the_tangent_of_a_custom_vjp_is_refused_in_every_nesting() -> None:
    f = by_vjp()
    for g in (
        lambda x: fori_loop(0, 3, lambda i, y: f(y), x),
        lambda x: cond(np.sum(x) > 0, f, square, x),
        lambda x: checkpoint(f)(x),
    ):
        with pytest.raises(gradc.errors.NotDifferentiableError, match="square") as info:
            gradc.jvp(g, (X,), (X,))
        assert info.value.where is not None
        assert info.value.where.file == __file__
        assert "custom_jvp" in info.value.remedy


def test_what_takes_any_arguments_is_not_refused() -> None:
    assert fori_loop(0, 3, lambda *given: given[1] + 1, 0) == 3
    assert fori_loop(0, 3, max, 0) == 2
    assert cond(np.True_, np.sin, np.cos, 0.0) == 0.0
    assert cond(np.array([1.0]), np.sin, np.cos, 0.0) == 0.0
    assert switch(np.int8(1), (np.sin, np.cos), 0.0) == 1.0
