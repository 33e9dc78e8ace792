"""debug_print at run time: what a kernel prints, and what becomes of an exception."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from gradc.codegen import callbacks, jit
from gradc.codegen.llvm import Builder, Module
from gradc.codegen.targets import host
from gradc.ir.types import type_of


class Printer:
    """A kernel that prints its arrays; ``call`` gives its status."""

    def __init__(self, format: str, arrays: Sequence[np.ndarray], release_gil: bool) -> None:
        self.arrays = arrays
        types = [type_of(x) for x in arrays]
        module = Module(host())
        b = Builder(module, "kernel", "i32", [("ptr", "args")])
        pointers = [
            b.load(b.gep(b.params[0], "ptr", b.i64(k)), "ptr", 8) for k in range(len(types))
        ]
        b.ret(callbacks.emit_print(b, "site", types, pointers))
        b.finish()
        address, self.alive = callbacks.make_callback(format, types)
        self.library = jit.load(str(module), ("kernel",), {"site": address})
        prototype = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
        kernel = prototype(ctypes.c_int32, ctypes.c_void_p)
        self.function = kernel(self.library.address("kernel"))

    def call(self) -> int:
        table = (ctypes.c_void_p * (len(self.arrays) + 1))(*(x.ctypes.data for x in self.arrays))
        return int(self.function(table))


@pytest.mark.parametrize("release_gil", [False, True])
def test_arrays_are_printed(capsys: pytest.CaptureFixture[str], release_gil: bool) -> None:
    arrays = [np.arange(3, dtype=np.int32), np.array(2.5), np.array([[True], [False]])]
    arrays.append(np.zeros((0, 2), np.float32))
    printer = Printer("a={} b={:.3f} c={} d={}", arrays, release_gil)
    assert printer.call() == 0
    assert capsys.readouterr().out == f"a=[0 1 2] b=2.500 c={arrays[2]} d=[]\n"
    assert callbacks.take_error() is None


def test_text_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert Printer("here", [], True).call() == 0
    assert capsys.readouterr().out == "here\n"


def test_an_error_waits_for_the_caller_of_its_thread() -> None:
    printer = Printer("{:d}", [np.array([1.0, 2.0])], True)
    seen: list[object] = []

    def run() -> None:
        assert printer.call() == callbacks.FAILED
        seen.extend([callbacks.take_error(), callbacks.take_error()])

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert isinstance(seen[0], TypeError)
    assert seen[1] is None
    assert callbacks.take_error() is None


def test_an_interrupt_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*values: object, format: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(callbacks, "show", interrupted)
    assert Printer("{}", [np.array(1.0)], True).call() == callbacks.FAILED
    assert isinstance(callbacks.take_error(), KeyboardInterrupt)


def test_what_is_printed_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[np.ndarray] = []
    monkeypatch.setattr(callbacks, "show", lambda *values, format: kept.extend(values))
    x = np.ones(4)
    assert Printer("{}", [x], True).call() == 0
    x[:] = 7
    np.testing.assert_array_equal(kept[0], np.ones(4))
