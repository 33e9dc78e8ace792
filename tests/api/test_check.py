"""The checker is checked: right rules pass, planted wrong ones fail."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gradc
from gradc.ir.ops import REGISTRY
from gradc.ir.ops.base import elementwise
from gradc.tracer import Tracer, emit

rng = np.random.default_rng(3)


def test_right_derivatives_pass():
    A = rng.normal(size=(3, 4))

    def f(p, k):
        return np.tanh(A @ p["x"]) * p["s"] + k[0], np.sum(p["x"])

    gradc.check_grads(f, ({"x": rng.normal(size=4), "s": 1.5}, np.arange(3)))
    gradc.check_grads(np.sin, (2,), order=3)
    gradc.check_grads(gradc.compile(lambda x: np.sum(np.exp(x))), (rng.normal(size=5),))


def test_single_precision():
    x = rng.normal(size=6).astype(np.float32)
    gradc.check_grads(lambda x: np.sum(np.sin(x) * x), (x,))


@pytest.fixture
def planted() -> Iterator[None]:
    """Ops that compute x³ with partials wrong in first order, and only in second."""
    one = elementwise("wrong_first", lambda x: x**3, (lambda x, out: x * x * 2.9,))
    two = elementwise(
        "wrong_second", lambda x: x**3, (lambda x, out: REGISTRY["wrong_slope"](x),)
    )
    slope = elementwise("wrong_slope", lambda x: 3 * x * x, (lambda x, out: x * 5,))
    yield
    for op in (one, two, slope):
        del REGISTRY[op.name]


def apply(name):
    def f(x):
        if isinstance(x, Tracer):
            return emit(REGISTRY[name], x)
        return REGISTRY[name].numpy(np.asarray(x))

    return f


@pytest.mark.usefixtures("planted")
@pytest.mark.parametrize("mode", ["fwd", "rev"])
@pytest.mark.parametrize(("name", "order"), [("wrong_first", 1), ("wrong_second", 2)])
def test_wrong_rules_fail(name, order, mode):
    with (
        gradc.config(jit=False),
        pytest.raises(gradc.GradientCheckError, match="order") as caught,
    ):
        gradc.check_grads(apply(name), (np.array([1.0, 2.0]),), modes=(mode,))
    error = caught.value
    assert isinstance(error, AssertionError)
    assert (error.mode, error.order) == (mode, order)
    assert f"mode {mode!r}" in str(error) and f"order {order}" in str(error)
    assert str(error.numeric) in str(error) and str(error.analytic) in str(error)


@pytest.mark.usefixtures("planted")
def test_a_wrong_second_order_passes_in_first():
    with gradc.config(jit=False):
        gradc.check_grads(apply("wrong_second"), (np.array([1.0, 2.0]),), order=1)


def test_options():
    with pytest.raises(TypeError, match="modes 'fwd' and 'rev'"):
        gradc.check_grads(np.sin, (1.0,), modes=("forward",))
    with pytest.raises(gradc.GradientCheckError):
        gradc.check_grads(np.exp, (1.0,), eps=1e-1, rtol=1e-9, atol=1e-9)


def test_a_single_argument():
    for x in (2.5, np.ones(3), np.float32(1)):
        gradc.check_grads(np.sin, x)
    gradc.check_grads(lambda p: p["a"] ** 2, {"a": 2.0})
    gradc.check_grads(np.hypot, [2.0, 3.0])


@pytest.mark.parametrize(
    ("f", "x"),
    [(np.abs, 0.0), (lambda x: np.sum(np.maximum(x, 0)), np.zeros(3)), (np.floor, 1.0),
     (np.abs, np.float32(0))],
)
def test_kinks_are_hinted_at(f, x):
    with pytest.raises(gradc.GradientCheckError, match="may be a kink"):
        gradc.check_grads(f, (x,))


def test_wrong_derivatives_of_smooth_functions_are_not_taken_for_kinks():
    with pytest.raises(gradc.GradientCheckError) as caught:
        gradc.check_grads(lambda x: np.exp(3 * x), (1.0,), rtol=1e-15, atol=0.0)
    assert "kink" not in str(caught.value)
