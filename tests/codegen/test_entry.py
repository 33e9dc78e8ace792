"""Native entry points: what they accept, what they return, and that they count references."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import pickle
import sys
import threading
import tracemalloc
import weakref
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gradc.codegen import cpython
from gradc.codegen.buffers import KEPT_WORKSPACE
from gradc.codegen.callable import Entry, Hooks, load_entry
from gradc.codegen.entry import (
    STACK_WORKSPACE,
    EntrySpec,
    ResultSpec,
    emit_entry,
)
from gradc.codegen.guards import ArgSpec
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.structure import Record
from gradc.codegen.targets import host

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

f8, f4, i8, i4, u8, b1 = (np.dtype(c) for c in ("f8", "f4", "i8", "i4", "u8", "?"))
DTYPES = [np.dtype(c) for c in ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")]
CALLS = 10_000


def slow(*args: Any, **kwargs: Any) -> Any:
    return "slow", args, kwargs


def failed(status: int, args: tuple[Any, ...]) -> Any:
    raise IndexError(f"status {status} of {len(args)} arguments")


def compiled(
    spec: EntrySpec, body: Callable[[Builder, Val, Val, Val], Val | None], **hooks: Any
) -> Entry:
    """An entry around a kernel; ``body(b, args, outs, ws)`` may return a status."""
    module = Module(host())
    module.attributes = host().attributes
    b = Builder(module, "kernel", "i64", [("ptr", "args"), ("ptr", "outs"), ("ptr", "ws")])
    b.ret(body(b, *b.params) or b.i64(0))
    b.finish()
    emit_entry(module, spec)
    return load_entry(module, spec, Hooks(**{"slow": slow, "failed": failed, **hooks}))


def pointer(b: Builder, table: Val, k: int) -> Val:
    return b.load(b.gep(table, "ptr", b.i64(k)), "ptr", 8)


def copy(bits: int, count: int = 1) -> Callable[[Builder, Val, Val, Val], None]:
    """Copy one element of each of ``count`` arguments to as many results."""

    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        for k in range(count):
            value = b.load(pointer(b, args, k), f"i{bits}", bits // 8)
            b.store(value, pointer(b, outs, k), bits // 8)

    return body


def square(b: Builder, args: Val, outs: Val, ws: Val) -> None:
    """Sum of squares of four, and its gradient."""
    x, value, gradient = pointer(b, args, 0), pointer(b, outs, 0), pointer(b, outs, 1)
    total = b.const(0.0, "double")
    for k in range(4):
        e = b.load(b.gep(x, "double", b.i64(k)), "double", 8)
        total = b.fadd(total, b.fmul(e, e))
        b.store(b.fadd(e, e), b.gep(gradient, "double", b.i64(k)), 8)
    b.store(total, value, 8)


def nothing(b: Builder, args: Val, outs: Val, ws: Val) -> None:
    pass


VECTOR = ArgSpec("array", f8, (4,))
VALUE_AND_ARRAY = ((f8, ()), (f8, (4,)))


def square_entry(structure: Any = (0, 1), **hooks: Any) -> Entry:
    results = ResultSpec(VALUE_AND_ARRAY, structure, rebuild="rebuild" in hooks)
    return compiled(EntrySpec((VECTOR,), results), square, **hooks)


def check_flat(call: Callable[[], object], *objects: object, calls: int = CALLS) -> None:
    """Assert that ``calls`` calls keep no memory and leave the reference counts as they were."""
    for _ in range(10):
        call()
    gc.collect()
    watched = [*objects, None, True, False, f8, f4, b1, np.ndarray, np.float64, slow, failed]
    before = [sys.getrefcount(x) for x in watched]
    for _ in range(calls):
        call()
    after = [sys.getrefcount(x) for x in watched]
    assert all(abs(x - y) < 20 for x, y in zip(before, after, strict=True)), (before, after)
    tracemalloc.start()
    try:
        call()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            call()
        assert tracemalloc.get_traced_memory()[0] - start < 4000
    finally:
        tracemalloc.stop()


def quietly(call: Callable[[], object], kind: type[Exception]) -> Callable[[], None]:
    """A call that is to raise, without the cost of what pytest records."""

    def run() -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError

    return run


# -- results -----------------------------------------------------------------------------------


def test_value_and_array() -> None:
    f = square_entry().builtin("loss", "Sum of squares.")
    x = np.arange(4.0)
    value, gradient = f(x)
    assert type(value) is np.float64 and value == 14
    assert type(gradient) is np.ndarray and gradient.dtype is f8
    np.testing.assert_array_equal(gradient, 2 * x)
    assert gradient.flags.owndata and gradient.flags.writeable and gradient.flags.carray
    assert (f.__name__, f.__doc__) == ("loss", "Sum of squares.")
    check_flat(lambda: f(x), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_as_array_and_scalar(dtype: np.dtype[Any]) -> None:
    leaves = ((dtype, ()), (dtype, (1, 1)))
    args = (ArgSpec("array", dtype, (1,)), ArgSpec("scalar", dtype))
    spec = EntrySpec(args, ResultSpec(leaves, (0, 1)))
    f = compiled(spec, copy(8 * dtype.itemsize, 2)).builtin("f")
    one = np.ones(1, dtype)
    value, array = f(one, dtype.type(1))
    assert type(value) is dtype.type and value == 1
    assert array.dtype is np.dtype(dtype.name) and array.shape == (1, 1) and array[0, 0] == 1
    assert value.dtype is np.dtype(dtype.name)
    check_flat(lambda: f(one, dtype.type(1)), one, np.dtype(dtype.name), dtype.type, calls=1000)


class Key:
    """A hashable key of its own identity."""

    def __repr__(self) -> str:
        return "Key()"


KEY = Key()
Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Fields:
    """Two fields."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """Two fields in slots, not to be set."""

    x: Any
    y: Any


@pytest.mark.parametrize(
    "structure",
    [
        0,
        1,
        None,
        (),
        [],
        {},
        (1,),
        [0, 1],
        (0, 0, 1, 1, None),
        {"a": 0, KEY: (1, [1, {"b": None}])},
        {"a": 1, "b": 1},
        [(0, {"w": 1, ("k", 2): [0, 1]}), None, {"x": {"y": ([], 0)}}],
        Record(Pair, (), (0, 1)),
        Record(Pair, (), (Record(Pair, (), (1, None)), {"a": Record(Pair, (), (0, 0))})),
        Record(Fields, ("x", "y"), (1, 0)),
        {"a": Record(Fields, ("x", "y"), ([Record(Frozen, ("x", "y"), ([0], 1))], None)), "b": 0},
    ],
    ids=repr,
)
def test_structures(structure: Any) -> None:
    f = square_entry(structure).builtin("f")
    x = np.arange(4.0)
    leaves = (np.float64(14), 2 * x)

    def expected(s: Any) -> Any:
        if isinstance(s, Record):
            return s.kind(*map(expected, s.children))
        if isinstance(s, dict):
            return {k: expected(v) for k, v in s.items()}
        if isinstance(s, (tuple, list)):
            return type(s)(expected(v) for v in s)
        return None if s is None else leaves[s]

    assert repr(f(x)) == repr(expected(structure))
    check_flat(lambda: f(x), x, KEY, Pair, Fields, Frozen)


def test_leaf_twice_is_one_object() -> None:
    a, b = square_entry([1, (1,)]).builtin("f")(np.arange(4.0))
    assert a is b[0]
    assert sys.getrefcount(a) == 3  # a, the tuple's, the call's own


def test_rebuild_gets_the_leaves() -> None:
    Point = namedtuple("Point", "value gradient")
    f = square_entry(None, rebuild=lambda leaves: Point(*leaves)).builtin("f")
    x = np.arange(4.0)
    point = f(x)
    assert type(point) is Point and point.value == 14 and point.gradient[3] == 6
    check_flat(lambda: f(x), x, Point)


def test_no_arguments_no_results() -> None:
    f = compiled(EntrySpec((), ResultSpec((), None)), nothing).builtin("f")
    assert f() is None
    assert f(1) == ("slow", (1,), {})


# -- guards ------------------------------------------------------------------------------------


class Sub(np.ndarray[Any, Any]):
    """A subclass of ndarray."""


class Float(float):
    """A subclass of float."""


class Int(int):
    """A subclass of int."""


def unaligned(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    n = 8 * int(np.prod(shape))
    return np.zeros(n + 1, np.uint8)[1:].view(f8).reshape(shape)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3)).view(Sub),
        np.ma.zeros((2, 3)),
        np.zeros((2, 3), order="F"),
        np.zeros((2, 6))[:, ::2],
        np.zeros((2, 3))[::-1],
        np.zeros((2, 3), ">f8" if sys.byteorder == "little" else "<f8"),
        unaligned((2, 3)),
        np.zeros((2, 3), f4),
        np.zeros((2, 3), i8),
        np.zeros((2, 3), "M8[s]"),
        np.zeros((2, 3), "f8,f8"),
        np.zeros((2, 3), object),
        np.zeros(6),
        np.zeros((1, 2, 3)),
        np.zeros(()),
        np.zeros((3, 2)),
        np.zeros((2, 4)),
        np.zeros((2, 0)),
        np.float64(0),
        0.0,
        None,
        [[0.0] * 3] * 2,
    ],
    ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', x)}-{getattr(x, 'shape', '')}",
)
def test_other_arrays_miss(x: Any) -> None:
    spec = EntrySpec((ArgSpec("array", f8, (2, 3)),), ResultSpec((), None))
    f = compiled(spec, nothing).builtin("f")
    tag, args, kwargs = f(x)
    assert tag == "slow" and args[0] is x and kwargs == {}
    check_flat(lambda: f(x), x, calls=1000)


def test_calls_of_another_form_miss() -> None:
    f = square_entry().builtin("f")
    x = np.zeros(4)
    assert f() == ("slow", (), {})
    assert f(x, 1)[1][1] == 1
    assert f(x=x) == ("slow", (), {"x": x})
    _, args, kwargs = f(x, flag=KEY)
    assert args[0] is x and kwargs == {"flag": KEY}
    check_flat(lambda: f(x, flag=KEY), x, KEY)
    check_flat(lambda: f(x, x), x)


@pytest.mark.parametrize(
    "x",
    [
        pickle.loads(pickle.dumps(np.arange(4.0))),
        np.arange(8.0)[4:],
        np.frombuffer(np.arange(4.0).tobytes()),
        np.asfortranarray(np.arange(4.0)),
        np.arange(4.0).astype(">f8").astype("<f8") if sys.byteorder == "little" else np.arange(4.0),
    ],
    ids=["unpickled", "slice", "read-only", "fortran", "swapped-back"],
)
def test_the_same_array_by_other_ways_hits(x: Any) -> None:
    assert square_entry(0).builtin("f")(x) == np.dot(x, x)


def test_dtype_object_may_be_another_one() -> None:
    x = pickle.loads(pickle.dumps(np.arange(4.0)))
    assert x.dtype is not f8
    f = square_entry().builtin("f")
    assert f(x)[0] == 14
    check_flat(lambda: f(x), x, x.dtype)


@pytest.mark.parametrize("char", ["l", "q", "i"])
def test_types_of_one_width_are_one(char: str) -> None:
    dtype = np.dtype(char)
    same = np.dtype(f"i{dtype.itemsize}")
    args = (ArgSpec("array", dtype), ArgSpec("scalar", dtype))
    spec = EntrySpec(args, ResultSpec(((dtype, ()), (dtype, ())), (0, 1)))
    f = compiled(spec, copy(8 * dtype.itemsize, 2)).builtin("f")
    for other in {c for c in "ilq" if np.dtype(c) == dtype}:
        a, b = f(np.array(7, other), np.dtype(other).type(8))
        assert (a, b) == (7, 8) and a.dtype is b.dtype is np.dtype(same.name)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5, 2), (1,) * 32], ids=str)
def test_empty_and_odd_shapes(shape: tuple[int, ...]) -> None:
    spec = EntrySpec((ArgSpec("array", f8, shape),), ResultSpec(((f8, shape),), 0))
    f = compiled(spec, nothing).builtin("f")
    x = np.zeros(shape)
    assert f(x).shape == shape and f(x).dtype is f8
    check_flat(lambda: f(x), x, calls=1000)


# -- scalars -----------------------------------------------------------------------------------


def scalar_call(kind: Any, dtype: np.dtype[Any]) -> Any:
    spec = EntrySpec((ArgSpec(kind, dtype),), ResultSpec(((dtype, ()),), 0))
    return compiled(spec, copy(8 * dtype.itemsize)).builtin("f")


@pytest.mark.parametrize("dtype", [f8, f4])
def test_float(dtype: np.dtype[Any]) -> None:
    f = scalar_call("float", dtype)
    for x in (0.1, -0.0, float("inf"), 1e300, 5e-324):
        with np.errstate(over="ignore"):
            assert f(x).tobytes() == dtype.type(x).tobytes()
    assert np.isnan(f(float("nan")))
    for other in (1, True, np.float64(1), np.float32(1), Float(1), np.array(1.0), "1"):
        assert f(other)[1][0] is other
    x = 0.1
    check_flat(lambda: f(x), x)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind in "iuf"], ids=str)
def test_int(dtype: np.dtype[Any]) -> None:
    f = scalar_call("int", dtype)
    ends = [
        2**k + d for k in (7, 8, 15, 16, 24, 30, 31, 32, 53, 60, 62, 63, 64) for d in (-1, 0, 1)
    ]
    for x in [0, 1, -1, 5, *ends, *(-e for e in ends), 10**30, -(10**30)]:
        info = np.iinfo(np.int64 if dtype.kind == "f" else dtype)
        got = f(x)
        if max(info.min, -(2**63)) <= x <= min(info.max, 2**63 - 1):
            assert type(got) is dtype.type and got == dtype.type(x), x
        else:
            assert got[1][0] is x
    for other in (1.0, True, np.int64(1), Int(1), np.array(1), None):
        assert f(other)[1][0] is other
    big = 2**62
    check_flat(lambda: f(big), big, int, calls=1000)
    check_flat(lambda: f(10**30), calls=1000)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bool(dtype: np.dtype[Any]) -> None:
    f = scalar_call("bool", dtype)
    assert f(True) == 1 and f(False) == 0
    assert type(f(True)) is dtype.type
    for other in (1, 0, np.True_, None, 1.0):
        assert f(other)[1][0] is other
    check_flat(lambda: f(True), calls=1000)


@pytest.mark.parametrize("dtype", [f8, f4])
def test_numpy_scalar_is_exact(dtype: np.dtype[Any]) -> None:
    f = scalar_call("scalar", dtype)
    assert f(dtype.type(0.1)) == dtype.type(0.1)
    others = (0.1, 1, np.int64(1), np.float16(1), np.longdouble(1), np.array(1, dtype), np.True_)
    for other in (*others, np.float32(1) if dtype == f8 else np.float64(1)):
        assert f(other)[1][0] is other


# -- the chain ---------------------------------------------------------------------------------


def test_chain() -> None:
    entries = [
        compiled(
            EntrySpec((ArgSpec("array", f8, (n,)),), ResultSpec(((f8, ()),), (0, None))), copy(64)
        )
        for n in range(1, 5)
    ]
    for first, second in pairwise(entries):
        first.link(second)
    f = entries[0].builtin("f")
    arrays = [np.full(n, float(n)) for n in range(1, 6)]
    assert [f(x)[0] for x in arrays] == [1, 2, 3, 4, "slow"]
    assert f(x=arrays[3])[2]["x"] is arrays[3]
    entries[1].link(None)
    assert [f(x)[0] for x in arrays] == [1, 2, "slow", "slow", "slow"]
    entries[1].link(entries[2])
    del entries, first, second
    gc.collect()
    assert [f(x)[0] for x in arrays] == [1, 2, 3, 4, "slow"]
    for x in arrays:
        check_flat(partial(f, x), x)


# -- failures ----------------------------------------------------------------------------------


def test_slow_path_may_raise() -> None:
    def refuse(*args: Any) -> Any:
        raise TypeError("no")

    f = square_entry(slow=refuse).builtin("f")
    x = np.zeros(3)
    with pytest.raises(TypeError):
        f(x)
    check_flat(quietly(lambda: f(x), TypeError), x, refuse)


def test_status_raises() -> None:
    spec = EntrySpec((VECTOR, ArgSpec("float", f8)), ResultSpec(VALUE_AND_ARRAY, (0, 1)), 10_000)
    status = 1 | 77 << 8
    f = compiled(spec, lambda b, args, outs, ws: b.i64(status)).builtin("f")
    x, y = np.zeros(4), 0.5
    with pytest.raises(IndexError, match=f"status {status} of 2 arguments"):
        f(x, y)
    check_flat(quietly(lambda: f(x, y), IndexError), x, y)


def test_what_failed_returns_is_returned() -> None:
    def recover(status: int, args: tuple[Any, ...]) -> Any:
        return status, args

    results = ResultSpec(VALUE_AND_ARRAY, 0)
    f = compiled(EntrySpec((VECTOR,), results), lambda *_: Val("-5", "i64"), failed=recover)
    call = f.builtin("f")
    x = np.zeros(4)
    status, args = call(x)
    assert status == -5 and args[0] is x
    check_flat(lambda: call(x), x)


def test_exception_left_by_the_kernel_stands() -> None:
    def body(b: Builder, args: Val, outs: Val, ws: Val) -> Val:
        b.call_pointer("ptr", b.external("PyErr_NoMemory"), [])
        return b.i64(3)

    f = compiled(EntrySpec((VECTOR,), ResultSpec(VALUE_AND_ARRAY, 0)), body).builtin("f")
    x = np.zeros(4)
    check_flat(quietly(lambda: f(x), MemoryError), x)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_result_too_large(position: int) -> None:
    leaves = [(f8, (4,)), (f8, ()), (f4, (3, 3))]
    leaves.insert(position, (f8, (1 << 44,)))
    spec = EntrySpec((VECTOR,), ResultSpec(tuple(leaves), (0, 1, 2, 3)))
    f = compiled(spec, nothing).builtin("f")
    x = np.zeros(4)
    with pytest.raises(MemoryError):
        f(x)
    check_flat(quietly(lambda: f(x), MemoryError), x, calls=1000)


def test_result_beyond_the_address_space() -> None:
    spec = EntrySpec((), ResultSpec(((f8, (1 << 40, 1 << 40)),), 0))
    with pytest.raises((ValueError, MemoryError)):
        compiled(spec, nothing).builtin("f")()


def test_workspace_too_large() -> None:
    spec = EntrySpec((VECTOR,), ResultSpec(VALUE_AND_ARRAY, (0, 1)), 1 << 47)
    f = compiled(spec, nothing).builtin("f")
    x = np.zeros(4)
    with pytest.raises(MemoryError):
        f(x)
    check_flat(quietly(lambda: f(x), MemoryError), x)


def test_unhashable_key_and_failing_rebuild() -> None:
    class Unhashable:
        def __hash__(self) -> int:
            if broken:
                raise TypeError("not now")
            return 1

    def rebuild(leaves: tuple[Any, ...]) -> Any:
        raise TypeError("no")

    broken = False
    structure = ([0, 1], {"a": (1, {Unhashable(): 0})}, 0)
    f = square_entry(structure).builtin("f")
    broken = True
    x = np.zeros(4)
    check_flat(quietly(lambda: f(x), TypeError), x)
    g = square_entry(None, rebuild=rebuild).builtin("g")
    check_flat(quietly(lambda: g(x), TypeError), x, rebuild)


# -- workspace, threads, lifetime --------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 64, STACK_WORKSPACE, STACK_WORKSPACE + 1, 100_000])
def test_workspace(size: int) -> None:
    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        for at in (0, size - 1):
            b.store(Val("7", "i8"), b.gep(ws, "i8", b.i64(at)), 1)
        address = b.cast("ptrtoint", ws, "i64")
        b.store(b.and_(address, b.i64(63)), pointer(b, outs, 0), 8)

    entry = compiled(EntrySpec((), ResultSpec(((i8, ()),), 0), size), body)
    f = entry.builtin("f")
    assert f() == 0
    check_flat(f)


def test_workspace_goes_with_the_entry() -> None:
    size = 5_000_000
    f = compiled(EntrySpec((), ResultSpec((), None), size), nothing).builtin("f")
    tracemalloc.start()
    try:
        f()
        f()
        held = tracemalloc.get_traced_memory()[0]
        assert size <= held < 2 * size
        del f
        assert tracemalloc.get_traced_memory()[0] < size
    finally:
        tracemalloc.stop()


def test_a_large_workspace_is_given_back() -> None:
    size = KEPT_WORKSPACE + 1
    f = compiled(EntrySpec((), ResultSpec((), None), size), nothing).builtin("f")
    tracemalloc.start()
    try:
        f()
        f()
        held, peak = tracemalloc.get_traced_memory()
        assert held < 100_000 and size <= peak < 2 * size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("release_gil", [False, True])
def test_threads(release_gil: bool) -> None:
    """Calls at once, each writing its own number all over its workspace and reading it back."""
    n = 20_000

    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        x = b.load(pointer(b, args, 0), "double", 8)
        with b.loop(b.i64(0), b.i64(n)) as loop:
            b.store(x, b.gep(ws, "double", loop.index), 8)
        with b.loop(b.i64(0), b.i64(n), carried=[b.const(0.0, "double")]) as loop:
            e = b.load(b.gep(ws, "double", loop.index), "double", 8)
            loop.next = [b.fadd(loop.carried[0], e)]
        b.store(loop.results[0], pointer(b, outs, 0), 8)
        b.store(x, pointer(b, outs, 1), 8)

    results = ResultSpec(((f8, ()), (f8, (1,))), (0, 1))
    spec = EntrySpec((ArgSpec("float", f8),), results, 8 * n, release_gil)
    f = compiled(spec, body).builtin("f")
    wrong = []

    def work(x: float) -> None:
        for _ in range(300):
            total, array = f(x)
            if total != n * x or array[0] != x:
                wrong.append((x, total, array))

    def together() -> None:
        threads = [threading.Thread(target=work, args=(float(k),)) for k in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    tracemalloc.start()
    try:
        together()
        assert not wrong
        # One workspace stays; what other threads made at the same time was freed.
        assert tracemalloc.get_traced_memory()[0] < 2 * 8 * n
    finally:
        tracemalloc.stop()
        sys.setswitchinterval(interval)


def test_released_gil_lets_others_run() -> None:
    """The kernel waits for a flag that only another Python thread can set."""

    def body(b: Builder, args: Val, outs: Val, ws: Val) -> None:
        flag = pointer(b, args, 0)
        b.br("wait")
        b.place("wait")
        seen = b.op("i64", f"load atomic i64, ptr {flag.ref} seq_cst, align 8")
        b.cond_br(b.icmp("eq", seen, b.i64(0)), "wait", "done")
        b.place("done")

    spec = EntrySpec((ArgSpec("array", i8),), ResultSpec((), None), release_gil=True)
    f = compiled(spec, body).builtin("f")
    flag = np.array(0)
    timer = threading.Timer(0.01, flag.fill, (1,))
    timer.start()
    assert f(flag) is None


def test_callable_keeps_everything_alive() -> None:
    f = compiled(
        EntrySpec((VECTOR,), ResultSpec(VALUE_AND_ARRAY, {"value of x": 0, ("k", 1): [1]})),
        square,
        slow=lambda *args: len(args),
        rebuild=None,
    ).builtin("a_name_" + "x" * 50, "A text " + "y" * 50)
    gc.collect()
    waste = [bytes(k) for k in range(2000)]
    assert f(np.ones(4))["value of x"] == 4 and f() == 0
    assert f.__name__.endswith("xx") and str(f.__doc__).endswith("yy")
    del waste


def test_cycle_is_collected_and_may_call_to_its_end() -> None:
    last = []

    class Function:
        def __init__(self) -> None:
            entry = compiled(
                EntrySpec((VECTOR,), ResultSpec(VALUE_AND_ARRAY, 0), 10_000),
                square,
                slow=self.slow,
            )
            self.entry = entry
            self.native = entry.builtin("f")

        def slow(self, *args: Any) -> Any:
            return len(args)

        def __del__(self) -> None:
            last.append((self.native(np.ones(4)), self.native()))

    made = [Function() for _ in range(5)]
    gone = [weakref.ref(f) for f in made]
    assert made[0].native(np.ones(4)) == 4
    del made
    gc.collect()
    assert all(r() is None for r in gone)
    assert last == [(4.0, 0)] * 5


def test_last_reference_may_go_with_an_exception_pending() -> None:
    def call() -> None:
        compiled(
            EntrySpec((VECTOR,), ResultSpec((), None), 10_000), lambda *_: Val("9", "i64")
        ).builtin("f")(np.zeros(4))

    with pytest.raises(IndexError, match="status 9"):
        call()
    tracemalloc.start()
    try:
        quietly(call, IndexError)()
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            quietly(call, IndexError)()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - start < 10_000
    finally:
        tracemalloc.stop()


# -- the text ----------------------------------------------------------------------------------


def test_text_is_the_same_for_other_objects() -> None:
    def text(key: object) -> str:
        results = ResultSpec(VALUE_AND_ARRAY, {key: (0, 1)})
        module = Module(host())
        emit_entry(module, EntrySpec((VECTOR,), results, 10_000, True))
        return str(module)

    first = text("a")
    assert first == text(Key())
    assert not any(str(address) in first for address in cpython.addresses().values())


def test_unsupported_where_a_probe_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_dtypes_hold", "_arrays_hold", "_scalars_hold", "_containers_hold"):
        with monkeypatch.context() as patch:
            patch.setattr(cpython, name, lambda at: False)
            assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(cpython, "_numpy_functions", dict)
        assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(sys.implementation, "name", "pypy")
        assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(cpython, "_NUMPY_ABI", 0x01000009)
        assert cpython._numpy_functions.__wrapped__() == {}
    assert cpython.layout.__wrapped__() == cpython.layout()


def test_probes_notice_a_wrong_offset() -> None:
    layout = cpython.layout()
    assert layout is not None
    probes = {
        cpython._dtypes_hold: ("byteorder", "type_num"),
        cpython._arrays_hold: ("data", "ndim", "descr", "flags"),
        cpython._scalars_hold: ("scalar",),
        cpython._containers_hold: ("tuple_items", "list_items"),
    }
    for probe, names in probes.items():
        assert probe(layout)
        for name in names:
            wrong = {**layout._asdict(), name: getattr(layout, name) + 1}
            assert not probe(cpython.Layout(**wrong))


def test_addresses_are_of_what_they_say() -> None:
    at = cpython.addresses()
    assert at["type ndarray"] == id(np.ndarray) and at["None"] == id(None)
    assert at["dtype float64"] == id(f8) and at["type d"] == id(np.float64)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_ssize_t)(at["PyTuple_New"])
    assert new(0) == ()
