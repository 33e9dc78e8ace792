"""One exponential for all functions of the logistic family of one argument.

σ(x), σ(−x), softplus(x), softplus(−x) and the logistic density are all formed from e^(−|x|). A
sigmoid and its slope, or the two logarithms of a binary cross-entropy, need it once.
"""

from __future__ import annotations

from collections import Counter

from gradc.ir import ops
from gradc.ir.graph import Graph, Node, Value
from gradc.ir.passes.rewriter import Rewriter

FAMILY = ("sigmoid", "softplus", "logistic_density")


def share_exponentials(graph: Graph) -> Graph:
    """Write out the functions of the logistic family that share an argument, up to its sign."""
    members = {node.id: argument(graph, node) for node in graph.nodes
               if node.op.name in FAMILY and not node.fence and not node.type.weak}
    counts = Counter(members.values())
    if all(count < 2 for count in counts.values()):
        return graph
    rewriter = Rewriter(graph.name, keep_weak=True)

    def instead(node: Node, operand: Value) -> Value | None:
        if counts[members.get(node.id, -1)] < 2:
            return None
        return written_out(node.op.name, operand)

    return rewriter.finish(graph, rewriter.copy(graph, instead))


def argument(graph: Graph, node: Node) -> int:
    """The id of x, where a node of the family takes x or −x."""
    operand = graph.nodes[node.operands[0]]
    return operand.operands[0] if operand.op.name == "neg" and not operand.fence else operand.id


def written_out(name: str, x: Value) -> Value:
    """A function of x in terms of e = exp(−|x|), as its op defines it."""
    source = x.operands[0] if x.node.op.name == "neg" and not x.node.fence else x
    e = ops.exp(-ops.abs_(source))
    if name == "softplus":
        return ops.maximum(x, ops.full_like(x, 0)) + ops.log1p(e)
    below = e + 1
    if name == "logistic_density":
        return e / (below * below)
    return ops.where(x >= 0, ops.full_like(x, 1), e) / below
