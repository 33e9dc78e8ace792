"""gradc.random: compiled, interpreted and outside of compiled code the same numbers, NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import (
    ArgumentError,
    AxisError,
    DTypeError,
    GradcError,
    OptionError,
    RandomError,
    ShapeError,
)

KEY = gradc.random.key(2024)
P = np.array([0.1, 0.0, 0.4, 0.25, 0.25])
ARRAY = np.arange(40.0).reshape(5, 8)


def generator(key: Any = KEY) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


r = gradc.random
DRAWS: dict[str, tuple[Any, Any]] = {
    "uniform": (lambda k: r.uniform(k, (4, 5)), lambda g: g.random((4, 5))),
    "uniform32": (
        lambda k: r.uniform(k, 33, np.float32), lambda g: g.random(33, dtype=np.float32)),
    "one": (lambda k: r.uniform(k), lambda g: g.random()),
    "in a range": (
        lambda k: r.uniform(k, (9,), minval=-2.0, maxval=3.5), lambda g: g.uniform(-2.0, 3.5, 9)),
    "bounds": (
        lambda k: r.uniform(k, (5, 8), minval=-ARRAY, maxval=[*range(8)]),
        lambda g: g.uniform(-ARRAY, [*range(8)], (5, 8))),
    "normal": (lambda k: r.normal(k, (1000,)), lambda g: g.standard_normal(1000)),
    "normal32": (
        lambda k: r.normal(k, (70,), "float32"), lambda g: g.standard_normal(70, np.float32)),
    "one normal": (lambda k: r.normal(k), lambda g: g.standard_normal()),
    "scaled": (lambda k: r.normal(k, 7, loc=2.0, scale=0.3), lambda g: g.normal(2.0, 0.3, 7)),
    "integers": (lambda k: r.integers(k, (3, 4), -5, 7), lambda g: g.integers(-5, 7, (3, 4))),
    "bytes": (
        lambda k: r.integers(k, 50, 0, 256, np.uint8), lambda g: g.integers(0, 256, 50, np.uint8)),
    "words": (
        lambda k: r.integers(k, 9, 0, 2**64, np.uint64),
        lambda g: g.integers(0, 2**64, 9, np.uint64)),
    "coins": (
        lambda k: r.integers(k, 99, 0, 2, bool), lambda g: g.integers(0, 2, 99, dtype=bool)),
    "bernoulli": (lambda k: r.bernoulli(k, 0.3, (50,)), lambda g: g.random(50) < 0.3),
    "several": (lambda k: r.bernoulli(k, P), lambda g: g.random(5) < P),
    "permutation": (lambda k: r.permutation(k, 12), lambda g: g.permutation(12)),
    "rows": (lambda k: r.permutation(k, ARRAY), lambda g: g.permutation(ARRAY)),
    "columns": (lambda k: r.permutation(k, ARRAY, -1), lambda g: g.permutation(ARRAY, 1)),
    "choice": (lambda k: r.choice(k, 6, (4, 3)), lambda g: g.choice(6, (4, 3))),
    "one choice": (lambda k: r.choice(k, 6), lambda g: g.choice(6)),
    "different": (lambda k: r.choice(k, 9, 4, False), lambda g: g.choice(9, 4, False)),
    "weighted": (lambda k: r.choice(k, 5, 20, p=P), lambda g: g.choice(5, 20, p=P)),
    "weighted, different": (
        lambda k: r.choice(k, 5, (2, 2), False, P), lambda g: g.choice(5, (2, 2), False, P)),
    "of an array": (
        lambda k: r.choice(k, ARRAY, 3, False, axis=1),
        lambda g: g.choice(ARRAY, 3, False, axis=1)),
    "none": (lambda k: r.normal(k, (0, 3)), lambda g: g.standard_normal((0, 3))),
}


def same(a: Any, b: Any) -> None:
    assert (np.asarray(a).dtype, np.shape(a)) == (np.asarray(b).dtype, np.shape(b))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", DRAWS)
def test_numbers_are_those_of_numpy(name: str, jit: bool) -> None:
    draw, numpy = DRAWS[name]
    compiled = gradc.compile(draw)
    for seed in range(3):
        key = gradc.random.key(seed)
        expected = numpy(generator(key))
        same(compiled(key), expected)
        same(draw(key), expected)


def test_keys_of_seeds(jit: bool) -> None:
    compiled = gradc.compile(lambda seed, x: gradc.random.normal(gradc.random.key(seed), 3) * x)
    for seed in (0, 7, 2**40 + 1, 2**63 - 1):
        expected = np.random.Generator(np.random.Philox(seed)).standard_normal(3)
        same(compiled(np.array([seed])[0], 1.0), expected)
        same(compiled(seed, 1.0), expected)
        same(gradc.random.normal(gradc.random.key(seed), 3), expected)
    same(gradc.random.key(2**100), np.random.Philox(2**100).state["state"]["key"])
    negative = gradc.compile(lambda s: gradc.random.key(s[0]))(np.array([-3]))
    same(negative, gradc.random.key(2**64 - 3))


def test_a_traced_seed_does_not_turn_static() -> None:
    traces = []

    @gradc.compile
    def draw(seed: int) -> Any:
        traces.append(seed)
        return gradc.random.uniform(gradc.random.fold_in(gradc.random.key(seed), seed), 2)

    for seed in range(4):
        draw(seed)
    assert len(traces) == 1


def test_split_and_fold_in(jit: bool) -> None:
    def both(key: Any, i: Any) -> Any:
        return gradc.random.split(key, 3), gradc.random.fold_in(key, i)

    for key in (KEY, np.zeros(2, np.uint64)):
        split, folded = both(key, -1)
        for i, row in enumerate(split):
            same(row, np.random.Philox(key=key, counter=[i, 0, 0, 1]).random_raw(2))
        last = np.array([2**64 - 1, 0, 0, 2], np.uint64)
        same(folded, np.random.Philox(key=key, counter=last).random_raw(2))
        for i in (-1, np.int8(-1), np.uint64(2**64 - 1)):
            a, b = gradc.compile(both)(key, i)
            same(a, split)
            same(b, folded)
    same(gradc.random.split(KEY, (2, 2)).reshape(4, 2), gradc.random.split(KEY, 4))
    assert len(np.unique(np.concatenate([gradc.random.split(KEY, 9), KEY[None]]), axis=0)) == 10


def test_in_an_unrolled_loop(jit: bool) -> None:
    def walk(x: Any, key: Any) -> Any:
        for step in range(4):
            first, key = gradc.random.split(key)
            x = x + gradc.random.normal(first, x.shape) * gradc.random.uniform(
                gradc.random.fold_in(key, step)
            )
        return x

    start = np.zeros(5)
    same(gradc.compile(walk)(start, KEY), walk(start, KEY))


def test_the_same_draw_is_made_once() -> None:
    def twice(key: Any) -> Any:
        return gradc.random.normal(key, 3) + gradc.random.normal(key, 3)

    text = gradc.compile(twice).ir(KEY, stage="optimized")
    assert text.count("random_normal") == 1


def test_numbers_are_made_before_the_loops_that_use_them() -> None:
    """Between two uses of x they would cut one loop in two."""

    def dropout(x: Any, key: Any) -> Any:
        hidden = np.tanh(x)
        return np.where(gradc.random.bernoulli(key, 0.5, x.shape), hidden, 0.0)

    text = str(gradc.compile(dropout).explain(np.ones((3, 4)), KEY))
    stages = [line.split(",")[0] for line in text.splitlines() if line.startswith("stage")]
    assert stages == ["stage 0: random_uniform", "stage 1: nest"]


def test_derivatives(jit: bool) -> None:
    def loss(x: Any, loc: Any, scale: Any, key: Any) -> Any:
        a, b = gradc.random.split(key)
        noise = gradc.random.normal(a, (6,), loc=loc, scale=scale)
        even = gradc.random.uniform(b, (6,), minval=loc, maxval=scale)
        return np.sum(x * noise * noise + even)

    x = np.linspace(0.5, 2.0, 6)
    gradc.check_grads(lambda *p: loss(*p, KEY), (x, 0.3, 1.7), order=2)
    a, _ = gradc.random.split(KEY)
    z = gradc.random.normal(a, 6)
    got = gradc.grad(loss)(x, 0.0, 1.0, KEY)
    np.testing.assert_allclose(got, z * z, rtol=1e-15)
    with pytest.raises(GradcError, match="integer|float"):
        gradc.grad(loss, argnums=3)(x, 0.0, 1.0, KEY)


def test_float32_parameters_stay_float32(jit: bool) -> None:
    def draw(key: Any, scale: Any) -> Any:
        return gradc.random.normal(key, 3, np.float32, loc=1.0, scale=scale)

    for scale in (2.0, np.float64(2.0), np.float32(2.0)):
        out = gradc.compile(draw)(KEY, scale)
        assert out.dtype == np.float32
        same(out, generator().standard_normal(3, np.float32) * np.float32(2) + np.float32(1))


def test_traced_parameters(jit: bool) -> None:
    def draw(key: Any, low: Any, high: Any, p: Any, values: Any) -> Any:
        return (
            gradc.random.integers(key, 5, low, high, np.int32),
            gradc.random.bernoulli(key, p[2], 5),
            gradc.random.choice(key, values, 4, p=p * 2),
            gradc.random.choice(key, 5, 3, False, p),
            gradc.random.permutation(key, values),
        )

    values = np.arange(5.0)
    got = gradc.compile(draw)(KEY, np.array([3])[0], np.array([9])[0], P, values)
    g = generator
    expected = (
        g().integers(3, 9, 5, np.int32), g().random(5) < P[2], g().choice(values, 4, p=P),
        g().choice(5, 3, False, P), g().permutation(values),
    )
    for a, b in zip(got, expected, strict=True):
        same(a, b)


def test_traced_parameters_that_are_none(jit: bool) -> None:
    integers = gradc.compile(lambda key, n: gradc.random.integers(key, 3, n[0], 3))
    same(integers(KEY, np.array([2])), np.full(3, 2))
    with pytest.raises(OptionError, match="an empty range"):
        integers(KEY, np.array([3]))
    choice = gradc.compile(lambda key, p: gradc.random.choice(key, 3, 2, False, p=p))
    choice(KEY, np.array([1.0, 0.0, 1.0]))
    for p in ([1.0, 0.0, 0.0], [1.0, -1.0, 1.0], [np.nan, 1.0, 1.0], [0.0] * 3):
        with pytest.raises(OptionError, match="weights are negative"):
            choice(KEY, np.array(p))


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "key": (lambda k: r.uniform(k[0]), ArgumentError, "array of two uint64"),
    "keys": (lambda k: r.uniform(r.split(k)), ArgumentError, "one row of"),
    "floats": (lambda k: r.uniform(np.zeros(2)), ArgumentError, "f(loat)?64"),
    "seed": (lambda k: r.key(-1), OptionError, "not negative"),
    "no seed": (lambda k: r.key(1.5), ArgumentError, "a seed is an integer"),
    "truth": (lambda k: r.key(True), ArgumentError, "a seed is an integer"),
    "fold": (lambda k: r.fold_in(k, 1.0), ArgumentError, "is an integer"),
    "num": (lambda k: r.split(k, -1), ShapeError, "negative"),
    "shape": (lambda k: r.normal(k, (3, -1)), ShapeError, "negative"),
    "no shape": (lambda k: r.normal(k, 1.5), ArgumentError, "a shape is"),
    "dtype": (lambda k: r.normal(k, 3, np.int64), DTypeError, "random.integers"),
    "half": (lambda k: r.uniform(k, 3, np.float16), DTypeError, "float32"),
    "float integers": (lambda k: r.integers(k, 3, 0, 9, float), DTypeError, "random.uniform"),
    "minval": (lambda k: r.uniform(k, 3, minval=2), OptionError, "exchange"),
    "scale": (lambda k: r.normal(k, 3, scale=-1), OptionError, "abs"),
    "too large": (lambda k: r.normal(k, 3, loc=np.zeros(4)), ShapeError, "loc has the shape"),
    "larger": (lambda k: r.normal(k, loc=np.zeros(4)), ShapeError, r"shape=\(4,\)"),
    "empty": (lambda k: r.integers(k, 3, 5, 5), OptionError, "maxval is one more"),
    "range": (lambda k: r.integers(k, 3, 0, 300, np.uint8), OptionError, "a wider dtype"),
    "arrays": (lambda k: r.integers(k, 3, 0, np.arange(3)), ArgumentError, "np.floor"),
    "p": (lambda k: r.bernoulli(k, 1.5), OptionError, "np.clip"),
    "p shape": (lambda k: r.bernoulli(k, P, (4,)), ShapeError, "p has the shape"),
    "axis": (lambda k: r.permutation(k, ARRAY, 2), AxisError, "out of bounds"),
    "population": (lambda k: r.permutation(k, 2**33), OptionError, "2\\*\\*32"),
    "negative": (lambda k: r.choice(k, -3), OptionError, "0 to"),
    "no one": (lambda k: r.choice(k, 0), OptionError, "not empty"),
    "many": (lambda k: r.choice(k, 3, 4, False), OptionError, "without replacement"),
    "sum": (lambda k: r.choice(k, 3, p=[0.5, 0.2, 0.2]), OptionError, "np.sum"),
    "signs": (lambda k: r.choice(k, 2, p=[1.5, -0.5]), OptionError, "not negative"),
    "length": (lambda k: r.choice(k, 3, p=[0.5, 0.5]), ShapeError, "one probability for each"),
    "few": (lambda k: r.choice(k, 3, 3, False, [0.5, 0.5, 0]), OptionError, "2 that are possible"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name: str) -> None:
    draw, error, match = BAD[name]
    with pytest.raises(error, match=match) as outside:
        draw(KEY)
    assert isinstance(outside.value, GradcError)
    with pytest.raises(error, match=match):
        gradc.compile(draw)(KEY)


def test_numpys_own_generators_are_pointed_here() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(RandomError, match="gradc.random"):
        gradc.compile(lambda x: x + rng.normal(size=3))(np.zeros(3))
    with pytest.raises(RandomError, match="gradc.random"):
        gradc.compile(lambda x: x + np.random.normal(size=3))(np.zeros(3))


def test_in_native_loops(jit: bool) -> None:
    def walk(x: Any, key: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            x, key = state
            first, second = gradc.random.split(key)
            folded = gradc.random.fold_in(first, i)
            n = gradc.random.integers(folded, (), 0, 5)
            x = x + gradc.random.normal(first, x.shape) * gradc.random.uniform(folded)
            x = x[gradc.random.permutation(folded, 5)] + n
            return x + gradc.random.choice(first, 9, 5, p=np.full(9, 1 / 9)), second

        return gradc.fori_loop(0, 20, step, (x, key))

    start = np.linspace(0.0, 1.0, 5)
    expected, last = start, KEY
    for i in range(20):
        first, second = gradc.random.split(last)
        folded = gradc.random.fold_in(first, i)
        g = generator(folded)
        expected = expected + generator(first).standard_normal(5) * generator(folded).random()
        expected = expected[generator(folded).permutation(5)] + g.integers(0, 5)
        expected = expected + generator(first).choice(9, 5, p=np.full(9, 1 / 9))
        last = second
    got, key = gradc.compile(walk)(start, KEY)
    same(got, expected)
    same(key, last)


def test_through_loops_and_their_adjoints(jit: bool) -> None:
    def end(scale: Any, key: Any) -> Any:
        def step(x: Any, i: Any) -> Any:
            noise = gradc.random.normal(gradc.random.fold_in(key, i), (3,), scale=scale)
            return np.tanh(x + noise), x

        x, path = gradc.scan(step, np.zeros(3), np.arange(7))
        return np.sum(x) + np.sum(path**2)

    gradc.check_grads(lambda scale: end(scale, KEY), (0.7,), order=2)


def test_while_something_is_drawn(jit: bool) -> None:
    """Throws of a die until a six."""

    def throws(key: Any) -> Any:
        def throw(n: Any) -> Any:
            return gradc.random.integers(gradc.random.fold_in(key, n), (), 1, 7)

        return gradc.while_loop(lambda n: throw(n) != 6, lambda n: n + 1, 0)

    compiled = gradc.compile(throws)
    for seed in range(5):
        key, n = gradc.random.key(seed), 0
        while generator(gradc.random.fold_in(key, n)).integers(1, 7) != 6:
            n += 1
        assert compiled(key) == n


def test_a_failure_in_a_loop(jit: bool) -> None:
    @gradc.compile
    def draw(key: Any, n: Any) -> Any:
        return gradc.fori_loop(
            0, 5, lambda i, x: x + gradc.random.integers(key, (), i, n[0]), 0
        )

    draw(KEY, np.array([5]))
    with pytest.raises(OptionError, match="an empty range"):
        draw(KEY, np.array([4]))
