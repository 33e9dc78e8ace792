"""Tracing: a Python function and argument types in, a graph out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gradc.ir.graph import Graph
from gradc.ir.types import TensorType
from gradc.tree import TreeDef


@dataclass(frozen=True, slots=True)
class Static:
    """An argument leaf that the function is given as it is: a str, a callable, a static int."""

    value: Any


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced function: its graph, the structure of its result, and what it took from outside.

    The graph's inputs are the traced leaves in order, then one for each of ``captures``: Tracers of an
    enclosing trace that the function used.
    """

    graph: Graph
    out_tree: TreeDef
    captures: tuple[Any, ...] = ()


class NeedsStatic(BaseException):
    """The function needs the value of the int or bool argument at position ``leaf`` while tracing.

    The caller traces again with that leaf :class:`Static`.
    """

    def __init__(self, leaf: int) -> None:
        super().__init__(leaf)
        self.leaf = leaf


def trace(
    function: Callable[..., Any],
    in_tree: TreeDef,
    leaves: Sequence[TensorType | Static],
    names: Sequence[str],
    *,
    name: str,
) -> Traced:
    """Run ``function`` once on Tracers and return the graph of what it did.

    ``in_tree`` is the structure of ``(args, kwargs)``, ``leaves`` its leaves, ``names`` their
    names. Raises NeedsStatic, and what :mod:`gradc.errors` has.
    """
    raise NotImplementedError
