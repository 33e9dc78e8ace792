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


class Logged:
    """An instance with an attribute that no argument can be."""

    def __init__(self):
        self.w = np.ones(2)
        self.seen = {1}
        self.nested = {"w": np.ones(2), "seen": {2}}

    @gradc.compile
    def total(self, x):
        return np.sum(self.w * x)

    @gradc.compile
    def used(self, x):
        return x * len(self.seen)

    @gradc.compile
    def inside(self, x):
        return x * len(self.nested["seen"])

    @gradc.compile
    def looked_for(self, x):
        return x if hasattr(self, "seen") else -x

    @gradc.compile
    def replaced(self, x):
        self.seen = None
        return x


def test_attributes_that_are_not_used_may_be_anything():
    one = Logged()
    for seen in ({1}, {2, 3}, np.ma.ones(2), 1j, {4}):
        one.seen = seen
        for _ in range(2):
            assert one.total(np.ones(2)) == 2.0
            assert one.total.grad(np.ones(2)).tolist() == [1.0, 1.0]
    assert isinstance(one.total(np.ones(2)), float)
    one.w = np.zeros(2)
    assert one.total(np.ones(2)) == 0.0


@pytest.mark.parametrize("name", ["used", "looked_for", "replaced"])
def test_attributes_that_are_used_must_be_arguments(name):
    one = Logged()
    for method in (getattr(one, name), getattr(one, name).grad):
        with pytest.raises(gradc.GradcError, match="`self.seen` is no array or number"):
            method(1.0)
    with pytest.raises(gradc.GradcError, match=r"`self.nested\['seen'\]` is no array or number"):
        one.inside(1.0)


def test_static_methods():
    class Tools:
        @gradc.compile
        @staticmethod
        def twice(x):
            return x * 2

        @staticmethod
        @gradc.compile
        def thrice(x):
            return x * 3

    for tools in (Tools, Tools()):
        assert tools.twice(2.0) == 4.0 and tools.twice.grad(2.0) == 2.0
        assert tools.thrice(2.0) == 6.0
    with pytest.raises(gradc.GradcError, match="@classmethod above @gradc.compile"):
        gradc.compile(classmethod(lambda kind, x: x))
