"""``gradc.checkpoint``: a function whose values reverse mode computes again rather than keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from gradc.context import current
from gradc.control.aliases import lend
from gradc.control.arguments import kind_of, shown
from gradc.control.carries import is_number
from gradc.control.regions import Region, close, here, is_scalar, whole, written_back
from gradc.errors import ArgumentError
from gradc.ir import ops
from gradc.numpy_api.values import as_tracer
from gradc.syntax.convert import rewritten
from gradc.tracer import fresh
from gradc.tree import flatten, unflatten


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, of which reverse mode keeps what it is given, and computes its values again.

    That takes memory for the arguments alone, and the time of ``f`` once more.

    >>> import numpy as np, gradc
    >>> layer = gradc.checkpoint(lambda w, x: np.tanh(w * x))
    >>> float(gradc.grad(lambda w: layer(w, layer(w, 1.0)))(0.0))
    0.0

    Raises ArgumentError for what is no function.
    """
    if not callable(f):
        raise ArgumentError(f"gradc.checkpoint takes a function, not {shown(f)}",
                            types=[kind_of(f)], remedy="gradc.checkpoint(f)(x)")

    @functools.wraps(f)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if current() is None:
            return f(*args, **kwargs)
        return checkpointed(lambda: rewritten(f)(*args, **kwargs), getattr(f, "__name__", "f"))

    return wrapper


def checkpointed(function: Callable[[], Any], name: str) -> Any:
    """What a function gives, as a call in the graph under way."""
    region = Region(name if name.isidentifier() else "f")
    with region.active():
        leaves, tree = flatten(function())
        moving = [k for k, leaf in enumerate(leaves) if is_number(leaf)]
        outputs = [as_tracer(leaves[k]).value for k in moving]
        cells = list(region.cells)
        outputs += [whole(cell).value for cell in cells]
    types = [as_tracer(leaves[k]).type for k in moving]
    (graph,), captures = close([(region, [], outputs)])
    results = ops.call(here().builder, graph, captures, "checkpoint")
    written_back(cells, results[len(moving) :])
    for k, type_, value in zip(moving, types, results, strict=False):
        result = fresh(value, weak=type_.weak, is_scalar=is_scalar(leaves[k]))
        lend(result, [leaves[k]], "the result of a checkpointed function")
        leaves[k] = result
    return unflatten(tree, leaves)
