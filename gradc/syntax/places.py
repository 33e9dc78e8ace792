"""Where a statement stands in the code that is rewritten, and what follows it there.

A *form* is a function that rewritten code is compiled as: the user's own (its root), or a block
of it that runs as a side of a branch or the body of a loop. A *site* is a statement of a form that
may meet a traced value. (No dataclasses: to make them takes longer than to import all the rest.)
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import CodeType

from gradc.syntax.analysis import Names, escapes


class Place:
    """A block, from one of its statements on.

    up: the place of the statement that the block is part of, in the same form; None at its top.
    loop: the loop whose body the block is, if it is one's.
    wall: the ``try`` or ``with`` whose block it is, which no jump of ours can leave.
    of: the form, of a block at its top.
    """

    __slots__ = ("block", "index", "loop", "of", "up", "wall")

    def __init__(
        self, block: list[ast.stmt], index: int = 0, up: Place | None = None,
        loop: Site | None = None, wall: ast.stmt | None = None, of: Form | None = None,
    ) -> None:
        self.block = block
        self.index = index
        self.up = up
        self.loop = loop
        self.wall = wall
        self.of = of

    @property
    def form(self) -> Form:
        """The form of a place at its top."""
        assert self.of is not None
        return self.of

    def at(self, index: int) -> Place:
        """The place of another statement of the block."""
        return Place(self.block, index, self.up, self.loop, self.wall, self.of)

    def enclosing_loop(self) -> Site | None:
        """The innermost loop around, in this form."""
        place: Place | None = self
        while place is not None and place.loop is None:
            place = place.up
        return place.loop if place is not None else None

    def rest(self) -> list[ast.stmt]:
        """What follows, up to the end of the innermost loop's body, or of the form."""
        place: Place | None = self
        found: list[ast.stmt] = []
        while place is not None:
            found += place.block[place.index + 1 :]
            place = place.up if place.loop is None else None
        return found

    def barrier(self) -> ast.stmt | None:
        """A ``try`` or ``with`` between here and the innermost loop, or the top."""
        place: Place | None = self
        while place is not None:
            if place.wall is not None:
                return place.wall
            place = place.up if place.loop is None else None
        return None


class Form:
    """Statements that are compiled as a function of their own, when they are first needed.

    name: of what they are, for the reader.
    end: the names that are live at the end.
    item: a target that the argument of the function is assigned to.
    value: the function returns the value of this expression.
    is_root: it is the user's function, which returns what that returns.
    """

    __slots__ = ("block", "code", "end", "is_root", "item", "name", "value")

    def __init__(
        self, name: str, block: list[ast.stmt], end: Names, item: ast.expr | None = None,
        value: ast.expr | None = None, is_root: bool = False,
    ) -> None:
        self.name = name
        self.block = block
        self.end = end
        self.item = item
        self.value = value
        self.is_root = is_root
        self.code: CodeType | None = None

    def nodes(self) -> list[ast.AST]:
        """The statements and expressions that are compiled."""
        return [*self.block, *(one for one in (self.item, self.value) if one is not None)]


class Site:
    """A statement that may meet a traced value.

    escapes: which jumps leave it.
    leaves: how its hook goes on when one may have been taken: "return", or "break" out of the
        innermost loop; empty if no jump leaves it.
    tracked: of a loop: a jump may leave an iteration of it, whose rest then has to be run.
    refusal: the statement that a jump would have to leave, but cannot.
    """

    __slots__ = (
        "escapes", "form", "forms", "leaves", "node", "number", "place", "refusal", "tracked")

    def __init__(
        self, number: int, node: ast.If | ast.For | ast.While, place: Place, form: Form,
        escapes: Names,
    ) -> None:
        self.number = number
        self.node = node
        self.place = place
        self.form = form
        self.escapes = escapes
        self.leaves = ""
        self.tracked = False
        self.refusal: ast.stmt | None = None
        self.forms: dict[str, Form] = {}

    def made(self, name: str, make: Callable[[], Form]) -> Form:
        """A form that belongs to the site, made once."""
        if name not in self.forms:
            self.forms.setdefault(name, make())
        return self.forms[name]

    def loops(self) -> list[Site]:
        """The loops of the form that have to be ended when a jump may have been taken here.

        Innermost first: that one alone if no jump leaves it, else all.
        """
        found: list[Site] = []
        loop = self.place.enclosing_loop() if self.escapes else None
        while loop is not None:
            found.append(loop)
            loop = loop.place.enclosing_loop() if found[0].escapes else None
        return found


def site(number: int, node: ast.If | ast.For | ast.While, place: Place, form: Form) -> Site:
    """A site, with what its hook will have to do."""
    found = Site(number, node, place, form, escapes([node]))
    if found.escapes:
        loops = found.loops()
        found.leaves = "break" if loops and not loops[0].escapes else "return"
        walls = [one.place.barrier() for one in (found, *loops)]
        if found.leaves == "break":
            walls.pop()  # what stands around that loop is not left
        found.refusal = next((wall for wall in walls if wall is not None), None)
        for loop in loops:
            loop.tracked = True
    return found
