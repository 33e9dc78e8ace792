"""Arrays that have several names: what a loop or branch may do with them.

NumPy's arrays are references; what a loop or branch hands on is a value. Where a variable comes out
as another name for an array that exists besides, a write through it, which NumPy would show under
the other name, is refused, and so is reading it after the other was written to. Nothing is refused
that goes the same way for values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from gradc.cells import Cell
from gradc.context import Context, contexts, current
from gradc.errors import CarryError, ReadOnlyError
from gradc.tracer import Tracer

Doubt = tuple[str, str] | None


def lend(result: Tracer, leaves: Sequence[Any], name: str) -> None:
    """Note that a result may be another name for what it was made of, where that still exists."""
    if result.is_scalar:
        return
    lenders = [
        leaf.cell for leaf in leaves
        if isinstance(leaf, Tracer) and not leaf.is_scalar and leaf.cell.trace in contexts()
    ]
    if not lenders and not any(isinstance(leaf, np.ndarray) for leaf in leaves):
        return
    cell = result.cell
    rescue = f"copy it in the loop or branch: {name} = {name}.copy()"
    cell.guard = f"`{name}`, which may be another name for an array that exists besides"
    cell.rescue = rescue
    versions = [(lender, lender.version) for lender in lenders]

    def doubt() -> Doubt:
        if all(lender.version == version for lender, version in versions):
            return None
        return f"`{name}` was used after an array that it may be a view of was written to", rescue

    cell.doubt = doubt


def retire(cell: Cell, name: str) -> None:
    """Note that a loop has written into an array, whose name it then gave to others.

    The variable goes on with the loop's result; every other name for the array is void.
    """
    owner: Context | None = current()

    def doubt() -> Doubt:
        if owner not in contexts():  # that trace of the loop was given up
            return None
        return (
            f"an array was used that a loop wrote into as `{name}`, whose name went from array to "
            "array", f"begin the loop with a copy: {name} = {name}.copy()",
        )

    cell.doubt = doubt


def is_doubtful(value: Any) -> bool:
    """Whether a variable's value is not what NumPy would have: it may only be assigned anew."""
    return isinstance(value, Tracer) and value.cell.doubt is not None and bool(value.cell.doubt())


class Uses:
    """Notes which of the arrays that a loop begins with its body uses under other names."""

    def __init__(self, initial: Sequence[Any]) -> None:
        self.cells = [
            leaf.cell if isinstance(leaf, Tracer) and not leaf.is_scalar else None
            for leaf in initial
        ]
        self.used: set[int] = set()

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is used inside."""
        cells = {id(cell): cell for cell in self.cells if cell is not None}
        before = [(cell, cell.doubt) for cell in cells.values()]

        def note(cell: Cell) -> None:
            self.used.add(id(cell))

        for cell, _ in before:
            cell.doubt = partial(note, cell)
        try:
            yield
        finally:
            for cell, doubt in before:
                cell.doubt = doubt


def check_apart(
    names: Sequence[str], given: Sequence[Tracer], after: Sequence[Any], uses: Uses,
    stored: Sequence[Cell],
) -> None:
    """Raise CarryError where an array that a loop writes into would have two names.

    given: the carries as the body got them; after: what it made of them; uses: of those that they
    began as; stored: the cells from outside that the body writes.
    """
    region = current()
    own = {id(t.cell) for t in given}
    for k in sorted(all_written(given, after)):
        cell = given[k].cell
        if cell.guard:
            raise ReadOnlyError(f"a write into {cell.guard}", types=[str(given[k].type)],
                                remedy=cell.rescue)
        first, leaf = uses.cells[k], after[k]
        also = next((
            f"`{names[j]}`" for j in range(len(names)) if j != k and (
                first is not None and uses.cells[j] is first
                or isinstance(after[j], Tracer) and isinstance(leaf, Tracer)
                and after[j].cell is leaf.cell and not leaf.is_scalar
            )
        ), "")
        if not also and isinstance(leaf, Tracer) and not leaf.is_scalar:
            outside = leaf.cell.trace is not region or any(c is leaf.cell for c in stored)
            if outside and id(leaf.cell) not in own:
                also = "one from outside the loop"
        if not also and first is not None and id(first) in uses.used:
            also = "one that the loop uses"
        if also:
            raise CarryError(
                f"`{names[k]}`, which the loop writes into and assigns, is at times the same array "
                f"as another: {also}",
                remedy=f"make it an array of its own: {names[k]} = {names[k]}.copy()",
            )


def all_written(given: Sequence[Tracer], after: Sequence[Any]) -> set[int]:
    """Which of the carries' arrays a loop may write into, in this iteration or a later one."""
    place = {id(t.cell): k for k, t in enumerate(given) if not t.is_scalar}
    # in the next iteration carry j holds the array that carry k holds now
    moves = [
        (place[id(leaf.cell)], j) for j, leaf in enumerate(after)
        if isinstance(leaf, Tracer) and id(leaf.cell) in place
    ]
    written = {k for k, t in enumerate(given) if not t.is_scalar and was_written(t)}
    while grown := {k for k, j in moves if j in written} - written:
        written |= grown
    return written


def was_written(t: Tracer) -> bool:
    """Whether a body wrote into the storage of a carry that it got."""
    value = t.cell.value
    return value is None or value.node.op.name != "input" or is_doubtful(t)


def is_itself(given: Tracer, after: Any) -> bool:
    """Whether a body gave a carry back as it got it: the same array, under the same name."""
    return (
        isinstance(after, Tracer) and after.cell is given.cell and not after.path
        and after.shape == given.shape and after.is_scalar == given.is_scalar
    )
