"""Compiled functions as methods."""

from __future__ import annotations

import functools
import inspect
import pickle

import numpy as np
import pytest

import gradc


class Model:
    """A plain class whose state changes between calls."""

    traces: list[int] = []

    def __init__(self, w, power=2):
        self.w = w
        self.power = power
        self.name = "model"

    @gradc.compile
    def energy(self, x, scale=1.0):
        self.traces.append(1)
        return np.sum((self.w * x) ** self.power) * scale

    @gradc.compile(argnums="w")
    def with_weights(self, x, w):
        return np.sum(w * x)

    def plain(self, x):
        return np.sum(self.w * x)

    @classmethod
    @gradc.compile(argnums="x")
    def make(cls, x):
        assert cls is Model
        return x * 2

    @staticmethod
    @gradc.compile
    def static(x):
        return x * 3


@pytest.mark.usefixtures("jit")
def test_methods():
    x = np.array([1.0, 2.0])
    model = Model(np.array([1.0, 3.0]))
    assert model.energy(x) == 37
    np.testing.assert_array_equal(model.energy.grad(x), [2, 36])
    value, gradient = model.energy.value_and_grad(x, scale=2.0)
    assert value == 74
    np.testing.assert_array_equal(gradient, [4, 72])
    np.testing.assert_array_equal(gradc.grad(model.energy)(x), [2, 36])
    np.testing.assert_array_equal(model.with_weights.grad(x, x), x)
    assert str(inspect.signature(model.energy)) == "(x, scale=1.0)"
    assert model.energy.__name__ == "energy"
    assert model.static(2.0) == 6.0 and Model.static.grad(2.0) == 3.0
    assert Model.make(2.0) == 4.0


@pytest.mark.usefixtures("jit")
def test_methods_see_the_state_of_their_instance():
    x = np.array([1.0, 2.0])
    model = Model(np.array([1.0, 3.0]))
    model.energy(x)
    traces = len(Model.traces)
    model.w = np.array([2.0, 0.0])
    assert model.energy(x) == 4
    model.w[1] = 1.0
    assert model.energy(x) == 8
    assert Model(np.ones(2)).energy(x) == 5
    assert len(Model.traces) == traces
    model.power = 3
    assert model.energy(x) == 16


@pytest.mark.usefixtures("jit")
def test_transforms_of_plain_methods_see_the_state_too():
    model = Model(np.array([1.0, 3.0]))
    np.testing.assert_array_equal(gradc.grad(model.plain)(np.ones(2)), [1, 3])
    model.w = np.array([5.0, 6.0])
    np.testing.assert_array_equal(gradc.grad(model.plain)(np.ones(2)), [5, 6])


@pytest.mark.usefixtures("jit")
def test_methods_of_classes_with_slots_and_properties():
    class Slotted:
        __slots__ = ("__scale", "w", "__dict__")

        def __init__(self):
            self.__scale = 2.0
            self.w = np.ones(2)

        @functools.cached_property
        def doubled(self):
            return self.w * 2

        @property
        def scale(self):
            return self.__scale

        @gradc.compile
        def f(self, x):
            return np.sum(self.doubled * x) * self.scale

    assert Slotted().f(3.0) == 24.0
    assert Slotted().f.grad(3.0) == 8.0


def test_methods_of_kinds_of_dict():
    class Params(dict):
        @gradc.compile
        def f(self, x):
            return x

    with pytest.raises(TypeError, match="a kind of dict"):
        Params().f(1.0)


def test_subclasses_inherit_compiled_methods():
    class Double(Model):
        @gradc.compile
        def energy(self, x):
            return 2 * super().energy(x)

    model = Double(np.array([1.0, 3.0]))
    assert model.energy(np.array([1.0, 2.0])) == 74
    np.testing.assert_array_equal(model.energy.grad(np.array([1.0, 2.0])), [4, 72])


def test_methods_must_not_set_attributes():
    class Counter:
        n = 0

        @gradc.compile
        def step(self, x):
            self.n = self.n + 1
            return x

    with pytest.raises(ValueError, match=r"sets `self\.n`"):
        Counter().step(1.0)


def test_pickle_of_a_method():
    model = Model(np.array([1.0, 3.0]))
    assert pickle.loads(pickle.dumps(model.energy))(np.ones(2)) == 10
