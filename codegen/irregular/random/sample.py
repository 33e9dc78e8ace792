"""Samples of a population, without replacement or by weights, as NumPy's generator draws them."""

from __future__ import annotations

from gradc.codegen.irregular.random.integers import HALF, below, count_up, shuffle
from gradc.codegen.irregular.random.philox import load_key
from gradc.codegen.irregular.random.stream import Stream, repeat, window
from gradc.codegen.irregular.random.uniform import FORMATS, uniform
from gradc.codegen.llvm import Builder, Val

#: populations of more, of which more than one in fifty is taken, are shuffled as a whole
_SHUFFLED, _SHARE = 10000, 50


def _whole(n: int, size: int) -> bool:
    return n > _SHUFFLED and size > n // _SHARE


def _set_size(size: int) -> int:
    """Places of the set of those taken: a power of two greater than 1.2 times as many."""
    return 1 << int(1.2 * size).bit_length()


def sample_bytes(n: int, size: int) -> int:
    """The scratch of a sample: the population, or the set of those taken."""
    return 8 * (n if _whole(n, size) else _set_size(size))


def emit(b: Builder, n: int, size: int, key: Val, out: Val, scratch: Val) -> None:
    """Emit ``size`` different ones of ``range(n)``, in random order; n <= 2³²."""
    if size == 0:
        return
    words = window(size)
    stream = Stream(b, b.alloca("i64", words), load_key(b, key), words, HALF)
    if _whole(n, size):
        count_up(b, "i64", n, scratch)
        shuffle(b, stream, b.i64(0), "i64", n, max(n - size, 1), scratch)
        with b.loop(b.i64(0), b.i64(size)) as loop:
            taken = b.gep(scratch, "i64", b.add(loop.index, b.i64(n - size)))
            b.store(b.load(taken, "i64", 8), b.gep(out, "i64", loop.index), 8)
        return
    places = _set_size(size)
    with b.loop(b.i64(0), b.i64(places)) as loop:
        b.store(b.i64(-1), b.gep(scratch, "i64", loop.index), 8)
    # of the first alone nothing is drawn: the range of one has one
    start = n - size
    with b.loop(b.i64(0), b.i64(size), carried=[b.i64(0)]) as loop:
        place = loop.carried[0]
        newest = b.add(loop.index, b.i64(start))
        value, after = below(b, stream, place, b.add(newest, b.i64(1)))
        if start == 0:
            after = b.select(b.icmp("eq", newest, b.i64(0)), place, after)
        at, held = _find(b, scratch, places, value, value)
        new = b.icmp("eq", held, b.i64(-1))
        taken = b.select(new, value, newest)
        # where it was taken before, the newest, which nobody can have drawn, goes in its place
        free, _ = _find(b, scratch, places, newest, b.i64(-1))
        at = b.select(new, at, free)
        b.store(taken, b.gep(scratch, "i64", at), 8)
        b.store(taken, b.gep(out, "i64", loop.index), 8)
        loop.next = [after]
    shuffle(b, stream, loop.results[0], "i64", size, 1, out)


def _find(b: Builder, places: Val, count: int, value: Val, wanted: Val) -> tuple[Val, Val]:
    """Where ``wanted`` or nothing stands from the home of ``value`` on, and what stands there."""
    home = b.and_(value, b.i64(count - 1))
    with repeat(b, [home]) as steps:
        (at,) = steps.carried
        held = b.load(b.gep(places, "i64", at), "i64", 8)
        stop = b.or_(b.icmp("eq", held, b.i64(-1)), b.icmp("eq", held, wanted))
        steps.next = [b.and_(b.add(at, b.i64(1)), b.i64(count - 1))]
        steps.again = b.xor(stop, Val("true", "i1"))
    return at, held


def weighted_bytes(n: int) -> int:
    """The scratch of a sample by weights: the weights that are left, and their running sums."""
    return 16 * n


def emit_weighted(
    b: Builder, n: int, size: int, replace: bool, key: Val, p: Val, out: Val, scratch: Val
) -> Val:
    """Emit ``size`` of ``range(n)`` with weights p; returns whether the weights are no such.

    Without replacement: in rounds, each by the weights of those not taken yet, of which what comes
    twice counts once.
    """
    sums = b.gep(scratch, "double", b.i64(n))
    wrong, positive = _take_over(b, n, p, scratch)
    needed = 1 if replace else max(size, 1)
    wrong = b.or_(wrong, b.icmp("slt", positive, b.i64(needed)))
    if size == 0:
        return wrong
    words = window(size)
    stream = Stream(b, b.alloca("i64", words), load_key(b, key), words, 64)
    done, begin = b.label("sampled"), b.label("sample")
    b.cond_br(wrong, done, begin)
    b.place(begin)
    with repeat(b, [b.i64(0), b.i64(0)]) as rounds:
        found, place = rounds.carried
        _accumulate(b, n, scratch, sums)
        with b.loop(b.i64(0), b.sub(b.i64(size), found), carried=[found]) as loop:
            (count,) = loop.carried
            u = uniform(b, FORMATS[8], stream.unit(b.add(place, loop.index)))
            new = _search(b, n, sums, u)
            b.store(new, b.gep(out, "i64", count), 8)
            if replace:
                loop.next = [b.add(count, b.i64(1))]
            else:
                left = b.gep(scratch, "double", new)
                fresh = b.fcmp("ogt", b.load(left, "double", 8), b.const(0.0, "double"))
                b.store(b.const(0.0, "double"), left, 8)
                loop.next = [b.add(count, b.cast("zext", fresh, "i64"))]
        rounds.next = [loop.results[0], b.add(place, b.sub(b.i64(size), found))]
        rounds.again = b.icmp("slt", loop.results[0], b.i64(size))
    b.br(done)
    b.place(done)
    return wrong


def _take_over(b: Builder, n: int, p: Val, weights: Val) -> tuple[Val, Val]:
    """Copy the weights. Returns whether they are no weights, and how many are positive."""
    zero, infinity = b.const(0.0, "double"), b.const(float("inf"), "double")
    start = [b.const(False, "i1"), b.i64(0), zero]
    with b.loop(b.i64(0), b.i64(n), carried=start) as loop:
        wrong, positive, total = loop.carried
        weight = b.load(b.gep(p, "double", loop.index), "double", 8)
        b.store(weight, b.gep(weights, "double", loop.index), 8)
        wrong = b.or_(wrong, b.fcmp("ult", weight, zero))
        more = b.cast("zext", b.fcmp("ogt", weight, zero), "i64")
        loop.next = [wrong, b.add(positive, more), b.fadd(total, weight)]
    wrong, positive, total = loop.results
    return b.or_(wrong, b.fcmp("uge", total, infinity)), positive


def _accumulate(b: Builder, n: int, weights: Val, sums: Val) -> None:
    """The running sums of the weights, divided by the last."""
    zero = b.const(0.0, "double")
    with b.loop(b.i64(0), b.i64(n), carried=[zero]) as loop:
        weight = b.load(b.gep(weights, "double", loop.index), "double", 8)
        # the first is itself, as it is in cumsum: its sign of zero changes no comparison
        total = b.fadd(loop.carried[0], weight)
        b.store(total, b.gep(sums, "double", loop.index), 8)
        loop.next = [total]
    whole = loop.results[0]
    with b.loop(b.i64(0), b.i64(n)) as loop:
        at = b.gep(sums, "double", loop.index)
        b.store(b.fdiv(b.load(at, "double", 8), whole), at, 8)


def _search(b: Builder, n: int, sums: Val, u: Val) -> Val:
    """The number of the sums that are at most u: by halves, without a branch on the data."""
    at, left = b.i64(0), n
    while left > 0:
        half = (left + 1) // 2
        middle = b.load(b.gep(sums, "double", b.add(at, b.i64(half - 1))), "double", 8)
        beyond, after = b.fcmp("ole", middle, u), b.add(at, b.i64(half))
        # as a branch it would be mispredicted every other time
        at = b.op("i64", f"select {beyond}, {after}, {at}, !unpredictable !{{}}")
        left = left // 2
    return at
