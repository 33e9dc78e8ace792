"""SIGINT in a training: answered at once where users' functions run, else between steps."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: seconds after which an interrupt no longer waits for the end of a run of steps
LATE = 0.15


class Interrupts:
    """The interrupts of a training, which are answered by the handler there was before it.

    An exception that a handler raises is lost where it comes while Python runs a destructor, or a
    callback of a weak reference. So an interrupt is kept until its exception has ended the
    training, or the function of the user's in which it was raised is done.
    """

    def __init__(self) -> None:
        self.hears = False  # whether interrupts come to this thread
        self._kept: list[Callable[[], None]] = []
        self._now = True
        self._until = math.inf  # when they have waited long enough

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear interrupts, if this is the thread to which they come."""
        handler = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if not main or not callable(handler):
            yield
            return

        def note(number: int, frame: Any) -> None:
            self._kept.append(lambda: handler(number, frame))
            if self._now or self.late:
                self.answer()

        signal.signal(signal.SIGINT, note)
        self.hears = True
        try:
            yield
        finally:
            self.hears = False
            if signal.getsignal(signal.SIGINT) is note:  # a callback may have set its own
                signal.signal(signal.SIGINT, handler)
        self.answer()

    def answer(self) -> None:
        """Have the interrupts so far answered, mostly by a KeyboardInterrupt."""
        while self._kept:
            self._kept[0]()
            del self._kept[:1]

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Have them wait for the end of what is done here, unless that takes long."""
        self._until = time.monotonic() + LATE
        try:
            yield
        finally:
            self._until = math.inf
        self.answer()

    @property
    def late(self) -> bool:
        """Whether they have waited long enough."""
        return time.monotonic() > self._until

    @property
    def any(self) -> bool:
        """Whether interrupts wait for an answer."""
        return bool(self._kept)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Have them wait for :meth:`answer`, or for the end of what is done here."""
        self.answer()
        self._now = False
        try:
            yield
        finally:
            self._now = True
        self.answer()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Have them answered at once, in code that may catch what is raised."""
        self.answer()
        before, self._now = self._now, True
        try:
            yield
            self._kept.clear()
        finally:
            self._now = before
