"""Random generators that a traced function holds: drawing from one freezes its numbers.

Their methods are compiled code, which cannot be watched; but a draw changes the state.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from random import Random
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gradc.errors import RandomError
from gradc.ir.graph import Loc
from gradc.surroundings import is_users, outside
from gradc.tree import flatten

_DRAWING = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, Random)
_CALLABLE = (FunctionType, MethodType, partial)


def _state(generator: Any) -> bytes:
    state: Any
    if isinstance(generator, Random):
        state = generator.getstate()
    elif isinstance(generator, np.random.RandomState):
        state = generator.get_state(legacy=False)
    else:
        state = getattr(generator, "bit_generator", generator).state
    return pickle.dumps(state)


def _held(function: Any, arguments: Any) -> Iterator[Any]:
    """The generators in the arguments, globals and closures of a function, and one object deep."""
    todo: list[tuple[Any, int]] = [(function, 0), *((x, 0) for x in flatten(arguments)[0])]
    seen: set[int] = set()
    while todo:
        one, depth = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, _DRAWING):
            yield one
        elif isinstance(one, _CALLABLE) or hasattr(one, "__wrapped__"):
            if is_users(getattr(one, "__module__", None)):
                todo += ((x, depth) for value in outside(one) for x in flatten(value)[0])
        elif depth == 0 and not isinstance(one, (type, ModuleType)) and hasattr(one, "__dict__"):
            for value in list(vars(one).values()):
                todo += ((x, 1) for x in flatten(value)[0])


class Watch:
    """Notices draws from the generators that a function holds."""

    def __init__(self, function: Any, arguments: Any) -> None:
        self._before = [(one, _state(one)) for one in _held(function, arguments)]

    def check(self, where: Loc | None) -> None:
        """Raise RandomError if one of them has been drawn from since."""
        for generator, state in self._before:
            if _state(generator) != state:
                raise RandomError(
                    f"a {type(generator).__name__} was drawn from while tracing: its numbers "
                    "would be frozen into the compiled code",
                    where=where,
                    remedy="gradc.random, or draw the numbers outside and pass them as an argument",
                )
