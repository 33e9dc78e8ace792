"""The ten kernels of ``examples/kernels.py``: plain Python loops, which Numba compiles as they are.

Nobody writes their adjoints by hand: a gradient is checked along a direction.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from workloads.workload import Array, Contender, Loss, Workload, directions

SOURCE = Path(__file__).parents[3] / "examples" / "kernels.py"

#: half the distance of the two points whose difference is the reference
STEP = 1e-5


def _loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernels_of_examples", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KERNELS = _loaded()


def _whole(name: str) -> list[Any]:
    """The whole numbers among a kernel's arguments, which come last: how many steps there are."""
    _, _, n = KERNELS.KERNELS[name]
    given = KERNELS.arguments(name, n, np.random.default_rng(0))
    return [x for x in given if isinstance(x, int)]


def _total(name: str) -> Loss:
    kernel, steps = getattr(KERNELS, name), _whole(name)
    return lambda *given: KERNELS.total(kernel, *given, *steps)


def _by_numba(name: str) -> Loss:
    """The kernel, with the function that it calls: what it gives, not the sum of that."""
    import numba

    kernels, steps = _loaded(), _whole(name)
    kernels.implicit = numba.njit(kernels.implicit)
    compiled = numba.njit(getattr(kernels, name))
    return lambda *given: compiled(*(x if x.ndim else float(x) for x in given), *steps)


def _by_differences(name: str) -> Contender:
    """The value, and the slope along the direction, by central differences."""
    count, total = KERNELS.KERNELS[name][1], _total(name)

    def of(*given: Array) -> tuple[Any, Sequence[Array]]:
        along = directions(given[:count])

        def at(t: float) -> Any:
            moved = [x + t * v for x, v in zip(given, along, strict=False)]
            return total(*moved, *given[count:])

        return total(*given), [(at(STEP) - at(-STEP)) / (2 * STEP)]

    return of


def _workload(name: str) -> Workload:
    _, count, n = KERNELS.KERNELS[name]

    def make(rng: np.random.Generator) -> tuple[Sequence[Any], Sequence[Any]]:
        given = [x for x in KERNELS.arguments(name, n, rng) if not isinstance(x, int)]
        return given[:count], given[count:]

    return Workload(
        f"{name} {n}", lambda xp: _total(name), _by_differences(name), make, 0, 0, kind="kernel",
        dtypes=("float64",), systems=("gradc", "numba primal"), primal=lambda: _by_numba(name),
    )


WORKLOADS = tuple(_workload(name) for name in KERNELS.KERNELS)
