"""The verifier lets sound graphs pass and names what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Node, Role
from gradc.ir.passes import run as run_passes
from gradc.ir.types import F32, F64, TensorType
from gradc.ir.verify import VerificationError, verify
from tests.programs import random_program


def sound() -> Graph:
    """%0 = input, %1 = input, %2 = mul, %3 = const, %4 = sum, %5 = print"""
    builder = Builder("f")
    x = builder.input("x", TensorType(F64, (3,)))
    y = builder.input("y", TensorType(F64, (3,)))
    product = x * y
    ops.const(builder, [1.0, 2.0])
    total = ops.sum_(product, axes=(0,))
    ops.debug_print(total, format="{}")
    return builder.build([total])


def with_node(id_: int, **changes: object) -> Graph:
    """The sound graph with one node replaced."""
    graph = sound()
    nodes = list(graph.nodes)
    nodes[id_] = nodes[id_]._replace(**changes)
    return Graph(graph.name, nodes, graph.inputs, graph.outputs, graph.effects)


def remade(**changes: object) -> Graph:
    graph = sound()
    fields = {"name": graph.name, "nodes": graph.nodes,
              "inputs": graph.inputs, "outputs": graph.outputs, "effects": graph.effects}
    return Graph(**(fields | changes))


def writeable() -> Graph:
    graph = sound()
    return with_node(3, attrs=MappingProxyType({"value": np.array(graph.nodes[3].attrs["value"])}))


DEFECTS: dict[str, tuple[Callable[[], Graph], str]] = {
    "id": (lambda: with_node(2, id=7), r"node 7 \(mul\): stands at position 2"),
    "later operand": (lambda: with_node(2, operands=(0, 4)), "operand 4 does not come before"),
    "own operand": (lambda: with_node(2, operands=(0, 2)), "operand 2 does not come before"),
    "negative operand": (lambda: with_node(2, operands=(0, -1)), "operand -1"),
    "dtype": (lambda: with_node(2, type=TensorType(F32, (3,))), r"has type f32\[3\]"),
    "shape": (lambda: with_node(4, type=TensorType(F64, (1,))), r"operands give f64\[\]"),
    "weakness": (lambda: with_node(4, type=TensorType(F64, (), True)), "operands give"),
    "negative extent": (lambda: with_node(2, type=TensorType(F64, (-3,))), "no count"),
    "arity": (lambda: with_node(2, operands=(0,)), "takes 2 operands"),
    "attributes that fit no op": (
        lambda: with_node(4, attrs=MappingProxyType({})), "has no type for operands"),
    "thawed attributes": (lambda: with_node(4, attrs={"axes": (0,)}), "not frozen"),
    "list as attribute": (
        lambda: with_node(4, attrs=MappingProxyType({"axes": [0]})), "not hashable"),
    "writeable constant": (writeable, "writeable"),
    "input with operands": (lambda: with_node(1, operands=(0,)), "an input has operands"),
    "missing output": (lambda: remade(outputs=(9,)), "output 9 does not exist"),
    "input not listed": (lambda: remade(inputs=(0,)), "inputs are listed as"),
    "inputs not in order": (lambda: remade(inputs=(1, 0)), "inputs are not in the order"),
    "effect not listed": (lambda: remade(effects=()), "effects are listed as"),
    "derivative of nothing": (lambda: with_node(2, role=Role("adjoint", 1, 99)), "node 99"),
    "op of another registry": (
        lambda: with_node(2, op=replace_op("mul")), "not in the registry"),
}


def replace_op(name: str) -> ops.Op:
    right = ops.REGISTRY.pop(name)
    copy = replace(right)
    ops.REGISTRY[name] = right
    return copy


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_found(defect: str) -> None:
    plant, message = DEFECTS[defect]
    with pytest.raises(VerificationError, match=message):
        verify(plant())


def test_sound_graphs_pass() -> None:
    verify(sound())
    for seed in range(10):
        verify(random_program(seed).graph)


def test_the_pass_is_named() -> None:
    def breaking(graph: Graph) -> Graph:
        return with_node(4, type=TensorType(F64, (1,)))

    with pytest.raises(VerificationError, match=r"graph f: after breaking: node 4 \(sum\)"):
        run_passes(sound(), [breaking])
    assert isinstance(run_passes(sound(), [breaking], check=False), Graph)


def test_a_graph_that_others_were_built_upon_is_sound() -> None:
    graph = sound()
    more = autodiff.value_and_grad(graph, [0, 1])
    other = autodiff.jvp(graph, [0])
    for g in (graph, more, other):
        verify(g)
    assert len(graph.nx) == len(graph) < len(more)


def test_the_registry_is_whole_again() -> None:
    assert isinstance(sound().nodes[2], Node)
    assert list(ops.REGISTRY).count("mul") == 1
