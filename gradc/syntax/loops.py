"""The loops of rewritten code."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CellType
from typing import TYPE_CHECKING, Any

from gradc.context import contexts
from gradc.conversions import guess
from gradc.errors import CarryError
from gradc.syntax import sequences, values
from gradc.syntax.analysis import escapes
from gradc.syntax.expressions import is_harmless
from gradc.syntax.frame import OUTCOME, Outcomes, parts
from gradc.syntax.places import Form
from gradc.syntax.runtime import BREAK, CONTINUE, NEXT, Expressions, Outcome, is_empty
from gradc.syntax.sequences import Indexed
from gradc.syntax.unrolled import UNROLL, Made, Unrolled
from gradc.syntax.values import is_traced

if TYPE_CHECKING:
    from gradc.syntax.places import Site
    from gradc.syntax.unit import Unit

class Unsuitable(Exception):
    """A loop over what is known would turn into traced values what Python would know."""


class Frame(Unrolled):
    """What rewritten statements call: the runtime of one call of a function."""

    def __init__(self, unit: Unit, cells: dict[str, CellType], namespace: dict[str, Any]) -> None:
        super().__init__(unit, cells, namespace)
        #: site -> what a loop that runs as Python has still to go over
        self._iterators: dict[int, Iterator[Any]] = {}
        #: site -> how a loop ended that has been compiled
        self._outcomes: dict[int, Outcome | None] = {}

    # -- hooks ---------------------------------------------------------------------------------

    def loop(self, number: int, iterable: Any) -> Iterable[Any]:
        """What a ``for`` goes over in Python: nothing, once it has been compiled."""
        site = self.unit.sites[number]
        sequence = None
        if contexts() and values.control() is not None:
            sequence = sequences.indexed(iterable)
        if sequence is not None and self._is_compiled(site, sequence):
            return ()
        if isinstance(iterable, Indexed):
            iterable = sequences.plain(iterable)
        if not contexts():
            python: Iterable[Any] = iterable
        elif isinstance(iterable, (tuple, list, range)) and len(iterable) <= UNROLL:
            python = iterable
        elif sequence is not None and not site.tracked and isinstance(
            self.refused.get(number), (CarryError, Unsuitable)
        ):
            python = self._after_one(site, sequence, iterable)
        else:
            python = self.limited(site, iterable)
        if site.tracked:
            python = self._iterators[number] = iter(python)
        return python

    def _after_one(
        self, site: Site, sequence: Indexed, iterable: Iterable[Any]
    ) -> Iterator[Any]:
        """What a ``for`` goes over whose variables may be settled after the first iteration."""
        python = self.limited(site, iterable)
        yield next(python)
        later = sequences.Later(sequence)
        if not self._is_tried(site, lambda: self._counted(site, later)):
            self.refused.pop(site.number)
            yield from python

    def begin(self, number: int) -> None:
        """A ``while`` begins."""
        self.whiles[number] = Made()

    def going(self, number: int, test: Any) -> bool:
        """Whether a ``while`` goes on in Python: not once it has been compiled."""
        site = self.unit.sites[number]
        if not is_traced(test):
            return bool(test) and not self._is_shortened(site)
        values.predicate(test)  # asks for what has to be known
        self._note(site, self._repeated(site, None))
        return False

    def ran(self, number: int) -> bool:
        """Whether a loop has been compiled, so that what stands under its ``else`` is to follow."""
        return number in self._outcomes

    def finish(self, number: int) -> Any:
        """Run the ``else`` of a compiled loop, and what follows if a jump leaves the loop."""
        site = self.unit.sites[number]
        outcome = self._closed(site, self._outcomes.pop(number))
        if not site.leaves:
            return None
        self.refuse(site)
        return self.left(site, self.rest(site, outcome))

    # -- loops that Python could run -----------------------------------------------------------

    def _is_compiled(self, site: Site, sequence: Indexed) -> bool:
        """Compile a ``for`` if it should be and can be."""
        if is_traced(sequence.length):
            for bound in sequence.bounds():
                guess(bound)
            outcome = self._counted(site, sequence)
        elif sequence.forced:
            outcome = self._counted(site, sequence)
        elif self._is_pythons(site, sequence):
            return False
        else:
            return self._is_tried(site, lambda: self._counted(site, sequence))
        self._note(site, outcome)
        return True

    def _is_pythons(self, site: Site, sequence: Indexed) -> bool:
        """Whether a loop of known length is short, acts, or computes nothing that is traced."""
        short = sequence.length <= self.most(site)
        return short or self.acts(site) or not self._has_traced(sequence)

    def _is_tried(self, site: Site, loop: Callable[[], Outcome | None]) -> bool:
        """Compile a loop, if it can be, that Python runs if not."""
        marks = [(one, one.failure, one.request, {**one.guessed}) for one in contexts()]
        try:
            outcome = loop()
        except Exception as error:
            # Python runs it as it is, and raises again what is an error there.
            self.refused[site.number] = error
            for context, failure, request, guessed in marks:
                context.failure, context.request = failure, request
                for leaf in context.guessed.keys() - guessed:
                    context.request_static(leaf)
            return False
        self._note(site, outcome)
        return True

    def _is_shortened(self, site: Site) -> bool:
        """Compile what is left of a ``while`` whose test is known, if it goes on for long.

        Iterations that compute nothing do not count, as they leave nothing in the graph.
        """
        made = self.whiles.get(site.number)
        if made is None or values.control() is None:
            return False
        self.check(site, made)
        if made.iterations() <= self.most(site) or made.tried:
            return False
        made.tried = True
        if self.acts(site):
            return False
        done = self._is_tried(site, lambda: self._looped(site, None, None, known=True))
        made.why = self.refused.pop(site.number, None)
        return done

    def _has_traced(self, sequence: Indexed) -> bool:
        """Whether any traced value is at hand: plain computations on numbers stay Python's."""
        return values.holds_traced([
            sequence, *(cell.cell_contents for cell in self.cells.values() if not is_empty(cell))])

    def _note(self, site: Site, outcome: Outcome | None) -> None:
        if site.escapes or (site.node.orelse and "break" in escapes(site.node.body)):
            self._outcomes[site.number] = outcome

    # -- compiled loops ------------------------------------------------------------------------

    def _jumps(self, site: Site) -> bool:
        """Whether a jump may end the loop."""
        return bool(escapes(site.node.body, True) | escapes(site.node.body) & {"break"})

    def _body(self, site: Site) -> Form:
        node = site.node
        target = node.target if isinstance(node, ast.For) else None
        return site.made(
            "body", lambda: Form("body", node.body, self.unit.live.head[node], item=target))

    def _counted(self, site: Site, sequence: Indexed) -> Outcome | None:
        """Compile a ``for``."""
        if self._jumps(site):
            return self._looped(site, None, sequence)
        control = values.control()
        assert control is not None
        body = self._body(site)
        names, held = self._state(site, body)
        chosen = self.chosen

        def step(i: Any, state: Sequence[Any]) -> tuple[Any, ...]:
            given = [i, *self._enter(names, held, state)]
            with self.watched(site, "a loop that is compiled"):
                self.run(body, sequence.at(i))
            return self._leave(site, names, held, sequence, given)

        try:
            # What Python can run is not widened: it may do the first iteration as it is.
            widens = sequence.forced or is_traced(sequence.length)
            after = control.counted(
                sequence.length, step, tuple(held[name] for name in names), names, forced=True,
                widens=widens)
        finally:
            self.put(held.items())
            self.chosen = chosen
        self.put(zip(names, after, strict=True))
        self.chosen.update(names)
        return None

    def _repeated(self, site: Site, outcome: Outcome | None) -> Outcome | None:
        """Compile what is left of a ``while``."""
        return self._looped(site, outcome, None)

    def _looped(
        self, site: Site, before: Outcome | None, sequence: Indexed | None, *, known: bool = False
    ) -> Outcome | None:
        """Compile a loop that ends on a test, or by a jump; ``known``: Python could run it.

        What is carried: the variables; where jumps may end it, the outcome; of a ``for``, the
        index.
        """
        control = values.control()
        assert control is not None
        node, body = site.node, self._body(site)
        jumps = self._jumps(site)
        test = None
        if isinstance(node, ast.While):
            condition = node.test
            head = self.unit.live.head[node]
            test = site.made("test", lambda: Form("test", [], head, value=condition))
        names, held = self._state(site, body, *([test] if test is not None else []))
        count, chosen = len(names), self.chosen
        outcomes = Outcomes()
        outcomes.codes.append(parts(before)[0])

        def going(state: Sequence[Any]) -> Any:
            self._enter(names, held, state)
            alive = state[count] == NEXT if jumps else True
            if sequence is not None:
                return alive & (state[-1] < sequence.length)
            assert test is not None and isinstance(node, ast.While)
            with self.watched(site, "the test of a loop that is compiled"):
                return Expressions.all(
                    alive, lambda: self.run(test), harmless=is_harmless(node.test))

        def step(state: Sequence[Any]) -> tuple[Any, ...]:
            given = self._enter(names, held, state)
            with self.watched(site, "a loop that is compiled"):
                item = [sequence.at(state[-1])] if sequence is not None else []
                outcome = self.run(body, *item)
            result = self._leave(site, names, held, sequence, given, known)
            if jumps:
                code, value = parts(self._continued(site, outcome))
                outcomes.codes.append(code)
                result = (*result, code, value)
            return (*result, values.as_index(state[-1]) + 1) if sequence is not None else result

        state: tuple[Any, ...] = tuple(held[name] for name in names)
        labels: tuple[str, ...] = names
        if jumps:
            state, labels = (*state, *parts(before)), (*labels, *OUTCOME)
        if sequence is not None:
            state, labels = (*state, 0), (*labels, "the index of the loop")
        try:
            after = control.repeated(going, step, state, labels, forced=True)
        finally:
            self.put(held.items())
            self.chosen = chosen
        self.put(zip(names, after, strict=False))
        self.chosen.update(names)
        return outcomes.joined(*after[count : count + 2]) if jumps else None

    def _state(self, site: Site, *forms: Form) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The variables that a loop carries, and what all that it binds hold before it."""
        bound = self.bound(*forms)
        names = self.carried(bound, self.unit.live.head[site.node])
        return names, {name: self.get(name) for name in bound}

    def _enter(
        self, names: Sequence[str], held: dict[str, Any], state: Sequence[Any]
    ) -> list[Any]:
        """Begin an iteration; what Python would know, were it to run the loop, is returned."""
        self.chosen = set()
        self.put(held.items())
        self.put(zip(names, state, strict=False))
        numbers = [x for name, x in zip(names, state, strict=False)
                   if type(held[name]) in (bool, int, float)]
        return [*numbers, *state[len(names) :]]

    def _leave(
        self, site: Site, names: Sequence[str], held: dict[str, Any], sequence: Indexed | None,
        given: Sequence[Any], known: bool = False,
    ) -> tuple[Any, ...]:
        """What a loop carries on; ``given``: as of :meth:`_enter`. Raises Unsuitable, LoopError."""
        self.refuse_deleted(site, held, names)
        if sequence is not None:
            known = not is_traced(sequence.length) and not sequence.forced
        if known:
            later = self.unit.live.after[site.node]
            for name in names:
                if name in later and name not in self.chosen and values.turned(
                        held[name], self.get(name), given):
                    raise Unsuitable(name)
        return tuple(self.get(name) for name in names)

    # -- the rest of loops that run in Python --------------------------------------------------

    def _continued(self, site: Site, outcome: Outcome | None) -> Outcome | None:
        """The outcome of an iteration: at ``continue`` it goes on."""
        if outcome is None or not outcome.is_traced:
            return None if outcome is not None and outcome.code == CONTINUE else outcome
        if "continue" not in escapes(site.node.body):
            return outcome
        code = values.where(outcome.code == CONTINUE, NEXT, outcome.code)
        return Outcome(code, outcome.value)

    def ended(self, loop: Site, outcome: Outcome | None) -> Outcome | None:
        """Run the iterations that a loop has left, and its ``else``."""
        outcome = self._continued(loop, outcome)
        body = self._body(loop)
        head = self.unit.live.head[loop.node]
        if isinstance(loop.node, ast.While):
            return self._closed(loop, self._ended_while(loop, outcome))
        for item in self._iterators.pop(loop.number):
            if outcome is not None and not outcome.is_traced:
                break
            outcome = self._continued(loop, self.unless_left(loop, outcome, body, head, item))
        return self._closed(loop, outcome)

    def _ended_while(self, loop: Site, outcome: Outcome | None) -> Outcome | None:
        assert isinstance(loop.node, ast.While)
        condition, head = loop.node.test, self.unit.live.head[loop.node]
        test = loop.made("test", lambda: Form("test", [], head, value=condition))
        while outcome is None:
            known = self.truth(self.run(test))
            if known is False:
                return None
            if known is not True:
                return self._repeated(loop, None)
            outcome = self._continued(loop, self.run(self._body(loop)))
        return self._repeated(loop, outcome) if outcome.is_traced else outcome

    def _closed(self, loop: Site, outcome: Outcome | None) -> Outcome | None:
        """Run the ``else`` of a loop; its ``break`` ends here."""
        node = loop.node
        end = self.unit.live.after[node]

        def broken(code: Any, value: Any) -> Outcome | None:
            if isinstance(code, int):
                return None if code == BREAK else Outcome(code, value)
            return Outcome(values.where(code == BREAK, NEXT, code), value)

        if node.orelse:
            form = loop.made("at its end", lambda: Form("else", node.orelse, end))
            outcome = self.unless_left(loop, outcome, form, end, left=broken)
        elif outcome is not None:
            outcome = broken(outcome.code, outcome.value)
        return outcome if loop.escapes else None

