"""Two differential equations by Runge and Kutta's method, and how their ends follow their starts.

Run it:  python examples/runge_kutta.py
"""

from __future__ import annotations

import time

import numpy as np

import gradc


def lorenz(state, parameters):
    x, y, z = state
    sigma, rho, beta = parameters
    return np.array([sigma * (y - x), x * (rho - z) - y, x * y - beta * z])


def van_der_pol(state, parameters):
    """Slow along two branches, fast between them: stiff where mu is large."""
    x, v = state
    mu = parameters[0]
    return np.array([v, mu * (1 - x * x) * v - x])


def end(slope, state, parameters, dt, steps):
    """The state after so many steps of the classical method of fourth order."""
    for _ in range(steps):
        k1 = slope(state, parameters)
        k2 = slope(state + dt / 2 * k1, parameters)
        k3 = slope(state + dt / 2 * k2, parameters)
        k4 = slope(state + dt * k3, parameters)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def first(slope, state, parameters, dt, steps):
    """The first component of the end state."""
    return end(slope, state, parameters, dt, steps)[0]


PROBLEMS = {
    "Lorenz": (lorenz, np.array([1.0, 1.0, 20.0]), np.array([10.0, 28.0, 8 / 3]), 0.002, 1000),
    "van der Pol": (van_der_pol, np.array([2.0, 0.0]), np.array([20.0]), 0.02, 1000),
}


def seconds(function, repeats=3):
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def report(name):
    """The first component at the end, its gradient, and how long they took."""
    slope, state, parameters, dt, steps = PROBLEMS[name]
    x = gradc.compile(first, argnums=("state", "parameters"))
    start = time.perf_counter()
    value, (dstate, dparameters) = x.value_and_grad(slope, state, parameters, dt, steps)
    compiling = time.perf_counter() - start
    slow = seconds(lambda: first(slope, state, parameters, dt, steps), 1)
    fast = seconds(lambda: x.value_and_grad(slope, state, parameters, dt, steps))
    print(f"{name}: x at t = {dt * steps:g}, after {steps} steps\n")
    print(f"  NumPy                {first(slope, state, parameters, dt, steps):.10f}")
    print(f"  gradc                {value:.10f}")
    print(f"  d / d initial state  {dstate}")
    print(f"  d / d parameters     {dparameters}")
    print(f"  NumPy, the value               {slow * 1e6:8.0f} µs")
    print(f"  gradc, value and gradient      {fast * 1e6:8.0f} µs"
          f"   (compiled in {compiling * 1e3:.0f} ms)\n")


def main():
    for name in PROBLEMS:
        report(name)


if __name__ == "__main__":
    main()
