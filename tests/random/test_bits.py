"""Compiled random numbers against NumPy's own generator, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradc.codegen import jit
from gradc.codegen.irregular import random
from gradc.codegen.targets import NAMED, Target, host
from gradc.ir.ops import REGISTRY
from gradc.ir.text import dump, equal, parse
from gradc.ir.types import SHORT
from tests.codegen.test_irregular import NARROW, PROTOTYPE, Case, call, check, module
from tests.export.symbols import undefined
from tests.sampling import graph_of

KEYS = [np.array(k, np.uint64) for k in ((0, 0), (1, 2), (2**64 - 1, 2**63), (12345, 0))]
SHAPES: list[tuple[int, ...]] = [
    (), (0,), (1,), (2,), (3,), (5,), (8,), (9,), (31,), (4, 16), (255,), (256,), (257,),
    (1025,), (3, 0), (7, 11, 13), (20000,),
]


@pytest.mark.parametrize("target", [host(), NARROW], ids=["host", "narrow"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op", ["random_uniform", "random_normal"])
def test_floats(op: str, dtype: str, target: Target) -> None:
    attrs: list[dict[str, Any]] = [{"shape": s, "dtype": np.dtype(dtype)} for s in SHAPES]
    check([Case(op, (key,), a) for key in KEYS for a in attrs], target)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_tail_differs_by_the_last_bit_of_a_logarithm_at_most(dtype: str) -> None:
    """All else of some million numbers is the same: as the docstring has it."""
    attrs = {"shape": (500_000,), "dtype": np.dtype(dtype)}
    cases = [Case("random_normal", (key,), attrs) for key in KEYS]
    names = tuple(f"kernel{k}" for k in range(len(cases)))
    library = jit.load(str(module(cases, host())), names)
    different = 0
    for name, case in zip(names, cases, strict=True):
        result, _ = call(PROTOTYPE(library.address(name)), case)
        expected = case.expected()
        (at,) = np.nonzero(result != expected)
        different += len(at)
        assert (np.abs(expected[at]) > 3.65).all()
        assert (np.abs(result[at] - expected[at]) <= np.spacing(np.abs(expected[at]))).all()
        assert (np.abs(expected) > 3.65).sum() > 80
    assert different <= 20


def ranges(dtype: np.dtype[Any]) -> list[tuple[int, int]]:
    if dtype.kind == "b":
        return [(0, 0), (0, 1), (1, 1)]
    info = np.iinfo(dtype)
    out = [(0, 0), (0, 1), (0, 5), (0, 99), (info.min, info.max), (info.min, info.max - 1),
           (info.max // 2, info.max), (0, info.max), (info.min, info.min + 2)]
    if dtype.itemsize == 8:
        out += [(7, 7 + k) for k in (2**32 - 2, 2**32 - 1, 2**32, 3 * 2**30, 2**63 - 9)]
    return out


@pytest.mark.parametrize("target", [host(), NARROW], ids=["host", "narrow"])
@pytest.mark.parametrize("dtype", [d for d in SHORT if d.kind in "iub"], ids=str)
def test_integers(dtype: np.dtype[Any], target: Target) -> None:
    check(
        [
            Case("random_integers", (KEYS[k], np.array(low, dtype), np.array(last, dtype)),
                 {"shape": shape})
            for low, last in ranges(dtype)
            for k, shape in enumerate([(), (1,), (0,), (5,), (77,), (1000,), (50, 51)], 0)
            for k in [k % 4]
        ],
        target,
    )


def test_permutations() -> None:
    sizes = (0, 1, 2, 3, 4, 5, 7, 8, 9, 100, 1024, 1025, 30000)
    check([Case("random_permutation", (k,), {"n": n}) for n in sizes for k in KEYS], host())


def test_samples() -> None:
    of = [(1, 0), (1, 1), (2, 1), (2, 2), (9, 4), (50, 50), (1000, 7), (10000, 9999), (10001, 200),
          (10001, 201), (20000, 20000), (20000, 19999), (10**9, 100), (2**32, 3)]
    check(
        [Case("random_sample", (k,), {"n": n, "size": s}) for n, s in of for k in KEYS], host()
    )


@pytest.mark.parametrize("replace", [True, False])
def test_weighted(replace: bool) -> None:
    cases = []
    for n in (1, 2, 3, 7, 8, 100, 1000):
        p = np.random.default_rng(n).random(n) ** 8
        p /= p.sum()
        for size in {0, 1, n // 2, n, *([5 * n] if replace else [])}:
            attrs = {"size": size, "replace": replace}
            for key in KEYS:
                case = Case("random_weighted", (key, p), attrs)
                generator = np.random.Generator(np.random.Philox(key=key))
                expected = generator.choice(n, size, p=p, replace=replace)
                np.testing.assert_array_equal(case.expected(), expected)
                cases.append(case)
    check(cases, host())


def test_keys() -> None:
    index = np.array([0, 1, 2, 2**32, 2**63, 2**64 - 2, 2**64 - 1], np.uint64)
    check(
        [Case("random_keys", (key, i), {"domain": d}) for key in KEYS for d in (1, 2)
         for i in (index, index[:0], index[-1], index[:6].reshape(2, 3))],
        host(),
    )


def test_keys_of_seeds() -> None:
    seeds = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    cases = [Case("random_key", (np.uint64(s)[...],)) for s in seeds]
    for seed, case in zip(seeds, cases, strict=True):
        state = np.random.Philox(seed).state["state"]
        np.testing.assert_array_equal(case.expected(), state["key"])
        assert not state["counter"].any()
    check(cases, host())


@pytest.mark.parametrize("op", sorted(random.OPS))
def test_text(op: str) -> None:
    for sample in REGISTRY[op].samples:
        graph = graph_of(REGISTRY[op], sample, np.dtype("int32"))
        assert equal(parse(dump(graph)), graph)


def test_impossible_parameters() -> None:
    """They fail, and touch nothing outside: the memory around the buffers is guarded."""
    key = KEYS[1]
    cases = [
        Case("random_integers", (key, np.array(low, dtype), np.array(last, dtype)), {"shape": (9,)})
        for dtype in ("int64", "uint8", "int32", "bool") for low, last in [(1, 0)]
    ]
    cases += [
        Case("random_weighted", (key, np.array(p)), {"size": 2, "replace": replace})
        for p, replace in [
            ([0.5, -0.5, 1.0], True), ([0.0, 0.0], True), ([np.nan, 1.0], True),
            ([np.inf, 1.0], False), ([0.0, 1.0], False), ([1e308, 1e308], True),
        ]
    ]
    names = tuple(f"kernel{k}" for k in range(len(cases)))
    library = jit.load(str(module(cases, host())), names)
    for name, case in zip(names, cases, strict=True):
        assert call(PROTOTYPE(library.address(name)), case)[1], str(case)
        with pytest.raises(ValueError), np.errstate(all="ignore"):
            case.expected()


@pytest.mark.parametrize("name", NAMED)
def test_every_target_compiles_without_undefined_symbols(name: str) -> None:
    key, p = KEYS[1], np.array([0.5, 0.5])
    cases = [
        Case(op, (key,), {"shape": (1000,), "dtype": np.dtype(dtype)})
        for op in ("random_uniform", "random_normal") for dtype in ("float32", "float64")
    ]
    cases += [
        Case("random_integers", (key, np.array(0, d), np.array(1, d)), {"shape": (1000,)})
        for d in ("int64", "int32", "uint16", "int8", "bool")
    ]
    cases += [
        Case("random_permutation", (key,), {"n": 99}),
        Case("random_sample", (key,), {"n": 99, "size": 9}),
        Case("random_sample", (key,), {"n": 20000, "size": 900}),
        Case("random_weighted", (key, p), {"size": 9, "replace": True}),
        Case("random_key", (np.array(3, np.uint64),)),
        Case("random_keys", (key, key), {"domain": 1}),
    ]
    assert not undefined(str(module(cases, NAMED[name])), name)
