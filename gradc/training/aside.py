"""A call in a thread of its own, so that the one that waits for it hears signals, and may leave."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """A call under way. Who leaves it lets it end by itself, with all that it works in.

    A process may end meanwhile: the thread is a daemon, and what the call refers to, its code and
    its memory, is never freed while it runs, not even by an interpreter that is shut down.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._made: list[T] = []
        self._failed: list[BaseException] = []
        self._done = threading.Event()
        threading.Thread(target=self._run, args=(call,), daemon=True).start()

    def _run(self, call: Callable[[], T]) -> None:
        held = ctypes.py_object(call)
        ctypes.pythonapi.Py_IncRef(held)
        try:
            self._made.append(call())
        except BaseException as error:
            self._failed.append(error)
        finally:
            self._done.set()
            ctypes.pythonapi.Py_DecRef(held)

    @property
    def busy(self) -> bool:
        """Whether the call is under way."""
        return not self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long, and give whether it has come.

        A thread that is interrupted while it joins another takes it for ended (CPython 3.11);
        an event has no such trouble.
        """
        return self._done.wait(seconds)

    def result(self) -> T:
        """What the call gave, once it has ended. Raises what the call raised."""
        if self._failed:
            raise self._failed[0]
        return self._made[0]
