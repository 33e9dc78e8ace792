"""Functions that find elements: how many there are shows only when the code runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradc.errors import UnsupportedError
from gradc.numpy_api.dispatch import implements
from gradc.numpy_api.values import as_tracer, is_traced, normalized
from gradc.tracer import Tracer, describe


def _truths(a: Any) -> Tracer:
    t = as_tracer(a)
    return t if t.dtype == bool else as_tracer(np.not_equal(t, 0))


@implements(np.flatnonzero)
def flatnonzero(a: Any) -> Any:
    from gradc.dynamic.views import places_of

    return places_of(_truths(a)).frozen()


@implements(np.nonzero)
def nonzero(a: Any) -> Any:
    t = _truths(a)
    if not t.shape:
        raise ValueError("Calling nonzero on 0d arrays is not allowed.")
    flat = flatnonzero(t)
    if t.ndim == 1:
        return (flat,)
    strides = [math.prod(t.shape[k + 1 :]) for k in range(t.ndim)]
    return tuple(flat // s % d for s, d in zip(strides, t.shape, strict=True))


@implements(np.argwhere)
def argwhere(a: Any) -> Any:
    t = _truths(a)
    if t.ndim != 1:
        raise UnsupportedError("np.argwhere of a traced array of several axes",
                               types=[describe(t)], remedy="np.nonzero, an array for each axis")
    return flatnonzero(t)[:, None]


@implements(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    return np.compress(np.ravel(condition), np.ravel(arr))


@implements(np.compress)
def compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Any:
    t, test = as_tracer(a), as_tracer(condition)
    if test.ndim != 1:
        raise ValueError("condition must be a 1-d array")
    if axis is None:
        t, axis = t.reshaped((t.size,)), 0
    axis = normalized(axis, t.ndim)
    if not is_traced(condition):
        return t[(*(slice(None),) * axis, np.flatnonzero(test.array()))]
    if axis or len(test) != len(t):
        raise UnsupportedError(
            "np.compress with a traced condition along another axis than the first, or of another "
            "length", types=[describe(test), describe(t)], remedy="np.where(condition, a, other)")
    from gradc.dynamic.views import masked

    return masked(t, test).frozen()
