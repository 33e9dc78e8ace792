"""Philox4x64-10, and the words of NumPy's seed sequence that make a key of a seed.

- Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011 (Philox; the
  stream is that of ``numpy.random.Philox(key=key)``, whose first block has the counter one);
- O'Neill, *Developing a seed_seq alternative*, 2015 (``numpy.random.SeedSequence``).
"""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm import Builder, Module, Val

#: words of a block
BLOCK = 4

_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_ROUNDS = 10


def schedule(b: Builder, key: Sequence[Val]) -> list[list[Val]]:
    """The keys of the rounds."""
    return [
        [k if r == 0 else b.add(k, _word(r * w)) for k, w in zip(key, _WEYL, strict=True)]
        for r in range(_ROUNDS)
    ]


def block(b: Builder, counter: Sequence[Val], keys: Sequence[Sequence[Val]]) -> list[Val]:
    """The four words of a counter of four words."""
    words = list(counter)
    for key in keys:
        high0, low0 = _product(b, words[0], _MULTIPLIERS[0])
        high1, low1 = _product(b, words[2], _MULTIPLIERS[1])
        words = [
            b.xor(b.xor(high1, words[1]), key[0]), low1,
            b.xor(b.xor(high0, words[3]), key[1]), low0,
        ]
    return words


def _product(b: Builder, word: Val, multiplier: int) -> tuple[Val, Val]:
    """The high and the low half of a product of 64-bit words."""
    wide = b.mul(b.cast("zext", word, "i128"), Val(str(multiplier), "i128"))
    high = b.cast("trunc", b.binary("lshr", wide, Val("64", "i128")), "i64")
    return high, b.cast("trunc", wide, "i64")


def _word(value: int) -> Val:
    """A literal modulo 2⁶⁴."""
    return Val(str(value % (1 << 64)), "i64")


def emit_fill(module: Module) -> str:
    """``void @philox(ptr out, i64 first, i64 count, i64 key0, i64 key1)``; its name.

    Writes ``count`` blocks of a key's stream, from number ``first`` (from 0 on). One block waits
    for itself most of the time; several are under way at once.
    """
    name = "philox"
    if name in module.functions:
        return name
    params = [("ptr", "out"), *(("i64", n) for n in ("first", "count", "key0", "key1"))]
    b = Builder(module, name, "void", params, linkage="private")
    out, first, count, *key = b.params
    keys = schedule(b, key)
    with b.loop(b.i64(0), count) as loop:
        number = b.add(b.add(first, loop.index), b.i64(1))
        words = block(b, [number, *[b.i64(0)] * 3], keys)
        target = b.gep(out, "i64", b.mul(loop.index, b.i64(BLOCK)))
        for k, word in enumerate(words):
            b.store(word, b.gep(target, "i64", b.i64(k)), 8)
    b.ret()
    b.finish()
    return name


def fill(b: Builder, out: Val, first: Val, count: Val, key: Sequence[Val]) -> None:
    """Write ``count`` blocks of the stream of a key, from number ``first`` on."""
    b.call("void", emit_fill(b.module), [out, first, count, *key])


def load_key(b: Builder, key: Val) -> list[Val]:
    """The words of a key in memory."""
    return [b.load(b.gep(key, "i64", b.i64(k)), "i64", 8) for k in range(2)]


def emit_keys(b: Builder, domain: int, n: int, key: Val, index: Val, out: Val) -> None:
    """Emit random_keys: the keys that follow the counters (index, 0, 0, domain)."""
    keys = schedule(b, load_key(b, key))
    with b.loop(b.i64(0), b.i64(n)) as loop:
        given = b.load(b.gep(index, "i64", loop.index), "i64", 8)
        number = b.add(given, b.i64(1))
        carry = b.cast("zext", b.icmp("eq", number, b.i64(0)), "i64")
        words = block(b, [number, carry, b.i64(0), b.i64(domain)], keys)
        target = b.gep(out, "i64", b.mul(loop.index, b.i64(2)))
        for k in range(2):
            b.store(words[k], b.gep(target, "i64", b.i64(k)), 8)


# -- the seed sequence -----------------------------------------------------------------------------

_POOL = 4
_MIX_LEFT, _MIX_RIGHT = 0xCA01F9DD, 0x4973F715


class _Hash:
    """A hash of 32-bit words whose constant moves on with each, known while compiling."""

    def __init__(self, b: Builder, start: int, factor: int) -> None:
        self.b = b
        self.constant = start
        self.factor = factor

    def __call__(self, word: Val) -> Val:
        b = self.b
        word = b.xor(word, Val(str(self.constant), "i32"))
        self.constant = self.constant * self.factor % (1 << 32)
        return _folded(b, b.mul(word, Val(str(self.constant), "i32")))


def _folded(b: Builder, word: Val) -> Val:
    return b.xor(word, b.binary("lshr", word, Val("16", "i32")))


def emit_key(b: Builder, seed: Val, out: Val) -> None:
    """Emit random_key: ``SeedSequence(seed).generate_state(2)``, its entropy two 32-bit words."""
    word = b.load(seed, "i64", 8)
    high = b.binary("lshr", word, b.i64(32))
    entropy = [b.cast("trunc", w, "i32") for w in (word, high)] + [Val("0", "i32")] * 2
    hashed = _Hash(b, 0x43B0D7E5, 0x931E8875)
    pool = [hashed(w) for w in entropy]
    for source in range(_POOL):
        for target in range(_POOL):
            if source != target:
                left = b.mul(pool[target], Val(str(_MIX_LEFT), "i32"))
                right = b.mul(hashed(pool[source]), Val(str(_MIX_RIGHT), "i32"))
                pool[target] = _folded(b, b.sub(left, right))
    hashed = _Hash(b, 0x8B51F9DD, 0x58F38DED)
    for k, state in enumerate(map(hashed, pool)):
        b.store(state, b.gep(out, "i32", b.i64(k)), 4)
