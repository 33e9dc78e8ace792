"""A variable that has no value: not assigned yet, or assigned in some branches only."""

from __future__ import annotations

from typing import Any, NoReturn

from gradc.errors import UndefinedError

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
            remedy="assign it before the loop or branch, or in every branch",
        )

    __hash__ = object.__hash__


for _name in _OPERATORS.split():
    setattr(Undefined, f"__{_name}__", Undefined.refuse)

#: a variable that has not been assigned
UNDEFINED = Undefined("it is not assigned yet")
