"""Dumps: readable, typed, and an exact round trip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradc.ir import autodiff, ops
from gradc.ir.graph import Builder, Graph, Loc
from gradc.ir.passes import optimize
from gradc.ir.text import ParseError, dump, equal, literal, names, parse
from gradc.ir.types import F32, F64, I64, LONG, TensorType
from gradc.ir.verify import verify
from tests.programs import random_program


def round_trip(graph: Graph) -> Graph:
    text = dump(graph)
    again = parse(text)
    verify(again, after="parse")
    assert dump(again) == text
    assert equal(graph, again)
    return again


@given(st.integers(0, 10**6), st.sampled_from(["float64", "float32"]), st.booleans())
def test_random_programs_round_trip(seed: int, dtype: str, differentiable: bool) -> None:
    program = random_program(seed, 15, dtype, differentiable)
    round_trip(program.graph)
    if differentiable:
        adjoint = autodiff.value_and_grad(program.graph, range(len(program.inputs)))
        round_trip(adjoint)
        round_trip(optimize(adjoint))


def mlp() -> Graph:
    builder = Builder("loss")
    line = iter(range(7, 100))
    x = builder.input("x", TensorType(F64, (3, 4)))
    w = builder.input("w", TensorType(F64, (4, 2)))
    builder.locate = lambda: (Loc("mlp.py", next(line), "loss"),)
    hidden = ops.tanh(ops.matmul(x, w, ta=False, tb=False))
    return builder.build([ops.sum_(hidden, axes=(0, 1))])


def test_the_text_of_a_graph() -> None:
    assert dump(mlp()) == (
        "graph loss(x: f64[3,4], w: f64[4,2]) -> (%2)\n"
        "  %0 = matmul x, w          : f64[3,2]   # mlp.py:7\n"
        "  %1 = tanh %0              : f64[3,2]   # mlp.py:8\n"
        "  %2 = sum %1 {axes=(0, 1)} : f64[]      # mlp.py:9\n"
    )


def test_sections_tell_primal_from_adjoint() -> None:
    text = dump(autodiff.value_and_grad(autodiff.value_and_grad(mlp(), [0]), [1]))
    assert "\n  -- adjoint\n" in text and "\n  -- adjoint 2\n" in text
    assert "# d %1, mlp.py:8" in text


@pytest.mark.parametrize("dtype", list(LONG.values()), ids=str)
def test_literals_are_exact(dtype: np.dtype) -> None:
    numbers: list[object] = [0, 1]
    if dtype.kind == "f":
        tiny = np.finfo(dtype).smallest_subnormal
        numbers += [-0.0, 0.1, 1 / 3, 1e22, 1e-7, np.inf, -np.inf, np.nan, tiny, -tiny,
                    np.finfo(dtype).max, 123456789.123, 1e16, 100.0]
    elif dtype.kind in "iu":
        numbers += [np.iinfo(dtype).min, np.iinfo(dtype).max]
    for number in numbers:
        builder = Builder()
        value = ops.const(builder, np.asarray(number).astype(dtype))
        again = parse(dump(builder.build([value]))).nodes[0]
        assert again.type == value.type
        assert again.attrs["value"].tobytes() == value.node.attrs["value"].tobytes(), number


def test_literals_read_well() -> None:
    assert literal(np.float64(1)) == "1.0"
    assert literal(np.float32(0.1)) == "0.1_f32"
    assert literal(np.int64(-3)) == "-3"
    assert literal(np.uint8(3)) == "3_u8"
    assert literal(np.bool_(True)) == "true"
    assert literal(np.float64(2), weak=True) == "2.0~"
    odd = np.array(0x7FF8000000000001, np.uint64).view(np.float64)[()]
    assert literal(odd) == "0x7ff8000000000001_f64"


@pytest.mark.parametrize("bits", [0x7F800001, 0xFFC00000, 0x7FC00000, 0x00000001, 0x80000000])
def test_float32_bits_survive(bits: int) -> None:
    builder = Builder()
    array = np.array(bits, np.uint32).view(F32)
    again = parse(dump(builder.build([ops.const(builder, array)])))
    assert again.nodes[0].attrs["value"].tobytes() == array.tobytes()


def test_constant_arrays() -> None:
    builder = Builder()
    rng = np.random.default_rng(0)
    arrays = [np.array([1.0, -0.0, np.nan]), np.array([[1, 2], [3, 4]]), np.zeros((0, 3)),
              np.array([True, False]), rng.normal(size=(5, 7)), rng.integers(0, 9, (4, 20), "u1"),
              rng.normal(size=40).astype(F32), np.array([np.inf]), np.array([[0.1]], F32),
              np.arange(40), np.arange(40, -40, -2, dtype="i4"), np.zeros(30, int)]
    graph = builder.build([ops.const(builder, a) for a in arrays])
    again = round_trip(graph)
    for array, id_ in zip(arrays, again.outputs, strict=True):
        value = again.nodes[id_].attrs["value"]
        assert (value.dtype, value.shape) == (array.dtype, array.shape)
        assert value.tobytes() == array.tobytes()
        assert not value.flags.writeable
    assert "const [[1, 2], [3, 4]]" in dump(graph)
    assert "const arange(0, 40, 1) " in dump(graph)
    assert "data0 = " in dump(graph) and "data0 = " not in dump(graph, brief=True)


def test_names_that_could_be_misread() -> None:
    builder = Builder("<lambda>")
    odd = ["nan", "a, b", "x y", "%3", "p['W 1']", "p['a']", "l[0].b", "x", "x", "1.0", 'q"',
           "true", "d", "input = y", "#", "x'", "inf_f32"]
    values = [builder.input(name, TensorType(F64)) for name in odd]
    total = values[0]
    for value in values[1:]:
        total = total + value
    graph = round_trip(builder.build([total, values[7], values[8], values[2]]))
    assert [graph.nodes[i].attrs["name"] for i in graph.inputs] == odd
    assert len(set(names(graph).values())) == len(graph)


def test_source_lines_survive() -> None:
    builder = Builder("f")
    locs = (Loc("/home/me/a dir/x.py", 3, "f"), Loc("/home/me/other/x.py", 4, "<lambda>"),
            Loc("<ipython-input-1>", 5, ""), Loc("C:\\x.py", 6, "a, b"), Loc("x: 1.py", 7, "f"))
    builder.locate = lambda: locs
    x = builder.input("x", TensorType(F64))
    graph = round_trip(builder.build([ops.exp(x)]))
    assert graph.nodes[graph.outputs[0]].locs == locs


def test_fences_weak_types_and_effects_survive() -> None:
    builder = Builder("f")
    x = builder.input("x", TensorType(F64, (), True))
    y = x + ops.const(builder, 2.0, weak=True)
    ops.debug_print(y, format="a {} # b : \" ' }} \n {{")
    node = ops.exp(y).node._replace(fence=4)
    builder.nodes[node.id] = node
    graph = builder.build([builder.value(node.id)])
    again = round_trip(graph)
    assert again.nodes[again.outputs[0]].fence == 4
    assert again.nodes[again.effects[0]].attrs["format"] == "a {} # b : \" ' }} \n {{"
    assert again.nodes[again.outputs[0]].type.weak


def test_differences_are_seen() -> None:
    def small(value: float, line: int = 1, name: str = "x") -> Graph:
        builder = Builder("f")
        builder.locate = lambda: (Loc("f.py", line, "f"),)
        return builder.build([builder.input(name, TensorType(F64)) * value])

    assert equal(small(0.0), small(0.0))
    for other in (small(-0.0), small(0.0, 2), small(0.0, name="y"), small(1.0)):
        assert not equal(small(0.0), other)


def test_integers_and_floats_are_told_apart() -> None:
    builder = Builder()
    one, also = ops.const(builder, np.int64(1)), ops.const(builder, np.float64(1))
    graph = parse(dump(builder.build([one, also])))
    assert [t.dtype for t in graph.output_types] == [I64, F64]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("graph loss", "loss", "starts with 'graph'"),
    ("tanh %0", "tanhh %0", "there is no op tanhh"),
    ("tanh %0", "tanh %7", "%7 is not defined"),
    ("tanh %0", "tanh %0, %0", "takes 1 operands"),
    ("tanh %0              : f64[3,2]", "tanh %0 : f64[2,3]", r"the type is f64\[3,2\]"),
    ("-> (%2)", "-> (%9)", "%9 is not defined"),
    ("x, w  ", "x w }", "expected"),
    ("{axes=(0, 1)}", "{axes=(0, 1", "expected attributes"),
])
def test_what_cannot_be_read_is_an_error(old: str, new: str, message: str) -> None:
    text = dump(mlp())
    assert old in text
    with pytest.raises(ParseError, match=message):
        parse(text.replace(old, new))
