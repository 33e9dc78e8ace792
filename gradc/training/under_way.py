"""The trainings of a trainer: those under way, in this thread and in others, and what they made."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gradc.training.result import TrainResult
    from gradc.training.watch import Watch


class _Training(NamedTuple):
    """A training under way: its place in the order of beginnings, and its thread."""

    watch: Watch
    number: int
    thread: int


class Trainings:
    """The trainings of a trainer.

    A thread sees its own: the one under way, or of several the innermost, which a callback of the
    others began; else the last that ended. What others have begun since comes before that one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: list[_Training] = []  # in the order in which they began
        self._last: tuple[int, TrainResult | None] = (0, None)  # that ended: its number, result
        self._own = threading.local()  # the last of this thread: when it ended, result
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    def begin(self, watch: Watch) -> None:
        """Note a training that begins."""
        with self._lock:
            self._under_way.append(_Training(watch, self._next(), threading.get_ident()))

    def end(self, watch: Watch, made: TrainResult | None) -> None:
        """Note that it has ended, and what it made."""
        with self._lock:
            for training in [t for t in self._under_way if t.watch is watch]:
                self._under_way.remove(training)
                self._last = training.number, made
            self._own.last = self._next(), made

    @property
    def result(self) -> TrainResult | None:
        """What the training that this thread sees has made so far, or when it ended."""
        with self._lock:
            since, own = getattr(self._own, "last", (0, None))
            mine = [t for t in self._under_way if t.thread == threading.get_ident()]
            others = [t for t in self._under_way if t.number > since]
            began, last = self._last
        if mine or others:
            return (mine or others)[-1].watch.result("")
        found: TrainResult | None = last if began > since else own
        return found
