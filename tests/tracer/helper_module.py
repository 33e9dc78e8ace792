"""A module of user code that a traced function calls; names come by ``from numpy import``."""

from __future__ import annotations

from functools import lru_cache
from math import exp, sqrt
from typing import Any

import numpy as np
from numpy import array, empty
from numpy import zeros as nullen


def through_names(x: Any) -> Any:
    a = nullen(2)
    a[1] = x
    b = empty(2)
    b[:] = a * 2
    return array([a[1], b[1], exp(x), sqrt(x)])


def through_the_module(x: Any) -> Any:
    a = np.zeros(3)
    a[0] = x
    return a


@lru_cache
def cached_grid(n: int) -> Any:
    return np.linspace(0.0, 1.0, n)
