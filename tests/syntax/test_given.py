"""Functions that are given to gradc's own are rewritten too: bodies of loops, branches, rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc


def halved(x: Any) -> Any:
    while x > 1:
        x = x * 0.5
    return x


def grown(x: Any) -> Any:
    y = 1.75 * x
    if x > 1:
        y = x * 0.5
    return y


def turn(_: Any, x: Any) -> Any:
    return grown(x) if x > 1 else 1.75 * x


def row(x: Any, _: Any) -> Any:
    y = grown(x)
    return y, y


def small(x: Any) -> Any:
    if x > 10:
        return x < 100
    return x > 0


@gradc.custom_vjp
def implicit(x: Any) -> Any:
    return halved(x)


def implicit_forward(x: Any) -> Any:
    y = x
    while y > 1:
        y = y * 0.5
    return y, (x, y)


def implicit_backward(residuals: Any, ct: Any) -> Any:
    x, y = residuals
    if x > 1:
        return (ct * y / x,)
    return (ct,)


implicit.defvjp(implicit_forward, implicit_backward)


@gradc.custom_jvp
def forward(x: Any) -> Any:
    return halved(x)


@forward.defjvp
def forward_rule(primals: Any, tangents: Any) -> Any:
    (x,), (dx,) = primals, tangents
    slope = 1.0
    y = x
    while y > 1:
        y, slope = y * 0.5, slope * 0.5
    return y, dx * slope


GIVEN: dict[str, Callable[[Any], Any]] = {
    "fori_loop": lambda x: gradc.fori_loop(0, 20, turn, x),
    "while_loop": lambda x: gradc.while_loop(small, lambda y: grown(y) * 2.5, x),
    "scan": lambda x: np.sum(gradc.scan(row, x, None, length=20)[1]),
    "cond": lambda x: gradc.cond(x > 2, halved, grown, x),
    "cond, known": lambda x: gradc.cond(True, halved, grown, x),
    "switch": lambda x: gradc.switch(np.int64(1) * (x > 2), [grown, halved], x),
    "switch, known": lambda x: gradc.switch(1, [grown, halved], x),
    "checkpoint": lambda x: gradc.checkpoint(halved)(x),
    "custom_vjp": implicit,
    "custom_jvp": forward,
}


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("x", [3.0, 0.7])
def test_functions_given_to_gradc_may_loop_and_branch(name: str, x: float) -> None:
    given = GIVEN[name]
    value, slope = gradc.compile(given).value_and_grad(x)
    np.testing.assert_allclose(value, given(x), rtol=1e-15)
    np.testing.assert_allclose(slope, (given(x + 1e-4) - given(x - 1e-4)) / 2e-4, rtol=1e-9)
