"""Python's integers in a loop: they have no bounds, and those of compiled code have 64 bits.

What is known while tracing, the number of the iteration and what follows from it, is computed for
the first iterations in Python's way: `n! = n * (n - 1)!` is too large after 20.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradc.errors import LoopError
from gradc.ir.graph import Graph, Node
from gradc.ir.types import BOOL, I64

#: so many iterations are looked at: what doubles, or is multiplied by the index, is too large then
_FIRST = 128
#: exponents and shifts from which on any result but 0 and 1 is too large
_LARGE = 64

#: what Python computes; None where it is nothing
_OPS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
    "abs": abs, "maximum": max, "minimum": min, "copy": lambda a: a, "convert": int,
    "floordiv": lambda a, b: a // b if b else None, "mod": lambda a, b: a % b if b else None,
    "pow": lambda a, b: a ** min(b, _LARGE) if b >= 0 else None,
    "shift_left": lambda a, b: a << min(b, _LARGE) if b >= 0 else None,
    "shift_right": lambda a, b: a >> b if b >= 0 else None,
    "bit_and": operator.and_, "bit_or": operator.or_, "bit_xor": operator.xor,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
    "gt": operator.gt, "ge": operator.ge, "logical_not": operator.not_,
    "where": lambda c, a, b: a if c else b,
}
#: what grows slowly
_SLOW = frozenset(("add", "sub", "copy", "convert"))
_KNOWN = frozenset((*_OPS, "const", "branch", "item"))


def check(
    body: Graph, test: Graph | None, carries: Sequence[int | None], length: int, reverse: bool
) -> None:
    """Raise LoopError where an integer that Python would know needs more than 64 bits.

    ``carries``: the integers of Python's before the loop, None for anything else. The loop has a
    ``length``, or goes on while a ``test`` holds; where that is not known nothing is.
    """
    known = [k for k, number in enumerate(carries) if number is not None]
    nodes = _reached(body, known)
    last = min(length, _FIRST) if test is None else _FIRST
    numbers = list(carries)
    for t in range(last if nodes else 0):
        i = length - 1 - t if reverse else t
        if test is not None and not _values(test, [i, *numbers], test.nodes).get(test.outputs[0]):
            return
        values = _values(body, [i, *numbers], nodes)
        numbers = [values.get(id_) for id_ in body.outputs[: len(carries)]]
    if test is None and last < length and nodes:
        _values(body, [0 if reverse else length - 1], nodes)


def _reached(graph: Graph, known: Sequence[int]) -> list[Node]:
    """The nodes that depend on the index and these carries alone; none if they grow slowly."""
    while True:
        found = {graph.inputs[0], *(graph.inputs[1 + k] for k in known)}
        fast = False
        for node in graph.nodes:
            needed = node.operands[:1] if node.op.name == "branch" else node.operands
            if _is_number(node) and node.op.name in _KNOWN and found.issuperset(needed):
                found.add(node.id)
                moving = [i for i in node.operands if graph.nodes[i].op.name != "const"]
                fast |= len(moving) > 1 or node.op.name not in (*_SLOW, "const")
        left = [k for k in known if graph.outputs[k] in found]
        if len(left) == len(known):
            return [node for node in graph.nodes if fast and node.id in found]
        known = left


def _is_number(node: Node) -> bool:
    """Whether it is an integer or a truth, or a branch, which may have given some."""
    return bool(node.type.items) or not node.type.shape and node.type.dtype in (I64, BOOL)


def _values(graph: Graph, inputs: Sequence[Any], nodes: Sequence[Node]) -> Mapping[int, Any]:
    """What is known of some nodes in Python. Raises LoopError for a number that is too large."""
    values: dict[int, Any] = dict(zip(graph.inputs, inputs, strict=False))
    for node in nodes:
        if node.id in values or not _is_number(node):
            continue
        name = node.op.name
        given = [values.get(i) for i in node.operands]
        value: Any = None
        if name == "const":
            value = node.attrs["value"].item()
        elif name == "item":
            value = given[0] and given[0][node.attrs["index"]]
        elif name == "branch" and given[0] is not None:
            branches: Sequence[Graph] = node.attrs["branches"]
            taken = branches[min(max(given[0], 0), len(branches) - 1)]
            inner = _values(taken, given[1:], taken.nodes)
            value = [inner.get(id_) for id_ in taken.outputs]
        elif name in _OPS and None not in given:
            value = _OPS[name](*given)
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise LoopError(
                "an integer of Python's needs more than 64 bits in a compiled loop",
                where=node.locs[-1] if node.locs else None,
                remedy="begin with a float: n = 1.0; or with np.int64(1), which wraps",
            )
        values[node.id] = value
    return values
