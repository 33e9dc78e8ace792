"""The runtime of one call of a rewritten function: branches, and jumps out of them.

A jump under a traced test turns what follows into a branch of its own: the statements after it, up
to the end of the innermost loop's body or of the function, run where it was not taken. Where they
end with the one side of the ``if`` they become part of that side.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from types import CellType
from typing import TYPE_CHECKING, Any

from gradc.errors import LoopError
from gradc.syntax import analysis, values
from gradc.syntax.expressions import located
from gradc.syntax.places import Form
from gradc.syntax.runtime import BREAK, CONTINUE, NEXT, RETURN, Outcome, Variables, check_depth

if TYPE_CHECKING:
    from gradc.syntax.analysis import Names
    from gradc.syntax.places import Place, Site
    from gradc.syntax.unit import Unit

#: a side of a branch: takes the code and the value of the outcome so far, gives its own outcome
Side = Callable[[Any, Any], Outcome | None]
#: how the outcome is called where an error is about it
OUTCOME = ("how the statement is left", "the value returned")


def keep(code: Any, value: Any) -> Outcome:
    """The side that does nothing."""
    return Outcome(code, value)


class Branches(Variables):
    """Branches of the statements of a function."""

    BREAK = Outcome(BREAK, None)
    CONTINUE = Outcome(CONTINUE, None)

    def __init__(self, unit: Unit, cells: dict[str, CellType], namespace: dict[str, Any]) -> None:
        super().__init__(unit, cells, namespace)
        #: the variables that were given a value under a traced test
        self.chosen: set[str] = set()

    @classmethod
    def returned(cls, value: Any) -> Outcome:
        """The outcome of ``return value``. Raises UndefinedError where a variable has none."""
        return Outcome(RETURN, values.read(value))

    def branch(self, number: int, test: Any) -> None:
        """Run an ``if`` that no jump leaves, whose test is traced."""
        site = self.unit.sites[number]
        end = self.unit.live.after[site.node]
        then = site.made("then", lambda: Form("then", site.node.body, end))
        otherwise = site.made("else", lambda: Form("else", site.node.orelse, end))
        self.select(site, test, then, otherwise, end)

    def escape(self, number: int, test: Any) -> Any:
        """Run an ``if`` that a jump may leave, whose test is traced, and all that then follows.

        That is the rest of the loop that is broken out of next, or of the form, whose result this
        is.
        """
        site = self.unit.sites[number]
        self.refuse(site)
        node = site.node
        sides = [node.body, node.orelse]
        falling = [analysis.falls(side) for side in sides]
        end = self.end_at(site.place)
        if all(falling):
            # A jump deeper inside goes where other names are live than after the statement.
            end = self.unit.live.after[node] | end
        else:
            rest = self.rest_of(site.place)
            sides = [side + rest if falls else side
                     for side, falls in zip(sides, falling, strict=True)]
        then = site.made("then", lambda: Form("then", sides[0], end))
        otherwise = site.made("else", lambda: Form("else", sides[1], end))
        outcome = self.select(site, test, then, otherwise, end, jumps=True)
        if all(falling):
            outcome = self.rest(site, outcome)
        return self.left(site, outcome)

    def refuse(self, site: Site) -> None:
        """Raise LoopError where a jump would leave a ``try`` or ``with``."""
        wall = site.refusal
        if wall is None:
            return
        jump = sorted(site.escapes)[-1]
        kind = "with" if isinstance(wall, ast.With) else "try"
        raise LoopError(
            f"`{jump}` on a traced value, out of a `{kind}` (line {wall.lineno})",
            where=self.where(site),
            remedy=f"take it out of the `{kind}`: assign to a variable there, and test it after",
        )

    def rest_of(self, place: Place) -> list[ast.stmt]:
        """What follows a statement up to the next loop's end, or to that of the function."""
        rest = place.rest()
        if place.enclosing_loop() is None and self.form_of(place).is_root:
            last = rest[-1] if rest else place.block[-1]
            rest = [*rest, located(ast.Return(ast.Constant(None)), last)]
        return rest

    def form_of(self, place: Place) -> Form:
        """The form that a place is in."""
        while place.up is not None:
            place = place.up
        return place.form

    def end_at(self, place: Place) -> Names:
        """The names that are live where what follows a statement ends."""
        loop = place.enclosing_loop()
        return self.form_of(place).end if loop is None else self.unit.live.head[loop.node]

    def rest(self, site: Site, outcome: Outcome | None) -> Outcome | None:
        """Run what follows a statement, unless it was left by a jump."""
        block = self.rest_of(site.place)
        if not block or not analysis.falls([site.node]):
            return outcome
        end = self.end_at(site.place)
        form = site.made("rest", lambda: Form("rest", block, end))
        return self.unless_left(site, outcome, form, end)

    def unless_left(
        self, site: Site, outcome: Outcome | None, form: Form, end: Names, *args: Any,
        left: Side = keep,
    ) -> Outcome | None:
        """Run a form where the outcome so far is to go on."""
        if outcome is None:
            return self.run(form, *args)  # type: ignore[no-any-return]
        if not outcome.is_traced:
            return left(outcome.code, outcome.value)
        return self._selected(
            site, outcome.code == NEXT, lambda code, value: self.run(form, *args), left,
            self.bound(form), end, outcome)

    def left(self, site: Site, outcome: Outcome | None) -> Any:
        """End the loops around a statement that may have been left; the result of the form."""
        for loop in site.loops():
            outcome = self.ended(loop, outcome)
            if site.leaves == "break":
                return None
            outcome = self.rest(loop, outcome)
        if not site.form.is_root:
            return outcome
        assert outcome is not None
        return outcome.value

    def ended(self, loop: Site, outcome: Outcome | None) -> Outcome | None:
        """Run the iterations that a loop has left, and its ``else``."""
        raise NotImplementedError

    # -- the branch itself ---------------------------------------------------------------------

    def bound(self, *forms: Form) -> Names:
        """The variables that forms bind."""
        return self.unit.bound_in(node for form in forms for node in form.nodes())

    def carried(self, bound: Names, live: Names) -> tuple[str, ...]:
        """The variables that a branch or a loop gives new values."""
        return tuple(sorted(bound & live))

    def select(
        self, site: Site, test: Any, then: Form, otherwise: Form, live: Names, jumps: bool = False
    ) -> Outcome | None:
        """Branch to one form or the other."""
        control = values.control()
        assert control is not None
        return self._selected(
            site, test, lambda code, value: self.run(then), lambda code, value: self.run(otherwise),
            self.bound(then, otherwise), live,
            Outcome(NEXT, control.UNDEFINED) if jumps else None)

    def _selected(
        self, site: Site, test: Any, then: Side, otherwise: Side, bound: Names, live: Names,
        before: Outcome | None,
    ) -> Outcome | None:
        """Branch on a traced test. ``before`` is the outcome so far, None where no jump can be."""
        control = values.control()
        assert control is not None
        check_depth()
        names = self.carried(bound, live)
        held = {name: self.get(name) for name in bound}
        outcomes = Outcomes()

        def traced(side: Side) -> Callable[[Sequence[Any]], list[Any]]:
            def run(state: Sequence[Any]) -> list[Any]:
                self.put(held.items())
                self.put(zip(names, state, strict=False))
                with self.watched(site, "a branch on a traced value"):
                    outcome = side(*(state[len(names) :] or (NEXT, control.UNDEFINED)))
                self.refuse_deleted(site, held, names)
                result = [self.get(name) for name in names]
                return result if before is None else outcomes.noted(result, outcome)

            return run

        state = tuple(held[name] for name in names)
        if before is not None:
            state = (*state, before.code, before.value)
        try:
            after = control.branched(
                test, traced(then), traced(otherwise), state,
                names if before is None else (*names, *OUTCOME), forced=True)
        finally:
            self.put(held.items())
        self.put(zip(names, after, strict=False))
        self.chosen.update(names)
        return None if before is None else outcomes.joined(*after[len(names) :])

    def __repr__(self) -> str:
        return f"<the variables of {self.unit.family.code.co_qualname}>"


def parts(outcome: Outcome | None) -> tuple[Any, Any]:
    """The code and the value of an outcome."""
    control = values.control()
    assert control is not None
    if outcome is None:
        return NEXT, control.UNDEFINED
    returns = outcome.is_traced or outcome.code == RETURN
    return outcome.code, outcome.value if returns else control.UNDEFINED


class Outcomes:
    """The outcomes of the sides of a branch, or of the iterations of a loop, as they are traced."""

    def __init__(self) -> None:
        self.codes: list[Any] = []
        self._results: list[list[Any]] = []

    def noted(self, result: list[Any], outcome: Outcome | None) -> list[Any]:
        """What a side gives, and its outcome after that: code and value.

        Where one side returns and the other does not, nobody reads the value of that one, but the
        branch needs it: it is filled in once it is known of which type.
        """
        control = values.control()
        assert control is not None
        result += parts(outcome)
        self.codes.append(result[-2])
        self._results.append(result)
        missing = [one for one in self._results if isinstance(one[-1], control.Undefined)]
        if 0 < len(missing) < len(self._results):
            known = next(one for one in self._results if not isinstance(one[-1], control.Undefined))
            for one in missing:
                one[-1] = values.blank_like(known[-1])
        return result

    def joined(self, code: Any, value: Any) -> Outcome | None:
        """The outcome of all: a code that all share stays known."""
        known = set(self.codes) if all(isinstance(one, int) for one in self.codes) else set()
        if len(known) != 1:
            return Outcome(code, value)
        (same,) = known
        return None if same == NEXT else Outcome(same, value)
