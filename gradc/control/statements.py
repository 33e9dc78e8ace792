"""Python's ``for``, ``while`` and ``if`` on traced values: what they are rewritten to.

``counted``, ``repeated`` and ``branched`` take the variables that the statement assigns as a tuple
of pytrees, and give them back. Any may be ``UNDEFINED``. What is known while tracing is done in
Python, as are short loops; the rest becomes a loop or branch of the graph. Arrays keep NumPy's
semantics: they are references, which a body may write into and give to other names.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gradc.context import contexts, current
from gradc.control.aliases import Uses
from gradc.control.arguments import known_int
from gradc.control.branches import Branches
from gradc.control.containers import Containers
from gradc.control.functional import counted_by
from gradc.control.loops import Loop, truth_of
from gradc.control.regions import Region, here
from gradc.control.variables import Again, Variables
from gradc.conversions import ask_static
from gradc.errors import LoopError
from gradc.ir.types import I64, UNKNOWN
from gradc.numpy_api.values import convert, is_traced, to_value
from gradc.tracer import Tracer, fresh
from gradc.tree import flatten

State = tuple[Any, ...]

#: loops of no more iterations are traced one iteration after the other
UNROLLED = 8
#: the most iterations that are traced so where a loop of the graph cannot be made
MOST_UNROLLED = 20_000


def counted(
    trips: Any,
    body: Callable[[Any, State], State],
    state: State,
    names: Sequence[str],
    *,
    forced: bool = False,
    widens: bool = True,
) -> State:
    """``for i in range(trips): state = body(i, state)``; the state after it.

    trips: an int, or traced. names: of the variables in ``state``. A loop whose trip count is
    known becomes one of the graph if it is longer than ``UNROLLED`` and its body permits, or if it
    is ``forced``. ``widens``: variables may be widened before it (:mod:`gradc.control.carries`).
    Raises CarryError for a variable that changes its type, shape or structure.
    """
    if not forced and isinstance(trips, Tracer):
        ask_static(trips)
    count = known_int(trips)
    if current() is None or (count is not None and count <= UNROLLED and not forced):
        return _in_python(range(count or 0), body, state)

    def loop(variables: Variables) -> State:
        many = counted_by(to_value(trips, I64)) if count is None else {"length": count}
        return _traced(variables, body, names, {**many, "widens": widens})

    def unrolled(error: Exception) -> State:
        if forced or count is None or count > MOST_UNROLLED:
            raise error
        return _in_python(range(count), body, state)

    if count is not None and not forced and _is_python(lambda: body(0, state), state):
        return _in_python(range(count), body, state)
    return _attempt(loop, unrolled, Containers(body), names, state)


def _in_python(trips: builtins.range, body: Callable[[Any, State], State], state: State) -> State:
    for k in trips:
        state = body(k, state)
    return state


def repeated(
    test: Callable[[State], Any],
    body: Callable[[State], State],
    state: State,
    names: Sequence[str],
    *,
    max_trips: int | None = None,
    forced: bool = False,
) -> State:
    """``while test(state): state = body(state)``; the state after it.

    max_trips: as of :func:`gradc.while_loop`. First iterations that compute nothing are done in
    Python. What follows becomes a loop of the graph if its body permits, or it is ``forced``.
    Raises CarryError for a variable that changes its type, shape or structure.
    """
    limit = UNKNOWN if max_trips is None else int(max_trips)
    state, count, ended = _repeated_in_python(test, body, state, limit, computing=False)
    if ended:
        return state
    limit = limit - count if limit >= 0 else limit

    def loop(variables: Variables) -> State:
        def condition(_i: Tracer, carries: list[Tracer]) -> Any:
            return test(variables.given(carries))

        many = {"test": condition, "limit": limit, "widens": True}
        return _traced(variables, lambda _, values: body(values), names, many)

    def unrolled(error: Exception) -> State:
        if forced or not _is_known(test, state):
            raise error
        after, _, ended = _repeated_in_python(test, body, state, limit, computing=True)
        if not ended:
            raise error
        return after

    return _attempt(loop, unrolled, Containers(test, body), names, state)


def _repeated_in_python(
    test: Callable[[State], Any], body: Callable[[State], State], state: State, limit: int,
    *, computing: bool,
) -> tuple[State, int, bool]:
    """The state after so many iterations, and whether there are no more.

    There may be more where the test begins to depend on traced values, or an iteration to compute
    anything, unless it may be ``computing``.
    """
    count = 0

    def iteration() -> tuple[Any, State]:
        return test(state), body(state)

    while True:
        if not computing and current() is not None and not _is_python(iteration, state):
            return state, count, False
        holds = test(state)
        if is_traced(holds) or not holds:
            return state, count, not is_traced(holds)
        if 0 <= limit <= count:
            raise RuntimeError(f"a while loop ran more than {limit} times")
        if current() is not None and count >= MOST_UNROLLED:
            raise LoopError(
                f"a while loop was traced {count} times, as its condition is known while tracing",
                remedy="let the condition depend on values that the loop computes, or pass "
                "numbers as arguments",
            )
        state, count = body(state), count + 1


def branched(
    pred: Any,
    then: Callable[[State], State],
    otherwise: Callable[[State], State],
    state: State,
    names: Sequence[str],
    *,
    forced: bool = False,
) -> State:
    """``if pred: state = then(state)``, ``else: state = otherwise(state)``; the state after it.

    A ``pred`` that int or bool arguments tell makes them static unless the branch is ``forced``.
    Raises BranchError for a variable of different types, shapes or structures in the branches. One
    that has a value in one branch only has none afterwards.
    """
    if not forced and isinstance(pred, Tracer) and not pred.is_constant:
        ask_static(pred)
    if not is_traced(pred):
        return then(state) if pred else otherwise(state)
    index = convert(fresh(truth_of(pred)), I64)
    containers = Containers(then, otherwise)
    branches = Branches(index.value, ["else", "if"], shares=True)
    for function in (otherwise, then):
        branches.trace(partial(function, state))
        _check_unchanged(containers, "branch")
    return branches.merge(names)


def _traced(
    variables: Variables, body: Callable[[Any, State], State], names: Sequence[str], many: Any
) -> State:
    """The statement as a loop of the graph."""
    while True:
        uses = Uses(variables.before())

        def step(
            i: Tracer, carries: list[Tracer], _: Any, uses: Uses = uses
        ) -> tuple[list[Any], list[Any]]:
            region = here()
            assert isinstance(region, Region)
            with uses.noted():
                state = body(i, variables.begin(carries))
            return variables.taken(state, uses, region.cells), []

        loop = Loop(variables.carries(), variables.initial(), step, **many, exact=True)
        try:
            last, _ = loop.run()
        except Again:
            continue
        return variables.results(last, many.get("length"), loop.ran)


def _attempt(
    loop: Callable[[Variables], State],
    unrolled: Callable[[Exception], State],
    containers: Containers,
    names: Sequence[str],
    state: State,
) -> State:
    """A loop of the graph, or where its body does not permit that, one iteration after the other.

    Raises the error that the loop met where it cannot be unrolled either.
    """
    failures = [(context, context.failure) for context in contexts()]
    try:
        result = loop(Variables(names, state))
        _check_unchanged(containers, "loop")
        return result
    except Exception as error:
        containers.restore()
        after = [(context, context.failure) for context in contexts()]
        for context, failure in failures:
            context.failure = failure
        try:
            return unrolled(error)
        except Exception as second:
            if second is error:
                for context, failure in after:
                    context.failure = failure
            raise


def _check_unchanged(containers: Containers, what: str) -> None:
    name = containers.changed()
    if name is not None:
        containers.restore()
        raise LoopError(
            f"`{name}` holds a list, dict or set that a {what} changes: it would change while "
            "tracing, and not when the compiled code runs",
            remedy=f"write into an array: np.zeros(n) before the {what}, then {name}[i] = value",
        )


def _is_known(test: Callable[[State], Any], state: State) -> bool:
    return not is_traced(test(state))


def _is_python(function: Callable[[], Any], state: State) -> bool:
    """Whether an iteration computes nothing but what is known while tracing."""
    leaves = flatten(state)[0]
    if not leaves or any(is_traced(leaf) for leaf in leaves):
        return False
    failures = [(context, context.failure) for context in contexts()]
    containers = Containers(function)
    region = Region("trial")
    try:
        with region.active():
            result = flatten(function())[0]
            known = not any(is_traced(leaf) for leaf in result)
    except Exception:
        for context, failure in failures:
            context.failure = failure
        return False
    finally:
        containers.restore()
    nodes = {node.op.name for node in region.builder.nodes}
    return known and not region.cells and nodes <= {"const", "broadcast"}

