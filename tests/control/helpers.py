"""Functions with loops and branches: traced, looked into, and compared with plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradc.ir.graph import Graph
from gradc.ir.text import dump
from gradc.ir.verify import verify
from tests.tracer import helpers
from tests.tracer.helpers import copied


def graph_of(f: Callable[..., Any], *args: Any) -> Graph:
    """The graph of the traced function, verified."""
    graph = helpers.traced(f, *args)[0].graph
    verify(graph)
    return graph


def run(f: Callable[..., Any], *args: Any) -> Any:
    """The result of the traced function, by the interpreter."""
    graph_of(f, *args)
    return helpers.interpreted(f, *args)


def same(f: Callable[..., Any], *args: Any) -> Any:
    """Assert that the traced function gives what Python gives; return that."""
    graph_of(f, *args)
    helpers.check(f, *args, rtol=1e-13)
    return f(*copied(args))


def ops_of(graph: Graph) -> list[str]:
    """The names of the ops of a graph, those in its regions with it."""
    names = []
    todo = [graph]
    while todo:
        one = todo.pop()
        for node in one.nodes:
            names.append(node.op.name)
            todo += [region for _, region in node.regions]
    return names


def count(f: Callable[..., Any], op: str, *args: Any) -> int:
    """How many nodes of an op the traced function has, in its regions too."""
    return ops_of(graph_of(f, *args)).count(op)


def text(f: Callable[..., Any], *args: Any) -> str:
    """The traced function as text."""
    return dump(graph_of(f, *args), brief=True)
