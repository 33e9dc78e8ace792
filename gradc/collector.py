"""Python's collector of cyclic garbage, at rest while something is compiled.

Compiling makes many objects, which it keeps until it is done, and next to no cycles. The collector
is started by the number of new objects: it would walk over all of them again and again, for a tenth
of a short compilation and a fifth of a long one.
"""

from __future__ import annotations

import gc
import os
import threading


class _Rest:
    """``with AT_REST:`` the collector rests until the last thread inside has left.

    It stays off where it was off before. A thread inside may enter again.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.mine = threading.local()  # .depth: how often this thread is inside
        self.threads = 0
        self.start = False

    def __enter__(self) -> None:
        self.mine.depth = getattr(self.mine, "depth", 0) + 1
        if self.mine.depth == 1:
            with self.lock:
                if self.threads == 0:
                    self.start = gc.isenabled()
                    gc.disable()
                self.threads += 1

    def __exit__(self, *error: object) -> None:
        self.mine.depth -= 1
        if self.mine.depth == 0:
            with self.lock:
                self._leave(self.threads - 1)

    def _leave(self, threads: int) -> None:
        self.threads = threads
        if threads == 0 and self.start:
            gc.enable()

    def forked(self) -> None:
        """In a child, of all threads only the one that forked goes on."""
        self.lock = threading.Lock()
        if self.threads:
            self._leave(int(getattr(self.mine, "depth", 0) > 0))


AT_REST = _Rest()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=AT_REST.forked)
