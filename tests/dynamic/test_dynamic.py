"""Slices with traced bounds, masks and what is found by them: as in NumPy, and differentiated."""

from __future__ import annotations

import numpy as np
import pytest

import gradc
from gradc.errors import (
    BranchError,
    CarryError,
    CastingError,
    IndexingError,
    ReadOnlyError,
    ShapeError,
    TracerIndexError,
    UndefinedError,
    UnsupportedError,
)
from tests.dynamic import parts, writes  # noqa: F401  # they register programs, too
from tests.dynamic.programs import PROGRAMS, A, X

NAMES = sorted(PROGRAMS)


def copied(args):
    return [a.copy() if isinstance(a, np.ndarray) else a for a in args]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize("name", NAMES)
def test_equals_numpy(name):
    program, args = PROGRAMS[name]
    want = program(*copied(args))
    got = gradc.compile(program)(*args)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    assert np.asarray(got).dtype == np.asarray(want).dtype


@pytest.mark.parametrize("name", [n for n in NAMES if n != "integers"])
def test_gradient_equals_finite_differences(name):
    program, args = PROGRAMS[name]
    rng = np.random.default_rng(2)
    chosen = [k for k, a in enumerate(args) if getattr(a, "dtype", None) == np.float64]
    weights = rng.normal(size=np.shape(program(*copied(args))))

    def weighed(*given):
        return np.sum(weights * program(*given))

    gradients = gradc.grad(weighed, argnums=tuple(chosen))(*args)
    directions = [rng.normal(size=args[k].shape) for k in chosen]

    def along(step):
        moved = copied(args)
        for k, d in zip(chosen, directions, strict=True):
            moved[k] = moved[k] + step * d
        return weighed(*moved)

    expected = (along(1e-6) - along(-1e-6)) / 2e-6
    found = sum(np.sum(g * d) for g, d in zip(gradients, directions, strict=True))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def cholesky(a):
    a = a.copy()
    for i in range(len(a)):
        for j in range(i):
            a[i, j] = (a[i, j] - a[i, :j] @ a[j, :j]) / a[j, j]
        a[i, i] = np.sqrt(a[i, i] - a[i, :i] @ a[i, :i])
        a[i, i + 1 :] = 0
    return a


def test_second_order_and_forward_mode():
    spd = A @ A.T + 12 * np.eye(12)
    logdet = lambda t: np.sum(np.log(np.diag(cholesky(spd + t * np.eye(12)))))  # noqa: E731
    inverse = np.linalg.inv(spd)
    first, second = np.trace(inverse) / 2, -np.trace(inverse @ inverse) / 2
    assert gradc.grad(logdet)(0.0) == pytest.approx(first, rel=1e-12)
    assert gradc.jvp(logdet, (0.0,), (1.0,))[1] == pytest.approx(first, rel=1e-12)
    assert gradc.grad(gradc.grad(logdet))(0.0) == pytest.approx(second, rel=1e-11)


def test_slices_keep_loops_loops():
    """The compiled program does not grow with the matrix."""
    sizes = [gradc.compile(cholesky).ir(np.eye(n)).count("\n") for n in (30, 90)]
    assert sizes[0] == sizes[1] < 100


def test_what_is_overwritten_is_read_before():
    def f(a):
        a = a.copy()
        for i in range(1, len(a)):
            a[i, 1:i] += a[i, : i - 1] * 0.5
        return a

    a = np.ones((60, 60))
    np.testing.assert_allclose(gradc.compile(f)(a), f(a), rtol=1e-13)


def refused(error, function, *args, match):
    with pytest.raises(error, match=match) as caught:
        gradc.compile(function)(*args)
    assert "test_dynamic.py" in str(caught.value)


def test_lengths_that_differ():
    def f(x):
        total = 0.0
        for i in gradc.range(2, 11):
            total += np.sum(x[:i] * x[: i - 1])
        return total

    refused(ShapeError, f, X, match="different lengths")

    def h(x):
        x = x.copy()
        k = np.argmax(x)
        x[:k] = x[: np.argmin(x)]
        return x

    refused(ShapeError, h, X, match="different lengths")
    with gradc.config(jit=False):
        refused(ShapeError, h, X, match="different lengths")

    def into(x):
        y = np.zeros(5)
        y[:] = x[: np.argmax(x)]
        return y

    compiled = gradc.compile(into)
    assert np.array_equal(compiled(np.eye(12)[5] * 2.0 + 1), np.ones(5))
    with pytest.raises(ShapeError, match="different lengths"):
        compiled(X)


def test_an_expression_is_not_traced_for_each_time_it_is_named():
    def f(x):
        v = x[: np.argmax(x)]
        for _ in range(15):
            v = v * np.tanh(v)
        return np.sum(v)

    assert gradc.compile(f)(X) == pytest.approx(f(X), rel=1e-13)
    assert gradc.compile(f).ir(X, stage="traced").count(" tanh ") == 15


def test_a_step_that_may_be_negative():
    def f(x):
        return np.sum(x[:: np.argmax(x)])

    refused(TracerIndexError, f, X, match="not known that it is positive")


def test_what_runs_out_of_bounds():
    def empty(x):
        total = 0.0
        for i in gradc.range(11):
            total += np.max(x[:i])
        return total

    refused(IndexingError, empty, X, match="out of bounds")

    def beyond(x):
        total = 0.0
        for i in gradc.range(11):
            total += x[:i][5]
        return total

    refused(IndexingError, beyond, X, match="out of bounds")


def test_bounds_are_cut_off_as_in_numpy():
    def f(x, k):
        return np.sum(x[:k]), np.sum(x[k:]), np.sum(x[k:-1]), np.sum(x[::-1][k:])

    compiled = gradc.compile(lambda x, k: f(x, k[0]))
    for k in (-30, -12, -3, -1, 0, 1, 5, 11, 12, 30):
        np.testing.assert_allclose(compiled(X, np.array([k])), f(X, k), rtol=1e-12, atol=1e-15)


def test_what_leaves_its_iteration():
    def result(x):
        return x[: np.argmax(x)]

    with pytest.raises(TracerIndexError, match="needed for the function's result"):
        gradc.compile(result)(X)

    def after(x):
        for i in gradc.range(1, 11):
            v = x[:i]
        return np.sum(v)

    refused(UndefinedError, after, X, match="`v` is a slice of unknown length")

    def carried(x):
        v = x[:3]
        for i in gradc.range(1, 11):
            v = x[:i] + v[0]
        return np.sum(v)

    refused(CarryError, carried, X, match="`v` changes in a loop")


@pytest.mark.parametrize("function", [np.unique, np.fft.fft, np.cov, np.linalg.inv])
def test_functions_without_an_answer(function):
    def f(x):
        return np.sum(function(x[: np.argmax(x)]))

    refused(UnsupportedError, f, X, match=f"{function.__name__} is not supported on an array whose")


def test_what_needs_the_length():
    def truth(x):
        return 1.0 if x[: np.argmax(x)] else 0.0

    refused(TracerIndexError, truth, X, match="a test")

    def number(x):
        return float(x[: np.argmax(x)])

    refused(TracerIndexError, number, X, match="a conversion to a number")



def test_the_callers_arrays_stay():
    x = X.copy()

    def f(x):
        for i in gradc.range(1, 11):
            x[:i] *= 2.0
        return x

    with pytest.raises(gradc.errors.ReadOnlyError, match="argument x"):
        gradc.compile(f)(x)
    assert np.array_equal(x, X)


def test_writes_that_another_trace_would_lose():
    def f(x):
        t = x[x > 0]

        def inner(c):
            t[0] = c
            return c * c

        return gradc.grad(inner)(x[0]) + np.sum(t)

    refused(ReadOnlyError, f, X, match="computed outside of what is traced here")


def test_slices_that_branches_give():
    def f(x):
        v = x[: np.argmax(x)]
        if x[0] > 0:
            v = v * 2
        return np.sum(v)

    refused(BranchError, f, X, match="`v` is f64.* in the branch")

    def narrowed(x):
        v = x[: np.argmax(x)]
        while np.sum(v) > 0:
            v = v[1:]
        return np.sum(v)

    refused(CarryError, narrowed, X, match="`v` changes in a loop")


def test_floats_into_integers():
    def f(x):
        k = np.arange(12)
        k[: np.argmax(x)] += x[: np.argmax(x)]
        return k

    refused(CastingError, f, X, match="same_kind")


def test_what_a_slice_is():
    def f(x):
        v = x[: np.argmax(x)]
        if not isinstance(v, np.ndarray) or type(v) is not np.ndarray or isinstance(v, (int, list)):
            return -1.0
        return np.sum(v) if hasattr(v, "shape") and not hasattr(v, "axes") else -2.0

    assert gradc.compile(f)(X) == pytest.approx(f(X))


def test_slopes_of_norm_and_deviation_at_zero():
    def f(x):
        total = 0.0
        for i in gradc.range(1, 3):
            total += np.linalg.norm(x[i:]) + np.std(x[:1] * i) + np.std(x[i:])
        return total

    np.testing.assert_array_equal(gradc.grad(f)(np.array([1.0, 0.0, 0.0, 0.0])), np.zeros(4))
