"""Python's operators on Tracers: each is a ufunc."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_OPERANDS = (bool, int, float, complex, np.generic, np.ndarray, list, tuple)


def _apply(ufunc: np.ufunc, *operands: Any, out: Any = None) -> Any:
    from gradc.numpy_api.methods_of_ufuncs import call_ufunc

    kwargs = {} if out is None else {"out": (out,)}
    return call_ufunc(ufunc, "__call__", operands, kwargs, operator=True)


def _takes(other: Any) -> bool:
    return isinstance(other, (Operators, _OPERANDS))


def _binary(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return _apply(ufunc, self, other) if _takes(other) else NotImplemented

    return method


def _reflected(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        return _apply(ufunc, other, self) if _takes(other) else NotImplemented

    return method


def _equality(ufunc: np.ufunc, against_none: bool) -> Callable[[Any, Any], Any]:
    """An array is compared with None element by element, a scalar is not."""
    compare = _binary(ufunc)

    def method(self: Any, other: Any) -> Any:
        if other is None and not self.is_scalar:
            return np.full_like(self, against_none, dtype=bool)
        return compare(self, other)

    return method


def _power(power: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """``**``, and pow(x, y, z), which is for integers that are known."""

    def method(self: Any, other: Any, modulus: Any = None) -> Any:
        if modulus is None:
            return power(self, other)
        return pow(*(x.__index__() for x in (self, other, modulus)))

    return method


def _unary(ufunc: np.ufunc) -> Callable[[Any], Any]:
    return lambda self: _apply(ufunc, self)


def _in_place(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    """Write through to the storage; a scalar is immutable and its name is bound anew."""

    def method(self: Any, other: Any) -> Any:
        if not _takes(other):
            return NotImplemented
        return _apply(ufunc, self, other, out=None if self.is_scalar else self)

    return method


def _repeats(self: Any, other: Any) -> bool:
    """Whether ``other`` is to be repeated: a list times an integer scalar, which is no array."""
    return isinstance(other, (list, tuple)) and self.is_scalar and self.dtype.kind in "iu"


def _multiplied(multiply: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    # Declined, the list repeats itself and asks for the number by __index__.
    return lambda self, other: NotImplemented if _repeats(self, other) else multiply(self, other)


class Operators:
    """The operators of an array."""

    __slots__ = ()

    __add__, __radd__, __iadd__ = (f(np.add) for f in (_binary, _reflected, _in_place))
    __sub__, __rsub__, __isub__ = (f(np.subtract) for f in (_binary, _reflected, _in_place))
    __mul__, __rmul__, __imul__ = (
        _multiplied(f(np.multiply)) for f in (_binary, _reflected, _in_place)
    )
    __truediv__, __rtruediv__, __itruediv__ = (
        f(np.true_divide) for f in (_binary, _reflected, _in_place)
    )
    __floordiv__, __rfloordiv__, __ifloordiv__ = (
        f(np.floor_divide) for f in (_binary, _reflected, _in_place)
    )
    __mod__, __rmod__, __imod__ = (f(np.remainder) for f in (_binary, _reflected, _in_place))
    __pow__, __rpow__, __ipow__ = (
        _power(f(np.power)) for f in (_binary, _reflected, _in_place)
    )
    __matmul__, __rmatmul__, __imatmul__ = (
        f(np.matmul) for f in (_binary, _reflected, _in_place)
    )
    __and__, __rand__, __iand__ = (f(np.bitwise_and) for f in (_binary, _reflected, _in_place))
    __or__, __ror__, __ior__ = (f(np.bitwise_or) for f in (_binary, _reflected, _in_place))
    __xor__, __rxor__, __ixor__ = (f(np.bitwise_xor) for f in (_binary, _reflected, _in_place))
    __lshift__, __rlshift__, __ilshift__ = (
        f(np.left_shift) for f in (_binary, _reflected, _in_place)
    )
    __rshift__, __rrshift__, __irshift__ = (
        f(np.right_shift) for f in (_binary, _reflected, _in_place)
    )
    __divmod__, __rdivmod__ = _binary(np.divmod), _reflected(np.divmod)
    __lt__, __le__, __gt__, __ge__ = (
        _binary(f) for f in (np.less, np.less_equal, np.greater, np.greater_equal)
    )
    __eq__, __ne__ = _equality(np.equal, False), _equality(np.not_equal, True)
    __neg__, __pos__, __abs__, __invert__ = (
        _unary(f) for f in (np.negative, np.positive, np.absolute, np.invert)
    )

    def __round__(self: Any, digits: int | None = None) -> Any:
        """To an int, or to some digits."""
        rounded = np.round(self, digits or 0)
        if digits is not None or not self.is_scalar:
            return rounded
        return math.trunc(rounded) if self.is_constant else rounded.as_integer()
