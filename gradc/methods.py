"""Methods and attributes of arrays: each is the NumPy function of the same meaning."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.context import current
from gradc.errors import UnsupportedError

if TYPE_CHECKING:
    from gradc.ir.types import Shape


class MissingAttribute(UnsupportedError, AttributeError):
    """An attribute that NumPy's arrays have and traced ones have not."""

    final = False  # hasattr and getattr with a default ask


#: methods of Python's numbers, and what to write instead
_OF_NUMBERS = {
    "is_integer": "x == np.floor(x)", "hex": "call it outside the compiled function",
    "as_integer_ratio": "call it outside the compiled function",
    "numerator": "x itself", "denominator": "1",
    "bit_count": "np.bitwise_count", "to_bytes": "call it outside the compiled function",
}


def _call(func: Any, *args: Any, **kwargs: Any) -> Any:
    from gradc.numpy_api.dispatch import call

    return call(func, args, kwargs)


def _shape_arguments(args: tuple[Any, ...]) -> Any:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    return args[0] if len(args) == 1 else args


class Methods:
    """The methods and attributes of an array."""

    __slots__ = ()

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def T(self) -> Any:
        return _call(np.transpose, self)

    @property
    def mT(self) -> Any:
        return _call(np.swapaxes, self, -1, -2)

    @property
    def real(self) -> Any:
        return self

    @property
    def imag(self) -> Any:
        return _call(np.zeros_like, self)

    @property
    def flat(self) -> Any:
        from gradc.flat import Flat

        return Flat(self)

    @flat.setter
    def flat(self, values: Any) -> None:
        self.flat[:] = values

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
        return _call(np.reshape, self, _shape_arguments(shape), order=order, copy=copy)

    def ravel(self, order: str = "C") -> Any:
        return _call(np.ravel, self, order=order)

    def flatten(self, order: str = "C") -> Any:
        return _call(np.ravel, self, order=order).copy()

    def transpose(self, *axes: Any) -> Any:
        return _call(np.transpose, self, _shape_arguments(axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> Any:
        return _call(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Any:
        return _call(np.squeeze, self, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        return _call(np.diagonal, self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
        return _call(np.trace, self, offset, axis1, axis2)

    def copy(self, order: str = "C") -> Any:
        return _call(np.copy, self)

    def astype(self: Any, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True,
               copy: bool = True) -> Any:
        if getattr(self, "is_dynamic", False):
            from gradc.dynamic.shaping import astype as dynamic_astype

            return dynamic_astype(self, dtype, copy)
        from gradc.numpy_api.creating import astype

        return astype(self, dtype, casting=casting, copy=copy)

    def view(self: Any, dtype: Any = None, type: Any = None) -> Any:
        """The same array again; not its memory as another dtype."""
        if self.is_constant and current() is None:
            return self.array().view(*(x for x in (dtype, type) if x is not None))
        same = dtype is None or dtype is np.ndarray or (
            not isinstance(dtype, builtins.type) or issubclass(dtype, (np.generic, int, float))
        ) and np.dtype(dtype) == self.dtype
        if not same or type not in (None, np.ndarray):
            raise MissingAttribute(
                "the attribute .view of an array with another dtype or type is not supported while "
                "tracing",
                remedy="x.astype(dtype), which converts the values",
            )
        return self.through()

    def fill(self, value: Any) -> None:
        self[...] = value

    def sum(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.sum, self, axis, dtype, out, **kwargs)

    def prod(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.prod, self, axis, dtype, out, **kwargs)

    def mean(self, axis: Any = None, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.mean, self, axis, dtype, out, **kwargs)

    def var(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0,
            **kwargs: Any) -> Any:
        return _call(np.var, self, axis, dtype, out, ddof, **kwargs)

    def std(self, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0,
            **kwargs: Any) -> Any:
        return _call(np.std, self, axis, dtype, out, ddof, **kwargs)

    def max(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.max, self, axis, out, **kwargs)

    def min(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.min, self, axis, out, **kwargs)

    def any(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.any, self, axis, out, **kwargs)

    def all(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.all, self, axis, out, **kwargs)

    def argmax(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.argmax, self, axis, out, **kwargs)

    def argmin(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.argmin, self, axis, out, **kwargs)

    def cumsum(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        return _call(np.cumsum, self, axis, dtype, out)

    def cumprod(self, axis: Any = None, dtype: Any = None, out: Any = None) -> Any:
        return _call(np.cumprod, self, axis, dtype, out)

    def clip(self, min: Any = None, max: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.clip, self, min, max, out, **kwargs)

    def round(self, decimals: int = 0, out: Any = None) -> Any:
        return _call(np.round, self, decimals, out)

    def dot(self, b: Any, out: Any = None) -> Any:
        return _call(np.dot, self, b, out)

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "raise") -> Any:
        return _call(np.take, self, indices, axis, out, mode)

    def repeat(self, repeats: Any, axis: Any = None) -> Any:
        return _call(np.repeat, self, repeats, axis)

    def compress(self, condition: Any, axis: Any = None, out: Any = None) -> Any:
        return _call(np.compress, condition, self, axis, out)

    def nonzero(self) -> Any:
        return _call(np.nonzero, self)

    def argsort(self, axis: Any = -1, kind: Any = None, order: Any = None, **kwargs: Any) -> Any:
        return _call(np.argsort, self, axis, kind, order, **kwargs)

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, **kwargs: Any) -> None:
        self[...] = _call(np.sort, self, axis, kind, order, **kwargs)

    def searchsorted(self, v: Any, side: str = "left", sorter: Any = None) -> Any:
        return _call(np.searchsorted, self, v, side, sorter)

    def ptp(self, axis: Any = None, out: Any = None, **kwargs: Any) -> Any:
        return _call(np.ptp, self, axis, out, **kwargs)

    def conj(self) -> Any:
        return _call(np.copy, self)

    conjugate = conj

    def __getattr__(self, name: str) -> Any:
        from gradc.attributes import of_a_known_value

        found = of_a_known_value(self, name)
        if found is not None:
            return found[0]
        if not name.startswith("_") and hasattr(np.ndarray, name):
            raise MissingAttribute(
                f"the attribute .{name} of an array is not supported while tracing",
                remedy="use shape, ndim, size and dtype, and the functions of NumPy",
            )
        if name in _OF_NUMBERS:
            raise MissingAttribute(
                f"the attribute .{name} of a traced value: it is known only when the compiled code "
                "runs",
                remedy=_OF_NUMBERS[name],
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
