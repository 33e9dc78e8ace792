"""Arithmetic of indices and addresses: what is computed, and that nothing is computed twice."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from gradc.codegen import jit
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.targets import host

LARGE = (1 << 63) - 1


@pytest.mark.parametrize("x", [0, 7, -5, LARGE])
@pytest.mark.parametrize("y", [1, -(1 << 40)])
def test_sums_and_products_wrap_as_numpys(x: int, y: int) -> None:
    module = Module(host())
    b = Builder(module, "f", "i64", [("i64", "x"), ("i64", "y")])
    p, q = b.params
    left = b.mul(b.add(p, b.i64(LARGE)), b.i64(3))
    right = b.mul(b.add(b.i64(2), q), b.add(p, b.i64(-9)))
    b.ret(b.add(b.add(left, b.i64(LARGE)), b.add(right, b.add(b.i64(4), b.i64(5)))))
    b.finish()
    library = jit.load(str(module), ("f",))
    f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(library.address("f"))
    with np.errstate(over="ignore"):
        u, v = np.int64(x), np.int64(y)
        expected = (u + LARGE) * np.int64(3) + LARGE + (v + np.int64(2)) * (u - np.int64(9)) + 9
    assert f(x, y) == expected


def test_addresses() -> None:
    """Elements after elements, of two types, in two blocks."""
    module = Module(host())
    b = Builder(module, "f", "i64", [("ptr", "a"), ("i64", "row")])
    a, row = b.params

    def element(down: int, along: int) -> Val:
        start = b.gep(a, "i64", b.mul(b.add(row, b.i64(down)), b.i64(10)))
        return b.load(b.gep(b.gep(start, "i8", b.i64(8)), "i64", b.i64(along)), "i64", 8)

    total = b.add(element(1, 2), element(2, -3))
    before = len(b.lines)
    b.gep(a, "i64", b.mul(b.add(row, b.i64(1)), b.i64(10)))
    assert len(b.lines) == before
    with b.if_(b.icmp("eq", row, b.i64(3))):
        b.ret(b.add(total, element(2, -3)))
    b.ret(total)
    b.finish()
    library = jit.load(str(module), ("f",))
    f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(library.address("f"))
    x = np.random.default_rng(0).integers(0, 1 << 40, 100)
    for at in (0, 3, 6):
        second = x[(at + 2) * 10 + 1 - 3]
        assert f(x.ctypes.data, at) == x[(at + 1) * 10 + 3] + second * (1 + (at == 3))
