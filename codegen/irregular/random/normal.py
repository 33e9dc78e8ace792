"""Standard normal numbers by the ziggurat method, as NumPy's generator draws them.

A unit of the stream holds the number of a strip (8 bits), a sign and the place in the strip. All
but one in a hundred lie under the density for certain, and eight or sixteen are tried at once.

In the tail, beyond 3.65, the logarithm is gradc's, the same everywhere; NumPy's is that of the
machine's C library. Where the two differ in their last bit, so may the result: of a million numbers
one or so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.codegen import vecmath
from gradc.codegen.irregular.random import ziggurat
from gradc.codegen.irregular.random.philox import load_key
from gradc.codegen.irregular.random.stream import Stream, draw, repeat, window
from gradc.codegen.irregular.random.uniform import FORMATS, Format, uniform
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.llvm_types import intrinsic_suffix, lanes_of, vector
from gradc.codegen.targets import Target


def emit(b: Builder, dtype: np.dtype[Any], n: int, key: Val, out: Val) -> None:
    """Emit ``n`` standard normal numbers of a key's stream."""
    form = FORMATS[dtype.itemsize]
    target = b.module.target
    assert isinstance(target, Target)
    words = window(-(-n * form.unit // 64))
    buffer = b.alloca("i64", words)
    stream = Stream(b, buffer, load_key(b, key), words, form.unit)
    one = _emit_one(b.module, form, words)

    def single(number: Val, place: Val) -> tuple[Val, Val]:
        pair = b.call(f"{{ {form.scalar}, i64 }}", one, [buffer, *stream.key, place])
        assert pair is not None
        value = b.op(form.scalar, f"extractvalue {pair}, 0")
        b.store(value, b.gep(out, form.scalar, number), dtype.itemsize)
        return b.add(number, b.i64(1)), b.op("i64", f"extractvalue {pair}, 1")

    draw(
        stream, n, max(target.lanes(dtype.itemsize), 4),
        lambda number: b.gep(out, form.scalar, number),
        lambda units: _attempt(b, form, units)[:2],
        single,
    )


def _attempt(b: Builder, form: Format, units: Val) -> tuple[Val, Val, Val, Val]:
    """Of units: the numbers, which are accepted, their strips, their places in the strip."""
    ty = units.ty
    strip = b.and_(units, b.const(0xFF, ty))
    place = b.and_(
        b.binary("lshr", units, b.const(9, ty)), b.const((1 << form.bits) - 1, ty)
    )
    width = _look_up(b, form, "widths", strip)
    size = b.fmul(b.cast("uitofp", place, width.ty), width)
    sign = b.and_(
        b.binary("shl", units, b.const(form.unit - 9, ty)), b.const(-1 << (form.unit - 1), ty)
    )
    number = b.cast("bitcast", b.xor(b.cast("bitcast", size, ty), sign), size.ty)
    accepted = b.icmp("ult", place, _look_up(b, form, "limits", strip))
    return number, accepted, strip, place


def _look_up(b: Builder, form: Format, table: str, index: Val) -> Val:
    """Entries of a table of the ziggurat."""
    elem = form.word if table == "limits" else form.scalar
    array = getattr(ziggurat, table)(form.bits)
    text = "".join(f"\\{byte:02X}" for byte in array.tobytes())
    base = b.module.constant(
        f"normal_{table}_{form.scalar}", f"[{array.nbytes} x i8]", f'c"{text}"'
    )
    lanes = lanes_of(index.ty)
    if lanes == 1:
        wide = index if form.unit == 64 else b.cast("zext", index, "i64")
        return b.load(b.gep(base, elem, wide), elem, form.unit // 8)
    at = b.op(vector("ptr", lanes), f"getelementptr inbounds {elem}, ptr {base.ref}, {index}")
    ty, mask = vector(elem, lanes), b.const(True, vector("i1", lanes))
    name = f"llvm.masked.gather.{intrinsic_suffix(ty)}.v{lanes}p0"
    b.module.declare(name, ty, [at.ty, "i32", mask.ty, ty])
    align = form.unit // 8
    return b.op(ty, f"call {ty} @{name}({at}, i32 {align}, {mask}, {ty} poison)")


def _emit_one(module: Module, form: Format, words: int) -> str:
    """``{float, i64} @normal(ptr buffer, i64 key0, i64 key1, i64 place)``; its name.

    One number, and the place in the stream after it.
    """
    name = f"normal_{form.scalar}_{words}"
    if name in module.functions:
        return name
    params = [("ptr", "buffer"), ("i64", "key0"), ("i64", "key1"), ("i64", "place")]
    result = f"{{ {form.scalar}, i64 }}"
    b = Builder(module, name, result, params, linkage="private")
    buffer, *key, start = b.params
    stream = Stream(b, buffer, key, words, form.unit)
    sure, unsure, wedge, tail = (b.label(x) for x in ("sure", "unsure", "wedge", "tail"))
    with repeat(b, [start]) as tries:
        (at,) = tries.carried
        x, accepted, strip, place = _attempt(b, form, stream.unit(at))
        b.cond_br(accepted, sure, unsure)
        b.place(unsure)
        b.cond_br(b.icmp("eq", strip, b.const(0, form.word)), tail, wedge)
        b.place(wedge)
        second = b.add(at, b.i64(1))
        u = uniform(b, form, stream.unit(second))
        high = _look_up(b, form, "heights", b.sub(strip, b.const(1, form.word)))
        low = _look_up(b, form, "heights", strip)
        height = _double(b, b.fadd(b.fmul(b.fsub(high, low), u), low))
        wide = _double(b, x)
        half_square = b.fmul(b.fmul(b.const(-0.5, "double"), wide), wide)
        beyond = b.fcmp("uge", height, vecmath.emit(b, "exp", [half_square]))
        tries.next = [b.add(second, b.i64(1))]
        tries.again = beyond
    _return(b, result, x, tries.next[0])
    b.place(sure)
    _return(b, result, x, b.add(at, b.i64(1)))
    b.place(tail)
    _emit_tail(b, form, stream, place, b.add(at, b.i64(1)), result)
    b.finish()
    return name


def _emit_tail(
    b: Builder, form: Format, stream: Stream, place: Val, start: Val, result: str
) -> None:
    """A number from the tail: Marsaglia's method of two exponentials."""
    scalar = form.scalar
    with repeat(b, [start]) as tries:
        (at,) = tries.carried
        second = b.add(at, b.i64(1))
        first, other = (
            b.fneg(_log1p(b, b.fneg(uniform(b, form, stream.unit(p))))) for p in (at, second)
        )
        beyond = b.fmul(b.const(ziggurat.INVERSE_R, scalar), first)
        tries.again = b.fcmp("ule", b.fadd(other, other), b.fmul(beyond, beyond))
        tries.next = [b.add(second, b.i64(1))]
    size = b.fadd(b.const(ziggurat.R, scalar), beyond)
    negative = b.cast("trunc", b.binary("lshr", place, b.const(8, form.word)), "i1")
    _return(b, result, b.select(negative, b.fneg(size), size), tries.next[0])


def _return(b: Builder, result: str, value: Val, place: Val) -> None:
    first = b.op(result, f"insertvalue {result} poison, {value}, 0")
    b.ret(b.op(result, f"insertvalue {first}, {place}, 1"))


def _double(b: Builder, x: Val) -> Val:
    return x if x.ty == "double" else b.cast("fpext", x, "double")


def _log1p(b: Builder, x: Val) -> Val:
    """log(1 + x), of a float rounded once from a double."""
    value = vecmath.emit(b, "log1p", [_double(b, x)])
    return value if x.ty == "double" else b.cast("fptrunc", value, x.ty)
