"""Loops as functions: ``fori_loop`` and ``while_loop``, as JAX has them (``scan`` is beside).

Inside a trace they become one loop of the graph, whose carries are values: a body gets carries of
its own, and may write into them, which changes no array that the caller holds. Arrays that it finds
around it and writes into are those of the function, as in any Python function.

Outside any trace they run in Python, with the same results.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.context import current
from gradc.control.arguments import check_function, count_of, known_int, known_truth
from gradc.control.containers import unchanged
from gradc.control.loops import Loop, trips_of
from gradc.control.state import State
from gradc.errors import TripsError
from gradc.ir.graph import Value
from gradc.ir.types import UNKNOWN
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer
from gradc.tree import flatten, unflatten


def fori_loop(lo: Any, hi: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """``for i in range(lo, hi): state = body(i, state)``, beginning with ``init``; the last state.

    lo, hi: integers, known or traced. body: ``(i, state) -> state``; the state is a pytree that
    keeps its structure, shapes and dtypes (a Python number takes the dtype that it turns into).

    >>> import gradc
    >>> f = lambda x: gradc.fori_loop(0, 3, lambda i, y: y * x, 1.0)
    >>> float(f(2.0))
    8.0

    Raises CarryError where the state changes its structure, a type or a shape; ArgumentError for
    bounds that are no integers, or no function of these arguments.
    """
    check_function(body, "the body of gradc.fori_loop", ("i", "state"))
    if current() is None:
        state = own(init)
        for k in builtins.range(*(_known(x) for x in (lo, hi))):
            state = body(k, state)
        return state
    given, state, body = body, State("state", init), rewritten(body)
    trips = trips_of(lo, hi)

    def step(i: Tracer, carries: list[Tracer], _: Any) -> tuple[list[Any], list[Any]]:
        k = i if not isinstance(lo, Tracer) and lo == 0 else lo + i
        return state.taken(body(k, state.filled(carries))), []

    loop = Loop(state.carries(), state.initial, step, **counted_by(trips))
    with unchanged("the body of gradc.fori_loop", given):
        last, _ = loop.run()
    return state.filled(last)


def _known(bound: Any) -> int:
    known = known_int(bound)
    assert known is not None, "a traced value outside a trace"
    return known


def counted_by(trips: Value | int) -> dict[str, Any]:
    """A trip count as arguments of :class:`Loop`."""
    return {"trips": trips} if isinstance(trips, Value) else {"length": trips}


def while_loop(
    cond: Callable[[Any], Any],
    body: Callable[[Any], Any],
    init: Any,
    max_trips: int | None = None,
) -> Any:
    """``while cond(state): state = body(state)``, beginning with ``init``; the last state.

    max_trips: a bound that the loop must not exceed (TripsError when it does), which is what
    reverse mode needs memory for; without it the memory grows as the loop runs.

    >>> import gradc
    >>> f = lambda x: gradc.while_loop(lambda y: y < 100, lambda y: y * x, 1.0)
    >>> float(f(3.0))
    243.0

    Raises CarryError where the state changes its structure, a type or a shape.
    """
    limit = UNKNOWN if max_trips is None else count_of(max_trips, "max_trips")
    check_function(cond, "the condition of gradc.while_loop", ("state",))
    check_function(body, "the body of gradc.while_loop", ("state",))
    if current() is None:
        state, count = own(init), 0
        while known_truth(cond(state), "the condition of a while loop"):
            if 0 <= limit <= count:
                raise TripsError(f"a while loop ran more than {limit} times",
                                 remedy="a larger max_trips")
            state, count = body(state), count + 1
        return state
    given = cond, body
    state, cond, body = State("state", init), rewritten(cond), rewritten(body)

    def step(_i: Tracer, carries: list[Tracer], _: Any) -> tuple[list[Any], list[Any]]:
        return state.taken(body(state.filled(carries))), []

    def test(_i: Tracer, carries: list[Tracer]) -> Any:
        return cond(state.filled(carries))

    with unchanged("the condition or body of gradc.while_loop", *given):
        last, _ = Loop(state.carries(), state.initial, step, test=test, limit=limit).run()
    return state.filled(last)


def own(value: Any) -> Any:
    """A pytree with copies of its arrays: the body of a loop may write into them."""
    leaves, tree = flatten(value)
    return unflatten(tree, [x.copy() if isinstance(x, np.ndarray) else x for x in leaves])
