"""The order of the samples in an epoch: a random permutation that is the same on every platform.

Epoch e of seed s reads the random stream of Philox4x64-10 with the key (s, e) and counters 1, 2
and so on, each block of four words as eight 32-bit halves, low halves first. They become integers
below a bound without bias, and these a permutation. An epoch's order depends on the seed and its
number alone.

- Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011 (Philox; the
  stream is that of ``numpy.random.Philox(key=[s, e])``);
- Lemire, *Fast random integer generation in an interval*, ACM TOMACS 29 (2019), algorithm 5;
- Durstenfeld, *Algorithm 235: random permutation*, CACM 7 (1964), due to Fisher and Yates.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradc.codegen.llvm import Builder, Module, Val

#: how many samples 32-bit indices reach
LARGEST = 1 << 32

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10

# The generator's state: the counter, the place in the words of its block, the key, the words.
_COUNTER, _PLACE, _KEY, _WORDS = 0, 8, 16, 32
_BLOCK = 8
STATE_BYTES = 64


def order(samples: int, seed: int, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The permutation of ``range(samples)`` that native code makes, in Python."""
    words = _halves(seed, epoch)
    out = np.arange(samples, dtype=np.uint32)
    for last in range(samples - 1, 0, -1):
        other = _below(last + 1, words)
        out[last], out[other] = out[other], out[last]
    return out


def _halves(seed: int, epoch: int) -> Iterator[int]:
    stream = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    while True:
        word = int(stream.random_raw())
        yield word & 0xFFFFFFFF
        yield word >> 32


def _below(bound: int, words: Iterator[int]) -> int:
    product = next(words) * bound
    if product & 0xFFFFFFFF < bound:
        while product & 0xFFFFFFFF < (1 << 32) % bound:
            product = next(words) * bound
    return product >> 32


def emit_shuffle(module: Module, samples: int) -> None:
    """Add ``void @shuffle(ptr order, ptr state, i64 seed, i64 epoch)`` to a module.

    ``order`` is given ``samples`` (at most 2³²) 32-bit indices; ``state`` are STATE_BYTES bytes.
    """
    _emit_philox(module)
    _emit_below(module)
    params = [("ptr", "order"), ("ptr", "state"), ("i64", "seed"), ("i64", "epoch")]
    b = Builder(module, "shuffle", "void", params, linkage="private")
    out, state, seed, epoch = b.params
    b.store(b.i64(0), _field(b, state, _COUNTER), 8)
    b.store(b.i64(_BLOCK), _field(b, state, _PLACE), 8)
    b.store(seed, _field(b, state, _KEY), 8)
    b.store(epoch, _field(b, state, _KEY + 8), 8)
    with b.loop(b.i64(0), b.i64(samples)) as loop:
        b.store(b.cast("trunc", loop.index, "i32"), b.gep(out, "i32", loop.index), 4)
    with b.loop(b.i64(1), b.i64(samples)) as loop:
        last = b.sub(b.i64(samples), loop.index)
        other = b.call("i64", "below", [state, b.add(last, b.i64(1))])
        assert other is not None
        here, there = b.gep(out, "i32", last), b.gep(out, "i32", other)
        first, second = b.load(here, "i32", 4), b.load(there, "i32", 4)
        b.store(second, here, 4)
        b.store(first, there, 4)
    b.ret()
    b.finish()


def _emit_below(module: Module) -> None:
    """``i64 @below(ptr state, i64 bound)``: a random integer in 0 .. bound - 1, bound <= 2³²."""
    b = Builder(module, "below", "i64", [("ptr", "state"), ("i64", "bound")], linkage="private")
    state, bound = b.params
    low_bits = b.i64(0xFFFFFFFF)
    draw, refill, take, check, done = (
        b.label(hint) for hint in ("draw", "refill", "take", "check", "done")
    )
    at = _field(b, state, _PLACE)
    b.br(draw)
    b.place(draw)
    empty = b.icmp("eq", b.load(at, "i64", 8), b.i64(_BLOCK))
    b.cond_br(empty, refill, take)
    b.place(refill)
    b.call("void", "philox", [state])
    b.br(take)
    b.place(take)
    place = b.load(at, "i64", 8)
    b.store(b.add(place, b.i64(1)), at, 8)
    word = b.load(b.gep(_field(b, state, _WORDS), "i32", place), "i32", 4)
    product = b.mul(b.cast("zext", word, "i64"), bound)
    low = b.and_(product, low_bits)
    b.cond_br(b.icmp("ult", low, bound), check, done)
    b.place(check)
    biased = b.binary("urem", b.i64(1 << 32), bound)
    b.cond_br(b.icmp("ult", low, biased), draw, done)
    b.place(done)
    b.ret(b.binary("lshr", product, b.i64(32)))
    b.finish()


def _emit_philox(module: Module) -> None:
    """``void @philox(ptr state)``: count on, and fill the words with the next block."""
    b = Builder(module, "philox", "void", [("ptr", "state")], linkage="private")
    (state,) = b.params
    at = _field(b, state, _COUNTER)
    counter = b.add(b.load(at, "i64", 8), b.i64(1))
    b.store(counter, at, 8)
    b.store(b.i64(0), _field(b, state, _PLACE), 8)
    key = [b.load(_field(b, state, _KEY + 8 * k), "i64", 8) for k in range(2)]
    words = [counter, b.i64(0), b.i64(0), b.i64(0)]
    for number in range(_ROUNDS):
        if number:
            key = [b.add(k, Val(str(w), "i64")) for k, w in zip(key, _WEYL, strict=True)]
        high0, low0 = _product(b, words[0], _MULTIPLIERS[0])
        high1, low1 = _product(b, words[2], _MULTIPLIERS[1])
        words = [
            b.xor(b.xor(high1, words[1]), key[0]), low1,
            b.xor(b.xor(high0, words[3]), key[1]), low0,
        ]
    for k, word in enumerate(words):
        for half, shift in enumerate((0, 32)):
            part = b.cast("trunc", b.binary("lshr", word, b.i64(shift)), "i32")
            b.store(part, _field(b, state, _WORDS + 8 * k + 4 * half), 4)
    b.ret()
    b.finish()


def _product(b: Builder, word: Val, multiplier: int) -> tuple[Val, Val]:
    """The high and the low half of a product of 64-bit words."""
    wide = b.mul(b.cast("zext", word, "i128"), Val(str(multiplier), "i128"))
    high = b.cast("trunc", b.binary("lshr", wide, Val("64", "i128")), "i64")
    return high, b.cast("trunc", wide, "i64")


def _field(b: Builder, state: Val, offset: int) -> Val:
    return b.gep(state, "i8", b.i64(offset))
