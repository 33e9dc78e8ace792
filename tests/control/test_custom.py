"""custom_vjp, custom_jvp and checkpoint: the rule is what is used, whatever it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ArgumentError, NotDifferentiableError, ReadOnlyError
from tests.control.helpers import count, graph_of, same

X = np.array([0.5, -1.25, 2.0])


@gradc.custom_vjp
def scaled(x: Any, k: Any) -> Any:
    """x * k, with three times the derivative."""
    return x * k


scaled.defvjp(lambda x, k: (scaled(x, k), (x, k)),
              lambda kept, ct: (3 * ct * kept[1], 3 * np.sum(ct * kept[0])))


def test_the_value_is_the_functions() -> None:
    assert scaled(2.0, 3.0) == 6.0
    assert gradc.compile(lambda x: scaled(x, 3.0))(2.0) == 6.0
    same(lambda x: scaled(x, x[0]), X)
    nodes = graph_of(lambda x: scaled(x, 2.0), X).nodes
    assert [node.op.name for node in nodes].count("call") == 1
    assert scaled.__name__ == "scaled"


def test_the_derivative_is_the_rules() -> None:
    gradient = gradc.grad(lambda x, k: np.sum(scaled(x, k)), argnums=(0, 1))
    dx, dk = gradient(X, 2.0)
    np.testing.assert_allclose(dx, np.full(3, 6.0))
    assert dk == pytest.approx(3 * X.sum())
    assert gradc.grad(scaled)(2.0, 5.0) == 15.0


def test_a_known_argument_needs_no_cotangent() -> None:
    assert gradc.grad(lambda x: scaled(x, 5.0))(2.0) == 15.0


def test_second_order_goes_through_the_rule() -> None:
    # d/dx of 3 x, itself computed through scaled: x * x by scaled(x, x) has the gradient 3 x + 3 x
    first = gradc.grad(lambda x: scaled(x, x))
    assert first(2.0) == 12.0
    assert gradc.grad(first)(2.0) == 6.0


def test_forward_mode_is_refused() -> None:
    with pytest.raises(TypeError, match="custom_vjp"):
        gradc.jvp(lambda x: scaled(x, 2.0), (1.0,), (1.0,))


def test_in_loops_and_branches() -> None:
    def f(x: Any) -> Any:
        y = gradc.fori_loop(0, 3, lambda i, y: scaled(y, x), x)
        return gradc.cond(y > 0, lambda: scaled(y, 2.0), lambda: y)

    x = 1.5
    assert f(x) == pytest.approx(2 * x**4)
    # each of the products has three times its derivative
    dy, y = 1.0, x
    for _ in range(3):
        y, dy = y * x, 3 * (dy * x + y)
    assert gradc.grad(f)(x) == pytest.approx(3 * 2 * dy)


def test_pytrees_static_leaves_and_nondiff_argnums() -> None:
    calls = []

    def apply(name: str, p: dict, n: int) -> dict:
        return {"y": getattr(np, name)(p["a"]) * p["b"] ** n, "n": n, "tag": name}

    f = gradc.custom_vjp(apply, nondiff_argnums=(0, 2))

    def fwd(name: str, p: dict, n: int) -> Any:
        return apply(name, p, n), (p, name)

    def bwd(name: str, n: int, kept: Any, ct: Any) -> Any:
        p, kept_name = kept
        calls.append((name, n, kept_name, ct["n"], ct["tag"]))
        return ({"a": ct["y"] * 10 * p["b"], "b": None},)

    f.defvjp(fwd, bwd)
    p = {"a": X, "b": np.float64(2.0)}
    got = gradc.grad(lambda p: np.sum(f("sin", p, 3)["y"]))(p)
    np.testing.assert_allclose(got["a"], np.full(3, 20.0))
    assert got["b"] == 0.0
    assert calls[-1] == ("sin", 3, "sin", None, None)


def test_implicit_differentiation_of_a_root() -> None:
    @gradc.custom_vjp
    def root(a: Any) -> Any:
        def step(y: Any) -> Any:
            return y - (y**3 + y - a) / (3 * y**2 + 1)

        return gradc.while_loop(lambda y: abs(y**3 + y - a) > 1e-13, step, a)

    def fwd(a: Any) -> Any:
        y = root(a)
        return y, y

    root.defvjp(fwd, lambda y, ct: (ct / (3 * y**2 + 1),))
    a, y = 2.5, gradc.compile(root)(2.5)
    assert y**3 + y == pytest.approx(a)
    assert gradc.grad(root)(a) == pytest.approx(1 / (3 * y**2 + 1), rel=1e-12)
    # y'' = -6 y y' / (3 y^2 + 1)^2
    slope = 1 / (3 * y**2 + 1)
    assert gradc.grad(gradc.grad(root))(a) == pytest.approx(-6 * y * slope**3, rel=1e-10)


def test_integers_from_around_the_function_are_fine() -> None:
    def f(x: Any) -> Any:
        def body(i: Any, s: Any) -> Any:
            @gradc.custom_vjp
            def times(y: Any) -> Any:
                return y * i

            times.defvjp(lambda y: (y * i, None), lambda _, ct: (ct * i * 2,))
            return s + times(x)

        return gradc.fori_loop(0, 4, body, 0.0)

    assert gradc.compile(f)(1.5) == pytest.approx(9.0)
    assert gradc.grad(f)(1.5) == pytest.approx(12.0)


def test_floats_from_around_the_function_are_refused() -> None:
    def f(x: Any) -> Any:
        g = gradc.custom_vjp(lambda y: y * x)
        g.defvjp(lambda y: (y * x, None), lambda _, ct: (ct,))
        return g(x)

    with pytest.raises(NotDifferentiableError, match="uses a traced value from around it"):
        gradc.compile(f)(1.0)


def test_a_rule_that_does_not_fit() -> None:
    def f(fwd: Any, bwd: Any) -> Any:
        g = gradc.custom_vjp(lambda x: x * 2)
        g.defvjp(fwd, bwd)
        return gradc.grad(lambda x: np.sum(g(x)))(X)

    def good(x: Any) -> Any:
        return x * 2, None

    with pytest.raises(ArgumentError, match="forward rule.*returns its value and what"):
        f(lambda x: x, lambda _, ct: (ct,))
    with pytest.raises(ArgumentError, match=r"has the shape \(\), not \(3,\)"):
        f(lambda x: (np.sum(x), None), lambda _, ct: (ct,))
    with pytest.raises(ArgumentError, match="a tuple of 1 cotangents"):
        f(good, lambda _, ct: ct)
    with pytest.raises(ArgumentError, match=r"cotangent of `x` has the shape \(\), not \(3,\)"):
        f(good, lambda _, ct: (np.sum(ct),))
    with pytest.raises(ArgumentError, match="has no derivative yet"):
        gradc.grad(gradc.custom_vjp(lambda x: x))(1.0)


def test_writes_are_refused() -> None:
    def write(x: Any) -> Any:
        x[0] = 1.0
        return x

    f = gradc.custom_vjp(write)
    f.defvjp(lambda x: (x, None), lambda _, ct: (ct,))
    with pytest.raises(ReadOnlyError, match="`x`, an argument of write"):
        gradc.compile(lambda x: f(x * 1.0))(X)


@gradc.custom_jvp
def sharp(x: Any, k: Any = 2.0) -> Any:
    return np.maximum(x, 0.0) * k


@sharp.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x, k), (dx, dk) = primals, tangents
    return sharp(x, k), np.where(x > 0, 1.0, 0.1) * k * dx + sharp(x, 1.0) * dk


def test_custom_jvp_serves_both_modes() -> None:
    slope = np.where(X > 0, 2.0, 0.2)
    value, tangent = gradc.jvp(sharp, (X,), (np.ones(3),))
    np.testing.assert_allclose(value, np.maximum(X, 0) * 2)
    np.testing.assert_allclose(tangent, slope)
    np.testing.assert_allclose(gradc.grad(lambda x: sharp(x).sum())(X), slope)
    dk = gradc.grad(lambda x, k: sharp(x, k).sum(), argnums=1)(X, 3.0)
    assert dk == pytest.approx(np.maximum(X, 0).sum())


def test_custom_jvp_of_second_order() -> None:
    @gradc.custom_jvp
    def cube(x: Any) -> Any:
        return x * x * x

    cube.defjvp(lambda primals, tangents: (cube(*primals), 3 * primals[0] ** 2 * tangents[0]))
    for x in (0.0, 1.5):
        assert gradc.grad(gradc.grad(cube))(x) == pytest.approx(6 * x)
        assert gradc.jvp(gradc.grad(cube), (x,), (1.0,))[1] == pytest.approx(6 * x)
    gradc.check_grads(lambda x: gradc.fori_loop(0, 3, lambda i, y: cube(y) * x, x), (0.9,), order=2)


def test_defjvps() -> None:
    f = gradc.custom_jvp(lambda x, y: x * y)
    f.defjvps(lambda dx, value, x, y: 2 * dx * y, None)
    dx, dy = gradc.grad(f, argnums=(0, 1))(3.0, 5.0)
    assert (dx, dy) == (10.0, 0.0)


def test_checkpoint() -> None:
    @gradc.checkpoint
    def layer(w: Any, x: Any) -> Any:
        return {"y": np.tanh(w * x["y"] + np.sin(w)), "kind": x["kind"]}

    def f(w: Any, x: Any) -> Any:
        out = {"y": x, "kind": "tanh"}
        for _ in range(3):
            out = layer(w, out)
        assert out["kind"] == "tanh"
        return np.sum(out["y"] * w)

    def plain(w: Any, x: Any) -> Any:
        y = x
        for _ in range(3):
            y = np.tanh(w * y + np.sin(w))
        return np.sum(y * w)

    assert count(f, "call", X, X) == 3
    same(f, X, X)
    np.testing.assert_allclose(gradc.grad(f)(X, X), gradc.grad(plain)(X, X), rtol=1e-12)
    gradc.check_grads(f, (X, X), order=2)


def test_a_checkpointed_function_writes_around_it() -> None:
    def f(x: Any) -> Any:
        a = np.zeros(3)

        @gradc.checkpoint
        def write(y: Any) -> Any:
            a[1:] += np.sin(y[1:])
            return a.sum() * y

        first = write(x)
        return a * write(first)

    same(f, X)
    gradc.check_grads(lambda x: f(x).sum(), (X,), order=2)
