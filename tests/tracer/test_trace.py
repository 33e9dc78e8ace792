"""Traces: what they hold, how they nest, what they refuse."""

from __future__ import annotations

import copy
import pickle
import warnings
from operator import truth
from typing import Any

import numpy as np
import pytest

from gradc.context import contexts
from gradc.errors import GradcError, LeakedTracerError, OutputError, TracerError
from gradc.ir import interp, ops
from gradc.ir.types import F64, TensorType
from gradc.trace import NeedsStatic, Static, emit, inline, is_tracing, operand
from tests.tracer.helpers import check, interpreted, trace_of, traced

V3 = TensorType(F64, (3,))


# -- the graph -----------------------------------------------------------------------------------


def test_inputs_are_named_and_typed() -> None:
    result, _ = traced(lambda p, x: p["w"] @ x, {"w": np.ones((2, 3))}, np.ones(3, np.float32))
    graph = result.graph
    assert [graph.nodes[i].attrs["name"] for i in graph.inputs] == ["arg[0][0]['w']", "arg[0][1]"]
    assert [str(t) for t in graph.input_types] == ["f64[2,3]", "f32[3]"]
    assert graph.name == "f"


def test_every_node_has_the_user_s_line() -> None:
    def f(x: Any) -> Any:
        y = np.mean(x, axis=0)
        return np.linalg.norm(y) + x.std()

    result, _ = traced(f, np.ones((2, 3)))
    first = f.__code__.co_firstlineno
    lines = {(n.locs[0].line - first, n.locs[0].function) for n in result.graph.nodes}
    assert {n.locs[0].file for n in result.graph.nodes} == {__file__}
    assert lines == {(0, "f"), (1, "f"), (2, "f")}


def test_broadcasts_are_explicit() -> None:
    result, _ = traced(lambda x, y: x + y, np.ones((2, 3)), np.ones(3))
    assert [n.op.name for n in result.graph.nodes] == ["input", "input", "broadcast", "add"]


def test_constants_are_computed_at_once() -> None:
    def f(x: Any) -> Any:
        grid = np.linspace(0.0, 1.0, 3)
        window = np.exp(-(grid**2)) / np.sum(grid)
        return x * window

    result, _ = traced(f, np.ones(3))
    assert [n.op.name for n in result.graph.nodes] == ["input", "const", "mul"]


def test_a_constant_is_snapshotted_where_it_is_used() -> None:
    def f(x: Any) -> Any:
        a = np.zeros(2)
        first = x * a
        a[0] = 3.0
        return first, x * a

    check(f, 2.0)


def test_results() -> None:
    check(lambda x: (x, 1, 2.5, True, np.float32(1), np.ones(2), {"a": [x, None]}), 1.0)
    check(lambda x: x, np.ones(2))
    check(lambda x: None, 1.0)


@pytest.mark.parametrize("bad", ["text", object(), 1j, np.array(["a"]), {1, 2}])
def test_results_that_are_no_numbers(bad: Any) -> None:
    with pytest.raises(OutputError, match=r"result\['bad'\] is a") as info:
        interpreted(lambda x: {"good": x, "bad": bad}, 1.0)
    assert isinstance(info.value, TypeError)
    assert "Try: leave it out of the result" in str(info.value)


# -- static arguments ----------------------------------------------------------------------------


def test_range_and_if_ask_for_static_arguments() -> None:
    def f(x: Any, n: int, train: bool = True, mode: str = "a") -> Any:
        for _ in range(n):
            x = x * 2
        return x + 1 if train and mode == "a" else x

    check(f, np.ones(3), 3)
    check(f, np.ones(3), 2, train=False)
    check(f, np.ones(3), 0, True, mode="b")


def test_the_request_names_the_leaf() -> None:
    types = (V3, TensorType(np.dtype(np.int64), (), True), TensorType(np.dtype(bool)))
    with pytest.raises(NeedsStatic) as info:
        trace_of(lambda x, n, flag: x[: n + 1], *types)
    assert info.value.leaf == 1
    with pytest.raises(NeedsStatic) as info:
        trace_of(lambda x, n, flag: x if not flag else -x, *types)
    assert info.value.leaf == 2
    result = trace_of(lambda x, n, flag: x[:n], V3, Static(2), types[2])
    assert result.graph.output_types[0].shape == (2,)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, n: x if n > 2 else -x,
        lambda x, n: x[:n],
        lambda x, n: x[n // 2 :],
        lambda x, n: x.reshape(n, -1),
        lambda x, n: np.sum(x, axis=n - 3),
        lambda x, n: x * float(n),
        lambda x, n: x * [1.0, 2.0, 3.0, 4.0][n],
        lambda x, n: np.tile(x, n),
        lambda x, n: np.roll(x, n),
        lambda x, n: sum(x[k] for k in range(n) if k % 2),
        lambda x, n: np.zeros((n, 2)) + x[0],
        lambda x, n: np.split(x, n),
        lambda x, n: x * np.array([1.0, n, 3.0]),
        lambda x, n: x if n == 3 and n < 5 else 0 * x,
    ],
)
def test_uses_of_an_int_argument(function: Any) -> None:
    check(function, np.arange(3.0), 3)


def test_an_int_argument_that_is_only_computed_with_stays_traced() -> None:
    result, inputs = traced(lambda x, n: x * n + n**2, np.ones(3), 3)
    assert len(inputs) == 2
    assert len(result.graph.inputs) == 2


def test_a_request_is_not_swallowed() -> None:
    def f(x: Any, n: int) -> Any:
        try:
            return x[:n]
        except Exception:
            return x

    check(f, np.ones(3), 2)


# -- values that are not known -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "builtin", "what", "remedy"),
    [
        (lambda x: truth(x.sum() > 0), ValueError, "the truth of a traced value", "np.where"),
        (lambda x: sorted([x[0], x[1]]), TypeError, "`sorted` of traced values", "np.sort"),
        (lambda x: [x[0], x[1]].sort(), TypeError, "asked for by `[x[0], x[1]].sort`", "np.sort"),
        (lambda x: (x > 0) and x, TypeError, "the truth of a traced value", "np.logical_and"),
        (lambda x: x[0] in {1.0, 2.0}, TypeError, "the hash of a traced value", "in (1.0, 2.0)"),
        (lambda x: float(x[0]), TypeError, "float() of a traced value", "leave out float()"),
        (lambda x: int(x[0]), TypeError, "int() of a traced value", "x.astype(int)"),
        (lambda x: x[0].item(), TypeError, "item() of a traced value", "leave out .item()"),
        (lambda x: x.tolist(), TypeError, "tolist() of a traced value", "list(x)"),
        (lambda x: range(x[0].astype(int)), IndexError, "used as an integer", "from a shape"),
        (lambda x: [1, 2][x.argmax()], TypeError, "an element of a list", "np.array(values)[i]"),
        (lambda x: [1, 2].pop(x.argmax()), TypeError, "used as an integer", "from a shape"),
        (lambda x: np.exp([*x]), TypeError, "plain NumPy array", "np.zeros"),
        (lambda x: complex(x[0]), TypeError, "complex numbers", "two arrays"),
        (lambda x: pickle.dumps(x), TypeError, "cannot be pickled", "return it"),
        (lambda x: max([(x[0], 1), (x[1], 2)]), TypeError, "asked for by `max`", "np.max"),
    ],
)  # fmt: skip
def test_numbers_asked_for(function: Any, builtin: type[Exception], what: str, remedy: str) -> None:
    with pytest.raises(builtin) as info:
        interpreted(function, np.arange(3.0))
    text = str(info.value)
    assert isinstance(info.value, TracerError)
    assert what in text
    assert remedy in text
    assert f"  at {__file__}:" in text
    assert "  with " in text


def test_the_text_of_an_error() -> None:
    def f(x: Any) -> Any:
        return truth(x.sum() > 1)

    with pytest.raises(TracerError) as info:
        interpreted(f, np.ones(3))
    assert str(info.value) == (
        "the truth of a traced value was asked for by `truth` while tracing: it is known only when "
        "the compiled code runs\n"
        f"  at {__file__}:{f.__code__.co_firstlineno + 1}, in f\n"
        "  with bool[]\n"
        "  Try: np.where(condition, a, b) in place of a branch, np.logical_and for `and`"
    )
    again = pickle.loads(pickle.dumps(info.value))
    assert str(again) == str(info.value)


def test_not_numbers() -> None:
    for function in (lambda x: x + "a", lambda x: x * None, lambda x: x < object()):
        with pytest.raises(TypeError, match="unsupported operand|not supported between"):
            interpreted(function, np.ones(2))
    with pytest.raises(TypeError, match="complex128 is not supported"):
        interpreted(lambda x: x * 1j, np.ones(2))
    with pytest.raises(TypeError, match="unhashable"):
        interpreted(lambda x: {x: 1}, np.ones(2))
    check(lambda x: x is None, np.ones(2))


def test_len_and_iteration_of_a_scalar() -> None:
    with pytest.raises(TypeError, match="len\\(\\) of unsized object"):
        interpreted(lambda x: len(x), 1.0)
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        interpreted(lambda x: list(x), 1.0)


def test_copies() -> None:
    def f(x: Any) -> Any:
        a, b = copy.copy(x), copy.deepcopy({"x": x})["x"]
        a[0], b[1] = 5.0, 6.0
        return x, a, b

    check(f, np.ones(3))


def test_text_of_a_tracer() -> None:
    seen = []

    def f(x: Any) -> Any:
        seen.extend([repr(np.zeros(2)), f"{np.array(1.5):.2f}"])
        warnings.warn(repr(x), stacklevel=1)
        warnings.warn(f"{x + 1}", stacklevel=1)
        return x

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        interpreted(f, np.ones(3))
    assert seen == ["array([0., 0.])", "1.50"]
    assert [str(w.message) for w in shown] == ["Tracer<arg[0][0]: f64[3]>", "Tracer<f64[3]>"]


# -- the context -----------------------------------------------------------------------------------


def test_the_stack_is_empty_after_an_error() -> None:
    def f(x: Any) -> Any:
        assert is_tracing()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interpreted(f, 1.0)
    assert contexts() == []
    assert not is_tracing()


def test_emit_and_operand() -> None:
    def f(x: Any) -> Any:
        return emit(ops.sigmoid, x), emit(ops.stop_gradient, 2.0), emit(ops.sin, operand_of(x))

    def operand_of(x: Any) -> Any:
        assert operand(x).shape == (3,)
        return x

    out = interpreted(f, np.zeros(3))
    np.testing.assert_array_equal(out[0], [0.5, 0.5, 0.5])
    assert out[1] == 2.0


def test_inline_checks_shapes() -> None:
    graph = trace_of(lambda x: x * 2, V3).graph
    np.testing.assert_array_equal(interp.run(graph, [np.ones(3)])[0], [2.0, 2.0, 2.0])
    with pytest.raises(ValueError, match="where f64"):
        interpreted(lambda x: inline(graph, [x]), np.ones(2))
    with pytest.raises(LeakedTracerError):
        inline(graph, [np.ones(3)])


def test_errors_of_the_user_pass_unchanged() -> None:
    with pytest.raises(ZeroDivisionError) as info:
        interpreted(lambda x: x * (1 // 0), 1.0)
    assert not isinstance(info.value, GradcError)
