"""Intervals of integer scalars, by which an index is known to be in bounds before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from gradc.codegen.region.straight import Known
from gradc.ir.graph import Graph, Node

_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class Range(NamedTuple):
    """The integers from ``low`` to ``high``, both included."""

    low: int = _LEAST
    high: int = _MOST

    def joined(self, other: Range) -> Range:
        """What is in either."""
        return Range(min(self.low, other.low), max(self.high, other.high))


ANY = Range()


def _safe(low: int, high: int) -> Range:
    """The interval, unless the arithmetic of 64 bits may have wrapped."""
    return Range(low, high) if _LEAST <= low <= high <= _MOST else ANY


def _products(x: Range, y: Range) -> Range:
    ends = [a * b for a in x for b in y]
    return _safe(min(ends), max(ends))


def _quotients(x: Range, y: Range) -> Range:
    if y.low <= 0:
        return ANY
    ends = [a // b for a in x for b in y]
    return _safe(min(ends), max(ends))


def _remainders(x: Range, y: Range) -> Range:
    if y.low <= 0:
        return ANY
    return x if x.low >= 0 and x.high < y.low else Range(0, y.high - 1)


_RULES: dict[str, Callable[..., Range]] = {
    "add": lambda x, y: _safe(x.low + y.low, x.high + y.high),
    "sub": lambda x, y: _safe(x.low - y.high, x.high - y.low),
    "mul": _products,
    "floordiv": _quotients,
    "mod": _remainders,
    "neg": lambda x: _safe(-x.high, -x.low),
    "minimum": lambda x, y: Range(min(x.low, y.low), min(x.high, y.high)),
    "maximum": lambda x, y: Range(max(x.low, y.low), max(x.high, y.high)),
    "copy": lambda x: x,
    "stop_gradient": lambda x: x,
    "where": lambda _, x, y: x.joined(y),
    "reshape": lambda x: x,
    "broadcast": lambda x: x,
}


def ranges(graph: Graph, given: Mapping[int, Range]) -> dict[int, Range]:
    """The intervals of a graph's 64-bit integers of one element; ``given`` are those of inputs."""
    found = dict(given)

    def of(id_: int) -> Range:
        return found.get(id_, ANY)

    for node in graph.nodes:
        if node.id in found or node.type.items or node.type.shape not in ((), (1,)):
            continue
        known = _interval(graph, node, of)
        if known is not None:
            found[node.id] = known
    return found


def _interval(graph: Graph, node: Node, of: Callable[[int], Range]) -> Range | None:
    name, kind = node.op.name, node.type.dtype.kind
    if name == "convert" and kind in "iu":
        source = graph.nodes[node.operands[0]].type.dtype
        if source.kind == "b":
            return Range(0, 1)
        wide = source.kind == "i" and source.itemsize <= node.type.dtype.itemsize
        return of(node.operands[0]) if wide else None
    if kind != "i" or node.type.dtype.itemsize != 8:
        return None
    if name == "const":
        number = int(node.attrs["value"].reshape(()))
        return Range(number, number)
    if name == "extent":
        return Range(0, _MOST)
    rule = _RULES.get(name)
    return rule(*map(of, node.operands)) if rule else None


def known(index: Range, extent: int) -> Known:
    """What an interval says about an index into an axis."""
    if index.low >= 0 and index.high < extent:
        return Known.PLAIN
    return Known.INSIDE if -extent <= index.low and index.high < extent else Known.NOTHING
