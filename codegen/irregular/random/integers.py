"""Integers in a range, permutations and samples, as NumPy's generator draws them.

- Lemire, *Fast random integer generation in an interval*, ACM TOMACS 29 (2019), algorithm 5;
- Durstenfeld, *Algorithm 235: random permutation*, CACM 7 (1964), due to Fisher and Yates;
- Floyd, in Bentley, *Programming pearls: a sample of brilliance*, CACM 30 (1987), algorithm F2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.codegen.irregular.random.philox import load_key
from gradc.codegen.irregular.random.stream import Stream, and_then, draw, repeat, window
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of, like
from gradc.codegen.targets import Target

#: bits of a unit where nothing else is said
HALF = 32


def emit(
    b: Builder, dtype: np.dtype[Any], n: int, key: Val, low: Val, last: Val, out: Val
) -> Val:
    """Emit ``n`` integers from ``low`` to ``last``, both in memory; returns whether low > last."""
    size, ty = dtype.itemsize, f"i{8 * dtype.itemsize}"
    low, last = b.load(low, ty, size), b.load(last, ty, size)
    empty = b.icmp("sgt" if dtype.kind == "i" else "ugt", low, last)
    span = b.sub(last, low)
    keys = load_key(b, key)
    none, some, done = b.label("none"), b.label("some"), b.label("drawn")
    b.cond_br(b.icmp("eq", span, b.const(0, ty)), none, some)
    b.place(none)
    with b.loop(b.i64(0), b.i64(n)) as loop:
        b.store(low, b.gep(out, ty, loop.index), size)
    b.br(done)
    b.place(some)
    if dtype.kind == "b":
        _bits(b, n, keys, out)
    elif size == 8:
        wide, narrow = b.label("wide"), b.label("narrow")
        b.cond_br(b.icmp("ugt", span, b.i64(0xFFFFFFFF)), wide, narrow)
        b.place(wide)
        _in_range(b, 64, n, keys, low, span, out)
        b.br(done)
        b.place(narrow)
        _in_range(b, HALF, n, keys, low, span, out)
    else:
        _in_range(b, 8 * size, n, keys, low, span, out)
    b.br(done)
    b.place(done)
    return empty


def _bits(b: Builder, n: int, key: list[Val], out: Val) -> None:
    """Both truth values: the bits of the stream."""
    words = window(-(-n // 64))
    stream = Stream(b, b.alloca("i64", words), key, words, 1)
    with b.loop(b.i64(0), b.i64(n)) as loop:
        b.store(b.cast("zext", stream.unit(loop.index), "i8"), b.gep(out, "i8", loop.index), 1)


def _in_range(
    b: Builder, bits: int, n: int, key: list[Val], low: Val, span: Val, out: Val
) -> None:
    """``low`` and what units of so many bits give below ``span`` + 1; of the whole range, units."""
    elem, size = low.ty, int(low.ty[1:]) // 8
    words = window(-(-n * bits // 64))
    stream = Stream(b, b.alloca("i64", words), key, words, bits)
    target = b.module.target
    assert isinstance(target, Target)
    unit, double = f"i{bits}", f"i{2 * bits}"
    narrow = span if span.ty == unit else b.cast("trunc", span, unit)
    bound = b.add(b.cast("zext", narrow, double), Val("1", double))
    # Every unit does for the whole range: its product with 2^bits is itself, and zeros. Otherwise
    # 2^bits modulo the bound, whose bits are those of the span, is had without a wider division.
    whole = b.icmp("eq", narrow, b.const(-1, unit))
    divisor = b.select(whole, b.const(1, unit), b.cast("trunc", bound, unit))
    threshold = b.binary("urem", b.sub(b.const(0, unit), divisor), divisor)

    def attempt(units: Val) -> tuple[Val, Val]:
        lanes, ty = lanes_of(units.ty), like(units.ty, double)
        product = b.mul(b.cast("zext", units, ty), b.splat(bound, lanes))
        shift = Val(str(bits), double) if lanes == 1 else b.const(bits, ty)
        high = b.binary("lshr", product, shift)
        accepted = b.icmp(
            "uge", b.cast("trunc", product, units.ty), b.splat(threshold, lanes)
        )
        to = like(units.ty, elem)
        number = high if to == ty else b.cast("trunc", high, to)
        return b.add(number, b.splat(low, lanes)), accepted

    def at(number: Val) -> Val:
        return b.gep(out, elem, number)

    def single(number: Val, place: Val) -> tuple[Val, Val]:
        value, accepted = attempt(stream.unit(place))
        b.store(value, at(number), size)
        more = b.cast("zext", accepted, "i64")
        return b.add(number, more), b.add(place, b.i64(1))

    lanes = 1 if bits == 64 else min(target.lanes(max(size, 2 * bits // 8)), 64)
    draw(stream, n, lanes, at, attempt, single)


def below(b: Builder, stream: Stream, place: Val, bound: Val) -> tuple[Val, Val]:
    """An integer in 0 .. ``bound`` - 1, bound <= 2³², of 32-bit units; and the next place."""
    with repeat(b, [place]) as tries:
        (at,) = tries.carried
        product = b.mul(b.cast("zext", stream.unit(at), "i64"), bound)
        low = b.and_(product, b.i64(0xFFFFFFFF))
        tries.again = and_then(
            b, b.icmp("ult", low, bound),
            lambda: b.icmp("ult", low, b.binary("urem", b.i64(1 << 32), bound)),
        )
        tries.next = [b.add(at, b.i64(1))]
    return b.binary("lshr", product, b.i64(32)), tries.next[0]


def shuffle(
    b: Builder, stream: Stream, place: Val, elem: str, n: int, first: int, out: Val
) -> Val:
    """Put a random one of those before it, or itself, at n-1, n-2, ... ``first`` >= 1.

    Returns the next place in the stream.
    """
    size = int(elem[1:]) // 8
    with b.loop(b.i64(0), b.i64(n - first), carried=[place]) as loop:
        last = b.sub(b.i64(n - 1), loop.index)
        other, after = below(b, stream, loop.carried[0], b.add(last, b.i64(1)))
        _swap(b, elem, size, b.gep(out, elem, last), b.gep(out, elem, other))
        loop.next = [after]
    return loop.results[0]


def _swap(b: Builder, elem: str, size: int, here: Val, there: Val) -> None:
    first, second = b.load(here, elem, size), b.load(there, elem, size)
    b.store(second, here, size)
    b.store(first, there, size)


def count_up(b: Builder, elem: str, n: int, out: Val) -> None:
    """0, 1, ... n - 1."""
    with b.loop(b.i64(0), b.i64(n)) as loop:
        value = loop.index if elem == "i64" else b.cast("trunc", loop.index, elem)
        b.store(value, b.gep(out, elem, loop.index), int(elem[1:]) // 8)


def emit_permutation(b: Builder, n: int, key: Val, out: Val) -> None:
    """Emit a permutation of ``range(n)``, n <= 2³².

    A unit is masked to the bits of the last place, and refused if beyond it. What is refused
    swaps the last with itself: no branch depends on what is drawn.
    """
    count_up(b, "i64", n, out)
    if n < 2:
        return
    words = window(n)
    stream = Stream(b, b.alloca("i64", words), load_key(b, key), words, HALF)
    with repeat(b, [b.i64(n - 1), b.i64(0)]) as tries:
        last, place = tries.carried
        zeros = b.intrinsic("ctlz", "i64", [last, Val("true", "i1")])
        mask = b.binary("lshr", b.i64(-1), zeros)
        unit = b.and_(b.cast("zext", stream.unit(place), "i64"), mask)
        other = b.intrinsic("umin", "i64", [unit, last])
        _swap(b, "i64", 8, b.gep(out, "i64", last), b.gep(out, "i64", other))
        accepted = b.cast("zext", b.icmp("ule", unit, last), "i64")
        last = b.sub(last, accepted)
        tries.next = [last, b.add(place, b.i64(1))]
        tries.again = b.icmp("ne", last, b.i64(0))
