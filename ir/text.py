"""Graphs as text: linear, typed, one node a line. ``parse(dump(graph))`` is an equal graph.

::

    graph loss(x: f64[3,4], w: f64[4,2]) -> (%2, %5)
      %0 = matmul x, w          : f64[3,2]   # mlp.py:7
      %1 = tanh %0              : f64[3,2]   # mlp.py:7
      %2 = sum %1 {axes=(0, 1)} : f64[]      # mlp.py:8
      -- adjoint
      %3 = broadcast 1.0        : f64[3,2]   # d %2, mlp.py:8

Scalar constants stand where they are used, as literals exact to the bit: ``1.0`` is a f64, ``1``
an i64, ``1.0_f32`` and ``1_u8`` say their type, ``0x7ff8000000000001_f64`` gives the bits of a
NaN, ``~`` marks a weak type. Inputs go by name (a prime tells equal names apart). ``exp!3`` is a
node with fence 3. A section (``-- adjoint``, ``-- adjoint 2``) gives the role of the lines below
it, ``d %2`` the node whose derivative a line belongs to; then come the user's lines, with the
function where it is not the graph's own. Integers in equal steps are an ``arange``. Large
constants stand in full under ``-- data``, paths of files under ``-- files``. The regions of a loop
or branch stand below its line, further in: ``body = graph ...``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from gradc.ir.graph import PRIMAL, Graph, Loc, Node, Role
from gradc.ir.types import LONG, SHORT, UNKNOWN, TensorType

#: attributes that are not written when they have these values
DEFAULTS: dict[str, dict[str, Any]] = {
    "matmul": {"ta": False, "tb": False},
    "cumsum": {"reverse": False},
    "cumprod": {"reverse": False},
    "loop": {"reverse": False, "limit": UNKNOWN, "test": None, "xs": 0},
    "call": {"fwd": None, "bwd": None},
}
#: arrays of at most so many characters are written where they stand
INLINE = 48

PLAIN_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+|\[(?:-?\d+|'[^'\\]*')\])*")
RESERVED = re.compile(r"(?:nan|inf|true|false)(?:_\w+)?")
ALIAS = re.compile(r"[^\s,:#]+")


def dump(
    graph: Graph, *, brief: bool = False, files: Mapping[str, str] | None = None
) -> str:
    """The text of a graph. ``brief`` leaves out large constants and paths; it does not parse.

    ``files`` are the short names of files that stand further out, if the graph is a region.
    """
    shown = names(graph)
    outermost = files is None
    files = _aliases(graph) if files is None else files
    inputs = ", ".join(f"{shown[i]}: {graph.nodes[i].type}" for i in graph.inputs)
    outputs = ", ".join(shown[i] for i in graph.outputs)
    lines = [f"graph {quoted(graph.name)}({inputs}) -> ({outputs})"]
    data: list[str] = []
    rows: list[tuple[str, str, str] | str] = []
    role = PRIMAL
    for node in _written(graph):
        if (node.role.kind, node.role.order) != (role.kind, role.order):
            role = node.role
            rows.append(f"-- {role.kind}{f' {role.order}' if role.order > 1 else ''}")
        rows.append((_equation(node, shown, data), str(node.type),
                     _comment(node, graph, shown, files)))
        if node.op.family == "control":
            rows.extend(_regions(node, files, brief=brief))
    lines += _aligned(rows)
    if data:
        lines += ["  -- data", *(f"  {line}" for line in data if not brief)]
    if outermost and not brief and any(alias != path for path, alias in files.items()):
        lines += ["  -- files", *(f"  {alias} = {json.dumps(path)}"
                                  for path, alias in files.items() if alias != path)]
    return "\n".join(lines) + "\n"


def equal(a: Graph, b: Graph) -> bool:
    """Whether two graphs are the same, node for node in order, wherever their scalar constants
    stand.

    Attributes, types, fences, roles and source lines count; those of inputs and scalar constants
    only as far as they are written.
    """
    return dump(a) == dump(b)


def names(graph: Graph) -> dict[int, str]:
    """What each node is called in the dump: an input's name, a literal, or ``%`` and a number."""
    out: dict[int, str] = {}
    taken: set[str] = set()
    for id_ in graph.inputs:
        name = quoted(graph.nodes[id_].attrs["name"])
        while name in taken:
            name += "'"
        taken.add(name)
        out[id_] = name
    count = 0
    for node in graph.nodes:
        if inlined(node):
            out[node.id] = literal(node.attrs["value"][()], node.type.weak)
        elif node.op.name != "input":
            out[node.id] = f"%{count}"
            count += 1
    return out


def inlined(node: Node) -> bool:
    """Whether the dump writes a node where it is used: a scalar constant."""
    return node.op.name == "const" and not node.type.shape and not node.fence


def quoted(name: str) -> str:
    """A name as it is written: plainly, or as a JSON string where it could be misread."""
    if PLAIN_NAME.fullmatch(name) and not RESERVED.fullmatch(name):
        return name
    return json.dumps(name)


def _written(graph: Graph) -> Iterator[Node]:
    """The nodes that have a line: inputs only if they are no part of the primal."""
    for node in graph.nodes:
        primal = (node.role.kind, node.role.order) == (PRIMAL.kind, PRIMAL.order)
        if not inlined(node) and (node.op.name != "input" or not primal):
            yield node


# -- literals ------------------------------------------------------------------------------------


def literal(value: np.generic, weak: bool = False) -> str:
    """A scalar as text, exact to the bit."""
    dtype = value.dtype
    text = element(value)
    plain = dtype in (LONG["bool"], LONG["i64"], LONG["f64"]) and not text.startswith("0x")
    return text + ("" if plain else f"_{SHORT[dtype]}") + ("~" if weak else "")


def element(value: Any) -> str:
    """A scalar as text without its type."""
    if value.dtype.kind == "b":
        return "true" if value else "false"
    if value.dtype.kind in "iu":
        return str(int(value))
    text = repr(float(value)) if value.dtype.itemsize == 8 else str(value)
    again = value.dtype.type(float(text))
    if again.tobytes() == value.tobytes():
        return text if re.search(r"[.ein]", text) else text + ".0"
    if not np.isnan(value):
        return repr(float(value))
    return hex(int(value.view(f"u{value.dtype.itemsize}")))


LITERAL = re.compile(
    r"(true|false|[+-]?(?:nan|inf|0x[0-9a-f]+|\d+(?:\.\d*)?(?:e[+-]?\d+)?))"
    r"(?:_([iuf]\d+))?(~?)(?![\w.])"
)


def scalar(text: str, dtype: np.dtype[Any]) -> np.generic:
    """The scalar of this dtype that :func:`element` wrote."""
    if dtype.kind == "b":
        return np.bool_(text == "true")
    if dtype.kind == "f" and text.startswith("0x"):
        bits = np.array(int(text, 16), f"u{dtype.itemsize}")
        value: np.generic = dtype.type(bits.view(dtype)[()])
    else:
        value = dtype.type(int(text) if dtype.kind in "iu" else float(text))
    return value


def read_literal(match: re.Match[str]) -> tuple[np.generic, bool]:
    """The value that a match of LITERAL stands for, and whether it is weak."""
    text, short, weak = match.groups()
    if short:
        dtype = LONG[short]
    elif text in ("true", "false"):
        dtype = LONG["bool"]
    else:
        dtype = LONG["f64" if re.search(r"[.ein]", text) else "i64"]
    return scalar(text, dtype), bool(weak)


# -- lines ---------------------------------------------------------------------------------------


def _equation(node: Node, shown: Mapping[int, str], data: list[str]) -> str:
    fence = f"!{node.fence}" if node.fence else ""
    head = f"{shown[node.id]} = {node.op.name}{fence}"
    if node.op.name == "input":
        return head
    if node.op.name == "const":
        return f"{head} {_array(node.attrs['value'], data)}{'~' if node.type.weak else ''}"
    operands = ", ".join(shown[i] for i in node.operands)
    usual = DEFAULTS.get(node.op.name, {})
    below = {key for key, _ in node.regions}
    attrs = ", ".join(f"{key}={_attribute(value)}" for key, value in node.attrs.items()
                      if key not in below and not (key in usual and value == usual[key]))
    return head + (f" {operands}" if operands else "") + (f" {{{attrs}}}" if attrs else "")


def _regions(node: Node, files: Mapping[str, str], *, brief: bool) -> list[str]:
    """The lines of the graphs among a node's attributes."""
    lines = []
    for k, (key, region) in enumerate(node.regions):
        many = isinstance(node.attrs[key], tuple)
        first, *rest = dump(region, brief=brief, files=files).splitlines()
        lines.append(f"    {key}{f'[{k}]' * many} = {first}")
        lines.extend(f"    {line}" for line in rest)
    return lines


def _attribute(value: Any) -> str:
    return SHORT[value] if isinstance(value, np.dtype) else repr(value)


def _array(value: np.ndarray[Any, Any], data: list[str]) -> str:
    if value.size <= INLINE and len(text := _nested(value)) <= INLINE:
        return text
    if value.ndim == 1 and value.dtype.kind == "i" and value.size > 1:
        first, step = int(value[0]), int(value[1]) - int(value[0])
        stop = first + step * value.size
        if step and np.array_equal(value, np.arange(first, stop, step)):
            return f"arange({first}, {stop}, {step})"
    little = value.astype(value.dtype.newbyteorder("<"), copy=False)
    name = f"data{len(data)}"
    data.append(f"{name} = {base64.b64encode(little.tobytes()).decode()}")
    return name


def _nested(value: np.ndarray[Any, Any]) -> str:
    inner = element if value.ndim == 1 else _nested
    return element(value[()]) if value.ndim == 0 else f"[{', '.join(map(inner, value))}]"


def _comment(
    node: Node, graph: Graph, shown: Mapping[int, str], files: Mapping[str, str]
) -> str:
    parts = []
    of = node.role.of
    if of is not None and not inlined(graph.nodes[of]):
        parts.append(f"d {shown[of]}")
    for loc in node.locs:
        function = "" if loc.function == graph.name else f" in {quoted(loc.function or '?')}"
        parts.append(f"{files[loc.file]}:{loc.line}{function}")
    return ", ".join(parts)


def _aliases(graph: Graph) -> dict[str, str]:
    """A short name for each file: the end of its path, as long as it takes to be the only one."""
    out: dict[str, str] = {}
    taken: set[str] = set()
    for path in dict.fromkeys(_files(graph)):
        parts = PurePath(path).parts
        ends = ["/".join(parts[-k:]) for k in range(1, len(parts) + 1)]
        usable = [end for end in ends if ALIAS.fullmatch(end) and end not in taken]
        out[path] = usable[0] if usable else f"file{len(out)}"
        taken.add(out[path])
    return out


def _files(graph: Graph) -> Iterator[str]:
    """The files of a graph's lines and of those of its regions."""
    for node in graph.nodes:
        yield from (loc.file for loc in node.locs)
        for _, region in node.regions:
            yield from _files(region)


def _aligned(rows: list[tuple[str, str, str] | str]) -> list[str]:
    """Columns: equation, type, comment; long entries do not widen their column for all."""
    full = [row for row in rows if isinstance(row, tuple)]
    left = max((len(row[0]) for row in full if len(row[0]) <= 64), default=0)
    middle = max((len(row[1]) for row in full if len(row[1]) <= 24), default=0)
    out = []
    for row in rows:
        if isinstance(row, str):
            out.append(row if row.startswith("    ") else f"  {row}")
        else:
            line = f"  {row[0]:<{left}} : {row[1]:<{middle}}"
            out.append(f"{line}   # {row[2]}" if row[2] else line.rstrip())
    return out


def parse(text: str) -> Graph:
    """The graph that :func:`dump` wrote. Raises ParseError with the line that cannot be read."""
    from gradc.ir.reader import Reader

    return Reader(text).graph()


class ParseError(ValueError):
    """The text is no dump of a graph."""


__all__ = [
    "Loc", "ParseError", "Role", "TensorType", "dump", "equal", "literal", "names", "parse",
]
