"""Regions: the traces of the bodies of loops and branches, and what they take from around them.

A region is a trace of its own, whose graph is closed: a value of an enclosing trace that it uses
becomes an input, a *capture*. The storage of an enclosing trace that it writes into it takes over
while it is active (:meth:`Region.adopt`); every view of the storage sees that, as views share it.
The loop or branch then hands the storage on: in as an operand, out as a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradc.cells import Cell
from gradc.context import Context, contexts, current
from gradc.control.undefined import bare
from gradc.errors import LeakedTracerError
from gradc.ir.forms import Form, index_of
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import I64, UNKNOWN, TensorType
from gradc.numpy_api.values import to_value
from gradc.reach import count_of
from gradc.tracer import Tracer

_State = tuple[Context | None, Value | None, np.ndarray[Any, Any] | None]


def _state(cell: Cell) -> _State:
    return cell.trace, cell.value, cell.array


def _set(cell: Cell, state: _State) -> None:
    cell.trace, cell.value, cell.array = state
    cell.version += 1  # what Tracers remember of it is void


class Region(Context):
    """The trace of a body or branch; it may be entered several times (:meth:`active`)."""

    is_region = True

    def __init__(
        self, name: str, *, certain: bool = True, length: int = UNKNOWN, trips: Value | None = None
    ) -> None:
        super().__init__(name)
        self.certain = certain
        self.trips = trips
        self.length = length
        #: the cells of enclosing traces that are this one's while it is active
        self.cells: list[Cell] = []
        #: their states in here, and outside
        self._inside: list[_State] = []
        self._outside: list[_State] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        """Trace into this region."""
        stack = contexts()
        stack.append(self)
        inside, self._inside, self._outside = self._inside, [], []
        for cell, state in zip(self.cells, inside, strict=True):
            self._outside.append(_state(cell))
            _set(cell, state)
        try:
            yield
        finally:
            self._inside = [_state(cell) for cell in self.cells]
            for cell, state in zip(self.cells, self._outside, strict=True):
                _set(cell, state)
            stack.remove(self)

    def adopt(self, cell: Cell) -> None:
        """Make a cell of an enclosing trace this one's, with the value that it has there."""
        self.take(cell, whole(cell).value_in(self))

    def take(self, cell: Cell, value: Value) -> None:
        """Make a cell this trace's, with a value of this trace; the region is active."""
        self.cells.append(cell)
        self._outside.append(_state(cell))
        _set(cell, (self, value, None))

    def input(self, name: str, type_: TensorType, *, scalar: bool | None = None) -> Tracer:
        """An input of the region as a Tracer in storage of its own.

        ``scalar``: whether it is no 0-d array, where it has no axes.
        """
        value = self.builder.input(name, type_._replace(weak=False))
        is_scalar = not type_.shape if scalar is None else scalar and not type_.shape
        return Tracer(
            Cell(self, value), type_.shape, type_.dtype, weak=type_.weak, is_scalar=is_scalar
        )

    def index(self) -> Tracer:
        """The number of the iteration as an input: a Python int to promotion."""
        i = self.input("i", TensorType(I64, (), weak=True))
        count = count_of(self.length, self.trips, contexts()[-2])
        self.forms[i.value.id] = Form(0, {index_of(count): 1})
        return i


class Closed(Region):
    """A region that may not write what the enclosing trace owns."""

    is_region = False


def whole(cell: Cell) -> Tracer:
    """A Tracer of all that a cell holds."""
    held = cell.value if cell.array is None else cell.array
    assert held is not None
    return bare(Tracer(cell, tuple(held.shape), held.dtype))


def cell_type(cell: Cell) -> TensorType:
    """The type of what a cell holds."""
    return whole(cell).type


def here() -> Context:
    """The trace under way. Raises LeakedTracerError outside any."""
    context = current()
    if context is None:
        raise LeakedTracerError("a loop was to be traced outside a trace",
                                remedy="call the compiled function itself")
    return context


Ends = tuple[Region, Sequence[Value], Sequence[Value]]


def close(parts: Sequence[Ends]) -> tuple[list[Graph], list[Value]]:
    """The graphs of regions that are called with the same captures, and these captures.

    Each part is a region, its own inputs in order and its outputs; the captures, values of the
    trace under way, follow the inputs of every graph.
    """
    captures, ids = captured([region for region, _, _ in parts])
    graphs = [
        graph_of(region, [*(value.id for value in inputs), *own], outputs)
        for (region, inputs, outputs), own in zip(parts, ids, strict=True)
    ]
    return graphs, captures


def captured(regions: Sequence[Region]) -> tuple[list[Value], list[list[int]]]:
    """What regions take from the trace under way, and each region's inputs for all of it."""
    context = here()
    taken: dict[tuple[int, int], Tracer] = {}
    inputs_of: list[dict[tuple[int, int], int]] = []
    for region in regions:
        own = {}
        for id_, tracer in region.source_of.items():
            assert tracer.cell.value is not None
            key = (id(tracer.cell.trace), tracer.cell.value.id)
            taken.setdefault(key, tracer)
            own[key] = id_
        inputs_of.append(own)
    for region, own in zip(regions, inputs_of, strict=True):
        for k, (key, tracer) in enumerate(taken.items()):
            if key not in own:  # another of the regions uses it
                type_ = tracer.type._replace(weak=False)
                own[key] = region.builder.input(f"unused{k}", type_).id
    values = [tracer.value_in(context) for tracer in taken.values()]
    return values, [[own[key] for key in taken] for own in inputs_of]


def graph_of(region: Region, inputs: Sequence[int], outputs: Sequence[Value]) -> Graph:
    """A region as a graph with these inputs, which come first in it, in this order."""
    builder = region.builder
    ids = [value.id for value in outputs]
    graph = Graph(builder.name, builder.nodes, inputs, ids, builder.effects)
    if list(inputs) == sorted(inputs):
        return graph
    ordered = Builder(builder.name)
    given = [ordered.input(graph.nodes[i].attrs["name"], graph.nodes[i].type) for i in inputs]
    return ordered.build(ordered.splice(graph, given))


def written_back(cells: Sequence[Cell], values: Sequence[Value]) -> None:
    """Write what a loop or branch has left in the cells of the trace under way."""
    context = here()
    for cell, value in zip(cells, values, strict=True):
        assert cell.trace is context, "a cell of another trace"
        _set(cell, (context, value, None))


def output(leaf: Any, type_: TensorType) -> Value:
    """A leaf as a node of the trace under way, of this dtype and shape."""
    return to_value(leaf, type_.dtype, type_.shape)


def is_scalar(leaf: Any) -> bool:
    """Whether NumPy would have a number here and no 0-d array."""
    return leaf.is_scalar if isinstance(leaf, Tracer) else not isinstance(leaf, np.ndarray)
