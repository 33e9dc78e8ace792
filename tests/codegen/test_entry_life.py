"""Entry points in a chain, their failures, their memory, and their end."""

from __future__ import annotations

import gc
import sys
import threading
import tracemalloc
import weakref
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gradc.codegen import cpython
from gradc.codegen.buffers import KEPT_WORKSPACE
from gradc.codegen.entry import (
    STACK_WORKSPACE,
    EntrySpec,
    ResultSpec,
)
from gradc.codegen.guards import ArgSpec
from gradc.codegen.llvm import Builder, Val
from tests.codegen.entries import (
    VALUE_AND_ARRAY,
    VECTOR,
    check_flat,
    compiled,
    copy,
    f4,
    f8,
    i8,
    nothing,
    pointer,
    quietly,
    square,
    square_entry,
)

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

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
