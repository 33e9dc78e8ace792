"""A variable that has no value, or perhaps none: not assigned yet, or in some cases only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from gradc.cells import Cell
from gradc.context import Context, contexts
from gradc.errors import UNASSIGNED, UndefinedError
from gradc.ir import ops
from gradc.numpy_api.values import type_of
from gradc.source import is_running, user_loc
from gradc.tracer import Tracer

Leaf = TypeVar("Leaf")

_OPERATORS = (
    "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift radd rsub rmul rtruediv "
    "rfloordiv rmod rpow rmatmul rand ror rxor iadd isub imul itruediv ifloordiv imod ipow "
    "imatmul lt le gt ge eq ne neg pos abs invert bool len iter getitem setitem call index int "
    "float array array_ufunc array_function contains"
)


class Undefined:
    """Stands for a variable without a value; every use of it raises UndefinedError."""

    __slots__ = ("_why",)

    def __init__(self, why: str) -> None:
        object.__setattr__(self, "_why", why)

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        self.refuse()

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise UndefinedError."""
        raise UndefinedError(
            f"a variable was used that may have no value: {self._why}",
            remedy=UNASSIGNED,
        )

    __hash__ = object.__hash__


for _name in _OPERATORS.split():
    setattr(Undefined, f"__{_name}__", Undefined.refuse)

#: a variable that has not been assigned
UNDEFINED = Undefined("it is not assigned yet")


class Missing:
    """Of a variable that has a value only if ``holds``, a traced bool: checked where it is read.

    name: of the variable. why: what it means that it has none.
    """

    def __init__(self, holds: Tracer, name: str, why: str) -> None:
        self.holds = holds
        self.name = name
        self.why = why
        self._where = user_loc()
        self._checked: list[Context] = []

    def __call__(self) -> None:
        """Have the compiled code check, here, unless it has before."""
        stack = contexts()
        if any(context in stack for context in self._checked):
            return
        self._checked.append(stack[-1])
        builder, holds = stack[-1].builder, self.holds.value
        where = self._where
        if where is None or is_running(where):
            where = user_loc()
        with builder.marked(builder.role, () if where is None else (where,)):
            ops.assigned(holds, name=self.name, why=self.why)

    def mark(self, leaves: Sequence[Any]) -> None:
        """Have these leaves of the variable, new values, checked."""
        for leaf in leaves:
            assert isinstance(leaf, Tracer)
            leaf.cell.check = self


def missing(name: str, leaves: Sequence[Any]) -> Missing | None:
    """What is to be checked of a variable with these leaves, if anything is."""
    found: list[Missing] = []
    for leaf in leaves:
        check = leaf.cell.check if isinstance(leaf, Tracer) else None
        if isinstance(check, Missing) and check not in found:
            found.append(check)
    if len(found) < 2:
        return found[0] if found else None
    holds: Any = found[0].holds
    for other in found[1:]:
        holds = np.logical_and(holds, other.holds)
    return Missing(holds, name, found[0].why)


def bare(leaf: Leaf) -> Leaf:
    """A leaf to be handed on, which is not to read it."""
    if not isinstance(leaf, Tracer) or leaf.cell.check is None:
        return leaf
    cell = Cell(leaf.cell.trace, leaf.cell.value, leaf.cell.array)
    cell.doubt = leaf.cell.doubt
    return cast(Leaf, Tracer(
        cell, leaf.shape, leaf.dtype, leaf.path, weak=leaf.weak, is_scalar=leaf.is_scalar))


def blank(leaf: Any) -> Any:
    """Zeros like a leaf, of its type: what a variable holds that nobody reads."""
    type_ = type_of(leaf)
    if type_.weak:
        return 0 if type_.dtype.kind == "i" else 0.0
    zeros = np.zeros(type_.shape, type_.dtype)
    scalar = leaf.is_scalar if isinstance(leaf, Tracer) else not isinstance(leaf, np.ndarray)
    return zeros[()] if scalar else zeros


def in_line() -> str:
    """The line of the statement that is compiled, for messages."""
    where = user_loc()
    return f" in line {where.line}" if where else ""
