"""argsort: a bottom-up merge sort of integers that hold key and position.

An element becomes an unsigned integer, its key in the order of the dtype above and its position
below: all are distinct, so any sort of them is a stable sort of the elements, and no comparison
needs a case for NaN. Runs of a few are sorted by a network in registers (Batcher's odd-even
merge sort: Knuth, The Art of Computer Programming 3, 5.2.2 M); runs of equal length are merged
from both ends at once, without a branch on the data and without a test for the end of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradc.codegen.irregular.memory import counted, memory_type, split
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import vector
from gradc.ir.types import TensorType

#: The longest run sorted in registers.
RUN = 8


class Plan(NamedTuple):
    """How ``n`` elements are sorted: ``run << merges`` places (n and padding) of ``word`` bits."""

    n: int
    run: int
    merges: int
    word: int

    @property
    def places(self) -> int:
        """Words sorted: a whole number of runs."""
        return self.run << self.merges

    @property
    def nbytes(self) -> int:
        """Bytes of all words."""
        return self.places * self.word // 8


def plan(n: int, dtype: np.dtype[Any]) -> Plan:
    """The plan for ``n`` elements (n >= 1)."""
    merges = max(0, ((n - 1) // RUN).bit_length())
    half = 32 if dtype.itemsize <= 4 and n < 1 << 32 else 64
    return Plan(n, -(-n // (1 << merges)), merges, 2 * half)


def scratch_bytes(type_: TensorType, axis: int) -> int:
    """Room for the words of one row, twice when there are passes between two buffers."""
    if type_.size == 0:
        return 0
    p = plan(type_.shape[axis], type_.dtype)
    return min(p.merges, 2) * p.nbytes


def emit(b: Builder, type_: TensorType, axis: int, x: Val, out: Val, scratch: Val) -> None:
    """Emit a stable argsort; ``out`` holds i64."""
    if type_.size == 0:
        return
    outer, n, inner = split(type_.shape, axis)
    sorter = _Sorter(b, type_.dtype, plan(n, type_.dtype), inner)
    with counted(b, outer) as o, counted(b, inner) as i:
        first = b.add(b.mul(o, b.i64(n * inner)), i)
        sorter.sort(b.gep(x, sorter.elem, first), b.gep(out, "i64", first), scratch)


def network(n: int) -> list[tuple[int, int]]:
    """The comparators (low, high) that sort ``n`` places: Batcher's odd-even merge sort."""
    out = []
    p = 1
    while p < n:
        k = p
        while k >= 1:
            for j in range(k % p, n - k, 2 * k):
                for i in range(j, min(j + k, n - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        out.append((i, i + k))
            k //= 2
        p *= 2
    return out


@dataclass(frozen=True)
class _Sorter:
    """Emits the sort of one row whose elements, and results, stand ``stride`` apart."""

    b: Builder
    dtype: np.dtype[Any]
    plan: Plan
    stride: int

    @property
    def elem(self) -> str:
        return memory_type(self.dtype)

    @property
    def word(self) -> str:
        return f"i{self.plan.word}"

    def sort(self, x: Val, out: Val, scratch: Val) -> None:
        b, p = self.b, self.plan
        if p.merges == 0:
            for k, word in enumerate(self._sorted_run(x, b.i64(0))):
                self._store_position(word, out, b.i64(k))
            return
        carried = [b.const(0, self.word), b.const(True, "i1")]
        with b.loop(b.i64(0), b.i64(p.places), p.run, carried) as loop:
            words = self._sorted_run(x, loop.index)
            for k, word in enumerate(words):
                self._store_word(word, scratch, b.add(loop.index, b.i64(k)))
            greatest, ordered = loop.carried
            ordered = b.and_(ordered, b.icmp("ule", greatest, words[0]))
            loop.next = [words[-1], ordered]
        sorted_, unsorted, done = b.label("sorted"), b.label("unsorted"), b.label("argsorted")
        b.cond_br(loop.results[1], sorted_, unsorted)
        b.place(sorted_)
        with b.loop(b.i64(0), b.i64(p.n)) as loop:
            self._move_position(b.gep(scratch, self.word, loop.index), out, loop.index)
        b.br(done)
        b.place(unsorted)
        self._merge_all(scratch, out)
        b.br(done)
        b.place(done)

    def _merge_all(self, scratch: Val, out: Val) -> None:
        """Merge the sorted runs in scratch; the last merge writes positions."""
        b, p = self.b, self.plan
        source = scratch
        if p.merges > 1:
            other = b.gep(scratch, self.word, b.i64(p.places))
            carried = [scratch, other, b.i64(p.run)]
            with b.loop(b.i64(1), b.i64(p.merges), carried=carried) as passes:
                source, target, width = passes.carried
                twice = b.add(width, width)
                pairs = b.binary("udiv", b.i64(p.places), twice)
                with b.loop(b.i64(0), pairs, 2) as pair:
                    start = b.mul(pair.index, twice)
                    starts = [start, b.add(start, twice)]
                    self._merge(source, target, starts, width, last=False)
                passes.next = [target, source, twice]
            source = passes.results[0]
        self._merge(source, out, [b.i64(0)], b.i64(p.places // 2), last=True)

    def _sorted_run(self, x: Val, start: Val) -> list[Val]:
        """The words of the run at ``start``, in order; padding is greater than any word."""
        b, p = self.b, self.plan
        words = []
        for k in range(p.run):
            at = b.add(start, b.i64(k)) if k else start
            if p.places == p.n:
                words.append(self._word(x, at))
            else:
                inside = b.icmp("slt", at, b.i64(p.n))
                word = self._word(x, b.select(inside, at, b.i64(p.n - 1)))
                words.append(b.select(inside, word, b.const(-1, self.word)))
        for low, high in network(p.run):
            u, v = words[low], words[high]
            swap = b.icmp("ult", v, u)
            words[low], words[high] = b.select(swap, v, u), b.select(swap, u, v)
        return words

    def _word(self, x: Val, at: Val) -> Val:
        """Key and position of element ``at``."""
        b, half = self.b, self.plan.word // 2
        value = b.load(b.gep(x, self.elem, self._strided(at)), self.elem, self.dtype.itemsize)
        key = b.cast("zext", self._key(value), self.word)
        key = b.binary("shl", key, b.const(half, self.word))
        return b.or_(key, at if half == 32 else b.cast("zext", at, self.word))

    def _key(self, value: Val) -> Val:
        """An unsigned integer that orders as the dtype: -0 as 0, every NaN last and alike."""
        b, bits = self.b, 8 * self.dtype.itemsize
        if self.dtype.kind in "bu":
            return value
        ty = f"i{bits}"
        sign = b.const(-1 << (bits - 1), ty)
        if self.dtype.kind == "i":
            return b.xor(value, sign)
        positive_zero = b.fadd(value, b.const(0.0, value.ty))
        pattern = b.cast("bitcast", positive_zero, ty)
        flip = b.or_(b.binary("ashr", pattern, b.const(bits - 1, ty)), sign)
        nan = b.fcmp("uno", value, value)
        return b.select(nan, b.const(-1, ty), b.xor(pattern, flip))

    def _merge(
        self, source: Val, target: Val, starts: Sequence[Val], width: Val, *, last: bool
    ) -> None:
        """Merge the two runs of ``width`` words at each start, the lower half upwards and the
        upper half downwards.

        A step waits for the one before it, so all these ends go abreast. None takes more than
        ``width`` words, so none leaves its runs. Of t words taken so far, carried[k] came from the
        first run; the rest came from the second. All positions in the first run precede those in
        the second: among equal keys it goes first.
        """
        b, word = self.b, self.word
        move = self._move_position if last else self._move_word
        ends = []
        for start in starts:
            middle = b.add(start, width)
            end = b.sub(b.add(middle, width), b.i64(1))
            first, first_end = (b.gep(source, word, i) for i in (start, b.sub(middle, b.i64(1))))
            second, second_end = (b.gep(source, word, i) for i in (middle, end))
            ends += [(1, first, second, start), (-1, first_end, second_end, end)]
        with b.loop(b.i64(0), width, carried=[b.i64(0)] * len(ends)) as loop:
            t = loop.index
            for (way, first, second, begin), taken in zip(ends, loop.carried, strict=True):
                at = b.add(begin, t) if way > 0 else b.sub(begin, t)
                if last and way < 0 and self.plan.places > self.plan.n:
                    # padding comes first from above: what stands there is overwritten next
                    at = b.intrinsic("umin", "i64", [at, b.i64(self.plan.n - 1)])
                rest = b.sub(t, taken) if way > 0 else b.sub(taken, t)
                u = b.gep(first, word, taken if way > 0 else b.sub(b.i64(0), taken))
                v = b.gep(second, word, rest)
                order = "ule" if way > 0 else "ugt"
                chosen = b.icmp(order, self._key_of(u), self._key_of(v))
                move(self._either(chosen, u, v), target, at)
                loop.next.append(b.add(taken, b.cast("zext", chosen, "i64")))

    def _either(self, cond: Val, u: Val, v: Val) -> Val:
        """A select that stays one: as a branch it would be mispredicted every other time."""
        return self.b.op(u.ty, f"select {cond}, {u}, {v}, !unpredictable !{{}}")

    def _strided(self, at: Val) -> Val:
        return at if self.stride == 1 else self.b.mul(at, self.b.i64(self.stride))

    def _store_word(self, word: Val, words: Val, at: Val) -> None:
        self.b.store(word, self.b.gep(words, self.word, at), self.plan.word // 8)

    def _store_position(self, word: Val, out: Val, at: Val) -> None:
        b, half = self.b, f"i{self.plan.word // 2}"
        position = b.cast("trunc", word, half)
        position = position if half == "i64" else b.cast("zext", position, "i64")
        b.store(position, b.gep(out, "i64", self._strided(at)), 8)

    def _key_of(self, word: Val) -> Val:
        """The key of a word in memory (the upper half: little-endian, as all targets are)."""
        half = f"i{self.plan.word // 2}"
        return self.b.load(self.b.gep(word, half, self.b.i64(1)), half, self.plan.word // 16)

    def _position(self, word: Val) -> Val:
        """The position of a word in memory, the lower half."""
        b, half = self.b, f"i{self.plan.word // 2}"
        position = b.load(word, half, self.plan.word // 16)
        return position if half == "i64" else b.cast("zext", position, "i64")

    def _move_word(self, word: Val, words: Val, at: Val) -> None:
        """Copy a word: one register, of two i64 for 128 bits."""
        b, ty = self.b, vector("i64", self.plan.word // 64)
        align = self.plan.word // 8
        b.store(b.load(word, ty, align), b.gep(words, self.word, at), align)

    def _move_position(self, word: Val, out: Val, at: Val) -> None:
        self.b.store(self._position(word), self.b.gep(out, "i64", self._strided(at)), 8)
