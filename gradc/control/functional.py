"""Loops as functions: ``scan``, ``fori_loop`` and ``while_loop``, as JAX has them.

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
from gradc.control.carries import is_number, refuse_dtype
from gradc.control.loops import Loop, known_int, trips_of
from gradc.control.state import State
from gradc.errors import ArgumentError, ShapeError
from gradc.ir.graph import Value
from gradc.ir.types import UNKNOWN
from gradc.numpy_api.values import as_tracer
from gradc.tracer import Tracer
from gradc.tree import TreeDef, flatten, paths, unflatten


def fori_loop(lo: Any, hi: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """``for i in range(lo, hi): state = body(i, state)``, beginning with ``init``; the last state.

    lo, hi: integers, known or traced. body: ``(i, state) -> state``; the state is a pytree that
    keeps its structure, shapes and dtypes (a Python number takes the dtype that it turns into).

    >>> import gradc
    >>> f = lambda x: gradc.fori_loop(0, 3, lambda i, y: y * x, 1.0)
    >>> float(f(2.0))
    8.0

    Raises CarryError where the state changes its structure, a type or a shape.
    """
    if current() is None:
        state = own(init)
        for k in builtins.range(int(lo), int(hi)):
            state = body(k, state)
        return state
    state = State("state", init)
    trips = trips_of(lo, hi)

    def step(i: Tracer, carries: list[Tracer], _: Any) -> tuple[list[Any], list[Any]]:
        k = i if not isinstance(lo, Tracer) and lo == 0 else lo + i
        return state.taken(body(k, state.filled(carries))), []

    loop = Loop(state.carries(), state.initial, step, **counted_by(trips))
    last, _ = loop.run()
    return state.filled(last)


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

    max_trips: a bound that the loop must not exceed (RuntimeError when it does), which is what
    reverse mode needs memory for; without it the memory grows as the loop runs.

    >>> import gradc
    >>> f = lambda x: gradc.while_loop(lambda y: y < 100, lambda y: y * x, 1.0)
    >>> float(f(3.0))
    243.0

    Raises CarryError where the state changes its structure, a type or a shape.
    """
    limit = UNKNOWN if max_trips is None else _count(max_trips, "max_trips")
    if current() is None:
        state, count = own(init), 0
        while cond(state):
            if 0 <= limit <= count:
                raise RuntimeError(f"a while loop ran more than {limit} times")
            state, count = body(state), count + 1
        return state
    state = State("state", init)

    def step(_i: Tracer, carries: list[Tracer], _: Any) -> tuple[list[Any], list[Any]]:
        return state.taken(body(state.filled(carries))), []

    def test(_i: Tracer, carries: list[Tracer]) -> Any:
        return cond(state.filled(carries))

    last, _ = Loop(state.carries(), state.initial, step, test=test, limit=limit).run()
    return state.filled(last)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Go along the leading axis of ``xs``: ``carry, y = f(carry, x)``; the last carry and the ys.

    xs: a pytree of arrays of one leading length, or None with ``length`` given. ys: what ``f``
    returns second, a pytree, stacked along a new leading axis. reverse: from the end; the ys are
    still in the order of the xs. unroll: how many iterations one turn of the loop makes (True:
    all of them).

    >>> import numpy as np, gradc
    >>> total, partial = gradc.scan(lambda c, x: (c + x, c * x), 0.0, np.array([1.0, 2.0, 3.0]))
    >>> float(total), partial
    (6.0, array([0., 2., 9.]))

    Raises CarryError where the carry changes its structure, a type or a shape; ShapeError for
    xs of different lengths.
    """
    leaves, tree = flatten(xs)
    for name, leaf in zip(paths(tree, "xs"), leaves, strict=True):
        if not is_number(leaf):
            raise refuse_dtype(name, leaf)
    count = _length(leaves, paths(tree, "xs"), length)
    turns = _count(unroll if unroll is not True else max(count, 1), "unroll") or 1
    if current() is None:
        return _scan_in_python(f, own(init), leaves, tree, count, reverse)
    return _Scan(f, init, tree, reverse).over([as_tracer(x) for x in leaves], count, turns)


class _Scan:
    """A scan that is traced, perhaps as a loop over several iterations and the rest."""

    def __init__(self, f: Callable[..., Any], init: Any, xs_tree: TreeDef, reverse: bool) -> None:
        self.f = f
        self.xs_tree = xs_tree
        self.reverse = reverse
        self.state = State("carry", init)
        self.ys_tree: TreeDef | None = None

    def one(self, moving: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        """One iteration: the carried leaves and the leaves of y after it."""
        result = self.f(self.state.filled(moving), unflatten(self.xs_tree, slices))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError("the function of a scan returns (carry, y)",
                                remedy="return carry, None if there is no y")
        ys, self.ys_tree = flatten(result[1])
        for name, y in zip(paths(self.ys_tree, "y"), ys, strict=True):
            if not is_number(y):
                raise refuse_dtype(name, y)
        return self.state.taken(result[0]), ys

    def over(self, xs: list[Tracer], count: int, turns: int) -> tuple[Any, Any]:
        """The scan over ``xs``, ``turns`` iterations in one."""
        if turns == 1:
            last, ys = self.loop(xs, count, self.state.initial, lambda c, x: self.one(c, x))
        else:
            last, ys = self.unrolled(xs, count, turns)
        assert self.ys_tree is not None
        return self.state.filled(last), unflatten(self.ys_tree, ys)

    def loop(
        self, xs: list[Tracer], count: int, initial: list[Any], one: Callable[..., Any]
    ) -> tuple[list[Any], list[Any]]:
        """One loop of the graph."""
        state = State("carry", self.state.filled(initial))
        loop = Loop(
            state.carries(), initial, lambda _i, c, x: one(c, x), xs=xs, length=count,
            reverse=self.reverse,
        )
        last, ys = loop.run()
        return list(last), list(ys)

    def unrolled(self, xs: list[Tracer], count: int, turns: int) -> tuple[list[Any], list[Any]]:
        """A loop over blocks of ``turns`` iterations, and the rest by themselves."""
        blocks = count // turns
        whole = blocks * turns
        # The rest comes last, which is at the beginning of xs when they are gone through backwards.
        rest = range_of(count - whole, 0) if self.reverse else range_of(whole, count)
        first = count - whole if self.reverse else 0

        def block(moving: list[Any], rows: list[Any]) -> tuple[list[Any], list[Any]]:
            taken: list[list[Any]] = []
            order = range_of(turns, 0) if self.reverse else range_of(0, turns)
            for k in order:
                moving, ys = self.one(moving, [row[k] for row in rows])
                taken.append(ys)
            return moving, stacked(taken[::-1] if self.reverse else taken)

        moving, parts = self.state.initial, []
        if blocks:
            rows = [
                x[first : first + whole].reshape((blocks, turns, *x.shape[1:])) for x in xs
            ]
            moving, ys = self.loop(rows, blocks, moving, block)
            parts.append([y.reshape((whole, *y.shape[2:])) for y in ys])
        taken: list[list[Any]] = []
        for k in rest:
            moving, one = self.one(moving, [x[k] for x in xs])
            taken.append(one)
        if taken:
            parts.append(stacked(taken[::-1] if self.reverse else taken))
        if not parts:  # no iteration at all: the types are those of a loop that never runs
            return self.loop(xs, count, moving, lambda c, x: self.one(c, x))
        if self.reverse:
            parts.reverse()
        joined = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
        return moving, joined


def range_of(lo: int, hi: int) -> builtins.range:
    """From lo up to hi, or from lo - 1 down to hi."""
    return builtins.range(lo, hi) if lo <= hi else builtins.range(lo - 1, hi - 1, -1)


def stacked(elements: list[list[Any]]) -> list[Any]:
    """Lists of leaves, one list for each iteration, as arrays with a new leading axis."""
    return [np.stack([as_tracer(y) for y in column]) for column in zip(*elements, strict=True)]


def _scan_in_python(
    f: Callable[..., Any], carry: Any, leaves: list[Any], tree: TreeDef, count: int, reverse: bool
) -> tuple[Any, Any]:
    rows: list[list[Any]] = []
    ys_tree = flatten(None)[1]
    for k in range_of(count, 0) if reverse else range_of(0, count):
        carry, y = f(carry, unflatten(tree, [leaf[k] for leaf in leaves]))
        row, ys_tree = flatten(y)
        rows.append(row)
    if reverse:
        rows.reverse()
    return carry, unflatten(ys_tree, [np.stack(column) for column in zip(*rows, strict=True)])


def _length(leaves: list[Any], names: list[str], length: int | None) -> int:
    wanted = None if length is None else _count(length, "length")
    for name, leaf in zip(names, leaves, strict=True):
        shape = np.shape(leaf)
        if not shape:
            raise ShapeError(f"`{name}` has no axis to go along",
                             remedy="pass an array, or None and length=")
        if wanted is not None and shape[0] != wanted:
            raise ShapeError(
                f"`{name}` has {shape[0]} elements along its first axis, not {wanted}",
                types=[str(shape)], remedy="give all of xs, and length=, one length",
            )
        wanted = shape[0]
    if wanted is None:
        raise ArgumentError("a scan needs xs or a length", remedy="gradc.scan(f, init, None, n)")
    return wanted


def _count(number: Any, name: str) -> int:
    count = known_int(number)
    if count is None or count < 0:
        raise ArgumentError(f"{name} is {number!r}, which is no count known while tracing",
                            remedy=f"pass {name} as a static int, at least 0")
    return count


def own(value: Any) -> Any:
    """A pytree with copies of its arrays: the body of a loop may write into them."""
    leaves, tree = flatten(value)
    return unflatten(tree, [x.copy() if isinstance(x, np.ndarray) else x for x in leaves])
