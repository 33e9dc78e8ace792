"""Compiled functions pickle by name, or as source and graphs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import gradc


@gradc.compile
def at_module_level(x):
    return np.sum(x**2)


def undecorated(x):
    return np.sum(x**3)


def test_pickle_by_reference():
    again = pickle.loads(pickle.dumps(at_module_level))
    assert again is at_module_level
    assert pickle.loads(pickle.dumps(at_module_level.grad)) is at_module_level.grad


def test_pickle_of_a_compiled_plain_function():
    f = gradc.compile(undecorated, argnums="x")
    again = pickle.loads(pickle.dumps(f))
    assert again is not f and again(np.ones(3)) == 3.0
    g = pickle.loads(pickle.dumps(gradc.grad(undecorated)))
    np.testing.assert_array_equal(g(np.ones(2)), [3, 3])


@pytest.mark.usefixtures("jit")
def test_pickle_of_what_has_no_name_carries_its_graphs():
    k = 3.0
    f = gradc.compile(lambda x, n=2: np.sum(x * k) * n)
    with pytest.raises(TypeError, match="<lambda> has no name to be imported by"):
        pickle.dumps(f)
    x = np.arange(3.0)
    f(x), f.grad(x)
    text = pickle.dumps(f)
    again = pickle.loads(text)
    assert again(x) == f(x) == 18
    np.testing.assert_array_equal(again.grad(x), [6, 6, 6])
    assert again.__name__ == "<lambda>"
    assert pickle.loads(pickle.dumps(again))(x) == 18
    with pytest.raises(TypeError, match="was unpickled without its function"):
        again(np.ones(7))


def test_a_derivative_of_a_derivative_of_a_lambda() -> None:
    twice = gradc.grad(gradc.grad(lambda x: x**3))
    assert twice(2.0) == 12.0
    assert pickle.loads(pickle.dumps(twice))(2.0) == 12.0
