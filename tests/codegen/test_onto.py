"""Parts of arrays that a loop's reverse overwrites and adds to, without passes of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradc
from gradc.ir import interp

N = 12


def diffused(a: Any, rate: Any) -> Any:
    a = a.copy()
    for _ in gradc.range(5):
        a[1:-1, 1:-1] += rate * (a[:-2, 1:-1] + a[2:, 1:-1] - 2 * a[1:-1, 1:-1])
    return np.sum(a * a)


def test_what_is_blanked_is_chosen_where_it_is_added_to() -> None:
    """Of the old cotangent, the inner points' is read elsewhere; here they are zero."""
    gradient = gradc.value_and_grad(diffused, argnums=(0, 1))
    a = np.random.default_rng(0).uniform(-1.0, 1.0, (N, N))
    value, slopes = gradient(a, 0.1)
    graph = gradient.specialization(a, 0.1).optimized
    want = interp.run(graph, [a, np.float64(0.1)])
    for got, one in zip((value, *slopes), want, strict=True):
        np.testing.assert_allclose(got, one, rtol=1e-14, atol=1e-14)
    reverse = gradient.ir(a, 0.1, stage="loops").partition("from the last on")[2]
    copies = [line for line in reverse.splitlines() if f"for i0 < {N * N} vector" in line]
    assert "where" in reverse
    assert not copies


def test_what_is_infinite_is_blanked_too() -> None:
    """It is chosen, not subtracted from itself."""
    gradient = gradc.value_and_grad(diffused, argnums=(0, 1))
    a = np.ones((N, N))
    a[3, 3] = np.inf
    _, (slope, _) = gradient(a, 0.1)
    graph = gradient.specialization(a, 0.1).optimized
    with np.errstate(all="ignore"):
        _, want, _ = interp.run(graph, [a, np.float64(0.1)])
    assert np.isfinite(want).any() and not np.isfinite(want).all()
    np.testing.assert_allclose(slope, want, rtol=1e-14)
