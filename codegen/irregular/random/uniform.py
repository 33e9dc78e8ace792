"""Uniform numbers in [0, 1): the upper bits of the units of a stream, as many as a float has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gradc.codegen.irregular.memory import sweep
from gradc.codegen.irregular.random.philox import BLOCK, fill, load_key
from gradc.codegen.irregular.random.stream import window
from gradc.codegen.lanes import Lanes, Part
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import like
from gradc.codegen.targets import Target


class Format(NamedTuple):
    """A float, the bits of the unit that it is made of, and those of its mantissa."""

    scalar: str
    unit: int
    bits: int

    @property
    def word(self) -> str:
        """The type of a unit."""
        return f"i{self.unit}"


#: by itemsize
FORMATS = {8: Format("double", 64, 52), 4: Format("float", 32, 23)}


def uniform(b: Builder, form: Format, units: Val) -> Val:
    """Units of the stream as numbers in [0, 1)."""
    kept = form.bits + 1
    whole = b.binary("lshr", units, b.const(form.unit - kept, units.ty))
    number = b.cast("uitofp", whole, like(units.ty, form.scalar))
    return b.fmul(number, b.const(2.0**-kept, number.ty))


def emit(b: Builder, dtype: np.dtype[Any], n: int, key: Val, out: Val) -> None:
    """Emit ``n`` numbers of a key's stream: words of a window, then numbers of them all."""
    if n == 0:
        return
    form, itemsize = FORMATS[dtype.itemsize], dtype.itemsize
    target = b.module.target
    assert isinstance(target, Target)
    keys = load_key(b, key)
    words = window(-(-n * itemsize // 8))
    units = 8 * words // itemsize
    buffer = b.alloca("i64", words)
    raw = Lanes(b, form.word, itemsize, target)
    made = Lanes(b, form.scalar, itemsize, target)

    def numbers(start: Val, count: int) -> None:
        blocks = -(-count * itemsize // (8 * BLOCK))
        first = b.binary("udiv", start, b.i64(8 * BLOCK // itemsize))
        fill(b, buffer, first, b.i64(blocks), keys)
        end = made.step(out, start, 1)

        def body(offset: Val, pieces: list[Part], _: Sequence[Val]) -> Sequence[Val]:
            source, to = raw.step(buffer, offset, 1), made.step(end, offset, 1)
            for p in pieces:
                given = raw.load(raw.at(source, p.offset), p.lanes, p.used)
                made.store(uniform(b, form, given), made.at(to, p.offset), p.used)
            return ()

        sweep(b, count, made.full, 2, body)

    full = n - n % units
    if full:
        with b.loop(b.i64(0), b.i64(full), units) as loop:
            numbers(loop.index, units)
    if n > full:
        numbers(b.i64(full), n - full)
