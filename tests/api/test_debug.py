"""debug_print: in order, at run time, in value and gradient."""

from __future__ import annotations

import numpy as np
import pytest

import gradc


@pytest.mark.usefixtures("jit")
def test_prints_at_run_time_in_order(capfd):
    @gradc.compile
    def f(x, tag="f"):
        gradc.debug_print("{}: x = {:.2f}", tag, x)
        y = x * x
        gradc.debug_print("y = {y} {{}} {0!s:>4}", "in", y=y)
        return y

    assert f(2.0) == 4.0
    assert f(3.0) == 9.0
    assert f.grad(3.0) == 6.0
    once = ["f: x = 2.00", "y = 4.0 {}   in"]
    twice = ["f: x = 3.00", "y = 9.0 {}   in"]
    assert capfd.readouterr().out.splitlines() == once + twice + twice


@pytest.mark.usefixtures("jit")
def test_prints_arrays_and_constants(capfd):
    @gradc.compile
    def f(x):
        gradc.debug_print("start")
        gradc.debug_print("{0} {0.shape} {1}", x, np.arange(2))
        return np.sum(x)

    f(np.array([1.5, 2.0]))
    assert capfd.readouterr().out == "start\n[1.5 2. ] (2,) [0 1]\n"


def test_prints_at_once_outside_a_trace(capfd):
    gradc.debug_print("{} {b}", 1, b=2)
    assert capfd.readouterr().out == "1 2\n"


@pytest.mark.usefixtures("jit")
def test_prints_inside_nested_gradients(capfd):
    def inner(x):
        gradc.debug_print("x = {}", x)
        return x**3

    assert gradc.grad(gradc.grad(inner))(2.0) == 12.0
    assert capfd.readouterr().out == "x = 2.0\n"
