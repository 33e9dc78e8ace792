"""gradc compiles NumPy functions, and their gradients, to native code.

>>> import numpy as np, gradc
>>> @gradc.compile
... def loss(w, x, y):
...     return np.mean((x @ w - y) ** 2)
>>> w, x, y = np.zeros(2), np.eye(2), np.array([1.0, 3.0])
>>> value, gradient = loss.value_and_grad(w, x, y)
>>> float(value), gradient
(5.0, array([-1., -3.]))
"""

from __future__ import annotations

from gradc import optim, random
from gradc.check import GradientCheckError, check_grads
from gradc.compile import Compiled, compile
from gradc.config import config, get_num_threads, set_num_threads
from gradc.control import Range as range
from gradc.control import (
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    fori_loop,
    scan,
    switch,
    while_loop,
)
from gradc.debug import debug_print
from gradc.dispatch import SpecializationWarning
from gradc.errors import GradcError, UnrolledLoopWarning
from gradc.train import Trainer, train
from gradc.training.evaluation import EarlyStopping, Validation
from gradc.training.result import TrainingInterrupted, TrainResult
from gradc.transforms import grad, jvp, stop_gradient, value_and_grad, vjp

__all__ = [
    "Compiled",
    "EarlyStopping",
    "GradcError",
    "GradientCheckError",
    "SpecializationWarning",
    "TrainResult",
    "Trainer",
    "TrainingInterrupted",
    "UnrolledLoopWarning",
    "Validation",
    "check_grads",
    "checkpoint",
    "compile",
    "cond",
    "config",
    "custom_jvp",
    "custom_vjp",
    "debug_print",
    "fori_loop",
    "get_num_threads",
    "grad",
    "jvp",
    "optim",
    "random",
    "range",
    "scan",
    "set_num_threads",
    "stop_gradient",
    "switch",
    "train",
    "value_and_grad",
    "vjp",
    "while_loop",
]

__version__ = "0.1.0"
