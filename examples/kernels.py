"""Ten kernels of numerical computing as plain NumPy loops, and the gradients of their sums.

Run it:  python examples/kernels.py

Stencils in place, linear algebra by the textbook and dynamic programming. Each is a function that
NumPy runs as it is; gradc makes one native function of it, and one with its gradient.
"""

from __future__ import annotations

import time

import numpy as np

import gradc


def jacobi_2d(A, steps):
    """Each inner point becomes the mean of itself and its four neighbours, to and fro."""
    A, B = A.copy(), A.copy()
    for _ in range(steps):
        B[1:-1, 1:-1] = 0.2 * (
            A[1:-1, 1:-1] + A[:-2, 1:-1] + A[2:, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:]
        )
        A[1:-1, 1:-1] = 0.2 * (
            B[1:-1, 1:-1] + B[:-2, 1:-1] + B[2:, 1:-1] + B[1:-1, :-2] + B[1:-1, 2:]
        )
    return A


def seidel_2d(A, steps):
    """Each inner point in turn becomes the mean of the nine points around it."""
    A = A.copy()
    n, m = A.shape
    for _ in range(steps):
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                total = 0.0
                for k in range(-1, 2):
                    total += A[i + k, j - 1] + A[i + k, j] + A[i + k, j + 1]
                A[i, j] = total / 9
    return A


def heat_3d(A, rate, steps):
    """The heat equation on a cube, with explicit steps."""
    A = A.copy()
    for _ in range(steps):
        A[1:-1, 1:-1, 1:-1] += rate * (
            A[:-2, 1:-1, 1:-1] + A[2:, 1:-1, 1:-1]
            + A[1:-1, :-2, 1:-1] + A[1:-1, 2:, 1:-1]
            + A[1:-1, 1:-1, :-2] + A[1:-1, 1:-1, 2:]
            - 6 * A[1:-1, 1:-1, 1:-1]
        )
    return A


def implicit(d, rate):
    """x where (1 - rate ∂²) x = d along the last axis, for all rows at once, and zero at the ends.

    Thomas's elimination and substitution.
    """
    n = d.shape[1]
    upper, x = np.zeros(n), np.zeros_like(d)
    for j in range(1, n - 1):
        pivot = 1 + 2 * rate - rate * upper[j - 1]
        upper[j] = rate / pivot
        x[:, j] = (d[:, j] + rate * x[:, j - 1]) / pivot
    for j in range(n - 2, 0, -1):
        x[:, j] += upper[j] * x[:, j + 1]
    return x


def adi(u, rate, steps):
    """The heat equation on a square, implicit in the one direction and then in the other."""
    for _ in range(steps):
        d = np.zeros_like(u)
        d[1:-1] = u[1:-1] + rate * (u[:-2] - 2 * u[1:-1] + u[2:])
        v = implicit(d, rate).T
        d = np.zeros_like(v)
        d[1:-1] = v[1:-1] + rate * (v[:-2] - 2 * v[1:-1] + v[2:])
        u = implicit(d, rate).T
    return u


def fdtd_2d(ex, ey, hz, source):
    """Maxwell's equations in two dimensions, on Yee's grid: a wave comes in along one edge."""
    ex, ey, hz = ex.copy(), ey.copy(), hz.copy()
    for t in range(len(source)):
        ey[0] = source[t]
        ey[1:] -= 0.5 * (hz[1:] - hz[:-1])
        ex[:, 1:] -= 0.5 * (hz[:, 1:] - hz[:, :-1])
        hz[:-1, :-1] -= 0.7 * (ex[:-1, 1:] - ex[:-1, :-1] + ey[1:, :-1] - ey[:-1, :-1])
    return ex, ey, hz


def durbin(r):
    """y where T y = -r, for the symmetric Toeplitz matrix T of 1, r[0], ..., r[n - 2].

    Durbin's recursion: the solution of each order follows from that of the order before.
    """
    n = len(r)
    y, z = np.zeros(n), np.zeros(n)
    y[0] = alpha = -r[0]
    beta = 1.0
    for k in range(1, n):
        beta *= 1 - alpha * alpha
        total = r[k]
        for i in range(k):
            total += r[k - 1 - i] * y[i]
        alpha = -total / beta
        for i in range(k):
            z[i] = y[i] + alpha * y[k - 1 - i]
        for i in range(k):
            y[i] = z[i]
        y[k] = alpha
    return y


def ludcmp(A, b):
    """x where A x = b: Doolittle's factors of A, in its place, and two substitutions."""
    A, x = A.copy(), b.copy()
    n = len(b)
    for i in range(n):
        for j in range(i):
            for k in range(j):
                A[i, j] -= A[i, k] * A[k, j]
            A[i, j] /= A[j, j]
        for j in range(i, n):
            for k in range(i):
                A[i, j] -= A[i, k] * A[k, j]
    for i in range(n):
        for j in range(i):
            x[i] -= A[i, j] * x[j]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            x[i] -= A[i, j] * x[j]
        x[i] /= A[i, i]
    return x


def gramschmidt(A):
    """Q with orthonormal columns and R upper triangular, where Q R = A: column by column."""
    A = A.copy()
    m, n = A.shape
    Q, R = np.zeros((m, n)), np.zeros((n, n))
    for k in range(n):
        R[k, k] = np.sqrt(np.sum(A[:, k] ** 2))
        Q[:, k] = A[:, k] / R[k, k]
        for j in range(k + 1, n):
            R[k, j] = Q[:, k] @ A[:, j]
            A[:, j] -= Q[:, k] * R[k, j]
    return Q, R


def cholesky(A):
    """L lower triangular, where L Lᵀ = A: row by row."""
    n = len(A)
    L = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = A[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                L[i, i] = np.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    return L


def nussinov(bonds, sequence):
    """How strongly an RNA folds, with soft maxima: log Σ exp of the bonds, over all its foldings.

    bonds: [4, 4], of two bases. sequence: the bases A, C, G and U as 0 to 3; A binds U, and C binds
    G, unless they are neighbours. F[i, j] is of the bases i to j, whose first is free or is bound.
    """
    n = len(sequence)
    F = np.zeros((n + 1, n + 1))
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            F[i, j] = F[i + 1, j]
            for k in range(i + 2, j + 1):
                if sequence[i] + sequence[k] == 3:
                    bound = bonds[sequence[i], sequence[k]] + F[i + 1, k - 1] + F[k + 1, j]
                    F[i, j] = np.logaddexp(F[i, j], bound)
    return F[0, n - 1]


def arguments(name, n, rng):
    """Arguments for the kernel of a name, of a size; those it is differentiated in come first."""
    square = rng.random((n, n))
    return {
        "jacobi_2d": lambda: (square, n // 2),
        "seidel_2d": lambda: (square, n // 4),
        "heat_3d": lambda: (rng.random((n, n, n)), 0.1, n),
        "adi": lambda: (square, 0.4, n // 2),
        "fdtd_2d": lambda: (*rng.random((3, n, n)), np.sin(np.arange(1.0, n + 1))),
        "durbin": lambda: (0.5 ** np.arange(1, n + 1) * (0.9 + 0.1 * rng.random(n)),),
        "ludcmp": lambda: (square + n * np.eye(n), rng.random(n)),
        "gramschmidt": lambda: (rng.random((2 * n, n)),),
        "cholesky": lambda: (square @ square.T + n * np.eye(n),),
        "nussinov": lambda: (rng.random((4, 4)), rng.integers(4, size=n)),
    }[name]()


#: every kernel, how many of its arguments it is differentiated in, and a size
KERNELS = {
    "jacobi_2d": (jacobi_2d, 1, 100),
    "seidel_2d": (seidel_2d, 1, 60),
    "heat_3d": (heat_3d, 2, 30),
    "adi": (adi, 2, 60),
    "fdtd_2d": (fdtd_2d, 4, 80),
    "durbin": (durbin, 1, 300),
    "ludcmp": (ludcmp, 2, 80),
    "gramschmidt": (gramschmidt, 1, 60),
    "cholesky": (cholesky, 1, 100),
    "nussinov": (nussinov, 1, 60),
}


def total(kernel, *arguments):
    """The sum of all that a kernel gives."""
    results = kernel(*arguments)
    if not isinstance(results, tuple):
        results = (results,)
    return sum(np.sum(result) for result in results)


def compiled(name):
    """The sum of all that a kernel gives, as one native function with its gradient."""
    return gradc.compile(total, argnums=tuple(range(1, 1 + KERNELS[name][1])))


def seconds(function, repeats=3):
    """The fastest of a few runs, and what the last gave."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - start)
    return min(times), result


def report(name):
    """A line of the table: times, and the gradient along a direction against differences."""
    kernel, count, n = KERNELS[name]
    rng = np.random.default_rng(0)
    given = arguments(name, n, rng)
    direction = [rng.standard_normal(np.shape(x)) for x in given[:count]]

    def along(t):
        moved = [x + t * v for x, v in zip(given, direction, strict=False)]
        return total(kernel, *moved, *given[count:])

    function = compiled(name)
    compiling, _ = seconds(lambda: function.value_and_grad(kernel, *given), 1)
    function(kernel, *given)
    slow, expected = seconds(lambda: total(kernel, *given), 1)
    fast, value = seconds(lambda: function(kernel, *given))
    both, (_, gradient) = seconds(lambda: function.value_and_grad(kernel, *given))
    slope = sum(np.sum(g * v) for g, v in zip(gradient, direction, strict=True))
    differences = (along(1e-5) - along(-1e-5)) / 2e-5
    print(f"{name:12} {n:4}  {slow * 1e3:8.1f} {fast * 1e3:6.2f}   {both * 1e3:6.2f}"
          f"  {compiling * 1e3:6.0f} ms   {abs(value / expected - 1):.0e}"
          f"   {slope:13.6e} {differences:13.6e}")


def main():
    print("The sum of what each kernel gives, and its gradient\n")
    print("                      ms in        and its   compiled   value   slope in a direction,")
    print("kernel       size     NumPy  gradc gradient         in   apart   and by differences")
    for name in KERNELS:
        report(name)


if __name__ == "__main__":
    main()
