"""argmax and argmin: the first of the extreme elements along an axis, or the first NaN."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradc.codegen.irregular.memory import counted, lanes_of_type, split, sweep
from gradc.codegen.lanes import Lanes, Part
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of, vector
from gradc.ir.types import TensorType

#: Elements whose comparisons with the extremum fill one word of bits.
WORD = 64


def emit(b: Builder, largest: bool, type_: TensorType, axis: int, x: Val, out: Val) -> None:
    """Emit argmax (``largest``) or argmin; ``out`` holds i64. The axis is not empty."""
    if type_.size == 0:
        return
    outer, n, inner = split(type_.shape, axis)
    lanes = lanes_of_type(b, type_)
    indices = Lanes(b, "i64", 8, lanes.target)
    order = Order(b, largest, type_.dtype.kind)
    with counted(b, outer) as o:
        row = lanes.step(x, o, n * inner)
        target = indices.step(out, o, inner)
        if inner == 1:
            found = b.i64(0) if n == 1 else _search(lanes, order, n, row)
            b.store(found, target, 8)
        else:
            _columns(lanes, indices, order, n, inner, row, target)


@dataclass(frozen=True)
class Order:
    """Which of two elements goes first: the larger or smaller, before both the first NaN."""

    b: Builder
    largest: bool
    kind: str

    def beats(self, x: Val, best: Val) -> Val:
        """Whether ``x``, met later, takes the place of ``best``: neither ties nor NaN yield."""
        b = self.b
        if self.kind == "f":
            unordered_or = "ugt" if self.largest else "ult"
            return b.and_(b.fcmp(unordered_or, x, best), b.fcmp("ord", best, best))
        sign = "s" if self.kind == "i" else "u"
        return b.icmp(sign + ("gt" if self.largest else "lt"), x, best)

    def extreme(self, best: Val, x: Val) -> Val:
        """The maximum or minimum; NaN if either is."""
        return self.b.select(self.beats(x, best), x, best)

    def attains(self, x: Val, best: Val) -> Val:
        """Whether ``x`` is what was searched for, ``best`` being the extremum of all."""
        b = self.b
        if self.kind == "f":
            return b.or_(b.fcmp("oeq", x, best), b.fcmp("uno", x, x))
        return b.icmp("eq", x, best)


def _starts(n: int, width: int) -> list[int]:
    """Where vectors start that cover ``n`` elements (n >= width); the last two may overlap."""
    return [*range(0, n - width, width), n - width]


def _search(lanes: Lanes, order: Order, n: int, row: Val) -> Val:
    """The position in a contiguous row (n > 1): its extremum first, then where that stands.

    No tails: what is read twice neither changes an extremum nor is found where it was not before.
    """
    b = lanes.b
    width = min(lanes.full, 1 << (n.bit_length() - 1))
    best = b.splat(_extremum(lanes, order, n, width, row), width)
    word = min(n, WORD)

    def bits(base: Val) -> Val:
        out = b.i64(0)
        for start in _starts(word, width):
            x = lanes.load(lanes.at(base, start), width, width)
            hit = b.cast("bitcast", order.attains(x, best), f"i{width}")
            hit = hit if width == WORD else b.cast("zext", hit, "i64")
            out = b.or_(out, b.binary("shl", hit, b.i64(start)))
        return out

    def first(base: Val, found: Val) -> Val:
        zeros = b.intrinsic("cttz", "i64", [found, Val("true", "i1")])
        return b.add(base, zeros)

    last = b.i64(n - word)
    if n == word:
        return first(last, bits(row))
    return _until(b, n - word, bits, first, last, lambda at: lanes.step(row, at, 1))


def _until(
    b: Builder,
    stop: int,
    bits: Callable[[Val], Val],
    first: Callable[[Val, Val], Val],
    last: Val,
    address: Callable[[Val], Val],
) -> Val:
    """Test a word of elements at a time up to ``stop``, leave at the first hit; else the last."""
    head, body, hit, again, rest, done = (
        b.label(x) for x in ("seek", "word", "hit", "again", "rest", "found")
    )
    before, after = b.block, f"%{again}.next"
    b.br(head)
    b.place(head)
    index = b.op("i64", f"phi i64 [ 0, %{before} ], [ {after}, %{again} ]")
    b.cond_br(b.icmp("slt", index, b.i64(stop)), body, rest)
    b.place(body)
    found = bits(address(index))
    b.cond_br(b.icmp("ne", found, b.i64(0)), hit, again)
    b.place(hit)
    early = first(index, found)
    b.br(done)
    b.place(again)
    b.line(f"{after} = add i64 {index.ref}, {WORD}")
    b.br(head)
    b.place(rest)
    late = first(last, bits(address(last)))
    b.br(done)
    b.place(done)
    return b.op("i64", f"phi i64 [ {early.ref}, %{hit} ], [ {late.ref}, %{rest} ]")


def _extremum(lanes: Lanes, order: Order, n: int, width: int, row: Val) -> Val:
    """The extremum of a row, NaN if there is one: four vectors abreast, then across lanes."""
    b = lanes.b
    block = width * min(4, n // width)
    whole = n - n % block

    def load(base: Val, offset: int) -> Val:
        return lanes.load(lanes.at(base, offset), width, width)

    best = [load(row, k) for k in range(0, block, width)]
    if whole > block:
        with b.loop(b.i64(block), b.i64(whole), block, best) as loop:
            base = lanes.step(row, loop.index, 1)
            loop.next = [
                order.extreme(m, load(base, k * width)) for k, m in enumerate(loop.carried)
            ]
        best = loop.results
    if n > whole:
        starts = [s for s in _starts(n, width) if s + width > whole]
        for k, start in zip(itertools.cycle(range(len(best))), starts, strict=False):
            best[k] = order.extreme(best[k], load(row, start))
    while len(best) > 1:
        best = [
            order.extreme(*best[k : k + 2]) if k + 1 < len(best) else best[k]
            for k in range(0, len(best), 2)
        ]
    (total,) = best
    while lanes_of(total.ty) > 2:
        half = lanes_of(total.ty) // 2
        total = order.extreme(
            b.shuffle(total, total, range(half)), b.shuffle(total, total, range(half, 2 * half))
        )
    return order.extreme(b.extract(total, 0), b.extract(total, 1))


def _columns(
    lanes: Lanes, indices: Lanes, order: Order, n: int, inner: int, x: Val, out: Val
) -> None:
    """Every column of (n, inner) at once: an extremum and its position in each lane."""
    b = lanes.b

    def body(offset: Val, pieces: list[Part], _: Sequence[Val]) -> Sequence[Val]:
        def load(ptr: Val) -> list[Val]:
            return [lanes.load(lanes.at(ptr, p.offset), p.lanes, p.used) for p in pieces]

        top = lanes.step(x, offset, 1)
        best = load(top)
        count = len(best)
        zeros = [b.const(0, vector("i64", p.lanes)) for p in pieces]
        with b.loop(b.i64(1), b.i64(n), carried=[*best, *zeros]) as loop:
            values = load(lanes.step(top, loop.index, inner))
            old, at = loop.carried[:count], loop.carried[count:]
            takes = [order.beats(v, m) for v, m in zip(values, old, strict=True)]
            loop.next = [
                *(b.select(t, v, m) for t, v, m in zip(takes, values, old, strict=True)),
                *(
                    b.select(t, b.splat(loop.index, p.lanes), i)
                    for t, i, p in zip(takes, at, pieces, strict=True)
                ),
            ]
        bottom = indices.step(out, offset, 1)
        for found, p in zip(loop.results[count:], pieces, strict=True):
            indices.store(found, indices.at(bottom, p.offset), p.used)
        return ()

    # as many lanes as the positions have: a compare's mask then fits both
    sweep(b, inner, indices.full, 4, body)
