"""x = q·π/2 + r, |r| <= π/4, for the trigonometric functions.

For moderate x by Cody & Waite's method in three parts: x - q·RN(π/2) is exact with a fused
multiply-add, and the next two parts of π/2 are subtracted as a sum of two. For huge x by the
method of Payne & Hanek (1983): the product of the significand with just those bits of 2/π that
matter, in integers, in a scalar function that stands once in the module and is called only if
some lane is huge.
"""

from __future__ import annotations

import math

from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.vecmath.vec import (
    Vec,
    any_lane,
    fast_two_sum,
    fma,
    phi,
    round_scaled,
    two_product,
    where,
)

TWO_OVER_PI = 0.6366197723675814
HALF_PI = {
    "double": (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
    "float": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
}
# From here on the rounding of 2/π would move r beyond the polynomials' range.
HUGE = {"double": 2.0**40, "float": 2.0**14}
# 64 zero bits, then 1216 bits of 2/π after the binary point
TWO_OVER_PI_BITS = (
    0x0000000000000000,
    0xA2F9836E4E441529,
    0xFC2757D1F534DDC0,
    0xDB6295993C439041,
    0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0,
    0x06492EEA09D1921C,
    0xFE1DEB1CB129A73E,
    0xE88235F52EBB4484,
    0xE99C7026B45F7E41,
    0x3991D639835339F4,
    0x9C845F8BBDF9283B,
    0x1FF897FFDE05980F,
    0xEF2F118B5A0A6D1F,
    0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D,
    0x7527BAC7EBE5F17B,
    0x3D0739F78A5292EA,
    0x6BFB5FB11F8D5D08,
    0x56033046FC7B6BAB,
)
FUNCTION = "gradc_reduce_huge_angles"


def reduce_half_pi(x: Vec) -> tuple[Vec, Vec, Vec]:
    """r, its low part, and an integer equal to q modulo 4, for x >= 0; r is nan if x is not finite.

    Emits a branch around a call, taken if any lane is huge; the builder is left in a new block.
    """
    n, t = round_scaled(x, TWO_OVER_PI, 0)
    first, second, third = x.pick(HALF_PI)
    exact = fma(n, -first, x)
    p, p_low = two_product(n, n.const(second))
    # The first operand is a multiple of the last place of the second: no order is needed.
    h, error = fast_two_sum(exact, -p)
    r, low = fast_two_sum(h, fma(n, -third, error - p_low))
    return _patch_huge(x, r, low, t.bits())


def _patch_huge(x: Vec, r: Vec, low: Vec, q: Vec) -> tuple[Vec, Vec, Vec]:
    b, lanes = x.b, x.lanes
    huge = x.ge(x.pick(HUGE)) & x.lt(math.inf)
    cold, done = b.label("huge"), b.label("reduced")
    before = b.block
    b.cond_br(any_lane(huge), cold, done)
    b.place(cold)
    _define(b)
    width = 8 * lanes
    align = 64 if width % 64 == 0 else 8
    buffer = b.alloca("i8", 3 * width)
    parts = [b.gep(buffer, "i8", b.i64(k * width)) for k in range(3)]
    angle = where(huge, x, 1.0)  # the other lanes may hold nan or be too small for the table
    b.store((angle if x.scalar == "double" else angle.cast("fpext", "double")).val, parts[0], align)
    b.line(f"call void @{FUNCTION}({buffer}, i64 {lanes}) cold")
    wide = [
        Vec(b, b.load(part, vector(ty, lanes), align))
        for part, ty in zip(parts, ("double", "double", "i64"), strict=True)
    ]
    if x.scalar == "float":
        narrow = wide[0].cast("fptrunc", "float")
        rest = (wide[0] - narrow.cast("fpext", "double")).cast("fptrunc", "float")
        wide = [narrow, rest, wide[2].cast("trunc", "i32")]
    patched = [where(huge, new, old) for new, old in zip(wide, (r, low, q), strict=True)]
    tail = b.block
    b.br(done)
    b.place(done)
    r, low, q = (phi(before, old, tail, new) for old, new in zip((r, low, q), patched, strict=True))
    return r, low, q


def _define(caller: Builder) -> None:
    """Put the cold function into the module, once.

    ``void (ptr buffer, i64 lanes)``: the buffer holds three arrays of ``lanes``; x (finite,
    positive, >= 1) is overwritten by r, and followed by its low part and by q modulo 4.
    """
    module = caller.module
    if FUNCTION in module.functions:
        return
    words = ", ".join(f"i64 {w}" for w in TWO_OVER_PI_BITS)
    table = module.constant("gradc_two_over_pi", f"[{len(TWO_OVER_PI_BITS)} x i64]", f"[{words}]")
    params = [("ptr", "buffer"), ("i64", "lanes")]
    b = Builder(module, FUNCTION, "void", params, linkage="internal")
    buffer, lanes = b.params
    with b.loop(b.i64(0), lanes) as loop:
        at = b.gep(buffer, "double", loop.index)
        x = Vec(b, b.load(at, "double", 8))
        at_low = b.gep(at, "double", lanes)
        r, low, q = _payne_hanek(x, table)
        b.store(r.val, at, 8)
        b.store(low.val, at_low, 8)
        b.store(q.val, b.gep(at_low, "double", lanes), 8)
    b.ret()
    b.finish()


def _payne_hanek(x: Vec, table: Val) -> tuple[Vec, Vec, Vec]:
    """r, its low part and q modulo 4 of one finite double >= 1.

    x = m·2^e; of 2/π the 192 bits from 2^(1-e) on give m·2^e·2/π modulo 4 to 2^-126 absolute;
    no double is nearer than 2^-61 to a multiple of π/2 (Muller, Elementary Functions, ch. 11).
    """
    b = x.b
    bits = x.bits()
    m = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000
    place = (bits >> 52) - (1075 - 62)  # e + 62: the 64 zero bits before the point included
    word, shift = place >> 6, place & 63
    words = [Vec(b, b.load(b.gep(table, "i64", (word + k).val), "i64", 8)) for k in range(4)]
    f0, f1, f2 = (
        Vec(b, b.intrinsic("fshl", "i64", [words[k].val, words[k + 1].val, shift.val]))
        for k in range(3)
    )
    wide = m.cast("zext", "i128")
    product = (
        ((m * f0).cast("zext", "i128") << 64)
        + wide * f1.cast("zext", "i128")
        + ((wide * f2.cast("zext", "i128")) >> 64)
    )  # x·2/π modulo 4, in units of 2^-126
    fraction = product << 2
    upper = (fraction >> 64).cast("trunc", "i64")
    negative = upper.lt(0)  # a fraction of a half or more: round q up
    q = (product >> 126).cast("trunc", "i64") + negative.cast("zext", "i64")
    size = where(negative, 0 - fraction, fraction)
    upper = (size >> 64).cast("trunc", "i64")
    b.module.declare("llvm.ctlz.i64", "i64", ["i64", "i1"])
    zeros = Vec(b, b.op("i64", f"call i64 @llvm.ctlz.i64({upper.val}, i1 false)"))
    size = size << zeros.cast("zext", "i128")
    upper = (size >> 64).cast("trunc", "i64")
    # The leading 53 bits and the next 53, as doubles, scaled to the fraction.
    scale = ((1023 - 53 - zeros) << 52).floats()
    high = (upper >> 11).cast("sitofp", "double") * scale
    middle = (size >> 22).cast("trunc", "i64") & 0x1FFFFFFFFFFFFF
    rest = middle.cast("sitofp", "double") * scale * 2.0**-53
    first, second, _ = HALF_PI["double"]
    p, p_low = two_product(high, high.const(first))
    r, low = fast_two_sum(p, fma(high, second, fma(rest, first, p_low)))
    return where(negative, -r, r), where(negative, -low, low), q
