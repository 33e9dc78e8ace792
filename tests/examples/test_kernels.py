"""Ten kernels as plain NumPy loops: the same source under NumPy and compiled, with gradients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import gradc
from tests.examples.loading import check, lines, load

kernels = load("kernels")

SIZES = dict.fromkeys(kernels.KERNELS, 20) | {"heat_3d": 7}


def problem(name: str, n: int) -> tuple[Any, list[Any], list[Any]]:
    """The kernel, the arguments that it is differentiated in, and the others."""
    kernel, count, _ = kernels.KERNELS[name]
    given = list(kernels.arguments(name, n, np.random.default_rng(0)))
    return kernel, given[:count], given[count:]


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_value_and_gradient(name: str) -> None:
    kernel, at, fixed = problem(name, SIZES[name])

    def total(*arguments: Any) -> Any:
        return kernels.total(kernel, *arguments)

    kept = [np.copy(x) for x in (*at, *fixed)]
    check(total, at, fixed)
    for x, before in zip((*at, *fixed), kept, strict=True):
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_the_kernel_itself_gives_what_numpy_gives(name: str) -> None:
    kernel, at, fixed = problem(name, SIZES[name] + 3)
    results, expected = gradc.compile(kernel)(*at, *fixed), kernel(*at, *fixed)
    if not isinstance(expected, tuple):
        results, expected = (results,), (expected,)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_the_size_of_the_graph_is_not_that_of_the_arrays(name: str) -> None:
    argnums = tuple(range(1, 1 + kernels.KERNELS[name][1]))
    found = set()
    for n in (40, 80):
        kernel, at, fixed = problem(name, n)
        found.add(lines(kernels.total, argnums, kernel, *at, *fixed))
    assert len(found) == 1
    assert found.pop() < 500


def slopes(name: str, n: int) -> tuple[list[Any], Any, tuple[Any, ...]]:
    """The arguments of a kernel, what it gives, and the gradient of the sum of that."""
    kernel, at, fixed = problem(name, n)
    _, gradient = kernels.compiled(name).value_and_grad(kernel, *at, *fixed)
    return [*at, *fixed], gradc.compile(kernel)(*at, *fixed), gradient


def test_cholesky_is_scipys_and_its_gradient_that_of_the_matrix_calculus() -> None:
    (A,), L, (dA,) = slopes("cholesky", 20)
    np.testing.assert_allclose(L, scipy.linalg.cholesky(A, lower=True), atol=1e-14)
    # dA = L⁻ᵀ Φ(Lᵀ dL) L⁻¹, where Φ takes the lower triangle and half of the diagonal; the kernel
    # reads the lower triangle alone, so what would go to the upper one is added there.
    phi = np.tril(L.T @ np.tril(np.ones_like(L)))
    phi[np.diag_indices(len(L))] /= 2
    inverse = np.linalg.inv(L)
    full = inverse.T @ phi @ inverse
    expected = np.tril(full + full.T) - np.diag(np.diag(full))
    np.testing.assert_allclose(dA, expected, rtol=1e-10, atol=1e-13)


def test_ludcmp_is_scipys_solution_and_its_gradient_a_solution_too() -> None:
    (A, b), x, (dA, db) = slopes("ludcmp", 20)
    np.testing.assert_allclose(x, scipy.linalg.solve(A, b), rtol=1e-12)
    expected = scipy.linalg.solve(A.T, np.ones_like(b))
    np.testing.assert_allclose(db, expected, rtol=1e-12)
    np.testing.assert_allclose(dA, -np.outer(expected, x), rtol=1e-11)


def test_durbin_solves_its_toeplitz_system() -> None:
    (r,), y, (dr,) = slopes("durbin", 20)
    column = np.concatenate(([1.0], r[:-1]))
    np.testing.assert_allclose(y, scipy.linalg.solve_toeplitz(column, -r), rtol=1e-11)
    # T dy = -dr - dT y, for the cotangent T⁻¹ 1 of the right side.
    ct = scipy.linalg.solve_toeplitz(column, np.ones_like(r))
    expected = -ct
    for k in range(1, len(r)):
        expected[k - 1] -= ct[k:] @ y[:-k] + ct[:-k] @ y[k:]
    np.testing.assert_allclose(dr, expected, rtol=1e-9)


def test_gramschmidt_gives_orthonormal_columns_and_an_upper_triangle() -> None:
    (A,), (Q, R), _ = slopes("gramschmidt", 20)
    np.testing.assert_allclose(Q.T @ Q, np.eye(20), atol=1e-12)
    np.testing.assert_allclose(Q @ R, A, atol=1e-13)
    np.testing.assert_array_equal(np.tril(R, -1), 0.0)


def foldings(bases: tuple[int, ...]) -> Iterator[list[tuple[int, int]]]:
    """All sets of bonds that do not cross, of bases that bind."""
    if not bases:
        yield []
        return
    first, rest = bases[0], bases[1:]
    yield from foldings(rest)
    for k in range(1, len(rest)):
        if SEQUENCE[first] + SEQUENCE[rest[k]] == 3:
            for inside in foldings(rest[:k]):
                for beyond in foldings(rest[k + 1 :]):
                    yield [(first, rest[k]), *inside, *beyond]


SEQUENCE = np.random.default_rng(5).integers(4, size=18)


def test_nussinov_sums_over_all_foldings_and_its_gradient_is_the_mean_number_of_bonds() -> None:
    bonds = np.random.default_rng(0).random((4, 4))
    weights, counts = [], []
    for folding in foldings(tuple(range(len(SEQUENCE)))):
        count = np.zeros((4, 4))
        for i, k in folding:
            count[SEQUENCE[i], SEQUENCE[k]] += 1
        weights.append(np.exp(np.sum(count * bonds)))
        counts.append(count)
    assert len(weights) > 100
    value, (slope,) = kernels.compiled("nussinov").value_and_grad(
        kernels.nussinov, bonds, SEQUENCE)
    np.testing.assert_allclose(value, np.log(np.sum(weights)), rtol=1e-13)
    expected = np.average(counts, axis=0, weights=weights)
    np.testing.assert_allclose(slope, expected, rtol=1e-11, atol=1e-15)


def test_stencils_have_the_gradients_of_the_linear_maps_that_they_are() -> None:
    for name in ("jacobi_2d", "seidel_2d", "fdtd_2d"):
        kernel, at, fixed = problem(name, 7)
        _, gradient = kernels.compiled(name).value_and_grad(kernel, *at, *fixed)
        base = kernels.total(kernel, *(0 * x for x in at), *fixed)
        for k, x in enumerate(at):
            columns = []
            for place in np.ndindex(x.shape):
                unit = [0 * y for y in at]
                unit[k][place] = 1.0
                columns.append(kernels.total(kernel, *unit, *fixed) - base)
            np.testing.assert_allclose(gradient[k].ravel(), columns, rtol=1e-12, atol=1e-14)
