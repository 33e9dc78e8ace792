"""Loops that Python runs while they are traced: what each iteration computes is in the graph."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator
from types import CellType
from typing import TYPE_CHECKING, Any

from gradc.context import current
from gradc.errors import GradcError, LoopError, UnrolledLoopWarning
from gradc.syntax.frame import Branches

if TYPE_CHECKING:
    from gradc.syntax.places import Site
    from gradc.syntax.unit import Unit

#: a loop over a known range, or over an array, of so many elements is unrolled
UNROLL = 16
#: the same for a loop around another one, as what is unrolled multiplies
UNROLL_AROUND = 4
#: as many operations as unrolled loops may make of a function
MOST = 500_000
#: operations of a loop from which on a warning says why it could not stay one
LARGE = 3000

#: builtins that do something each time they are called, so that a loop that calls them is unrolled
_ACTING = frozenset(("print", "next", "input", "open", "exec", "eval", "setattr", "delattr"))


class Made:
    """What the iterations of a loop that Python runs have made of the graph."""

    def __init__(self, why: Exception | None = None) -> None:
        context = current()
        #: why it could not be compiled, as long as that has not been said
        self.why = why
        self.first = self.last = 0 if context is None else len(context.builder.nodes)
        #: how many iterations have computed anything
        self.count = 0
        #: whether what is left was to be compiled
        self.tried = False

    def iterations(self) -> int:
        """How many iterations have computed anything, after another one."""
        context = current()
        if context is not None:
            made = context.builder.nodes[self.last :]
            self.last = len(context.builder.nodes)
            self.count += any(node.op.name not in ("const", "broadcast") for node in made)
        return self.count


class Unrolled(Branches):
    """What a call of a rewritten function knows of loops that Python runs."""

    def __init__(self, unit: Unit, cells: dict[str, CellType], namespace: dict[str, Any]) -> None:
        super().__init__(unit, cells, namespace)
        #: site -> what a ``while`` has made
        self.whiles: dict[int, Made] = {}
        #: site -> why a loop could not be compiled that Python runs in its place
        self.refused: dict[int, Exception] = {}

    def most(self, site: Site) -> int:
        """How many iterations of a loop are unrolled."""
        inner = (node for one in site.node.body for node in ast.walk(one))
        around = any(isinstance(node, (ast.For, ast.While)) for node in inner)
        return UNROLL_AROUND if around else UNROLL

    def acts(self, site: Site) -> bool:
        """Whether the body does something that is no computation."""
        return any(
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and node.func.id in _ACTING
            for one in site.node.body for node in ast.walk(one)
        )

    def limited(self, site: Site, iterable: Iterable[Any]) -> Iterator[Any]:
        """What an unrolled loop goes over, until it has made too much of it."""
        made = Made(self.refused.pop(site.number, None))
        for item in iterable:
            self.check(site, made)
            yield item

    def check(self, site: Site, made: Made) -> None:
        """Warn of what an unrolled loop has made so far, or raise LoopError."""
        context = current()
        if context is None:
            return
        count = len(context.builder.nodes)
        if made.why is not None and count > made.first + LARGE:
            self._tell(site, made.why)
            made.why = None
        if count > MOST:
            raise LoopError(
                f"the loop is unrolled, into more than {MOST} operations",
                where=self.where(site),
                remedy="go over gradc.range(n), which stays a loop, or says why it cannot",
            )

    def _tell(self, site: Site, why: Exception) -> None:
        """Warn that a long loop is unrolled, and why."""
        reason = why.what if isinstance(why, GradcError) else str(why)
        where = self.where(site)
        warnings.warn_explicit(
            f"a loop is unrolled, into more than {LARGE} operations, which take long to compile: "
            f"{reason}" + (". Over gradc.range(n) it stays a loop, or says why it cannot"
                           if isinstance(site.node, ast.For) else ""),
            UnrolledLoopWarning, where.file, where.line,
        )
