"""Control flow: ops whose attributes hold graphs, the *regions*, and the items of their results.

A region is a closed graph: what it takes from around it is an operand (a *capture*). Loops and
branches are never unrolled here; their derivatives are in :mod:`gradc.ir.regions`.

``loop`` is scan, counted loop and while loop in one. Its operands are ``[trips] + carries + xs +
captures``: ``trips`` (i64[]) only if the trip count is neither ``length`` nor decided by ``test``;
of ``xs`` an iteration gets one element of the leading axis. ``body`` takes ``[i] + carries +
slices of xs + captures`` and gives the next carries and one element of each of ``ys``; ``i``
counts from 0, or down to 0 if ``reverse``. ``test`` takes ``[i] + carries + captures`` and says
whether there is another iteration. The results are ``carries + [trips that were run, with a test]
+ ys stacked``.

Where the trip count is known only at run time the leading extent of xs and ys is ``UNKNOWN``: such
tapes only go from a loop to another one that reads them, as differentiation makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradc.ir.graph import Builder, Graph, Loc, Value
from gradc.ir.ops.base import Attrs, Op
from gradc.ir.types import BOOL, I64, UNKNOWN, TensorType, tuple_type

INDEX = TensorType(I64)


class TooManyTrips(RuntimeError):
    """A loop with a test ran more often than its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a while loop ran more than {limit} times, its max_trips")


class NoTapeMemory(MemoryError):
    """There is no memory for what a loop keeps, or for all that a call needs; its lines."""

    def __init__(
        self, mebibytes: int, what: str = "a loop keeps", locs: tuple[Loc, ...] = ()
    ) -> None:
        self.locs = locs
        super().__init__(f"there is no memory for the {mebibytes} MiB that {what}")


def _strong(type_: TensorType) -> TensorType:
    return type_._replace(weak=False)


def _agree(what: str, given: Sequence[TensorType], wanted: Sequence[TensorType]) -> None:
    if len(given) != len(wanted):
        raise TypeError(f"{what}: {len(given)} values where {len(wanted)} are needed")
    for k, (a, b) in enumerate(zip(given, wanted, strict=True)):
        if _strong(a) != _strong(b):
            raise TypeError(f"{what}: value {k} is {a}, not {b}")


# -- loop ----------------------------------------------------------------------------------------


class LoopParts:
    """The operands or the body's inputs of a ``loop``, by what they are."""

    def __init__(self, values: Sequence[Any], attrs: Attrs) -> None:
        dynamic = attrs["length"] < 0 and attrs["test"] is None
        carries, xs = attrs["carries"], attrs["xs"]
        self.trips: Any | None = values[0] if dynamic else None
        rest = list(values[dynamic:])
        self.carries = rest[:carries]
        self.xs = rest[carries : carries + xs]
        self.captures = rest[carries + xs :]


def element_type(type_: TensorType) -> TensorType:
    """The type of what one iteration gets of ``xs`` or gives of ``ys``."""
    return TensorType(type_.dtype, type_.shape[1:])


def _loop_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    body, test, length = attrs["body"], attrs["test"], attrs["length"]
    parts = LoopParts(types, attrs)
    if test is not None and attrs["xs"]:
        raise TypeError("loop: xs need a trip count that is known before the loop")
    if parts.trips is not None and _strong(parts.trips) != INDEX:
        raise TypeError(f"loop: the trip count is {parts.trips}, not {INDEX}")
    for x in parts.xs:
        if not x.shape or x.shape[0] != length:
            raise TypeError(f"loop: xs of type {x} in {length} iterations")
    slices = [element_type(x) for x in parts.xs]
    given = [INDEX, *parts.carries, *slices, *parts.captures]
    _agree("loop: the body's inputs", body.input_types, given)
    out = body.output_types
    _agree("loop: the next carries", out[: attrs["carries"]], parts.carries)
    trips = []
    if test is not None:
        given = [INDEX, *parts.carries, *parts.captures]
        _agree("loop: the test's inputs", test.input_types, given)
        _agree("loop: the test's result", test.output_types, [TensorType(BOOL)])
        trips = [INDEX]
    leading = UNKNOWN if test is not None else length
    ys = [TensorType(t.dtype, (leading, *t.shape)) for t in out[attrs["carries"] :]]
    return tuple_type([*map(_strong, parts.carries), *trips, *ys])


def _loop_numpy(
    *values: Any, body: Graph, test: Graph | None, carries: int, xs: int, length: int,
    reverse: bool, limit: int,
) -> list[Any]:
    from gradc.ir.interp import run

    attrs = {"length": length, "test": test, "carries": carries, "xs": xs}
    parts = LoopParts(values, attrs)
    state, captures = parts.carries, parts.captures
    ys: list[list[Any]] = [[] for _ in body.outputs[carries:]]

    def step(k: int, state: list[Any]) -> list[Any]:
        out = run(body, [np.int64(k), *state, *(x[k] for x in parts.xs), *captures])
        for y, element in zip(ys, out[carries:], strict=True):
            y.append(element)
        return out[:carries]

    count = length if parts.trips is None else int(parts.trips)
    if test is None:
        order = range(count - 1, -1, -1) if reverse else range(count)
        for k in order:
            state = step(k, state)
    else:
        count = 0
        while bool(run(test, [np.int64(count), *state, *captures])[0]):
            if 0 <= limit <= count:
                raise TooManyTrips(limit)
            state = step(count, state)
            count += 1
    stacked = [
        _stack(y[::-1] if reverse else y, type_)
        for y, type_ in zip(ys, body.output_types[carries:], strict=True)
    ]
    return [*state, *([np.int64(count)] if test is not None else []), *stacked]


def _stack(elements: list[Any], type_: TensorType) -> Any:
    """Elements along a new leading axis; a list where they are tapes of different lengths."""
    if UNKNOWN in type_.shape:
        return elements
    if not elements:
        return np.zeros((0, *type_.shape), type_.dtype)
    return np.stack(elements)


loop_ = Op(name="loop", family="control", infer=_loop_type, numpy=_loop_numpy)


# -- branch --------------------------------------------------------------------------------------


def _branch_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    index, *operands = types
    branches: tuple[Graph, ...] = attrs["branches"]
    if not branches:
        raise TypeError("branch: there is no branch")
    if _strong(index) != INDEX:
        raise TypeError(f"branch: the index is {index}, not {INDEX}")
    results = branches[0].output_types
    for k, graph in enumerate(branches):
        _agree(f"branch {k}: its inputs", graph.input_types, operands)
        _agree(f"branch {k}: its results", graph.output_types, results)
    return tuple_type([_strong(t) for t in results])


def _branch_numpy(index: Any, *operands: Any, branches: tuple[Graph, ...]) -> list[Any]:
    from gradc.ir.interp import run

    return list(run(branches[min(max(int(index), 0), len(branches) - 1)], operands))


branch_ = Op(name="branch", family="control", infer=_branch_type, numpy=_branch_numpy)


# -- call ----------------------------------------------------------------------------------------

#: how a call is differentiated. checkpoint: as its body, which reverse mode runs again rather than
#: keep its values. recompute: as its body; it shares nothing with the same nodes elsewhere.
#: custom_vjp: ``fwd`` gives the outputs and residuals, ``bwd`` takes these and the cotangents of
#: the floating outputs, and gives those of the floating operands. custom_jvp: ``fwd`` takes also
#: the tangents of the floating operands and gives also those of the floating outputs.
RULES = ("checkpoint", "recompute", "custom_vjp", "custom_jvp")


def _call_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    body: Graph = attrs["body"]
    _agree("call: the inputs", body.input_types, types)
    return tuple_type([_strong(t) for t in body.output_types])


def _call_numpy(
    *operands: Any, body: Graph, rule: str, fwd: Graph | None, bwd: Graph | None
) -> list[Any]:
    from gradc.ir.interp import run

    return list(run(body, operands))


call_ = Op(name="call", family="control", infer=_call_type, numpy=_call_numpy)


# -- item ----------------------------------------------------------------------------------------


def _item_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (of,) = types
    if not 0 <= attrs["index"] < len(of.items):
        raise TypeError(f"item {attrs['index']} of {of}")
    return of.items[attrs["index"]]


item_ = Op(
    name="item", family="control", infer=_item_type,
    numpy=lambda values, index: values[index],
)


def _extent_type(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
    (tape,) = types
    if not tape.shape:
        raise TypeError(f"extent: {tape} has no leading axis")
    return INDEX


#: the leading extent of a tape, which only running tells
extent = Op(
    name="extent", family="control", infer=_extent_type, numpy=lambda tape: np.int64(len(tape)),
)


# -- making them ---------------------------------------------------------------------------------


def items(value: Value) -> list[Value]:
    """The results of a node that has several."""
    return [item_(value, index=k) for k in range(len(value.type.items))]


def loop(
    builder: Builder,
    body: Graph,
    *,
    carries: Sequence[Value] = (),
    xs: Sequence[Value] = (),
    captures: Sequence[Value] = (),
    length: int = UNKNOWN,
    trips: Value | None = None,
    test: Graph | None = None,
    reverse: bool = False,
    limit: int = UNKNOWN,
) -> list[Value]:
    """Append a loop and return its results: carries, trips run (with a test), stacked ys.

    Exactly one of ``length``, ``trips`` and ``test`` says how often it runs. Raises TypeError where
    the types do not agree.
    """
    if (length >= 0) + (trips is not None) + (test is not None) != 1:
        raise TypeError("a loop has a length, a trip count or a test")
    operands = [*([] if trips is None else [trips]), *carries, *xs, *captures]
    return items(builder.add(
        loop_, operands, body=body, test=test, carries=len(carries), xs=len(xs), length=length,
        reverse=reverse, limit=limit,
    ))


def branch(
    index: Value, branches: Sequence[Graph], operands: Sequence[Value]
) -> list[Value]:
    """Append a branch to the index's graph and return its results.

    The index is clamped to the branches that there are.
    """
    return items(index.builder.add(branch_, [index, *operands], branches=tuple(branches)))


def call(
    builder: Builder,
    body: Graph,
    operands: Sequence[Value],
    rule: str,
    fwd: Graph | None = None,
    bwd: Graph | None = None,
) -> list[Value]:
    """Append a call of a graph with a derivative of its own (see ``call_``); return its results."""
    if rule not in RULES:
        raise ValueError(f"a call has one of the rules {', '.join(RULES)}, not {rule}")
    return items(builder.add(call_, operands, body=body, rule=rule, fwd=fwd, bwd=bwd))
