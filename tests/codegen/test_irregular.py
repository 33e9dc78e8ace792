"""The loop templates against the meaning of their ops, on every dtype and at every edge."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from gradc.codegen import jit
from gradc.codegen.irregular import CHECKED, IN_PLACE, OPS, emit, scratch_bytes
from gradc.codegen.irregular.sort import network
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.targets import NAMED, Target, host
from gradc.ir.ops.base import REGISTRY
from gradc.ir.types import SHORT, TensorType, type_of

PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 3)
GUARD = 128
#: Narrow registers without masked accesses run here too: only the emitted text differs.
NARROW = dataclasses.replace(host(), width=16, fma=False)
DTYPES = tuple(str(dtype) for dtype in SHORT)
WIDTHS = ("float64", "float32", "int64", "uint32", "int16", "uint8")
AXES = (
    ((1,), 0), ((2,), 0), ((7,), 0), ((10,), 0), ((64,), 0), ((65,), 0), ((300,), 0), ((1200,), 0),
    ((3, 5), 1), ((6, 70), 1), ((9, 3), 1), ((5, 1), 1), ((1, 4), 0), ((4, 3), 0), ((9, 33), 0),
    ((3, 150), 0), ((2, 3, 4), 1), ((3, 17, 19), 1), ((3, 2, 1), 0), ((130, 2), 0),
)  # fmt: skip
EMPTY = (((0,), 0), ((0, 3), 0), ((3, 0), 1), ((2, 0, 3), 1))


@dataclass(frozen=True)
class Case:
    """One kernel: an op on operands, perhaps over the first of them."""

    op: str
    operands: tuple[np.ndarray, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    in_place: bool = False

    @property
    def types(self) -> list[TensorType]:
        return [type_of(x) for x in self.operands]

    def expected(self) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(REGISTRY[self.op].numpy(*self.operands, **self.attrs))

    def __str__(self) -> str:
        types = ", ".join(map(str, self.types))
        return f"{self.op}({types}) {dict(self.attrs)} in_place={self.in_place}"


def module(cases: Sequence[Case], target: Target) -> Module:
    """Kernels ``kernel0``, ``kernel1``, ... in the kernels' calling convention."""
    out = Module(target)
    out.attributes = target.attributes
    for k, case in enumerate(cases):
        b = Builder(out, f"kernel{k}", "i64", [("ptr", x) for x in ("args", "outs", "ws")])
        args, outs, scratch = b.params

        def pointer(table: Val, index: int, b: Builder = b) -> Val:
            return b.load(b.gep(table, "ptr", b.i64(index)), "ptr", 8)

        operands = [pointer(args, i) for i in range(len(case.operands))]
        result = operands[0] if case.in_place else pointer(outs, 0)
        failed = emit(
            b, case.op, case.attrs, case.types, operands, result, scratch, case.in_place
        )
        assert (failed is not None) == (case.op in CHECKED)
        b.ret(b.cast("zext", failed, "i64") if failed else b.i64(0))
        b.finish()
    assert not out.externals
    return out


class Guarded:
    """Memory between guards that must survive; ``offset`` bytes off the alignment of 64."""

    def __init__(self, nbytes: int, offset: int = 0) -> None:
        self.room = np.full(nbytes + 2 * GUARD + 64, 0xA5, np.uint8)
        self.start = GUARD + -(self.room.ctypes.data + GUARD) % 64 + offset
        self.stop = self.start + nbytes

    @property
    def address(self) -> int:
        return self.room.ctypes.data + self.start

    @property
    def bytes(self) -> np.ndarray:
        return self.room[self.start : self.stop]

    def check(self) -> None:
        assert (self.room[: self.start] == 0xA5).all()
        assert (self.room[self.stop :] == 0xA5).all()


def call(function: Any, case: Case) -> tuple[np.ndarray, bool]:
    """The result and the status; guards around every buffer are checked, and the operands."""
    inputs = []
    for x in case.operands:
        memory = Guarded(x.nbytes, x.itemsize)
        memory.bytes[:] = np.frombuffer(np.ascontiguousarray(x).tobytes(), np.uint8)
        inputs.append(memory)
    type_ = REGISTRY[case.op].infer(case.types, case.attrs)
    out = inputs[0] if case.in_place else Guarded(type_.nbytes, type_.dtype.itemsize)
    scratch = Guarded(scratch_bytes(case.op, case.attrs, case.types))
    args = (ctypes.c_void_p * len(inputs))(*(m.address for m in inputs))
    outs = (ctypes.c_void_p * 1)(out.address)
    status = function(args, outs, scratch.address)
    for memory in (*inputs, out, scratch):
        memory.check()
    for x, memory in zip(case.operands, inputs, strict=True):
        if memory is not out:
            assert memory.bytes.tobytes() == x.tobytes()
    result = np.frombuffer(out.bytes.tobytes(), type_.dtype).reshape(type_.shape)
    return result, bool(status)


def check(cases: Sequence[Case], target: Target) -> None:
    """Compile all at once; compare each with NumPy, to the bit (any NaN is a NaN)."""
    names = tuple(f"kernel{k}" for k in range(len(cases)))
    library = jit.load(str(module(cases, target)), names)
    for name, case in zip(names, cases, strict=True):
        result, failed = call(PROTOTYPE(library.address(name)), case)
        expected = case.expected()
        assert not failed, str(case)
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape), str(case)
        np.testing.assert_array_equal(result, expected, err_msg=str(case))
        if expected.dtype.kind == "f":
            number = ~np.isnan(expected)
            signs = np.signbit(result) == np.signbit(expected)
            assert signs[number].all(), str(case)


def sample(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values with many ties; floats with signed zeros and infinities, integers over the range."""
    kind = np.dtype(dtype).kind
    if kind == "f":
        special = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, 3.25], dtype)
        x = rng.standard_normal(shape).astype(dtype)
        return np.where(rng.random(shape) < 0.3, rng.choice(special, shape), x)
    if kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    whole = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    ends = rng.choice(np.array([info.min, info.max, 0, 1], dtype), shape)
    return np.where(rng.random(shape) < 0.3, ends, whole)


def with_nans(rng: np.random.Generator, x: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Some elements replaced by NaNs of either sign."""
    nans = rng.choice(np.array([np.nan, -np.nan], x.dtype), x.shape)
    return np.where(rng.random(x.shape) < share, nans, x)


def test_every_op_is_one_of_the_ir() -> None:
    assert set(REGISTRY) >= OPS >= IN_PLACE


@pytest.mark.parametrize("target", [host(), NARROW], ids=["host", "narrow"])
@pytest.mark.parametrize("op", ["argmax", "argmin"])
def test_extrema(op: str, target: Target) -> None:
    rng = np.random.default_rng(1)
    cases = []
    for dtype, (shape, axis) in itertools.product(DTYPES, AXES):
        if shape in ((3, 17, 19), (1200,)) and dtype not in WIDTHS:
            continue
        x = sample(rng, dtype, shape)
        cases.append(Case(op, (x,), {"axis": axis}))
        if x.dtype.kind == "f":
            cases.append(Case(op, (with_nans(rng, x),), {"axis": axis}))
    flat = [np.full(200, v) for v in (np.nan, -np.inf, np.inf, 0.0)]
    one_nan = np.zeros((200, 200))
    np.fill_diagonal(one_nan, np.nan)
    cases += [Case(op, (x,), {"axis": 0}) for x in flat]
    cases += [Case(op, (one_nan,), {"axis": axis}) for axis in (0, 1)]
    cases += [Case(op, (np.zeros(s),), {"axis": a}) for s, a in (((0, 3), 1), ((3, 0), 0))]
    check(cases, target)


@pytest.mark.parametrize("target", [host(), NARROW], ids=["host", "narrow"])
@pytest.mark.parametrize("op", ["cumsum", "cumprod"])
def test_scans(op: str, target: Target) -> None:
    rng = np.random.default_rng(2)
    cases = []
    for dtype, (shape, axis) in itertools.product(DTYPES[1:], (*AXES, *EMPTY)):
        reverse = bool(rng.integers(2))
        if dtype in WIDTHS[:2]:
            attrs = {"axis": axis, "reverse": not reverse}
            cases.append(Case(op, (sample(rng, dtype, shape),), attrs, in_place=reverse))
        attrs = {"axis": axis, "reverse": reverse}
        cases.append(Case(op, (sample(rng, dtype, shape),), attrs, in_place=reverse))
    check(cases, target)


def test_in_place_is_refused_where_it_cannot_be() -> None:
    b = Builder(Module(host()), "kernel", "void", [("ptr", "x")])
    with pytest.raises(ValueError, match="argsort"):
        emit(b, "argsort", {"axis": 0}, [type_of(np.zeros(3))], b.params, *b.params * 2, True)


def test_argsort() -> None:
    rng = np.random.default_rng(3)
    cases = []
    lengths = [((n,), 0) for n in (*range(1, 35), 63, 64, 65, 129, 1000)]
    for dtype in DTYPES:
        shapes = (*AXES[8:], *EMPTY, *(lengths if dtype in WIDTHS else lengths[::7]))
        for shape, axis in shapes:
            x = sample(rng, dtype, shape)
            if x.dtype.kind == "f":
                x = with_nans(rng, x, 0.1)
            cases.append(Case("argsort", (x,), {"axis": axis}))
    for x in (np.zeros(100), np.arange(100.0), -np.arange(100.0), np.full(100, np.nan)):
        cases.append(Case("argsort", (x,), {"axis": 0}))
    check(cases, host())


def test_sorting_networks_sort() -> None:
    """By the 0-1 principle: a network that sorts all sequences of two values sorts all."""
    for n in range(1, 9):
        for bits in itertools.product((0, 1), repeat=n):
            places = list(bits)
            for low, high in network(n):
                assert low < high
                if places[high] < places[low]:
                    places[low], places[high] = places[high], places[low]
            assert places == sorted(bits)


def scatters(rng: np.random.Generator, op: str, dtype: str) -> list[Case]:
    """Repeated and negative indices into arrays of rank 1 to 3, rows of every length."""
    cases = []
    shapes = [
        ((5,), 1, ()), ((5,), 1, (0,)), ((5,), 1, (40,)), ((1,), 1, (3,)), ((5, 3), 1, (4,)),
        ((4, 33), 1, (9,)), ((3, 300), 1, (2, 3)), ((4, 2, 3), 2, (2, 2)), ((4, 2), 2, (7,)),
        ((3, 4, 5), 3, (30,)), ((3, 0), 1, (2,)), ((0, 3), 1, (0,)), ((6, 1, 7), 1, (5, 1)),
    ]  # fmt: skip
    for shape, axes, at in shapes:
        x = sample(rng, dtype, shape)
        u = sample(rng, dtype, at + shape[axes:])
        indices = [rng.integers(-d, d or 1, at) for d in shape[:axes]]
        operands = (x, u, *(np.asarray(i, np.int64) for i in indices))
        cases.append(Case(op, operands, in_place=bool(rng.integers(2))))
    return cases


@pytest.mark.parametrize("target", [host(), NARROW], ids=["host", "narrow"])
@pytest.mark.parametrize("op", ["scatter_add", "scatter_set"])
def test_scatters(op: str, target: Target) -> None:
    rng = np.random.default_rng(4)
    dtypes = DTYPES[1:] if op == "scatter_add" else DTYPES
    check([case for dtype in dtypes for case in scatters(rng, op, dtype)], target)


BAD = (5, -6, 1 << 40, -(1 << 40), np.iinfo(np.int64).max, np.iinfo(np.int64).min)


@pytest.mark.parametrize("op", ["scatter_add", "scatter_set"])
@pytest.mark.parametrize("in_place", [False, True])
def test_out_of_bounds_is_reported_and_skipped(op: str, in_place: bool) -> None:
    """The guards of ``call`` are the test that nothing outside is written."""
    x, good = np.arange(5.0), np.array([0, -5, 4, -1])
    first, last = np.array([0, 3]), np.array([0, 6])
    cases, expected = [], []
    for bad in BAD:
        u = np.array([1.0, 2.0, 9.0, 3.0, 4.0])
        kept = u[[0, 1, 3, 4]]
        cases.append(Case(op, (x, u, np.insert(good, 2, bad)), in_place=in_place))
        expected.append(Case(op, (x, kept, good)).expected())
    grid = np.arange(20.0).reshape(4, 5)
    cases.append(Case(op, (grid, np.ones(2), first, last), in_place=in_place))
    expected.append(Case(op, (grid, np.ones(1), first[:1], last[:1])).expected())
    cases.append(Case(op, (np.zeros((3, 0)), np.zeros((1, 0)), np.array([3])), in_place=in_place))
    expected.append(np.zeros((3, 0)))
    library = jit.load(
        str(module(cases, host())), names := tuple(f"kernel{k}" for k in range(len(cases)))
    )
    for name, case, value in zip(names, cases, expected, strict=True):
        result, failed = call(PROTOTYPE(library.address(name)), case)
        assert failed, str(case)
        np.testing.assert_array_equal(result, value, err_msg=str(case))
        with pytest.raises(IndexError):
            case.expected()


@pytest.mark.parametrize("name", NAMED)
def test_every_target_compiles_without_undefined_symbols(name: str) -> None:
    rng = np.random.default_rng(5)
    x = sample(rng, "float32", (5, 37))
    cases = [Case(op, (x,), {"axis": a}) for op in ("argmax", "argsort") for a in (0, 1)]
    cases += [Case("cumsum", (x,), {"axis": a, "reverse": True}) for a in (0, 1)]
    cases.append(Case("scatter_add", (x, x, np.zeros(5, np.int64))))
    text = jit.assembly(str(module(cases, NAMED[name])), NAMED[name])
    calls = ("call", "bl ", "jmp\tmem", "memcpy", "memset")
    assert not [line for line in text.splitlines() if line.strip().startswith(calls)]
