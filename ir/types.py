"""Types of values, and all arithmetic on shapes.

Promotion is NumPy's (NEP 50): a *weak* type is that of a Python scalar, which takes the
dtype of what it meets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, ...]

#: dtype -> the name it has in dumps
SHORT: dict[np.dtype[Any], str] = {
    np.dtype(long): short
    for long, short in [
        ("bool", "bool"),
        *((f"int{n}", f"i{n}") for n in (8, 16, 32, 64)),
        *((f"uint{n}", f"u{n}") for n in (8, 16, 32, 64)),
        ("float32", "f32"),
        ("float64", "f64"),
    ]
}
LONG: dict[str, np.dtype[Any]] = {short: dtype for dtype, short in SHORT.items()}

BOOL, I64, F32, F64 = (np.dtype(name) for name in ("bool", "int64", "float32", "float64"))


#: the leading extent of a tape whose length is only known at run time
UNKNOWN = -1


class TensorType(NamedTuple):
    """dtype and shape of an array value; ``weak`` for what was a Python scalar.

    A node with several results has the types of them as ``items``; then the rest means nothing.
    """

    dtype: np.dtype[Any]
    shape: Shape = ()
    weak: bool = False
    items: tuple[TensorType, ...] = ()

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        if UNKNOWN in self.shape:
            raise ValueError(f"a value of type {self} has no size before it runs")
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of an array of the type."""
        return self.size * self.dtype.itemsize

    @property
    def differentiable(self) -> bool:
        """Whether the type has a tangent space: the floating types."""
        return self.dtype.kind == "f" or any(item.differentiable for item in self.items)

    def with_shape(self, shape: Sequence[int]) -> TensorType:
        """The same dtype in another shape."""
        return TensorType(self.dtype, tuple(shape), self.weak and not shape)

    def __str__(self) -> str:
        if self.items:
            return f"({', '.join(map(str, self.items))})"
        shape = ",".join("?" if d == UNKNOWN else str(d) for d in self.shape)
        return f"{SHORT[self.dtype]}[{shape}]{'~' if self.weak else ''}"


def tuple_type(items: Sequence[TensorType]) -> TensorType:
    """The type of a node with several results."""
    return TensorType(BOOL, items=tuple(items))


def parse_type(text: str) -> TensorType:
    """The inverse of ``str(type)``."""
    if text.startswith("("):
        return tuple_type([parse_type(item) for item in text[1:-1].split(", ") if item])
    weak = text.endswith("~")
    short, _, rest = text.rstrip("~").partition("[")
    shape = tuple(UNKNOWN if d == "?" else int(d) for d in rest.rstrip("]").split(",") if d)
    return TensorType(LONG[short], shape, weak)


def type_of(value: Any) -> TensorType:
    """The type of a NumPy array, NumPy scalar or Python scalar.

    ``np.float64`` is a subclass of ``float``, so Python scalars are told by ``type(x) is``.
    Raises TypeError for a dtype that gradc has not.
    """
    if type(value) is bool:
        return TensorType(BOOL)
    if type(value) is int:
        return TensorType(I64, (), weak=True)
    if type(value) is float:
        return TensorType(F64, (), weak=True)
    array = np.asarray(value)
    dtype = array.dtype.newbyteorder("=")
    if dtype not in SHORT:
        raise TypeError(f"dtype {array.dtype} is not supported")
    return TensorType(dtype, array.shape)


def promote(*types: TensorType) -> np.dtype[Any]:
    """The dtype NumPy computes in when these meet (NEP 50)."""
    strong = [t.dtype for t in types if not t.weak]
    example = {"i": 1, "f": 1.0}
    return np.dtype(np.result_type(*strong, *(example[t.dtype.kind] for t in types if t.weak)))


def broadcast_shapes(*shapes: Shape) -> Shape:
    """NumPy's broadcast of shapes. Raises ValueError when they do not agree."""
    different = {shape for shape in shapes if shape}
    if len(different) < 2:
        return different.pop() if different else ()
    return tuple(np.broadcast_shapes(*shapes))


def reduced_shape(shape: Shape, axes: Sequence[int]) -> Shape:
    """The shape without ``axes``."""
    return tuple(d for axis, d in enumerate(shape) if axis not in axes)


def kept_shape(shape: Shape, axes: Sequence[int]) -> Shape:
    """The shape with ``axes`` of extent one (keepdims)."""
    return tuple(1 if axis in axes else d for axis, d in enumerate(shape))


def normalize_axes(axes: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Axes as sorted tuple in 0..rank-1; None is all. Raises as NumPy does."""
    if axes is None:
        return tuple(range(rank))
    given = (axes,) if isinstance(axes, (int, np.integer)) else tuple(axes)
    out = []
    for axis in given:
        if not -rank <= axis < rank:
            raise np.exceptions.AxisError(int(axis), rank)
        out.append(int(axis) % rank)
    if len(set(out)) != len(out):
        raise ValueError("duplicate value in 'axis'")
    return tuple(sorted(out))


def strides_of(shape: Shape) -> tuple[int, ...]:
    """Row-major strides in elements."""
    out = []
    step = 1
    for d in reversed(shape):
        out.append(step)
        step *= d
    return tuple(reversed(out))
