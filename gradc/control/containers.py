"""Lists, dicts and sets around a body: changed while it is traced, they would change once only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import FunctionType
from typing import Any

_KINDS = (list, dict, set)


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
