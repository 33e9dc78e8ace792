"""Fused multiply-adds on machines that have none: by the errors of a product and of a sum.

The product is exact as a sum of two doubles (Dekker, *A floating-point technique for extending the
available precision*, 1971), and so is the sum with the third operand (Knuth); what is lost is
rounded together. The result is that of a fused multiply-add, or its neighbour where two roundings
fall on the same side of a tie, as long as the product's error is no subnormal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradc.codegen.llvm import Val
from gradc.codegen.llvm_types import like, scalar_of

if TYPE_CHECKING:
    from gradc.codegen.llvm import Builder

#: bits of a double's mantissa that the upper half leaves out
_LOWER = 27


def emulated_fma(b: Builder, x: Val, y: Val, z: Val) -> Val:
    """x·y + z of floats or doubles, in all lanes."""
    if scalar_of(x.ty) == "float":
        wide = like(x.ty, "double")
        a, c, d = (b.cast("fpext", v, wide) for v in (x, y, z))
        return b.cast("fptrunc", b.fadd(b.fmul(a, c), d), x.ty)
    product = b.fmul(x, y)
    (x_high, x_low), (y_high, y_low) = _halves(b, x), _halves(b, y)
    error = b.fsub(b.fmul(x_high, y_high), product)
    error = b.fadd(b.fadd(error, b.fmul(x_high, y_low)), b.fmul(x_low, y_high))
    error = b.fadd(error, b.fmul(x_low, y_low))
    total = b.fadd(product, z)
    part = b.fsub(total, product)
    lost = b.fadd(b.fsub(product, b.fsub(total, part)), b.fsub(z, part))
    rest = b.fadd(lost, error)
    # Nothing is added where nothing was lost (a sum may be -0), or where the halves overflowed.
    some = b.fcmp("one", rest, b.const(0.0, x.ty))
    return b.select(some, b.fadd(total, rest), total)


def _halves(b: Builder, x: Val) -> tuple[Val, Val]:
    """x as the sum of two doubles of 26 bits."""
    ints = like(x.ty, "i64")
    rounded = b.binary("add", b.cast("bitcast", x, ints), b.const(1 << _LOWER - 1, ints))
    high = b.cast("bitcast", b.and_(rounded, b.const(-1 << _LOWER, ints)), x.ty)
    return high, b.fsub(x, high)
