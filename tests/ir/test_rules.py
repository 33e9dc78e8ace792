"""Rules that are data: each fires on its own pattern, and exact ones give the same bits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.interp import run
from gradc.ir.passes import RULES, Rewriter, Rule, optimize
from gradc.ir.passes.patterns import Apply, Const, Number, Pattern, Var
from gradc.ir.types import BOOL, F32, F64, TensorType
from gradc.ir.verify import verify
from tests.sampling import Array

DTYPES = {"b": [BOOL], "i": [np.dtype("int32"), np.dtype("int64")], "u": [np.dtype("uint8")],
          "f": [F64, F32]}
NUMBERS = (2.0, -4.0, 0.5, 3.0, 1.0, 0.0)
PATTERNS = [rule for rule in RULES if rule.pattern is not None]
EXACT = [rule for rule in PATTERNS if not rule.relaxed and not rule.accurate]
CLOSE = [rule for rule in PATTERNS if rule.relaxed or rule.accurate]


def special(dtype: np.dtype[Any]) -> Array:
    """What arithmetic trips over: zeros of both signs, infinities, NaN, subnormals, extremes."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([0, 1, 2, 3, 7, 100, info.max, info.min, info.min + 1], dtype)
    info = np.finfo(dtype)
    positive = [0.0, 1, 2, 0.5, 3.7, 1 / 3, np.inf, info.smallest_subnormal, info.tiny,
                info.max, info.max / 3, 1e-30, 1e30]
    return np.array([*positive, *(-p for p in positive), np.nan], dtype)


def variables(pattern: Pattern) -> list[str]:
    """The names of a pattern's variables."""
    if isinstance(pattern, Var):
        return [pattern.name]
    if isinstance(pattern, Apply):
        return list(dict.fromkeys(n for a in pattern.args for n in variables(a)))
    return []


def constants(pattern: Pattern) -> list[str]:
    """The names of a pattern's numbers."""
    if isinstance(pattern, Const):
        return [pattern.name]
    if isinstance(pattern, Apply):
        return list(dict.fromkeys(n for a in pattern.args for n in constants(a)))
    return []


def instance(
    rule: Rule, dtype: np.dtype[Any], numbers: dict[str, float], size: int
) -> Graph:
    """A graph that the rule's pattern matches. Raises TypeError if it has no such dtype."""
    builder = Builder(rule.name)
    known: dict[str, Value] = {}
    for name in variables(rule.pattern):
        type_ = TensorType(BOOL if name == "c" else dtype, (size,))
        known[name] = builder.input(name, type_)

    def number(value: float, own: np.dtype[Any]) -> Value:
        scalar = ops.const(builder, np.asarray(value).astype(own))
        return ops.broadcast(scalar, shape=(size,))

    def build(pattern: Pattern, position: int, inside: str) -> Value:
        if isinstance(pattern, Var):
            return known[pattern.name]
        if isinstance(pattern, (Number, Const)):
            value = pattern.value if isinstance(pattern, Number) else numbers[pattern.name]
            own = BOOL if inside == "where" and position == 0 else dtype
            return number(value, own)
        assert isinstance(pattern, Apply)
        operands = [build(p, k, pattern.op) for k, p in enumerate(pattern.args)]
        return builder.add(ops.REGISTRY[pattern.op], operands)

    return builder.build([build(rule.pattern, 0, "")])


def instances(rule: Rule) -> Iterator[tuple[Graph, list[Array]]]:
    """Graphs on which a rule fires, in every dtype it takes, with every pair of special values."""
    for kind in "biuf":
        for dtype in DTYPES[kind]:
            names = variables(rule.pattern)
            pools = [special(BOOL if n == "c" else dtype) for n in names]
            columns = list(zip(*itertools.product(*pools), strict=True)) if names else []
            inputs = [np.array(column, pool.dtype) for column, pool in zip(
                columns, pools, strict=True)]
            size = len(inputs[0]) if inputs else 1
            for values in itertools.product(NUMBERS, repeat=len(constants(rule.pattern))):
                try:
                    graph = instance(
                        rule, dtype, dict(zip(constants(rule.pattern), values, strict=True)), size)
                except TypeError:
                    continue
                if fires(rule, graph):
                    yield graph, inputs


def fires(rule: Rule, graph: Graph) -> bool:
    rewriter = Rewriter(graph.name, [rule])
    rewriter.copy(graph)
    return rewriter.fired[rule.name] > 0


def rewritten(rule: Rule, graph: Graph) -> Graph:
    result = Rewriter(graph.name, [rule]).rewrite(graph)
    verify(result, after=rule.name)
    return result


def same_bits(a: Array, b: Array) -> None:
    """Equal bit for bit, but for a NaN's sign and payload."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    nan = np.isnan(a) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
    if a.dtype.kind == "f":
        np.testing.assert_array_equal(nan, np.isnan(b))
    unsigned = f"u{a.dtype.itemsize}"
    np.testing.assert_array_equal(
        np.where(nan, 0, np.ascontiguousarray(a).reshape(a.shape).view(unsigned)),
        np.where(nan, 0, np.ascontiguousarray(b).reshape(b.shape).view(unsigned)))


@pytest.mark.parametrize("rule", EXACT, ids=lambda r: r.name)
def test_exact_rules_fire_and_keep_every_bit(rule: Rule) -> None:
    count = 0
    for graph, inputs in instances(rule):
        count += 1
        got = run(rewritten(rule, graph), inputs)[0]
        want = run(graph, inputs)[0]
        if rule.name in ("pow_two", "pow_minus_one"):  # correctly rounded, which NumPy's pow is not
            np.testing.assert_array_max_ulp(got, want, 1, dtype=got.dtype)
            continue
        if rule.pattern.op in ("maximum", "minimum", "fmax", "fmin"):
            got, want = got + 0, want + 0  # which of two unlike zeros is the larger is left open
        same_bits(got, want)
    assert count, f"{rule.name} never fired"


@pytest.mark.parametrize("rule", CLOSE, ids=lambda r: r.name)
def test_other_rules_fire_and_agree_where_all_is_tame(rule: Rule) -> None:
    rng = np.random.default_rng(0)
    count = 0
    for graph, inputs in instances(rule):
        count += 1
        tame = [rng.uniform(0.2, 3, x.shape).astype(x.dtype) if x.dtype.kind == "f" else x % 5
                for x in inputs]
        got, want = run(rewritten(rule, graph), tame)[0], run(graph, tame)[0]
        rtol, atol = (1e-12, 1e-13) if got.dtype != F32 else (2e-5, 2e-6)
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
        assert got.dtype == want.dtype
    assert count, f"{rule.name} never fired"


@pytest.mark.parametrize("rule", [r for r in PATTERNS if r.relaxed], ids=lambda r: r.name)
def test_relaxed_rules_are_off_unless_asked_for(rule: Rule) -> None:
    from gradc.ir.passes.pipeline import simplify, simplify_relaxed

    assert rule not in simplify.rules and rule in simplify_relaxed.rules
    graph, _ = next(iter(instances(rule)))
    assert len(optimize(graph, relaxed=True)) <= len(optimize(graph))


@pytest.mark.parametrize("dtype", [F64, F32], ids=str)
def test_what_looks_like_an_identity_but_is_not_stays(dtype: np.dtype[Any]) -> None:
    """x + 0, 0 − x, x − x, x·0, x/x, √x², exp log x, −(x − y) differ at a zero, infinity or NaN."""
    builder = Builder()
    x = builder.input("x", TensorType(dtype, (27,)))
    y = builder.input("y", TensorType(dtype, (27,)))
    values = [x + 0, 0 - x, x - x, x * 0, x / x, ops.sqrt(x * x), ops.exp(ops.log(x)), -(x - y),
              x * 2 - x, (x + y) - y, x - -0.0, ops.eq(x, x), x / 3, ops.maximum(x, y) - y]
    graph = builder.build(values)
    points = special(dtype)
    inputs = [points, points[::-1].copy()]
    for got, want in zip(run(optimize(graph), inputs), run(graph, inputs), strict=True):
        same_bits(got, want)


def test_numbers_are_told_apart_by_their_zero() -> None:
    builder = Builder()
    x = builder.input("x", TensorType(F64))
    graph = optimize(builder.build([x - 0.0, x - -0.0, x + -0.0, x + 0.0]))
    assert [graph.nodes[i].op.name for i in graph.outputs] == ["input", "sub", "input", "add"]


def test_every_rule_has_a_name_of_its_own() -> None:
    names = [(rule.name, rule.op) for rule in RULES]
    assert len(set(names)) == len(names)
