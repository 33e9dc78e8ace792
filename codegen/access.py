"""Index maps: how an element of one value is found in another, through views.

Broadcasts, transposes, slices, zero padding and reshapes that only add or drop axes of extent
one are never computed: a reader resolves them to an affine map onto the value behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from gradc.codegen.statements import Affine, Guard
from gradc.ir.graph import Builder, Graph, Node
from gradc.ir.types import Shape, strides_of


class Access(NamedTuple):
    """Element ``dims`` of node ``source``, each index affine in the reader's axes, under guards."""

    source: int
    rank: int  # of the reader
    dims: tuple[Affine, ...]
    guards: tuple[Guard, ...] = ()

    def linear(self, shape: Shape) -> Affine:
        """The index into the row-major buffer of the source."""
        offset, coefficients = 0, [0] * self.rank
        for stride, dim in zip(strides_of(shape), self.dims, strict=True):
            offset += stride * dim.offset
            for k, c in enumerate(dim.coefficients):
                coefficients[k] += stride * c
        return Affine(offset, tuple(coefficients))


@lru_cache(maxsize=64)
def identity(rank: int) -> tuple[Affine, ...]:
    """Every axis is itself."""
    return tuple(
        Affine(0, tuple(int(k == axis) for k in range(rank))) for axis in range(rank)
    )


def only_ones_differ(a: Shape, b: Shape) -> bool:
    """Whether two shapes are equal once axes of extent one are dropped."""
    return [d for d in a if d != 1] == [d for d in b if d != 1]


def is_view(graph: Graph | Builder, node: Node) -> bool:
    """Whether readers see through a node."""
    if node.op.family == "elementwise":
        return False
    if node.op.name in ("broadcast", "transpose", "slice"):
        return True
    if node.op.name == "embed":
        return all(step == 1 for step in node.attrs["steps"])
    if node.op.name == "reshape":
        return only_ones_differ(node.type.shape, graph.nodes[node.operands[0]].type.shape)
    return False


def resolve(graph: Graph, id_: int, dims: Sequence[Affine], rank: int) -> Access:
    """Follow views from node ``id_`` at index ``dims`` to the value behind them.

    ``rank`` is the number of axes of the reader (the length of coefficient vectors).
    """
    if not is_view(graph, graph.nodes[id_]):
        return Access(id_, rank, tuple(dims))
    at = list(dims)
    guards: list[Guard] = []
    zero = Affine(0, (0,) * rank)
    while True:
        node = graph.nodes[id_]
        if not is_view(graph, node):
            return Access(id_, rank, tuple(at), tuple(guards))
        inner = graph.nodes[node.operands[0]].type.shape
        match node.op.name:
            case "broadcast":
                kept = at[len(at) - len(inner) :]
                at = [zero if d == 1 else a for d, a in zip(inner, kept, strict=True)]
            case "transpose":
                moved = [zero] * len(at)
                for k, axis in enumerate(node.attrs["perm"]):
                    moved[axis] = at[k]
                at = moved
            case "slice":
                at = [
                    Affine(start + step * a.offset, tuple(step * c for c in a.coefficients))
                    for start, step, a in zip(
                        node.attrs["starts"], node.attrs["steps"], at, strict=True
                    )
                ]
            case "embed":
                shifted = []
                for d, start, outer, a in zip(
                    inner, node.attrs["starts"], node.type.shape, at, strict=True
                ):
                    a = Affine(a.offset - start, a.coefficients)
                    if d != outer:
                        guards.append(Guard(a, d))
                    shifted.append(zero if d == 1 and d != outer else a)
                at = shifted
            case "reshape":
                real = iter(a for a, d in zip(at, node.type.shape, strict=True) if d != 1)
                at = [zero if d == 1 else next(real) for d in inner]
        id_ = node.operands[0]


__all__ = ["Access", "identity", "is_view", "only_ones_differ", "resolve"]
