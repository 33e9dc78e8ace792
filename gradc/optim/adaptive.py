"""Steps of a length for each number, by the gradients that it had."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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
from gradc.tree import flatten, unflatten


class AdagradState(NamedTuple):
    """How many steps were taken (an empty tuple if the rate is constant), and the sums of the
    squared gradients.
    """

    step: Any
    total: Any


def adagrad(
    lr: Rate = 1e-2,
    *,
    lr_decay: float = 0.0,
    weight_decay: Decay = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> Optimizer:
    """Steps divided by the root of the sum of all squared gradients (Duchi, Hazan & Singer,
    *Adaptive subgradient methods for online learning and stochastic optimization*, 2011), equal to
    ``torch.optim.Adagrad``.

    lr: a number, or a schedule: a function of the number of the step.
    lr_decay: step k (0, 1, ...) is of the rate ``lr / (1 + k * lr_decay)``.
    weight_decay: ``weight_decay * params`` is added to the gradient; a number, or a function that
        gives it for a parameter by its name (``['W1']``, ``[0].bias``).
    initial_accumulator_value: what the sums begin with.
    eps: what is added to their roots.

    Raises OptionError for a negative option.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.adagrad(0.5)
    >>> params = np.array([1.0, 2.0])
    >>> optimizer.update(np.array([0.01, -3.0]), optimizer.init(params), params)[0].round(6)
    array([0.5, 2.5])
    """
    lr, weight_decay = learning_rate(lr), weight_decay_of(weight_decay)
    lr_decay, eps = number("lr_decay", lr_decay), number("eps", eps)
    initial = number("initial_accumulator_value", initial_accumulator_value)
    counted = callable(lr) or bool(lr_decay)

    def init(params: Any) -> AdagradState:
        leaves, structure = flatten(params)
        total = unflatten(structure, [np.full_like(leaf, initial) for leaf in leaves])
        return AdagradState(np.int64(0) if counted else (), total)

    def update(grads: Any, state: AdagradState, params: Any) -> tuple[Any, AdagradState]:
        rate = rate_at(lr, state.step)
        if lr_decay:
            rate = rate / (1 + state.step * lr_decay)

        def descend(p: Any, g: Any, decay: float, total: Any) -> tuple[Any, Any]:
            g = g + decay * p if decay else g
            total = total + g * g
            return p - like(rate, p) * g / (np.sqrt(total) + eps), total

        params, total = each(descend, params, grads, decays(weight_decay, params), state.total)
        return params, AdagradState(state.step + 1 if counted else (), total)

    name = described("adagrad", lr, lr_decay=lr_decay, weight_decay=weight_decay,
                     initial_accumulator_value=initial, eps=eps)
    return Optimizer(name, init, update)


class RmspropState(NamedTuple):
    """How many steps were taken, the running means of the squared gradient and of the gradient,
    and the velocity. What is not needed is an empty tuple.
    """

    step: Any
    square: Any
    mean: Any
    velocity: Any


def rmsprop(
    lr: Rate = 1e-2,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: Decay = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> Optimizer:
    """Steps divided by the root of a running mean of squared gradients (Tieleman & Hinton,
    *Lecture 6.5: rmsprop*, 2012), equal to ``torch.optim.RMSprop``.

    lr: a number, or a schedule: a function of the number of the step.
    alpha: the decay of the mean.
    eps: what is added to its root.
    weight_decay: ``weight_decay * params`` is added to the gradient; a number, or a function that
        gives it for a parameter by its name (``['W1']``, ``[0].bias``).
    momentum: with μ the step is along a velocity ``v = μ v + grads / root``.
    centered: the square of the mean gradient is taken off the mean square, which leaves a variance
        (Graves, *Generating sequences with recurrent neural networks*, 2013). One that rounding
        makes negative, where PyTorch has a NaN, is 0.

    Raises OptionError for a negative option, or ``alpha`` or ``momentum`` above 1.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.rmsprop(0.1, alpha=0.75)
    >>> params = np.array([1.0, 2.0])
    >>> optimizer.update(np.array([0.01, -3.0]), optimizer.init(params), params)[0].round(6)
    array([0.8, 2.2])
    """
    lr, weight_decay = learning_rate(lr), weight_decay_of(weight_decay)
    alpha, eps = number("alpha", alpha, 1.0), number("eps", eps)
    momentum, counted = number("momentum", momentum, 1.0), callable(lr)

    def init(params: Any) -> RmspropState:
        return RmspropState(
            np.int64(0) if counted else (), zeros(params),
            zeros(params) if centered else (), zeros(params) if momentum else (),
        )

    def update(grads: Any, state: RmspropState, params: Any) -> tuple[Any, RmspropState]:
        rate = rate_at(lr, state.step)

        def descend(p: Any, g: Any, decay: float, s: Any, m: Any, v: Any) -> tuple[Any, ...]:
            g = g + decay * p if decay else g
            s = alpha * s + (1 - alpha) * (g * g)
            variance = s
            if centered:
                m = m + (1 - alpha) * (g - m)
                variance = np.maximum(s - m * m, 0.0)
            root = np.sqrt(variance) + eps
            if not momentum:
                return p - like(rate, p) * g / root, s, m, v
            v = momentum * v + g / root
            return p - like(rate, p) * v, s, m, v

        params, square, mean, velocity = each(
            descend, params, grads, decays(weight_decay, params), *state[1:]
        )
        return params, RmspropState(state.step + 1 if counted else (), square, mean, velocity)

    name = described("rmsprop", lr, alpha=alpha, eps=eps, weight_decay=weight_decay,
                     momentum=momentum, centered=bool(centered))
    return Optimizer(name, init, update)


class AdamState(NamedTuple):
    """How many steps were taken, the running means of the gradient and of its square, and of
    ``amsgrad`` the largest mean square so far (else an empty tuple).
    """

    step: Any
    mean: Any
    square: Any
    largest: Any


def adam(
    lr: Rate = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: Decay = 0.0,
    amsgrad: bool = False,
) -> Optimizer:
    """Adam with bias correction (Kingma & Ba, *Adam*, ICLR 2015, algorithm 1), equal to
    ``torch.optim.Adam``.

    lr: a number, or a schedule: a function of the number of the step.
    betas: the decays of the means of the gradient and of its square.
    eps: what is added to the root of the corrected mean square.
    weight_decay: ``weight_decay * params`` is added to the gradient; a number, or a function that
        gives it for a parameter by its name (``['W1']``, ``[0].bias``).
    amsgrad: steps are divided by the root of the largest mean square so far (Reddi, Kale & Kumar,
        *On the convergence of Adam and beyond*, ICLR 2018).

    Raises OptionError for a negative option, or betas outside 0 .. 1 (1 excluded).

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.adam(0.1)
    >>> params = np.array([1.0, 2.0])
    >>> optimizer.update(np.array([0.01, -3.0]), optimizer.init(params), params)[0].round(6)
    array([0.9, 2.1])
    """
    return _adam("adam", lr, betas, eps, weight_decay, amsgrad, decoupled=False)


def adamw(
    lr: Rate = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: Decay = 1e-2,
    amsgrad: bool = False,
) -> Optimizer:
    """:func:`adam` with a weight decay apart from the gradient (Loshchilov & Hutter, *Decoupled
    weight decay regularization*, ICLR 2019, algorithm 2), equal to ``torch.optim.AdamW``.

    weight_decay: parameters shrink by ``lr * weight_decay`` of themselves; a number, or a function
        that gives it for a parameter by its name (``['W1']``, ``[0].bias``).

    The other options, and what is raised, are those of :func:`adam`.

    >>> adamw(weight_decay=lambda name: 0.01 if "W" in name else 0.0).init({"W": np.ones(2)}).step
    np.int64(0)
    """
    return _adam("adamw", lr, betas, eps, weight_decay, amsgrad, decoupled=True)


def _adam(
    name: str,
    lr: Rate,
    betas: tuple[float, float],
    eps: float,
    weight_decay: Decay,
    amsgrad: bool,
    *,
    decoupled: bool,
) -> Optimizer:
    lr, weight_decay = learning_rate(lr), weight_decay_of(weight_decay)
    beta1, beta2 = betas = pair("betas", betas)
    eps = number("eps", eps)

    def init(params: Any) -> AdamState:
        return AdamState(
            np.int64(0), zeros(params), zeros(params), zeros(params) if amsgrad else ()
        )

    def update(grads: Any, state: AdamState, params: Any) -> tuple[Any, AdamState]:
        step = state.step + 1
        lr_now = rate_at(lr, state.step)
        # Kingma & Ba, end of section 2: with both corrections in the rate, and that of the square
        # in eps, what is left for each number is one root and one division.
        root = np.sqrt(1 - beta2**step)
        rate, floor = lr_now * root / (1 - beta1**step), eps * root

        def descend(p: Any, g: Any, decay: float, m: Any, s: Any, top: Any) -> tuple[Any, ...]:
            if decay and decoupled:
                p = p * like(1 - lr_now * decay, p)
            elif decay:
                g = g + decay * p
            m = m + (1 - beta1) * (g - m)
            s = beta2 * s + (1 - beta2) * (g * g)
            top = np.maximum(top, s) if amsgrad else None
            spread = np.sqrt(top if amsgrad else s) + like(floor, p)
            return p - like(rate, p) * m / spread, m, s, top

        params, mean, square, largest = each(
            descend, params, grads, decays(weight_decay, params), *state[1:]
        )
        return params, AdamState(step, mean, square, largest)

    options = described(name, lr, betas=betas, eps=eps, weight_decay=weight_decay,
                        amsgrad=bool(amsgrad))
    return Optimizer(options, init, update)
