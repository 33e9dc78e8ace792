"""From a function and the types of its arguments to a closed graph.

A :class:`Function` is what can be lowered: a plain Python function (by tracing it), or a derivative
of another Function (by differentiating its graph). Derivatives of derivatives nest before anything
is compiled.

Arguments are lowered as structures whose leaves are numbers, positions in the list of leaf types,
so that a derivative can hand on a part of its arguments.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from gradc.context import contexts, current
from gradc.errors import TracerError
from gradc.ir import ops
from gradc.ir.graph import Builder, Graph
from gradc.ir.types import F64, I64, TensorType
from gradc.leaves import leaf_type, static_key, static_value
from gradc.signature import Argnums, Call, Parameters, as_tuple, leaf_names, leaf_types, read
from gradc.trace import NeedsStatic, Static, trace
from gradc.tracer import Tracer, fresh
from gradc.tree import TreeDef, flatten, unflatten

LeafTypes = Sequence[TensorType | Static]


class Lowered:
    """A closed graph of a call; that of a derivative is made when it is first asked for.

    out_tree: the structure of the result.
    inputs: what each input of the graph is: the position of a leaf of the call, or a Tracer of an
        enclosing trace that the function used.
    of: what it is the derivative of, if it is one.
    source, steps: the graph it begins with, and how its own follows from that: equal ones give
        equal graphs.
    """

    def __init__(
        self,
        graph: Graph | Callable[[], Graph],
        out_tree: TreeDef,
        inputs: Sequence[Any],
        of: Lowered | None = None,
        steps: tuple[Any, ...] = (),
    ) -> None:
        self._lock = threading.Lock()
        self._graph = graph
        self.out_tree = out_tree
        self.inputs = tuple(inputs)
        self.of = of
        self.steps = steps

    @property
    def graph(self) -> Graph:
        """The graph; its outputs are the leaves of the result."""
        with self._lock:
            if not isinstance(self._graph, Graph):
                self._graph = self._graph()
            return self._graph

    @property
    def source(self) -> Graph:
        """The graph that ``steps`` begin with: traced, or read back from text."""
        return self.of.source if self.of is not None and self.steps else self.graph

    @property
    def traced(self) -> Graph:
        """The graph as it was traced, before any differentiation."""
        return self.graph if self.of is None else self.of.traced

    @cached_property
    def primal(self) -> Graph:
        """What is differentiated: a traced graph in its stable forms, a derivative as it is."""
        if self.of is not None:
            return self.graph
        from gradc.ir.passes import stabilize

        return stabilize(self.graph)

    @property
    def result(self) -> Any:
        """The structure of the result, its leaves the positions of the graph's outputs."""
        return unflatten(self.out_tree, range(self.out_tree.num_leaves))


def derivative(
    of: Lowered,
    differentiate: Callable[[Graph], Graph],
    step: tuple[Any, ...],
    result: Any,
    inputs: Sequence[Any],
) -> Lowered:
    """A derivative whose result is a structure of positions of the differentiated graph's outputs.

    ``step`` says what ``differentiate`` does, by type and value.
    """
    chosen, out_tree = flatten(result)

    def make() -> Graph:
        graph = differentiate(of.primal)
        builder = Builder.extending(graph)
        return builder.build([builder.value(graph.outputs[k]) for k in chosen])

    before = of.steps if of.of is not None else ("stabilize",)
    return Lowered(make, out_tree, inputs, of, (*before, (*step, tuple(chosen))))


class Function(Protocol):
    """What can be lowered, and so compiled.

    python: what users see of it: its name, documentation and signature.
    static: the arguments that are static as a whole; ``arrays``: those whose lists of numbers are
    arrays; ``floats``: those that are differentiated.
    """

    python: Callable[..., Any]
    label: str
    parameters: Parameters
    static: Argnums
    arrays: Argnums
    floats: Argnums

    def lower(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: LeafTypes,
        names: Sequence[str],
    ) -> Lowered:
        """Lower a call whose arguments are structures of positions in ``types``.

        Raises NeedsStatic with such a position, and what :mod:`gradc.errors` has.
        """

    def clear(self) -> None:
        """Forget what was traced."""


class Plain:
    """A Python function, lowered by tracing it: once for a signature, whatever is derived of it.

    So a value and its gradient are those of the same function, though what it takes from outside
    may have changed between.
    """

    def __init__(
        self,
        python: Callable[..., Any],
        static: Argnums = (),
        arrays: Argnums = (),
        rewrite: bool = True,
    ) -> None:
        self.python = python
        self.rewrite = rewrite
        self.label = getattr(python, "__name__", None) or type(python).__name__
        self.parameters = Parameters(python, self.label)
        self.static: Argnums = as_tuple(static, "static_argnums")
        self.arrays: Argnums = as_tuple(arrays, "argnums")
        self.floats: Argnums = ()
        self.parameters.check(self.static, "static_argnums")
        self._lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forget what was traced."""
        with self._lock:
            self._lowered: dict[Hashable, Lowered] = {}
            # the leaves whose values were asked for, and those by which a trace then succeeded:
            # these begin as static from then on
            self._asked: set[str] = set()
            self._needed: set[str] = set()

    def lower(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: LeafTypes,
        names: Sequence[str],
    ) -> Lowered:
        """Trace the function, unless it was for these types before."""
        chosen, tree = flatten((tuple(args), dict(kwargs)))
        given = [types[k] for k in chosen]
        if current() is not None:  # what it is then may depend on the enclosing trace
            return self._trace(tree, chosen, given)
        key = _trace_key(tree, chosen, given)
        with self._lock:
            if key not in self._lowered:
                names = leaf_names(self.parameters, tree)
                for k, type_, name in zip(chosen, given, names, strict=True):
                    if name in self._needed and _may_be_static(type_):
                        raise NeedsStatic(k)
                self._lowered[key] = self._trace(tree, chosen, given)
                static = {
                    name for name, type_ in zip(names, given, strict=True)
                    if isinstance(type_, Static)
                }
                self._needed |= self._asked & static
            return self._lowered[key]

    def keep(self, tree: TreeDef, types: LeafTypes, lowered: Lowered) -> None:
        """Take a call with these leaves as traced."""
        with self._lock:
            self._lowered[_trace_key(tree, range(len(types)), types)] = lowered
            for name, type_ in zip(leaf_names(self.parameters, tree), types, strict=True):
                if isinstance(type_, Static) and isinstance(type_.value, (int, np.generic)):
                    self._needed.add(name)

    def _trace(self, tree: TreeDef, chosen: Sequence[int], given: LeafTypes) -> Lowered:
        names = leaf_names(self.parameters, tree)
        try:
            traced = trace(self.python, tree, given, names, name=identifier(self.label),
                           rewrite=self.rewrite)
        except NeedsStatic as request:
            self._asked.add(names[request.leaf])
            raise NeedsStatic(chosen[request.leaf], request.error) from None
        leaves = [
            k for k, type_ in zip(chosen, given, strict=True) if not isinstance(type_, Static)
        ]
        return Lowered(traced.graph, traced.out_tree, (*leaves, *traced.captures))


def _trace_key(tree: TreeDef, chosen: Sequence[int], given: LeafTypes) -> Hashable:
    kinds = [static_key(type_.value) if isinstance(type_, Static) else type_ for type_ in given]
    return tree, tuple(chosen), tuple(kinds)


def _may_be_static(type_: TensorType | Static) -> bool:
    return isinstance(type_, TensorType) and not type_.shape and type_.dtype.kind in "biu"


def identifier(label: str) -> str:
    """A function's name as a graph can bear it."""
    return "".join(c if c.isalnum() or c == "_" else "_" for c in label).strip("_") or "graph"


def lower(
    function: Function,
    tree: TreeDef,
    types: list[TensorType | Static],
    names: Sequence[str],
    demand: Callable[[int], Any],
) -> Lowered:
    """Lower a call; a leaf whose value turns out to be needed is made static, and all begins anew.

    ``tree`` is the structure of ``(args, kwargs)``; ``demand(leaf)`` gives the leaf's value. Raises
    what the trace failed with where an enclosing trace does not know that value either.
    """
    args, kwargs = unflatten(tree, range(len(types)))
    while True:
        try:
            return function.lower(args, kwargs, types, names)
        except NeedsStatic as request:
            try:
                value = demand(request.leaf)
            except TracerError as asked:
                error = request.error
                if error is None:
                    raise
                for context in contexts():
                    if context.failure is asked:
                        context.failure = error if getattr(error, "final", False) else None
                raise error from None
            types[request.leaf] = Static(value)


def inline(function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a function inside a trace: its closed graph is spliced into the one being traced.

    It is differentiated before it is spliced, so that its own variables are never those of the
    enclosing derivative (Siskind & Pearlmutter, *Nesting forward-mode AD*, 2008).
    """
    context = current()
    assert context is not None
    call = read(
        function.parameters, args, kwargs,
        static=function.static, arrays=function.arrays, floats=function.floats,
    )
    leaves = _floats(function, call)
    names = leaf_names(function.parameters, call.tree)
    types = leaf_types(function.parameters, call.tree, leaves, names, _type_of)

    def demand(leaf: int) -> Any:
        given = leaves[leaf]
        if isinstance(given, Tracer):  # raises the enclosing trace's own request, or an error
            return bool(given) if given.dtype.kind == "b" else given.__index__()
        return static_value(given)

    lowered = lower(function, call.tree, types, names, demand)
    operands = []
    for k, node in zip(lowered.inputs, lowered.graph.inputs, strict=True):
        given = leaves[k] if isinstance(k, int) else k
        type_ = lowered.graph.nodes[node].type
        if isinstance(given, Tracer):
            operands.append(given.value_in(context))
        else:
            operands.append(ops.const(context.builder, given, type_.dtype))
    results = context.builder.splice(lowered.graph, operands)
    return unflatten(lowered.out_tree, [fresh(value) for value in results])


def _type_of(leaf: Any, name: str) -> TensorType | Static:
    return leaf.type if isinstance(leaf, Tracer) else leaf_type(leaf, name)


def _floats(function: Function, call: Call) -> list[Any]:
    """The leaves of a call; traced Python ints are floats in the differentiated arguments."""
    leaves = list(call.leaves)
    args, kwargs = unflatten(call.tree, range(len(leaves)))
    for place in function.parameters.places(function.floats, args, kwargs):
        for k in flatten(args[place] if isinstance(place, int) else kwargs[place])[0]:
            leaf = leaves[k]
            if isinstance(leaf, Tracer) and leaf.weak and leaf.dtype == I64:
                leaves[k] = fresh(ops.convert(leaf.value, dtype=F64), weak=True)
    return leaves
