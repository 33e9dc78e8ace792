"""Loops that are unrolled though they are long."""

from __future__ import annotations

import numpy as np
import pytest

import gradc


def test_a_long_loop_that_is_unrolled_is_told_of():
    """Its variable changes its dtype: NumPy's meaning needs every iteration by itself."""

    def f(x, s):
        for i in range(900):
            x = np.sin(x) * 0.9 + s * 0.01
            s = np.argmax(np.stack([x, 0.1 * i]))
        return x

    with pytest.warns(gradc.UnrolledLoopWarning, match=r"more than 3000 operations.*`s`") as told:
        found = gradc.compile(f)(0.25, np.uint8(3))
    np.testing.assert_allclose(found, f(0.25, np.uint8(3)), rtol=1e-12)
    assert len(told) == 1
    assert told[0].filename == __file__ and told[0].lineno == f.__code__.co_firstlineno + 1
