"""One training: native runs of many steps each, and between them all that Python has to do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from gradc.config import settings
from gradc.errors import NonFiniteError
from gradc.training.aside import Aside
from gradc.training.epochs import LOSSES, Carried, Plan
from gradc.training.interrupts import Interrupts
from gradc.training.keys import key_of
from gradc.training.loop import LONG, MANY, Loop
from gradc.training.memory import Memory
from gradc.training.nonfinite import culprit, is_finite, shown

Array = np.ndarray[Any, Any]
T = TypeVar("T")

#: seconds that a native run is to take: Python hears signals, shows progress and writes checkpoints
#: between two of them
TURN = 0.1
#: seconds from which on a step, or a run of steps whose time varies, has a thread of its own
BRIEF = 0.01
#: seconds from one look at interrupts that wait to the next
LOOK = 0.02
#: seconds from which on the time of a run says what a step takes
MEASURED = 0.01
#: seconds from one copy of the state to the next, at least; and how many times what it takes
KEEP, SHARE = 0.5, 100


@dataclass(frozen=True)
class Place:
    """Where a training is: its plan, what it carries, and all that as bytes."""

    plan: Plan
    what: Carried
    state: Array


class Run:
    """The state of a training, and the steps that take it on.

    Every so often it copies its state, to return to where a step went wrong half-way.
    """

    def __init__(
        self,
        loop: Loop,
        memory: Memory,
        data: Sequence[Array],
        seed: int,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.loop = loop
        self.plan = loop.plan
        self.memory = memory
        self.data = data
        self.seed = seed
        self.step = 0
        self.losses: list[Array] = []  # those of the epochs that ended, in pieces
        self.loss = float("nan")  # of the last step
        self._steps = loop.steps(memory, data, seed)
        self._turn = max(1, MANY // loop.work)
        self._per_epoch = loop.plan.steps
        self._guarded = loop.plan.on_nonfinite == "raise"
        self.interrupts = interrupts or Interrupts()
        self._kept = (0, memory.state.copy())
        self._kept_at = time.monotonic()
        self._interval = KEEP
        self._pace: float | None = None  # seconds a step, as last measured
        # Loops end when they end, and a page of a file may have to be read.
        self._uneven = loop.work >= LONG or any(
            isinstance(x.base, np.memmap) for x in data
        )
        self._aside: Aside[Any] | None = None

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self.step // self._per_epoch

    def all_losses(self) -> Array:
        """The mean loss of each epoch that is done."""
        return np.concatenate([np.empty(0), *self.losses])

    @property
    def place(self) -> Place:
        """The place that a training can go on from."""
        return Place(self.plan, self.memory.what, self.memory.state.copy())

    # -- places in a training ------------------------------------------------------------------

    def begin_at(self, step: int, state: Array, losses: Array) -> None:
        """Take on a state after so many steps."""
        self.memory.state[...] = state
        self.losses = [losses]
        self._place(step)
        self._kept = (step, state.copy())

    def _place(self, step: int) -> None:
        self.step = step
        if "for.order" in self.memory.arrays:
            self.memory.arrays["for.order"][...] = self.plan.order(self.seed, self.epoch)

    def _return(self) -> None:
        """Go back to the last copy of the state."""
        step, state = self._kept
        self.memory.state[...] = state
        self.losses = [self.all_losses()[: step // self._per_epoch]]
        self._place(step)

    def _keep(self) -> None:
        if time.monotonic() - self._kept_at >= self._interval:
            self.keep()

    def keep(self) -> None:
        """Copy the state, to return to it. Raises NonFiniteError as :meth:`check` does."""
        began = time.monotonic()
        self.check()
        self._kept = (self.step, self.memory.state.copy())
        self._kept_at = time.monotonic()
        self._interval = max(KEEP, SHARE * (self._kept_at - began))

    # -- steps ---------------------------------------------------------------------------------

    def go(self, limit: int) -> None:
        """Take some steps, at most up to step ``limit``.

        Raises what a step raises, NonFiniteError where it is to, and KeyboardInterrupt. The state
        is then that of a step before.
        """
        room = (self.epoch + LOSSES) * self._per_epoch - self.step
        wanted = min(self._turn, limit - self.step, room)
        self._keep()
        self.interrupts.answer()
        began = time.perf_counter()
        with self.interrupts.patient():
            try:
                self._take(wanted)
            except BaseException:
                self._leave()
                self._return()
                raise
        if self._guarded and not math.isfinite(self.loss):
            raise self._diagnosis()
        seconds = time.perf_counter() - began
        if seconds > MEASURED and settings().jit:
            self.loop.seconds = seconds / wanted
        self._pace = seconds / wanted
        self._turn = max(1, min(64 * wanted, int(wanted * TURN / max(seconds, 1e-9))))

    def _is_brief(self, steps: int) -> bool:
        """Whether so many steps should take no time that matters to who interrupts them."""
        if not settings().jit:
            return True  # the interpreter hears signals
        if self._pace is None:
            return self.loop.work < LONG
        return self._pace * (steps if self._uneven else 1) < BRIEF

    def aside(self, call: Callable[[], T], patience: bool = False) -> T:
        """Make a call that may take long, in a way that interrupts need not wait for its end.

        With patience they wait while it is not late. What it works on must be left to it where
        this raises.
        """
        if not self.interrupts.hears:
            return call()
        self._aside = made = Aside(call)
        while not made.wait(LOOK):
            if self.interrupts.any and (self.interrupts.late or not patience):
                self.interrupts.answer()
        return made.result()

    def _leave(self) -> None:
        """Leave steps that are under way to themselves, with the memory that they work in."""
        if self._aside is not None and self._aside.busy:
            self.memory = Memory(self.memory.what)
            self._steps = self.loop.steps(self.memory, self.data, self.seed)

    def _take(self, wanted: int) -> None:
        epoch, batch = divmod(self.step, self._per_epoch)
        steps = self._steps
        if self._is_brief(wanted):
            ran, self.loss = steps(epoch, batch, wanted)
        else:
            ran, self.loss = self.aside(lambda: steps(epoch, batch, wanted), patience=True)
        ended = (self.step + ran) // self._per_epoch - epoch
        if ended:
            self.losses.append(self.memory.arrays["for.losses"][:ended].copy())
        self.step += ran

    def measure(self) -> None:
        """Take steps for a while, to see how long they take."""
        until, start = time.monotonic() + 4 * TURN, self.memory.state.copy()
        taken, seconds = 0, 0.0
        while time.monotonic() < until:
            before, began = self.step, time.perf_counter()
            try:
                self.go(self.step + (1 << 40))
            except NonFiniteError:
                self.begin_at(0, start, np.empty(0))
            else:
                taken, seconds = taken + self.step - before, seconds + time.perf_counter() - began
        # No run is long where epochs of one short step end in each.
        if self.loop.seconds is None and taken and settings().jit:
            self.loop.seconds = seconds / taken

    # -- what is not finite --------------------------------------------------------------------

    def check(self) -> None:
        """Raise NonFiniteError if parameters are not finite, and were to be."""
        if self.plan.on_nonfinite == "raise" and not is_finite(self.memory.params):
            raise self._diagnosis()

    def _diagnosis(self) -> NonFiniteError:
        """Find the step after which something is not finite, and go back to before it."""
        try:
            with self.interrupts.at_once():
                return self._found()
        except BaseException:
            self._leave()
            self._return()
            raise

    def _found(self) -> NonFiniteError:
        start, last = self._kept[0], self.step
        # What is not finite stays so: the first such state is found by halves.
        good, bad = start, last
        while good + 1 < bad:
            middle = (good + bad) // 2
            self._replay(middle)
            good, bad = (middle, bad) if is_finite(self.memory.params) else (good, middle)
        self._replay(good)
        plan, (epoch, batch) = self.plan, divmod(good, self.plan.steps)
        rows = plan.rows(self.seed, epoch, batch)
        graph = self.loop.step_of(batch).adjoint
        inputs = [*self.memory.own, *(x[rows] for x in self.data)]
        if self.loop.spec.keyed:
            inputs.append(key_of(self.seed, epoch, batch))
        found = culprit(graph, len(self.memory.own), inputs)
        where = f"step {good} (epoch {epoch}, batch {batch}, each from 0)"
        details: dict[str, Any] = {"step": good, "epoch": epoch, "batch": batch, "rows": rows}
        if found is None:
            return NonFiniteError(f"training is not finite after {where}", **details)
        node, value = found
        loc = node.locs[-1] if node.locs else None
        if node.op.name == "input":
            what = f"`{node.attrs['name']}` is not finite in {where}: {shown(value)}"
            return NonFiniteError(
                what, where=loc, types=[f"{node.attrs['name']}: {node.type}"],
                remedy="look at the samples that the error has as .rows", **details,
            )
        whose = {"primal": "the loss", "adjoint": "the gradient"}.get(node.role.kind, "the update")
        return NonFiniteError(
            f"{whose} is not finite in {where}: `{node.op.name}` gives {shown(value)}",
            where=loc, types=[str(node.type)],
            remedy="a smaller learning rate, clip_norm=, or on_nonfinite='skip'", **details,
        )

    def _replay(self, step: int) -> None:
        """Go to a step that is not before the last copy of the state."""
        self._return()
        while self.step < step:
            before = self.step
            self._take(min(step - self.step, LOSSES))
            if self.step == before:
                break
