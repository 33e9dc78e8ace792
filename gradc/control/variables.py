"""The variables of a loop statement: what each is before an iteration, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.cells import Cell
from gradc.control.aliases import (
    Uses,
    all_written,
    check_apart,
    is_doubtful,
    is_itself,
    lend,
    origins,
    reached,
    retire,
    was_written,
)
from gradc.control.carries import Carry, carry_of, is_number, line_of, restructured
from gradc.control.regions import here
from gradc.control.state import same_static, structure_of
from gradc.control.undefined import Missing, Undefined, bare, blank, in_line, missing
from gradc.ir.graph import Node
from gradc.tracer import Tracer
from gradc.tree import TreeDef, flatten, paths, unflatten


class Again(Exception):
    """The body is to be traced once more: a variable is something else than it was taken for."""


@dataclass
class _Variable:
    """A variable and its leaves; ``late``: the loop assigns it, it has no value before.

    check: that there is a value before, where there may be none. flagged: whether there is one is
    carried beside the leaves, as an iteration may leave it without.
    """

    name: str
    value: Any
    tree: TreeDef
    leaves: list[Any]
    check: Missing | None
    late: bool = False
    flagged: bool = False

    @property
    def is_users(self) -> bool:
        """Whether it is a variable of the user's program."""
        return self.name.isidentifier()

    @property
    def flag(self) -> Any:
        """Whether it has a value before the loop."""
        return not self.late if self.check is None else self.check.holds


class Variables:
    """The state of a loop statement.

    A leaf is carried (a number or array), stays as it is (any other object), or is *kept*: an array
    that keeps its name for it, whatever is written into it, and is handed on by its storage.
    """

    def __init__(self, names: Sequence[str], state: Sequence[Any]) -> None:
        self.variables = []
        for name, value in zip(names, state, strict=True):
            if is_doubtful(value):
                value = Undefined(f"`{name}` was a view of an array that was written to since")
            leaves, tree = flatten(value)
            check = missing(name, leaves) if name.isidentifier() else None
            one = _Variable(name, value, tree, leaves, check, flagged=check is not None)
            self.variables.append(one)
        #: names of leaves that keep their arrays
        self.kept: set[str] = set()
        self._after: list[Any] = []
        self._given: list[Tracer] = []
        self._written: set[int] = set()
        self._where = in_line()

    def _carried(self) -> list[tuple[_Variable, str, int]]:
        """Variable, name and position of each leaf that is carried."""
        return [
            (v, name, k) for v in self.variables if not isinstance(v.value, Undefined) or v.late
            for k, name in enumerate(paths(v.tree, v.name))
            if is_number(v.leaves[k]) and name not in self.kept
        ]

    def _flagged(self) -> list[_Variable]:
        return [v for v in self.variables if v.flagged]

    def carries(self) -> list[Carry]:
        """What is known of what is carried before the body is traced."""
        leaves = [carry_of(name, v.leaves[k]) for v, name, k in self._carried()]
        flags = [carry_of(f"whether {v.name} is assigned", v.flag) for v in self._flagged()]
        return leaves + flags

    def initial(self) -> list[Any]:
        """What is carried before the loop: leaves, and whether variables have a value."""
        return [*map(bare, self.before()), *(v.flag for v in self._flagged())]

    def before(self) -> list[Any]:
        """The carried leaves before the loop."""
        return [v.leaves[k] for v, _, k in self._carried()]

    def begin(self, carries: Sequence[Tracer]) -> tuple[Any, ...]:
        """The state as the body gets it, whose result is then given to :meth:`taken`."""
        self._given = list(carries[: len(self._carried())])
        return self.given(carries)

    def given(self, carries: Sequence[Tracer]) -> tuple[Any, ...]:
        """The state with these carries."""
        moving = iter(carries)
        carried = {(id(v), k) for v, _, k in self._carried()}
        flags = carries[len(carried) :]
        checks = {
            id(v): Missing(holds, v.name, self._why(v))
            for v, holds in zip(self._flagged(), flags, strict=True)
        }
        for (v, name, k), t in zip(self._carried(), carries, strict=False):
            leaf = v.leaves[k]
            t.cell.check = checks.get(id(v))
            if isinstance(leaf, np.ndarray):
                t.cell.guard = f"`{name}`, an array from outside the function"
            elif isinstance(leaf, Tracer) and leaf.cell.guard:
                t.cell.guard = leaf.cell.guard
            t.cell.rescue = f"copy it before the loop: {name} = {name}.copy()"
        out = []
        for v in self.variables:
            leaves = [
                next(moving) if (id(v), k) in carried else leaf for k, leaf in enumerate(v.leaves)
            ]
            without = isinstance(v.value, Undefined) and not v.flagged
            out.append(v.value if without else unflatten(v.tree, leaves))
        return tuple(out)

    def _why(self, v: _Variable) -> str:
        """What it means that a variable has no value."""
        if v.check is not None:
            return v.check.why
        if v.flagged:
            return f"no iteration of the loop{self._where} assigned it"
        return f"the loop{self._where} assigns it, which ran no iteration"

    def taken(self, state: Sequence[Any], uses: Uses, stored: Sequence[Cell]) -> list[Any]:
        """What is carried of the state that an iteration gives. Raises Again, CarryError.

        uses: of the arrays that the carried leaves were before; stored: what the body writes.
        """
        again = False
        after: list[Any] = []
        flags: list[Any] = []
        carried = {(id(v), k) for v, _, k in self._carried()}
        given = iter(self._given)
        for v, value in zip(self.variables, state, strict=True):
            if isinstance(v.value, Undefined) and not v.late:
                again = self._appears(v, value) or again
                continue
            if isinstance(value, Undefined):
                raise restructured(v.name, structure_of(v.tree), "without a value")
            leaves, tree = flatten(value)
            if tree != v.tree:
                raise restructured(v.name, structure_of(v.tree), structure_of(tree))
            check = missing(v.name, leaves) if v.is_users else None
            if check is not None and not v.flagged:
                v.flagged = again = True
            if v.flagged:
                flags.append(True if check is None else check.holds)
            for k, name in enumerate(paths(v.tree, v.name)):
                if (id(v), k) in carried:
                    if not is_number(leaves[k]):
                        raise restructured(name, "a number or array", repr(leaves[k]))
                    t, before = next(given), v.leaves[k]
                    again = self._keeps(name, before, t, leaves[k], stored) or again
                    after.append(leaves[k])
                elif name in self.kept:
                    if not _same_view(v.leaves[k], leaves[k]):
                        self.kept.discard(name)  # written, and moved in another iteration
                        raise restructured(
                            name, "an array that is written into", "another array",
                            line_of(leaves[k]),
                        )
                elif not same_static(v.leaves[k], leaves[k]):
                    raise restructured(name, repr(v.leaves[k]), repr(leaves[k]), line_of(leaves[k]))
        if again:
            raise Again
        check_apart([name for _, name, _ in self._carried()], self._given, after, uses, stored)
        self._after = after
        self._written = all_written(self._given, after)
        own = [v.is_users for v, _, _ in self._carried()]
        given = (bare(leaf) if users else leaf for leaf, users in zip(after, own, strict=True))
        return [*given, *flags]

    def _appears(self, v: _Variable, value: Any) -> bool:
        """A variable without a value before the loop gets one in it."""
        if isinstance(value, Undefined):
            v.value = value
            return False
        leaves, v.tree = flatten(value)
        if any(getattr(leaf, "is_dynamic", False) for leaf in leaves):
            v.value = Undefined(
                f"`{v.name}` is a slice of unknown length of an iteration, which ended")
            return False
        perhaps = missing(v.name, leaves) is not None or _is_checked(v.name, here().builder.nodes)
        v.flagged = v.is_users and perhaps
        v.leaves = [blank(leaf) if is_number(leaf) else leaf for leaf in leaves]
        v.late = True
        return True

    def _keeps(
        self, name: str, before: Any, given: Tracer, after: Any, stored: Sequence[Cell]
    ) -> bool:
        """Whether a carry turns out to be an array that keeps its name and is written into, under
        this name or another.
        """
        if not isinstance(before, Tracer) or before.is_scalar or not is_itself(given, after):
            return False
        if was_written(given) or any(cell is before.cell for cell in stored):
            self.kept.add(name)
            return True
        return False

    def results(
        self, last: Sequence[Tracer], trips: int | None, ran: Tracer | None
    ) -> tuple[Any, ...]:
        """The state after the loop of ``trips`` iterations; ``ran`` where that is not known."""
        out = []
        moved: dict[tuple[int, int], Any] = {}
        written = self._written
        # What was written into is void under its other names: nothing is another name for it.
        initial = [None if k in written else x for k, x in enumerate(self.before())]
        rows = zip(self._carried(), last, self._given, self._after, strict=False)
        flags = dict(zip(map(id, self._flagged()), last[len(initial) :], strict=True))
        for j, ((v, name, k), result, given, after) in enumerate(rows):
            before = v.leaves[k]
            if is_itself(given, after) and not v.late:
                moved[id(v), k] = before  # never touched: still the same array
                continue
            leaves = origins(j, self._given, self._after, initial, trips)
            cells = [
                cell for leaf in leaves
                for cell in reached(leaf, self._given, self._after, initial)
            ]
            lend(result, leaves, name, cells)
            if j in written and isinstance(before, Tracer):
                retire(before.cell, name)
            moved[id(v), k] = result
        for v in self.variables:
            leaves = [moved.get((id(v), k), leaf) for k, leaf in enumerate(v.leaves)]
            holds: Any = flags.get(id(v))
            if v.late and v.is_users and holds is None:
                holds = ran > 0 if ran is not None else trips != 0
            if isinstance(v.value, Undefined) and not v.late or holds is False:
                out.append(v.value)
            elif not isinstance(holds, Tracer):
                out.append(unflatten(v.tree, leaves))
            elif v.late and not all(map(is_number, v.leaves)):
                out.append(Undefined(f"`{v.name}`: {self._why(v)}"))
            else:
                Missing(holds, v.name, self._why(v)).mark(
                    [x for k, x in enumerate(leaves) if x is not v.leaves[k]])
                out.append(unflatten(v.tree, leaves))
        return tuple(out)


def _is_checked(name: str, nodes: Sequence[Node]) -> bool:
    """Whether there are nodes that check that a variable has a value."""
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node.op.name == "assigned" and node.attrs["name"] == name:
            return True
        todo += (inner for _, region in node.regions for inner in region.nodes)
    return False


def _same_view(a: Any, b: Any) -> bool:
    return (
        isinstance(a, Tracer) and isinstance(b, Tracer) and a.cell is b.cell and a.path == b.path
        and a.shape == b.shape
    )

