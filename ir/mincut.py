"""Keep values or compute them again: the cheapest choice, a minimum cut.

The choice is a minimum cut between memory and what is needed, as in PyTorch's
``torch/_functorch/partitioners.py``, but with a price on arithmetic. A value is two nodes, computed
and at hand: an edge from memory to the first costs its flops, one from the first to the second
a store and a load; edges from operands at hand to what is computed of them cannot be cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

#: what cannot be had at any price
NEVER = 1 << 60


def cheapest(
    needed: Set[int],
    operands: Mapping[int, Sequence[int]],
    flops: Mapping[int, int],
    kept: Mapping[int, int],
    leaves: Mapping[int, int],
) -> set[int]:
    """The values to compute, so that all that is ``needed`` is at hand for the least.

    Each value has its ``operands`` and the prices of computing it, ``flops``, and of having it
    without, ``kept``; operands that are no such values have the price in ``leaves``. Of choices
    that cost the same, the one that computes the fewest.
    """
    if sum(flops.values()) + sum(leaves.values()) < min(kept.values(), default=0):
        return set(operands)  # less than any of them kept
    if all(flops[id_] >= kept[id_] for id_ in needed):
        return set()
    network = _Network()
    memory, use = network.node(), network.node()
    at_hand = {id_: network.node() for id_ in (*operands, *leaves)}
    computed = {id_: network.node() for id_ in operands}
    for id_ in needed:
        network.edge(at_hand[id_], use, NEVER)
    for id_, price in leaves.items():
        network.edge(memory, at_hand[id_], price)
    for id_, sources in operands.items():
        network.edge(memory, computed[id_], flops[id_])
        network.edge(computed[id_], at_hand[id_], kept[id_])
        for source in sources:
            network.edge(at_hand[source], computed[id_], NEVER)
    beyond = network.beyond_cut(memory, use)
    return {id_ for id_ in operands if beyond[computed[id_]] >= 0}


class _Network:
    """A flow network. Every edge has its reverse beside it, of no capacity."""

    def __init__(self) -> None:
        self.edges: list[list[int]] = []  # of each node, those that leave it
        self.head: list[int] = []
        self.room: list[int] = []

    def node(self) -> int:
        """A new node."""
        self.edges.append([])
        return len(self.edges) - 1

    def edge(self, tail: int, head: int, capacity: int) -> None:
        """A new edge, if it has any capacity."""
        if capacity:
            for a, b, room in ((tail, head, capacity), (head, tail, 0)):
                self.edges[a].append(len(self.head))
                self.head.append(b)
                self.room.append(room)

    def beyond_cut(self, source: int, sink: int) -> list[int]:
        """How far each node on the sink's side of a minimum cut is from it, -1 of the others.

        Of all minimum cuts it has the fewest nodes on that side. Flow is sent along all shortest
        paths at a time, until there are none (Dinic, Soviet Math. Dokl. 11, 1970).
        """
        while True:
            far = self._distances(source, sink)
            if far[source] < 0:
                return far
            self._send(source, sink, far)

    def _distances(self, source: int, sink: int) -> list[int]:
        """How many edges with room there are from each node to the sink; -1 if no way."""
        edges, head, room = self.edges, self.head, self.room
        far = [-1] * len(edges)
        far[sink] = 0
        queue = [sink]
        for node in queue:
            for edge in edges[node]:
                if room[edge ^ 1] and far[head[edge]] < 0:
                    far[head[edge]] = far[node] + 1
                    queue.append(head[edge])
            if far[source] >= 0 and far[node] >= far[source]:
                break
        return far

    def _send(self, source: int, sink: int, far: list[int]) -> None:
        """Fill the shortest paths, depth first; a node without any way on is not tried again."""
        edges, head, room = self.edges, self.head, self.room
        tried = [0] * len(edges)
        path: list[int] = []
        node = source
        while True:
            if node == sink:
                flow = min([room[edge] for edge in path])
                full = -1
                for k, edge in enumerate(path):
                    room[edge] -= flow
                    room[edge ^ 1] += flow
                    if full < 0 and not room[edge]:
                        full = k
                node = head[path[full] ^ 1]
                del path[full:]
                continue
            own, k = edges[node], tried[node]
            while k < len(own):
                edge = own[k]
                if room[edge] and far[head[edge]] == far[node] - 1:
                    break
                k += 1
            tried[node] = k
            if k < len(own):
                path.append(own[k])
                node = head[own[k]]
            elif node == source:
                return
            else:
                edge = path.pop()
                node = head[edge ^ 1]
                tried[node] += 1
