"""Storage: cells that arrays share, and the steps that lead from a cell to a view of it.

A write through a view is carried back, step by step, into the cell, so that every other view sees
it. In the graph the write is a new value; nothing is ever overwritten there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from gradc.errors import ReadOnlyError
from gradc.ir import ops
from gradc.ir.graph import Builder, Value
from gradc.ir.ops import region
from gradc.ir.types import Shape

if TYPE_CHECKING:
    from gradc.context import Context
    from gradc.picks import Pick

Array = np.ndarray[Any, Any]


class Cell:
    """The storage of an array: a constant (``array``) until a traced value is written into it.

    ``version`` counts writes. ``guard`` says why writes are refused, if they are; ``rescue`` is the
    way out. ``doubt``, if there is one, says why the value is not what NumPy would have here, and
    the way out. ``check``, if there is one, has the compiled code check, where the value is read,
    that there is one.
    """

    __slots__ = ("array", "check", "doubt", "guard", "rescue", "trace", "value", "version")

    def __init__(
        self,
        trace: Context | None,
        value: Value | None = None,
        array: Array | None = None,
        guard: str = "",
        rescue: str = "",
    ) -> None:
        self.trace = trace
        self.value = value
        self.array = array
        self.version = 0
        self.guard = guard
        self.rescue = rescue
        self.doubt: Callable[[], tuple[str, str] | None] | None = None
        self.check: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """A basic slice along every axis."""

    starts: Shape
    sizes: Shape
    steps: Shape

    def read(self, x: Value) -> Value:
        """The value of the view of ``x``."""
        return ops.slice_(x, starts=self.starts, sizes=self.sizes, steps=self.steps)

    def write(self, x: Value, shape: Shape, u: Value) -> Value:
        """``x`` with ``u`` written into the part."""
        return ops.update_slice(x, u, starts=self.starts, steps=self.steps)

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the view of an array of ``shape``."""
        return self.sizes

    def view(self, a: Array) -> Array:
        """The view of a NumPy array."""
        where = {"starts": self.starts, "sizes": self.sizes, "steps": self.steps}
        index: Any = (*region(a.shape, where), ...)
        out: Array = a[index]
        return out


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same elements in the same order, in another shape."""

    shape: Shape

    def read(self, x: Value) -> Value:
        """The value of the view of ``x``."""
        return ops.reshape(x, shape=self.shape)

    def write(self, x: Value, shape: Shape, u: Value) -> Value:
        """``u`` in ``shape``, that of the array it is a view of; nothing of ``x`` is left."""
        return ops.reshape(u, shape=shape)

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the view of an array of ``shape``."""
        return self.shape

    def view(self, a: Array) -> Array:
        """The view of a NumPy array."""
        return a.reshape(self.shape, copy=False)


@dataclass(frozen=True, slots=True)
class Transpose:
    """The axes in another order."""

    perm: Shape

    def read(self, x: Value) -> Value:
        """The value of the view of ``x``."""
        return ops.transpose(x, perm=self.perm)

    def write(self, x: Value, shape: Shape, u: Value) -> Value:
        """``u`` in ``shape``, that of the array it is a view of; nothing of ``x`` is left."""
        return ops.transpose(u, perm=tuple(int(i) for i in np.argsort(self.perm)))

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the view of an array of ``shape``."""
        return tuple(shape[axis] for axis in self.perm)

    def view(self, a: Array) -> Array:
        """The view of a NumPy array."""
        return a.transpose(self.perm)


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The same elements, each several times: read-only. ``what`` names the function."""

    shape: Shape
    what: str

    def read(self, x: Value) -> Value:
        """The value of the view of ``x``."""
        return x if x.shape == self.shape else ops.broadcast(x, shape=self.shape)

    def write(self, x: Value, shape: Shape, u: Value) -> Value:
        """Raise ReadOnlyError, as NumPy would."""
        raise self.refusal()

    def refusal(self) -> ReadOnlyError:
        """The error of a write."""
        return ReadOnlyError(f"a write into the result of {self.what}, which is read-only",
                             remedy="copy it first (w = w.copy()), or write into its base")

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the view of an array of ``shape``."""
        return self.shape

    def view(self, a: Array) -> Array:
        """The view of a NumPy array."""
        return np.broadcast_to(a, self.shape)


Step = Union[Slice, Reshape, Transpose, Broadcast, "Pick"]
Path = tuple[Step, ...]


def follow(path: Sequence[Step], base: Value) -> Value:
    """The value of a view of ``base``."""
    for step in path:
        base = step.read(base)
    return base


def write_back(path: Sequence[Step], base: Value, new: Value) -> Value:
    """The value of the cell after ``new`` has been written into the view."""
    # Only what lies above the innermost slice or pick keeps elements that are not overwritten.
    whole = (Reshape, Transpose, Broadcast)
    innermost = max((k for k, step in enumerate(path) if not isinstance(step, whole)), default=-1)
    values, shapes = [base], [base.shape]
    for k, step in enumerate(path):
        shapes.append(step.shape_after(shapes[-1]))
        if k < innermost:
            values.append(step.read(values[-1]))
    for k in reversed(range(len(path))):
        new = path[k].write(values[min(k, max(innermost, 0))], shapes[k], new)
    return new


def reshape_is_view(path: Sequence[Step], base: Shape, shape: Shape) -> bool:
    """Whether NumPy would reshape this view of a C-ordered array without copying it."""
    if not path:
        return True
    # An array of the right strides over one byte: only its layout is looked at.
    strides = np.cumprod((1, *reversed(base)))[:-1][::-1]
    layout = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.int8), base, tuple(int(s) for s in strides), writeable=False
    )
    try:
        for step in (*path, Reshape(shape)):
            layout = step.view(layout)
    except ValueError:
        return False
    return True


def constant_value(builder: Builder, array: Array) -> Value:
    """An array as a node; one number repeated is a scalar and a broadcast."""
    if array.size > 1:
        # Bit by bit: 0.0 is not −0.0, and a NaN is itself.
        bits = array.view(f"u{array.itemsize}")
        if (bits == bits.flat[0]).all():
            return ops.broadcast(ops.const(builder, array.flat[0]), shape=array.shape)
    return ops.const(builder, array)
