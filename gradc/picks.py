"""Views whose place is known only when the code runs: ``a[i]``, ``a[i, 1:]``, ``a[i-1:i+2]``.

As in NumPy they are views, for ``i`` is an integer: what is written into one is written into the
array. A window ``a[start:stop]`` must have a length that is known while tracing, which is found by
comparing ``start`` and ``stop`` as sums of the same terms.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.context import Context, contexts
from gradc.ir import ops
from gradc.ir.graph import Value, attr_key
from gradc.ir.ops import constant_number
from gradc.ir.types import I64, Shape
from gradc.numpy_api.values import as_tracer, is_traced
from gradc.tracer import Tracer

Array = np.ndarray[Any, Any]

#: how many nodes of an index are looked at
_DEEP = 40


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """``start : start + size * step : step`` along an axis, with a traced start."""

    start: Tracer
    size: int
    step: int = 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """A slice along an axis that is known while tracing."""

    start: int
    size: int
    step: int


#: along one axis; an integer, traced or not, leaves the axis out
Entry = int | Tracer | Window | Stretch


@dataclass(frozen=True, slots=True, eq=False)
class Pick:
    """The elements at these places along the first axes, as ``taken`` in a trace."""

    entries: tuple[Entry, ...]
    taken: Context | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pick) and len(self.entries) == len(other.entries) and all(
            map(_same, self.entries, other.entries)
        )

    __hash__ = object.__hash__

    @property
    def tracers(self) -> list[Tracer]:
        """The traced integers that say where."""
        found = (e.start if isinstance(e, Window) else e for e in self.entries)
        return [e for e in found if type(e) is Tracer]

    @property
    def kept(self) -> Shape:
        """The lengths of the axes that are left of those picked from."""
        return tuple(e.size for e in self.entries if isinstance(e, (Window, Stretch)))

    def read(self, x: Value) -> Value:
        """The value of the view of ``x``."""
        return ops.gather(x, *self._indices(x))

    def write(self, x: Value, shape: Shape, u: Value) -> Value:
        """``x`` with ``u`` written into the part."""
        unique = {"unique": True} if self.kept else {}
        return ops.scatter_set(x, u, *self._indices(x), **unique)

    def shape_after(self, shape: Shape) -> Shape:
        """The shape of the view of an array of ``shape``."""
        return self.kept + shape[len(self.entries) :]

    def view(self, a: Array) -> Array:
        """A view of a NumPy array that is laid out as this one is."""
        index: list[Any] = []
        for e in self.entries:
            if type(e) is Window:
                index.append(slice(0, e.size * e.step, e.step))
            else:
                index.append(slice(0, e.size) if type(e) is Stretch else 0)
        out: Array = a[(*index, ...)]
        return out

    def _indices(self, x: Value) -> list[Value]:
        context = next(c for c in contexts() if c.builder is x.builder)
        shape, axis, out = self.kept, 0, []
        for d, e in zip(x.shape, self.entries, strict=False):
            value = _along(x, d, e, context)
            if type(e) in (Window, Stretch):
                wide = tuple(n if k == axis else 1 for k, n in enumerate(shape))
                value = value if value.shape == wide else ops.reshape(value, shape=wide)
                axis += 1
            out.append(value if value.shape == shape else ops.broadcast(value, shape=shape))
        return out


def _same(a: Entry, b: Entry) -> bool:
    if type(a) is Window and type(b) is Window:
        return a.start is b.start and (a.size, a.step) == (b.size, b.step)
    return a is b if Tracer in (type(a), type(b)) else bool(a == b)


def _along(x: Value, d: int, e: Entry, context: Context) -> Value:
    """The places along one axis of length ``d``."""
    if type(e) is Stretch:
        return ops.const(x.builder, e.start + e.step * np.arange(e.size, dtype=I64))
    if type(e) is int:
        return ops.const(x.builder, np.int64(e))
    if type(e) is not Window:
        return _integer(e, context)
    start = _integer(e.start, context)
    # NumPy would count a negative start from the end; beyond it, this is an error when it runs.
    start = ops.where(start < 0, ops.full_like(start, d), start)
    steps = ops.const(x.builder, e.step * np.arange(e.size, dtype=I64))
    return ops.broadcast(start, shape=(e.size,)) + steps


def _integer(e: Any, context: Context) -> Value:
    value = e.value_in(context)
    return value if value.dtype == I64 else ops.convert(value, dtype=I64)


def window_of(item: slice) -> Window | Stretch | None:
    """A slice with a traced bound, if its length is known."""
    step = 1 if item.step is None else item.step
    if is_traced(step) or int(step) < 1 or item.start is None or item.stop is None:
        return None
    start, stop = (as_tracer(bound) for bound in (item.start, item.stop))
    length = distance(start, stop)
    if length is None:
        return None
    size = len(range(0, length, int(step)))
    return Window(start, size, int(step)) if size else Stretch(0, 0, 1)


# -- sums of terms -------------------------------------------------------------------------------


def distance(start: Tracer, stop: Tracer) -> int | None:
    """``stop - start`` if it is the same whatever the traced values are."""
    budget = [_DEEP]
    low, high = (_Sum.of(t, budget) for t in (start, stop))
    return high.constant - low.constant if low.terms == high.terms else None


class _Sum:
    """An integer as a constant and a sum of terms with factors."""

    def __init__(self, constant: int = 0, terms: dict[Any, int] | None = None) -> None:
        self.constant = constant
        self.terms = {key: factor for key, factor in (terms or {}).items() if factor}

    @classmethod
    def of(cls, t: Tracer, budget: list[int]) -> _Sum:
        if t.is_constant:
            return cls(int(t.array()))
        context = contexts()[-1]
        return cls._of(t.value_in(context), context, budget)

    @classmethod
    def _of(cls, value: Value, context: Context, budget: list[int]) -> _Sum:
        value, context = origin(value, context)
        known = constant_number(value)
        if known is not None:
            return cls(int(known))
        budget[0] -= 1
        name = value.node.op.name
        if budget[0] > 0 and name in ("add", "sub", "mul", "neg", "convert"):
            parts = [cls._of(operand, context, budget) for operand in value.operands]
            if name == "convert" and value.operands[0].dtype.kind in "iu":
                return parts[0]
            if name in ("add", "sub"):
                return parts[0].plus(parts[1], 1 if name == "add" else -1)
            if name == "neg":
                return cls().plus(parts[0], -1)
            if name == "mul":
                for one, other in (parts, parts[::-1]):
                    if not one.terms:
                        return cls().plus(other, one.constant)
        return cls(0, {_key(value, context, budget): 1})

    def plus(self, other: _Sum, factor: int) -> _Sum:
        terms = dict(self.terms)
        for key, f in other.terms.items():
            terms[key] = terms.get(key, 0) + factor * f
        return _Sum(self.constant + factor * other.constant, terms)


def key_of(value: Value, context: Context) -> Hashable:
    """What is equal for values of a trace that are computed alike, so far as it is looked at."""
    key: Hashable = _key(*origin(value, context), [_DEEP])
    return key


def _key(value: Value, context: Context, budget: list[int]) -> Any:
    """What is equal for equal values, so far as it is looked at."""
    known = constant_number(value)
    if known is not None:
        return value.type, known
    node = value.node
    budget[0] -= 1
    if budget[0] <= 0 or not node.operands or node.regions or node.op.name == "item":
        return id(value.builder), node.id
    attrs = tuple((name, attr_key(attr)) for name, attr in node.attrs.items())
    inner = tuple(_key(*origin(v, context), budget) for v in value.operands)
    return node.op.name, attrs, inner


def origin(value: Value, context: Context) -> tuple[Value, Context]:
    """The value of the enclosing trace that an input stands for."""
    while value.id in context.source_of:
        cell = context.source_of[value.id].cell
        if cell.trace is None or cell.value is None:
            break
        value, context = cell.value, cell.trace
    return value, context


