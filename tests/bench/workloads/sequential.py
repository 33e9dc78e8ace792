"""Loops that carry a state: sweeps in place over a grid, Runge-Kutta, recurrences.

JAX's users write them with ``fori_loop`` and ``scan``; by hand they are C.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.workload import CALL, Array, Loss, Workload

GRID, SWEEPS = 40, 4
STEPS, WIDTH, LONG, STEP = 1000, 10, 10_000, 0.01


def seidel(xp: Any) -> Loss:
    """Gauss-Seidel sweeps over a grid, in place."""

    def loss(given: Any) -> Any:
        a = given.copy()
        for _ in range(SWEEPS):
            for i in range(1, GRID - 1):
                for j in range(1, GRID - 1):
                    a[i, j] = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1])
        return xp.sum(a * a)

    return loss


def seidel_jax(jax: Any) -> Loss:
    def point(j: Any, state: Any) -> Any:
        a, i = state
        new = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1])
        return a.at[i, j].set(new), i

    def line(i: Any, a: Any) -> Any:
        return jax.lax.fori_loop(1, GRID - 1, point, (a, i))[0]

    def loss(a: Any) -> Any:
        for _ in range(SWEEPS):
            a = jax.lax.fori_loop(1, GRID - 1, line, a)
        return jax.numpy.sum(a * a)

    return loss


SEIDEL_C = """
static double a[N][N];
double gradient(const double *given, double *g) {
    double (*ct)[N] = (double (*)[N])g, value = 0;
    memcpy(a, given, sizeof a);
    for (int t = 0; t < SWEEPS; t++)
        for (int i = 1; i < N - 1; i++)
            for (int j = 1; j < N - 1; j++)
                a[i][j] = 0.25 * (a[i-1][j] + a[i+1][j] + a[i][j-1] + a[i][j+1]);
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) { value += a[i][j] * a[i][j]; ct[i][j] = 2 * a[i][j]; }
    for (int t = 0; t < SWEEPS; t++)
        for (int i = N - 2; i > 0; i--)
            for (int j = N - 2; j > 0; j--) {
                double c = 0.25 * ct[i][j];
                ct[i][j] = 0;
                ct[i-1][j] += c; ct[i+1][j] += c; ct[i][j-1] += c; ct[i][j+1] += c;
            }
    return value;
}
"""


def seidel_by_hand(given: Array) -> Any:
    a = given.copy()
    inner = range(1, GRID - 1)
    for _ in range(SWEEPS):
        for i in inner:
            for j in inner:
                a[i, j] = 0.25 * (a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1])
    value, ct = np.sum(a * a), 2 * a
    for _ in range(SWEEPS):
        for i in reversed(inner):
            for j in reversed(inner):
                c = 0.25 * ct[i, j]
                ct[i, j] = 0
                ct[i - 1, j] += c
                ct[i + 1, j] += c
                ct[i, j - 1] += c
                ct[i, j + 1] += c
    return value, [ct]


def decay(xp: Any) -> Loss:
    """A scalar equation by RK4: y' = sin(t) - k y^3."""

    def loss(y: Any, k: Any, h: Any) -> Any:
        for n in range(STEPS):
            t = n * h
            a = xp.sin(t) - k * y * y * y
            u = y + 0.5 * h * a
            b = xp.sin(t + 0.5 * h) - k * u * u * u
            u = y + 0.5 * h * b
            c = xp.sin(t + 0.5 * h) - k * u * u * u
            u = y + h * c
            d = xp.sin(t + h) - k * u * u * u
            y = y + h / 6 * (a + 2 * b + 2 * c + d)
        return y * y

    return loss


def decay_jax(jax: Any) -> Loss:
    xp = jax.numpy

    def loss(y: Any, k: Any, h: Any) -> Any:
        def step(y: Any, n: Any) -> Any:
            t = n * h
            a = xp.sin(t) - k * y * y * y
            u = y + 0.5 * h * a
            b = xp.sin(t + 0.5 * h) - k * u * u * u
            u = y + 0.5 * h * b
            c = xp.sin(t + 0.5 * h) - k * u * u * u
            u = y + h * c
            d = xp.sin(t + h) - k * u * u * u
            return y + h / 6 * (a + 2 * b + 2 * c + d), None

        y, _ = jax.lax.scan(step, y, xp.arange(STEPS))
        return y * y

    return loss


DECAY_C = """
static double ys[STEPS + 1];
double gradient(const double *y0, const double *k0, const double *h0, double *gy, double *gk) {
    double k = *k0, h = *h0;
    ys[0] = *y0;
    for (int n = 0; n < STEPS; n++) {
        double t = n * h, y = ys[n], u;
        double a = sin(t) - k*y*y*y;            u = y + 0.5*h*a;
        double b = sin(t + 0.5*h) - k*u*u*u;    u = y + 0.5*h*b;
        double c = sin(t + 0.5*h) - k*u*u*u;    u = y + h*c;
        double d = sin(t + h) - k*u*u*u;
        ys[n+1] = y + h/6 * (a + 2*b + 2*c + d);
    }
    double ct = 2 * ys[STEPS], ck = 0;
    for (int n = STEPS - 1; n >= 0; n--) {
        double t = n * h, y = ys[n];
        double a = sin(t) - k*y*y*y,          u1 = y + 0.5*h*a;
        double b = sin(t + 0.5*h) - k*u1*u1*u1, u2 = y + 0.5*h*b;
        double c = sin(t + 0.5*h) - k*u2*u2*u2, u3 = y + h*c;
        double da, db, dc, dd = h/6 * ct, du;
        ck -= dd*u3*u3*u3; du = -3*k*u3*u3*dd;
        dc = h/3 * ct + h*du; double dy = ct + du;
        ck -= dc*u2*u2*u2; du = -3*k*u2*u2*dc;
        db = h/3 * ct + 0.5*h*du; dy += du;
        ck -= db*u1*u1*u1; du = -3*k*u1*u1*db;
        da = h/6 * ct + 0.5*h*du; dy += du;
        ck -= da*y*y*y; ct = dy - 3*k*y*y*da;
    }
    *gy = ct; *gk = ck;
    return ys[STEPS] * ys[STEPS];
}
"""


def decay_by_hand(y: Array, k: Array, h: Array) -> Any:
    def rate(t: Any, y: Any) -> Any:
        return np.sin(t) - k * y**3

    ys = [y]
    for n in range(STEPS):
        t = n * h
        a = rate(t, y)
        b = rate(t + h / 2, y + h / 2 * a)
        c = rate(t + h / 2, y + h / 2 * b)
        d = rate(t + h, y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
        ys.append(y)
    ct, ck = 2 * y, 0.0
    for n in reversed(range(STEPS)):
        t, u0 = n * h, ys[n]
        a = rate(t, u0)
        u1 = u0 + h / 2 * a
        b = rate(t + h / 2, u1)
        u2 = u0 + h / 2 * b
        u3 = u0 + h * rate(t + h / 2, u2)
        d_d = h / 6 * ct
        du3 = -3 * k * u3**2 * d_d
        d_c = h / 3 * ct + h * du3
        du2 = -3 * k * u2**2 * d_c
        d_b = h / 3 * ct + h / 2 * du2
        du1 = -3 * k * u1**2 * d_b
        d_a = h / 6 * ct + h / 2 * du1
        ck -= d_d * u3**3 + d_c * u2**3 + d_b * u1**3 + d_a * u0**3
        ct = ct + du3 + du2 + du1 - 3 * k * u0**2 * d_a
    return y * y, [ct, ck]


def recurrence(xp: Any) -> Loss:
    """A small recurrent network over a long time, residual, so that no gradient vanishes."""

    def loss(h: Any, w: Any, b: Any) -> Any:
        for _ in range(LONG):
            h = h + STEP * xp.tanh(w @ h + b)
        return xp.sum(h * h)

    return loss


def _turning(rng: np.random.Generator) -> Array:
    """A matrix that turns its states about."""
    w: Array = rng.normal(size=(WIDTH, WIDTH))
    return (w - w.T) / 2


def recurrence_jax(jax: Any) -> Loss:
    def loss(h: Any, w: Any, b: Any) -> Any:
        def step(h: Any, _: Any) -> Any:
            return h + STEP * jax.numpy.tanh(w @ h + b), None

        h, _ = jax.lax.scan(step, h, None, length=LONG)
        return jax.numpy.sum(h * h)

    return loss


def recurrence_by_hand(h: Array, w: Array, b: Array) -> Any:
    states = [h]
    for _ in range(LONG):
        h = h + STEP * np.tanh(w @ h + b)
        states.append(h)
    ct, cw, cb = 2 * h, np.zeros_like(w), np.zeros_like(b)
    for n in reversed(range(LONG)):
        d = STEP * ct * (1 - np.tanh(w @ states[n] + b) ** 2)
        cw += np.outer(d, states[n])
        cb += d
        ct = ct + w.T @ d
    return np.sum(h * h), [ct, cw, cb]


WORKLOADS = (
    Workload(
        f"gauss-seidel {GRID}x{GRID} x{SWEEPS}", seidel, seidel_by_hand,
        lambda rng: ([rng.normal(size=(GRID, GRID))], []),
        SWEEPS * (GRID - 2) ** 2 * 10, 4 * GRID * GRID, dtypes=("float64",),
        jax=seidel_jax, systems=("gradc", "numpy", "jax", "c"),
        c=f"#define N {GRID}\n#define SWEEPS {SWEEPS}\n{SEIDEL_C}",
    ),
    Workload(
        f"rk4 {STEPS}", decay, decay_by_hand,
        lambda rng: ([np.float64(0.7), np.float64(0.3)], [np.float64(0.01)]),
        STEPS * (3 * CALL + 90), STEPS * 2, dtypes=("float64",),
        jax=decay_jax, systems=("gradc", "numpy", "jax", "torch", "autograd", "c"),
        c=f"#define STEPS {STEPS}\n{DECAY_C}",
    ),
    Workload(
        f"recurrence {WIDTH} x{LONG}", recurrence, recurrence_by_hand,
        lambda rng: ([rng.normal(size=WIDTH), _turning(rng), rng.normal(size=WIDTH) * 0.1], []),
        LONG * (6 * WIDTH * WIDTH + (CALL + 6) * WIDTH), LONG * 2 * WIDTH, dtypes=("float64",),
        jax=recurrence_jax, systems=("gradc", "numpy", "jax", "torch", "autograd"),
    ),
)
