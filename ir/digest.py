"""A short name for what a graph computes: equal for equal graphs, in every process.

It covers what makes nodes the same value (op, operands, attributes, type, fence) and what goes in
and out. Names, source lines and roles are left out: they change nothing of what is computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradc.ir.graph import Graph
from gradc.ir.types import TensorType

#: types of attributes whose text says all about them, whatever the process
_PLAIN = frozenset((bool, int, float, str, bytes, type(None)))


def digest(graph: Graph) -> str:
    """The SHA-256 of a graph as hexadecimal digits, in time linear in its size.

    Raises TypeError for an attribute that has no text of its own.
    """
    types: dict[TensorType, str] = {}
    lines = []
    for node in graph.nodes:
        type_ = node.type
        if type_ not in types:
            types[type_] = str(type_)
        name = node.op.name
        attrs = _attrs(node.attrs) if node.attrs and name != "input" else ""
        lines.append(f"{name} {node.operands} {types[type_]} {node.fence} {attrs}")
    lines.append(f"{graph.inputs} {graph.outputs} {graph.effects}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _attrs(attrs: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_text(value)}" for key, value in attrs.items())


def _text(value: Any) -> str:
    """Text that tells values apart as constants are: 0.0 is not -0.0, 1 is not True."""
    kind = type(value)
    if kind in _PLAIN:
        return repr(value)
    if kind is tuple:
        return f"({','.join(map(_text, value))})"
    if kind is np.ndarray and value.dtype.kind in "biuf":
        data = value.tobytes() if value.nbytes < 64 else np.ascontiguousarray(value).data
        said = data.hex() if type(data) is bytes else hashlib.sha256(data).hexdigest()
        return f"{value.dtype.str}{value.shape}{said}"
    if isinstance(value, np.generic):
        return f"{value.dtype.str}{value.tobytes().hex()}"
    if isinstance(value, np.dtype):
        return str(value.str)
    if kind is Graph:
        return digest(value)
    raise TypeError(f"an attribute of type {kind.__name__} has no canonical text")
