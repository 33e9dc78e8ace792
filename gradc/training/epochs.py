"""Training as one graph: a loop over steps, each of which takes a batch, its gradient, the update.

The graph runs any number of steps, from any place within an epoch on. What it carries from one step
to the next goes in and comes out (:class:`Carried`), so that a run can go on where another ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.ir import interp, ops
from gradc.ir.graph import Builder, Graph, Value
from gradc.ir.ops.random import KEY
from gradc.ir.types import F64, I64, TensorType
from gradc.training.keys import folded
from gradc.training.step import Names, Step, StepTypes

Array = np.ndarray[Any, Any]

_COUNT = TensorType(I64)
_REAL = TensorType(F64)
_U64 = np.dtype(np.uint64)

#: epochs at most that can end in one run
LOSSES = 1 << 14

#: nodes of an update from which on it is one for full batches and the last one, rather than one
#: for each, fused with its gradients
LONG = 1000

#: what is carried and can be made anew
LARGE = ("for.losses", "for.order")

#: what a run is told, after the data: the seed of the shuffling and of the keys of steps, the place
#: of its first step, and how many it may take
NUMBERS = {
    "for.seed": TensorType(_U64), "for.epoch": _COUNT, "for.batch": _COUNT, "for.steps": _COUNT,
}


#: blocks among whose samples those of a window are drawn
WINDOW = 64


def _sums(x: Value, y: Value) -> Value:
    """Every sum of an element of one vector and one of another, in a row."""
    shape = (x.type.size, y.type.size)
    rows = ops.broadcast(ops.reshape(x, shape=(shape[0], 1)), shape=shape)
    columns = ops.broadcast(ops.reshape(y, shape=(1, shape[1])), shape=shape)
    return ops.reshape(ops.add(rows, columns), shape=(shape[0] * shape[1],))


@dataclass(frozen=True)
class Plan:
    """How the samples of an epoch go into its steps.

    samples, batch: how many there are, and how many go into a step, the last one perhaps fewer.
    shuffled: whether each epoch takes them in another order, which depends on (seed, epoch) alone.
    block: samples that lie together in a block, where not all are shuffled as one; else 0. The
        blocks are taken in random order, and shuffled within every ``WINDOW`` of them.
    on_nonfinite: what becomes of a step whose loss or gradient is not finite. "raise" ends a run
        after a step whose loss is not; "skip" leaves out what the step would change.
    """

    samples: int
    batch: int
    shuffled: bool
    on_nonfinite: str
    block: int = 0

    @property
    def full(self) -> int:
        """Full batches in an epoch."""
        return self.samples // self.batch

    @property
    def left(self) -> int:
        """Samples in the last batch, if it is smaller; else 0."""
        return self.samples % self.batch

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.full + bool(self.left)

    def order(self, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The samples in the order in which an epoch takes them."""
        if not self.shuffled:
            return np.arange(self.samples)
        builder = Builder("order")
        key = builder.input("key", KEY)
        graph = builder.build([self.shuffle(key)])
        (order,) = interp.run(graph, [np.array([seed, epoch], np.uint64)])
        return order

    def shuffle(self, key: Value) -> Value:
        """The order of an epoch, i64[samples], from the words (seed, epoch).

        Of all samples as one it is that of ``np.random.Generator(np.random.Philox(key=key))
        .permutation``. Of blocks, an order of these is; then every window of samples in that order
        is permuted, all alike, and what is left at the end.
        """
        b, n, k = key.builder, self.samples, self.block
        window = WINDOW * k
        if not k or n <= window:
            return ops.random_permutation(key, n=n)
        blocks = ops.random_permutation(key, n=n // k) * k
        order = _sums(blocks, ops.const(b, np.arange(k)))
        if n % k:
            order = ops.concat(order, ops.const(b, np.arange(n - n % k, n)), axis=0)
        keys = ops.random_keys(key, ops.const(b, np.arange(2, dtype=_U64)), domain=1)
        within, last = (
            ops.reshape(ops.slice_(keys, starts=(j, 0), sizes=(1, 2), steps=(1, 1)), shape=(2,))
            for j in range(2)
        )
        count, left = divmod(n, window)
        starts = ops.const(b, np.arange(count) * window)
        places = _sums(starts, ops.random_permutation(within, n=window))
        if left:
            end = ops.random_permutation(last, n=left) + (n - left)
            places = ops.concat(places, end, axis=0)
        return ops.gather(order, places)

    def rows(self, seed: int, epoch: int, batch: int) -> Array:
        """The samples of a step."""
        return self.order(seed, epoch)[batch * self.batch : (batch + 1) * self.batch]

    @property
    def _apart(self) -> bool:
        """Whether a run is given batches, rather than arrays to gather them from."""
        return not self.shuffled and self.steps > 1

    def data_types(self, types: Sequence[TensorType]) -> list[TensorType]:
        """The types of the data as a run is given them: those of :meth:`parts`."""
        if not self._apart:
            return list(types)
        full = [t.with_shape((self.full, self.batch, *t.shape[1:])) for t in types]
        return full + [t.with_shape((self.left, *t.shape[1:])) for t in types if self.left]

    def parts(self, arrays: Sequence[Array]) -> list[Array]:
        """Views of the data arrays.

        Samples that are shuffled are gathered from whole arrays. Otherwise the full batches lie
        along an axis of their own, and what is left of all arrays follows.
        """
        if not self._apart:
            return list(arrays)
        end = self.full * self.batch
        full = [x[:end].reshape(self.full, self.batch, *x.shape[1:]) for x in arrays]
        return full + [x[end:] for x in arrays if self.left]


@dataclass(frozen=True)
class Carried:
    """What a run carries, by name: parameters and state first, then what the epochs need.

    ``for.total`` is the sum over the samples of this epoch of their losses so far, ``for.weight``
    how many samples that are, ``for.skipped`` how many steps were skipped, ``for.losses`` the mean
    losses of the epochs that ended in this run, ``for.order`` that of the samples in this epoch.
    No argument has such names: ``for`` is a word of Python's.
    """

    names: tuple[str, ...]
    types: tuple[TensorType, ...]
    params: int
    own: int


def carried(plan: Plan, types: StepTypes, names: Names) -> Carried:
    """What a run carries."""
    more = {"for.total": _REAL} if plan.steps > 1 else {}
    if plan.on_nonfinite == "skip":
        more |= {"for.weight": _REAL} if plan.steps > 1 else {}
        more |= {"for.skipped": _COUNT}
    more |= {"for.losses": TensorType(F64, (LOSSES,))}
    if plan.shuffled:
        more |= {"for.order": TensorType(I64, (plan.samples,))}
    own = (*names.params, *names.state)
    return Carried(
        (*own, *more),
        (*types.param_types, *types.state_types, *more.values()),
        len(names.params),
        len(own),
    )


def training(plan: Plan, types: StepTypes, names: Names, step: Step, rest: Step | None) -> Graph:
    """The graph of a run.

    Inputs: what is carried, the data (:meth:`Plan.data_types`), :data:`NUMBERS`. Outputs: what is
    carried, then the number of steps that were run and the loss of the last one.
    """
    builder = Builder(step.traced.name)
    what = carried(plan, types, names)
    own = [builder.input(n, t) for n, t in zip(what.names, what.types, strict=True)]
    labels = [*names.data, *(f"last {n}" for n in names.data)]
    kinds = zip(labels, plan.data_types(types.data), strict=False)
    data = {n: builder.input(n, t) for n, t in kinds}
    seed, epoch, batch, steps = (builder.input(n, t) for n, t in NUMBERS.items())
    guarded = plan.on_nonfinite == "raise"
    places = {"for.batch": batch, "for.ended": ops.const(builder, 0)}
    places = places if plan.steps > 1 else {}
    loss = ops.const(builder, 0.0)
    carries = {**dict(zip(what.names, own, strict=True)), **places, "for.loss": loss}
    captures = {**data, "for.seed": seed, "for.epoch": epoch}
    captures |= {"for.key": ops.random_key(seed)} if step.keyed else {}
    captures |= {"for.steps": steps} if guarded else {}
    body = _Body(plan, what, step, rest, carries, captures).graph()
    values, given = list(carries.values()), list(captures.values())
    if guarded:
        test = _test(carries, captures)
        out = ops.loop(builder, body, carries=values, captures=given, test=test)
        ran = out[len(values)]
    else:
        out = ops.loop(builder, body, carries=values, captures=given, trips=steps)
        ran = ops.copy(steps)
    return builder.build([*out[: len(own)], ran, out[len(values) - 1]])


def _inputs(builder: Builder, names: Sequence[str], like: Sequence[Value]) -> list[Value]:
    return [builder.input(n, v.type) for n, v in zip(names, like, strict=True)]


def _alike(builder: Builder, values: dict[str, Value]) -> dict[str, Value]:
    """Inputs of the names and types of values."""
    return {name: builder.input(name, value.type) for name, value in values.items()}


def _names(values: Sequence[Value]) -> list[str]:
    return [value.node.attrs["name"] for value in values]


def _test(carries: dict[str, Value], captures: dict[str, Value]) -> Graph:
    """Whether there are more steps, and the last loss was finite."""
    builder = Builder("unfinished")
    i = builder.input("i", _COUNT)
    loss = _alike(builder, carries)["for.loss"]
    steps = _alike(builder, captures)["for.steps"]
    return builder.build([ops.bit_and(ops.lt(i, steps), ops.abs_(loss) < np.inf)])


class _Body:
    """One step as a region."""

    def __init__(
        self,
        plan: Plan,
        what: Carried,
        step: Step,
        rest: Step | None,
        carries: dict[str, Value],
        captures: dict[str, Value],
    ) -> None:
        self.plan = plan
        self.step = step
        self.rest = rest
        self.builder = Builder("step")
        i = self.builder.input("i", _COUNT)
        given = _alike(self.builder, carries)
        self.own = [given.pop(name) for name in what.names[: what.own]]
        self.given = given
        # Where an epoch is a step, the step's number says it all.
        self.batch = self.given.get("for.batch", self._const(0))
        self.ended = self.given.get("for.ended", i)
        found = _alike(self.builder, captures)
        self.seed, self.epoch = found["for.seed"], found["for.epoch"]
        self.key = found.get("for.key")
        self.data = list(found.values())[: list(found).index("for.seed")]

    def _const(self, value: Any) -> Value:
        return ops.const(self.builder, value)

    def graph(self) -> Graph:
        """The region: from what is carried to what is carried."""
        plan, given = self.plan, self.given
        first = ops.eq(self.batch, self._const(0))
        after: dict[str, Value] = {}
        if plan.shuffled:
            after["for.order"] = self._order(first)
        own, loss, done = self._stepped(list(after.values()))
        loss = ops.convert(loss, dtype=F64)
        mean = self._mean(first, loss, done, after)
        if plan.on_nonfinite == "skip":
            assert done is not None
            missed = ops.convert(ops.logical_not(done), dtype=I64)
            after["for.skipped"] = ops.add(given["for.skipped"], missed)
        after["for.losses"] = ops.scatter_set(given["for.losses"], mean, self.ended)
        if plan.steps > 1:
            following = ops.add(self.batch, self._const(1))
            over = ops.eq(following, self._const(plan.steps))
            after["for.batch"] = ops.where(over, self._const(0), following)
            after["for.ended"] = ops.add(self.ended, ops.convert(over, dtype=I64))
        after["for.loss"] = loss
        return self.builder.build([*own, *(after[name] for name in given)])

    def _mean(
        self, first: Value, loss: Value, done: Value | None, after: dict[str, Value]
    ) -> Value:
        """The mean loss of this epoch's samples so far, of those that were not skipped."""
        plan, given = self.plan, self.given
        if plan.steps == 1 and done is None:
            return loss
        size = self._const(float(plan.batch))
        if plan.left:
            size = ops.where(self._is_last(), self._const(float(plan.left)), size)
        part, zero = ops.mul(size, loss), self._const(0.0)
        if done is not None:
            size, part = ops.where(done, size, zero), ops.where(done, part, zero)
        total, weight = part, size
        if plan.steps > 1:
            total = ops.add(ops.where(first, zero, given["for.total"]), part)
            after["for.total"] = total
        if done is None:
            return ops.div(total, self._const(float(plan.samples)))
        if plan.steps > 1:
            weight = ops.add(ops.where(first, zero, given["for.weight"]), size)
            after["for.weight"] = weight
        return ops.div(total, weight)

    @property
    def _now(self) -> Value:
        """The number of this epoch."""
        return ops.add(self.epoch, self.ended)

    def _is_last(self) -> Value:
        return ops.eq(self.batch, self._const(self.plan.full))

    def _order(self, first: Value) -> Value:
        """The order of the epoch, made anew at its first step."""
        order = self.given["for.order"]
        epoch = ops.convert(self._now, dtype=_U64)
        words = [ops.reshape(word, shape=(1,)) for word in (self.seed, epoch)]
        operands = [order, ops.concat(*words, axis=0)]
        branches = []
        for name in ("keep", "shuffle"):
            b = Builder(name)
            old, key = _inputs(b, ["for.order", "key"], operands)
            branches.append(b.build([self.plan.shuffle(key) if name == "shuffle" else old]))
        (out,) = ops.branch(ops.convert(first, dtype=I64), branches, operands)
        return out

    def _stepped(self, order: list[Value]) -> tuple[list[Value], Value, Value | None]:
        """Parameters and state after the step, its loss, and whether it was done."""
        plan, k, count = self.plan, self.batch, len(self.own)
        key = [] if self.key is None else [folded(self.key, self._now, k)]
        if self.rest is None:
            batch = self._batch(self.builder, k, order, self.data, plan.batch)
            out = self.builder.splice(self.step.adjoint, [*self.own, *batch, *key])
        else:
            # A long update is not compiled twice.
            apart = len(self.step.update) > LONG
            operands = [k, *order, *key, *self.own, *self.data]
            labels = _names([*self.own, *self.data])
            names = ["for.batch", *("for.order" for _ in order), *("for.key" for _ in key), *labels]
            branches = []
            for step, size in ((self.step, plan.batch), (self.rest, plan.left)):
                b = Builder("full" if size == plan.batch else "last")
                at, *given = _inputs(b, names, operands)
                end, begin = len(order), len(order) + len(key)
                own, data = given[begin : begin + count], given[begin + count :]
                batch = self._batch(b, at, given[:end], data, size)
                what = step.gradient if apart else step.adjoint
                branches.append(b.build(b.splice(what, [*own, *batch, *given[end:begin]])))
            out = ops.branch(ops.convert(self._is_last(), dtype=I64), branches, operands)
            if apart:
                out = self.step.updated(self.builder, self.own, out)
        return list(out[:count]), out[count], out[count + 1] if len(out) > count + 1 else None

    def _batch(
        self, b: Builder, k: Value, order: list[Value], data: list[Value], size: int
    ) -> list[Value]:
        """The samples of step ``k``."""
        plan = self.plan
        if order:
            start = ops.broadcast(ops.mul(k, ops.const(b, plan.batch)), shape=(size,))
            rows = ops.gather(order[0], ops.add(start, ops.const(b, np.arange(size))))
            return [ops.gather(x, rows) for x in data]
        if plan.steps == 1:
            return data
        arrays = len(data) // 2 if plan.left else len(data)
        return [ops.gather(x, k) for x in data[:arrays]] if size == plan.batch else data[arrays:]
