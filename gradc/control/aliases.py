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


class Lent:
    """The doubt about a cell that may be the same storage as others: whether they were written."""

    def __init__(self, cells: Sequence[Cell], name: str) -> None:
        self.cells = list(cells)
        self.name = name
        self.rescue = f"copy it in the loop or branch: {name} = {name}.copy()"
        self._versions = [cell.version for cell in cells]

    def __call__(self) -> Doubt:
        """What is wrong, if it is."""
        if [cell.version for cell in self.cells] == self._versions:
            return None
        what = f"`{self.name}` was used after an array that it may be a view of was written to"
        return what, self.rescue


def lend(result: Tracer, leaves: Sequence[Any], name: str, cells: Sequence[Cell] = ()) -> None:
    """Note that a result may be another name for what it was made of, where that still exists.

    leaves: what it is in an iteration or branch; cells: storage that it may be besides.
    """
    if result.is_scalar:
        return
    found = [*cells, *(cell for leaf in leaves for cell in storages(leaf))]
    lenders = [cell for cell in found if cell.trace in contexts()]
    if not lenders and not any(isinstance(leaf, np.ndarray) for leaf in leaves):
        return
    lent = Lent(lenders, name)
    result.cell.guard = f"`{name}`, which may be another name for an array that exists besides"
    result.cell.rescue = lent.rescue
    result.cell.doubt = lent


def storages(leaf: Any) -> list[Cell]:
    """The cells that an array may be stored in."""
    if not isinstance(leaf, Tracer) or leaf.is_scalar:
        return []
    found: dict[int, Cell] = {}
    todo = [leaf.cell]
    while todo:
        cell = todo.pop()
        if id(cell) not in found:
            found[id(cell)] = cell
            todo += cell.doubt.cells if isinstance(cell.doubt, Lent) else []
    return list(found.values())


def retire(cell: Cell, name: str) -> None:
    """Note that a loop has written into an array, whose name it then gave to others.

    The variable goes on with the loop's result; every other name for the array is void.
    """
    owner: Context | None = current()
    if owner is not None and owner.is_region and cell.trace is not owner:
        owner.retired.append((cell, name))

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
    written = all_written(given, after)
    region = current()
    for _, name in region.retired if region is not None else ():
        raise CarryError(
            f"`{name}` is an array from outside a loop, which a loop in it writes into and gives "
            "to other names",
            remedy=f"begin the inner loop with a copy: {name} = {name}.copy()",
        )
    read = _read(given, after)
    for k, t in enumerate(given):
        if k in written and t.cell.guard:
            raise ReadOnlyError(f"a write into {t.cell.guard}", types=[str(t.type)],
                                remedy=t.cell.rescue)
        also = _also(k, names, given, after, uses, stored, written, k in read)
        if also:
            raise CarryError(
                f"`{names[k]}`, which a loop assigns, is at times the same array as another, and "
                f"is written into: {also}",
                remedy=f"make it an array of its own: {names[k]} = {names[k]}.copy()",
            )


def _also(
    k: int, names: Sequence[str], given: Sequence[Tracer], after: Sequence[Any], uses: Uses,
    stored: Sequence[Cell], written: set[int], read: bool,
) -> str:
    """What carry k is another name for, where that matters."""
    first, leaf = uses.cells[k], after[k]
    outside = {id(cell) for cell in stored}
    if first is not None and id(first) in outside:
        return "one that the loop writes into under another name"
    own = {id(t.cell): j for j, t in enumerate(given)}
    found = storages(leaf)
    # One storage that a carry had is that carry's array, which moves as it should.
    carried = [own[id(cell)] for cell in found if id(cell) in own] if len(found) > 1 else []
    if read and any(id(cell) in outside for cell in found):
        return "one that the loop writes into under another name"
    if k not in written:
        moving = read and any(j in written for j in carried)
        return f"`{names[carried[0]]}`" if moving else ""
    if first is not None and id(first) in uses.used:
        return "one that the loop uses under another name"
    region = current()
    if carried or any(
        id(cell) in outside or (cell.trace is not region and id(cell) not in own) for cell in found
    ):
        return "one from outside the loop, or from before"
    for j, name in enumerate(names):
        other = {id(cell) for cell in storages(after[j])}
        shared = (first is not None and uses.cells[j] is first) or any(
            id(cell) in other for cell in found
        )
        if j != k and shared:
            return f"`{name}`"
    return ""


def _read(given: Sequence[Tracer], after: Sequence[Any]) -> set[int]:
    """Which of the carries an iteration, this one or a later one, computes with."""
    own = {id(t.cell): k for k, t in enumerate(given)}
    moves = [
        (own[id(cell)], j) for j, leaf in enumerate(after) for cell in storages(leaf)
        if id(cell) in own
    ]
    region = current()
    assert region is not None
    nodes = region.builder.nodes
    used = {operand for node in nodes for operand in node.operands}
    first = region.builder.inputs[1:]  # before them comes the index
    read = {k for k, id_ in zip(range(len(given)), first, strict=False) if id_ in used}
    while grown := {k for k, j in moves if j in read} - read:
        read |= grown
    return read


def all_written(given: Sequence[Tracer], after: Sequence[Any]) -> set[int]:
    """Which of the carries' arrays a loop may write into, in this iteration or a later one."""
    place = {id(t.cell): k for k, t in enumerate(given) if not t.is_scalar}
    # in the next iteration carry j holds the array that carry k holds now
    moves = [
        (place[id(cell)], j) for j, leaf in enumerate(after) for cell in storages(leaf)
        if id(cell) in place
    ]
    written = {k for k, t in enumerate(given) if not t.is_scalar and was_written(t)}
    while grown := {k for k, j in moves if j in written} - written:
        written |= grown
    return written


def origins(
    j: int, given: Sequence[Tracer], after: Sequence[Any], initial: Sequence[Any],
    trips: int | None,
) -> list[Any]:
    """The leaves that carry j may be the same array as after ``trips`` iterations, or any number.

    An iteration may have made it, or it is what another carry was before.
    """
    place = {id(t.cell): k for k, t in enumerate(given) if not t.is_scalar}
    found: list[Any] = []
    walked: list[int] = [j]
    while trips is None or len(walked) <= trips:
        leaf = after[walked[-1]]
        k = place.get(id(leaf.cell)) if isinstance(leaf, Tracer) else None
        if k is None:
            return [*found, leaf]
        if k in walked:
            cycle = walked[walked.index(k) :]
            if trips is None:
                return found
            return [initial[cycle[(trips - walked.index(k)) % len(cycle)]]]
        walked.append(k)
        if trips is None:
            found.append(initial[k])
    return [initial[walked[-1]]]


def reached(
    leaf: Any, given: Sequence[Tracer], after: Sequence[Any], initial: Sequence[Any]
) -> list[Cell]:
    """The cells outside a loop that what an iteration gave may be stored in."""
    place = {id(t.cell): k for k, t in enumerate(given) if not t.is_scalar}
    todo, seen, out = storages(leaf)[1:], set[int](), []
    while todo:
        cell = todo.pop()
        if id(cell) in seen:
            continue
        seen.add(id(cell))
        k = place.get(id(cell))
        if k is None:
            out.append(cell)
        else:
            todo += [*storages(initial[k]), *storages(after[k])]
    return out


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
