"""Which values of a region's forward part are kept for its backward part: a minimum cut.

What the backward part reads is kept, or computed again from what it has anyway: the region's free
inputs (an iteration's index, captures, slices of xs), constants, and other values that are kept.
Kept is what the tape is charged the least for, with the arithmetic that is then done twice; what
the forward part does not need for itself is done once in either part.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gradc.ir.graph import Graph, Node
from gradc.ir.mincut import NEVER, cheapest
from gradc.ir.passes.share import FAMILY, argument
from gradc.ir.scalar import MATH
from gradc.ir.types import UNKNOWN

#: flops of a store to a tape and a load from it, of one element as wide as the arithmetic's: more
#: than both cost within the caches, 4 to 10, less than outside, 24
TAPE = 12
_VIEWS = frozenset(("broadcast", "reshape", "transpose", "slice"))
_AGAIN = _VIEWS | {"gather"}
#: flops of one element, of ops that cost more than one
_FLOPS = dict.fromkeys((*MATH, "logistic_density", "floordiv", "mod"), 40)
#: the same for each byte of an element: quotients and roots occupy a unit of their own
_SLOW = {"div": 2, "sqrt": 3}


def choose(
    graph: Graph,
    behind: Collection[int],
    outputs: Collection[int],
    forward: Collection[int],
    free: Mapping[int, int],
    instead: Mapping[int, int],
    fixed: Collection[int] = (),
    sure: Collection[int] = (),
) -> list[int]:
    """The nodes to keep or take from what is there, in order; ``sure`` ones are kept if read.

    ``behind`` are the nodes of the backward part, ``outputs`` its results, ``forward`` those of the
    forward part. There are the ``free`` inputs, each kept once for a number of iterations, or for
    nothing if that is 0, of which ``fixed`` ones are the same in every iteration (what depends on
    them alone is computed once), and versions of arrays, which the backward part has by nodes of
    its own ``instead``.
    """
    read = _read(graph, behind, outputs)
    twice = _cone(graph, [*forward, *graph.effects])
    once = _fixed(graph, fixed)
    stay = {*free, *instead, *sure}
    again = {n.id for n in graph.nodes if _again(n) and n.id not in behind and n.id not in stay}
    again -= _circular(graph, {*behind, *again}, outputs, instead)
    operands: dict[int, list[int]] = {}
    leaves: dict[int, int] = {}
    todo = sorted(read)
    seen = set(todo)
    while todo:
        node = graph.nodes[todo.pop()]
        if node.id not in again:
            trips = free.get(node.id, 1)
            there = node.id in read or node.id in instead or not trips
            leaves[node.id] = 0 if there else _kept(node) // trips
            continue
        operands[node.id] = [i for i in node.operands if graph.nodes[i].op.name != "const"]
        fresh = set(operands[node.id]) - seen
        seen |= fresh
        todo.extend(fresh)
    twice |= _shared(graph, twice)
    flops = {
        id_: _flops(graph.nodes[id_]) if id_ in twice and id_ not in once else 0
        for id_ in operands
    }
    kept = {id_: _kept(graph.nodes[id_]) for id_ in operands}
    found = cheapest(read & operands.keys(), operands, flops, kept, leaves)
    return sorted((read | {i for id_ in found for i in operands[id_]}) - found)


def _circular(
    graph: Graph, made: Collection[int], ends: Collection[int], instead: Mapping[int, int]
) -> set[int]:
    """The nodes that read a version of an array which can only be had with them.

    They are on a cycle with it, in one strongly connected component (Tarjan, SIAM J. Comput. 1(2),
    1972), of the nodes that are ``made``.
    """
    if not instead:
        return set()
    number: dict[int, int] = {}  # in the order in which they are found
    lowest: dict[int, int] = {}
    component: dict[int, int] = {}
    found: list[int] = []
    todo = [(i, False) for i in ends if i in made]
    while todo:
        id_, left = todo.pop()
        operands = [i for i in (instead.get(j, j) for j in graph.nodes[id_].operands) if i in made]
        if left:
            low = min([lowest[i] for i in operands if i not in component], default=number[id_])
            lowest[id_] = min(lowest[id_], low)
            if lowest[id_] == number[id_]:
                while id_ not in component:
                    component[found.pop()] = number[id_]
        elif id_ not in number:
            number[id_] = lowest[id_] = len(number)
            found.append(id_)
            todo.append((id_, True))
            todo.extend((i, False) for i in operands if i not in number)
    return {
        id_ for id_ in number for i in graph.nodes[id_].operands
        if i in instead and component.get(instead[i]) == component[id_]
    }


def _again(node: Node) -> bool:
    """Whether a value may be computed again."""
    if node.fence or UNKNOWN in node.type.shape:
        return False
    return node.op.family == "elementwise" or node.op.name in _AGAIN


def _shared(graph: Graph, computed: Collection[int]) -> set[int]:
    """Functions of the logistic family that take the exponential of one that is computed."""
    family = {node.id: argument(graph, node) for node in graph.nodes if node.op.name in FAMILY}
    there = {of for id_, of in family.items() if id_ in computed}
    return {id_ for id_, of in family.items() if of in there}


def _flops(node: Node) -> int:
    """The price of computing a value, in flops times bytes of an element."""
    name, itemsize = node.op.name, max(4, node.type.dtype.itemsize)
    if name == "gather":
        return node.type.size * itemsize * (4 if node.type.shape else 2)
    each = 0 if name in _VIEWS else _FLOPS.get(name, 1)
    return node.type.size * itemsize * (_SLOW[name] * itemsize if name in _SLOW else each)


def _kept(node: Node) -> int:
    """The price of keeping a value that nothing reads yet; a tape stays where it is read."""
    if node.type.items or UNKNOWN in node.type.shape:
        return NEVER
    return TAPE * (node.type.nbytes if node.type.shape else 8)  # numbers: as many instructions


def _cone(graph: Graph, ends: Collection[int]) -> set[int]:
    """Nodes and all that they depend on."""
    found = set(ends)
    for node in reversed(graph.nodes):
        if node.id in found:
            found.update(node.operands)
    return found


def _fixed(graph: Graph, inputs: Collection[int]) -> set[int]:
    """Elementwise nodes that are the same in every iteration."""
    found = set(inputs)
    for node in graph.nodes:
        if node.op.name == "const" or (
            node.operands and (node.op.family == "elementwise" or node.op.name in _VIEWS)
            and found.issuperset(node.operands)
        ):
            found.add(node.id)
    return found


def _read(graph: Graph, behind: Collection[int], outputs: Collection[int]) -> set[int]:
    """What the backward part reads of the forward part, constants aside."""
    read: set[int] = set()
    seen = set(outputs)
    todo = list(seen)
    while todo:
        node = graph.nodes[todo.pop()]
        if node.id not in behind:
            if node.op.name != "const":
                read.add(node.id)
            continue
        fresh = set(node.operands) - seen
        seen |= fresh
        todo.extend(fresh)
    return read
