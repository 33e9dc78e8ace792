"""The report on a program, as frozen data that prints itself.

Values are called as in the loop program: ``v7``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from gradc.codegen.arrange import Way
from gradc.codegen.schedule import Copied, Reason
from gradc.codegen.statements import MATH_COST
from gradc.ir.graph import Loc

#: lines, ops and values of a stage that are written out
SHOWN = 12


@dataclass(frozen=True)
class Loops:
    """The loops of a nest: ``rows`` outside, ``inner`` for each row, once a sweep.

    The last inner loop goes ``lanes`` elements at a time; 1 where there is none. ``way`` is what
    the lanes hold. If ``parallel``, threads share the first loop over rows out among them.
    """

    rows: tuple[int, ...]
    inner: tuple[int, ...]
    lanes: int
    sweeps: int
    way: Way = Way.SWEEP
    parallel: bool = False

    def __str__(self) -> str:
        return self._extents() + self.parallel * ", the first loop shared out among threads"

    def _extents(self) -> str:
        rows = " × ".join(f"{d:,}" for d in self.rows)
        if not self.inner:
            if self.way is Way.ACROSS:
                return f"{rows}, in vectors"
            return f"{rows}, one element at a time" if rows else "none: single numbers"
        inner = " × ".join(f"{d:,}" for d in self.inner)
        sweeps = f", in {self.sweeps} sweeps" if self.sweeps > 1 else ""
        what = "" if self.way is Way.SWEEP else f" of {self.way.value}"
        return f"{rows + ' rows of ' if rows else ''}{inner}, in vectors{what}{sweeps}"


@dataclass(frozen=True)
class Product:
    """A matrix product of ``[m, k]`` and ``[k, n]``, and what runs it."""

    m: int
    k: int
    n: int
    batch: int
    runs_as: str  # "kernel" or "blas"
    form: str
    reason: str

    def __str__(self) -> str:
        batch = f", a batch of {self.batch:,}" if self.batch != 1 else ""
        return f"m={self.m:,} k={self.k:,} n={self.n:,}{batch}, {self.form}, for {self.reason}"


@dataclass(frozen=True)
class Traffic:
    """Bytes of one buffer that a stage reads and writes, each counted once.

    level: "input", "output", "constant", "arena" (between stages) or "scratch" (within one).
    argument: what an input is called by the user.
    """

    buffer: str
    level: str
    read: int
    written: int
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.buffer} ({self.level}{self.argument and ' '}{self.argument})"


@dataclass(frozen=True)
class Apart:
    """Why a stage is not part of an earlier one: ``node``, its first value, could not join that.

    stage: the earlier stage; None if all in it came to be computed where it is read.
    value: the value of the earlier stage that the reason is about.
    """

    stage: int | None
    reason: Reason
    node: str
    value: str | None = None

    def __str__(self) -> str:
        where = "a stage now gone" if self.stage is None else f"stage {self.stage}"
        about = f" ({self.value})" if self.value else ""
        return f"from {where}, for {self.node}: {self.reason.value}{about}"


@dataclass(frozen=True)
class StageReport:
    """One stage. ``ops`` has an op for each value computed; ``calls`` are those of vector math.

    blocks: how rows are cut, where several steps run block by block, or how often a loop runs what.
    """

    number: int
    kind: str
    roles: tuple[str, ...]
    lines: tuple[Loc, ...]
    ops: tuple[str, ...]
    loops: Loops | None
    product: Product | None
    arithmetic: int
    calls: int
    memory: tuple[Traffic, ...]
    apart: tuple[Apart, ...]
    kept: tuple[str, ...]
    recomputed: tuple[str, ...]
    in_place: tuple[str, ...]
    blocks: str = ""

    @property
    def flops(self) -> int:
        """Arithmetic, and for each call of vector math what the scheduler takes it to cost."""
        return self.arithmetic + MATH_COST * self.calls

    @property
    def read(self) -> int:
        """Bytes read, of each buffer once."""
        return sum(t.read for t in self.memory)

    @property
    def written(self) -> int:
        """Bytes written, of each buffer once."""
        return sum(t.written for t in self.memory)

    @property
    def intensity(self) -> float:
        """Flops for each byte read or written."""
        return self.flops / max(1, self.read + self.written)

    def __str__(self) -> str:
        return "\n".join(self._text())

    def _text(self) -> Iterator[str]:
        where = dict.fromkeys(f"{PurePath(loc.file).name}:{loc.line}" for loc in self.lines)
        what = [self.kind, "+".join(self.roles), _listed(where)]
        yield f"stage {self.number}: {', '.join(filter(None, what))}"
        if self.blocks:
            yield f"  {'runs' if self.kind in ('loop', 'branch') else 'blocks':<9}  {self.blocks}"
        if self.loops:
            yield f"  loops      {self.loops}"
        if self.product:
            yield f"  product    {self.product}"
        if self.ops:
            counted = Counter(self.ops).items()
            yield f"  fused      {_listed(op if n == 1 else f'{op} ×{n}' for op, n in counted)}"
        yield f"  work       {self.arithmetic:,} arithmetic, {self.calls:,} calls of vector math"
        for verb, sizes in (
            ("reads", [(t.read, t) for t in self.memory]),
            ("writes", [(t.written, t) for t in self.memory]),
        ):
            named = [f"{t} {n:,}" for n, t in sizes if n]
            if named:
                yield f"  {verb:<9}  {_listed(named)} bytes"
        if self.memory:  # which is not counted inside loops
            yield f"  intensity  {self.intensity:.2g} flops a byte"
        for title, values in (
            ("in place", self.in_place), ("kept", self.kept), ("again", self.recomputed)
        ):
            if values:
                yield f"  {title:<9}  {_listed(values)}"
        for apart in self.apart:
            yield f"  apart      {apart}"


@dataclass(frozen=True)
class Report:
    """What a program does and why, stage by stage; ``arena`` bytes of memory between stages.

    ``seconds`` is what it takes, where that was measured.
    """

    title: str
    stages: tuple[StageReport, ...]
    arena: int
    seconds: float | None = None

    @property
    def arithmetic(self) -> int:
        """Additions, products, quotients, roots, comparisons and so on of all stages."""
        return sum(s.arithmetic for s in self.stages)

    @property
    def calls(self) -> int:
        """Calls of vector math of all stages, counted by elements."""
        return sum(s.calls for s in self.stages)

    @property
    def flops(self) -> int:
        """The flops of all stages."""
        return sum(s.flops for s in self.stages)

    @property
    def read(self) -> int:
        """Bytes that the stages read."""
        return sum(s.read for s in self.stages)

    @property
    def written(self) -> int:
        """Bytes that the stages write."""
        return sum(s.written for s in self.stages)

    def __str__(self) -> str:
        count = len(self.stages)
        head = (
            f"{self.title}: {count} stage{'s' * (count != 1)}, arena {self.arena:,} bytes\n"
            f"{self.flops:,} flops: {self.arithmetic:,} arithmetic, and {self.calls:,} calls of "
            f"vector math at {MATH_COST}\n"
            f"{self.read:,} bytes read, {self.written:,} written"
        )
        if self.seconds is not None:
            rate = self.flops / self.seconds / 1e9
            head += f"\n{self.seconds * 1e6:,.4g} us, measured: {rate:,.3g} Gflop/s"
        return "\n\n".join([head, *map(str, self.stages)])


def rather(names: Sequence[str], why: Copied | None) -> str:
    """Values that are computed rather than loaded, with the price of both."""
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    text = f"{' and '.join([*names[:SHOWN], *more])}, rather than loaded"
    return f"{text}: {why}" if why else text


def _listed(names: Iterable[str]) -> str:
    """Names in one line, the first of very many."""
    all_ = list(names)
    more = [f"and {len(all_) - SHOWN} more"] if len(all_) > SHOWN else []
    return ", ".join([*all_[:SHOWN], *more])
