"""Optimizers: how a gradient changes the parameters, as plain NumPy functions.

An optimizer is a pair ``(init, update)``. Training traces ``update`` as it traces the loss, so that
the update is compiled into the step, fused with the gradient; one of your own is as fast as these:

>>> def init(params):
...     return ()
>>> def update(grads, state, params):
...     return params - 0.1 * np.sign(grads), state
>>> sign_descent = Optimizer("sign_descent", init, update)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradc.errors import OptionError
from gradc.tree import flatten, unflatten


@dataclass(frozen=True)
class Optimizer:
    """What training does with a gradient.

    init: from the parameters (a pytree of arrays) to the first state, a pytree of arrays and
        numbers.
    update: from ``(grads, state, params)`` to ``(new params, new state)``, of the same structures,
        shapes and dtypes; plain NumPy, traced once. ``grads`` has the structure of the parameters.
    """

    name: str
    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]

    def __repr__(self) -> str:
        return self.name


def sgd(lr: float, *, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Gradient descent: ``params - lr * grads``.

    With ``momentum`` μ the step is along a velocity ``v = μ v + grads`` that starts at 0, and with
    ``nesterov`` along ``grads + μ v`` (Sutskever et al., *On the importance of initialization and
    momentum in deep learning*, 2013, in the form of PyTorch).

    Raises OptionError for a negative ``lr`` or a momentum outside 0 .. 1.
    """
    lr = _number("lr", lr, 0.0, math.inf)
    momentum = _number("momentum", momentum, 0.0, 1.0)
    if nesterov and not momentum:
        raise OptionError("nesterov=True needs a momentum", remedy="sgd(lr, momentum=0.9, ...)")
    if not momentum:
        return Optimizer(f"sgd(lr={lr})", lambda params: (), _descent(lr))

    def update(grads: Any, velocity: Any, params: Any) -> tuple[Any, Any]:
        velocity = _map(lambda v, g: momentum * v + g, velocity, grads)
        step = velocity
        if nesterov:
            step = _map(lambda v, g: g + momentum * v, velocity, grads)
        return _map(lambda p, s: p - lr * s, params, step), velocity

    options = f"lr={lr}, momentum={momentum}" + (", nesterov=True" if nesterov else "")
    return Optimizer(f"sgd({options})", lambda params: _map(np.zeros_like, params), update)


def _descent(lr: float) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        return _map(lambda p, g: p - lr * g, params, grads), state

    return update


class AdamState(NamedTuple):
    """How many steps were taken, and the running means of the gradient and of its square."""

    step: Any
    mean: Any
    square: Any


def adam(
    lr: float = 1e-3, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> Optimizer:
    """Adam with bias correction (Kingma & Ba, *Adam*, ICLR 2015, algorithm 1).

    ``betas`` are the decays of the means of the gradient and of its square.

    Raises OptionError for a negative ``lr`` or ``eps``, or decays outside 0 .. 1 (1 excluded).
    """
    lr = _number("lr", lr, 0.0, math.inf)
    eps = _number("eps", eps, 0.0, math.inf)
    decays = [_number(f"betas[{k}]", beta, 0.0, 1.0) for k, beta in enumerate(betas)]
    if len(decays) != 2 or 1.0 in decays:
        raise OptionError(f"betas must be two numbers below 1, not {betas!r}")
    beta1, beta2 = decays

    def init(params: Any) -> AdamState:
        zeros = _map(np.zeros_like, params)
        return AdamState(np.int64(0), zeros, zeros)

    def update(grads: Any, state: AdamState, params: Any) -> tuple[Any, AdamState]:
        step = state.step + 1
        mean = _map(lambda m, g: beta1 * m + (1 - beta1) * g, state.mean, grads)
        square = _map(lambda s, g: beta2 * s + (1 - beta2) * (g * g), state.square, grads)
        rate = lr / (1 - beta1**step)
        spread = np.sqrt(1 - beta2**step)

        def descend(p: Any, m: Any, s: Any) -> Any:
            # The corrections are float64 whatever the parameter is: they must not promote it.
            denominator = np.sqrt(s) / spread.astype(p.dtype) + eps
            return p - rate.astype(p.dtype) * m / denominator

        return _map(descend, params, mean, square), AdamState(step, mean, square)

    options = f"lr={lr}, betas=({beta1}, {beta2}), eps={eps}"
    return Optimizer(f"adam({options})", init, update)


def _map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """``function`` of the leaves of pytrees of one structure, leaf by leaf."""
    leaves, structure = flatten(tree)
    rows = [leaves, *(flatten(other)[0] for other in others)]
    return unflatten(structure, [function(*row) for row in zip(*rows, strict=True)])


def _number(option: str, value: float, low: float, high: float) -> float:
    """A Python float, which takes the dtype of the parameters it meets."""
    number = float(value)
    if not low <= number <= high or math.isinf(number):
        limit = "a finite number >= 0" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise OptionError(f"{option} must be {limit}, not {value!r}")
    return number
