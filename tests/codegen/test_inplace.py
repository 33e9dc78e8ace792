"""In place on last use: where a result takes the memory of an operand, and where it must not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen import inplace
from gradc.codegen.buffers import Request
from gradc.codegen.explain import explain
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Nest, Phase, RowBlocks
from gradc.codegen.statements import Affine, Buffer, Guard, Load, Statement, Store
from gradc.codegen.targets import host
from gradc.ir import interp, ops
from gradc.ir.graph import Graph, Value
from gradc.ir.types import F32, F64, I64
from tests.codegen.test_blocks import gradient, regression, shapes_of
from tests.codegen.test_nests import build, check, normal, poisoned

__all__ = ["poisoned"]

TARGET = host()
#: this machine with little cache: products sum in slices, and rows go in blocks
SMALL = dataclasses.replace(host(), l2=1 << 14)
#: rows and columns of arrays, not a multiple of any vector
N = 257
Function = Callable[[Value], Any]


def between(f: Function) -> Function:
    """``f`` of an array that lies in the arena, its result there too."""

    def whole(x: Value) -> Value:
        y = ops.cumsum(x, axis=0, reverse=False)
        return ops.tanh(ops.cumsum(f(y), axis=0, reverse=False))

    return whole


def decided(graph: Graph, target: Any = TARGET) -> list[str]:
    """What ``explain`` says is overwritten."""
    stages = explain(graph, target).stages
    return list(dict.fromkeys(text for stage in stages for text in stage.in_place))


def overwrites(graph: Graph, target: Any = TARGET) -> int:
    """How many nests overwrite an operand."""
    return sum("first operand" not in text for text in decided(graph, target))


def same(graph: Graph, arrays: Sequence[Any], target: Any = TARGET) -> bool:
    """Whether the compiled graph gives what the interpreter gives."""
    got = Kernel(graph, target)(arrays)
    pairs = zip(got, interp.run(graph, arrays), strict=True)
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in pairs)


# -- where it may be, and where not --------------------------------------------------------------


def flip(y: Value) -> Value:
    at = np.arange(y.shape[0])[::-1].copy()
    return y * ops.gather(y, ops.const(y.builder, at))


def turned(y: Value) -> Value:
    return ops.sin(y) + ops.transpose(y, perm=(1, 0))


def shifted(y: Value) -> Value:
    one = ops.slice_(y, starts=(0, 0), sizes=(N - 1, N), steps=(1, 1))
    return y + ops.embed(one, shape=(N, N), starts=(1, 0), steps=(1, 1))


def first_row(y: Value) -> Value:
    row = ops.slice_(y, starts=(0, 0), sizes=(1, N), steps=(1, 1))
    return ops.exp(-y * y) + ops.broadcast(row, shape=(N, N))


def factor(y: Value) -> Value:
    return ops.matmul(y, y, ta=False, tb=False) * y * 1e-5


def read_again(y: Value) -> Value:
    """The first sweep stores a result, the second, which reads ``y`` again, another."""
    z = ops.sigmoid(y)
    total = ops.spread(ops.sum_(z, axes=(1,)), y, (1,))
    return ops.cumsum(z, axis=0, reverse=False) * ops.cumsum(total * y, axis=1, reverse=False)


#: and how many results may overwrite an operand
APART = {flip: 0, turned: 0, shifted: 0, first_row: 0, factor: 0, read_again: 2}


def own(y: Value) -> Value:
    return ops.exp(-y * y) + 2.0 * y


def reshaped(y: Value) -> Value:
    flat = ops.reshape(y, shape=(N * N,))
    return ops.reshape(ops.exp(-flat * flat), shape=(N, N))


def normalized(y: Value) -> Value:
    return y / ops.spread(ops.sum_(y * y, axes=(1,)), y, (1,))


def finished(y: Value) -> Value:
    """A product, whose epilogue overwrites what it is multiplied with."""
    w = ops.const(y.builder, normal(N, N))
    return ops.matmul(w, w, ta=False, tb=False) * y


def as_integers(y: Value) -> Value:
    return ops.convert(ops.convert(y * 8.0, dtype=I64), dtype=F64)


@pytest.mark.parametrize("target", [TARGET, SMALL], ids=["host", "small"])
@pytest.mark.parametrize("f", [own, reshaped, normalized, finished, as_integers])
def test_a_result_overwrites_what_is_read_where_it_is_stored(f: Function, target: Any) -> None:
    graph = build(between(f), (N, N))
    assert overwrites(graph, target) == 1
    assert same(graph, [normal(N, N)], target)


@pytest.mark.parametrize("f", APART)
def test_what_is_read_elsewhere_is_not_overwritten(f: Function) -> None:
    graph = build(between(f), (N, N))
    assert overwrites(graph) == APART[f]
    assert same(graph, [normal(N, N)])


@pytest.mark.parametrize("f", APART)
def test_the_results_tell_if_it_were(f: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those arrays would come out wrong: that they come out right means something."""
    monkeypatch.setattr(inplace, "_before", lambda load, store: True)
    graph = build(between(f), (N, N))
    assert overwrites(graph) == max(1, APART[f])
    assert not same(graph, [normal(N, N)])


def test_sums_that_go_in_slices_wait_in_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(a: Value, b: Value, x: Value) -> Value:
        y = ops.cumsum(x, axis=0, reverse=False)
        z = ops.matmul(a, b, ta=False, tb=False) + y
        return ops.tanh(ops.cumsum(z, axis=0, reverse=False) * 1e-2)

    arrays = [normal(40, 700), normal(700, 96), normal(40, 96)]
    graph = build(f, *(x.shape for x in arrays))
    whole, sliced = (dataclasses.replace(host(), l2=1 << bits) for bits in (22, 19))
    assert overwrites(graph, whole) == 1 and same(graph, arrays, whole)
    assert overwrites(graph, sliced) == 0 and same(graph, arrays, sliced)
    monkeypatch.setattr(inplace._Step, "_sliced", lambda step, stage: False)
    assert overwrites(graph, sliced) == 1 and not same(graph, arrays, sliced)


def test_arguments_and_results_stay_as_they_are() -> None:
    def f(x: Value) -> list[Value]:
        y = ops.cumsum(ops.exp(-x * x), axis=0, reverse=False)
        return [y, ops.tanh(ops.cumsum(own(y), axis=0, reverse=False))]

    graph, x = build(f, (N, N)), normal(N, N)
    before = x.copy()
    assert overwrites(graph) == 0
    check(graph, [x])
    np.testing.assert_array_equal(x, before)


def test_a_chain_lies_in_one_place() -> None:
    def f(x: Value) -> Value:
        for _ in range(5):
            x = own(ops.cumsum(x, axis=0, reverse=False)) * 0.01
        return ops.tanh(x)

    graph = build(f, (N, N))
    assert overwrites(graph) == 4
    assert Kernel(graph).program.arena < 2 * 8 * N * N
    assert same(graph, [normal(N, N)])


def test_the_backward_pass_of_a_network_overwrites_its_activations() -> None:
    graph, arrays = gradient(regression, *shapes_of(64, 8, 16, 16, 2))
    assert overwrites(graph) >= 2
    check(graph, arrays)


def test_blocks_of_rows_overwrite_what_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradc.codegen.blocks.HIDDEN", -math.inf)
    graph, arrays = gradient(regression, *shapes_of(1000, 8, 16, 16, 8))
    program = Kernel(graph, SMALL).program
    (found,) = (s for s in program.stages if isinstance(s, RowBlocks))
    assert overwrites(graph, SMALL) >= 2
    assert same(graph, arrays, SMALL)
    monkeypatch.setattr(inplace, "_chosen", lambda *given: {})
    (apart,) = (s for s in Kernel(graph, SMALL).program.stages if isinstance(s, RowBlocks))
    assert found.nbytes < apart.nbytes


@pytest.mark.parametrize("n", [4 * 2048, 5 * 2048 + 37])
def test_chunks_and_what_is_left_over(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long array goes in chunks that threads share out, and a rest that follows them."""
    monkeypatch.setattr("gradc.codegen.chunks.LONG", 1)
    monkeypatch.setattr("gradc.codegen.chunks.CHUNK", 1)

    def f(y: Value) -> Value:
        return y / ops.broadcast(ops.sum_(y * y, axes=(0,)), shape=y.shape)

    graph = build(between(f), (n,))
    nests = [s for s in Kernel(graph).program.stages if isinstance(s, Nest)]
    assert any(nest.chunks for nest in nests)
    assert overwrites(graph) >= 1
    before = gradc.get_num_threads()
    try:
        for count in (1, 3):
            gradc.set_num_threads(count)
            assert same(graph, [normal(n)])
    finally:
        gradc.set_num_threads(before)


# -- statement by statement ----------------------------------------------------------------------

X, Y, OTHER = (Buffer(name, "arena", F64, 96) for name in ("x", "y", "other"))
SHORT = Buffer("short", "arena", F32, 96)
OWN, TURNED, REST = Affine(0, (16, 1)), Affine(0, (1, 6)), Affine(48, (16, 1))
LIVES = {X: Request(768, 0, 1), Y: Request(768, 1, 2), SHORT: Request(384, 1, 2)}


def nest(
    *bodies: Sequence[Statement], row: Sequence[Statement] = (), rows: int = 6
) -> Nest:
    """A nest over rows of 16, with a sweep for each of the bodies."""
    phases = [Phase((), tuple(body)) for body in bodies]
    return Nest((rows,), (16,), (Phase(tuple(row), phases[0].body), *phases[1:]))


def read(index: Affine = OWN, *guards: Guard) -> Load:
    return Load(0, X, index, guards)


def write(buffer: Buffer = Y, index: Affine = OWN) -> Store:
    return Store(buffer, index, 0)


RIGHT = {
    "at the point": [nest([read(), write()])],
    "in an earlier sweep": [nest([read()], [read(), write()])],
    "in an earlier stage": [nest([read(TURNED), write(OTHER)]), nest([write()])],
    "at other places": [
        nest([read(), write()], rows=3), nest([read(REST), write(Y, REST)], rows=3)
    ],
}
WRONG = {
    "after the store": [nest([write(), read()])],
    "in a later sweep": [nest([read(), write()], [read()])],
    "in a later stage": [nest([read(), write()]), nest([read(), write(OTHER)])],
    "turned": [nest([read(TURNED), write()])],
    "at places partly the same": [
        nest([read(), write()], rows=4), nest([read(REST), write(Y, REST)], rows=3)
    ],
    "shifted": [nest([read(Affine(1, (16, 1))), write()])],
    "once a row": [nest([write()], row=[read(Affine(0, (16, 0)))])],
    "under a guard": [nest([read(OWN, Guard(Affine(-1, (0, 1)), 15)), write()])],
    "at two points": [nest([read(), Load(1, X, TURNED), write()])],
    "stored again and again": [nest([read(Affine(0, (0, 1))), write(Y, Affine(0, (0, 1)))])],
    "of another size": [nest([read(), write(SHORT)])],
}


def placed(stages: Sequence[Nest]) -> inplace.Place:
    return inplace.place(list(LIVES.items()), {1: stages}, TARGET)


@pytest.mark.parametrize("case", RIGHT)
def test_read_before_it_is_overwritten(case: str) -> None:
    found = placed(RIGHT[case])
    assert found.over == {"y": "x"}
    assert found.offsets["x"] == found.offsets["y"] != found.offsets["short"]


@pytest.mark.parametrize("case", WRONG)
def test_read_when_it_would_be_overwritten(case: str) -> None:
    found = placed(WRONG[case])
    assert found.over == {}
    assert len(set(found.offsets.values())) == 3


@pytest.mark.parametrize(
    ("rows", "columns", "fits"), [(12, 8, True), (1, 95, True), (8, 12, False), (2, 47, False)]
)
def test_short_rows_that_end_within_a_vector(rows: int, columns: int, fits: bool) -> None:
    index = Affine(0, (columns, 1))
    stage = Nest((rows,), (columns,), (Phase((), (read(index), write(Y, index))),))
    target = dataclasses.replace(host(), width=64)
    assert bool(inplace.place(list(LIVES.items()), {1: [stage]}, target).over) == fits


def test_two_results_do_not_share_one_operand() -> None:
    z = dataclasses.replace(Y, name="z")
    stages = {1: [nest([read(), write(), write(z)])]}
    found = inplace.place([*LIVES.items(), (z, LIVES[Y])], stages, TARGET)
    assert len(found.over) == 1 and found.offsets["y"] != found.offsets["z"]


def test_what_lives_on_is_not_overwritten() -> None:
    stages = {1: [nest([read(), write()])]}
    found = inplace.place([(X, Request(768, 0, 2)), (Y, Request(768, 1, 2))], stages, TARGET)
    assert not found.over and found.offsets["x"] != found.offsets["y"]
