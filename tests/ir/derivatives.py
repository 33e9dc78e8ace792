"""The checker of derivatives: forward mode against differences, reverse against forward, any
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir import autodiff
from gradc.ir.graph import Graph
from gradc.ir.interp import run
from gradc.ir.verify import verify
from tests.sampling import Array

STEP = 1e-5


def floating(graph: Graph) -> list[int]:
    """Positions of the inputs that can be differentiated."""
    return [k for k, t in enumerate(graph.input_types) if t.differentiable]


def check_derivatives(
    graph: Graph, inputs: Sequence[Any], *, order: int = 2, tol: float = 2e-6, seed: int = 0
) -> None:
    """Raise AssertionError when a derivative of a float64 graph is wrong, up to ``order``.

    Along a random direction v, J·v of forward mode is compared with central differences, and
    u·(J·v) with (Jᵀ·u)·v of reverse mode; the graph of the cotangents is then checked in the same
    way.
    """
    rng = np.random.default_rng(seed)
    wrt = floating(graph)
    kept = [k for k, t in enumerate(graph.output_types) if t.differentiable]
    if not wrt or not kept:
        return
    inputs = [np.asarray(x) for x in inputs]
    direction = {k: rng.uniform(-1, 1, np.shape(inputs[k])) for k in wrt}
    forward = autodiff.jvp(graph, wrt)
    verify(forward, after="jvp")
    tangents = run(forward, [*inputs, *direction.values()])[len(graph.outputs) :]
    differences = _central(graph, inputs, direction, kept)
    for k, tangent, difference in zip(kept, tangents, differences, strict=True):
        _close(f"output {k} forward", tangent, difference, tol, differences)
    seeds = [rng.uniform(-1, 1, graph.output_types[k].shape) for k in kept]
    reverse = autodiff.vjp(graph, wrt, kept)
    verify(reverse, after="vjp")
    cotangents = run(reverse, [*inputs, *seeds])[len(graph.outputs) :]
    for k, cotangent in zip(wrt, cotangents, strict=True):
        assert cotangent.shape == inputs[k].shape, f"cotangent {k} has shape {cotangent.shape}"
    left = [np.vdot(u, t) for u, t in zip(seeds, tangents, strict=True)]
    right = [np.vdot(c, direction[k]) for k, c in zip(wrt, cotangents, strict=True)]
    size = sum(np.abs(u * t).sum() for u, t in zip(seeds, tangents, strict=True))
    _close("reverse against forward", np.array(sum(right)), np.array(sum(left)), 1e-9,
           [np.array(size)])
    if order > 1:
        check_derivatives(reverse, [*inputs, *seeds], order=order - 1, tol=10 * tol, seed=seed + 1)


def _central(
    graph: Graph, inputs: Sequence[Array], direction: dict[int, Array], kept: Sequence[int]
) -> list[Array]:
    ends = []
    for sign in (1, -1):
        moved = [x + sign * STEP * direction[k] if k in direction else x
                 for k, x in enumerate(inputs)]
        ends.append(run(graph, moved))
    return [(ends[0][k] - ends[1][k]) / (2 * STEP) for k in kept]


def _close(
    what: str, got: Array, want: Array, tol: float, scale: Sequence[Array]
) -> None:
    size = max((float(np.abs(s).max()) for s in scale if s.size), default=0.0)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, not {want.shape}"
    worst = float(np.abs(got - want).max()) if got.size else 0.0
    assert worst <= tol * max(1.0, size), f"{what}: off by {worst:.3g} (size {size:.3g})"
