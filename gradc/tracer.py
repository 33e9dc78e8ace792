"""The array that user code works on while it is traced.

A Tracer is a view of a storage cell. As long as nothing traced has been written into the cell, its
value is a constant: it can be used as a number, and what is computed from constants alone is
computed by NumPy, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from gradc.cells import (
    Broadcast,
    Cell,
    Path,
    Reshape,
    Slice,
    Step,
    Transpose,
    constant_value,
    follow,
    reshape_is_view,
    write_back,
)
from gradc.context import Context, adopt, contexts, current
from gradc.conversions import MAKE_INSIDE as MAKE_INSIDE
from gradc.conversions import Conversions
from gradc.conversions import describe as describe
from gradc.errors import CastingError, LeakedTracerError, ReadOnlyError, ShapeError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.ops import Op
from gradc.ir.types import Shape, TensorType
from gradc.methods import Methods
from gradc.operators import Operators

Array = np.ndarray[Any, Any]

#: steps to a view whose place is known while tracing
_KNOWN = (Slice, Reshape, Transpose, Broadcast)


class Tracer(Conversions, Operators, Methods):
    """An array or scalar of a trace.

    shape, dtype: as of an array. weak: it stands for a Python number (NEP 50). is_scalar: NumPy
    would have a scalar here, which is immutable, and no 0-d array.
    """

    __slots__ = ("__weakref__", "_dtype", "_memo", "_shape", "cell", "is_scalar", "path", "weak")
    __array_priority__ = 1000

    def __init__(
        self,
        cell: Cell,
        shape: Shape,
        dtype: np.dtype[Any],
        path: Path = (),
        *,
        weak: bool = False,
        is_scalar: bool = False,
    ) -> None:
        self.cell = cell
        self.path = path
        self._shape = shape
        self._dtype = dtype
        self.weak = weak
        self.is_scalar = is_scalar
        self._memo: tuple[Context, int, Value] | None = None

    @property
    def shape(self) -> Shape:
        """The lengths of the axes."""
        return self._shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        from gradc.numpy_api.shaping import target

        if self.cell.guard and not self.path:
            raise ReadOnlyError(
                f"the shape of {self.cell.guard}, was set", types=[describe(self)],
                remedy="x = x.reshape(shape)",
            )
        wanted = target(self.size, shape)
        if self.is_scalar or not reshape_is_view(self.path, self._cell_shape(), wanted):
            raise AttributeError(
                "Incompatible shape for in-place modification. Use `.reshape()` to make a copy "
                "with the desired shape."
            )
        self.path, self._shape = (*self.path, Reshape(wanted)), wanted

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype."""
        return self._dtype

    @dtype.setter
    def dtype(self, dtype: Any) -> None:
        raise CastingError(
            "the dtype of an array was set: its memory would be read as something else",
            types=[describe(self)],
            remedy="x = x.astype(dtype), which converts the values",
        )

    @property
    def type(self) -> TensorType:
        """dtype, shape and weakness."""
        # A Python bool promotes like NumPy's.
        return TensorType(self.dtype, self.shape, self.weak and self.dtype.kind != "b")

    @property
    def context(self) -> Context | None:
        """The trace that the value belongs to."""
        return self.cell.trace

    @property
    def is_constant(self) -> bool:
        """Whether the value is known while tracing."""
        return self.cell.array is not None and self._first_pick() == len(self.path)

    def _first_pick(self) -> int:
        """The number of steps to a view before one whose place is traced."""
        for k, step in enumerate(self.path):
            if not isinstance(step, _KNOWN):
                return k
        return len(self.path)

    @property
    def value(self) -> Value:
        """The node of the current trace that holds the value now.

        Raises LeakedTracerError when the trace that it belongs to is not under way in this thread.
        """
        context = current()
        if context is None:
            raise _leaked(self)
        self.note_read()
        return self.value_in(context)

    def note_read(self) -> None:
        """Note that the value is read here: a variable that may have none is checked."""
        if self.cell.check is not None:
            self.cell.check()

    def value_in(self, context: Context) -> Value:
        """The node of ``context`` that holds the value now."""
        cell = self.cell
        if cell.doubt is not None:
            self._check_doubt()
        if self._memo and self._memo[0] is context and self._memo[1] == cell.version:
            return self._memo[2]
        if self.is_constant:
            value = constant_value(context.builder, self.array())
        elif cell.array is not None:
            value = follow(self.path, constant_value(context.builder, cell.array))
        elif cell.trace is context:
            assert cell.value is not None
            value = follow(self.path, cell.value)
        elif cell.trace in contexts():
            value = self._captured(context)
        else:
            raise _leaked(self)
        self._memo = (context, cell.version, value)
        return value

    def _captured(self, context: Context) -> Value:
        """The value in a trace inside the one that the storage belongs to."""
        stack = contexts()
        assert self.cell.trace is not None
        owner = stack.index(self.cell.trace)
        picks = [s for s in self.path if not isinstance(s, _KNOWN)]
        inner = stack[owner + 1 :]
        places = [t.cell.trace for s in picks for t in s.tracers]
        path: Sequence[Step] = self.path
        if any(trace in inner for trace in places):  # known only further inside: read there
            level = len(stack) - 1
        elif any(s.taken in inner for s in picks):
            from gradc.reach import earliest

            level, path = earliest(path, self._cell_shape(), owner)
        else:
            return context.capture(self)
        known = self._first_pick()
        shape = self._cell_shape()
        for step in path[:known]:
            shape = step.shape_after(shape)
        base = Tracer(self.cell, shape, self.dtype, self.path[:known])
        value = follow(path[known:], base.value_in(stack[level]))
        return Tracer(Cell(stack[level], value), self.shape, self.dtype).value_in(context)

    def array(self) -> Array:
        """The constant, as a view of the cell's array."""
        assert self.cell.array is not None
        if self.cell.doubt is not None:
            self._check_doubt()
        out = self.cell.array
        for step in self.path:
            out = step.view(out)
        return out

    def snapshot(self) -> Tracer:
        """A Tracer of the value as it is now, in storage of its own."""
        if self.is_constant:
            return constant(self.array().copy(), self.cell.trace)
        if self.cell.trace is None or self.cell.trace not in contexts():
            raise _leaked(self)
        value = self.value_in(self.cell.trace)
        cell = Cell(self.cell.trace, value)
        return Tracer(cell, self.shape, self.dtype, weak=self.weak, is_scalar=self.is_scalar)

    def through(self, *steps: Step) -> Tracer:
        """The view of the same storage that the steps lead to; of a scalar, a new array."""
        if self.is_scalar:
            if self.is_constant:
                own = constant(self.array().copy(), self.cell.trace)
            else:
                own = fresh(self.value, is_scalar=False)
            return own.through(*steps)
        shape = self.shape
        for step in steps:
            shape = step.shape_after(shape)
        return Tracer(self.cell, shape, self.dtype, (*self.path, *steps))

    def reshaped(self, shape: Shape) -> Tracer:
        """A view in another shape, or a copy where NumPy would make one."""
        base = self.shape if not self.path else self._cell_shape()
        if reshape_is_view(self.path, base, shape):
            return self.through(Reshape(shape))
        if self.is_constant:
            return constant(self.array().reshape(shape), self.cell.trace)
        return fresh(ops.reshape(self.value, shape=shape))

    def _cell_shape(self) -> Shape:
        cell = self.cell
        if cell.array is not None:
            return cast(Shape, cell.array.shape)
        assert cell.value is not None
        return cell.value.shape

    def _check_doubt(self) -> None:
        """Raise ReadOnlyError where NumPy would have another value here."""
        found = self.cell.doubt() if self.cell.doubt is not None else None
        if found is not None:
            raise ReadOnlyError(found[0], types=[describe(self)], remedy=found[1])

    def check_writable(self) -> None:
        """Raise ReadOnlyError for a view that NumPy makes read-only."""
        for step in self.path:
            if isinstance(step, Broadcast):
                raise step.refusal()

    def assign(self, new: Value | Array) -> None:
        """Write a value of this shape and dtype into the storage.

        Raises ReadOnlyError when the function's result would lose the write.
        """
        cell, context = self.cell, current()
        self.note_read()
        if cell.doubt is not None:
            self._check_doubt()
        if cell.guard:
            raise ReadOnlyError(
                f"a write into {cell.guard}", types=[describe(self)], remedy=cell.rescue
            )
        self.check_writable()
        if cell.trace is not context and not adopt(cell):
            raise ReadOnlyError(
                "a write into an array from outside the function that is being traced",
                types=[describe(self)],
                remedy="copy it first (w = np.array(w)) and return the copy",
            )
        if isinstance(new, np.ndarray):
            if self.is_constant:
                self.array()[...] = new
                cell.version += 1
                return
            assert context is not None
            new = constant_value(context.builder, new)
        if cell.array is not None:
            assert context is not None
            cell.value, cell.array = constant_value(context.builder, cell.array), None
        assert cell.value is not None and context is not None
        cell.value = write_back(self.path, cell.value, new)
        cell.version += 1
        self._memo = (context, cell.version, new)

    def as_integer(self) -> Tracer:
        """A scalar as a Python int."""
        return fresh(ops.convert(self.value, dtype=np.dtype(np.int64)), weak=True)

    # -- what Python and NumPy ask for ----------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        from gradc.numpy_api.methods_of_ufuncs import call_ufunc

        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from gradc.numpy_api.dispatch import call

        return call(func, args, kwargs)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[k] for k in range(self.shape[0]))

    def __reversed__(self) -> Iterator[Any]:
        return (self[k] for k in reversed(range(len(self))))

    def __getitem__(self, index: Any) -> Any:
        from gradc.indexing import read

        return read(self, index)

    def __setitem__(self, index: Any, new: Any) -> None:
        from gradc.indexing import write

        write(self, index, new)

    def __delitem__(self, index: Any) -> None:
        if not self.shape:
            raise TypeError("a number does not support the deletion of elements")
        raise ValueError("cannot delete array elements")  # as NumPy says

    def __copy__(self) -> Tracer:
        return cast(Tracer, self.copy())

    def __deepcopy__(self, memo: Any) -> Tracer:
        return cast(Tracer, self.copy())


def fresh(value: Value, *, weak: bool = False, is_scalar: bool | None = None) -> Tracer:
    """A Tracer of a new value of the current trace, in storage of its own.

    What is 0-d is a scalar unless said otherwise.
    """
    scalar = not value.shape if is_scalar is None else is_scalar
    return Tracer(Cell(current(), value), value.shape, value.dtype, weak=weak, is_scalar=scalar)


def constant(array: Any, trace: Context | None = None) -> Tracer:
    """A Tracer of a constant, in storage of its own: the array itself if it is C-ordered."""
    own = np.require(array, requirements=["C", "W"])
    dtype = own.dtype.newbyteorder("=")
    if own.dtype != dtype or own is array and own.base is not None:
        own = own.astype(dtype)
    return Tracer(Cell(trace or current(), array=own), own.shape, own.dtype)


def emit(op: Op, *operands: Tracer, **attrs: Any) -> Tracer:
    """A node on Tracers that already have the dtypes and shapes that the op asks for."""
    return fresh(op(*(t.value for t in operands), **attrs))


def _leaked(tracer: Tracer) -> LeakedTracerError:
    return LeakedTracerError(
        "a traced value was used outside the trace that it belongs to",
        types=[describe(tracer)],
        remedy="return it from the traced function; keep it in no global, object or cache",
    )


def require_shape(got: Shape, wanted: Shape) -> None:
    """Raise ShapeError, in NumPy's words, unless ``got`` broadcasts to ``wanted``."""
    lead = len(got) - len(wanted)
    fits = all(d == 1 for d in got[: max(lead, 0)]) and all(
        d in (1, w) for d, w in zip(reversed(got), reversed(wanted), strict=False)
    )
    if not fits:
        raise ShapeError(
            f"could not broadcast input array from shape {got} into shape {wanted}",
            remedy="check the shapes on both sides of the assignment",
        )
