"""What variables hold where a jump goes from deep inside a statement."""

from __future__ import annotations

import numpy as np
import pytest

import gradc


def continues(a, c):
    s = 0.0
    for i in gradc.range(6):
        if a[i % 2] < 0.5:
            s = a[0] * i
            if c * i >= 2.0:
                continue
        s = a[1] + i
    return s


def breaks(a, c):
    s = t = 0.0
    for i in gradc.range(6):
        if a[i % 2] < 0.5:
            s = a[0] * i
            t = c
            if c * i >= 2.0:
                break
        s = a[1] + i
        t = a[0]
    return s * t


def in_both(a, c):
    s = 0.0
    for j in gradc.range(3):
        for i in gradc.range(6, 0, -1):
            if a[i % 2] > 0.5:
                s = c
                if j + i > 4:
                    break
            else:
                s = np.sin(a[0] + j)
                if j * c >= 2.0:
                    continue
            s = np.cos(a[(j * 3 + 1) % 2])
    return s


def in_a_while(a, c):
    s, x = 0.0, c
    while x < 40.0:
        x = x * 1.5 + 1.0
        if a[0] * x > 3.0:
            s = x
            if a[1] * x > 9.0:
                continue
            s = s + a[0]
        s = s * 0.5
    return s


def deeper(a, c):
    s, kept = 0.0, np.zeros(2)
    for i in gradc.range(8):
        if a[i % 2] * i > 1.0:
            kept = a * i
            if c > 1.0:
                s = s + 1.0
                if s * a[0] > 0.77:
                    if i % 2 == 0:
                        continue
                    break
        kept = a - i
        s = s + a[1]
    return s + np.sum(kept)


@pytest.mark.parametrize("function", [continues, breaks, in_both, in_a_while, deeper])
@pytest.mark.parametrize("a", [[0.21, 0.93], [0.93, 0.21], [0.13, 0.23], [0.71, 0.83]])
@pytest.mark.parametrize("c", [0.1, 1.3, 5.0])
def test_values_and_gradients(function, a, c):
    a = np.array(a)
    compiled = gradc.compile(function)
    assert compiled(a, c) == pytest.approx(function(a, c), rel=1e-14)
    step = 1e-6 * np.eye(2)
    slopes = [(function(a + h, c) - function(a - h, c)) / 2e-6 for h in step]
    np.testing.assert_allclose(compiled.grad(a, c), slopes, rtol=1e-6, atol=1e-8)
