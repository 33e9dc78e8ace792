"""Functions at raw addresses, called by SciPy, ctypes and, where they are, Numba and nutpie."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest
from scipy import integrate, optimize

import gradc
from gradc.errors import ArgumentError, OptionError
from tests.export.programs import limited, picked


def test_quad() -> None:
    address = gradc.compile(lambda x: np.exp(-x) * np.sin(x)).address("f64", abi="scipy")
    assert address.signature == "double (double)"
    expected = integrate.quad(lambda x: np.exp(-x) * np.sin(x), 0, 5)[0]
    np.testing.assert_allclose(integrate.quad(address.callable, 0, 5)[0], expected, rtol=1e-13)


def test_quad_with_arguments_and_nquad() -> None:
    f = gradc.compile(lambda x, a, b: a * np.cos(b * x))
    address = f.address("f64", "f64", "f64", abi="scipy")
    assert address.signature == "double (int, double *)"
    found = integrate.quad(address.callable, 0, 1, args=(2.0, 3.0))[0]
    np.testing.assert_allclose(found, 2 * np.sin(3) / 3, rtol=1e-13)
    volume = gradc.compile(lambda x, y: x * x * y).address("f64", "f64", abi="scipy")
    found = integrate.nquad(volume.callable, [[0, 1], [0, 2]])[0]
    np.testing.assert_allclose(found, 2 / 3, rtol=1e-12)
    array = gradc.compile(lambda x: np.sum(x**2)).address("f64[2]", abi="scipy", data=True)
    assert array.signature == "double (int, double *, void *)"
    np.testing.assert_allclose(integrate.nquad(array.callable, [[0, 1]] * 2)[0], 2 / 3, rtol=1e-12)


def test_roots_by_an_address() -> None:
    f = gradc.compile(lambda x: np.cos(x) - x)
    function = f.address("f64", abi="scipy").function
    np.testing.assert_allclose(optimize.brentq(function, 0, 2), 0.7390851332151607, rtol=1e-12)


def test_failures_are_nan() -> None:
    assert np.isnan(gradc.compile(limited).address("f64", abi="scipy").function(1.0))
    two = gradc.compile(lambda x: np.sum(x)).address("f64[2]", abi="scipy").function
    x = (ctypes.c_double * 3)(1, 2, 3)
    assert two(2, x) == 3.0
    assert np.isnan(two(3, x))


def pointer(array: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(np.ctypeslib.as_ctypes_type(array.dtype)))


def test_numba_signature_by_ctypes() -> None:
    f = gradc.compile(picked)
    address = f.value_and_grad.address("f64[5]", "i32[3]", abi="numba")
    assert address.signature == "int64_t (const double *, const int32_t *, double *, double *)"
    x, k = np.linspace(0, 1, 5), np.array([4, 0, 4], np.int32)
    value, grad = np.zeros(1), np.zeros(5)
    assert address.function(*map(pointer, (x, k, value, grad))) == 0
    expected = f.value_and_grad(x, k)
    assert value[0] == expected[0]
    np.testing.assert_array_equal(grad, expected[1])
    k[0] = 99
    assert address.function(*map(pointer, (x, k, value, grad))) & 255 == 1


def test_large_workspaces_are_allocated() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sort(np.sin(x))[::2])

    address = gradc.compile(f).address("f64[20000]", abi="numba")
    x, out = np.random.default_rng(0).normal(size=20000), np.zeros(1)
    assert address.function(pointer(x), pointer(out)) == 0
    np.testing.assert_allclose(out[0], f(x), rtol=1e-12)


def test_the_code_stays() -> None:
    function = gradc.compile(lambda x: x * 3.0).address("f64", abi="scipy").function
    low = gradc.compile(lambda x: x * 5.0).address("f64", abi="scipy").callable
    gc.collect()
    assert function(2.0) == 6.0
    assert integrate.quad(low, 0, 1)[0] == pytest.approx(2.5)
    address = gradc.compile(lambda x: x).address("f64", abi="scipy")
    assert int(address) == address.address == ctypes.cast(address.function, ctypes.c_void_p).value


def logp(x: Any) -> Any:
    return -0.5 * np.sum((x - 3.0) ** 2 / np.array([1.0, 4.0, 9.0]))


def test_nutpie_signature_by_ctypes() -> None:
    f = gradc.compile(logp)
    address = f.address("f64[3]", abi="nutpie")
    x, grad, value = np.array([1.0, 2.0, 5.0]), np.zeros(3), np.zeros(1)
    assert address.function(3, *map(pointer, (x, grad, value)), None) == 0
    expected = f.value_and_grad(x)
    assert value[0] == expected[0]
    np.testing.assert_array_equal(grad, expected[1])
    assert address.function(2, *map(pointer, (x, grad, value)), None) < 0
    expand = gradc.compile(lambda x: np.exp(x)[:2]).address("f64[3]", abi="nutpie")
    out = np.zeros(2)
    assert expand.function(3, 2, pointer(x), pointer(out), None) == 0
    np.testing.assert_allclose(out, np.exp(x[:2]), rtol=1e-15)
    assert expand.function(3, 3, pointer(x), pointer(out), None) < 0


def test_a_failing_density_tells_whether_to_go_on() -> None:
    def walk(x: Any) -> Any:
        return gradc.while_loop(lambda y: y < 1e9, lambda y: y + x[0], x[1], max_trips=20)

    address = gradc.compile(walk).address("f64[2]", abi="nutpie")
    x, grad, value = np.array([1.0, 0.0]), np.zeros(2), np.zeros(1)
    assert address.function(2, *map(pointer, (x, grad, value)), None) > 0


@pytest.mark.parametrize(
    ("function", "types", "abi", "words"),
    [
        (logp, ("f64[3]",), "cuda", "no abi 'cuda'"),
        (lambda x: x, ("f64[3]",), "scipy", "is no integrand"),
        (lambda x: x, ("f32",), "scipy", "is no integrand"),
        (lambda x, y: x + y, ("f64[3]", "f64[3]"), "nutpie", "is no density"),
        (lambda x: x > 1, ("f64[3]",), "nutpie", "is no density"),
    ],
)
def test_what_no_engine_calls(function: Any, types: Any, abi: str, words: str) -> None:
    with pytest.raises((ArgumentError, OptionError), match=words):
        gradc.compile(function).address(*types, abi=abi)
    with pytest.raises(ArgumentError, match='abi="scipy"'):
        _ = gradc.compile(logp).address("f64[3]", abi="numba").callable


def test_in_numba() -> None:
    numba = pytest.importorskip("numba")
    f = gradc.compile(picked)
    call = f.value_and_grad.address("f64[5]", "i32[3]", abi="numba").function

    @numba.njit
    def descend(x: Any, k: Any, steps: int) -> Any:
        value, grad = np.zeros(1), np.zeros(5)
        for _ in range(steps):
            if call(x.ctypes, k.ctypes, value.ctypes, grad.ctypes):
                raise ValueError
            x -= 0.1 * grad
        return value[0]

    x, k = np.linspace(0, 1, 5), np.array([4, 0, 4], np.int32)
    expected = x.copy()
    for _ in range(5):
        value, grad = f.value_and_grad(expected, k)
        expected -= 0.1 * grad
    assert descend(x, k, 5) == value
    np.testing.assert_array_equal(x, expected)


@pytest.mark.filterwarnings("ignore")
def test_in_nutpie() -> None:
    nutpie = pytest.importorskip("nutpie")
    from nutpie.compile_pymc import CompiledPyMCModel

    model = CompiledPyMCModel(
        dims={}, _n_dim=3, n_expanded=3, shape_info=(["x"], None, [(3,)]), _shapes={"x": (3,)},
        compiled_logp_func=gradc.compile(logp).address("f64[3]", abi="nutpie"),
        compiled_expand_func=gradc.compile(lambda x: x * 1.0).address("f64[3]", abi="nutpie"),
        initial_point_func=lambda seed: np.zeros(3), shared_data={}, user_data=np.zeros(1),
        logp_func=None, expand_func=None, _coords={},
    )
    trace = nutpie.sample(model, draws=2000, tune=500, chains=4, seed=1, progress_bar=False)
    x = trace.posterior["x"].values.reshape(-1, 3)
    np.testing.assert_allclose(x.mean(axis=0), 3.0, atol=0.3)
    np.testing.assert_allclose(x.std(axis=0), [1.0, 2.0, 3.0], rtol=0.1)
