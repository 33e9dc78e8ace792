"""The square root, to the bit that of NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.vecmath.measure import Array, compiled


def _same(got: Array, expected: Array) -> bool:
    """Whether all bits are, but those of NaNs."""
    bits = np.dtype(f"u{got.itemsize}")
    same = got.view(bits) == expected.view(bits)
    return bool(np.all(same | np.isnan(got) & np.isnan(expected)))


def _check(x: Array) -> None:
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(x)
    assert _same(compiled("sqrt", x.itemsize)(x), expected)


def test_every_float32_of_two_binades_and_what_is_left_of_them() -> None:
    binades = np.arange(0x3F800000, 0x40800000, dtype=np.uint32)
    _check(binades.view(np.float32))
    for first in (0, 0x0D800000, 0x0F800000, 0x7E800000):  # subnormal, tiny, huge
        _check((first + np.arange(1 << 20, dtype=np.uint32)).view(np.float32))


def _doubles() -> Iterator[Array]:
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield rng.integers(0, 0x7FF0 << 48, 1 << 20).view(np.float64)
        yield rng.integers(0, 0x0040 << 48, 1 << 20).view(np.float64)
        # Roots that are next to a number of 26 or 53 bits, or to one in between two of them.
        root = rng.integers(1 << 26, 1 << 27, 1 << 20).astype(np.float64)
        for side in (-np.inf, np.inf):
            yield np.nextafter(root * root, side)
        root = rng.integers(1 << 52, 1 << 53, 1 << 20).astype(np.float64)
        yield np.nextafter(root * (root + 1), rng.choice([-np.inf, np.inf], root.size))


def test_doubles() -> None:
    for x in _doubles():
        _check(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_no_positive_number(dtype: type) -> None:
    info = np.finfo(dtype)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, 1.0, info.max, info.tiny]
    special += [info.smallest_subnormal, -info.smallest_subnormal, -info.max]
    _check(np.array(special, dtype))
