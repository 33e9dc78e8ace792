"""Calls that native code takes as they are made: from the third on, no Python code runs."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections import OrderedDict, namedtuple
from functools import partial

import numpy as np
import pytest

import gradc
from gradc.codegen import cpython

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

Layer = namedtuple("Layer", "weights bias")
X, Y = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])


@dataclasses.dataclass
class Params:
    scale: object
    layers: object
    name: str = "net"


class Mode(enum.Enum):
    SUM = 1
    MEAN = 2


@pytest.fixture(autouse=True)
def compiled():
    with gradc.config(jit=True):
        yield


def python_calls(call):
    """The result of a call, and the names of the Python functions that ran."""
    names = []

    def note(frame, event, argument):
        if event == "call":
            names.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        result = call()
    finally:
        sys.setprofile(None)
    return result, names


def native(f, *args, **kwargs):
    """The result of a third call, which must be native, compared with that of the first."""
    first = f(*args, **kwargs)
    f(*args, **kwargs)
    result, names = python_calls(partial(f, *args, **kwargs))
    assert names == []
    same(result, first)
    return result


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if dataclasses.is_dataclass(a):
        a, b = list(vars(a).values()), list(vars(b).values())
    if isinstance(a, (tuple, list)):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


def test_python_calls_are_noticed():
    f = gradc.compile(lambda x: x * 2)
    assert python_calls(partial(f, 1.0))[1] != []


def test_dict_of_parameters():
    @gradc.compile
    def f(p, x):
        return np.sum(p["w"] * x) * p["b"][0] + p["b"][1]["c"]

    p = {"w": X, "b": [2.0, {"c": np.float64(3)}], "none": None}
    assert native(f, p, Y) == 2 * np.sum(X * Y) + 3
    value, gradient = native(f.value_and_grad, p, Y)
    same(gradient, {"w": 2 * Y, "b": [np.sum(X * Y), {"c": np.float64(1)}], "none": None})
    p["w"] = 2 * X
    assert f(p, Y) == 4 * np.sum(X * Y) + 3
    p["b"][0] = 1.0
    assert f(p, Y) == 2 * np.sum(X * Y) + 3
    # Another order, another type, another layout: served all the same.
    turned = {key: p[key] for key in reversed(p)}
    assert f(turned, Y) == f(p, Y)
    assert f({**p, "w": np.repeat(p["w"], 2)[::2]}, Y) == f(p, Y)
    assert f(OrderedDict(p), Y) == f(p, Y)
    assert f({**p, "w": p["w"].astype(np.float32)}, Y) == f(p, Y)


def test_named_tuples_and_dataclasses():
    f = gradc.compile(lambda p: np.sum(p.layers[0].weights ** 2) * p.scale + p.layers[0].bias)
    p = Params(2.0, (Layer(X, np.array(1.0)),))
    assert native(f, p) == 29.0
    gradient = native(f.grad, p)
    same(gradient, Params(np.float64(14), (Layer(4 * X, np.float64(1)),), None))
    assert f(Params(2.0, (Layer(X, np.array(1.0)),), "other")) == 29.0
    p.layers = (Layer(Y, np.array(1.0)),)
    assert f(p) == 2 * np.sum(Y**2) + 1


def test_numbers_that_are_differentiated():
    f = gradc.value_and_grad(lambda x, y, z: (x + y) * z, argnums=(0, 1, 2))
    same(native(f, -2, 5, -4), tuple_of(-12.0, (-4.0, -4.0, 3.0)))
    for args in ((-2.0, 5, -4), (-2, 5.0, -4.0), (2, 0, 7)):
        result, names = python_calls(partial(f, *args))
        x, y, z = map(float, args)
        same(result, tuple_of((x + y) * z, (z, z, x + y)))
        assert names == []
    assert f(10**30, 0, 1)[0] == 1e30
    with pytest.raises(TypeError, match="bool"):
        f(True, 5, -4)


def tuple_of(value, gradient):
    return np.float64(value), tuple(map(np.float64, gradient))


def test_numbers_in_a_differentiated_pytree():
    f = gradc.grad(lambda p, n: p["a"] * p["b"][0] * n)
    same(native(f, {"a": 2, "b": (3,)}, 5), {"a": np.float64(15), "b": (np.float64(10),)})
    same(f({"a": 2.5, "b": (3,)}, 5), {"a": np.float64(15), "b": (np.float64(12.5),)})
    same(f({"a": 2, "b": (3,)}, 5.0), {"a": np.float64(15), "b": (np.float64(10),)})
    lists = gradc.grad(lambda w: np.sum(w**2))
    for _ in range(3):
        same(lists([1, 2]), np.array([2.0, 4.0]))


def test_static_arguments():
    @gradc.compile
    def f(x, kind="sum", times=1, then=None, flag=False, mode=Mode.SUM):
        for _ in range(times):
            x = x * 2
        out = {"sum": np.sum, "mean": np.mean}[kind](x)
        if mode is Mode.MEAN:
            out = out / 2
        return (out if then is None else then(out)) + (1 if flag else 0)

    assert native(f, X) == 12
    assert native(f, X, "mean") == 4
    assert native(f, X, "mean", 2) == 8
    assert native(f, X, "mean", 2, np.sqrt) == np.sqrt(8)
    assert native(f, X, times=2, kind="mean") == 8
    assert native(f, X, "mean", mode=Mode.MEAN) == 2
    assert native(f, X, flag=True) == 13
    assert native(f, X, "".join(["me", "an"])) == 4
    # The same again, among all that are there now.
    for _ in range(2):
        assert f(X, "mean") == 4 and f(X, "sum", 2) == 24 and f(X, "sum", 3) == 48
        assert f(X, "sum", True) == 12 and f(X, flag=False) == 12 and f(X) == 12


def test_static_argnums():
    f = gradc.compile(lambda x, axes, s=0.0: np.sum(x, axis=axes) * np.copysign(1, s),
                      static_argnums=(1, 2))
    x = np.ones((2, 3, 4))
    np.testing.assert_array_equal(native(f, x, (0, 2)), np.full(3, 8.0))
    np.testing.assert_array_equal(native(f, x, (0, 1)), np.full(4, 6.0))
    np.testing.assert_array_equal(native(f, x, (0, 1), 0.0), np.full(4, 6.0))
    np.testing.assert_array_equal(native(f, x, (0, 1), -0.0), np.full(4, -6.0))
    np.testing.assert_array_equal(f(x, tuple([0, 1]), 0.0), np.full(4, 6.0))


def test_keywords_and_defaults():
    offset = np.array([1.0, 2.0, 3.0])

    @gradc.compile
    def f(x, y=offset, *, power=2, **extra):
        return np.sum((x + y) ** power) + sum(extra.values())

    assert native(f, X) == 56
    assert native(f, x=X) == 56
    assert native(f, X, power=1) == 12
    assert native(f, X, y=X, more=1.0, still=2.0) == 59
    assert native(f, y=X, x=X) == 56
    assert native(f, X, X, power=2) == 56
    offset[0] = 2.0
    assert f(X) == 61 and f(X, power=1) == 13
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        f()
    with pytest.raises(TypeError, match="too many positional arguments"):
        f(X, X, X)


def test_star_arguments():
    f = gradc.compile(lambda *xs: sum(np.sum(x) for x in xs))
    assert native(f, X) == 6 and native(f, X, (Y[:0]).sum()) == 6
    assert native(f, *[X] * 12) == 72
    assert f(X) == 6


def test_mutable_static_values_stay_in_python():
    class Named:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return self.name == other.name

        def __hash__(self):
            return hash(self.name)

    f = gradc.compile(lambda x, n: x * len(n.name))
    one = Named("a")
    assert [f(2.0, one) for _ in range(3)] == [2.0] * 3
    one.name = "bcd"
    assert f(2.0, one) == 6.0


def test_zero_dimensional_arrays():
    f = gradc.compile(lambda p: p["x"] * 2)
    for x in (np.array(3.0), np.float64(3), np.array(3.0)):
        assert native(f, {"x": x}) == 6.0
    n = np.array(3)
    g = gradc.compile(lambda p: p["x"] * len(range(p["n"])))
    assert [g({"x": 2.0, "n": n}) for _ in range(3)] == [6.0] * 3
    n[...] = 4
    assert g({"x": 2.0, "n": n}) == 8.0


@pytest.mark.parametrize("jit", [True, False])
def test_numpy_integers_that_turned_static_change(jit):
    f = gradc.compile(lambda x, n: x * len(range(n)))
    with gradc.config(jit=jit):
        for n in (3, 3, 3, 4, 4, 3, 5):
            assert f(2.0, np.int64(n)) == f(2.0, np.array(n)) == 2.0 * n
            assert f(2.0, np.uint8(n)) == f(2.0, n) == 2.0 * n


def test_results_of_ordered_dicts_and_errors():
    f = gradc.compile(lambda p, i: OrderedDict(a=p["x"][i]))
    for _ in range(3):
        assert f({"x": X}, np.array([1, 2]))["a"].tolist() == [2.0, 3.0]
        with pytest.raises(IndexError, match="out of bounds"):
            f({"x": X}, np.array([1, 3]))


def test_calls_inside_a_trace_are_traced():
    inner = gradc.compile(lambda p, scale=2.0: np.sum(p["x"] ** 2) * scale)
    assert native(inner, {"x": X}) == 28.0
    outer = gradc.grad(lambda x: inner({"x": x * 3}))
    np.testing.assert_allclose(outer(X), 36 * X)


def test_without_the_compiler():
    f = gradc.compile(lambda p, *, k=1: p["x"] * k)
    assert native(f, {"x": 2.0}, k=3) == 6.0
    with gradc.config(jit=False):
        assert python_calls(partial(f, {"x": 2.0}, k=3))[1] != []
    assert native(f, {"x": 2.0}, k=3) == 6.0
    f.clear_cache()
    assert f({"x": 2.0}, k=3) == 6.0


def test_many_forms_are_served():
    f = gradc.compile(lambda p: sum(np.sum(x) for x in p))
    for _ in range(3):
        for n in range(1, 25):
            assert f([X] * n) == 6 * n
    assert f([X] * 600) == 3600
