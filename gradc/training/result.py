"""What training made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.errors import ArgumentError
from gradc.training.evaluation import Validation
from gradc.training.run import Place, Run

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrainResult:
    """What training made.

    params: the trained parameters, of the structure, shapes and dtypes of those given.
    losses: float64, one for each epoch that was finished: the mean over its samples of the loss of
        their batches, each taken before the batch's own update.
    state: the optimizer's state after the last step.
    steps: how many steps were taken, those before a resumption included.
    skipped: how many of them changed nothing (``on_nonfinite="skip"``).
    validation: the measurements on samples held out; None without any.
    stopped: why training ended: "epochs", "callback", "early stopping", or "" where it was ended
        by an exception, or is under way.
    place: what :meth:`Trainer.fit` needs to go on from here.
    """

    params: Any
    losses: Array
    state: Any = None
    steps: int = 0
    skipped: int = 0
    validation: Validation | None = None
    stopped: str = "epochs"
    place: Place | None = field(default=None, repr=False, compare=False)


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a training. ``result`` is what it had made: a TrainResult."""

    def __init__(self, result: TrainResult) -> None:
        super().__init__(f"training was interrupted after {result.steps} steps")
        self.result = result


def go_on(run: Run, before: TrainResult) -> None:
    """Have a run begin where another ended. Raises ArgumentError if that was of another kind."""
    place = before.place
    if place is None or (place.plan, place.what) != (run.plan, run.memory.what):
        raise ArgumentError(
            "the result is of another trainer, or of data of another size: there is no place in "
            "this training where it would go on",
            remedy="fit(result.params, ...) to begin a training with its parameters",
        )
    run.begin_at(before.steps, place.state, before.losses)
