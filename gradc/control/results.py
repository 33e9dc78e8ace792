"""What a function with its own derivative returns, and how what its rules return fits that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.control.arguments import kind_of, shown
from gradc.control.carries import described, is_number
from gradc.control.regions import Region
from gradc.control.state import structure_of
from gradc.errors import ArgumentError
from gradc.ir.graph import Value
from gradc.ir.types import TensorType
from gradc.leaves import children
from gradc.numpy_api.values import as_tracer, to_value
from gradc.tracer import fresh
from gradc.tree import TreeDef, flatten, paths, unflatten


class Results:
    """What a function returned while it was traced, and how what the rule returns fits it."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.leaves, self.tree = flatten(value)
        self.names = paths(self.tree, "value")
        self.moving = [k for k, leaf in enumerate(self.leaves) if is_number(leaf)]
        if not self.moving:
            raise ArgumentError(
                f"{name} has a derivative of its own, and returns {shown(value)}: no number or "
                "array", types=[kind_of(value)], remedy="return what it computes")
        tracers = [as_tracer(self.leaves[k]) for k in self.moving]
        self.types = [t.type for t in tracers]
        self.values = [t.value for t in tracers]
        self.scalars = [t.is_scalar for t in tracers]

    def matched(self, value: Any, what: str) -> list[Value]:
        """The values of another result of this structure. Raises ArgumentError."""
        leaves, tree = flatten(value)
        if tree != self.tree:
            raise ArgumentError(
                f"{what} {structure_of(tree)} where {self.name} returns {structure_of(self.tree)}",
                remedy="return the function's own value first")
        pairs = zip(self.moving, self.types, strict=True)
        return [fitted(leaves[k], type_, f"{what} `{self.names[k]}`") for k, type_ in pairs]

    def cotangents(self, region: Region) -> Any:
        """Inputs for the cotangents of floating results; None for the others."""
        leaves: list[Any] = [None] * len(self.leaves)
        for k, type_, scalar in zip(self.moving, self.types, self.scalars, strict=True):
            if type_.differentiable:
                strong = type_._replace(weak=False)
                leaves[k] = region.input(f"ct_{self.names[k]}", strong, scalar=scalar)
        return unflatten(self.tree, leaves)

    def tangents(self, given: Any) -> list[Value]:
        """The tangents of floating results that a rule gave."""
        what = f"the rule of {self.name}"
        found = spread(self.tree, given, what)
        return [
            fitted(found[k], type_, f"{what}: the tangent of `{self.names[k]}`")
            for k, type_ in zip(self.moving, self.types, strict=True) if type_.differentiable
        ]

    def rebuilt(self, results: Sequence[Value]) -> Any:
        """The result with these values."""
        leaves = list(self.leaves)
        rows = zip(self.moving, self.types, self.scalars, results, strict=True)
        for k, type_, scalar, value in rows:
            leaves[k] = fresh(value, weak=type_.weak, is_scalar=scalar)
        return unflatten(self.tree, leaves)


def spread(tree: TreeDef, value: Any, what: str) -> list[Any]:
    """The leaves of a pytree of this structure, in which None may stand for any part.

    Raises ArgumentError for another structure.
    """
    if value is None:
        return [None] * tree.num_leaves
    if tree.kind is None:
        return [value]
    _, other = flatten(value)
    if (tree.kind, tree.keys, len(tree.children)) != (other.kind, other.keys, len(other.children)):
        raise ArgumentError(
            f"{what} gives {structure_of(other)} for {structure_of(tree)}",
            remedy="give it the structure of what it belongs to, or None")
    pairs = zip(tree.children, children(value), strict=True)
    return [leaf for child, part in pairs for leaf in spread(child, part, what)]


def fitted(leaf: Any, type_: TensorType, what: str) -> Value:
    """A leaf as a value of a type; None is zero. Raises ArgumentError for another shape."""
    if leaf is None:
        return to_value(np.zeros(type_.shape, type_.dtype), type_.dtype)
    if not is_number(leaf):
        raise ArgumentError(f"{what} is {leaf!r}, no number or array", remedy="return an array")
    given = as_tracer(leaf)
    if given.shape != type_.shape:
        raise ArgumentError(
            f"{what} has the shape {given.shape}, not {type_.shape}",
            types=[described(given.type), described(type_)], remedy="sum it, or broadcast it",
        )
    return to_value(given, type_.dtype)
