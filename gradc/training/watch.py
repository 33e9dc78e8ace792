"""What happens beside the steps of a training: measures, callbacks, progress, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from gradc.errors import ArgumentError, CheckpointError, OptionError
from gradc.training import resume
from gradc.training.data import count
from gradc.training.evaluation import EarlyStopping, Evaluation, Validation, numbers
from gradc.training.progress import Progress
from gradc.training.result import TrainResult
from gradc.training.run import Run
from gradc.tree import unflatten

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Options:
    """The options of :meth:`gradc.train.Trainer.fit`."""

    epochs: int
    seed: int
    callback: Callable[[int, float], object] | None
    validation: Sequence[Any] | None
    metrics: Mapping[str, Callable[..., Any]]
    every: int | None
    early_stopping: EarlyStopping | int | None
    progress: bool
    checkpoint: str | PathLike[str] | None
    checkpoint_every: float
    resume: bool

    def __post_init__(self) -> None:
        if self.callback is not None and not callable(self.callback):
            raise ArgumentError(f"callback must be a function, not {self.callback!r}")
        if not isinstance(self.metrics, Mapping):
            raise ArgumentError(
                f"metrics must be functions by name, not {type(self.metrics).__name__}",
                remedy='metrics={"accuracy": accuracy}',
            )
        if self.validation is None:
            for name in ("metrics", "every"):
                if getattr(self, name):
                    raise ArgumentError(
                        f"{name} needs samples that are held out",
                        remedy=f"validation=(X_held, Y_held), {name}=...",
                    )
        if self.every is not None:
            count("every", self.every, 1)
        if self.resume and self.checkpoint is None:
            raise ArgumentError("resume=True needs a file", remedy="checkpoint='run.npz'")
        given = self.checkpoint
        path = isinstance(given, (str, PathLike)) and "\0" not in str(os.fspath(given))
        if given is not None and not path:
            raise ArgumentError(
                f"checkpoint must be a path, not {self.checkpoint!r}", remedy="'run.npz'"
            )
        seconds = self.checkpoint_every
        if not isinstance(seconds, Real) or not seconds >= 0:
            raise OptionError(
                f"checkpoint_every is seconds, at least 0, not {self.checkpoint_every!r}"
            )

        if self.path is not None:
            resume.check(self.path)

    @property
    def path(self) -> Path | None:
        """The file of the checkpoint, which a link may name."""
        return None if self.checkpoint is None else Path(os.path.realpath(self.checkpoint))

    @property
    def stopping(self) -> EarlyStopping | None:
        """When to end."""
        given = self.early_stopping
        return given if given is None or isinstance(given, EarlyStopping) else EarlyStopping(given)


class Watch:
    """A run with all that its options ask for."""

    def __init__(
        self, run: Run, label: str, options: Options, evaluation: Evaluation | None
    ) -> None:
        self.run = run
        self.options = options
        self.stopping = options.stopping
        self.label = label
        self.evaluation = evaluation
        monitor = self.stopping.monitor if self.stopping else "loss"
        if monitor != "loss" and monitor not in options.metrics:
            raise ArgumentError(
                f"there is no metric {monitor!r} to monitor",
                remedy="metrics={...}, and its name",
            )
        self.stopped = ""
        self.measured: list[tuple[int, dict[str, float]]] = []
        self.best = math.nan
        self.best_params: Array | None = None
        self.waited = 0
        self.measured_at = self.settled = run.step  # up to where all was done beside the steps
        self.path = options.path
        self._saved_at = time.monotonic()

    # -- the training --------------------------------------------------------------------------

    def train(self) -> None:
        """Take all steps."""
        run, steps = self.run, self.run.plan.steps
        last = self.options.epochs * steps
        if self.options.resume and self.path is not None and self.path.exists():
            self._resume(self.path)
        shown = (
            Progress(self.label, run.step, last, steps) if self.options.progress else nullcontext()
        )
        try:
            with shown as progress:
                if self.settled < run.step:
                    self._after_a_turn()
                while run.step < last and not self.stopped:
                    run.go(self._next(last))
                    self._after_a_turn()
                    if progress is not None:
                        over = run.step == last or bool(self.stopped)
                        progress.show(run.step, run.loss, last=over)
                run.check()
        except BaseException as error:
            self._save_after(error)
            raise
        if self.path is not None:
            self._save(self.path)
        self.stopped = self.stopped or "epochs"

    def _next(self, last: int) -> int:
        """The step at which there is something to do, at the latest."""
        options, step, steps = self.options, self.run.step, self.run.plan.steps
        if options.callback is not None or self._measures_epochs:
            last = min(last, (step // steps + 1) * steps)
        if options.every is not None:
            last = min(last, (step // options.every + 1) * options.every)
        return last

    @property
    def _measures_epochs(self) -> bool:
        if self.evaluation is not None:
            return self.options.every is None
        return self.stopping is not None

    def _after_a_turn(self) -> None:
        run, options = self.run, self.options
        epoch, within = divmod(run.step, run.plan.steps)
        ended = not within
        due = (ended and self._measures_epochs) or (
            options.every and not run.step % options.every
        )
        if due and self.measured_at < run.step:
            self._measure()
        if ended and options.callback is not None:
            loss = float(run.losses[-1][-1])
            with run.interrupts.at_once():
                answer = options.callback(epoch - 1, loss)
            if answer and not self.stopped:
                self.stopped = "callback"
        self.settled = run.step
        if self.path is not None:
            now = time.monotonic()
            if now - self._saved_at >= options.checkpoint_every:
                run.check()  # who goes on from it has no copy from before
                self._save(self.path)

    # -- measures ------------------------------------------------------------------------------

    def _measure(self) -> None:
        run = self.run
        run.keep()  # no way back leads to before what is measured
        if self.evaluation is not None:
            values, params = self.evaluation.values, self._params(run.memory.params)
            # Errors of the call, which a thread of its own knows nothing about, are raised here.
            found = numbers(run.aside(lambda: values(params)))
        else:
            found = {"loss": float(run.losses[-1][-1])}
        self.measured_at = run.step
        if self.evaluation is not None:
            self.measured.append((run.step, found))
        self._judge(found)
        run.interrupts.answer()

    def _judge(self, found: dict[str, float]) -> None:
        """Remember the best measurement, and see whether it is time to end."""
        if self.stopping is None:
            return
        value = found[self.stopping.monitor]
        if self.best_params is None or self.stopping.better(value, self.best):
            self.best, self.waited = value, 0
            self.best_params = self._own_bytes().copy()
        else:
            self.waited += 1
            if self.waited >= self.stopping.patience:
                self.stopped = "early stopping"

    def _own_bytes(self) -> Array:
        """The parameters as bytes."""
        memory = self.run.memory
        count = memory.what.params
        end = memory.offsets[count] if count < len(memory.offsets) else memory.nbytes
        return memory.buffer[:end]

    def _params(self, leaves: Sequence[Array]) -> Any:
        # As everywhere in gradc, a result without axes is a NumPy scalar.
        return unflatten(self.run.loop.types.params, [x if x.ndim else x[()] for x in leaves])

    def result(self, stopped: str) -> TrainResult:
        """What training has made so far."""
        run, memory = self.run, self.run.memory
        own = [np.array(x) for x in memory.own]
        params, state = own[: memory.what.params], own[memory.what.params :]
        if self.best_params is not None and self.stopping and self.stopping.restore_best:
            kept = self._own_bytes().copy()
            self._own_bytes()[...] = self.best_params
            params = [np.array(x) for x in memory.params]
            self._own_bytes()[...] = kept
        skipped = memory.arrays.get("for.skipped")
        return TrainResult(
            self._params(params),
            run.all_losses(),
            unflatten(run.loop.types.state, [x if x.ndim else x[()] for x in state]),
            run.step,
            0 if skipped is None else int(skipped),
            self._validation(),
            stopped,
            run.place,
        )

    def _validation(self) -> Validation | None:
        if self.evaluation is None:
            return None
        steps = np.array([step for step, _ in self.measured], np.int64)
        values = {
            name: np.array([found[name] for _, found in self.measured])
            for name in self.evaluation.functions
        }
        return Validation(steps, values)

    # -- checkpoints ---------------------------------------------------------------------------

    def _save_after(self, error: BaseException) -> None:
        """Save where an exception ends the training, which says so if that fails too."""
        if self.path is None or isinstance(error, CheckpointError):
            return
        try:
            self._save(self.path)
        except CheckpointError as problem:
            error.add_note(str(problem))

    def _identity(self) -> dict[str, Any]:
        """What a training must have in common with one that it goes on from."""
        plan, what = self.run.plan, self.run.memory.what
        return {
            "version": 2,
            "carried": [f"{n}: {t}" for n, t in zip(what.names, what.types, strict=True)],
            "samples": plan.samples,
            "batch_size": plan.batch,
            "shuffle": plan.shuffled,
            "block": plan.block,
            "on_nonfinite": plan.on_nonfinite,
            "seed": self.options.seed,
        }

    def _save(self, path: Path) -> None:
        run = self.run
        head = {
            "identity": self._identity(),
            "step": run.step,
            "settled": self.settled,
            "measured_at": self.measured_at,
            "best": repr(self.best),
            "waited": self.waited,
            "measured": [[step, {k: repr(v) for k, v in found.items()}]
                         for step, found in self.measured],
        }
        arrays = {n: run.memory.arrays[n] for n in run.memory.what.names[: run.memory.what.own]}
        arrays |= {"gradc_state": run.memory.state, "gradc_losses": run.all_losses()}
        if self.best_params is not None:
            arrays["gradc_best"] = self.best_params
        resume.save(path, head, arrays)
        self._saved_at = time.monotonic()

    def _resume(self, path: Path) -> None:
        head, arrays = resume.load(path)
        mine, its = self._identity(), head.get("identity", {})
        for name, value in mine.items():
            if its.get(name) != value:
                raise CheckpointError(
                    f"{str(path)!r} is of another training: {name} is {its.get(name)!r} there, "
                    f"and {value!r} here",
                    remedy="the same arguments as then, or resume=False to begin anew",
                )
        state = arrays["gradc_state"]
        self.run.begin_at(head["step"], state, arrays["gradc_losses"])
        self.settled, self.measured_at = head["settled"], head["measured_at"]
        self.best, self.waited = float(head["best"]), head["waited"]
        self.best_params = arrays.get("gradc_best")
        self.measured = [
            (step, {k: float(v) for k, v in found.items()}) for step, found in head["measured"]
        ]
        if self.stopping is not None and self.waited >= self.stopping.patience:
            self.stopped = "early stopping"

