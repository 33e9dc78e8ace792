"""The loader of object code: what it places and relocates, and what it leaves to LLVM."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

import gradc
from gradc.codegen import elf, jit, pool
from gradc.codegen.link import link

pytestmark = pytest.mark.skipif(not elf.supported(), reason="LLVM loads all code here")

MODULE = """
@table = internal constant [3 x i64] [i64 5, i64 7, i64 11]
@filled = dso_local global [2 x i64] zeroinitializer
@address = dso_local global ptr @twice, align 8
@gradc_table = dso_local global [2 x ptr] zeroinitializer

define i64 @twice(i64 %k) {
  %v = mul i64 %k, 2
  ret i64 %v
}

define i64 @f(i64 %k) {
  %at = getelementptr i64, ptr @table, i64 %k
  %v = load i64, ptr %at
  %fun = load ptr, ptr @address
  %w = call i64 %fun(i64 %v)
  %x = call i64 @twice(i64 %w)
  store i64 %x, ptr @filled
  ret i64 %x
}

define double @third(double %x) {
  %v = fdiv double %x, 3.0
  ret double %v
}
"""
EXPORTS = ("f", "third", "filled", "address", "twice")


def test_code_data_and_addresses() -> None:
    library = link(jit.compile(MODULE), EXPORTS, {"a": 17, "b": 19})
    assert isinstance(library.owner, elf.Loaded)
    f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("f"))
    third = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(library.address("third"))
    assert [f(k) for k in range(3)] == [20, 28, 44]
    assert third(2.0) == 2.0 / 3.0
    assert ctypes.c_int64.from_address(library.address("filled")).value == 44
    stored = ctypes.c_uint64.from_address(library.address("address")).value
    assert stored == library.address("twice")
    table = (ctypes.c_uint64 * 2).from_address(library.address("gradc_table"))
    assert list(table) == [17, 19]


def test_nothing_that_is_emitted_needs_a_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("left to LLVM")

    monkeypatch.setattr(jit, "link", refuse)
    assert link(jit.compile(str(pool.emit())), ("worker",)).address("worker")

    @gradc.compile
    def f(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # calls BLAS, is shared out, prints
        gradc.debug_print("{}", x[0, 0])
        return np.sum(np.tanh(x @ y))

    x = np.full((600, 600), 1e-3)
    assert f.value_and_grad(x, x)[0] == pytest.approx(600**2 * np.tanh(6e-4), rel=1e-12)


def test_copies_are_apart_and_go() -> None:
    code = jit.compile(MODULE)
    first, second = link(code, EXPORTS), link(code, EXPORTS)
    for k, library in enumerate((first, second)):
        ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("f"))(k)
    values = [ctypes.c_int64.from_address(x.address("filled")).value for x in (first, second)]
    assert values == [20, 28]
    for _ in range(300):
        link(code, EXPORTS)
    del first, second, library
    gc.collect()


def test_the_memory_is_not_writable_where_it_runs() -> None:
    library = link(jit.compile(MODULE), EXPORTS)
    assert isinstance(library.owner, elf.Loaded)
    with open("/proc/self/maps") as maps:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if start <= library.address("f") < end:
                assert line.split()[1].startswith("r-x")
                break
        else:
            raise AssertionError("no memory there")


@pytest.mark.parametrize("text", [
    "declare i64 @labs(i64)\ndefine i64 @f(i64 %k) {\n %v = call i64 @labs(i64 %k)\n ret i64 %v\n}",
    "@t = thread_local global i64 0\ndefine ptr @f() {\n ret ptr @t\n}",
])
def test_what_needs_a_linker_is_refused(text: str) -> None:
    with pytest.raises(elf.Unsupported):
        elf.Loaded(jit.compile(text))


@pytest.mark.parametrize("code", [b"", b"MZ", bytes(64), b"\x7fELF\x01\x01\x01" + bytes(57)])
def test_what_is_no_object_is_refused(code: bytes) -> None:
    with pytest.raises(elf.Unsupported):
        elf.Loaded(code)


def test_llvm_links_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf, "supported", lambda: False)
    library = link(jit.compile(MODULE), EXPORTS, {"a": 17, "b": 19})
    assert not isinstance(library.owner, elf.Loaded)
    f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("f"))
    assert [f(k) for k in range(3)] == [20, 28, 44]
