"""Keys of steps: what the random numbers in a loss are made of (dropout, noise, augmentation).

A loss with a keyword-only parameter ``key`` is given another key in every step, which follows from
the seed, the epoch and the batch alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc import random
from gradc.errors import ArgumentError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.signature import Parameters

#: the parameter that is given the key
NAME = "key"


def takes_key(function: Any) -> bool:
    """Whether a function has a keyword-only parameter ``key`` that nothing was given to yet."""
    try:
        parameter = inspect.signature(function).parameters.get(NAME)
    except (TypeError, ValueError):  # some builtins have no signature
        return False
    bound = NAME in getattr(function, "keywords", ())  # by functools.partial
    return parameter is not None and parameter.kind is parameter.KEYWORD_ONLY and not bound


def without_key(function: Any) -> dict[str, Any]:
    """The keywords that a function is called with where there are no random numbers."""
    return {NAME: None} if takes_key(function) else {}


def check_arguments(parameters: Parameters, loss: Any, args: Sequence[Any]) -> None:
    """Raise ArgumentError for arguments that a loss does not take."""
    try:
        parameters.bind(args, without_key(loss))
    except ArgumentError as error:
        if NAME not in parameters.positional[len(args) :]:
            raise
        raise ArgumentError(
            error.what,
            remedy=f"{parameters.name}(..., *, {NAME}): a key is given to a parameter that is "
            "keyword-only",
        ) from None


def key_of(seed: int, epoch: int, batch: int) -> Any:
    """The key of a step."""
    return random.fold_in(random.fold_in(random.key(seed), epoch), batch)


def folded(key: Value, *numbers: Value) -> Value:
    """Numbers folded into a key, one after another, in a graph."""
    for number in numbers:
        index = ops.convert(number, dtype=np.dtype(np.uint64))
        key = ops.random_keys(key, index, domain=random.FOLD_IN)
    return key
