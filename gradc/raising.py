"""What Python's numbers raise, and compiled code does not, where the program would catch it.

A division of Python's floats by zero raises ZeroDivisionError, the root of a negative one in `math`
ValueError; compiled, they give infinities and NaN, as NumPy's numbers do. Outside a `try` that is
all that differs. In one that catches such an exception the program would go on another way: there
the operation is refused, unless it is certain to raise nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from gradc.errors import TracerError
from gradc.ir.graph import Loc
from gradc.source import user_loc

_ZERO = ("ZeroDivisionError", "ArithmeticError")
_LARGE = ("OverflowError", "ArithmeticError")
_DOMAIN = ("ValueError",)
_ANY = frozenset(("Exception", "BaseException"))
#: by the ufunc, what Python raises in its place for some numbers
_RAISES = {
    "divide": _ZERO, "floor_divide": _ZERO, "remainder": _ZERO, "divmod": _ZERO,
    "power": (*_ZERO, *_LARGE), "sqrt": _DOMAIN, "log": _DOMAIN, "log2": _DOMAIN,
    "log10": _DOMAIN, "log1p": _DOMAIN, "arcsin": _DOMAIN, "arccos": _DOMAIN, "arccosh": _DOMAIN,
    "arctanh": _DOMAIN, "fmod": _DOMAIN, "exp": _LARGE, "exp2": _LARGE, "expm1": _LARGE,
    "sinh": _LARGE, "cosh": _LARGE,
}  # fmt: skip
_SYMBOLS = {
    "divide": "/", "floor_divide": "//", "remainder": "%", "power": "**", "arcsin": "asin",
    "arccos": "acos", "arccosh": "acosh", "arctanh": "atanh",
}
#: those that raise for no second number but zero
_DIVISIONS = frozenset(("divide", "floor_divide", "remainder", "divmod", "fmod"))
#: the exceptions by which a `try` may catch one of them
CAUGHT = frozenset(name for names in _RAISES.values() for name in names) | _ANY


class _Stack(threading.local):
    def __init__(self) -> None:
        self.guards: list[Guard] = []


_stack = _Stack()


class Guard:
    """The block of a ``try`` that catches some exceptions, while it is traced.

    Raises TracerError at its end if an operation was traced that may have raised one in Python.
    """

    def __init__(self, *names: str) -> None:
        self.names = frozenset(names)
        self.found: tuple[str, str, Loc | None] | None = None

    def __enter__(self) -> Guard:
        _stack.guards.append(self)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        _stack.guards.remove(self)
        if kind is not None or self.found is None:
            return
        operation, raised, where = self.found
        raise TracerError(
            f"`{operation}` of traced Python numbers in a `try` that catches {raised}: compiled "
            "code raises none, but gives infinities and NaN, as NumPy does",
            where=where,
            remedy="ask beforehand, as in `y = a / b if b != 0 else 0.0`, outside the `try`",
        )


def is_guarded() -> bool:
    """Whether a ``try`` is being traced that catches what Python's numbers raise."""
    return bool(_stack.guards)


def note(ufunc: str, inputs: Sequence[Any]) -> None:
    """Note an operation on Python's numbers, for those that would catch what it raises."""
    raised = _RAISES.get(ufunc, ())
    if ufunc in _DIVISIONS and type(inputs[1]) in (int, float) and inputs[1] != 0:
        return
    if ufunc == "power" and type(inputs[1]) in (int, float) and 0 <= inputs[1] <= 1:
        return
    for guard in _stack.guards:
        caught = guard.names & (_ANY | set(raised)) if raised else None
        if caught and guard.found is None:
            guard.found = (_SYMBOLS.get(ufunc, ufunc), min(caught), user_loc())
