"""np.where and np.select as guards, and conventions at kinks, through the public functions."""

from __future__ import annotations

import numpy as np
import pytest

import gradc

pytestmark = pytest.mark.usefixtures("jit")

ZERO = np.float64(0)


def unit(x):
    r = np.sqrt(np.sum(x * x))
    return np.sum(np.where(r > 0, x / r, 0.0))


def nested(x):
    return np.where(x > 0, np.where(x > 1, 1 / (x - 1), 1 / x), 0)


GUARDED = {
    "log squared": lambda x: np.where(x > 0, np.log(x) ** 2, 0),
    "sinc": lambda x: np.where(x != 0, np.sin(x) / x, 1),
    "nested": nested,
    "reciprocal": lambda x: np.where(x != 0, 1 / x, 0),
    "flat exp": lambda x: np.where(x > 0, np.exp(-1 / x), 0),
    "sqrt times x": lambda x: np.where(x > 0, np.sqrt(x) * x, 0),
    "cosc": lambda x: np.where(x != 0, (1 - np.cos(x)) / x**2, 0.5),
    "expm1 by x": lambda x: np.where(x != 0, np.expm1(x) / x, 1),
    "select": lambda x: np.select([x > 1, x > 0], [1 / (x - 1), np.log(x) * np.sqrt(x)], 0.0),
}


@pytest.mark.parametrize("f", GUARDED.values(), ids=GUARDED)
def test_the_branch_not_taken_contributes_nothing(f):
    first = gradc.grad(f)
    assert np.isfinite(f(np.array([0.5]))).all()
    assert first(ZERO) == gradc.grad(first)(ZERO) == 0
    assert gradc.jvp(f, (ZERO,), (1.0,))[1] == gradc.jvp(first, (ZERO,), (1.0,))[1] == 0
    # Where it is taken it counts.
    gradc.check_grads(f, (np.float64(0.7),), order=2)


def test_a_guarded_norm():
    np.testing.assert_array_equal(gradc.grad(unit)(np.zeros(3)), 0)
    again = gradc.grad(lambda x: np.sum(gradc.grad(unit)(x) * np.arange(3.0)))
    np.testing.assert_array_equal(again(np.zeros(3)), 0)
    gradc.check_grads(unit, (np.array([0.3, -1.0, 2.0]),), order=2)


def test_rows_of_zeros_among_rows():
    w = np.arange(1.0, 7).reshape(3, 2)

    def f(x):
        r = np.linalg.norm(x, axis=1, keepdims=True)
        return np.sum(np.where(r > 0, (x / r) @ w, 0.0) ** 2)

    x = np.array([[0.0, 0, 0], [1, 2, 3]])
    got = gradc.grad(f)(x)
    np.testing.assert_array_equal(got[0], 0)
    np.testing.assert_allclose(got[1:], gradc.grad(f)(x[1:]))


def test_hypot_and_norm_are_flat_at_the_origin():
    f = lambda x, y: np.hypot(x, y)  # noqa: E731
    assert gradc.grad(f, argnums=(0, 1))(0.0, 0.0) == (0, 0)
    assert gradc.jvp(f, (0.0, 0.0), (1.0, 1.0))[1] == 0
    np.testing.assert_array_equal(gradc.grad(np.linalg.norm)(np.zeros(3)), 0)
    assert gradc.grad(f, argnums=(0, 1))(3.0, 4.0) == pytest.approx((0.6, 0.8))
    assert np.isnan(gradc.grad(np.arctan2)(0.0, 0.0))
