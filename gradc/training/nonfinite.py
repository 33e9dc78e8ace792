"""Where a NaN or an infinity comes from: the first node of a step that makes one of finite values.

From the loss, or else the first gradient or new value that is not finite, the search goes back
through operands that are not finite, to a node all of whose operands are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradc.ir import interp
from gradc.ir.graph import Graph, Node


def is_finite(value: Any) -> bool:
    """Whether a value has neither NaN nor infinity."""
    if isinstance(value, (list, tuple)):
        return all(map(is_finite, value))
    array = np.asarray(value)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def culprit(graph: Graph, loss: int, inputs: Sequence[Any]) -> tuple[Node, Any] | None:
    """The node of a step's graph where it begins, and its value; None if all outputs are finite.

    ``loss`` is the number of the output that is looked at first.
    """
    values = interp.evaluate(graph, inputs)
    ids = [graph.outputs[loss], *graph.outputs]
    # A gradient is not an output. In the order of the nodes, adjoints come before updates.
    ids[1:1] = [node.id for node in graph.nodes if node.role.kind == "adjoint"]
    for id_ in ids:
        if not is_finite(values[id_]):
            node = _origin(graph, values, graph.nodes[id_])
            return node, values[node.id]
    return None


def _origin(graph: Graph, values: Mapping[int, Any], node: Node) -> Node:
    while True:
        found = next((i for i in _read(node, values) if not is_finite(values[i])), None)
        if found is None:
            return node
        node = graph.nodes[found]


def _read(node: Node, values: Mapping[int, Any]) -> Sequence[int]:
    """The operands that take part in a value: of ``where`` those that are chosen."""
    if node.op.name != "where":
        return node.operands
    condition, x, y = node.operands
    chosen = np.asarray(values[condition])
    wrong = ~np.isfinite(np.asarray(values[node.id]))
    return [i for i, mask in ((x, wrong & chosen), (y, wrong & ~chosen)) if mask.any()]


def shown(value: Any) -> str:
    """What of a value is not finite: ``nan``, or ``3 of 20 elements are -inf``."""
    array = np.asarray(value)
    if isinstance(value, (list, tuple)) or array.dtype.kind != "f":
        return "a value that is not finite"
    wrong = array[~np.isfinite(array)]
    kinds = sorted({str(x) for x in wrong.reshape(-1)[:1000]})
    if not array.ndim:
        return kinds[0]
    verb = "is" if wrong.size == 1 else "are"
    return f"{wrong.size} of {array.size} elements {verb} {' or '.join(kinds)}"
