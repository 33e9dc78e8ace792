"""Random programs: graphs of every family of ops, with inputs on which they are well conditioned.

A program is evaluated while it grows. An op whose result would be huge, not a number, or decided
by the last bit of its operands (a comparison of nearly equal values) is not taken, so that two
right implementations agree on the program to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Loc, Value
from gradc.ir.types import BOOL, F32, F64, I64, TensorType
from tests.sampling import Array, fill

UNARY = (
    "neg abs exp expm1 log log1p sqrt cbrt sin cos tan tanh sinh cosh asinh atan sigmoid softplus "
    "floor rint sign logistic_density erf erfc gaussian"
).split()
BINARY = (
    "add sub mul div maximum minimum fmax pow hypot atan2 copysign floordiv mod"
).split()
STEEP_AT_ZERO = "log sqrt log1p cbrt div pow hypot atan2 copysign".split()
COMPARISONS = "eq ne lt le gt ge".split()
INTEGERS = "add sub mul maximum minimum bit_and bit_or bit_xor floordiv mod".split()
SHAPES = ((), (3,), (4,), (1,), (2, 3), (3, 4), (1, 4), (3, 1), (2, 3, 4), (17,), (5, 33), (4, 4))


@dataclass(frozen=True)
class Program:
    """A graph and inputs for it."""

    graph: Graph
    inputs: tuple[Array, ...]


class Generator:
    """Grows one program. Each step picks a family, operands among what is there, and attributes."""

    def __init__(self, seed: int, dtype: Any = F64, differentiable: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.builder = Builder("program")
        self.values: list[Value] = []
        self.known: dict[int, Array] = {}
        self.inputs: list[Array] = []
        self.line = 0
        self.builder.locate = lambda: (Loc("program.py", self.line, "program"),)
        self.steps: list[Callable[[], Value | None]] = [
            self.unary, self.unary, self.binary, self.binary, self.binary, self.scale, self.reduce,
            self.broadcast, self.reshape, self.transpose, self.slice, self.embed, self.update,
            self.concat, self.matmul, self.where, self.gather, self.scatter, self.scan, self.spread,
            self.against, self.against, self.gram,
        ]
        if not differentiable:
            self.steps += [self.compare, self.logic, self.integer, self.convert, self.order]

    # -- picking

    def choice(self, options: Sequence[Any]) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def some(self, kinds: str = "f", least: int = 0) -> Value | None:
        """A value of one of these kinds and at least this rank; late ones are likelier."""
        fitting = [v for v in self.values if v.dtype.kind in kinds and len(v.shape) >= least]
        if not fitting:
            return None
        at = int(len(fitting) * self.rng.random() ** 0.5)
        return fitting[min(at, len(fitting) - 1)]

    def like(self, x: Value) -> Value:
        """Another value of the same type, made if there is none."""
        same = [v for v in self.values if v.dtype == x.dtype and v.shape == x.shape]
        if len(same) > 1 and self.rng.random() < 0.8:
            return self.choice(same)
        scalars = [v for v in self.values if v.dtype == x.dtype and not v.shape]
        if scalars and x.shape and self.rng.random() < 0.5:
            return self.keep(ops.broadcast(self.choice(scalars), shape=x.shape)) or x
        return self.constant(x.dtype, x.shape)

    def constant(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Value:
        number = self.choice((0, 1, 2, 0.5, -1, 3)) if self.rng.random() < 0.6 else None
        if number is not None:
            scalar = ops.const(self.builder, np.asarray(number).astype(dtype))
            self.keep(scalar, offer=False)
            out = ops.broadcast(scalar, shape=shape) if shape else scalar
        else:
            out = ops.const(self.builder, fill(TensorType(dtype, shape), self.rng, -2, 2))
        self.keep(out, offer=False)
        return out

    def index(self, extent: int, shape: tuple[int, ...]) -> Value:
        value = ops.const(self.builder, self.rng.integers(-extent, extent, shape))
        self.keep(value, offer=False)
        return value

    # -- growing

    def input(self, type_: TensorType) -> None:
        array = fill(type_, self.rng, -2, 2)
        value = self.builder.input(f"x{len(self.inputs)}", type_)
        self.inputs.append(array)
        self.known[value.id] = array
        self.values.append(value)

    def keep(self, value: Value | None, offer: bool = True) -> Value | None:
        """Evaluate a new value; offer it as operand if it is tame."""
        if value is None:
            return None
        node = value.node
        with np.errstate(all="ignore"):
            operands = [self.known[i] for i in node.operands]
            result = np.asarray(node.op.numpy(*operands, **node.attrs))
        self.known[value.id] = result
        if node.type.dtype.kind == "f":
            if result.size and not np.abs(result).max() < 1e4:
                return None
            if node.op.name in ("floor", "rint", "sign", "floordiv", "mod") and result.size:
                x = operands[0] if len(operands) == 1 else operands[0] / operands[1]
                if not np.abs(2 * x - np.rint(2 * x)).min() > 1e-4:
                    return None
            if node.op.name in ("add", "sub", "sum", "matmul") and result.size:
                largest = max(float(np.abs(v).max()) for v in operands)
                if np.abs(result).max() < 1e-3 * largest:
                    return None  # little but rounding is left
            steep = node.op.name in STEEP_AT_ZERO and result.size
            if steep and min(float(np.abs(v).min()) for v in operands) < 1e-2:
                return None
        if offer and value.type.size <= 4096:
            self.values.append(value)
        return value

    def step(self) -> None:
        """Add one op, if the one that was picked fits."""
        self.line += 1
        self.keep(self.choice(self.steps)())

    def unary(self) -> Value | None:
        x = self.some()
        return x and self.builder.add(ops.REGISTRY[self.choice(UNARY)], [x])

    def binary(self) -> Value | None:
        x = self.some()
        if x is None:
            return None
        pair = [x, self.like(x)]
        if self.rng.random() < 0.5:
            pair.reverse()
        name = self.choice(BINARY)
        if name in ("maximum", "minimum", "fmax") and not self.apart(*pair):
            return None
        return self.builder.add(ops.REGISTRY[name], pair)

    def scale(self) -> Value | None:
        x = self.some()
        return x and x * self.constant(x.dtype, x.shape)

    def reduce(self) -> Value | None:
        x = self.some(least=1)
        if x is None or not x.type.size:
            return None
        axes = tuple(a for a in range(len(x.shape)) if self.rng.random() < 0.6)
        name = self.choice(("sum", "sum", "sum", "max", "min", "prod"))
        return self.builder.add(ops.REGISTRY[name], [x], axes=axes)

    def broadcast(self) -> Value | None:
        x = self.some()
        if x is None:
            return None
        shape = tuple(self.choice((2, 3)) if d == 1 else d for d in x.shape)
        lead = (self.choice((1, 2, 5)),) if len(shape) < 3 else ()
        return ops.broadcast(x, shape=lead + shape)

    def spread(self) -> Value | None:
        """A reduction broadcast back, as keepdims makes it."""
        x = self.some(least=1)
        if x is None or not x.type.size:
            return None
        axes = (int(self.rng.integers(len(x.shape))),)
        total = self.keep(ops.sum_(x, axes=axes), offer=False)
        if total is None:
            return None
        kept = tuple(1 if a in axes else d for a, d in enumerate(x.shape))
        narrow = self.keep(ops.reshape(total, shape=kept), offer=False)
        return narrow and ops.broadcast(narrow, shape=x.shape)

    def reduced(self, x: Value, axis: int) -> Value | None:
        """One number for each row or column of a matrix."""
        name = self.choice(("sum", "sum", "max", "min"))
        return self.keep(self.builder.add(ops.REGISTRY[name], [x], axes=(axis,)), offer=False)

    def against(self) -> Value | None:
        """Numbers of rows against numbers of rows or columns, as s[:, None] and t[None, :] make
        them: of one reduction, or of two; sometimes against what was reduced.
        """
        x = self.some(least=2)
        if x is None or len(x.shape) != 2 or not x.type.size:
            return None
        first = int(self.rng.integers(2))
        s = self.reduced(x, first)
        t = self.reduced(x, self.choice((first, 1 - first))) if self.rng.random() < 0.6 else s
        if s is None or t is None:
            return None
        shape = (*s.shape, *t.shape)
        down = self.keep(ops.reshape(s, shape=(*s.shape, 1)), offer=False)
        along = t
        if self.rng.random() < 0.5:  # by the transpose of what keepdims leaves
            column = self.keep(ops.reshape(t, shape=(*t.shape, 1)), offer=False)
            along = column and self.keep(ops.transpose(column, perm=(1, 0)), offer=False)
        pair = [v and self.keep(ops.broadcast(v, shape=shape), offer=False) for v in (down, along)]
        if pair[0] is None or pair[1] is None:
            return None
        if shape == x.shape and self.rng.random() < 0.3:
            pair[int(self.rng.integers(2))] = x
        if self.rng.random() < 0.5:
            pair.reverse()
        return self.builder.add(ops.REGISTRY[self.choice(("sub", "mul", "add"))], pair)

    def gram(self) -> Value | None:
        """Products of all rows, or columns, with each other."""
        x = self.some(least=2)
        if x is None or not x.type.size:
            return None
        turned = bool(self.rng.integers(2))
        return ops.matmul(x, x, ta=turned, tb=not turned)

    def reshape(self) -> Value | None:
        x = self.some("fib")
        if x is None:
            return None
        size = x.type.size
        shapes = [s for s in SHAPES if int(np.prod(s)) == size] + [(size,), (1, size), (size, 1)]
        return ops.reshape(x, shape=self.choice(shapes))

    def transpose(self) -> Value | None:
        x = self.some("fib", least=1)
        return x and ops.transpose(x, perm=tuple(self.rng.permutation(len(x.shape)).tolist()))

    def region(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """starts, sizes, steps of a region within a shape."""
        out = []
        for d in shape:
            step = self.choice((1, 1, 1, 2, -1))
            size = int(self.rng.integers(1, (d - 1) // abs(step) + 2)) if d else 0
            room = d - (size - 1) * abs(step) - 1
            first = int(self.rng.integers(0, room + 1)) if d else 0
            out.append((first if step > 0 else first + (size - 1) * -step, size, step))
        return tuple(zip(*out, strict=True)) if out else ((), (), ())

    def slice(self) -> Value | None:
        x = self.some("fib", least=1)
        if x is None:
            return None
        starts, sizes, steps = self.region(x.shape)
        return ops.slice_(x, starts=starts, sizes=sizes, steps=steps)

    def embed(self) -> Value | None:
        x = self.some(least=1)
        if x is None:
            return None
        shape = tuple(d + int(self.rng.integers(0, 3)) for d in x.shape)
        return ops.embed(x, shape=shape, starts=(0,) * len(shape), steps=(1,) * len(shape))

    def update(self) -> Value | None:
        x = self.some(least=1)
        if x is None:
            return None
        starts, sizes, steps = self.region(x.shape)
        u = self.like(self.constant(x.dtype, sizes))
        return ops.update_slice(x, u, starts=starts, steps=steps)

    def concat(self) -> Value | None:
        x = self.some("fib", least=1)
        if x is None:
            return None
        axis = int(self.rng.integers(len(x.shape)))
        return ops.concat(x, self.like(x), axis=axis)

    def matmul(self) -> Value | None:
        x = self.some(least=2)
        if x is None:
            return None
        ta, tb = (bool(self.rng.integers(2)) for _ in range(2))
        k = x.shape[-2] if ta else x.shape[-1]
        n = self.choice((1, 2, 4))
        y = self.like(self.constant(x.dtype, (*x.shape[:-2], *((n, k) if tb else (k, n)))))
        return ops.matmul(x, y, ta=ta, tb=tb)

    def where(self) -> Value | None:
        x = self.some()
        if x is None:
            return None
        other = self.like(x)
        if not self.apart(x, other):
            return None
        condition = self.keep(ops.gt(x, other), offer=False)
        return condition and ops.where(condition, self.like(x), x)

    def gather(self) -> Value | None:
        x = self.some(least=1)
        if x is None or not x.type.size:
            return None
        shape = self.choice(((), (3,), (2, 2)))
        count = int(self.rng.integers(1, len(x.shape) + 1))
        return ops.gather(x, *(self.index(d, shape) for d in x.shape[:count]))

    def scatter(self) -> Value | None:
        x = self.some(least=1)
        if x is None or not x.type.size:
            return None
        indices = self.index(x.shape[0], (3,))
        u = self.like(self.constant(x.dtype, (3, *x.shape[1:])))
        return self.choice((ops.scatter_add, ops.scatter_set))(x, u, indices)

    def scan(self) -> Value | None:
        x = self.some(least=1)
        if x is None or not x.type.size:
            return None
        op = self.choice((ops.cumsum, ops.cumsum, ops.cumprod))
        return op(x, axis=int(self.rng.integers(len(x.shape))), reverse=bool(self.rng.integers(2)))

    def apart(self, x: Value, y: Value) -> bool:
        """Whether no two elements are equal to rounding but not equal."""
        a, b = self.known[x.id], self.known[y.id]
        with np.errstate(all="ignore"):
            close = np.abs(a - b) < 1e-4 if a.dtype.kind == "f" else np.zeros(a.shape, bool)
        return not close.any()

    def compare(self) -> Value | None:
        x = self.some("fi")
        if x is None:
            return None
        y = self.like(x)
        return self.builder.add(ops.REGISTRY[self.choice(COMPARISONS)], [x, y]) if (
            self.apart(x, y)) else None

    def logic(self) -> Value | None:
        x = self.some("b")
        if x is None:
            return None
        name = self.choice(("logical_not", "bit_and", "bit_or", "bit_xor", "any", "all"))
        if name == "logical_not":
            return ops.logical_not(x)
        if name in ("any", "all"):
            return self.builder.add(ops.REGISTRY[name], [x], axes=tuple(range(len(x.shape))))
        return self.builder.add(ops.REGISTRY[name], [x, self.like(x)])

    def integer(self) -> Value | None:
        x = self.some("i")
        if x is None:
            return None
        if self.rng.random() < 0.3:
            return self.builder.add(ops.sum_, [x], axes=tuple(range(len(x.shape))))
        return self.builder.add(ops.REGISTRY[self.choice(INTEGERS)], [x, self.like(x)])

    def convert(self) -> Value | None:
        x = self.some("ib")
        return x and ops.convert(x, dtype=self.choice((F64, F32, self.dtype, I64, BOOL)))

    def order(self) -> Value | None:
        x = self.some(least=1)
        if x is None or not x.shape[-1]:
            return None
        known = np.sort(self.known[x.id], axis=-1)
        if not (np.diff(known, axis=-1) > 1e-4).all():
            return None
        return self.choice((ops.argsort, ops.argmax, ops.argmin))(x, axis=len(x.shape) - 1)


def random_program(
    seed: int, size: int = 20, dtype: Any = F64, differentiable: bool = False
) -> Program:
    """A program of about ``size`` ops on inputs of this dtype (and, unless it is to be
    differentiable, some integers and booleans).

    A differentiable one has one output, a scalar that depends on whatever was computed.
    """
    generator = Generator(seed, dtype, differentiable)
    for _ in range(3):
        generator.input(TensorType(generator.dtype, generator.choice(SHAPES)))
    if not differentiable:
        generator.input(TensorType(I64, generator.choice(SHAPES)))
        generator.input(TensorType(BOOL, generator.choice(SHAPES)))
    for _ in range(size):
        generator.step()
    builder = generator.builder
    if not differentiable:
        picked = generator.values[-6:]
        return Program(builder.build(picked), tuple(generator.inputs))
    total = ops.const(builder, 0.0, generator.dtype)
    for value in generator.values[-4:]:
        tame = ops.tanh(value)
        total = total + ops.sum_(tame, axes=tuple(range(len(tame.shape))))
    return Program(builder.build([total]), tuple(generator.inputs))
