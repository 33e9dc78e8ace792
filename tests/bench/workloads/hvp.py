"""A Hessian times a vector: a network's gradient, differentiated along a direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.networks import flops, layers, numbers, regression
from workloads.workload import Array, Workload


def regression_by_hand(*arrays: Array) -> Any:
    """Pearlmutter's R-operator over the layers, forward and back."""
    *both, x, y = arrays
    params, along = both[: len(both) // 2], both[len(both) // 2 :]
    inputs, moved = [x], [np.zeros_like(x)]
    for i in range(0, len(params) - 2, 2):
        h = np.tanh(inputs[-1] @ params[i] + params[i + 1])
        r = moved[-1] @ params[i] + inputs[-1] @ along[i] + along[i + 1]
        inputs.append(h)
        moved.append(r * (1 - h * h))
    scale = y.dtype.type(2 / y.size)
    d = (inputs[-1] @ params[-2] + params[-1] - y) * scale
    rd = (moved[-1] @ params[-2] + inputs[-1] @ along[-2] + along[-1]) * scale
    slope, products = y.dtype.type(0), []
    for i in range(len(params) - 2, -1, -2):
        h, rh = inputs[i // 2], moved[i // 2]
        slope += np.sum((h.T @ d) * along[i]) + np.sum(d.sum(axis=0) * along[i + 1])
        products += [rd.sum(axis=0), rh.T @ d + h.T @ rd]
        if i:
            back, bent = d @ params[i].T, 1 - h * h
            rd = (rd @ params[i].T + d @ along[i].T) * bent - 2 * back * h * rh
            d = back * bent
    return slope, products[::-1]


def of_network(sizes: tuple[int, ...], batch: int) -> Workload:
    return Workload(
        f"hvp mlp {'-'.join(map(str, sizes))} x{batch}", regression, regression_by_hand,
        lambda rng: (layers(rng, sizes), [
            *layers(rng, sizes),
            rng.normal(size=(batch, sizes[0])), rng.normal(size=(batch, sizes[-1])),
        ]),
        2 * flops(sizes, batch), 2 * numbers(sizes, batch), kind="hvp",
    )


WORKLOADS = (of_network((8, 64, 64, 8), 64),)
