"""Random programs with nested loops, branches and updates in place, smooth in their inputs.

Values stay bounded and away from kinks, indices in range, so that finite differences hold.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from gradc.ir import ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.types import F64, I64, TensorType

N, M = 4, 3
SCALAR, INDEX = TensorType(F64), TensorType(I64)
VECTOR, MATRIX = TensorType(F64, (N,)), TensorType(F64, (N, M))
FLOATS = (SCALAR, VECTOR, MATRIX)


class Program:
    """A graph and inputs for it."""

    def __init__(self, graph: Graph, inputs: list[np.ndarray]) -> None:  # type: ignore[type-arg]
        self.graph = graph
        self.inputs = inputs


def region_program(seed: int, depth: int = 3) -> Program:
    """A program of a seed: inputs are a scalar, a vector, a matrix and a small integer."""
    rng = random.Random(seed)
    builder = Builder(f"program{seed}")
    given = [builder.input(f"x{k}", t) for k, t in enumerate((*FLOATS, INDEX))]
    out = _Grower(rng, builder, given).outputs(depth, FLOATS)
    numbers = np.random.default_rng(seed)
    inputs = [numbers.uniform(0.2, 1.2, t.shape) for t in FLOATS]
    return Program(builder.build(out), [*inputs, np.int64(rng.randrange(4))])


class _Grower:
    """Grows the values of one region."""

    def __init__(self, rng: random.Random, builder: Builder, given: Sequence[Value]) -> None:
        self.rng = rng
        self.builder = builder
        self.values: dict[TensorType, list[Value]] = {t: [] for t in (*FLOATS, INDEX)}
        for value in given:
            self.add(value)
        if not self.values[INDEX]:
            self.add(ops.const(builder, rng.randrange(N), I64))
        for type_ in FLOATS:
            if not self.values[type_]:
                self.add(_filled(builder, type_))

    def add(self, value: Value) -> Value:
        """Remember a value."""
        type_ = value.type._replace(weak=False)
        if type_ in self.values:
            self.values[type_].append(value)
        return value

    def pick(self, type_: TensorType) -> Value:
        """A value of a type, rather a late one."""
        have = self.values[type_]
        return self.rng.choice(have[-3:] if self.rng.random() < 0.7 else have)

    def index(self, extent: int) -> Value:
        """An index in range."""
        return ops.mod(self.pick(INDEX), ops.const(self.builder, extent, I64))

    def outputs(self, depth: int, types: Sequence[TensorType]) -> list[Value]:
        """Grow, and take one value of each type, the newest."""
        for _ in range(self.rng.randrange(2, 6)):
            self.step(depth)
        return [self.values[t][-1] for t in types]

    def step(self, depth: int) -> None:
        """One more value."""
        choices = [self.arithmetic, self.arithmetic, self.read, self.write, self.reduce]
        if depth:
            choices += [lambda: self.loop(depth), lambda: self.loop(depth),
                        lambda: self.branch(depth), lambda: self.repeat(depth)]
        self.rng.choice(choices)()

    def arithmetic(self) -> None:
        """An elementwise value, bounded."""
        type_ = self.rng.choice(FLOATS)
        a, b = self.pick(type_), self.pick(type_)
        made = self.rng.choice((
            lambda: ops.tanh(a * b), lambda: ops.sin(a + b), lambda: 0.5 * a + 0.3 * b,
            lambda: a / (b * b + 1.5), lambda: ops.tanh(a) - 0.2 * b,
        ))
        self.add(made())

    def read(self) -> None:
        """An element of a vector or a matrix."""
        if self.rng.random() < 0.5:
            self.add(ops.gather(self.pick(VECTOR), self.index(N)))
        else:
            self.add(ops.gather(self.pick(MATRIX), self.index(N), self.index(M)))

    def write(self) -> None:
        """A vector or matrix with an element or a row set or added to."""
        op = self.rng.choice((ops.scatter_set, ops.scatter_add))
        kind = self.rng.randrange(3)
        if kind == 0:
            self.add(op(self.pick(VECTOR), ops.tanh(self.pick(SCALAR)), self.index(N)))
        elif kind == 1:
            at = self.index(N), self.index(M)
            self.add(op(self.pick(MATRIX), ops.tanh(self.pick(SCALAR)), *at))
        else:
            row = ops.gather(self.pick(MATRIX), self.index(N))
            self.add(op(self.pick(MATRIX), ops.sin(row), self.index(N)))

    def reduce(self) -> None:
        """A sum, or a product with a matrix."""
        if self.rng.random() < 0.5:
            self.add(ops.sum_(self.pick(VECTOR), axes=(0,)) * 0.2)
        else:
            wide = ops.broadcast(ops.reshape(self.pick(VECTOR), shape=(N, 1)), shape=(N, M))
            self.add(ops.tanh(ops.sum_(self.pick(MATRIX) * wide, axes=(1,))))

    def inside(
        self, name: str, inputs: Sequence[TensorType], outputs: Sequence[TensorType], depth: int
    ) -> Graph:
        """A region that grows from inputs to outputs."""
        builder = Builder(name)
        given = [builder.input(f"{name}{k}", t) for k, t in enumerate(inputs)]
        return builder.build(_Grower(self.rng, builder, given).outputs(depth - 1, outputs))

    def some(self) -> list[Value]:
        """Values to carry or capture."""
        return [self.pick(self.rng.choice((*FLOATS, INDEX))) for _ in range(self.rng.randrange(3))]

    def loop(self, depth: int) -> None:
        """A counted loop with carries, xs, ys and captures."""
        carries = [self.pick(t) for t in self.rng.sample(FLOATS, self.rng.randrange(1, 4))]
        captures = self.some()
        dynamic = self.rng.random() < 0.4
        xs = [] if dynamic else [self.pick(self.rng.choice((VECTOR, MATRIX)))
                                 for _ in range(self.rng.randrange(2))]
        slices = [TensorType(F64, x.shape[1:]) for x in xs]
        kept = [] if dynamic else [SCALAR] * self.rng.randrange(2)
        carried = [v.type._replace(weak=False) for v in carries]
        body = self.inside(
            "loop", [INDEX, *carried, *slices, *(v.type for v in captures)], [*carried, *kept],
            depth)
        trips = ops.mod(self.pick(INDEX), ops.const(self.builder, 3, I64)) if dynamic else None
        length = -1 if dynamic else N
        for value in ops.loop(
            self.builder, body, carries=carries, xs=xs, captures=captures, length=length,
            trips=trips, reverse=self.rng.random() < 0.3,
        ):
            self.add(value)

    def branch(self, depth: int) -> None:
        """A branch on an index."""
        operands = [self.pick(t) for t in FLOATS] + self.some()
        results = self.rng.sample(FLOATS, self.rng.randrange(1, 4))
        types = [v.type._replace(weak=False) for v in operands]
        parts = [self.inside("branch", types, results, depth) for _ in range(2)]
        for value in ops.branch(self.index(2), parts, operands):
            self.add(value)

    def repeat(self, depth: int) -> None:
        """A while loop that its own counter ends."""
        carries = [self.pick(t) for t in self.rng.sample(FLOATS, self.rng.randrange(1, 3))]
        captures = [self.pick(INDEX), *self.some()]
        carried = [v.type._replace(weak=False) for v in carries]
        inputs = [INDEX, *carried, *(v.type._replace(weak=False) for v in captures)]
        body = self.inside("while", inputs, carried, depth)
        test = Builder("test")
        given = [test.input(f"t{k}", t) for k, t in enumerate(inputs)]
        limit = ops.mod(given[1 + len(carries)], ops.const(test, 4, I64))
        for value in ops.loop(
            self.builder, body, carries=carries, captures=captures,
            test=test.build([given[0] < limit]),
        ):
            self.add(value)


def _filled(builder: Builder, type_: TensorType) -> Value:
    number = ops.const(builder, 0.4, F64)
    return ops.broadcast(number, shape=type_.shape) if type_.shape else number
