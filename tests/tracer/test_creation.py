"""Arrays made while tracing, in every shape in which user code calls for them."""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy import zeros

from gradc.errors import DTypeError, GradcError, RandomError, ShapeError, UnsupportedError
from tests.tracer import helper_module
from tests.tracer.helpers import check, interpreted


class Model:
    def __init__(self) -> None:
        self.scale = 2.0

    def __call__(self, x: Any) -> Any:
        return self.fill(x)

    def fill(self, x: Any) -> Any:
        a = np.zeros(3)
        a[1] = x * self.scale
        return a

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return np.array([x, x])

    @staticmethod
    def static(x: Any) -> Any:
        a = np.empty((2, 2))
        a[...] = x
        return a

    @property
    def buffer(self) -> Any:
        return np.ones(2)


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


@decorated
def plain(x: Any) -> Any:
    a = zeros(3)
    a[2] = x
    return a


def scaled(factor: float, x: Any) -> Any:
    a = np.full(2, factor)
    a[0] *= x
    return a


def generator(x: Any) -> Any:
    for k in range(3):
        a = np.zeros(2)
        a[k % 2] = x
        yield a


def local_import(x: Any) -> Any:
    from numpy import ones

    a = ones(2)
    a[0] = x
    return a


def filled_property(x: Any) -> Any:
    a = Model().buffer
    a[1] = x
    return a


CALLS: dict[str, Callable[[Any], Any]] = {
    "function": plain,
    "callable object": Model(),
    "method": Model().fill,
    "class method": Model.of_class,
    "static method": Model.static,
    "property": filled_property,
    "partial": functools.partial(scaled, 3.0),
    "lambda": lambda x: np.array([x, 2 * x]),
    "dict of functions": lambda x: {"a": plain, "b": local_import}["b"](x),
    "generator": lambda x: list(generator(x)),
    "local import": local_import,
    "names in another module": helper_module.through_names,
    "another module": helper_module.through_the_module,
    "cached": lambda x: helper_module.cached_grid(4) * x,
    "map": lambda x: list(map(plain, [x, x * 2])),
    "comprehension": lambda x: np.array([[x * i * j for i in range(2)] for j in range(3)]),
}


@pytest.mark.parametrize("name", CALLS)
def test_call_shapes(name: str) -> None:
    check(CALLS[name], 0.7)


def test_a_cached_constant_is_an_array_everywhere() -> None:
    helper_module.cached_grid.cache_clear()
    check(lambda x: helper_module.cached_grid(5) * x, 2.0)
    interpreted(lambda x: helper_module.cached_grid(6) * x, 2.0)
    grid = helper_module.cached_grid(6)
    np.testing.assert_allclose(np.sin(grid) + grid[1:3].sum(), np.sin(np.linspace(0, 1, 6)) + 0.6)
    check(lambda x: helper_module.cached_grid(6)[1:] * x, 2.0)


MADE: dict[str, Callable[[Any], Any]] = {
    "constants": lambda x: [f * x for f in (np.zeros(2), np.ones((2, 3)), np.eye(2), np.identity(2),
                                            np.arange(3), np.arange(1.0, 2.0, 0.25), np.tri(3),
                                            np.full(2, 3), np.full((2, 2), 0.5, np.float32),
                                            np.linspace(0, 1, 5), np.logspace(0, 1, 3),
                                            np.zeros(2, int), np.zeros(()), np.empty(0),
                                            np.array([1, 2]), np.asarray([[1.5]]),
                                            np.indices((2, 2)),
                                            np.fromfunction(lambda i, j: i + j, (2, 2)))],
    "like": lambda x: [f * x for f in (np.zeros_like([1, 2]),
                                       np.ones_like(np.ones((2, 1), np.float32)),
                                       np.full_like(np.zeros(2), 7), np.diag(np.ones(2)))],
    "full": lambda x: (np.full(3, x), np.full((2, 2), x, dtype=np.float32), np.full(2, [x, 1])),
    "full_like": lambda x: np.full_like(np.zeros(2), x),
    "array": lambda x: (np.array([x, 1, 2]), np.array((x, x)), np.array([[x, 1], [2, 3]]),
                        np.array(x), np.array([np.array([x, 1]), [2, 3.0]]), np.array([[x]]),
                        np.array([x], ndmin=2)),
    "array dtype": lambda x: (np.array([x, 1], dtype=np.float32),
                              np.array([1, 2], dtype=float) * x),
    "asarray": lambda x: (np.asarray(x), np.asarray([x, x]), np.asarray(x, dtype=np.float32),
                          np.asanyarray([x, 1]), np.ascontiguousarray(np.array([x]))),
    "r_ and c_": lambda x: (np.r_[x, 1, 2], np.r_[0:3, x], np.r_[np.zeros(2), [x, x]],
                            np.c_[np.array([x, 1]), [2, 3]], np.c_[[x, x], np.zeros((2, 2))]),
    "lists": lambda x: (np.sum([x, 1, x]), np.mean([x, 2.0]), np.max([x, 0.5]),
                        np.stack([x, x * 2]), np.concatenate([[x], [1.0, x]]),
                        np.dot([x, 1], [2, 3]), np.linalg.norm([x, x]),
                        np.hstack([x, x]), np.cumsum([x, x]), np.prod([x, 2])),
    "sum and max of Python": lambda x: (sum([x, x, 1]), sum(np.array([x, 2]))),
    "linspace": lambda x: np.linspace(0, x, 4),
    "zeros_like": lambda x: (np.zeros_like(x), np.ones_like(np.array([x, x])),
                             np.empty_like([x]) * 0),
    "meshgrid": lambda x: [m * x for m in np.meshgrid(np.arange(2), np.arange(3))],
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_made(name: str) -> None:
    check(MADE[name], 0.3)


def test_shapes_from_arguments() -> None:
    check(lambda x, n: (np.zeros(n) + x, np.ones((n, 2)) * x, np.arange(n) * x, np.eye(n) * x,
                        np.full((n,), x), np.linspace(0, x, n), x * np.zeros([n, n])), 2.0, 3)


MATH: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: (math.exp(x), math.log(x), math.log(x, 3), math.log(x, 2 * x), math.sqrt(x),
                      math.log1p(x), math.expm1(x), math.log2(x), math.log10(x), math.cbrt(x)),
    "trigonometric": lambda x: (math.sin(x), math.cos(x), math.tan(x), math.asin(x), math.acos(x),
                                math.atan(x), math.atan2(x, 2), math.hypot(x, 1, 2)),
    "hyperbolic": lambda x: (math.sinh(x), math.cosh(x), math.tanh(x), math.asinh(x),
                             math.acosh(x + 1), math.atanh(x)),
    "others": lambda x: (math.pow(x, 3), math.pow(2, x), math.fabs(-x), math.fmod(x, 0.2),
                         math.copysign(x, -1), math.degrees(x), math.radians(x),
                         math.fsum([x, 1, x]), math.prod([x, 2, x]), math.dist([x, 1], [0, 0])),
    "integers": lambda x: (math.floor(x * 10), math.ceil(x * 10), math.trunc(-x * 10)),
    "predicates": lambda x: (math.isnan(x), math.isinf(x), math.isfinite(x)),
    "weak": lambda x: math.exp(x) * np.ones(2, np.float32),
    "constants": lambda x: math.sin(1.0) * x + math.pi + math.sqrt(np.array(4.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", MATH)
def test_math(name: str) -> None:
    check(MATH[name], 0.3)


def test_math_takes_single_numbers() -> None:
    with pytest.raises(DTypeError, match="math takes single numbers") as info:
        interpreted(lambda x: math.exp(x), np.ones(3))
    assert "NumPy takes arrays" in str(info.value)
    with pytest.raises(UnsupportedError, match=r"math.gamma is not supported"):
        interpreted(lambda x: math.gamma(x), 1.0)


RNG_CALLS: list[Callable[[], Any]] = [
    lambda: np.random.rand(3), lambda: np.random.randn(2), lambda: np.random.seed(0),
    lambda: np.random.default_rng(0), lambda: np.random.normal(size=3),
    lambda: np.random.randint(3),
]  # fmt: skip


@pytest.mark.parametrize("draw", RNG_CALLS)
def test_random_numbers_are_refused(draw: Callable[[], Any]) -> None:
    with pytest.raises(RandomError, match="would be frozen into the compiled code") as info:
        interpreted(lambda x: x + draw(), np.ones(3))
    assert "np.random." in str(info.value)
    assert "Try: gradc.random, or draw the numbers outside" in str(info.value)
    assert isinstance(info.value, TypeError)


@pytest.mark.parametrize(
    ("function", "builtin", "text"),
    [
        (lambda x: np.array([x, [x, x]]), ValueError, "different shapes"),
        (lambda x: np.array([x, 1], dtype=object), TypeError, "cannot hold traced values"),
        (lambda x: np.arange(x), TypeError, "used as an integer"),
        (lambda x: np.zeros(x), TypeError, "used as an integer"),
        (lambda x: np.full(2, x, dtype=int), TypeError, "cut off"),
        (lambda x: np.exp([x, x]), TypeError, "plain NumPy array"),
        (lambda x: np.r_["0,2", x], TypeError, "directive '0,2'"),
    ],
)  # fmt: skip
def test_errors(function: Any, builtin: type[Exception], text: str) -> None:
    with pytest.raises(builtin, match=text) as info:
        interpreted(function, 1.5)
    assert isinstance(info.value, GradcError)
    assert "Try: " in str(info.value)


def test_ragged_is_a_shape_error() -> None:
    with pytest.raises(ShapeError):
        interpreted(lambda x: np.array([[x], [x, x]]), 1.0)


# -- the wrappers themselves ---------------------------------------------------------------------

#: kept where no rebinding reaches them
ORIGINALS = (np.zeros, np.r_, math.exp)


def originals_stand() -> bool:
    now = (np.zeros, np.r_, math.exp)
    bound = (zeros, np.r_, helper_module.exp)
    return all(a is b is c for a, b, c in zip(now, bound, ORIGINALS, strict=True)) and (
        helper_module.nullen is np.zeros)


def test_the_originals_are_put_back() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.append(originals_stand())
        return np.zeros(2) + x

    interpreted(f, 1.0)
    assert seen == [False]
    assert originals_stand()


def test_the_originals_are_put_back_after_an_error() -> None:
    def f(x: Any) -> Any:
        np.zeros(2)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        interpreted(f, 1.0)
    assert originals_stand()
    assert type(np.zeros(2)) is np.ndarray


def test_another_thread_sees_plain_numpy() -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        inside.wait(10)
        a = np.zeros(3)
        a[0] = math.exp(1.0)
        seen.extend([type(a), type(np.array([1.0])), type(np.r_[1, 2]), np.random.rand(2).shape,
                     type(zeros(2)), np.sum([1.0, 2.0])])
        done.set()

    def f(x: Any) -> Any:
        inside.set()
        assert done.wait(10)
        a = np.zeros(2)
        a[0] = x
        return a

    thread = threading.Thread(target=other)
    thread.start()
    check(lambda x: x, 1.0)
    np.testing.assert_array_equal(interpreted(f, 2.0), [2.0, 0.0])
    thread.join()
    assert seen == [np.ndarray, np.ndarray, np.ndarray, (2,), np.ndarray, 3.0]


def test_threads_trace_at_once() -> None:
    barrier = threading.Barrier(4)
    failures: list[Exception] = []

    def work(k: int) -> None:
        def f(x: Any) -> Any:
            barrier.wait(10)
            a = np.zeros(k + 1)
            a[k] = x
            barrier.wait(10)
            return a * math.exp(x)

        try:
            out = interpreted(f, 0.5)
            np.testing.assert_allclose(out[k], 0.5 * math.exp(0.5))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert originals_stand()


def test_a_module_first_seen_while_the_wrappers_are_in_place(tmp_path: Any) -> None:
    source = "from numpy import zeros\n\ndef f(x):\n    a = zeros(2)\n    a[0] = x\n    return a\n"
    (tmp_path / "late_module.py").write_text(source)
    sys.path.insert(0, str(tmp_path))
    try:
        def outer(x: Any) -> Any:
            import late_module  # type: ignore[import-not-found]

            return interpreted(lambda y: late_module.f(y), 1.5)[0] * x

        assert interpreted(outer, 2.0) == 3.0
        assert sys.modules["late_module"].zeros is ORIGINALS[0]
        assert interpreted(outer, 2.0) == 3.0
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["late_module"]


def test_a_namespace_that_is_no_module() -> None:
    namespace: dict[str, Any] = {}
    code = "from numpy import zeros\ndef f(x):\n    a = zeros(2)\n    a[0] = x\n    return a"
    exec(code, namespace)
    check(namespace["f"], 1.5)
    assert namespace["zeros"] is ORIGINALS[0]


def test_dataclass_with_arrays() -> None:
    @dataclass
    class Layer:
        w: Any
        b: Any

        def run(self, x: Any) -> Any:
            out = np.zeros(2)
            out += self.w @ x + self.b
            return out

    check(lambda layer, x: layer.run(x), Layer(np.ones((2, 3)), np.ones(2)), np.arange(3.0))


def test_numpy_s_own_code_is_left_alone() -> None:
    """np.pad, np.cov and others call np.empty and np.array themselves."""
    def f(x: Any) -> Any:
        frame = np.pad(np.ones((1, 1)), ((0, 1), (0, 1)))
        return x * np.cov(np.arange(6.0).reshape(2, 3)) + frame

    check(f, 2.0)
    assert sys.modules["numpy"].zeros is ORIGINALS[0]
