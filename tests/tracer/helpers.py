"""Run a function traced and interpreted, and compare it with NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.ir import interp
from gradc.ir.types import type_of
from gradc.trace import NeedsStatic, Static, Traced, trace
from gradc.tree import flatten, paths, unflatten


def traced(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Traced, list[Any]]:
    """The trace of a call and the arrays that its graph takes."""
    leaves, tree = flatten((args, kwargs))
    static = {k for k, x in enumerate(leaves) if isinstance(x, str) or callable(x)}
    names = paths(tree, "arg")
    while True:
        given = [Static(x) if k in static else type_of(x) for k, x in enumerate(leaves)]
        try:
            result = trace(function, tree, given, names, name="f")
        except NeedsStatic as request:
            assert request.leaf not in static
            static.add(request.leaf)
        else:
            return result, [x for k, x in enumerate(leaves) if k not in static]


def interpreted(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of the traced function, by the interpreter."""
    result, inputs = traced(function, *args, **kwargs)
    return unflatten(result.out_tree, interp.run(result.graph, inputs))


def copied(tree: Any) -> Any:
    leaves, treedef = flatten(tree)
    return unflatten(treedef, [np.array(x) if isinstance(x, np.ndarray) else x for x in leaves])


def check(function: Callable[..., Any], *args: Any, rtol: float = 1e-12, **kwargs: Any) -> None:
    """Traced and plain results agree in structure, dtype, shape and value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        wanted = function(*copied(args), **copied(kwargs))
    got = interpreted(function, *args, **kwargs)
    want_leaves, want_tree = flatten(wanted)
    got_leaves, got_tree = flatten(got)
    assert str(got_tree) == str(want_tree)
    for want, have in zip(want_leaves, got_leaves, strict=True):
        plain = np.asarray(want)
        assert (have.dtype, have.shape) == (plain.dtype, plain.shape)
        tolerance = max(rtol, 4e-6) if plain.dtype == np.float32 else rtol
        np.testing.assert_allclose(have, plain, rtol=tolerance, atol=tolerance)


def trace_of(function: Callable[..., Any], *types: Any) -> Traced:
    """The trace for arguments x0, x1, ... of these types."""
    _, tree = flatten((tuple(range(len(types))), {}))
    return trace(function, tree, types, [f"x{k}" for k in range(len(types))], name="f")
