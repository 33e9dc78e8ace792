"""A plate relaxes to its temperatures, in place, and what heats it is fitted through the sweeps.

Run it:  python examples/relaxation.py
"""

from __future__ import annotations

import time

import numpy as np

import gradc

SIZE, SWEEPS = 24, 120


def gauss_seidel(u, sweeps):
    """Every inner point becomes the mean of its neighbours, in turn."""
    n, m = u.shape
    for _ in range(sweeps):
        for i in range(1, n - 1):
            for j in range(1, m - 1):
                u[i, j] = (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1]) / 4
    return u


def jacobi(u, source, sweeps):
    """Every inner point becomes the mean of its neighbours and the source, at once."""
    for _ in range(sweeps):
        around = u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]
        u[1:-1, 1:-1] = (around + source) / 4
    return u


def edge_misfit(edge, wanted, sweeps):
    """How far the middle row is from what is wanted of it, with the first row held at ``edge``."""
    u = np.zeros((len(edge), len(edge)))
    u[0] = edge
    return np.sum((gauss_seidel(u, sweeps)[len(edge) // 2] - wanted) ** 2)


def source_misfit(source, wanted, sweeps):
    """How far the plate is from what is wanted of it, with its edges held at zero."""
    u = np.zeros((len(source) + 2, len(source) + 2))
    return np.sum((jacobi(u, source, sweeps)[1:-1, 1:-1] - wanted) ** 2)


def descend(misfit, control, wanted, rate, steps):
    """Gradient descent with momentum; the control, and the misfit at every step."""
    velocity, misfits = np.zeros_like(control), []
    for _ in range(steps):
        value, slope = misfit.value_and_grad(control, wanted, SWEEPS)
        velocity = 0.9 * velocity - rate * slope
        control = control + velocity
        misfits.append(value)
    return control, misfits


def report(title, function, control, wanted, rate, steps):
    misfit = gradc.compile(function)
    start = time.perf_counter()
    misfit.value_and_grad(control, wanted, SWEEPS)
    compiled = time.perf_counter()
    fitted, misfits = descend(misfit, control, wanted, rate, steps)
    done = time.perf_counter()
    function(control, wanted, SWEEPS)
    slow = time.perf_counter() - done
    print(f"{title}: {SWEEPS} sweeps over {SIZE} x {SIZE} points, {steps} steps of descent\n")
    for step in (0, steps // 4, steps // 2, steps - 1):
        print(f"  step {step:4d}   misfit {misfits[step]:.3e}")
    print(f"\n  NumPy, the misfit                  {slow * 1e3:8.2f} ms")
    print(f"  gradc, the misfit and its gradient {(done - compiled) / steps * 1e3:8.2f} ms"
          f"   (compiled in {(compiled - start) * 1e3:.0f} ms)\n")
    return fitted


def main():
    place = np.linspace(0, np.pi, SIZE)
    wanted = np.sin(place) / 10
    report("Gauss-Seidel", edge_misfit, np.zeros(SIZE), wanted, 1.0, 200)

    inner = np.sin(place[1:-1])
    wanted = inner[:, None] * inner
    report("Jacobi", source_misfit, np.zeros((SIZE - 2, SIZE - 2)), wanted, 2e-4, 200)


if __name__ == "__main__":
    main()
