"""In place on last use: what a nest computes takes the memory of an operand that dies there.

That is right where all of the operand is read before it is overwritten: in an earlier stage, at
other places, or, in the nest that stores the result, at the very point that is then stored. Points
of a nest may run in any order, in vectors and by several threads, as none reads another's.

It spares memory and the time to fetch what is overwritten, but not in short rows that end within a
vector: a masked store holds up the next load that touches any of its lanes, which there would be
that of the row after it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gradc.codegen import matmul
from gradc.codegen.arrange import lanes_at_a_time
from gradc.codegen.buffers import Request, plan
from gradc.codegen.loops import Contract, Nest, Stage
from gradc.codegen.statements import Accumulate, Affine, Buffer, Gather, Load, Statement, Store
from gradc.codegen.targets import Target

#: vectors of a row at least where its last one is masked (measured: with 12, a loss of 4 %)
ROW = 32


class Place(NamedTuple):
    """Where the arena has its buffers, its size, and which buffer overwrites which, by name."""

    offsets: dict[str, int]
    nbytes: int
    over: dict[str, str]


def place(
    wanted: Sequence[tuple[Buffer, Request]], stages: Mapping[int, Sequence[Stage]], target: Target
) -> Place:
    """Plan an arena for buffers and their lives, given the stages of each step.

    Nothing is overwritten where, for once, gaps too small for what comes make that the larger one.
    """
    over = _chosen(wanted, stages, target)
    plans = [_joined(wanted, some) for some in ([over, {}] if over else [over])]
    return min(plans, key=lambda plan: plan.nbytes)


def _joined(wanted: Sequence[tuple[Buffer, Request]], over: dict[str, str]) -> Place:
    """A plan in which a result and what it overwrites are one request, from first to last."""
    requests: list[Request] = []
    part_of: dict[str, int] = {}
    for buffer, request in sorted(wanted, key=lambda pair: pair[1].first):
        if buffer.name in over:
            k = part_of[buffer.name] = part_of[over[buffer.name]]
            requests[k] = requests[k]._replace(last=request.last)
        else:
            part_of[buffer.name] = len(requests)
            requests.append(request)
    offsets, nbytes = plan(requests)
    return Place({name: offsets[k] for name, k in part_of.items()}, nbytes, over)


def _chosen(
    wanted: Sequence[tuple[Buffer, Request]], stages: Mapping[int, Sequence[Stage]], target: Target
) -> dict[str, str]:
    """Results, and the operand that each is to overwrite; single numbers gain nothing by it."""
    born: dict[int, list[Buffer]] = {}
    dying: dict[int, list[Buffer]] = {}
    for buffer, (_, first, last) in wanted:
        if buffer.size > 1 and first < last:
            born.setdefault(first, []).append(buffer)
            dying.setdefault(last, []).append(buffer)
    out: dict[str, str] = {}
    for step in sorted(born.keys() & dying.keys()):
        if not all(isinstance(stage, (Nest, Contract)) for stage in stages.get(step, ())):
            continue
        seen = _Step(target)
        for k, stage in enumerate(stages.get(step, ())):
            seen.see(k, stage)
        left = [x for x in dying[step] if x.name not in seen.others | seen.stores.keys()]
        for result in filter(seen.is_stored, born[step]):
            operand = next((x for x in left if seen.may_overwrite(result, x)), None)
            if operand is not None:
                left.remove(operand)
                out[result.name] = operand.name
    return out


class Overwriting:
    """The stages of a step, which may store results where operands are that end with them.

    They may in short rows too: this is for what loops carry, which else lies in two places.
    """

    def __init__(self, stages: Sequence[Stage], target: Target) -> None:
        self._seen = _Step(target, torn_too=True)
        self._plain = all(isinstance(stage, (Nest, Contract)) for stage in stages)
        if self._plain:
            for k, stage in enumerate(stages):
                self._seen.see(k, stage)

    def may(self, result: Buffer, operand: Buffer) -> bool:
        """Whether a result may be stored where an operand is."""
        seen = self._seen
        free = operand.name not in seen.others and operand.name not in seen.stores
        return (
            self._plain
            and free
            and seen.is_stored(result)
            and seen.may_overwrite(result, operand)
        )


class _Access(NamedTuple):
    """An access of a stage, in its loops' ``extents``.

    ``at`` are the phase and the place in its body, None outside of bodies; ``point`` is the index,
    None of an access that may be anywhere. ``torn`` rows are short and end within a vector.
    """

    stage: int
    extents: tuple[int, ...]
    point: Affine | None = None
    at: tuple[int, int] | None = None
    torn: bool = False


@dataclass
class _Step:
    """What the stages of a step read and write; to ``others`` they write, but do not store."""

    target: Target
    #: whether short rows that end within a vector are as good as others
    torn_too: bool = False
    loads: dict[str, list[_Access]] = field(default_factory=dict)
    stores: dict[str, list[_Access]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def see(self, number: int, stage: Stage) -> None:
        """Note the accesses of a stage."""
        nest: Stage | None = stage
        if isinstance(stage, Contract):
            for operand in (stage.a, stage.b):
                self.loads.setdefault(operand.name, []).append(_Access(number, ()))
            if stage.out is not None and (stage.epilogue is None or self._sliced(stage)):
                self.others.add(stage.out.name)
            nest = stage.epilogue
        if not isinstance(nest, Nest):
            return
        self.others |= {fill.buffer.name for fill in nest.fills}
        extents = nest.outer + nest.inner
        torn = not self.torn_too and _torn(nest, self.target)
        for statement, at in _statements(nest):
            match statement:
                case Load(buffer=buffer, index=index, guards=guards):
                    own = None if guards else index
                    self.loads.setdefault(buffer.name, []).append(
                        _Access(number, extents, own, at, torn)
                    )
                case Gather(buffer=buffer):
                    self.loads.setdefault(buffer.name, []).append(_Access(number, extents))
                case Store(buffer, index):
                    self.stores.setdefault(buffer.name, []).append(
                        _Access(number, extents, index, at)
                    )
                case Accumulate(buffer):
                    self.others.add(buffer.name)

    def _sliced(self, stage: Contract) -> bool:
        """Whether sums wait in a product's result until the epilogue."""
        spec: matmul.Gemm = stage.spec
        return matmul.form(spec, self.target).depth < spec.k

    def is_stored(self, result: Buffer) -> bool:
        """Whether all that is written to a buffer is stored, each element once in a stage."""
        stores = self.stores.get(result.name, ())
        return bool(stores) and result.name not in self.others and all(map(_once, stores))

    def may_overwrite(self, result: Buffer, operand: Buffer) -> bool:
        """Whether nothing of an operand is read once a result is stored in its place."""
        if (result.size, result.dtype.itemsize) != (operand.size, operand.dtype.itemsize):
            return False
        stores = self.stores[result.name]
        return all(
            _before(load, store)
            for load in self.loads.get(operand.name, ())
            for store in stores
        )


def _statements(nest: Nest) -> Iterator[tuple[Statement, tuple[int, int] | None]]:
    for k, phase in enumerate(nest.phases):
        yield from ((s, None) for s in phase.row)
        yield from ((s, (k, place)) for place, s in enumerate(phase.body))


def _torn(nest: Nest, target: Target) -> bool:
    """Whether vectors go along rows that are short and end within one, one row after the other."""
    if nest.across or not nest.inner or math.prod(nest.outer + nest.inner[:-1]) == 1:
        return False
    whole, rest = divmod(nest.inner[-1], lanes_at_a_time(nest, target))
    return rest != 0 and whole < ROW


def _before(load: _Access, store: _Access) -> bool:
    """Whether a load reads what was there before a store, at every point of the loops."""
    if load.stage < store.stage:
        return True
    together = load.stage == store.stage and load.point == store.point and not load.torn
    if together and load.at is not None and store.at is not None and load.at < store.at:
        return True
    return _apart(load, store)


def _apart(a: _Access, b: _Access) -> bool:
    """Whether two accesses lie in different parts of memory."""
    if a.point is None or b.point is None:
        return False
    (low, high), (first, last) = a.point.span(a.extents), b.point.span(b.extents)
    return high < first or last < low


def _once(store: _Access) -> bool:
    """Whether every point of the loops stores to a place of its own."""
    assert store.point is not None
    reach = 0
    for c, n in sorted(zip(map(abs, store.point.coefficients), store.extents, strict=True)):
        if n > 1:
            if c <= reach:
                return False
            reach += c * (n - 1)
    return store.at is not None
