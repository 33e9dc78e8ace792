"""Calls from a kernel back into Python: debug_print.

A callback takes the GIL, whether or not the kernel released it. An exception cannot pass through
native code: it waits in :func:`take_error`, on the thread that ran the kernel, until the status
of the kernel tells its caller to raise it.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.codegen.llvm import Builder, Val
from gradc.ir.ops.effects import show
from gradc.ir.types import TensorType

#: What a callback returns when it has failed: the kernel's status code for that.
FAILED = 3

_PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p))
_waiting = threading.local()


def emit_print(
    b: Builder, site: str, operand_types: Sequence[TensorType], operands: Sequence[Val]
) -> Val:
    """Call the print of a site on operands (ptr); returns its i32, 0 or :data:`FAILED`.

    ``site`` is a name in the module's table: at load, it is given the address that
    :func:`make_callback` made for the same types.
    """
    if len(operands) != len(operand_types):
        raise ValueError(f"{len(operands)} operands of {len(operand_types)} types")
    data = b.alloca("ptr", max(1, len(operands)), align=8)
    for k, operand in enumerate(operands):
        b.store(operand, b.gep(data, "ptr", b.i64(k)), 8)
    status = b.call_pointer("i32", b.external(site), [data])
    assert status is not None
    return status


def make_callback(format: str, operand_types: Sequence[TensorType]) -> tuple[int, object]:
    """The address of a function ``i32 (ptr *data)`` that prints copies of the arrays.

    Valid as long as the second of the results is referenced.
    """
    types = tuple(operand_types)

    def call(data: ctypes.Array[ctypes.c_void_p]) -> int:
        try:
            show(*(_copy(data[k], t) for k, t in enumerate(types)), format=format)
        except BaseException as error:  # KeyboardInterrupt too belongs to the caller
            _waiting.error = error
            return FAILED
        return 0

    function = _PROTOTYPE(call)
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address, function


def take_error() -> BaseException | None:
    """The exception of the last callback that failed on this thread, once; else None."""
    error: BaseException | None = getattr(_waiting, "error", None)
    _waiting.error = None
    return error


def _copy(address: object, type_: TensorType) -> np.ndarray[Any, Any]:
    """An array of the elements at an address, in memory of its own."""
    out = np.empty(type_.shape, type_.dtype)
    if out.nbytes:
        assert isinstance(address, int)
        ctypes.memmove(out.ctypes.data, address, out.nbytes)
    return out
