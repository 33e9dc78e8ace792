"""Random numbers while tracing: refused, wherever they come from."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest

from gradc.errors import GradcError, RandomError
from gradc.ir.types import F64, TensorType
from tests.tracer.helpers import interpreted, trace_of

VECTOR = TensorType(F64, (3,))
rng = np.random.default_rng(0)
legacy = np.random.RandomState(0)
own = random.Random(0)
holder = SimpleNamespace(rng=np.random.default_rng(1))


def noise():
    return rng.random(3)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: x + rng.normal(size=3),
        lambda x: x * rng.integers(0, 10),
        lambda x: x[rng.permutation(3)],
        lambda x: x + legacy.rand(3),
        lambda x: x * own.random(),
        lambda x: x * random.random(),
        lambda x: x * random.gauss(0.0, 1.0),
        lambda x: x + np.random.normal(size=3),
        lambda x: x + np.random.default_rng(0).normal(size=3),
        lambda x: x + holder.rng.normal(size=3),
        lambda x: x + noise(),
    ],
)
def test_draws_are_refused(draw):
    with pytest.raises(RandomError, match="frozen into the compiled code"):
        trace_of(draw, VECTOR)


def test_a_generator_in_a_closure():
    def function(x, rng=None):
        return x + closed.normal(size=3)

    closed = np.random.default_rng(2)
    with pytest.raises(RandomError, match="a Generator was drawn from"):
        trace_of(function, VECTOR)


@pytest.mark.parametrize(
    "draw",
    [lambda x: rng.permutation(x), lambda x: rng.normal(x), lambda x: rng.choice(x)],
)
def test_traced_parameters_are_refused(draw):
    with pytest.raises(GradcError):
        trace_of(draw, VECTOR)


def test_generators_that_are_not_used():
    def function(x):
        return x * (1.0 if rng is not None and own is not None else 2.0)

    assert interpreted(function, 3.0) == 3.0


def test_compiled_extensions_get_arrays():
    from scipy.spatial.distance import cdist

    def function(x):
        return x * cdist(np.eye(3), np.eye(3))[0]

    assert interpreted(function, np.ones(3))[1] == np.sqrt(2.0)


def test_modules_are_left_as_they_were():
    trace_of(lambda x: x + np.zeros(3), VECTOR)
    assert type(np) is type(random) is type(pytest)
    assert not hasattr(np.zeros, "wrapped_by_gradc")
