"""Steps along the gradient, a velocity, or their signs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.errors import OptionError
from gradc.optim.optimizer import (
    Decay,
    Optimizer,
    Rate,
    decays,
    described,
    each,
    learning_rate,
    like,
    number,
    pair,
    rate_at,
    weight_decay_of,
    zeros,
)


class DescentState(NamedTuple):
    """How many steps were taken, and the velocity. What is not needed is an empty tuple."""

    step: Any
    velocity: Any


def sgd(
    lr: Rate = 1e-3,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: Decay = 0.0,
) -> Optimizer:
    """Gradient descent: ``params - lr * grads``, equal to ``torch.optim.SGD``.

    lr: a number, or a schedule: a function of the number of the step.
    momentum: with μ the step is along a velocity ``v = μ v + (1 - dampening) grads``, which at the
        first step is the gradient.
    nesterov: the step is along ``grads + μ v`` (Sutskever et al., *On the importance of
        initialization and momentum in deep learning*, 2013, in the form of PyTorch).
    weight_decay: ``weight_decay * params`` is added to the gradient; a number, or a function that
        gives it for a parameter by its name (``['W1']``, ``[0].bias``).

    Raises OptionError for a negative ``lr`` or ``weight_decay``, a momentum or dampening outside
    0 .. 1, and ``nesterov`` without momentum or with dampening.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.sgd(0.1, momentum=0.5)
    >>> params, state = np.array([1.0, 2.0]), optimizer.init(np.zeros(2))
    >>> for _ in range(2):
    ...     params, state = optimizer.update(np.array([1.0, 0.0]), state, params)
    >>> params
    array([0.75, 2.  ])
    """
    lr, weight_decay = learning_rate(lr), weight_decay_of(weight_decay)
    momentum, dampening = number("momentum", momentum, 1.0), number("dampening", dampening, 1.0)
    if nesterov and not (momentum and not dampening):
        raise OptionError(
            "nesterov=True needs a momentum, and no dampening", remedy="sgd(lr, momentum=0.9, ...)"
        )
    counted = callable(lr) or bool(momentum and dampening)

    def init(params: Any) -> DescentState:
        return DescentState(np.int64(0) if counted else (), zeros(params) if momentum else ())

    def update(grads: Any, state: DescentState, params: Any) -> tuple[Any, DescentState]:
        rate = rate_at(lr, state.step)
        share: Any = 1.0
        if momentum and dampening:
            share = np.where(state.step == 0, 1.0, 1.0 - dampening)

        def descend(p: Any, g: Any, decay: float, v: Any) -> tuple[Any, Any]:
            g = g + decay * p if decay else g
            if not momentum:
                return p - like(rate, p) * g, None
            v = momentum * v + (like(share, p) * g if dampening else g)
            return p - like(rate, p) * (g + momentum * v if nesterov else v), v

        params, velocity = each(descend, params, grads, decays(weight_decay, params),
                                state.velocity)
        return params, DescentState(state.step + 1 if counted else (), velocity)

    name = described("sgd", lr, momentum=momentum, dampening=dampening, nesterov=bool(nesterov),
                     weight_decay=weight_decay)
    return Optimizer(name, init, update)


def momentum(
    lr: Rate = 1e-3, *, momentum: float = 0.9, dampening: float = 0.0, weight_decay: Decay = 0.0
) -> Optimizer:
    """Gradient descent along a velocity (Polyak, *Some methods of speeding up the convergence of
    iteration methods*, 1964): :func:`sgd` with a momentum.

    >>> momentum(0.1)
    sgd(lr=0.1, momentum=0.9)
    """
    return sgd(lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)


def nesterov(lr: Rate = 1e-3, *, momentum: float = 0.9, weight_decay: Decay = 0.0) -> Optimizer:
    """Nesterov's accelerated gradient: :func:`sgd` with ``nesterov=True``.

    >>> nesterov(0.1)
    sgd(lr=0.1, momentum=0.9, nesterov=True)
    """
    return sgd(lr, momentum=momentum, nesterov=True, weight_decay=weight_decay)


class LionState(NamedTuple):
    """How many steps were taken (an empty tuple if the rate is constant), and the running mean of
    the gradient.
    """

    step: Any
    mean: Any


def lion(
    lr: Rate = 1e-4, *, betas: tuple[float, float] = (0.9, 0.99), weight_decay: Decay = 0.0
) -> Optimizer:
    """Steps of one length along the signs of a mean of gradients (Chen et al., *Symbolic discovery
    of optimization algorithms*, 2023, algorithm 2).

    lr: a number, or a schedule: a function of the number of the step.
    betas: the mean's weight in the step, and its decay.
    weight_decay: parameters shrink by ``lr * weight_decay`` of themselves; a number, or a function
        that gives it for a parameter by its name.

    Raises OptionError for a negative ``lr`` or ``weight_decay``, or betas outside 0 .. 1 (1
    excluded).

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.lion(0.1)
    >>> params = np.array([1.0, 2.0, 3.0])
    >>> optimizer.update(np.array([0.5, 0.0, -9.0]), optimizer.init(params), params)[0]
    array([0.9, 2. , 3.1])
    """
    lr, weight_decay = learning_rate(lr), weight_decay_of(weight_decay)
    beta1, beta2 = betas = pair("betas", betas)
    counted = callable(lr)

    def init(params: Any) -> LionState:
        return LionState(np.int64(0) if counted else (), zeros(params))

    def update(grads: Any, state: LionState, params: Any) -> tuple[Any, LionState]:
        rate = rate_at(lr, state.step)

        def descend(p: Any, g: Any, decay: float, m: Any) -> tuple[Any, Any]:
            direction = np.sign(m + (1 - beta1) * (g - m))
            direction = direction + decay * p if decay else direction
            return p - like(rate, p) * direction, m + (1 - beta2) * (g - m)

        params, mean = each(descend, params, grads, decays(weight_decay, params), state.mean)
        return params, LionState(state.step + 1 if counted else (), mean)

    return Optimizer(described("lion", lr, betas=betas, weight_decay=weight_decay), init, update)
