"""Nodes, graphs and their builder.

A graph is a NetworkX ``MultiDiGraph`` (``graph.nx``) whose nodes are integers in creation order,
so that counting up is a topological order; the edge key is the operand's index. Its nodes know
their operands, which is all that walking the graph in order takes: the edges are given to NetworkX
when a question about the structure first asks for them (and NetworkX is imported then; three
dictionaries for every edge of every graph on the way would be a third of compiling).

Graphs are built, never edited: a builder appends nodes, ``build`` freezes a value, and a later
builder may go on from there (:meth:`Builder.extending`): so reverse mode adds to the graph it
differentiates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradc.ir.types import TensorType

if TYPE_CHECKING:
    import networkx

    from gradc.ir.ops.base import Op

Attrs = Mapping[str, Any]


class Loc(NamedTuple):
    """A line of the user's program."""

    file: str
    line: int
    function: str = ""


class Role(NamedTuple):
    """What a node is for: ``primal``, ``tangent`` or ``adjoint``, of which order, of which node.

    In a training step, ``update`` is what the optimizer does with the gradient.
    """

    kind: str = "primal"
    order: int = 0
    of: int | None = None


PRIMAL = Role()


class Node(NamedTuple):
    """One operation. Compared by identity; ``operands`` are ids of the same graph.

    A tuple, as making one takes a fifth of the time that a frozen dataclass does.
    """

    id: int
    op: Op
    operands: tuple[int, ...]
    attrs: Attrs
    type: TensorType
    locs: tuple[Loc, ...] = ()
    role: Role = PRIMAL
    fence: int = 0

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return id(self)

    @property
    def regions(self) -> list[tuple[str, Graph]]:
        """The graphs among the attributes of control flow: names of attributes, in order."""
        if self.op.family != "control":
            return []
        return [
            (name, region) for name, value in self.attrs.items()
            for region in (value if isinstance(value, tuple) else (value,))
            if isinstance(region, Graph)
        ]

    @property
    def effective(self) -> bool:
        """Whether it is kept for what it does, or one in its regions is."""
        if self.op.family != "control":
            return self.op.effect
        return self.op.effect or any(region.effects for _, region in self.regions)

    def key(self) -> tuple[Any, ...]:
        """What makes two nodes the same value: op, operands, attributes, type and fence."""
        attrs = tuple((k, attr_key(v)) for k, v in self.attrs.items())
        return (self.op.name, self.operands, attrs, self.type, self.fence)


def attr_key(value: Any) -> Any:
    """Constants compare by dtype and bytes: 0.0 is not −0.0, 1 is not True."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    return (type(value), value)


_NO_ATTRS: Attrs = MappingProxyType({})


def frozen(attrs: Attrs) -> Attrs:
    """Attributes as a node has them: in order, and not to be changed."""
    return MappingProxyType(dict(sorted(attrs.items()))) if attrs else _NO_ATTRS


class Graph:
    """A closed, immutable graph with named inputs and ordered outputs.

    ``effects`` are nodes kept for what they do (prints), in order of execution.
    """

    def __init__(
        self,
        name: str,
        nodes: Sequence[Node],
        inputs: Sequence[int],
        outputs: Sequence[int],
        effects: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.nodes: tuple[Node, ...] = tuple(nodes)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.effects = tuple(effects)

    @cached_property
    def nx(self) -> networkx.MultiDiGraph:
        """The graph in NetworkX: node data ``node``, edge key the operand's index.

        Made once, when first asked for, and frozen (``networkx.freeze``): edit a copy of it.
        """
        import networkx

        made = networkx.MultiDiGraph()
        made.add_nodes_from((node.id, {"node": node}) for node in self.nodes)
        made.add_edges_from(
            (operand, node.id, index)
            for node in self.nodes for index, operand in enumerate(node.operands)
        )
        return networkx.freeze(made)

    @property
    def input_types(self) -> tuple[TensorType, ...]:
        """The types of the inputs."""
        return tuple(self.nodes[i].type for i in self.inputs)

    @property
    def output_types(self) -> tuple[TensorType, ...]:
        """The types of the outputs."""
        return tuple(self.nodes[i].type for i in self.outputs)

    def __len__(self) -> int:
        return len(self.nodes)

    def __repr__(self) -> str:
        return f"<Graph {self.name}: {len(self.nodes)} nodes>"


class Builder:
    """Appends nodes to a graph under construction.

    ``locate`` is asked for the user's lines when a node is made; :meth:`marked` overrides it.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.effects: list[int] = []
        self.locate: Callable[[], tuple[Loc, ...]] = tuple
        self.role = PRIMAL

    @classmethod
    def extending(cls, graph: Graph) -> Builder:
        """A builder that goes on where ``graph`` ended; the graph itself stays as it is."""
        builder = cls(graph.name)
        builder.nodes = list(graph.nodes)
        builder.inputs = list(graph.inputs)
        builder.effects = list(graph.effects)
        return builder

    def add(self, op: Op, operands: Sequence[Value], /, **attrs: Any) -> Value:
        """Append a node and return its value. Its type comes from the op's declaration."""
        for operand in operands:
            if operand.builder is not self:
                raise ValueError(f"{op.name}: an operand belongs to another graph")
        nodes = [operand.node for operand in operands]
        type_ = op.infer([node.type for node in nodes], attrs)
        return self._append(op, tuple([node.id for node in nodes]), attrs, type_)

    def input(self, name: str, type_: TensorType) -> Value:
        """Append an input."""
        from gradc.ir.ops.sources import input_

        return self._append(input_, (), {"name": name}, type_)

    def _append(
        self, op: Op, operands: tuple[int, ...], attrs: Attrs, type_: TensorType
    ) -> Value:
        node = Node(
            len(self.nodes), op, operands, frozen(attrs), type_, self.locate(), self.role
        )
        return self._insert(node)

    def _insert(self, node: Node) -> Value:
        self.nodes.append(node)
        if node.op.name == "input":
            self.inputs.append(node.id)
        if node.effective:
            self.effects.append(node.id)
        return Value(self, node)

    def value(self, id_: int) -> Value:
        """A handle on a node."""
        return Value(self, self.nodes[id_])

    def marked(self, role: Role, locs: tuple[Loc, ...]) -> Marked:
        """Give the nodes made inside this role and these source lines."""
        return Marked(self, role, locs)

    def build(self, outputs: Sequence[Value], name: str | None = None) -> Graph:
        """Freeze what has been built."""
        return Graph(
            name or self.name,
            self.nodes,
            self.inputs,
            [v.id for v in outputs],
            self.effects,
        )

    def splice(
        self, graph: Graph, operands: Sequence[Value], role: Role | None = None
    ) -> list[Value]:
        """Append the nodes of a closed graph, its inputs replaced; return its outputs.

        They keep their roles unless ``role`` is given.
        """
        values: dict[int, Value] = dict(zip(graph.inputs, operands, strict=True))
        here = self.locate()
        for node in graph.nodes:
            if node.id not in values:
                with self.marked(role or node.role._replace(of=None), node.locs or here):
                    values[node.id] = self.add(
                        node.op, [values[i] for i in node.operands], **node.attrs
                    )
        return [values[i] for i in graph.outputs]


class Marked:
    """A role and source lines for the nodes made inside (:meth:`Builder.marked`)."""

    __slots__ = ("before", "builder", "locs", "role")

    def __init__(self, builder: Builder, role: Role, locs: tuple[Loc, ...]) -> None:
        self.builder = builder
        self.role = role
        self.locs = locs

    def __enter__(self) -> None:
        builder, locs = self.builder, self.locs
        self.before = builder.role, builder.locate
        builder.role, builder.locate = self.role, lambda: locs

    def __exit__(self, *error: object) -> None:
        self.builder.role, self.builder.locate = self.before


class Value:
    """A handle on a node of a builder, with the IR's own operators.

    Rules are written with it: operands must agree in dtype and shape; a Python number is
    a constant of the dtype and shape of the other side.
    """

    __slots__ = ("builder", "node")

    def __init__(self, builder: Builder, node: Node) -> None:
        self.builder = builder
        self.node = node

    @property
    def id(self) -> int:
        """The node's number in its graph."""
        return self.node.id

    @property
    def type(self) -> TensorType:
        """The node's type."""
        return self.node.type

    @property
    def shape(self) -> tuple[int, ...]:
        """The node's shape."""
        return self.node.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The node's dtype."""
        return self.node.type.dtype

    @property
    def operands(self) -> list[Value]:
        """Handles on the node's operands."""
        return [self.builder.value(i) for i in self.node.operands]

    def __repr__(self) -> str:
        return f"%{self.id} = {self.node.op.name} : {self.type}"

    def _with(self, name: str, other: Value | float, swap: bool = False) -> Value:
        from gradc.ir import ops

        right = other if isinstance(other, Value) else ops.full_like(self, other)
        pair = (right, self) if swap else (self, right)
        return self.builder.add(ops.REGISTRY[name], pair)

    def __add__(self, other: Value | float) -> Value:
        return self._with("add", other)

    def __radd__(self, other: float) -> Value:
        return self._with("add", other, swap=True)

    def __sub__(self, other: Value | float) -> Value:
        return self._with("sub", other)

    def __rsub__(self, other: float) -> Value:
        return self._with("sub", other, swap=True)

    def __mul__(self, other: Value | float) -> Value:
        return self._with("mul", other)

    def __rmul__(self, other: float) -> Value:
        return self._with("mul", other, swap=True)

    def __truediv__(self, other: Value | float) -> Value:
        return self._with("div", other)

    def __rtruediv__(self, other: float) -> Value:
        return self._with("div", other, swap=True)

    def __pow__(self, other: Value | float) -> Value:
        return self._with("pow", other)

    def __neg__(self) -> Value:
        from gradc.ir import ops

        return ops.neg(self)

    def __gt__(self, other: Value | float) -> Value:
        return self._with("gt", other)

    def __ge__(self, other: Value | float) -> Value:
        return self._with("ge", other)

    def __lt__(self, other: Value | float) -> Value:
        return self._with("lt", other)

    def __le__(self, other: Value | float) -> Value:
        return self._with("le", other)
