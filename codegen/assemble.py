"""Nests that put pieces together in memory: concat, update_slice, embed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gradc.codegen.access import Access
from gradc.codegen.chunks import Scratch, chunked
from gradc.codegen.collapse import collapse
from gradc.codegen.loops import Fill, Nest, Phase, Stage
from gradc.codegen.lower import Memory
from gradc.codegen.statements import Affine, Guard, Literal, Load, Statement, Store
from gradc.ir.graph import Graph, Node
from gradc.ir.types import strides_of


def assemble(
    graph: Graph,
    node: Node,
    pieces: Sequence[Access],
    memory: Memory,
    scratch: Scratch,
    *,
    in_place: bool,
) -> list[Stage]:
    """Nests that write the pieces to their places; the first is there if it is ``in_place``."""
    rank, shape = node.type.rank, node.type.shape
    out = memory(node.id)
    ones, zeros = (1,) * rank, (0,) * rank
    shapes = [graph.nodes[i].type.shape for i in node.operands]
    places: list[tuple[tuple[int, ...], tuple[int, ...]]]
    if node.op.name == "concat":
        places, at = [], 0
        for piece in shapes:
            places.append((tuple(at * (k == node.attrs["axis"]) for k in range(rank)), ones))
            at += piece[node.attrs["axis"]]
    else:
        places = [(node.attrs["starts"], node.attrs["steps"])]
        if node.op.name == "update_slice":
            places.insert(0, (zeros, ones))
    stages: list[Stage] = []
    if node.op.name == "embed":
        stages.append(Nest((), (), (), (Fill(out, node.type.dtype.type(0)),)))
    strides = strides_of(shape)
    for k, (access, piece, (starts, steps)) in enumerate(
        zip(pieces, shapes, places, strict=True)
    ):
        if math.prod(piece) == 0 or (k == 0 and in_place):
            continue
        target = Affine(
            sum(s * p for s, p in zip(starts, strides, strict=True)),
            tuple(s * p for s, p in zip(steps, strides, strict=True)),
        )
        read = _read(graph, access, memory)
        nest = Nest((), piece, (Phase((), (read, Store(out, target, 0))),))
        stages.extend(chunked(collapse(nest), scratch))
    return stages


def _read(graph: Graph, access: Access, memory: Memory) -> Statement:
    node = graph.nodes[access.source]
    if node.type.size == 0:
        return Literal(0, 0, node.type.dtype)
    guards = tuple(Guard(g.index, g.extent) for g in access.guards)
    return Load(0, memory(access.source), access.linear(node.type.shape), guards)
