"""The square root, where iterating is faster than the instruction."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import vector
from gradc.codegen.targets import Target
from gradc.codegen.vecmath.vec import Vec, fma, where

# Below the bound the residual x - g² is not exact: x is multiplied by an even power of two first.
TINY = {"double": 2.0**-960, "float": 2.0**-96}
SCALE = {"double": 2.0**128, "float": 2.0**64}
# Each doubles the 14 bits of the approximation.
STEPS = {"double": 2, "float": 1}
# What becomes of the result by the class of x, four bits each from the lowest: a NaN is x, quieted;
# so is a zero or +inf, or 1; a negative number gives NaN; of a positive one the result stays.
SPECIAL = 0x03131122


def sqrt(x: Vec) -> Vec:
    """√x, correctly rounded.

    For a full register of AVX-512 the instruction takes 24 cycles (of floats 12), in the unit that
    divides too. Multiply-adds take 9 (7): Goldschmidt's iteration from an approximation of 1/√x,
    g → √x and h → 1/(2√x), its last step by the exact residual (Markstein, *IA-64 and Elementary
    Functions*, 2000, ch. 9).
    """
    if not _wide(x):
        return x.sqrt()
    tiny, scale = x.lt(x.pick(TINY)), x.pick(SCALE)
    a = where(tiny, x * scale, x)
    y = _approximate_inverse_root(a)
    g, h = a * y, y * 0.5
    for _ in range(x.pick(STEPS)):
        r = fma(-g, h, 0.5)
        g, h = fma(g, r, g), fma(h, r, h)
    root = fma(fma(-g, g, a), h, g)
    return _with_specials(where(tiny, root * scale**-0.5, root), x)


def _wide(x: Vec) -> bool:
    """Whether x fills a register of AVX-512."""
    target = x.b.module.target
    if not isinstance(target, Target) or not target.triple.startswith("x86_64"):
        return False
    return target.width == 64 and x.lanes == target.lanes(8 if x.scalar == "double" else 4)


def _approximate_inverse_root(x: Vec) -> Vec:
    """1/√x to 14 bits."""
    return _instruction(x, "rsqrt14", [x.val, x.const(0).val])


def _with_specials(root: Vec, x: Vec) -> Vec:
    """The root, but by the class of x for one that is no positive number."""
    table = vector(x.format.ints, x.lanes)
    rule = Vec(x.b, x.b.const(SPECIAL, table))
    return _instruction(root, "mask.fixupimm", [root.val, x.val, rule.val, Val("0", "i32")], 4)


def _instruction(x: Vec, name: str, operands: Sequence[Val], *mode: int) -> Vec:
    """An instruction of AVX-512 in all lanes."""
    b, ty = x.b, x.val.ty
    full = f"llvm.x86.avx512.{name}.{'pd' if x.scalar == 'double' else 'ps'}.512"
    given = [*operands, Val("-1", f"i{x.lanes}"), *(Val(str(m), "i32") for m in mode)]
    b.module.declare(full, ty, [v.ty for v in given])
    return Vec(b, b.op(ty, f"call {ty} @{full}({', '.join(map(str, given))})"))
