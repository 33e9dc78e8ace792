"""Tracing a loop: its body, over and over until its carries are settled, then its test."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradc.cells import Cell
from gradc.control.arguments import known_int
from gradc.control.carries import Carry, unified
from gradc.control.integers import check
from gradc.control.regions import (
    Ends,
    Region,
    cell_type,
    close,
    here,
    output,
    whole,
    written_back,
)
from gradc.errors import CarryError, LoopError, OptionError
from gradc.ir import ops
from gradc.ir.graph import Builder, Value
from gradc.ir.types import BOOL, I64, UNKNOWN, TensorType
from gradc.numpy_api.values import as_tracer, to_value
from gradc.tracer import Tracer, describe, fresh

#: (i, carries, slices of xs) -> (next carries, one element of each of ys)
Step = Callable[[Tracer, list[Tracer], list[Tracer]], tuple[list[Any], list[Any]]]
#: (i, carries) -> whether there is another iteration
Test = Callable[[Tracer, list[Tracer]], Any]

#: how often a body is traced before its carries must be settled: each time one of them changes
_MANY = 100


@dataclass
class Loop:
    """A loop to be traced.

    carries: what is known of each; the trace refines it. initial: their leaves before the loop.
    xs: arrays of which each iteration gets an element. Exactly one of ``length``, ``trips`` (a
    traced int64) and ``test`` says how often it runs.
    """

    carries: list[Carry]
    initial: Sequence[Any]
    step: Step
    xs: Sequence[Tracer] = ()
    length: int = UNKNOWN
    trips: Value | None = None
    test: Test | None = None
    reverse: bool = False
    limit: int = UNKNOWN
    #: whether integers must be what Python's would be: LoopError where they are too large
    exact: bool = False
    #: whether carries may be widened
    widens: bool = False
    #: cells of the trace under way that the body writes
    cells: list[Cell] = field(default_factory=list)
    #: after :meth:`run`, how many iterations there were
    ran: Tracer | None = None

    def run(self) -> tuple[list[Tracer], list[Tracer]]:
        """Trace the loop into the trace under way; return the last carries and the stacked ys.

        What it writes into arrays of the trace is in them afterwards. Raises CarryError.
        """
        context = here()
        body = self._body()
        parts: list[Ends] = [body]
        if self.test is not None:
            parts.append(self._test())
        graphs, captures = close(parts)
        if self.exact and (self.length >= 0 or self.test is not None):
            numbers = [leaf if type(leaf) is int else None for leaf in self.initial]
            check(graphs[0], graphs[1] if self.test is not None else None, numbers, self.length,
                  self.reverse)
        first = [
            *(output(leaf, carry.type)
              for leaf, carry in zip(self.initial, self.carries, strict=True)),
            *(whole(cell).value for cell in self.cells),
        ]
        results = ops.loop(
            context.builder, graphs[0], carries=first, xs=[x.value for x in self.xs],
            captures=captures, length=self.length, trips=self.trips,
            test=graphs[1] if self.test is not None else None,
            reverse=self.reverse, limit=self.limit,
        )
        count = len(self.carries)
        after = count + len(self.cells)
        written_back(self.cells, results[count:after])
        if self.length == UNKNOWN:
            self.ran = fresh(results[after] if self.trips is None else self.trips)
        last = [
            fresh(value, weak=carry.type.weak, is_scalar=carry.scalar)
            for value, carry in zip(results[:count], self.carries, strict=True)
        ]
        return last, [fresh(value) for value in results[after + (self.test is not None) :]]

    def sizes(self) -> tuple[int, int]:
        """The bytes of the carries, and of what the reverse of an iteration needs to be kept.

        The loop's body is traced for it, and is to be traced again.
        """
        from gradc.ir.loop_reverse import kept_bytes
        from gradc.ir.passes import stabilize

        (body,), captures = close([self._body()])
        alone = Builder(body.name)
        types = [*(c.type for c in self.carries), *map(cell_type, self.cells)]
        ops.loop(
            alone, body, carries=[alone.input(f"c{k}", t) for k, t in enumerate(types)],
            xs=[alone.input(f"x{k}", x.type) for k, x in enumerate(self.xs)],
            captures=[alone.input(f"v{k}", value.type) for k, value in enumerate(captures)],
            length=self.length, reverse=self.reverse,
        )
        items = [alone.value(node.id) for node in alone.nodes if node.op.name == "item"]
        return sum(t.nbytes for t in types), kept_bytes(stabilize(alone.build(items)))

    def _body(self) -> Ends:
        for _ in range(_MANY):
            region = Region(
                "body", certain=self.length > 0, length=self.length, trips=self.trips)
            with region.active():
                i, carries = self._inputs(region)
                slices = [
                    region.input(f"x{k}", TensorType(x.dtype, x.shape[1:]))
                    for k, x in enumerate(self.xs)
                ]
                inputs = [*_own(region)]
                next_, ys = self.step(i, list(carries), slices)
                settled = self._unify(next_, inputs[1 : 1 + len(carries)])
                settled = self._found(region) and settled
                if settled:
                    outputs = [
                        *(output(leaf, carry.type)
                          for leaf, carry in zip(next_, self.carries, strict=True)),
                        *(whole(cell).value for cell in self.cells),
                        *(as_tracer(y).value for y in ys),
                    ]
                    return region, inputs, outputs
        names = ", ".join(carry.name for carry in self.carries)
        raise CarryError(f"the types of {names} do not settle in a loop",
                         remedy="begin with arrays and numbers of the types that they end with")

    def _inputs(self, region: Region) -> tuple[Tracer, list[Tracer]]:
        i = region.index()
        carries = [region.input(c.name, c.type, scalar=c.scalar) for c in self.carries]
        for k, cell in enumerate(self.cells):
            region.take(cell, region.builder.input(f"stored{k}", cell_type(cell)))
        return i, carries

    def _unify(self, leaves: Sequence[Any], given: Sequence[Value]) -> bool:
        """Refine the carries by what an iteration made of them; whether they were right."""
        before = self.carries
        self.carries = [
            unified(carry, leaf, value, widens=self.widens)
            for carry, leaf, value in zip(before, leaves, given, strict=True)
        ]
        return self.carries == before

    def _found(self, region: Region) -> bool:
        """Note the cells that were written besides those known; whether there were none."""
        known = len(self.cells)
        self.cells = [*self.cells, *region.cells[known:]]
        return len(self.cells) == known

    def _test(self) -> Ends:
        assert self.test is not None
        region = Region("test")
        with region.active():
            i, carries = self._inputs(region)
            inputs = [*_own(region)]
            before = [cell.version for cell in self.cells]
            truth = as_tracer(self.test(i, carries))
            if truth.is_constant and truth.array().all():
                raise LoopError(
                    "the condition of a while loop does not depend on what the loop computes: it "
                    "would never end",
                    remedy="let the condition depend on the state, or count: gradc.fori_loop",
                )
            if len(region.cells) != len(self.cells) or before != [c.version for c in self.cells]:
                raise LoopError("the condition of a while loop writes into an array",
                                remedy="write in the body of the loop")
            return region, inputs, [truth_of(truth)]


def _own(region: Region) -> list[Value]:
    return [region.builder.value(id_) for id_ in region.builder.inputs]


def truth_of(truth: Any) -> Value:
    """The truth of a number. Raises LoopError, as NumPy would, for an array of several."""
    t = as_tracer(truth)
    if t.size != 1:
        raise LoopError(
            "The truth value of an array with more than one element is ambiguous",
            types=[describe(t)], remedy="np.any or np.all of it",
        )
    flat = t if not t.shape else t.reshaped(())
    if flat.dtype == BOOL:
        return flat.value
    value = flat.value
    return ops.ne(value, ops.full_like(value, 0))


def trips_of(lo: Any, hi: Any, step: Any = 1) -> Value | int:
    """How often ``range(lo, hi, step)`` iterates: a traced int64, or an int where it is known.

    Raises ArgumentError for what is no integer, OptionError for one that is too large.
    """
    bounds = [known_int(x) for x in (lo, hi, step)]
    known = [b for b in bounds if b is not None]
    if len(known) == len(bounds):
        trips = builtins.range(*known)
        try:
            return len(trips)
        except OverflowError:
            raise OptionError(f"a loop over {trips}, of which no 64 bits hold the trip count",
                              types=["int"], remedy="fewer iterations") from None
    distance = hi - lo if bounds[2] == 1 else -((lo - hi) // step)
    return to_value(np.maximum(distance, 0), I64)
