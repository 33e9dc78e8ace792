"""Learning rates that follow from the number of the step, 0 at the first.

Any function of the step will do, with NumPy or with Python's own branches: training traces it, with
a scalar int64, as it traces the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.errors import OptionError
from gradc.optim.optimizer import Rate, learning_rate, name_of, number, run


@dataclass(frozen=True)
class Schedule:
    """A function from the number of a step to a learning rate, with a name.

    The number is an int, an array of integers, or traced.
    """

    name: str
    rate: Callable[[Any], Any]

    def __call__(self, step: Any) -> Any:
        """The learning rate at a step."""
        return self.rate(step)

    def __repr__(self) -> str:
        return self.name


def constant(lr: float) -> Schedule:
    """The same rate at every step.

    Raises OptionError for a negative rate.

    >>> constant(0.1)(7)
    0.1
    """
    lr = number("lr", lr)
    return Schedule(f"constant({lr})", lambda step: lr)


def step(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr * factor**(step // every)``: the rate is multiplied by ``factor`` every so many steps.

    The rates of ``torch.optim.lr_scheduler.StepLR``. Raises OptionError for a negative rate or
    factor, or ``every`` below 1.

    >>> [step(0.8, every=2, factor=0.5)(k) for k in range(5)]
    [0.8, 0.8, 0.4, 0.4, 0.2]
    """
    lr, factor, every = number("lr", lr), number("factor", factor), _count("every", every)
    return Schedule(
        f"step({lr}, every={every}, factor={factor})", lambda step: lr * factor ** (step // every)
    )


def cosine(lr: float, steps: int, floor: float = 0.0) -> Schedule:
    """Half a wave of the cosine, from ``lr`` at step 0 down to ``floor`` at ``steps``, where it
    stays.

    Loshchilov & Hutter, *SGDR: stochastic gradient descent with warm restarts*, ICLR 2017, equation
    5, without the restarts: the rates of ``torch.optim.lr_scheduler.CosineAnnealingLR`` up to
    ``steps``, beyond which those rise again. Raises OptionError for a negative rate or floor, or
    ``steps`` below 1.

    >>> cosine(1.0, steps=4)(np.arange(6)).round(4)
    array([1.    , 0.8536, 0.5   , 0.1464, 0.    , 0.    ])
    """
    lr, floor, steps = number("lr", lr), number("floor", floor), _count("steps", steps)

    def rate(step: Any) -> Any:
        angle = np.minimum(step, steps) * (np.pi / steps)
        return floor + (lr - floor) * (0.5 + 0.5 * np.cos(angle))

    return Schedule(f"cosine({lr}, steps={steps}, floor={floor})", rate)


def warmup(schedule: Rate, steps: int) -> Schedule:
    """A rate that grows in equal parts over the first ``steps``, and follows a schedule after them.

    schedule: what follows, counted from its own step 0 on; or a number.
    steps: the rates are ``1/steps``, ``2/steps`` ... ``steps/steps`` of the schedule's first.

    The rates of ``torch.optim.lr_scheduler.SequentialLR`` with ``LinearLR(start_factor=1/steps,
    total_iters=steps - 1)`` before the schedule, and ``milestones=[steps]``. Raises OptionError for
    ``steps`` below 1, or a negative rate.

    >>> warmup(step(0.8, every=2, factor=0.5), steps=2)(np.arange(6))
    array([0.4, 0.8, 0.8, 0.8, 0.4, 0.4])
    """
    schedule, steps = learning_rate(schedule), _count("steps", steps)

    def rate(step: Any) -> Any:
        share = np.minimum(step + 1, steps) / steps
        later = np.maximum(step - steps, 0)
        return share * (run(schedule, later) if callable(schedule) else schedule)

    return Schedule(f"warmup({name_of(schedule)}, steps={steps})", rate)


def _count(option: str, value: Any) -> int:
    count = int(number(option, value))
    if count < 1 or count != value:
        raise OptionError(f"{option} must be an integer >= 1, not {value!r}")
    return count
