"""Every ufunc that gradc traces, against NumPy: dtypes, shapes, values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.errors import DTypeError, ShapeError, UnsupportedError
from gradc.numpy_api.ufuncs import UFUNCS
from tests.tracer.helpers import check, interpreted

DTYPES = [("f8", "f8"), ("f4", "f4"), ("i8", "f4"), ("i4", "f4"), ("b", "b"), ("u1", "u1"),
          ("f4", "i8"), ("b", "f8"), ("i8", "i8")]
SHAPES = [((), ()), ((3,), (2, 1)), ((0,), (1,)), ((2, 3), (3,))]


def sample(shape: tuple[int, ...], dtype: str) -> Any:
    rng = np.random.default_rng(len(shape))
    if dtype == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype[0] in "iu":
        return rng.integers(1, 7, shape).astype(dtype)
    return rng.uniform(0.1, 0.9, shape).astype(dtype)


@pytest.mark.parametrize("ufunc", UFUNCS, ids=lambda f: f.__name__)
def test_agrees_with_numpy(ufunc: np.ufunc) -> None:
    for dtypes in DTYPES:
        if ufunc is np.power and dtypes == ("i8", "i8"):
            continue
        for shapes in SHAPES:
            args = [sample(s, d) for s, d in zip(shapes, dtypes, strict=True)][: ufunc.nin]
            with np.errstate(all="ignore"):
                try:
                    results = ufunc(*args)
                except TypeError:
                    with pytest.raises(DTypeError):
                        interpreted(lambda *a: ufunc(*a), *args)
                    continue
            results = results if isinstance(results, tuple) else (results,)
            if any(np.asarray(r).dtype == np.float16 for r in results):
                with pytest.raises(DTypeError, match="float16 is not supported"):
                    interpreted(lambda *a: ufunc(*a), *args)
                continue
            check(lambda *a: ufunc(*a), *args, rtol=1e-11)


X = np.array([[0.5, -1.5, 2.0], [3.0, -0.25, 0.0]])
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])


@pytest.mark.parametrize(
    "ufunc",
    [np.isnan, np.isinf, np.isfinite, np.signbit, np.sign, np.modf, np.rint, np.absolute],
    ids=lambda f: f.__name__,
)
def test_special_values(ufunc: np.ufunc) -> None:
    check(lambda x: ufunc(x), SPECIAL)


@pytest.mark.parametrize("ufunc", [np.logaddexp, np.maximum, np.fmax, np.heaviside, np.hypot])
def test_special_pairs(ufunc: np.ufunc) -> None:
    check(lambda x, y: ufunc(x[:, None], y), SPECIAL, SPECIAL)


def test_operators() -> None:
    check(lambda x, y: (x + y, x - y, x * y, x / y, x // y, x % y, x**2, y**x, -x, +x, abs(x)),
          np.abs(X) + 1, np.array([1.0, 2.0, 3.0]))
    check(lambda x: (1 + x, 2 - x, 3 * x, 1 / (x + 9), 7 // (x + 9), 5 % (x + 9), 2**x), X)
    check(lambda x: (x < 1, x <= 0.5, x > 1, x >= 0.5, x == 0.5, x != 0.5, x < 1), X)
    check(lambda i: (i & 3, i | 8, i ^ 1, ~i, i << 2, i >> 1, 3 & i, divmod(i, 3), i**2, 2**i.T),
          np.arange(1, 7, dtype=np.uint8).reshape(2, 3))
    check(lambda b, c: (b & c, b | c, b ^ c, ~b), X > 0, X < 1)
    check(lambda x: (round(x[0, 0], 1), round(x[1, 1], 2)), X)
    check(lambda a, b: (a @ b, b.T @ a.T), X, X.T.copy())


def test_mixed_with_plain_arrays_on_the_left() -> None:
    check(lambda x: (X + x, np.float32(2) * x, np.float64(2) * x, [1.0, 2.0, 3.0] * x,
                     np.ones(3, np.float32) @ x), np.arange(3, dtype=np.float32))


class TestPromotion:
    def test_python_numbers_are_weak(self) -> None:
        f4, i2 = np.ones(3, np.float32), np.ones(3, np.int16)
        check(lambda x, s: (x * s, s * x, x + 1, 1.5 - x, np.float64(2) * x), f4, 0.1)
        check(lambda x, n: (x * n, x + 1, x * 1.5, x / n, x / 2), i2, 3)

    def test_a_function_of_a_python_number_is_not(self) -> None:
        check(lambda x, s: x * np.sin(s), np.ones(3, np.float32), 0.5)

    def test_arithmetic_of_python_numbers_is_weak_again(self) -> None:
        check(lambda x, s, n: (x * (s * 2 + n), x * (n / 2), x * -s, x * abs(s)),
              np.ones(3, np.float32), 0.5, 3)

    def test_scalars_and_0d_arrays_are_not_weak(self) -> None:
        check(lambda x, s: x * s, np.ones(3, np.float32), np.float64(2))
        check(lambda x, s: x * s, np.ones(3, np.float32), np.array(2.0))

    def test_dtype_argument(self) -> None:
        check(lambda x: np.add(x, x, dtype=np.float32), np.ones(3, np.float32))
        check(lambda x: np.add(x, 1, dtype=np.float64), np.ones(3, np.float32))


def test_comparison_with_a_python_int_that_does_not_fit() -> None:
    check(lambda x: (x < 300, x == -1, x < 300), np.arange(4, dtype=np.uint8))


class TestPower:
    def test_negative_power_of_integers(self) -> None:
        with pytest.raises(ValueError, match="Integers to negative integer powers"):
            interpreted(lambda x: x**-1, np.arange(1, 4))
        check(lambda x: x**-1.0, np.arange(1, 4))

    def test_traced_power_of_integers(self) -> None:
        with pytest.raises(UnsupportedError, match="make the base float"):
            interpreted(lambda x, n: x**n, np.arange(1, 4), np.arange(3))

    def test_square_is_a_product(self) -> None:
        from tests.tracer.helpers import traced

        result, _ = traced(lambda x: x**2, X)
        assert [n.op.name for n in result.graph.nodes][-1] == "mul"

    def test_python_number_to_a_negative_power(self) -> None:
        check(lambda n: n**-1, 4)


class TestMethods:
    def test_reduce(self) -> None:
        check(lambda x: (np.add.reduce(x), np.multiply.reduce(x, axis=1),
                         np.maximum.reduce(x, axis=None), np.minimum.reduce(x, axis=(0, 1)),
                         np.add.reduce(x, axis=1, keepdims=True)), X)
        check(lambda b: (np.logical_and.reduce(b), np.logical_or.reduce(b, axis=1)), X > 0)

    def test_accumulate(self) -> None:
        check(lambda x: (np.add.accumulate(x), np.multiply.accumulate(x, axis=1)), X)

    def test_outer(self) -> None:
        check(lambda x: (np.multiply.outer(x, np.arange(3.0)), np.subtract.outer(2.0, x)), X)

    def test_at(self) -> None:
        def f(x: Any) -> Any:
            out = np.zeros(4)
            np.add.at(out, np.array([0, 1, 1]), x)
            np.subtract.at(out, [3, 3], 2 * x[0])
            return out

        check(f, np.array([1.0, 2.0, 3.0]))

    def test_unsupported(self) -> None:
        with pytest.raises(UnsupportedError, match=r"np.maximum.accumulate is not supported"):
            interpreted(lambda x: np.maximum.accumulate(x), X)
        with pytest.raises(UnsupportedError, match=r"np.gcd is not supported"):
            interpreted(lambda x: np.gcd(x, 2), np.arange(3))


class TestOut:
    def test_into_a_traced_array(self) -> None:
        def f(x: Any) -> Any:
            out = np.empty(3)
            again = np.multiply(x, 2.0, out=out)
            np.add(out, 1, out=out)
            return out, again

        check(f, np.arange(3.0))

    def test_where(self) -> None:
        def f(x: Any) -> Any:
            out = np.full(3, 9.0)
            np.divide(1.0, x, out=out, where=x > 0)
            return out

        check(f, np.arange(3.0))

    def test_where_without_out(self) -> None:
        with pytest.raises(UnsupportedError, match="leaves elements undefined"):
            interpreted(lambda x: np.sqrt(x, where=x > 0), X)


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(ShapeError, match=r"broadcast together with shapes \(2,3\) \(2,\)") as info:
        interpreted(lambda x, y: x + y, X, np.ones(2))
    assert "test_ufuncs.py" in str(info.value)
    assert "x[:, None]" in str(info.value)


def test_boolean_subtraction() -> None:
    with pytest.raises(TypeError, match="numpy boolean subtract"):
        interpreted(lambda b: b - b, X > 0)
