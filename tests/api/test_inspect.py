"""Every stage of a compiled function can be seen."""

from __future__ import annotations

import numpy as np
import pytest

import gradc


@gradc.compile
def loss(w, x):
    return np.sum((x @ w) ** 2)


ARGS = (np.ones(3), np.ones((5, 3)))


def test_graph_stages_under_their_titles():
    text = loss.ir(*ARGS)
    assert "# loss.value_and_grad(w: f64[3], x: f64[5,3]), as traced\n" in text
    assert "with its adjoint\n" in text and "optimized\n" in text
    assert text.index("as traced") < text.index("with its adjoint") < text.index("optimized")


def test_single_stages():
    traced = loss.ir(*ARGS, stage="traced")
    assert traced.startswith("graph loss(w: f64[3], x: f64[5,3])")
    assert "adjoint" not in traced and "test_inspect.py" in traced
    assert "adjoint" in loss.ir(*ARGS, stage="adjoint")
    assert loss.ir(*ARGS, stage="optimized").startswith("graph loss(")
    forward = loss.ir(*ARGS, stage="optimized", grad=False)
    assert "adjoint" not in forward
    with pytest.raises(TypeError, match="there is no stage 'machine'"):
        loss.ir(*ARGS, stage="machine")


def test_functions_without_gradient_show_their_forward_graph():
    f = gradc.compile(lambda x: x * 2)
    text = f.ir(np.ones(3))
    assert "with its adjoint" not in text and "as traced" in text
    with pytest.raises(TypeError, match="scalar"):
        f.ir(np.ones(3), grad=True)


def test_showing_does_not_trace_again():
    traces = []

    @gradc.compile
    def f(x):
        traces.append(1)
        return x * x

    f.value_and_grad(2.0)
    f.ir(2.0), f.ir(2.0, stage="optimized")
    assert len(traces) == 1


def test_code_stages():
    assert "for i0" in loss.ir(*ARGS, stage="loops")
    assert "define" in loss.llvm(*ARGS) and loss.llvm(*ARGS) == loss.ir(*ARGS, stage="llvm")
    assert "ret" in loss.asm(*ARGS)
