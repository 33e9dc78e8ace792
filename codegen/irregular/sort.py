"""argsort: a bottom-up merge sort of integers that hold key and position.

An element becomes an unsigned integer, its key in the order of the dtype above and its position
below: all are distinct, so any sort of them is a stable sort of the elements, and no comparison
needs a case for NaN. Runs of a few are sorted by a network in registers (Batcher's odd-even
merge sort: Knuth, The Art of Computer Programming 3, 5.2.2 M); runs of equal length are merged
from both ends at once, without a branch on the data and without a test for the end of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.codegen.irregular.memory import counted, memory_type, split
from gradc.codegen.llvm import Builder, Val
from gradc.ir.types import TensorType

#: The longest run sorted in registers.
RUN = 8


@dataclass(frozen=True)
class Plan:
    """How ``n`` elements are sorted: ``run << merges`` places (n and padding) of ``word`` bits."""

    n: int
    run: int
    merges: int
    word: int

    @property
    def places(self) -> int:
        return self.run << self.merges

    @property
    def nbytes(self) -> int:
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
        with b.loop(b.i64(0), b.i64(p.places), p.run) as loop:
            for k, word in enumerate(self._sorted_run(x, loop.index)):
                self._store_word(word, scratch, b.add(loop.index, b.i64(k)))
        source = scratch
        if p.merges > 1:
            other = b.gep(scratch, self.word, b.i64(p.places))
            carried = [scratch, other, b.i64(p.run)]
            with b.loop(b.i64(1), b.i64(p.merges), carried=carried) as passes:
                source, target, width = passes.carried
                twice = b.add(width, width)
                pairs = b.binary("udiv", b.i64(p.places), twice)
                with b.loop(b.i64(0), pairs) as pair:
                    start = b.mul(pair.index, twice)
                    self._merge(source, target, start, width, last=False)
                passes.next = [target, source, twice]
            source = passes.results[0]
        self._merge(source, out, b.i64(0), b.i64(p.places // 2), last=True)

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

    def _merge(self, source: Val, target: Val, start: Val, width: Val, *, last: bool) -> None:
        """Merge two runs of ``width`` words at ``start``, the lower half upwards and the upper
        half downwards.

        Neither end takes more than ``width`` words, so neither leaves its runs. Of t words taken
        so far, ``low`` (``high``) came from the first run; the rest came from the second.
        """
        b = self.b
        store = self._store_position if last else self._store_word
        middle = b.add(start, width)
        end = b.sub(b.add(middle, width), b.i64(1))
        first_end = b.sub(middle, b.i64(1))
        with b.loop(b.i64(0), width, carried=[b.i64(0), b.i64(0)]) as loop:
            t, (low, high) = loop.index, loop.carried
            u = self._load(source, b.add(start, low))
            v = self._load(source, b.add(middle, b.sub(t, low)))
            first = b.icmp("ult", u, v)
            store(b.select(first, u, v), target, b.add(start, t))
            r = self._load(source, b.sub(first_end, high))
            s = self._load(source, b.sub(end, b.sub(t, high)))
            second = b.icmp("ugt", r, s)
            at = b.sub(end, t)
            if last and self.plan.places > self.plan.n:
                # padding comes first from above: what stands there is overwritten next
                at = b.intrinsic("umin", "i64", [at, b.i64(self.plan.n - 1)])
            store(b.select(second, r, s), target, at)
            loop.next = [
                b.add(low, b.cast("zext", first, "i64")),
                b.add(high, b.cast("zext", second, "i64")),
            ]

    def _strided(self, at: Val) -> Val:
        return at if self.stride == 1 else self.b.mul(at, self.b.i64(self.stride))

    def _load(self, words: Val, at: Val) -> Val:
        return self.b.load(self.b.gep(words, self.word, at), self.word, self.plan.word // 8)

    def _store_word(self, word: Val, words: Val, at: Val) -> None:
        self.b.store(word, self.b.gep(words, self.word, at), self.plan.word // 8)

    def _store_position(self, word: Val, out: Val, at: Val) -> None:
        b = self.b
        if self.plan.word == 64:
            position = b.and_(word, b.i64((1 << 32) - 1))
        else:
            position = b.cast("trunc", word, "i64")
        b.store(position, b.gep(out, "i64", self._strided(at)), 8)
