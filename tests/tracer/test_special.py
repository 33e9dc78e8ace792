"""SciPy's special functions in traced code, against SciPy: values, dtypes, edges, derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special
from scipy.special import log_softmax

import gradc
from gradc.errors import UnsupportedError
from gradc.numpy_api.special import _EMITTERS, FUNCTIONS
from tests.tracer.helpers import check, interpreted

X = np.array([[0.3, 0.9, 0.5], [0.05, 0.71, 0.25]])
Y = np.array([[0.4, 2.0, 0.8], [1.5, 3.0, 0.6]])
EDGES = np.array([-np.inf, -1.0, -0.0, 0.0, 1.0, np.inf, np.nan])


def ufunc(name: str) -> Any:
    return getattr(special, name)


@pytest.mark.parametrize("name", sorted(_EMITTERS))
def test_agrees_with_scipy(name: str) -> None:
    f = ufunc(name)
    for dtype in ("f8", "f4", "i8"):
        args = [a.astype(dtype) + (dtype == "i8") for a in (X, Y)][: f.nin]
        check(lambda *a: f(*a), *args)
    check(lambda x: f(x, 0.5) if f.nin == 2 else f(x[:, None]), X)


@pytest.mark.parametrize("name", sorted(set(_EMITTERS) - {"gammaln", "loggamma", "exp10"}))
def test_edges(name: str) -> None:
    f = ufunc(name)
    args = [a.ravel() for a in np.meshgrid(EDGES, EDGES)] if f.nin == 2 else [EDGES]
    check(lambda *a: f(*a), *args)
    compiled = gradc.compile(lambda *a: f(*a))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(compiled(*args), f(*args), rtol=1e-14)


@pytest.mark.parametrize("name", sorted(_EMITTERS))
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives(name: str, order: int, jit: bool) -> None:
    f = ufunc(name)
    args = (X, Y)[: f.nin]
    gradc.check_grads(lambda *a: f(*a), args, order=order)


def test_derivatives_of_the_log_gamma_function() -> None:
    x = np.array([0.3, 1.0, 2.5, 40.0, -0.7, -3.2])
    slope = gradc.grad(lambda x: np.sum(special.gammaln(x)))
    curvature = gradc.grad(lambda x: np.sum(slope(x)))
    np.testing.assert_allclose(curvature(x), special.polygamma(1, x), rtol=1e-14)
    third = gradc.grad(lambda x: np.sum(curvature(x)))(x)
    np.testing.assert_allclose(third[:4], special.polygamma(2, x[:4]), rtol=1e-13)
    step = 1e-5
    difference = special.polygamma(1, x + step) - special.polygamma(1, x - step)
    np.testing.assert_allclose(third, difference / (2 * step), rtol=1e-7)


CALLS: dict[str, Callable[[Any], Any]] = {
    "logsumexp": lambda x: (special.logsumexp(x), special.logsumexp(x, axis=0),
                            special.logsumexp(x, 1, keepdims=True),
                            special.logsumexp(x, axis=1, b=np.array([1.0, 2.0, 0.5]))),
    "softmax": lambda x: (special.softmax(x), special.softmax(x, axis=1)),
    "log_softmax": lambda x: (special.log_softmax(x), special.log_softmax(x, axis=0)),
    "polygamma": lambda x: (special.polygamma(0, x), special.polygamma(1, x)),
    "softplus": lambda x: special.softplus(x),
}  # fmt: skip


def test_every_function_is_tested() -> None:
    assert CALLS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", sorted(name for name in CALLS if hasattr(special, name)))
def test_functions(name: str) -> None:
    check(CALLS[name], X)
    check(CALLS[name], 100 * X)
    gradc.check_grads(lambda x: CALLS[name](x), (X,), order=2)


def test_a_name_imported_from_scipy() -> None:
    logits = 1000 * X
    value, slope = gradc.value_and_grad(lambda x: -log_softmax(x, axis=1)[:, 0].sum())(logits)
    np.testing.assert_allclose(value, -log_softmax(logits, axis=1)[:, 0].sum())
    one_hot = np.array([[1.0, 0.0, 0.0]] * 2)
    np.testing.assert_allclose(slope, special.softmax(logits, axis=1) - one_hot, atol=1e-15)
    assert special.log_softmax is log_softmax


def test_constants_are_scipys() -> None:
    check(lambda x: x * special.j0(1.0) + special.erfinv(np.array(0.5)), X)
    check(lambda x, n: x * special.comb(n, 2), X, 5)


def test_relative_entropy_of_numbers_far_apart() -> None:
    x = np.array([1.0, 0.5, 1e300, 5e-324, 1e-200, 1e-200])
    y = np.array([5e-324, 5e-324, 1e-300, 2.0, 1e120, 3e-200])
    found = gradc.compile(lambda x, y: special.rel_entr(x, y))(x, y)
    np.testing.assert_allclose(found, special.rel_entr(x, y), rtol=1e-15)


def test_the_largest_argument_of_lgamma() -> None:
    f = gradc.compile(lambda x: special.gammaln(x))
    x = np.array([2.556348163871691e305, 2.5599833278516383e305, 2.5599833278516390e305])
    assert f(x)[0] == pytest.approx(1.7951367866984444e308, rel=1e-15)
    assert np.isfinite(f(x)[:2]).all() and f(x)[2] == np.inf


def test_math() -> None:
    check(lambda x: (math.erf(x), math.erfc(x), math.lgamma(x), math.lgamma(x - 1.5)), 0.3)
    check(lambda x: np.ones(2, np.float32) * math.erf(x), 0.3)


@pytest.mark.parametrize("name", ["erfinv", "gamma", "j0", "betaln", "zetac"])
def test_other_functions_are_refused_by_name(name: str) -> None:
    f = ufunc(name)
    with pytest.raises(UnsupportedError, match=rf"scipy\.special\.{name} is not supported"):
        interpreted(lambda x: f(*[x] * f.nin), X)


def test_other_functions_that_are_no_ufuncs_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"scipy\.special\.multigammaln is not supported"):
        interpreted(lambda x: special.multigammaln(x, 2), X)
    with pytest.raises(UnsupportedError, match=r"polygamma\(2, x\) is not supported"):
        interpreted(lambda x: special.polygamma(2, x), X)
    with pytest.raises(UnsupportedError, match="return_sign= is not supported"):
        interpreted(lambda x: special.logsumexp(x, return_sign=True), X)
