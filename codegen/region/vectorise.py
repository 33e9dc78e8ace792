"""Loops whose iterations go in vectors: which they are, and why they may.

``W`` iterations run at a time, statement by statement, as vector processors ran them (Allen &
Kennedy, *Automatic translation of Fortran programs to vector form*, 1987). That changes nothing
unless an iteration uses what one of the W - 1 before it does in a later statement: addresses are
compared as linear forms. What depends on a scalar that the loop carries, such as a sum, goes on one
iteration after the other, at the end: nothing is reassociated, and every bit stays.

A loop around loops that only read, as often in each of its iterations, goes in vectors too: the
sums of ``C[i, j] += A[i, k] * B[k, j]`` for several ``j`` at a time, each in its order over ``k``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradc.codegen.region.forms import Forms, Inside, rewritten
from gradc.codegen.region.stages import Loop, Register
from gradc.codegen.region.straight import Address, Element, Known, Straight, Update
from gradc.codegen.statements import Compute, Literal, cost
from gradc.codegen.targets import Target
from gradc.ir.forms import Form, Symbol

#: what a lane that is moved alone costs, in flops, and a vector of lanes that are reversed
ALONE, REVERSED = 2, 1
#: bytes of a vector: wider ones leave more iterations over
WIDTH = 32
#: how often a loop inside is taken to run
TRIPS = 16
#: what an operation costs that waits for the one before
WAITED = 4
#: by how much vectors must be ahead: short loops pay for two
AHEAD = 1.4


def vectorised(stages: Sequence[Any], target: Target) -> list[Any]:
    """Stages whose innermost loops, or those around, go in vectors where they may and that pays."""
    insides: dict[int, Inside] = {}  # by the identity of loops that stay as they are

    def vectors(loop: Loop, inside: Inside) -> Loop:
        insides[id(loop)] = inside
        return _loop(loop, inside, insides, target)

    return rewritten(stages, Forms(), loop=vectors)


def _loop(loop: Loop, inside: Inside, insides: Mapping[int, Inside], target: Target) -> Loop:
    if loop.test is not None or loop.slots or loop.forwards or loop.frees:
        return loop
    inner = [stage for stage in loop.body.stages if not isinstance(stage, Straight)]
    if inner and (loop.scalars or not all(_goes_along(k, inside) for k in inner)):
        return loop
    places: list[_Place] = []
    for stage in loop.body.stages:
        if isinstance(stage, Straight):
            places += [_Place(s, inside, 1) for s in stage.statements]
        else:
            within = _seen_from(inside, insides[id(stage)])
            (code,) = stage.body.stages
            places += [_Place(s, within, TRIPS) for s in code.statements]
    sizes = [row.dtype.itemsize for row in (*loop.reads, *loop.writes)]
    sizes += [p.statement.address.buffer.dtype.itemsize for p in places
              if isinstance(p.statement, (Element, Update))]
    lanes = min(WIDTH, target.width) // max(sizes, default=8) * (2 if inner else 1)
    short = 0 <= loop.count < 2 * lanes
    if short or lanes < 2:
        return loop
    found = _Vectors(loop, inside, places, lanes)
    if not found.go():
        return loop
    stages = tuple(
        stage if isinstance(stage, Straight)
        else replace(stage, steps=tuple(found.steps(insides[id(stage)], stage)))
        for stage in loop.body.stages
    )
    return replace(
        loop, lanes=lanes, steps=tuple(found.steps(inside, loop)),
        serial=frozenset(found.serial), body=replace(loop.body, stages=stages),
    )


def _seen_from(outer: Inside, inner: Inside) -> Inside:
    """A loop inside, with what does not change in the loop around it.

    What it is given does not change in it, but may from one iteration around it to the next.
    """
    return replace(inner, steady=outer.steady | {inner.index})


def _goes_along(stage: Any, inside: Inside) -> bool:
    """Whether a stage is a loop that all lanes of a loop around can run together, and only reads.

    As often, that is, and with what it carries in vectors.
    """
    if not isinstance(stage, Loop) or len(stage.body.stages) != 1 or stage.lanes > 1:
        return False
    if stage.test or stage.slots or stage.forwards or stage.reads or stage.writes or stage.tapes:
        return False
    if isinstance(stage.trips, Register):
        trips = inside.forms[stage.trips.value]
        if inside.index in trips.terms or not inside.steady.issuperset(trips.terms):
            return False
    (code,) = stage.body.stages
    return isinstance(code, Straight) and all(
        isinstance(s, (Literal, Compute))
        or (isinstance(s, Element) and all(k is Known.PLAIN for k in s.address.known))
        for s in code.statements
    )


@dataclass(frozen=True)
class _Place:
    """A statement, what is known where it stands, and how often it runs in an iteration."""

    statement: Any
    inside: Inside
    times: int


@dataclass(frozen=True)
class _Access:
    """An element that a statement reads or writes; ``step`` is how far the next iteration's is."""

    at: int
    address: Address
    form: Form
    step: int
    writes: bool


class _Vectors:
    """A loop that may go ``lanes`` iterations at a time."""

    def __init__(
        self, loop: Loop, inside: Inside, places: Sequence[_Place], lanes: int
    ) -> None:
        self.loop = loop
        self.inside = inside
        self.places = places
        self.lanes = lanes
        self.forward = -1 if loop.reverse else 1
        self.serial = self._serial()

    def go(self) -> bool:
        """Whether it goes in vectors."""
        accesses = self._accesses()
        if accesses is None or not self._simple() or not self._independent(accesses):
            return False
        return self._pays(accesses)

    def _serial(self) -> set[int]:
        """The values that depend on what the loop carries."""
        out = {c.value for c in self.loop.scalars}
        for place in self.places if out else ():
            s = place.statement
            if isinstance(s, Compute) and not out.isdisjoint(s.operands):
                out.add(s.value)
        return out

    def _simple(self) -> bool:
        """Whether all statements are of kinds that go in vectors."""
        rows = (*self.loop.reads, *self.loop.writes)
        if any(row.view or row.size != 1 for row in rows):
            return False
        kinds = (Literal, Compute, Element, Update)
        return all(isinstance(place.statement, kinds) for place in self.places)

    # -- addresses -----------------------------------------------------------------------------

    def _step(self, form: Form, inside: Inside) -> int | None:
        """How far a form moves from one iteration to the next; None if that is not known."""
        if not inside.steady.issuperset(form.terms):
            return None
        return self.forward * form.terms.get(self.inside.index, 0)

    def steps(self, inside: Inside, loop: Loop) -> Iterator[tuple[int, int]]:
        """The integers of a loop's body that move evenly: (number, step)."""
        inside = _seen_from(self.inside, inside)
        made = {s.value for stage in loop.body.stages if isinstance(stage, Straight)
                for s in stage.statements if isinstance(s, Compute)}
        made |= {given.value for given in loop.body.given} | {loop.index}
        for value in sorted(made - self.serial):
            if value in inside.forms:
                step = self._step(inside.forms[value], inside)
                if step is not None:
                    yield value, step

    def _accesses(self) -> list[_Access] | None:
        """The elements that are read and written; None where one does not move evenly."""
        out = []
        for k, (s, inside) in enumerate((p.statement, p.inside) for p in self.places):
            if not isinstance(s, (Element, Update)):
                continue
            unsure = [i for i, known in zip(s.address.indices, s.address.known, strict=True)
                      if known is not Known.PLAIN]
            if any(self._step(inside.forms[i], inside) is None for i in unsure):
                return None
            form = inside.forms.address(s.address)
            step = self._step(form, inside)
            writes = isinstance(s, Update)
            if step is None or (writes and not step):
                return None
            late = isinstance(s, Update) and s.value in self.serial and s.new is not None
            if late or (isinstance(s, Update) and s.old in self.serial):
                return None  # a sum that others use, or that adds to one, would be there too late
            if not self.serial.isdisjoint(s.address.indices):
                return None
            out.append(_Access(k, s.address, form, step, writes))
        return out

    def _independent(self, accesses: Sequence[_Access]) -> bool:
        """Whether statement by statement is as iteration by iteration."""
        written = [a for a in accesses if a.writes]
        for write in written:
            last = self.places[write.at].statement.value in self.serial
            for other in accesses:
                if other.address.buffer.name != write.address.buffer.name:
                    continue
                if last and other.at > write.at:  # the write would be put off
                    return False
                first, second = sorted((other, write), key=lambda access: access.at)
                if other is not write and self._carried(first, second):
                    return False
        return True

    def _carried(self, first: _Access, second: _Access) -> bool:
        """Whether an iteration's ``second`` may be what a later one's ``first`` is, too soon.

        ``first`` stands before ``second`` in the body: in vectors it would be done before it.
        """
        if first.step == second.step:
            # apart = (later - earlier iteration) · step where the two are one place
            apart = second.form.plus(first.form, -1)
            index = Form(0, {self.inside.index: 1})
            apart = apart.plus(index, -apart.terms.get(self.inside.index, 0))
            if first.step < 0:
                apart = Form(0).plus(apart, -1)
            low, high = apart.least(), apart.most()
            if high is not None and high <= 0:
                return False
            if low is not None and low >= self.lanes * abs(first.step):
                return False
            return bool(apart.terms) or apart.constant % abs(first.step) == 0
        other = Symbol(self.inside.index.low, self.inside.index.high)
        elsewhere = Form(0, {other: 1})
        moved = second.form.terms.get(self.inside.index, 0)
        place = second.form.plus(Form(0, {self.inside.index: 1}), -moved).plus(elsewhere, moved)
        return place.plus(first.form, -1).is_zero() is not False

    # -- whether it pays -----------------------------------------------------------------------

    def _pays(self, accesses: Sequence[_Access]) -> bool:
        """Whether vectors are ahead of iterations one by one."""
        steps = dict(self.steps(self.inside, self.loop))
        rows = (*self.loop.reads, *self.loop.writes)
        one = float(len(rows))
        wide = len(rows) * (1 + REVERSED * self.loop.reverse) / self.lanes
        for access in accesses:
            place = self.places[access.at]
            one += place.times * (1 + (access.writes and place.statement.add))
            if access.step in (0, 1, -1):
                wide += place.times * (1 + REVERSED * (access.step < 0)) / self.lanes
            else:
                wide += place.times * ALONE
        apart: set[int] = set()
        for place in self.places:
            s = place.statement
            if not isinstance(s, Compute):
                continue
            if s.value in self.serial:
                one += max(WAITED, cost(s.node))
                wide += max(WAITED, cost(s.node))
                apart.update(set(s.operands) - self.serial)
            elif place.times > 1 or s.value not in steps:
                one += place.times * cost(s.node)
                wide += place.times * cost(s.node) / self.lanes
        wide += len(apart - steps.keys()) * ALONE / 2
        return one > AHEAD * wide
