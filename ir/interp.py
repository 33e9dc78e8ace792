"""The NumPy interpreter, one node at a time: the oracle that compiled results are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Graph
from gradc.ir.types import UNKNOWN


def run(graph: Graph, inputs: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
    """Evaluate the outputs of a graph on arrays, one for each input, of the inputs' types.

    Floating-point warnings are silenced, as compiled code has none. Raises what NumPy raises
    (IndexError for an index out of bounds).
    """
    values = evaluate(graph, inputs)
    return [values[i] for i in graph.outputs]


def evaluate(graph: Graph, inputs: Sequence[Any]) -> dict[int, Any]:
    """The value of every node of a graph, by id: see :func:`run`."""
    values: dict[int, Any] = {}
    for id_, given in zip(graph.inputs, inputs, strict=True):
        type_ = graph.nodes[id_].type
        if UNKNOWN in type_.shape:
            values[id_] = given
            continue
        array = np.asarray(given, dtype=type_.dtype)
        if array.shape != type_.shape:
            raise ValueError(f"input {id_} has shape {array.shape}, not {type_.shape}")
        values[id_] = array
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node.id not in values:
                operands = [values[i] for i in node.operands]
                value = node.op.numpy(*operands, **node.attrs)
                control = node.op.family == "control" and UNKNOWN in node.type.shape
                plain = not node.type.items and not control
                values[node.id] = np.asarray(value) if plain else value
    return values
