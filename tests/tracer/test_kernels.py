"""Numerical kernels in the style in which they are published, traced as they stand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.tracer.helpers import check

RNG = np.random.default_rng(7)


def kmeans(points: Any, centers: Any, steps: int = 3) -> Any:
    k = centers.shape[0]
    for _ in range(steps):
        distances = np.zeros((points.shape[0], k))
        for j in range(k):
            distances[:, j] = np.sum((points - centers[j]) ** 2, axis=1)
        labels = np.argmin(distances, axis=1)
        new = np.empty_like(centers)
        for j in range(k):
            member = (labels == j)[:, None]
            new[j] = np.where(member, points, 0.0).sum(0) / np.maximum(member.sum(), 1)
        centers = new
    return centers, labels


def lorenz(t: float, y: Any, sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3) -> Any:
    out = np.zeros(3)
    out[0] = sigma * (y[1] - y[0])
    out[1] = y[0] * (rho - y[2]) - y[1]
    out[2] = y[0] * y[1] - beta * y[2]
    return out


def rk4(f: Callable[..., Any], y0: Any, h: float, steps: int) -> Any:
    path = np.empty((steps + 1, len(y0)))
    path[0] = y0
    for n in range(steps):
        t, y = n * h, path[n]
        k1 = f(t, y)
        k2 = f(t + h / 2, y + h * k1 / 2)
        k3 = f(t + h / 2, y + h * k2 / 2)
        k4 = f(t + h, y + h * k3)
        path[n + 1] = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return path


def jacobi_2d(tsteps: int, A: Any) -> Any:
    A = A.copy()
    B = np.zeros_like(A)
    for _ in range(1, tsteps):
        B[1:-1, 1:-1] = 0.2 * (A[1:-1, 1:-1] + A[1:-1, :-2] + A[1:-1, 2:]
                               + A[2:, 1:-1] + A[:-2, 1:-1])
        A[1:-1, 1:-1] = 0.2 * (B[1:-1, 1:-1] + B[1:-1, :-2] + B[1:-1, 2:]
                               + B[2:, 1:-1] + B[:-2, 1:-1])
    return A


def gauss_seidel(u: Any) -> Any:
    u = np.array(u)
    for i in range(1, u.shape[0] - 1):
        for j in range(1, u.shape[1] - 1):
            u[i, j] = (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1]) / 4
    return u


def sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def lstm(params: dict[str, Any], xs: Any) -> Any:
    hidden = params["U"].shape[0]
    h, c = np.zeros(hidden), np.zeros(hidden)
    outputs = np.zeros((len(xs), hidden))
    for t, x in enumerate(xs):
        z = x @ params["W"] + h @ params["U"] + params["b"]
        i, f, o, g = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs[t] = h
    return outputs, h


def conv2d(image: Any, kernels: Any) -> Any:
    n, h, w, c_in = image.shape
    k, c_out = kernels.shape[0], kernels.shape[3]
    out = np.empty((n, h - k + 1, w - k + 1, c_out), dtype=np.float32)
    for i in range(h - k + 1):
        for j in range(w - k + 1):
            patch = image[:, i : i + k, j : j + k, :, np.newaxis]
            out[:, i, j, :] = np.sum(patch * kernels[np.newaxis], axis=(1, 2, 3))
    return np.maximum(out, 0)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def attention(q: Any, k: Any, v: Any) -> Any:
    scores = np.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    mask = np.triu(np.ones(scores.shape[-2:]), 1).astype(bool)
    scores[..., mask] = -np.inf
    return np.einsum("bhqk,bhkd->bhqd", softmax(scores), v)


def cross_entropy(logits: Any, labels: Any) -> Any:
    p = softmax(logits)
    loss = -np.log(p[np.arange(len(labels)), labels])
    onehot = np.zeros_like(logits)
    onehot[np.arange(len(labels)), labels] = 1
    return loss.mean(), (p - onehot) / len(labels)


def batch_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Any:
    mean, std = np.mean(x, axis=0, keepdims=True), np.std(x, axis=0, keepdims=True)
    return gamma * (x - mean) / np.sqrt(std**2 + eps) + beta


def n_body(mass: Any, pos: Any, vel: Any, dt: float, steps: int) -> Any:
    G, softening = 1.0, 0.1

    def acceleration(pos: Any) -> Any:
        x, y, z = pos[:, 0:1], pos[:, 1:2], pos[:, 2:3]
        dx, dy, dz = x.T - x, y.T - y, z.T - z
        inv_r3 = dx**2 + dy**2 + dz**2 + softening**2
        inv_r3 = np.where(inv_r3 > 0, inv_r3**-1.5, 0)
        a = [G * (d * inv_r3) @ mass for d in (dx, dy, dz)]
        return np.hstack(a)

    pos, vel = pos.copy(), vel.copy()
    acc = acceleration(pos)
    for _ in range(steps):
        vel += acc * dt / 2.0
        pos += vel * dt
        acc = acceleration(pos)
        vel += acc * dt / 2.0
    return pos, vel, 0.5 * np.sum(np.sum(mass * vel**2))


def cholesky(a: Any) -> Any:
    n = a.shape[0]
    lower = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            s = np.dot(lower[i, :j], lower[j, :j])
            lower[i, j] = np.sqrt(a[i, i] - s) if i == j else (a[i, j] - s) / lower[j, j]
    return lower


def back_substitution(a: Any, b: Any) -> Any:
    a, b = a.copy(), b.copy()
    n = len(b)
    for k in range(n - 1):
        for i in range(k + 1, n):
            factor = a[i, k] / a[k, k]
            a[i, k:] -= factor * a[k, k:]
            b[i] -= factor * b[k]
    x = np.zeros(n)
    for i in range(n - 1, -1, -1):
        x[i] = (b[i] - np.sum(a[i, i + 1 :] * x[i + 1 :])) / a[i, i]
    return x


def black_scholes(s: Any, k: Any, t: Any, r: float, sigma: Any) -> Any:
    def cdf(x: Any) -> Any:
        a = np.array([0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429])
        z = 1 / (1 + 0.2316419 * np.abs(x))
        poly = z * np.polyval(a[::-1], z)
        w = 1 - poly * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return np.where(x < 0, 1 - w, w)

    d1 = (np.log(s / k) + (r + sigma**2 / 2) * t) / (sigma * np.sqrt(t))
    d2 = d1 - sigma * np.sqrt(t)
    return s * cdf(d1) - k * np.exp(-r * t) * cdf(d2)


def levenshtein(a: Any, b: Any) -> Any:
    """Smith and Waterman's table with soft costs."""
    table = np.zeros((len(a) + 1, len(b) + 1))
    table[:, 0] = np.arange(len(a) + 1)
    table[0, :] = np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            cost = np.abs(a[i - 1] - b[j - 1])
            table[i, j] = min_of(table[i - 1, j] + 1, table[i, j - 1] + 1,
                                 table[i - 1, j - 1] + cost)
    return table[-1, -1]


def min_of(*values: Any) -> Any:
    return np.min(np.array(values))


def heat_1d(u: Any, alpha: float, steps: int) -> Any:
    u = np.copy(u)
    for _ in range(steps):
        lap = np.roll(u, 1) - 2 * u + np.roll(u, -1)
        lap[[0, -1]] = 0
        u += alpha * lap
    return u


def fir(x: Any, taps: Any) -> Any:
    y = np.zeros(len(x))
    for n in range(len(x)):
        for k in range(min(n + 1, len(taps))):
            y[n] += taps[k] * x[n - k]
    return y, np.convolve(x, taps)[: len(x)]


def fit_of_a_perceptron(x: Any, y: Any, w: Any) -> Any:
    for _ in range(5):
        p = 1 / (1 + np.exp(-np.dot(x, w)))
        error = y - p
        w = w + 0.1 * np.dot(x.T, error * p * (1 - p))
    return w


SPD = (lambda m: m @ m.T + 4 * np.eye(4))(RNG.normal(size=(4, 4)))
CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "k-means": (kmeans, (RNG.normal(size=(12, 2)), RNG.normal(size=(3, 2)))),
    "RK4": (lambda y, h, n: rk4(lorenz, y, h, n), (np.array([1.0, 1.0, 20.0]), 0.01, 5)),
    "Jacobi": (jacobi_2d, (4, RNG.normal(size=(6, 7)))),
    "Gauss-Seidel": (gauss_seidel, (RNG.normal(size=(5, 5)),)),
    "LSTM": (lstm, ({"W": RNG.normal(size=(3, 8)), "U": RNG.normal(size=(2, 8)), "b": np.ones(8)},
                    RNG.normal(size=(4, 3)))),
    "convolution": (conv2d, (RNG.normal(size=(2, 5, 5, 2)).astype(np.float32),
                             RNG.normal(size=(3, 3, 2, 3)).astype(np.float32))),
    "attention": (attention, tuple(RNG.normal(size=(2, 2, 4, 3)) for _ in range(3))),
    "cross entropy": (cross_entropy, (RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0]))),
    "batch norm": (batch_norm, (RNG.normal(size=(6, 3)), np.ones(3), np.zeros(3))),
    "n bodies": (n_body, (np.ones((4, 1)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3)),
                          0.01, 3)),
    "Cholesky": (cholesky, (SPD,)),
    "elimination": (back_substitution, (SPD, np.arange(4.0))),
    "Black-Scholes": (black_scholes, (np.array([90.0, 100.0, 110.0]), 100.0, 0.5, 0.02, 0.3)),
    "soft edit distance": (levenshtein, (np.array([1.0, 2.5, 3.0]), np.array([1.1, 2.0]))),
    "heat": (heat_1d, (RNG.normal(size=9), 0.1, 4)),
    "FIR filter": (fir, (RNG.normal(size=6), np.array([0.5, 0.25, 0.125]))),
    "perceptron": (fit_of_a_perceptron, (RNG.normal(size=(4, 3)), np.array([0.0, 1, 1, 0]),
                                         np.zeros(3))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_kernel(name: str) -> None:
    function, args = CASES[name]
    check(function, *args, rtol=1e-10)
