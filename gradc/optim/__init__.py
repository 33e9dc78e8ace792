"""Optimizers: how a gradient changes the parameters, as plain NumPy functions.

An optimizer is a pair ``(init, update)``. Training traces ``update`` as it traces the loss, so that
the update is compiled into the step, fused with the gradient; one of your own is as fast as these:

>>> def init(params):
...     return ()
>>> def update(grads, state, params):
...     return params - 0.1 * np.sign(grads), state
>>> sign_descent = Optimizer("sign_descent", init, update)

Wherever an optimizer is taken, the bare pair ``(init, update)`` will do. Learning rates are numbers
or functions of the number of the step: :func:`constant`, :func:`step`, :func:`cosine`,
:func:`warmup`, or any other.
"""

from gradc.optim.adaptive import (
    AdagradState,
    AdamState,
    RmspropState,
    adagrad,
    adam,
    adamw,
    rmsprop,
)
from gradc.optim.descent import DescentState, LionState, lion, momentum, nesterov, sgd
from gradc.optim.optimizer import Optimizer, as_optimizer
from gradc.optim.schedules import Schedule, constant, cosine, step, warmup
from gradc.optim.wrappers import AveragedState, average_of, averaged, clip_norm, clip_value

__all__ = [
    "AdagradState",
    "AdamState",
    "AveragedState",
    "DescentState",
    "LionState",
    "Optimizer",
    "RmspropState",
    "Schedule",
    "adagrad",
    "adam",
    "adamw",
    "as_optimizer",
    "average_of",
    "averaged",
    "clip_norm",
    "clip_value",
    "constant",
    "cosine",
    "lion",
    "momentum",
    "nesterov",
    "rmsprop",
    "sgd",
    "step",
    "warmup",
]
