"""Kepler's equation by Newton's method, to convergence, and its derivative in two ways.

Run it:  python examples/newton.py

Where a planet is after the mean anomaly M, on an ellipse of eccentricity e, is the E that solves
E - e sin E = M. The derivative goes either through the iterations of Newton's method, as many as
there were, or around them, by the implicit function theorem.
"""

from __future__ import annotations

import time

import numpy as np

import gradc


def solve(M, e):
    """The eccentric anomalies of the mean ones: Newton's iteration until none moves any more."""
    E = M + e * np.sin(M)
    step = np.ones_like(M)
    while np.max(np.abs(step)) > 1e-10:
        step = (E - e * np.sin(E) - M) / (1 - e * np.cos(E))
        E = E - step
    return E


@gradc.custom_vjp
def solve_implicitly(M, e):
    return solve(M, e)


def forward(M, e):
    E = solve(M, e)
    return E, (E, e)


def backward(residuals, dE):
    """From E - e sin E = M follows (1 - e cos E) dE = dM + sin E de."""
    E, e = residuals
    dM = dE / (1 - e * np.cos(E))
    return dM, np.sum(dM * np.sin(E))


solve_implicitly.defvjp(forward, backward)


def height(solver):
    """The sum of the planet's heights above the long axis, with the solver given."""

    def heights(M, e):
        return np.sum(np.sqrt(1 - e * e) * np.sin(solver(M, e)))

    return gradc.compile(heights, argnums=("M", "e"))


def seconds(function, repeats=20):
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    M, e = np.linspace(0.1, 3.0, 1000), 0.6
    print(f"Kepler's equation for {len(M)} mean anomalies, eccentricity {e}\n")
    slopes = []
    for name, solver in (("through", solve), ("around", solve_implicitly)):
        function = height(solver)
        value, (dM, de) = function.value_and_grad(M, e)
        took = seconds(lambda f=function: f.value_and_grad(M, e))
        slopes.append(np.append(dM, de))
        print(f"  {name:>7} the iterations   value {value:.10f}   d/de {de:.10f}"
              f"   {took * 1e6:.0f} µs")
    print(f"\n  NumPy, the equation alone: {seconds(lambda: solve(M, e)) * 1e6:.0f} µs")
    print(f"  largest difference of the derivatives: {np.max(np.abs(slopes[0] - slopes[1])):.1e}")


if __name__ == "__main__":
    main()
