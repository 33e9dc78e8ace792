"""Loops over elements at linear places: Python, the interpreter and native code, to the bit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.ir import interp
from tests.affine_programs import arguments, load

SEEDS = range(60)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(SEEDS, Path(tmp_path_factory.mktemp("affine")) / "affine.py")


def total(function: Any) -> Any:
    """A number that depends on all results."""
    return lambda *given: sum(np.sum(x) * (k + 1) for k, x in enumerate(function(*given)))


@pytest.mark.parametrize("seed", SEEDS)
def test_value(programs: ModuleType, seed: int) -> None:
    function, given = getattr(programs, f"f{seed}"), arguments(seed)
    compiled = gradc.compile(function)
    try:
        with np.errstate(all="ignore"):
            want = function(*given)
    except IndexError:
        with pytest.raises(IndexError):
            compiled(*given)
        return
    for got, one in zip(compiled(*given), want, strict=True):
        np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_gradient(programs: ModuleType, seed: int) -> None:
    function, given = getattr(programs, f"f{seed}"), arguments(seed)
    gradient = gradc.value_and_grad(total(function), argnums=(0, 1, 2, 3))
    try:
        value, slopes = gradient(*given)
    except IndexError:
        with pytest.raises(IndexError):
            function(*given)
        return
    graph = gradient.specialization(*given).optimized
    with np.errstate(all="ignore"):
        want = interp.run(graph, [np.asarray(x) for x in given])
    for got, one in zip((value, *slopes), want, strict=True):
        np.testing.assert_allclose(got, one, rtol=1e-12, atol=1e-12)
