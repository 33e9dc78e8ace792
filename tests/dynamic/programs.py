"""Programs with arrays whose length is known only when they run: slices, masks, indices."""

from __future__ import annotations

import numpy as np

import gradc

rng = np.random.default_rng(1)
X, Y = rng.normal(size=(2, 12))
A = rng.normal(size=(12, 12))
B = rng.normal(size=(12, 5))
IDX = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
NUMBERS = np.arange(12)

#: name -> the program, and its arguments
PROGRAMS = {}


def program(*args):
    def register(function):
        PROGRAMS[function.__name__] = (function, args)
        return function

    return register


def summed(*args):
    """A function of ``i`` and arrays, summed over some ``i`` by a loop."""

    def register(function):
        def loop(*given):
            total = 0.0
            for i in gradc.range(1, 11):
                total = total + function(i, *given)
            return total

        loop.__name__ = function.__name__
        PROGRAMS[loop.__name__] = (loop, args)
        return function

    return register


@summed(X)
def total(i, x):
    return np.sum(x[:i])


@summed(X)
def methods(i, x):
    return x[i:].sum() * x[:i].mean() + x[i - 1 :].max() - x[:i].min()


@summed(X)
def deviation(i, x):
    return np.std(x[: i + 1]) + np.var(x[i - 1 :], ddof=0)


@summed(X, Y)
def dots(i, x, y):
    return x[:i] @ y[:i] + np.dot(x[i:], y[i:])


@summed(X, Y)
def reversed_(i, x, y):
    return np.sum(x[:i] * y[:i][::-1])


@summed(X, Y)
def backwards(i, x, y):
    return np.sum(x[i::-1] * y[i::-1]) + x[:i:-1].sum()


@summed(X)
def steps(i, x):
    return np.sum(x[i::2]) + np.sum(x[:i:3] ** 2) + x[-i:].sum() + x[:-i].sum()


@summed(A, X)
def matrix_vector(i, A, x):
    return np.sum(A[:i, :] @ x) + np.sum(A[:, :i] @ x[:i]) + x[:i] @ A[:i, :i] @ x[:i]


@summed(A, B)
def matrix_matrix(i, A, B):
    return np.sum(np.sin(A[:i, :i] @ B[:i, :])) + np.sum(np.cos(A[i:, :] @ B))


@summed(A)
def outer(i, A):
    return np.sum(np.outer(A[:i, i], A[i, i:]) * A[:i, i:])


@summed(A)
def norms(i, A):
    return (
        np.linalg.norm(A[i, :i]) + np.linalg.norm(A[:, i][i - 1 :], 1) + np.linalg.norm(A[i:, i:])
    )


@summed(A)
def rows(i, A):
    return np.sum(np.sum(A[:i, :], axis=1) ** 2) + np.sum(np.max(A[:, :i], axis=1))


@summed(A)
def keep(i, A):
    return np.sum(A[:i, i:] / np.sum(np.exp(A[:i, i:]), axis=1, keepdims=True))


@summed(X)
def places(i, x):
    return x[np.argmax(x[:i])] * np.argmin(x[i:])


@summed(X)
def truths(i, x):
    return 1.0 * np.any(x[:i] > 1.5) + 2.0 * np.all(x[i:] < 1) + np.count_nonzero(x[:i] > 0)


@summed(X)
def running(i, x):
    return np.sum(np.cumsum(x[:i]) ** 2)


@summed(X)
def choices(i, x):
    return np.sum(np.where(x[:i] > 0, x[:i], x[:i] ** 2)) + np.clip(x[i:], -0.5, 0.5).sum()


@summed(X, Y)
def elements(i, x, y):
    return np.sum(
        np.exp(x[:i] * 0.3) + 2 * np.abs(y[:i]) - np.maximum(x[:i], y[:i]) / (1 + y[:i] ** 2)
    )


@summed(X)
def parts(i, x):
    v = x[: i + 1]
    return v[0] * v[-1] + v[1:].sum() + v[:-1].sum() + v[i // 2] + v.shape[0]


@summed(X)
def differences(i, x):
    return np.sum(np.diff(x[: i + 1]) ** 2) + np.sum((x[1 : i + 1] - x[:i]) * x[:i])


@summed(X)
def new_axes(i, x):
    return np.sum(x[:i, None] * x[None, :i]) + np.sum(x[:i][:, None] - x)


@summed(X, IDX)
def at_indices(i, x, idx):
    return np.sum(x[idx[:i]] * x[:i])


@summed(A, IDX)
def rows_at_indices(i, A, idx):
    return np.sum(A[idx[:i]] @ A[i]) + np.sum(A[:, idx[i:]])


@summed(A)
def transposed(i, A):
    return np.sum(A[:i, :].T @ A[:i, :]) + np.trace(A.T[:, :i] @ A[:i, :])


@summed(NUMBERS)
def integers(i, k):
    return 1.0 * np.sum(k[:i]) + np.mean(k[:i]) + np.sum(k[:i] // 2)


@summed(X)
def methods_of_ufuncs(i, x):
    return (
        np.add.reduce(x[:i])
        + np.multiply.outer(x[:i], x[i:]).sum()
        + (-x[:i]).sum()
        + (x[:i] > 0).sum()
    )


@summed(X, IDX)
def places_in_slices(i, x, idx):
    v = x[: i + 1] * 2
    order = np.argsort(x[: i + 1])
    return (
        np.sum(v[idx[:i] % i])
        + v[np.array([-1, 0])].sum()
        + v[[0, 1]] @ np.array([1.0, 2.0])
        + np.sum(v[order] * np.cumsum(x[: i + 1]))
    )
