"""Specialisations, logging, settings, threads and metadata of compiled functions."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import itertools
import logging
import threading
import weakref

import numpy as np
import pytest

import gradc


def counting():
    """A compiled function and the list that grows when it is traced."""
    traces = []

    @gradc.compile
    def f(x, n=2):
        traces.append(1)
        return np.sum(x) * n

    return f, traces


# -- specialisation ------------------------------------------------------------------------------


def test_a_signature_is_traced_once():
    f, traces = counting()
    x = np.ones(3)
    for _ in range(3):
        f(x), f(x, 3), f(x=x), f.grad(x), f.value_and_grad(x, n=5)
    assert len(traces) == 1
    f(np.ones(4)), f(x.astype(np.float32)), f(1.0), f(x, 2.0)
    assert len(traces) == 5


def test_functional_forms_share_their_specialisations():
    traces = itertools.count()  # no number or list, whose change would count as one of f

    def f(x):
        next(traces)
        return x * x

    for _ in range(3):
        assert gradc.grad(f)(3.0) == 6.0
        gradc.jvp(f, (3.0,), (1.0,))
        gradc.vjp(f, 3.0)
    assert next(traces) == 1


def test_clear_cache():
    f, traces = counting()
    f(1.0), f.grad(1.0)
    f.clear_cache()
    f(1.0), f.grad(1.0)
    assert len(traces) == 2


def test_no_trace_is_repeated_when_jit_is_switched():
    f, traces = counting()
    with gradc.config(jit=False):
        assert f(np.ones(3)) == 6
    assert f(np.ones(3)) == 6
    assert len(traces) == 1


def test_new_specialisations_are_logged(caplog):
    @gradc.compile
    def f(params, x, flag=True):
        return np.sum(params["w"]) * x if flag else x

    caplog.set_level(logging.INFO, "gradc")
    f({"w": np.ones(3)}, 1.0)
    assert not caplog.records
    f({"w": np.ones(4)}, 1.0)
    assert caplog.messages[-1] == "f specialises anew: params['w'] from f64[3] to f64[4]"
    f({"w": np.ones(4)}, np.float32(1))
    assert caplog.messages[-1] == "f specialises anew: x from float to f32[]"
    f({"w": np.ones(4)}, np.float32(1), False)
    assert caplog.messages[-1] == "f specialises anew: flag from True to False"
    f({"w": np.ones(4), "b": 1}, np.float32(1), False)
    assert caplog.messages[-1] == "f specialises anew: params['b'] from absent to int"
    f(({"w": np.ones(4)}, 1), 2, False)
    assert "params[0]['w'] from absent to f64[4]" in caplog.messages[-1]


def test_too_many_specialisations_warn():
    f = gradc.compile(lambda x: np.sum(x))
    with gradc.config(jit=False):
        for n in range(32):
            f(np.ones(n))
        with pytest.warns(gradc.SpecializationWarning, match="<lambda>.*more than 32.*: x") as seen:
            f(np.ones(40))
        assert seen[0].filename == __file__
        f(np.ones(41))  # once is enough


# -- settings ------------------------------------------------------------------------------------


def test_config_works_as_call_and_as_context():
    from gradc.config import settings

    before = settings().jit
    with gradc.config(jit=False):
        assert settings().jit is False
        with gradc.config(jit=True):
            assert settings().jit is True
        assert settings().jit is False
    assert settings().jit is before
    gradc.config(jit=False)
    assert settings().jit is False
    gradc.config(jit=before)


def test_flat_calls_go_straight_to_native_code():
    from gradc.codegen import cpython

    f = gradc.compile(lambda x, y=1.0: np.sum(x) * y)
    f.grad(np.ones(2), 3.0)
    for n in range(12):
        assert f(np.ones(n)) == n  # a default is filled in: not flat
        assert f(np.ones(n), 2.0) == 2 * n
    straight = "__call__" in vars(type(f))
    assert straight is cpython.supported()
    with gradc.config(jit=False):
        assert "__call__" not in vars(type(f))
        assert f(np.ones(3), 2.0) == 6
    assert ("__call__" in vars(type(f))) is straight
    for n in range(12):
        assert f(np.ones((2, n)).T, 2.0) == 4 * n
    f.clear_cache()
    assert "__call__" not in vars(type(f))
    assert f(np.ones(3), 2.0) == 6


def test_static_arguments_are_no_inputs_of_a_flat_call():
    f = gradc.compile(lambda x, how="sum": np.sum(x) if how == "sum" else np.mean(x))
    x = np.array([1.0, 3.0])
    for _ in range(2):
        assert f(x, "mean") == 2 and f(x) == 4 and f(x, "sum") == 4


def test_a_changed_default_is_seen():
    offset = np.zeros(2)

    @gradc.compile
    def f(x, y=offset):
        return np.sum(x + y)

    assert f(np.ones(2)) == 2
    offset += 1
    assert f(np.ones(2)) == 4


def test_index_errors_name_the_users_line():
    f = gradc.compile(lambda x, i: x[i])
    x = np.arange(3.0)
    assert f(x, np.array(2)) == 2
    with pytest.raises(IndexError, match="out of bounds") as caught:
        f(x, np.array(3))
    assert isinstance(caught.value, gradc.GradcError) and __file__ in str(caught.value)
    with gradc.config(jit=False), pytest.raises(IndexError, match="out of bounds"):
        f(x, np.array(3))


# -- threads -------------------------------------------------------------------------------------


def test_many_threads_trace_once():
    f, traces = counting()
    start, results = threading.Barrier(8), []

    def work(n):
        start.wait()
        for k in range(20):
            results.append(f.value_and_grad(np.full(5, float(n + k)))[0] == 10.0 * (n + k))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(results) == 160 and all(results)
    assert len(traces) == 1


def test_threads_share_native_entry_points():
    f = gradc.compile(lambda p, x: np.sum(np.tanh(p["w"] * x)) + p["b"])
    g = gradc.compile(lambda x, y: np.sum(x * y))
    failed = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for k in range(100):
            n = int(rng.integers(1, 4))
            w, x = rng.normal(size=n), rng.normal(size=n)
            value, slope = f.value_and_grad({"w": w, "b": 1.0}, x)
            square = np.ones((n, 3)).T if k % 3 else np.ones((3, n))
            right = np.isclose(value, np.tanh(w * x).sum() + 1)
            right &= np.allclose(slope["w"], x / np.cosh(w * x) ** 2)
            right &= g(square, 2.0) == 6 * n and np.all(g.grad(square, 2.0) == 2)
            if not right:
                failed.append((seed, k))
            if k == 50:
                g.clear_cache()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_an_error_while_tracing_leaves_nothing_behind():
    fail = [True]

    @gradc.compile
    def f(x):
        if fail:
            raise KeyError("from the user")
        return x + 1

    with pytest.raises(KeyError, match="from the user"):
        f(1.0)
    fail.clear()
    assert f(1.0) == 2.0


# -- metadata ------------------------------------------------------------------------------------


def test_metadata():
    @gradc.compile
    def loss(w: float, x: float = 2.0) -> float:
        """The loss."""
        return w * x

    for f in (loss, loss.grad, loss.value_and_grad, gradc.grad(loss)):
        assert (f.__name__, f.__doc__, f.__module__) == ("loss", "The loss.", __name__)
        assert str(inspect.signature(f)) == "(w: 'float', x: 'float' = 2.0) -> 'float'"
    assert loss.__wrapped__(3.0) == 6.0
    assert isinstance(loss, gradc.Compiled) and callable(loss)
    assert repr(loss) == "<compiled loss>" and repr(loss.grad) == "<compiled loss.grad>"
    assert loss.grad is loss.grad and gradc.grad(loss) is loss.grad


def test_partials_and_callable_objects():
    class Scale:
        def __init__(self, k):
            self.k = k

        def __call__(self, x):
            return x * self.k

    assert gradc.compile(Scale(3))(2.0) == 6.0
    assert gradc.grad(functools.partial(np.multiply, 4.0))(1.0) == 4.0


def test_compile_takes_functions():
    with pytest.raises(TypeError, match="gradc.compile takes a function, not 3"):
        gradc.compile(3)


# -- copying and forgetting ----------------------------------------------------------------------


def test_copies_are_the_function_itself():
    f = gradc.compile(lambda x: x)
    assert copy.copy(f) is f and copy.deepcopy([f])[0] is f


def test_unused_functions_are_collected():
    def make():
        f = gradc.compile(lambda x: x * 3)
        f(2.0), f.grad(2.0), f.value_and_grad(x=2.0)
        return weakref.ref(f)

    f = make()
    gc.collect()
    assert f() is None


def test_functions_without_arguments_or_results():
    assert list(gradc.compile(lambda: np.ones(2) * 3)()) == [3, 3]
    assert gradc.compile(lambda x: None)(1.0) is None
    assert gradc.compile(lambda x: ())(1.0) == ()
