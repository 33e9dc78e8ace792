"""The process's pool of threads: how many there may be, and what forks and exits do to it."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gradc.codegen import cpython, pool
from gradc.codegen.link import Library, link

#: seconds that an exiting process waits for threads to end
PATIENCE = 1.0


@dataclass
class _Pool:
    """The pool of this process. Its library is never unloaded: threads may be in it."""

    library: Library | None = None
    threads: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self, name: str) -> ctypes.c_int64:
        assert self.library is not None
        return ctypes.c_int64.from_address(self.library.address(name))


_pool = _Pool()


def num_threads() -> int:
    """How many threads a kernel may use, the caller's among them.

    Raises ValueError if ``GRADC_NUM_THREADS`` is no such number.
    """
    if _pool.threads is None:
        given = os.environ.get("GRADC_NUM_THREADS", "")
        if given:
            _pool.threads = _checked(int(given) if given.isdecimal() else given)
        else:
            _pool.threads = min(_cores(), pool.MOST + 1)
    return _pool.threads


def set_num_threads(count: int) -> None:
    """Let kernels use ``count`` threads from now on, the caller's among them.

    Raises ValueError if it is not in 1 to 256.
    """
    with _pool.lock:
        _pool.threads = _checked(count)
        if _pool.library is not None:
            _pool.number("wanted").value = _pool.threads - 1


def _checked(count: object) -> int:
    most = pool.MOST + 1
    if type(count) is not int or not 1 <= count <= most:
        raise ValueError(f"the number of threads is a whole number from 1 to {most}, not {count!r}")
    return count


def _cores() -> int:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def started() -> int:
    """How many threads there are besides those that call."""
    return 0 if _pool.library is None else _pool.number("started").value


def address(compile: Callable[[str], bytes]) -> int:
    """The address of ``parallel``; ``compile`` makes the object code of the pool's text."""
    with _pool.lock:
        if _pool.library is None:
            module = pool.emit()
            table = {name: cpython.python_function(name) for name in module.externals}
            _pool.library = link(compile(str(module)), pool.EXPORTS, table)
            # An interpreter that ends clears its modules, while a thread may still be in the code.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(_pool.library))
            _pool.number("wanted").value = num_threads() - 1
            atexit.register(_end)
        return _pool.library.address("parallel")


def _forget() -> None:
    """In the child of a fork there are none of the threads: have none, until work asks for them."""
    _pool.lock = threading.Lock()
    if _pool.library is None:
        return
    ctypes.memset(_pool.library.address("slots"), 0, pool.MOST * pool.SLOT)
    for name in ("started", "busy"):
        _pool.number(name).value = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _end() -> None:
    """Before the process unloads code: have no thread run in it."""
    assert _pool.library is not None
    shutdown = ctypes.CFUNCTYPE(ctypes.c_int64)(_pool.library.address("shutdown"))
    deadline = time.monotonic() + PATIENCE
    while shutdown() and time.monotonic() < deadline:
        time.sleep(1e-4)
