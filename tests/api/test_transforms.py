"""grad, value_and_grad, jvp, vjp, stop_gradient: values, orders of results, nesting."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import gradc

pytestmark = pytest.mark.usefixtures("jit")

rng = np.random.default_rng(2)


def cube(x):
    return x**3


# -- nesting -------------------------------------------------------------------------------------


def test_higher_orders():
    f = cube
    for want in (12.0, 12.0, 6.0, 0.0):
        f = gradc.grad(f)
        assert f(2.0) == want


def test_perturbation_confusion():
    assert gradc.grad(lambda x: x * gradc.grad(lambda y: x + y)(1.0))(1.0) == 1.0
    # d/dx of x · d/dy (x y²) at y = 2, that is of 4 x²
    inner = lambda x: x * gradc.grad(lambda y: x * y**2)(2.0)  # noqa: E731
    assert gradc.grad(inner)(3.0) == 24.0


def test_forward_over_reverse_and_reverse_over_forward():
    def forward(x):
        return gradc.jvp(cube, (x,), (1.0,))[1]

    assert gradc.grad(forward)(2.0) == 12.0
    value, slope = gradc.jvp(gradc.grad(cube), (2.0,), (1.0,))
    assert (value, slope) == (12.0, 12.0)
    y, pull = gradc.vjp(gradc.grad(cube), 2.0)
    assert (y, pull(1.0)) == (12.0, (12.0,))
    assert gradc.grad(lambda x: gradc.vjp(cube, x)[1](1.0)[0])(2.0) == 12.0


def test_three_levels_of_capture():
    def outer(a):
        def middle(b):
            return gradc.grad(lambda c: a * b * c**2)(3.0) * b

        return gradc.grad(middle)(2.0)

    # d/dc = 6ab; middle = 6ab²; d/db = 12ab = 24a
    assert outer(5.0) == 120.0
    assert gradc.grad(outer)(5.0) == 24.0
    assert gradc.compile(outer)(5.0) == 120.0


def test_gradient_used_inside_a_compiled_function():
    """A step of gradient descent, differentiated in its rate."""
    A = rng.normal(size=(3, 3))

    def loss(w):
        return np.sum((A @ w) ** 2)

    @gradc.compile
    def after_step(rate, w):
        return loss(w - rate * gradc.grad(loss)(w))

    w, rate = rng.normal(size=3), 0.01
    slope = 2 * A.T @ (A @ w)
    by_hand = -2 * (A @ (w - rate * slope)) @ (A @ slope)
    np.testing.assert_allclose(after_step.grad(rate, w), by_hand, rtol=1e-10)


def test_compiled_functions_are_traced_through():
    calls = []

    @gradc.compile
    def inner(x):
        calls.append(1)
        return np.sum(x * x)

    @gradc.compile
    def outer(x):
        return inner(x) * 2 + inner.grad(x)[0]

    x = np.array([1.0, 2.0])
    assert outer(x) == 12.0
    np.testing.assert_array_equal(outer.grad(x), [6, 8])


def test_nested_gradient_of_a_nested_structure():
    def f(p):
        return p["a"] ** 2 * p["b"][0]

    g = gradc.grad(lambda p: gradc.grad(f)(p)["a"])
    assert g({"a": 3.0, "b": (2.0,)}) == {"a": 4.0, "b": (6.0,)}


def test_traced_int_is_a_float_in_a_nested_gradient():
    assert gradc.compile(lambda n: gradc.grad(cube)(n))(2) == 12.0


def test_static_value_needed_in_a_nested_gradient():
    def power(x, n):
        out = x
        for _ in range(n - 1):
            out = out * x
        return out

    f = gradc.compile(lambda x, n: gradc.grad(power)(x, n))
    assert [f(2.0, n) for n in (1, 2, 3)] == [1.0, 4.0, 12.0]


def test_captured_static_value_needed_in_a_nested_gradient():
    @gradc.compile
    def f(x, n):
        return gradc.grad(lambda y: y * sum(1.0 for _ in range(n)))(x)

    assert f(2.0, 3) == 3.0 and f(2.0, 4) == 4.0


def test_recursion():
    @gradc.compile
    def power(x, n):
        return x * power(x, n - 1) if n > 0 else 1.0

    assert power(2.0, 5) == 32.0
    assert power.grad(2.0, 5) == 80.0


# -- what lies outside the function -------------------------------------------------------------

FACTOR = 2.0
TABLE = np.array([1.0, 2.0])


def helper(x):
    return FACTOR * x


def uses_globals(x):
    return helper(x) + TABLE[1] * x


def test_functional_forms_see_changed_globals(monkeypatch):
    assert gradc.grad(uses_globals)(1.0) == 4.0
    assert gradc.grad(uses_globals) is gradc.grad(uses_globals)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert gradc.grad(uses_globals)(1.0) == 5.0
    TABLE[1] = 7.0
    assert gradc.jvp(uses_globals, (1.0,), (1.0,)) == (10.0, 10.0)
    TABLE[1] = 2.0


def test_functional_forms_see_changed_closures():
    scale = np.ones(2)
    bias = 0.0

    def f(x):
        return np.sum(scale * x) + bias

    assert gradc.value_and_grad(f)(1.0) == (2.0, 2.0)
    scale *= 3
    bias = 1.0
    assert gradc.value_and_grad(f)(1.0) == (7.0, 6.0)
    assert gradc.grad(functools.partial(np.multiply, 4.0))(1.0) == 4.0
    again = functools.partial(f)
    assert gradc.grad(again)(1.0) == 6.0
    scale *= 2
    assert gradc.grad(again)(1.0) == 12.0


# -- has_aux and the order of results ------------------------------------------------------------


def test_has_aux():
    def f(w, x):
        p = x @ w
        return np.sum(p**2), {"p": p, "n": 3}

    w, x = np.array([1.0, 2.0]), np.eye(2)
    (value, aux), gradient = gradc.value_and_grad(f, has_aux=True)(w, x)
    assert value == 5.0 and aux["n"] == 3
    np.testing.assert_array_equal(aux["p"], [1, 2])
    np.testing.assert_array_equal(gradient, [2, 4])
    gradient, aux = gradc.grad(f, has_aux=True)(w, x)
    np.testing.assert_array_equal(gradient, [2, 4])
    np.testing.assert_array_equal(aux["p"], [1, 2])
    compiled = gradc.compile(f, has_aux=True)
    assert compiled(w, x)[0] == 5.0
    np.testing.assert_array_equal(compiled.grad(w, x)[0], [2, 4])
    with pytest.raises(TypeError, match="has_aux=True, but <lambda> returned"):
        gradc.grad(lambda x: x, has_aux=True)(1.0)


# -- jvp and vjp ---------------------------------------------------------------------------------


def test_jvp_and_vjp_are_adjoint():
    A = rng.normal(size=(4, 3))

    def f(p, k):
        return {"y": np.tanh(A @ p["x"]) * p["s"], "k": k}

    primals = ({"x": rng.normal(size=3), "s": 1.5}, np.arange(2))
    moved = {"x": rng.normal(size=3), "s": 0.3}
    out, tangent = gradc.jvp(f, primals, (moved, None))
    assert tangent["k"] is None
    np.testing.assert_allclose(out["y"], np.tanh(A @ primals[0]["x"]) * 1.5)
    out, pull = gradc.vjp(f, *primals)
    weights = rng.normal(size=4)
    back, nothing = pull({"y": weights, "k": None})
    assert nothing is None
    np.testing.assert_allclose(
        weights @ tangent["y"], back["x"] @ moved["x"] + back["s"] * moved["s"], rtol=1e-12
    )


def test_vjp_has_aux():
    y, pull, aux = gradc.vjp(lambda x: (2 * x, x + 1), 3.0, has_aux=True)
    assert (y, aux, pull(1.0)) == (6.0, 4.0, (2.0,))


def test_vjp_keeps_its_arguments():
    x = np.array([1.0, 2.0])
    _, pull = gradc.vjp(lambda x: np.sum(x**2), x)
    x[:] = 0
    np.testing.assert_array_equal(pull(1.0)[0], [2, 4])


def test_tangents_that_do_not_fit():
    x = np.ones(3)
    with pytest.raises(TypeError, match=r"tangent of `primals\[0\]` must be float64 of shape"):
        gradc.jvp(np.sin, (x,), (np.ones(2),))
    with pytest.raises(TypeError, match="a tangent has the structure"):
        gradc.jvp(lambda p: p[0], ((x, x),), ([x, x],))
    with pytest.raises(TypeError, match="is missing"):
        gradc.jvp(np.sin, (x,), (None,))
    with pytest.raises(TypeError, match="jvp takes a tuple of primals"):
        gradc.jvp(np.sin, x, x)
    with pytest.raises(TypeError, match="cotangent of `result0` must be float64"):
        gradc.vjp(np.sin, x)[1](np.ones(4))


# -- stop_gradient -------------------------------------------------------------------------------


def test_stop_gradient():
    assert gradc.stop_gradient(2.0) == 2.0
    assert gradc.grad(lambda x: x * gradc.stop_gradient(x**2))(3.0) == 9.0
    gradient = gradc.grad(lambda p: gradc.stop_gradient(p)["a"] * p["a"])({"a": 2.0})
    assert gradient == {"a": 2.0}
    assert gradc.jvp(gradc.stop_gradient, (2.0,), (1.0,)) == (2.0, 0.0)


# -- kinks ---------------------------------------------------------------------------------------


def test_conventions_at_kinks():
    assert gradc.grad(lambda x: np.maximum(x, 0))(0.0) == 0.5
    assert gradc.grad(np.abs)(0.0) == 0.0
    assert gradc.grad(np.sqrt)(0.0) == math.inf
    np.testing.assert_array_equal(gradc.grad(np.max)(np.array([1.0, 3.0, 3.0])), [0, 0.5, 0.5])
    safe = gradc.grad(lambda x: np.where(x > 0, np.log(x), 0.0))
    assert safe(0.0) == 0.0 and safe(2.0) == 0.5


def test_a_result_that_does_not_depend_on_the_argument():
    np.testing.assert_array_equal(gradc.grad(lambda x, y: np.sum(y))(np.ones(3), 2.0), np.zeros(3))
    assert gradc.grad(lambda x: 3.0)(1.0) == 0.0


def test_numpy_functions_can_be_transformed():
    assert gradc.grad(np.sin)(0.0) == 1.0
    assert gradc.value_and_grad(np.prod)(np.array([2.0, 3.0]))[0] == 6.0
