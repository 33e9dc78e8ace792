"""Lists, dicts and sets around a body: changed while it is traced, they would change once only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import CellType, FunctionType
from typing import Any

from gradc.errors import LoopError

_KINDS = (list, dict, set)
#: what a cell holds that is empty
_EMPTY = object()


class Containers:
    """The containers that functions find in their closures, as they are now."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._saved: list[tuple[str, Any, Any]] = []
        self._seen: set[int] = set()
        for function in functions:
            self._save("", function)

    def _save(self, name: str, value: Any) -> None:
        todo = [(name, value)]
        while todo:
            name, one = todo.pop()
            if id(one) in self._seen:
                continue
            self._seen.add(id(one))
            if type(one) is FunctionType:
                todo += _closure(one)
            elif type(one) in (*_KINDS, tuple):
                if type(one) is not tuple:
                    self._saved.append((name, one, one.copy()))
                todo += ((name, x) for x in (one.values() if type(one) is dict else one))

    def changed(self) -> str | None:
        """The variable that holds one that has changed since; None if there is none."""
        for name, one, before in self._saved:
            if len(one) != len(before) or not _same(one, before):
                return name
        return None

    def restore(self) -> None:
        """Put them back as they were."""
        for _, one, before in self._saved:
            if type(one) is list:
                one[:] = before
            else:
                one.clear()
                one.update(before)


@contextmanager
def unchanged(what: str, *functions: Any) -> Iterator[None]:
    """Trace functions, which must not change the variables and containers in their closures.

    Raises LoopError if they did, and puts those back.
    """
    plain = [f for f in functions if type(f) is FunctionType]
    containers = Containers(*plain)
    cells = [(name, cell, _contents(cell)) for f in plain
             for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)]
    try:
        yield
        bound = next((name for name, cell, was in cells if _contents(cell) is not was), None)
        name = bound or containers.changed()
    except BaseException:
        _put_back(containers, cells)
        raise
    if name is not None:
        _put_back(containers, cells)
        raise LoopError(
            f"{what} changes `{name}`, which is around it: it would change while tracing, and not "
            "when the compiled code runs",
            remedy="return what changes: in the state of a loop, or as a result of a branch",
        )


def _put_back(containers: Containers, cells: list[tuple[str, CellType, Any]]) -> None:
    containers.restore()
    for _, cell, was in cells:
        if _contents(cell) is not was:
            if was is _EMPTY:
                del cell.cell_contents
            else:
                cell.cell_contents = was


def _contents(cell: CellType) -> Any:
    """What a cell holds; something that none holds if it is empty."""
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _closure(function: FunctionType) -> list[tuple[str, Any]]:
    """The variables that a function finds around it; those not assigned yet are left out."""
    found = []
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        with suppress(ValueError):
            found.append((name, cell.cell_contents))
    return found


def _same(a: Any, b: Any) -> bool:
    if type(a) is set:
        return {id(x) for x in a} == {id(x) for x in b}
    if type(a) is dict:
        return list(a) == list(b) and all(a[key] is b[key] for key in a)
    return all(x is y for x, y in zip(a, b, strict=True))
