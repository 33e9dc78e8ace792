"""Reductions along rows: softmax cross-entropy, layer norm, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads import loops
from workloads.workload import CALL, Array, Loss, Workload


def softmax_by_hand(z: Array) -> Array:
    """Softmax along the last axis, in NumPy."""
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    e /= np.sum(e, axis=-1, keepdims=True)
    return e


def cross_entropy(xp: Any) -> Loss:
    """Softmax cross-entropy of scores and labels."""

    def loss(z: Any, y: Any, rows: Any) -> Any:
        return xp.mean(xp.logsumexp(z, axis=1, keepdims=False) - z[rows, y])

    return loss


def cross_entropy_by_hand(z: Array, y: Array, rows: Array) -> Any:
    largest = np.max(z, axis=1, keepdims=True)
    shifted = np.exp(z - largest)
    total = np.sum(shifted, axis=1, keepdims=True)
    value = np.mean(np.log(total[:, 0]) + largest[:, 0] - z[rows, y])
    shifted /= total * z.dtype.type(len(y))
    shifted[rows, y] -= z.dtype.type(1 / len(y))
    return value, [shifted]


def layer_norm(xp: Any) -> Loss:
    """Layer normalisation, weighted and summed."""

    def loss(x: Any, gain: Any, bias: Any, target: Any) -> Any:
        centred = x - xp.mean(x, axis=1, keepdims=True)
        variance = xp.mean(centred * centred, axis=1, keepdims=True)
        return xp.sum((centred / xp.sqrt(variance + 1e-5) * gain + bias) * target)

    return loss


def layer_norm_by_hand(x: Array, gain: Array, bias: Array, target: Array) -> Any:
    centred = x - np.mean(x, axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.mean(centred * centred, axis=1, keepdims=True) + x.dtype.type(1e-5))
    normal = centred * inverse
    value = np.sum((normal * gain + bias) * target)
    d = target * gain
    dx = inverse * (
        d - np.mean(d, axis=1, keepdims=True)
        - normal * np.mean(d * normal, axis=1, keepdims=True)
    )
    return value, [dx, np.sum(target * normal, axis=0), np.sum(target, axis=0)]


def attention(xp: Any, d: int) -> Loss:
    """Scaled dot-product attention of several heads of width ``d``, weighted and summed."""

    def loss(q: Any, k: Any, v: Any, target: Any) -> Any:
        scores = (q @ xp.swapaxes(k, 1, 2)) * d**-0.5
        return xp.sum((xp.softmax(scores, axis=2) @ v) * target)

    return loss


def attention_by_hand(q: Array, k: Array, v: Array, target: Array) -> Any:
    scale = q.dtype.type(1 / np.sqrt(q.shape[2]))
    p = softmax_by_hand((q @ k.swapaxes(1, 2)) * scale)
    value = np.sum((p @ v) * target)
    dp = target @ v.swapaxes(1, 2)
    ds = p * (dp - np.sum(p * dp, axis=2, keepdims=True)) * scale
    return value, [ds @ k, ds.swapaxes(1, 2) @ q, p.swapaxes(1, 2) @ target]


def attention_data(heads: int, n: int, d: int) -> Any:
    """What draws queries, keys, values, weights."""
    return lambda rng: (
        [rng.normal(size=(heads, n, d)) for _ in range(3)],
        [rng.normal(size=(heads, n, d))],
    )


def of_attention(heads: int, n: int, d: int) -> Workload:
    """Six products, each of n·n·d; one exponential a score."""
    return Workload(
        f"attention {heads}x{n}x{d}", lambda xp: attention(xp, d), attention_by_hand,
        attention_data(heads, n, d),
        heads * n * n * (12 * d + CALL + 8), 7 * heads * n * d,
    )


WORKLOADS = (
    Workload(
        "cross-entropy 1024x1000", cross_entropy, cross_entropy_by_hand,
        lambda rng: ([rng.normal(size=(1024, 1000))],
                     [rng.integers(0, 1000, 1024), np.arange(1024)]),
        (CALL + 4) * 1024 * 1000, 2 * 1024 * 1000, loops=loops.cross_entropy,
    ),
    Workload(
        "layer norm 1024x512", layer_norm, layer_norm_by_hand,
        lambda rng: ([rng.normal(size=(1024, 512)), rng.normal(size=512), rng.normal(size=512)],
                     [rng.normal(size=(1024, 512))]),
        18 * 1024 * 512, 3 * 1024 * 512, loops=loops.layer_norm,
    ),
    of_attention(8, 64, 64),
    of_attention(4, 512, 64),
)
