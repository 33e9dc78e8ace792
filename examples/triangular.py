"""Sparse triangular systems by substitution, by rows and by columns, and gradients in the entries.

Run it:  python examples/triangular.py
"""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

import gradc

SIZE = 2000


def solve_rows(data, indices, indptr, b):
    """x where L x = b. L is lower triangular, by rows (CSR), each of which ends on the diagonal."""
    x = np.zeros(len(b))
    for i in range(len(b)):
        total = b[i]
        for p in range(indptr[i], indptr[i + 1] - 1):
            total -= data[p] * x[indices[p]]
        x[i] = total / data[indptr[i + 1] - 1]
    return x


def solve_columns(data, indices, indptr, b):
    """x where L x = b. L is lower triangular, by columns (CSC), each from the diagonal on."""
    x = b.copy()
    for j in range(len(b)):
        x[j] /= data[indptr[j]]
        for p in range(indptr[j] + 1, indptr[j + 1]):
            x[indices[p]] -= data[p] * x[j]
    return x


def random_lower(n, rng):
    """A sparse lower triangular matrix with a heavy diagonal, and some three entries a row."""
    entries = rng.standard_normal(4 * n), (rng.integers(n, size=4 * n), rng.integers(n, size=4 * n))
    below = scipy.sparse.tril(scipy.sparse.coo_array(entries, shape=(n, n)), -1)
    return (below + scipy.sparse.diags_array(3 + rng.random(n))).tocsr().sorted_indices()


def energy(solve):
    """Half the squared length of the solution."""

    def half_square(data, indices, indptr, b):
        return np.sum(solve(data, indices, indptr, b) ** 2) / 2

    return gradc.compile(half_square, argnums=("data", "b"))


def seconds(function, repeats=5):
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    rng = np.random.default_rng(0)
    csr = random_lower(SIZE, rng)
    csc = csr.tocsc().sorted_indices()
    b = rng.standard_normal(SIZE)

    x = scipy.sparse.linalg.spsolve_triangular(csr, b)
    transposed = scipy.sparse.linalg.spsolve_triangular(csr.T.tocsr(), x, lower=False)
    print(f"L x = b with {SIZE} unknowns and {csr.nnz} entries: the energy x·x / 2\n")
    print(f"  SciPy         value {x @ x / 2:.10f}")
    for name, solve, matrix in (("rows", solve_rows, csr), ("columns", solve_columns, csc)):
        function, arrays = energy(solve), (matrix.data, matrix.indices, matrix.indptr, b)
        value, (ddata, db) = function.value_and_grad(*arrays)
        i, j = matrix.tocoo().coords
        apart = np.max(np.abs(db - transposed)), np.max(np.abs(ddata + transposed[i] * x[j]))
        print(f"\n  by {name:8}   value {value:.10f}")
        print(f"    d/db  is SciPy's L⁻ᵀ x          but for {apart[0]:.1e}")
        print(f"    d/dL  is its -(L⁻ᵀ x) xᵀ        but for {apart[1]:.1e}")
        slow = seconds(lambda s=solve, a=arrays: s(*a), 1)
        fast = seconds(lambda f=function, a=arrays: f.value_and_grad(*a))
        print(f"    NumPy, the value                {slow * 1e6:8.0f} µs")
        print(f"    gradc, value and gradient       {fast * 1e6:8.0f} µs")


if __name__ == "__main__":
    main()
