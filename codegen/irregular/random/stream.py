"""Units of a key's stream in order, and loops whose length is decided by what they draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gradc.codegen.irregular.random.philox import BLOCK, fill
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import scalar_of, vector

#: words of a stream that are made at a time, where many are wanted
WINDOW = 256


def window(words: int) -> int:
    """The words to make at a time where about ``words`` are wanted: whole blocks, 2ᵏ of them."""
    return min(max(1 << (words - 1).bit_length(), BLOCK), WINDOW)


class Stream:
    """The stream of a key as units of ``bits`` bits: of its words, the low ones first.

    ``buffer`` has room for ``words`` words, a window of the stream that begins at a multiple of its
    length. Units are read in order: the window is made when its first one is asked for. A place
    in the stream is counted in units, so that it is all that a loop carries.
    """

    def __init__(
        self, b: Builder, buffer: Val, key: Sequence[Val], words: int, bits: int
    ) -> None:
        self.b = b
        self.buffer = buffer
        self.key = key
        self.bits = bits
        self.blocks = words // BLOCK
        self.units = 64 * words // bits

    def unit(self, at: Val) -> Val:
        """The unit at a place."""
        b = self.b
        offset = self.offset(at)
        if self.bits > 1:
            return self.load(offset, 1)
        byte = b.load(b.gep(self.buffer, "i8", b.binary("lshr", offset, b.i64(3))), "i8", 1)
        bit = b.cast("trunc", b.and_(offset, b.i64(7)), "i8")
        return b.cast("trunc", b.binary("lshr", byte, bit), "i1")

    def offset(self, at: Val) -> Val:
        """Where in the window a place is; the window is made where it begins."""
        b = self.b
        offset = b.and_(at, b.i64(self.units - 1))
        with b.if_(b.icmp("eq", offset, b.i64(0))):
            per_block = (64 * BLOCK // self.bits).bit_length() - 1
            first = b.binary("lshr", at, b.i64(per_block))
            fill(b, self.buffer, first, b.i64(self.blocks), self.key)
        return offset

    def load(self, offset: Val, lanes: int) -> Val:
        """Units of the window, in lanes."""
        b, elem = self.b, f"i{self.bits}"
        return b.load(b.gep(self.buffer, elem, offset), vector(elem, lanes), self.bits // 8)


class Repeat:
    """What :func:`repeat` offers its body: the carried values, and where to put what comes next."""

    def __init__(self, carried: list[Val]) -> None:
        self.carried = carried
        self.next: list[Val] = []
        self.again = Val("false", "i1")


@contextmanager
def repeat(b: Builder, carried: Sequence[Val]) -> Iterator[Repeat]:
    """``do: ... while again``; afterwards ``next`` has the values of the last round."""
    head, done = b.label("repeat"), b.label("enough")
    before = b.block
    b.br(head)
    b.place(head)
    at = len(b.lines)
    state = Repeat([b.op(v.ty, f"phi {v.ty} [ {v.ref}, %{before} ]") for v in carried])
    yield state
    for k, value in enumerate(state.next):
        b.lines[at + k] += f", [ {value.ref}, %{b.block} ]"
    b.cond_br(state.again, head, done)
    b.place(done)


def and_then(b: Builder, cond: Val, more: Callable[[], Val]) -> Val:
    """``cond and more()``, where what ``more`` emits is run only if ``cond``."""
    rest, done = b.label("also"), b.label("both")
    before = b.block
    b.cond_br(cond, rest, done)
    b.place(rest)
    other = more()
    end = b.block
    b.br(done)
    b.place(done)
    return b.op("i1", f"phi i1 [ false, %{before} ], [ {other.ref}, %{end} ]")


#: (number of results so far, place in the stream) -> the same after one more attempt
Single = Callable[[Val, Val], tuple[Val, Val]]
#: (units, in lanes) -> (results, which of them are accepted)
Attempt = Callable[[Val], tuple[Val, Val]]


def draw(
    stream: Stream, n: int, lanes: int, out: Callable[[Val], Val], attempt: Attempt, single: Single
) -> None:
    """Emit ``n`` results of a method that accepts nearly every unit of the stream.

    ``lanes`` units are tried at once: all results are stored, at ``out(number)``, and those from
    the first refused on are overwritten by what comes next. The refused one, and units at the
    ends of the window and of the results, are left to ``single``.
    """
    b = stream.b
    if n == 0:
        return
    head, body, alone, done = (b.label(x) for x in ("draw", "units", "alone", "drawn"))
    before = b.block
    b.br(head)
    b.place(head)
    top = len(b.lines)
    number = b.op("i64", f"phi i64 [ 0, %{before} ]")
    place = b.op("i64", f"phi i64 [ 0, %{before} ]")
    b.cond_br(b.icmp("slt", number, b.i64(n)), body, done)
    b.place(body)
    to_alone: list[tuple[Val, Val, str]] = []
    to_head: list[tuple[Val, Val, str]] = []
    if 1 < lanes <= min(n, stream.units):
        offset = stream.offset(place)
        fits = b.and_(
            b.icmp("sle", number, b.i64(n - lanes)),
            b.icmp("ule", offset, b.i64(stream.units - lanes)),
        )
        many, some = b.label("lanes"), b.label("refused")
        to_alone.append((number, place, b.block))
        b.cond_br(fits, many, alone)
        b.place(many)
        results, accepted = attempt(stream.load(offset, lanes))
        b.store(results, out(number), _align(results))
        bits = b.cast("bitcast", accepted, f"i{lanes}")
        to_head.append((b.add(number, b.i64(lanes)), b.add(place, b.i64(lanes)), b.block))
        b.cond_br(b.icmp("eq", bits, b.const(-1, bits.ty)), head, some)
        b.place(some)
        wide = bits if lanes == 64 else b.cast("zext", bits, "i64")
        refused = b.xor(wide, b.i64(-1))
        count = b.intrinsic("cttz", "i64", [refused, Val("true", "i1")])
        to_alone.append((b.add(number, count), b.add(place, count), b.block))
        b.br(alone)
    else:
        to_alone.append((number, place, b.block))
        b.br(alone)
    b.place(alone)
    first = b.op("i64", "phi i64 " + ", ".join(f"[ {x.ref}, %{at} ]" for x, _, at in to_alone))
    second = b.op("i64", "phi i64 " + ", ".join(f"[ {x.ref}, %{at} ]" for _, x, at in to_alone))
    after = single(first, second)
    to_head.append((*after, b.block))
    b.br(head)
    for next_number, next_place, block in to_head:
        b.lines[top] += f", [ {next_number.ref}, %{block} ]"
        b.lines[top + 1] += f", [ {next_place.ref}, %{block} ]"
    b.place(done)


def _align(results: Val) -> int:
    """The alignment of an element of the results."""
    return {"double": 8, "i64": 8, "float": 4, "i32": 4, "i16": 2, "i8": 1}[scalar_of(results.ty)]
