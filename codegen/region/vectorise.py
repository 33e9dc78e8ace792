"""Innermost loops whose iterations go in vectors: which they are, and why they may.

``W`` iterations run at a time, statement by statement, as vector processors ran them (Allen &
Kennedy, *Automatic translation of Fortran programs to vector form*, 1987). That changes nothing
unless an iteration uses what one of the W - 1 before it does in a later statement: addresses are
compared as linear forms. What depends on a scalar that the loop carries, such as a sum, goes on one
iteration after the other, at the end: nothing is reassociated, and every bit stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradc.codegen.region.forms import Forms, Inside, rewritten
from gradc.codegen.region.stages import Loop
from gradc.codegen.region.straight import Address, Element, Known, Straight, Update
from gradc.codegen.statements import Compute, Literal, cost
from gradc.codegen.targets import Target
from gradc.ir.forms import Form, Symbol

#: what a lane that is moved alone costs, in flops, and a vector of lanes that are reversed
ALONE, REVERSED = 2, 1
#: what an operation costs that waits for the one before
WAITED = 4
#: by how much vectors must be ahead: short loops pay for two
AHEAD = 1.4


def vectorised(stages: Sequence[Any], target: Target) -> list[Any]:
    """Stages whose innermost loops go in vectors where they may, and where that pays."""
    return rewritten(stages, Forms(), loop=lambda loop, inside: _loop(loop, inside, target))


def _loop(loop: Loop, inside: Inside, target: Target) -> Loop:
    plain = all(isinstance(stage, Straight) for stage in loop.body.stages)
    moving = loop.test is not None or loop.slots or loop.forwards or loop.frees
    if not plain or moving:
        return loop
    sizes = [row.dtype.itemsize for row in (*loop.reads, *loop.writes)]
    statements = [s for stage in loop.body.stages for s in stage.statements]
    sizes += [s.address.buffer.dtype.itemsize for s in statements
              if isinstance(s, (Element, Update))]
    lanes = min(32, target.width) // max(sizes, default=8)
    short = 0 <= loop.count < 2 * lanes
    if short or lanes < 2:
        return loop
    return _Vectors(loop, inside, statements, lanes).done()


@dataclass(frozen=True)
class _Access:
    """An element that a statement reads or writes; ``step`` is how far the next iteration's is."""

    at: int
    address: Address
    form: Form
    step: int
    writes: bool


class _Vectors:
    """A straight loop that may go ``lanes`` iterations at a time."""

    def __init__(self, loop: Loop, inside: Inside, statements: list[Any], lanes: int) -> None:
        self.loop = loop
        self.inside = inside
        self.statements = statements
        self.lanes = lanes
        self.forward = -1 if loop.reverse else 1
        self.serial = self._serial()

    def done(self) -> Loop:
        """The loop, with how it goes in vectors if it does."""
        accesses = self._accesses()
        if accesses is None or not self._simple() or not self._independent(accesses):
            return self.loop
        if not self._pays(accesses):
            return self.loop
        return replace(
            self.loop, lanes=self.lanes, steps=tuple(self._steps()), serial=frozenset(self.serial)
        )

    def _serial(self) -> set[int]:
        """The values that depend on what the loop carries."""
        out = {c.value for c in self.loop.scalars}
        for s in self.statements:
            if isinstance(s, Compute) and not out.isdisjoint(s.operands):
                out.add(s.value)
        return out

    def _simple(self) -> bool:
        """Whether all statements are of kinds that go in vectors."""
        rows = (*self.loop.reads, *self.loop.writes)
        if any(row.view or row.size != 1 for row in rows):
            return False
        return all(isinstance(s, (Literal, Compute, Element, Update)) for s in self.statements)

    # -- addresses -----------------------------------------------------------------------------

    def _step(self, form: Form) -> int | None:
        """How far a form moves from one iteration to the next; None if that is not known."""
        if not self.inside.steady.issuperset(form.terms):
            return None
        return self.forward * form.terms.get(self.inside.index, 0)

    def _steps(self) -> Iterator[tuple[int, int]]:
        """The integers that move evenly: (number, step)."""
        yield self.loop.index, self.forward
        for s in self.statements:
            if isinstance(s, Compute) and s.value in self.inside.forms:
                step = self._step(self.inside.forms[s.value])
                if step is not None and s.value not in self.serial:
                    yield s.value, step

    def _accesses(self) -> list[_Access] | None:
        """The elements that are read and written; None where one does not move evenly."""
        out = []
        for k, s in enumerate(self.statements):
            if not isinstance(s, (Element, Update)):
                continue
            unsure = [i for i, known in zip(s.address.indices, s.address.known, strict=True)
                      if known is not Known.PLAIN]
            if any(self._step(self.inside.forms[i]) is None for i in unsure):
                return None
            form = self.inside.forms.address(s.address)
            step = self._step(form)
            writes = isinstance(s, Update)
            if step is None or (writes and not step):
                return None
            if not self.serial.isdisjoint(s.address.indices):
                return None
            out.append(_Access(k, s.address, form, step, writes))
        return out

    def _independent(self, accesses: Sequence[_Access]) -> bool:
        """Whether statement by statement is as iteration by iteration."""
        written = [a for a in accesses if a.writes]
        for write in written:
            update = self.statements[write.at]
            last = update.value in self.serial
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
        steps = dict(self._steps())
        rows = (*self.loop.reads, *self.loop.writes)
        one = float(len(accesses) + len(rows))
        wide = len(rows) / self.lanes
        wide += len(rows) * REVERSED / self.lanes * self.loop.reverse
        for access in accesses:
            if access.step in (0, 1, -1):
                wide += (1 + REVERSED * (access.step < 0)) / self.lanes
            else:
                wide += ALONE
            one += isinstance(s := self.statements[access.at], Update) and s.add
        vectors: set[int] = set()
        for s in self.statements:
            if not isinstance(s, Compute):
                continue
            if s.value in self.serial:
                one += max(WAITED, cost(s.node))
                wide += max(WAITED, cost(s.node))
                vectors.update(set(s.operands) - self.serial)
            elif s.value not in steps:
                one += cost(s.node)
                wide += cost(s.node) / self.lanes
        wide += len(vectors - steps.keys()) * ALONE / 2
        return one > AHEAD * wide
