"""What one iteration of a loop writes and the next one reads stays in a register.

Scalar replacement (Callahan, Carr & Kennedy, *Improving register allocation for subscripted
variables*, 1990): an element that is read where the same iteration, or the one before, wrote it is
the value written; nothing between the two may have written there. Addresses are compared as linear
forms of the loops' indices and of what does not change. So a sweep in place waits for its
arithmetic only, and not for a store to come back from memory.

The first iteration's value is read before the loop, even if there is no iteration: then the
buffer's first element is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradc.codegen.region.forms import Forms, Inside, rewritten
from gradc.codegen.region.stages import Forward, Loop, Register
from gradc.codegen.region.straight import Element, Known, Required, Straight, Update, View
from gradc.codegen.statements import Compute
from gradc.ir.forms import Form


def forwarded(stages: Sequence[Any]) -> list[Any]:
    """Stages whose innermost loops keep what they hand on in registers."""
    return rewritten(stages, Forms(), loop=_loop)


def _loop(loop: Loop, inside: Inside) -> Loop:
    plain = all(isinstance(stage, Straight) for stage in loop.body.stages)
    if not plain or loop.count == 0:
        return loop
    return _Replacement(loop, inside).done()


class _Replacement:
    """Finds the reads of a straight loop that an earlier write answers."""

    def __init__(self, loop: Loop, inside: Inside) -> None:
        self.loop = loop
        self.index = inside.index
        self.steady = inside.steady
        forms = inside.forms
        self.statements = [s for stage in loop.body.stages for s in stage.statements]
        numbers = [loop.index, *forms, *(c.value for c in loop.scalars)]
        numbers += [s.value for s in self.statements if not isinstance(s, View)]
        self.fresh: int = 1 + max(numbers)
        self.forms = {
            k: forms.address(s.address) for k, s in enumerate(self.statements)
            if isinstance(s, (Element, Update))
        }
        self.forwards: list[Forward] = []
        self.same: dict[int, int] = {}  # an element -> the value that it is

    def done(self) -> Loop:
        """The loop, its reads replaced."""
        shared = self._otherwise_used()
        for k, s in enumerate(self.statements):
            reads = isinstance(s, Element) or (isinstance(s, Update) and s.add)
            if reads and s.address.buffer.name not in shared:
                self._answer(k, s)
        if not self.forwards and not self.same:
            return self.loop
        kept = [self._renamed(s) for s in self.statements if not self._gone(s)]
        results = tuple(
            replace(r, value=self._value(r.value)) if isinstance(r, Register) else r
            for r in self.loop.body.results
        )
        body = replace(self.loop.body, stages=(Straight(tuple(kept)),), results=results)
        scalars = tuple(
            replace(c, next=replace(c.next, value=self._value(c.next.value)))
            if isinstance(c.next, Register) else c for c in self.loop.scalars
        )
        writes = tuple(
            replace(w, value=replace(w.value, value=self._value(w.value.value)))
            if isinstance(w.value, Register) else w for w in self.loop.writes
        )
        forwards = tuple(
            replace(f, next=replace(f.next, value=self._value(f.next.value)))
            for f in self.forwards
        )
        return replace(
            self.loop, body=body, scalars=scalars, writes=writes, forwards=forwards,
            ahead=tuple(self.statements),
        )

    def _otherwise_used(self) -> set[str]:
        """Buffers that are accessed in other ways than at elements known to be inside."""
        loop = self.loop
        out = {row.of.name for row in (*loop.reads, *loop.writes) if hasattr(row.of, "name")}
        out |= {row.view.name for row in (*loop.reads, *loop.writes) if row.view}
        for slot in loop.slots:
            out |= {slot.view.name, slot.start.name, slot.next.name}
            out |= {slot.home.name} if slot.home else set()
        for s in self.statements:
            if isinstance(s, View):
                out |= {s.view.name, s.address.buffer.name}
            elif isinstance(s, (Element, Update)):
                if any(known is not Known.PLAIN for known in s.address.known):
                    out.add(s.address.buffer.name)
            elif hasattr(s, "buffer"):
                out.add(s.buffer.name)
        return out

    def _answer(self, k: int, read: Element | Update) -> None:
        """Find the write that a read gets its value from, and take the value."""
        found = self._writer(k, read)
        if found is None:
            return
        at, before = found
        write = self.statements[at]
        assert isinstance(write, Update)
        if write.add and write.new is None:
            write = self.statements[at] = replace(write, new=self._fresh())
        value = write.new if write.add else write.value
        assert value is not None
        if before:
            old = read.value if isinstance(read, Element) else self._fresh()
            register = Register(value, read.address.buffer.dtype)
            self.forwards.append(Forward(old, read.address, register))
        else:
            old = value
            if isinstance(read, Element):
                self.same[read.value] = value
        if isinstance(read, Update):
            self.statements[k] = replace(self.statements[k], old=old)

    def _writer(self, k: int, read: Element | Update) -> tuple[int, bool] | None:
        """The last write to where a read is, and whether it is of the iteration before."""
        name, wanted = read.address.buffer.name, self.forms[k]
        for before in (False, True):
            last = len(self.statements) if before else k
            for at in range(last - 1, -1, -1):
                s = self.statements[at]
                if not isinstance(s, Update) or s.address.buffer.name != name:
                    continue
                form = self._earlier(self.forms[at]) if before else self.forms[at]
                same = None if form is None else form.plus(wanted, -1).is_zero()
                if same is None or (before and not self.steady.issuperset(wanted.terms)):
                    return None
                if same:
                    return at, before
        return None

    def _earlier(self, form: Form) -> Form | None:
        """An address as it was in the iteration before; None if that is not known."""
        if not self.steady.issuperset(form.terms):
            return None
        step = 1 if self.loop.reverse else -1
        return Form(form.constant + step * form.terms.get(self.index, 0), form.terms)

    def _fresh(self) -> int:
        self.fresh += 1
        return self.fresh - 1

    # -- with other values in place of what was read ---------------------------------------------

    def _gone(self, statement: Any) -> bool:
        replaced = self.same.keys() | {f.value for f in self.forwards}
        return isinstance(statement, Element) and statement.value in replaced

    def _value(self, value: int) -> int:
        known = value
        while known in self.same:
            known = self.same[known]
        return known

    def _renamed(self, s: Any) -> Any:
        match s:
            case Compute(value, node, operands):
                return Compute(value, node, tuple(map(self._value, operands)))
            case Required(value, code, number):
                return Required(self._value(value), code, number)
            case Update():
                old = None if s.old is None else self._value(s.old)
                return replace(s, value=self._value(s.value), old=old)
        return s
