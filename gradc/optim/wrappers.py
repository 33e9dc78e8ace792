"""Optimizers around optimizers: gradients that are clipped first, parameters that are averaged."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.errors import ArgumentError
from gradc.optim.optimizer import Optimizer, as_optimizer, each, like, number, run
from gradc.tree import flatten, unflatten

#: what PyTorch adds to a norm before it divides by it
_NORM_EPS = 1e-6


def _updated(inner: Optimizer, grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
    """The update of the optimizer inside, which may be one of the user's."""
    params, state = run(inner.update, grads, state, params)
    return params, state


def clip_value(optimizer: Any, limit: float) -> Optimizer:
    """An optimizer to which gradients come clipped to ``-limit .. limit``, number by number.

    As ``torch.nn.utils.clip_grad_value_`` does it. Raises OptionError for a negative limit.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.clip_value(gradc.optim.sgd(1.0), 0.5)
    >>> optimizer.update(np.array([3.0, -0.25]), optimizer.init(np.zeros(2)), np.zeros(2))[0]
    array([-0.5 ,  0.25])
    """
    inner, limit = as_optimizer(optimizer), number("limit", limit)

    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        leaves, structure = flatten(grads)
        clipped = unflatten(structure, [np.clip(g, -limit, limit) for g in leaves])
        return _updated(inner, clipped, state, params)

    return Optimizer(f"clip_value({inner}, {limit})", inner.init, update)


def clip_norm(optimizer: Any, limit: float) -> Optimizer:
    """An optimizer to which gradients come scaled down to a norm of ``limit``, all as one vector.

    Pascanu, Mikolov & Bengio, *On the difficulty of training recurrent neural networks*, 2013, as
    ``torch.nn.utils.clip_grad_norm_`` does it: gradients are multiplied by
    ``min(1, limit / (norm + 1e-6))``. Raises OptionError for a negative limit.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.clip_norm(gradc.optim.sgd(1.0), 0.5)
    >>> grads = {"w": np.array([3.0]), "b": np.array([-4.0])}
    >>> params = {"w": np.zeros(1), "b": np.zeros(1)}
    >>> optimizer.update(grads, optimizer.init(params), params)[0]["b"].round(6)
    array([0.4])
    """
    inner, limit = as_optimizer(optimizer), number("limit", limit)

    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        leaves, structure = flatten(grads)
        norm = np.sqrt(sum(np.sum(g * g) for g in leaves))
        scale = np.minimum(limit / (norm + _NORM_EPS), 1.0)
        clipped = unflatten(structure, [like(scale, g) * g for g in leaves])
        return _updated(inner, clipped, state, params)

    return Optimizer(f"clip_norm({inner}, {limit})", inner.init, update)


class AveragedState(NamedTuple):
    """How many parameters were averaged, their average, and the state of the optimizer."""

    count: Any
    average: Any
    inner: Any


def averaged(optimizer: Any, decay: float | None = 0.999) -> Optimizer:
    """An optimizer that keeps an average of the parameters in its state, for :func:`average_of`.

    decay: the average moves by ``1 - decay`` of the way to the new parameters after each step,
        the first of which it takes as they are; with None it is the mean of all that steps have
        made (Polyak & Juditsky, *Acceleration of stochastic approximation by averaging*, 1992).

    Before the first step the average is that of the parameters given. The averages of
    ``torch.optim.swa_utils.AveragedModel``, with ``get_ema_multi_avg_fn(decay)`` and without.
    Raises OptionError for a decay outside 0 .. 1.

    >>> import numpy as np, gradc
    >>> optimizer = gradc.optim.averaged(gradc.optim.sgd(1.0), decay=None)
    >>> params, state = np.zeros(1), optimizer.init(np.zeros(1))
    >>> for _ in range(3):  # 1, 2, 3
    ...     params, state = optimizer.update(-np.ones(1), state, params)
    >>> gradc.optim.average_of(state)
    array([2.])
    """
    inner = as_optimizer(optimizer)
    if decay is not None:
        decay = number("decay", decay, 1.0)

    def init(params: Any) -> AveragedState:
        leaves, structure = flatten(params)
        average = unflatten(structure, [np.array(leaf) for leaf in leaves])
        return AveragedState(np.int64(0), average, inner.init(params))

    def update(grads: Any, state: AveragedState, params: Any) -> tuple[Any, AveragedState]:
        params, inside = _updated(inner, grads, state.inner, params)
        count = state.count + 1
        weight = 1 / count if decay is None else np.where(count == 1, 1.0, 1 - decay)
        (average,) = each(lambda p, a: (a + like(weight, p) * (p - a),), params, state.average)
        return params, AveragedState(count, average, inside)

    return Optimizer(f"averaged({inner}, decay={decay})", init, update)


def average_of(state: Any) -> Any:
    """The average of the parameters in the state of an optimizer from :func:`averaged`.

    Raises ArgumentError for another state.
    """
    if not isinstance(state, AveragedState):
        raise ArgumentError(
            "this is no state of an optimizer that averages",
            types=[type(state).__name__],
            remedy="gradc.optim.averaged(optimizer)",
        )
    return state.average


def wrapped(
    optimizer: Any,
    value: float | None = None,
    norm: float | None = None,
    average: float | str | None = None,
) -> Optimizer:
    """An optimizer with gradients clipped by value, then by norm, and an average of parameters.

    average: a decay, or "mean" of all steps. Raises OptionError for an option out of its range.
    """
    made = as_optimizer(optimizer)
    made = made if norm is None else clip_norm(made, norm)
    made = made if value is None else clip_value(made, value)
    if average is None:
        return made
    return averaged(made, None if average == "mean" else number("average", average, 1.0))
