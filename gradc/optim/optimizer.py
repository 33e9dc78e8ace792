"""What an optimizer is, and what all are written with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import ArgumentError, OptionError
from gradc.syntax.convert import rewritten
from gradc.tree import flatten, paths, unflatten

#: a learning rate, or how it follows from the number of the step
Rate = float | Callable[[Any], Any]
#: a weight decay, or what it is for the parameter of a name
Decay = float | Callable[[str], float]


@dataclass(frozen=True)
class Optimizer:
    """What training does with a gradient.

    init: from the parameters (a pytree of arrays) to the first state, a pytree of arrays and
        numbers.
    update: from ``(grads, state, params)`` to ``(new params, new state)``, of the same structures,
        shapes and dtypes; plain NumPy, traced once. ``grads`` has the structure of the parameters.
        What a training gives it may be written into, which costs nothing.
    """

    name: str
    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], tuple[Any, Any]]

    def __repr__(self) -> str:
        return self.name


def as_optimizer(given: Any) -> Optimizer:
    """An optimizer as it is, or one made of a pair of functions ``(init, update)``.

    Raises ArgumentError for anything else.

    >>> as_optimizer((lambda params: (), lambda grads, state, params: (params - grads, state)))
    an optimizer of two functions
    """
    if isinstance(given, Optimizer):
        return given
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(callable, given)):
        init, update = given
        name = getattr(update, "__name__", "<lambda>")
        plain = name in ("update", "<lambda>")
        return Optimizer("an optimizer of two functions" if plain else name, init, update)
    raise ArgumentError(
        f"optimizer must be a gradc.optim.Optimizer or a pair (init, update), not {given!r}",
        remedy="optimizer=gradc.optim.sgd(0.1)",
    )


def each(function: Callable[..., Any], params: Any, *trees: Any) -> tuple[Any, ...]:
    """``function(p, *leaves)`` for each parameter, as pytrees of its several results.

    The trees have the structure of the parameters. An empty tuple stands for a tree of None, both
    as an argument and as a result.
    """
    leaves, structure = flatten(params)
    columns = [leaves]
    for tree in trees:
        missing = isinstance(tree, tuple) and not tree
        columns.append([None] * len(leaves) if missing else flatten(tree)[0])
    results = zip(*(function(*row) for row in zip(*columns, strict=True)), strict=True)
    return tuple(
        () if all(leaf is None for leaf in column) else unflatten(structure, column)
        for column in results
    )


def zeros(params: Any) -> Any:
    """A pytree of zeros, of the parameters' structure, shapes and dtypes."""
    leaves, structure = flatten(params)
    return unflatten(structure, [np.zeros_like(leaf) for leaf in leaves])


def like(number: Any, array: Any) -> Any:
    """A number that leaves an array's dtype as it is when they are multiplied.

    Python's floats do. What is computed from the number of the step is a float64, which would
    promote a float32.
    """
    return number if type(number) is float else number.astype(array.dtype)


def run(function: Callable[..., Any], *args: Any) -> Any:
    """A function of the user's on values that may be traced: its loops and branches compile."""
    return (function if current() is None else rewritten(function))(*args)


def rate_at(lr: Rate, step: Any) -> Any:
    """The learning rate at a step: a float, or a scalar that is traced.

    Raises OptionError for a schedule that gives anything else.
    """
    if not callable(lr):
        return lr
    rate = run(lr, step)
    if isinstance(rate, (int, float)) and not isinstance(rate, np.generic):
        return float(rate)
    if np.shape(rate) != () or getattr(rate, "dtype", np.dtype(object)).kind not in "biuf":
        raise OptionError(
            f"the schedule {name_of(lr)} must give one number for a step, not {rate!r}",
            remedy="return a float, or a scalar computed from the step",
        )
    return rate


def learning_rate(lr: Rate) -> Rate:
    """A rate, checked: a schedule, or a finite number >= 0. Raises OptionError."""
    return lr if callable(lr) else number("lr", lr)


def weight_decay_of(decay: Decay) -> Decay:
    """A weight decay, checked: a function of the name, or a finite number >= 0."""
    return decay if callable(decay) else number("weight_decay", decay)


def decays(decay: Decay, params: Any) -> Any:
    """The weight decay of each parameter, a pytree of floats.

    Raises OptionError for a function that gives anything else.
    """
    structure = flatten(params)[1]
    if not callable(decay):
        return unflatten(structure, [decay] * structure.num_leaves)
    given = [(name, decay(name)) for name in paths(structure)]
    return unflatten(
        structure, [number(f"weight_decay({name!r})", value) for name, value in given]
    )


def number(option: str, value: Any, high: float = math.inf) -> float:
    """An option as a Python float, which takes the dtype of the parameters it meets.

    Raises OptionError for what is not between 0 and ``high``, or not finite.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not 0.0 <= found <= high or math.isinf(found):
        limit = "a finite number >= 0" if math.isinf(high) else f"between 0 and {high:g}"
        raise OptionError(f"{option} must be {limit}, not {value!r}")
    return found


def pair(option: str, values: Any) -> tuple[float, float]:
    """Two decays, below 1. Raises OptionError."""
    try:
        first, second = values
    except (TypeError, ValueError):
        first = second = 1.0
    else:
        first, second = number(f"{option}[0]", first, 1.0), number(f"{option}[1]", second, 1.0)
    if 1.0 in (first, second):
        raise OptionError(f"{option} must be two numbers below 1, not {values!r}")
    return first, second


def name_of(value: Any) -> str:
    """An option as a user would write it; functions by their name."""
    return getattr(value, "__name__", None) or repr(value)


def described(name: str, lr: Rate, **options: Any) -> str:
    """An optimizer as a user would write it, without what is left at zero."""
    given = {"lr": lr} | {option: value for option, value in options.items() if value}
    return f"{name}({', '.join(f'{k}={name_of(v)}' for k, v in given.items())})"
