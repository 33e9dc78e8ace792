"""A graph in NetworkX: the same nodes and edges, made when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest

from gradc.ir import autodiff
from gradc.ir.graph import Builder, Graph
from gradc.ir.types import F64, TensorType
from tests.programs import random_program


def squared() -> Graph:
    builder = Builder("f")
    x = builder.input("x", TensorType(F64))
    y = builder.input("y", TensorType(F64))
    return builder.build([x * x - y])


def test_each_operand_is_an_edge() -> None:
    graph = squared()
    assert type(graph.nx) is nx.MultiDiGraph
    assert list(graph.nx) == [0, 1, 2, 3]
    assert sorted(graph.nx.edges(keys=True)) == [(0, 2, 0), (0, 2, 1), (1, 3, 1), (2, 3, 0)]
    assert [data["node"] for _, data in graph.nx.nodes(data=True)] == list(graph.nodes)
    assert graph.nx is graph.nx


@pytest.mark.parametrize("seed", range(10))
def test_networkx_finds_what_a_walk_over_the_operands_finds(seed: int) -> None:
    graph = random_program(seed).graph
    assert nx.is_directed_acyclic_graph(graph.nx)
    assert graph.nx.number_of_edges() == sum(len(node.operands) for node in graph.nodes)
    reach: list[set[int]] = []
    for node in graph.nodes:
        reach.append(set(node.operands).union(*(reach[i] for i in node.operands)))
        assert nx.ancestors(graph.nx, node.id) == reach[-1]


def test_a_graph_built_upon_another_leaves_it_as_it_was() -> None:
    graph = squared()
    edges = set(graph.nx.edges)
    more = autodiff.value_and_grad(graph, [0])
    assert set(graph.nx.edges) == edges < set(more.nx.edges)
    assert len(graph.nx) == len(graph) < len(more) == len(more.nx)


def test_it_cannot_be_edited() -> None:
    graph = squared()
    with pytest.raises(nx.NetworkXError, match="[Ff]rozen"):
        graph.nx.add_edge(1, 2, 5)
    copy = graph.nx.copy()
    copy.remove_node(3)
    assert len(copy) == 3 < len(graph.nx)


def test_compiling_asks_networkx_nothing() -> None:
    code = ("import sys, gradc, numpy as np; "
            "loss = lambda x: np.sum((x * x - np.mean(x * x)) ** 2); "
            "gradc.grad(loss)(3.0); gradc.grad(loss)(np.ones(1_000_000)); "
            "assert 'networkx' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
