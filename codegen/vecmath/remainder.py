"""fmod, exact."""

from __future__ import annotations

from gradc.codegen.llvm import Builder
from gradc.codegen.llvm_types import vector
from gradc.codegen.vecmath.vec import INF, NAN, Vec, any_lane, fma, phi, where

FUNCTION = "gradc_remainder"


def fmod(x: Vec, y: Vec) -> Vec:
    """x - y·trunc(x/y), exactly, with the sign of x; nan for infinite x or zero y.

    While |x/y| < 2^53 one quotient, off by one at most, gives an exact remainder with a fused
    multiply-add. Otherwise a branch to a scalar function, taken if any lane needs it; the
    builder is left in a new block. Floats are computed in double.
    """
    if x.scalar == "float":
        return fmod(x.cast("fpext", "double"), y.cast("fpext", "double")).cast("fptrunc", "float")
    a, d = x.abs(), y.abs()
    quotient = a / d
    r = fma(-quotient.trunc(), d, a)
    r = where(r.lt(0.0), r + d, r)
    r = where(a.lt(d), a, r)
    r = _patch_large(a, d, quotient, r).copysign(x)
    return where(a.lt(INF) & d.gt(0.0), r, NAN)


def _patch_large(a: Vec, d: Vec, quotient: Vec, r: Vec) -> Vec:
    b, lanes = a.b, a.lanes
    large = quotient.ge(2.0**53) & a.lt(INF) & d.gt(0.0)
    cold, done = b.label("large"), b.label("remainder")
    before = b.block
    b.cond_br(any_lane(large), cold, done)
    b.place(cold)
    _define(b)
    width = 8 * lanes
    align = 64 if width % 64 == 0 else 8
    buffer = b.alloca("i8", 2 * width)
    b.store(where(large, a, 1.0).val, buffer, align)
    b.store(where(large, d, 1.0).val, b.gep(buffer, "i8", b.i64(width)), align)
    b.line(f"call void @{FUNCTION}({buffer}, i64 {lanes}) cold")
    patched = where(large, Vec(b, b.load(buffer, vector("double", lanes), align)), r)
    tail = b.block
    b.br(done)
    b.place(done)
    return phi(before, r, tail, patched)


def _define(caller: Builder) -> None:
    """Put the cold function into the module, once.

    ``void (ptr buffer, i64 lanes)``: the buffer holds two arrays of ``lanes`` doubles, positive
    and finite, a and then d; a is overwritten by the remainder. The significands are divided as
    integers, eleven bits of the quotient at a time.
    """
    if FUNCTION in caller.module.functions:
        return
    params = [("ptr", "buffer"), ("i64", "lanes")]
    b = Builder(caller.module, FUNCTION, "void", params, linkage="internal")
    buffer, lanes = b.params
    with b.loop(b.i64(0), lanes) as loop:
        at = b.gep(buffer, "double", loop.index)
        a = Vec(b, b.load(at, "double", 8))
        d = Vec(b, b.load(b.gep(at, "double", lanes), "double", 8))
        b.store(_long_division(a, d).val, at, 8)
    b.ret()
    b.finish()


def _significand(x: Vec) -> tuple[Vec, Vec]:
    """m and e: x = m·2^e·2^-1074, e >= 0."""
    bits = x.bits()
    fraction, field = bits & 0xFFFFFFFFFFFFF, bits >> 52
    normal = field.ne(0)
    return where(normal, fraction | 0x10000000000000, fraction), where(normal, field - 1, 0)


def _long_division(a: Vec, d: Vec) -> Vec:
    """The remainder of positive finite doubles, a >= d."""
    b = a.b
    m, e = _significand(a)
    divisor, e_divisor = _significand(d)
    difference = e - e_divisor
    steps = Vec(b, b.binary("udiv", (difference + 10).val, b.i64(11)))
    last = difference - (steps - 1) * 11  # the first step makes up the odd bits, 1 to 11 of them
    m = Vec(b, b.binary("urem", m.val, divisor.val))
    first = where(steps.eq(0), 0, last)
    m = Vec(b, b.binary("urem", (m << first).val, divisor.val))
    with b.loop(b.i64(1), steps.val, carried=[m.val]) as loop:
        shifted = Vec(b, loop.carried[0]) << 11
        loop.next = [b.binary("urem", shifted.val, divisor.val)]
    m = Vec(b, loop.results[0])
    # m·2^e_divisor·2^-1074 with e_divisor in the bits of a power of two: m is below 2^53, and
    # the first product is exact, so the second is too (the remainder is a double).
    unit = ((e_divisor + 1) << 52).floats()  # 2^(e_divisor - 1022)
    return (m.cast("sitofp", "double") * 2.0**-52) * unit
