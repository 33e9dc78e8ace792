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
from gradc.control.state import same_static, structure_of
from gradc.control.undefined import Undefined
from gradc.tracer import Tracer
from gradc.tree import TreeDef, flatten, paths, unflatten


class Again(Exception):
    """The body is to be traced once more: a variable is something else than it was taken for."""


@dataclass
class _Variable:
    """A variable and its leaves; ``late``: the loop assigns it, it has no value before."""

    name: str
    value: Any
    tree: TreeDef
    leaves: list[Any]
    late: bool = False


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
            self.variables.append(_Variable(name, value, tree, leaves))
        #: names of leaves that keep their arrays
        self.kept: set[str] = set()
        self._after: list[Any] = []
        self._given: list[Tracer] = []
        self._written: set[int] = set()

    def _carried(self) -> list[tuple[_Variable, str, int]]:
        """Variable, name and position of each leaf that is carried."""
        return [
            (v, name, k) for v in self.variables if not isinstance(v.value, Undefined) or v.late
            for k, name in enumerate(paths(v.tree, v.name))
            if is_number(v.leaves[k]) and name not in self.kept
        ]

    def carries(self) -> list[Carry]:
        """What is known of the carried leaves before the body is traced."""
        return [carry_of(name, v.leaves[k]) for v, name, k in self._carried()]

    def initial(self) -> list[Any]:
        """The carried leaves before the loop."""
        return [v.leaves[k] for v, _, k in self._carried()]

    def begin(self, carries: Sequence[Tracer]) -> tuple[Any, ...]:
        """The state as the body gets it, whose result is then given to :meth:`taken`."""
        self._given = list(carries)
        return self.given(carries)

    def given(self, carries: Sequence[Tracer]) -> tuple[Any, ...]:
        """The state with these carries."""
        moving = iter(carries)
        carried = {(id(v), k) for v, _, k in self._carried()}
        for (v, name, k), t in zip(self._carried(), carries, strict=True):
            leaf = v.leaves[k]
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
            missing = isinstance(v.value, Undefined)
            out.append(v.value if missing else unflatten(v.tree, leaves))
        return tuple(out)

    def taken(self, state: Sequence[Any], uses: Uses, stored: Sequence[Cell]) -> list[Any]:
        """The carried leaves of the state that an iteration gives. Raises Again, CarryError.

        uses: of the arrays that the carried leaves were before; stored: what the body writes.
        """
        again = False
        after: list[Any] = []
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
        return after

    def _appears(self, v: _Variable, value: Any) -> bool:
        """A variable without a value before the loop gets one in it."""
        if isinstance(value, Undefined):
            v.value = value
            return False
        leaves, v.tree = flatten(value)
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

    def results(self, last: Sequence[Tracer], trips: int | None) -> tuple[Any, ...]:
        """The state after the loop of ``trips`` iterations, if their number is known."""
        out = []
        moved: dict[tuple[int, int], Any] = {}
        written = self._written
        # What was written into is void under its other names: nothing is another name for it.
        initial = [None if k in written else x for k, x in enumerate(self.initial())]
        rows = zip(self._carried(), last, self._given, self._after, strict=True)
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
            missing = isinstance(v.value, Undefined) and not v.late
            out.append(v.value if missing else unflatten(v.tree, leaves))
        return tuple(out)


def blank(leaf: Any) -> Any:
    """Zeros like a leaf, of its type: what a variable holds that nobody reads."""
    type_ = carry_of("", leaf).type
    if type_.weak:
        return 0 if type_.dtype.kind == "i" else 0.0
    zeros = np.zeros(type_.shape, type_.dtype)
    scalar = leaf.is_scalar if isinstance(leaf, Tracer) else not isinstance(leaf, np.ndarray)
    return zeros[()] if scalar else zeros


def _same_view(a: Any, b: Any) -> bool:
    return (
        isinstance(a, Tracer) and isinstance(b, Tracer) and a.cell is b.cell and a.path == b.path
        and a.shape == b.shape
    )

