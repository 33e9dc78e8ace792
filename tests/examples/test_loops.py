"""The examples of loops, branches and updates in place, against NumPy, SciPy and enumeration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.sparse.linalg

import gradc
from tests.examples.loading import check, lines, load

eleven_lines = load("eleven_lines")
runge_kutta = load("runge_kutta")
relaxation = load("relaxation")
newton = load("newton")
triangular = load("triangular")
edit_distance = load("edit_distance")


def weights() -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    return 2 * rng.random((3, 4)) - 1, 2 * rng.random((4, 1)) - 1


def test_eleven_lines_give_the_same_weights_by_hand_and_by_gradc() -> None:
    expected = eleven_lines.by_hand(*weights(), 500)
    native = gradc.compile(eleven_lines.by_hand)(*weights(), 500)
    derived = gradc.compile(eleven_lines.descend)(weights(), 1.0, 500)
    for wanted, *found in zip(expected, native, derived, strict=True):
        for weight in found:
            np.testing.assert_allclose(weight, wanted, rtol=1e-11, atol=1e-13)


def test_eleven_lines_have_a_derivative_in_the_learning_rate_and_the_first_weights() -> None:
    def by_hand(rate: Any, w0: Any, w1: Any, steps: int) -> Any:
        """The loss after the eleven lines, with a learning rate, in plain NumPy."""
        X, y = eleven_lines.X, eleven_lines.y
        for _ in range(steps):
            l1 = 1 / (1 + np.exp(-(X @ w0)))
            l2 = 1 / (1 + np.exp(-(l1 @ w1)))
            l2_delta = (y - l2) * (l2 * (1 - l2))
            l1_delta = (l2_delta @ w1.T) * (l1 * (1 - l1))
            w1 = w1 + rate * (l1.T @ l2_delta)
            w0 = w0 + rate * (X.T @ l1_delta)
        return eleven_lines.loss((w0, w1))

    rate, (d0, d1) = check(by_hand, (1.0, *weights()), (200,))[0], weights()
    value, slope = gradc.compile(eleven_lines.last_loss).value_and_grad(1.0, (d0, d1), 200)
    np.testing.assert_allclose(value, by_hand(1.0, d0, d1, 200), rtol=1e-12)
    np.testing.assert_allclose(slope, rate, rtol=1e-9)


@pytest.mark.parametrize("name", runge_kutta.PROBLEMS)
def test_runge_kutta(name: str) -> None:
    slope, state, parameters, dt, steps = runge_kutta.PROBLEMS[name]

    def first(state: Any, parameters: Any, steps: int) -> Any:
        return runge_kutta.first(slope, state, parameters, dt, steps)

    check(first, (state, parameters), (60,))
    assert len({lines(first, (0, 1), state, parameters, n) for n in (50, 5000)}) == 1

    # The end and its derivatives by SciPy: the equations themselves, and those of variations with
    # the Jacobian by complex steps.
    n, count = len(state), len(state) + len(parameters)

    def field(_t: float, flat: Any) -> Any:
        y, variation = flat[:n], flat[n:].reshape(n, count)
        both = np.concatenate((y, parameters))
        jacobian = np.stack([
            np.imag(slope(*np.split(both + 1e-200j * unit, [n]))) / 1e-200
            for unit in np.eye(count)
        ], axis=1)
        moving = jacobian[:, :n] @ variation
        moving[:, n:] += jacobian[:, n:]
        return np.concatenate((slope(y, parameters), moving.ravel()))

    start = np.concatenate((state, np.eye(n, count).ravel()))
    end = scipy.integrate.solve_ivp(
        field, (0, dt * steps), start, method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
    fine = 8
    x = gradc.compile(runge_kutta.first, argnums=(1, 2))
    value, gradient = x.value_and_grad(slope, state, parameters, dt / fine, steps * fine)
    np.testing.assert_allclose(value, end[0], rtol=1e-7)
    np.testing.assert_allclose(np.concatenate(gradient), end[n : n + count], rtol=1e-6)


def test_relaxation_in_place() -> None:
    rng = np.random.default_rng(0)
    check(relaxation.edge_misfit, (rng.random(20),), (rng.random(20), 20))
    check(relaxation.source_misfit, (rng.random((20, 20)),), (rng.random((20, 20)), 20))
    for misfit, axes in ((relaxation.edge_misfit, 1), (relaxation.source_misfit, 2)):
        controls = [rng.random((n,) * axes) for n in (20, 40)]
        assert len({lines(misfit, (0,), c, c, 3 * len(c)) for c in controls}) == 1


def test_relaxation_does_not_touch_its_arguments() -> None:
    u = np.random.default_rng(0).random((20, 20))
    relaxed, before = relaxation.gauss_seidel(u.copy(), 20), u.copy()

    def copied(u: Any) -> Any:
        return relaxation.gauss_seidel(u.copy(), 20)

    np.testing.assert_allclose(gradc.compile(copied)(u), relaxed, rtol=1e-14)
    np.testing.assert_array_equal(u, before)


def test_descent_through_the_sweeps_fits_the_control() -> None:
    wanted = np.sin(np.linspace(0, np.pi, 20)) / 10
    _, misfits = relaxation.descend(
        gradc.compile(relaxation.edge_misfit), np.zeros(20), wanted, 1.0, 150)
    assert misfits[-1] < 1e-3 * misfits[0]


def test_newton_through_the_iterations_and_around_them() -> None:
    M, e = np.linspace(0.1, 3.0, 30), 0.6

    def heights(M: Any, e: Any) -> Any:
        return np.sum(np.sqrt(1 - e * e) * np.sin(newton.solve(M, e)))

    through = check(heights, (M, e))
    around = newton.height(newton.solve_implicitly).grad(M, e)
    E = newton.solve(M, e)
    np.testing.assert_allclose(E - e * np.sin(E), M, rtol=1e-14)
    # (1 - e cos E) dE = dM + sin E de
    slope = np.sqrt(1 - e * e) * np.cos(E) / (1 - e * np.cos(E))
    other = np.sum(slope * np.sin(E)) - e / np.sqrt(1 - e * e) * np.sum(np.sin(E))
    for dM, de in (through, around):
        np.testing.assert_allclose(dM, slope, rtol=1e-9)
        np.testing.assert_allclose(de, other, rtol=1e-9)


@pytest.mark.parametrize("by", ["rows", "columns"])
def test_sparse_triangular_solve(by: str) -> None:
    rng = np.random.default_rng(0)
    matrix = triangular.random_lower(60, rng)
    solve = triangular.solve_rows
    if by == "columns":
        matrix, solve = matrix.tocsc().sorted_indices(), triangular.solve_columns
    b = rng.standard_normal(60)

    def energy(data: Any, b: Any, indices: Any, indptr: Any) -> Any:
        return np.sum(solve(data, indices, indptr, b) ** 2) / 2

    ddata, db = check(energy, (matrix.data, b), (matrix.indices, matrix.indptr))
    x = scipy.sparse.linalg.spsolve_triangular(matrix.tocsr(), b)
    expected = scipy.sparse.linalg.spsolve_triangular(matrix.T.tocsr(), x, lower=False)
    i, j = matrix.tocoo().coords
    np.testing.assert_allclose(db, expected, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(ddata, -expected[i] * x[j], rtol=1e-11, atol=1e-14)


def alignments(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """All alignments of the first letters of two words, as the pairs that are aligned."""
    if n == 0 and m == 0:
        yield []
    if n:
        yield from alignments(n - 1, m)
    if m:
        yield from alignments(n, m - 1)
    if n and m:
        for pairs in alignments(n - 1, m - 1):
            yield [*pairs, (n - 1, m - 1)]


def test_the_gradient_of_the_soft_edit_distance_is_the_expected_alignment() -> None:
    a, b, gap, temperature = "sand", "tens", 0.9, 0.3
    replace = edit_distance.costs(a, b)
    weights, tables = [], []
    for pairs in alignments(len(a), len(b)):
        table = np.zeros_like(replace)
        for pair in pairs:
            table[pair] = 1.0
        cost = np.sum(replace * table) + gap * (len(a) + len(b) - 2 * len(pairs))
        weights.append(np.exp(-cost / temperature))
        tables.append(table)
    value, slope = edit_distance.soft_distance.value_and_grad(replace, gap, temperature)
    np.testing.assert_allclose(value, -temperature * np.log(np.sum(weights)), rtol=1e-13)
    np.testing.assert_allclose(slope, np.average(tables, axis=0, weights=weights), rtol=1e-11)


def test_soft_edit_distance_of_longer_words() -> None:
    rng = np.random.default_rng(0)
    function = edit_distance.soft_distance.__wrapped__
    check(function, (rng.random((20, 25)), 0.8, 0.3))
    sizes = [rng.random((n, n + 5)) for n in (20, 60)]
    assert len({lines(function, (0, 1, 2), r, 0.8, 0.3) for r in sizes}) == 1


def test_a_cold_soft_minimum_is_the_minimum() -> None:
    distance = edit_distance.soft_distance
    for a, b, edits in (("kitten", "sitting", 3), ("flaw", "lawn", 2), ("a", "abc", 2)):
        np.testing.assert_allclose(distance(edit_distance.costs(a, b), 1.0, 1e-3), edits, atol=0.01)
