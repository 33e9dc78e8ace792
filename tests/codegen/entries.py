"""Entry points for the tests of entry points, and what they have in common."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.codegen.callable import Entry, Hooks, load_entry
from gradc.codegen.entry import (
    EntrySpec,
    ResultSpec,
    emit_entry,
)
from gradc.codegen.guards import ArgSpec
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.targets import host

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


class Key:
    """A hashable key of its own identity."""

    def __repr__(self) -> str:
        return "Key()"


KEY = Key()
