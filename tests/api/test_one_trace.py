"""A function is traced once for a signature, whatever is made of it."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gradc


@pytest.fixture
def counted():
    """A compiled function and the arguments of its traces."""
    traces = []

    @gradc.compile
    def f(x, n=2, flag=True):
        traces.append(type(x).__name__)
        for _ in [None] * n:
            x = x * x
        return x if flag else -x

    return f, traces


def use(f, *args):
    """Everything that is made of a function."""
    f(*args), f.grad(*args), f.value_and_grad(*args)
    f.ir(*args), f.llvm(*args), f.asm(*args), f.ir(*args, grad=False)
    f.derived("grad", "x")(*args)


def test_a_signature_is_traced_once_in_all_modes():
    traces = []
    f = gradc.compile(lambda x: (traces.append(1), x * x)[1])
    use(f, 2.0)
    assert gradc.grad(gradc.grad(f))(2.0) == 2.0
    assert gradc.jvp(f, (2.0,), (1.0,))[1] == 4.0
    assert gradc.vjp(f, 2.0)[1](1.0)[0] == 4.0
    assert len(traces) == 1
    f.grad(2)  # an int is differentiated as a float, like that of before
    assert len(traces) == 1
    f(2)
    assert len(traces) == 2


def test_new_static_values_do_not_begin_anew(counted):
    f, traces = counted
    use(f, 1.0, 1)
    assert len(traces) == 3  # n and flag turn static, one after the other
    use(f, 1.0, 3)
    use(f, 1.0, 3, False)
    assert len(traces) == 5
    use(f, np.float32(1), 4)
    use(f, 1.0, np.int8(4), np.bool_(True))
    assert len(traces) == 7


def test_a_value_and_its_gradient_are_of_the_same_function():
    w, x = np.ones(3), np.ones(3)
    f = gradc.compile(lambda x: np.sum(w * x))
    assert f(x) == 3.0
    w[:] = 5.0
    assert f(x) == 3.0
    assert f.grad(x).tolist() == [1.0] * 3
    assert f.value_and_grad(x)[0] == 3.0
    for one in (f, f.grad):
        w += 1.0
        one.clear_cache()
        assert f(x) == 3.0 * w[0]
        assert f.grad(x).tolist() == w.tolist()
        assert f.value_and_grad(x)[0] == 3.0 * w[0]


def test_what_is_outside_is_frozen_in_every_mode():
    class Scaled:
        factor = 2.0

        def __init__(self):
            self.offset = np.ones(2)

        def __call__(self, x):
            return np.sum(self.factor * x + self.offset)

    scaled = Scaled()
    f = gradc.compile(scaled)
    x = np.zeros(2)
    assert f(x) == 2.0
    scaled.offset, Scaled.factor = np.zeros(2), 3.0
    assert f(x) == 2.0 and f.grad(x).tolist() == [2.0, 2.0]
    f.clear_cache()
    assert f(x) == 0.0 and f.grad(x).tolist() == [3.0, 3.0]
    assert "frozen" in gradc.compile.__doc__ and "clear_cache" in gradc.compile.__doc__


def test_an_unpickled_function_has_the_derivatives_of_what_was_traced():
    f = gradc.compile(lambda x, n: x**n * len(range(n)))
    assert f(2.0, 3) == 24.0
    again = pickle.loads(pickle.dumps(f))
    assert again(2.0, 3) == 24.0
    assert again.grad(2.0, 3) == 36.0
    with pytest.raises(gradc.GradcError, match="unpickled without its function"):
        again.grad(2.0, 4)


def test_threads_share_a_trace():
    traces, start = [], threading.Barrier(6)
    f = gradc.compile(lambda x: (traces.append(1), time.sleep(0.05), x * x)[2])
    uses = [f, f.grad, f.value_and_grad] * 2

    def call(use):
        start.wait()
        return use(3.0)

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(call, uses)) == [9.0, 6.0, (9.0, 6.0)] * 2
    assert len(traces) == 1


def test_a_call_that_fails_makes_nothing_static():
    f = gradc.compile(lambda x, n: x[n] if len(x) == 3 else np.zeros(len(range(n)))["a"])
    with pytest.raises((TypeError, IndexError)):
        f(np.ones(2), 1)
    traced = [f.specialization(np.ones(3), n).signature for n in (1, 2)]
    assert traced[0] is traced[1]
