"""Values with operators, so that the algorithms of this package read as formulas.

A :class:`Vec` is an SSA value with the builder that made it: ``x * y + 1.0`` emits two
instructions at the builder's position. Every operation is one IEEE operation, rounded once;
nothing is contracted, so any lane count gives the same bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import lanes_of, like, literal, scalar_of

T = TypeVar("T")


class Format(NamedTuple):
    """A binary floating-point format: the layout of its bits and what follows from it.

    Adding ``shifter`` to a number of magnitude below ``2**(mantissa - 2)`` rounds it to an
    integer, which stands in two's complement in the low bits of the sum.
    """

    scalar: str
    ints: str
    mantissa: int
    bias: int

    @property
    def shifter(self) -> float:
        """What to add to round to an integer."""
        return 1.5 * 2.0**self.mantissa

    @property
    def one(self) -> int:
        """The bits of 1.0."""
        return self.bias << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit, as a signed integer."""
        return -1 << (self.mantissa + (11 if self.bias == 1023 else 8))

    @property
    def exponent_mask(self) -> int:
        """Sign and exponent bits, as a signed integer."""
        return -1 << self.mantissa

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)


DOUBLE = Format("double", "i64", 52, 1023)
FLOAT = Format("float", "i32", 23, 127)
FORMATS = {"double": DOUBLE, "float": FLOAT, "i64": DOUBLE, "i32": FLOAT}


@functools.cache
def _constant(text: str, ty: str) -> Val:
    scalar = scalar_of(ty)
    return Val(text if ty == scalar else f"splat ({scalar} {text})", ty)


class Vec:
    """A scalar or vector of floats, integers or truth values, with Python's operators.

    Numbers mix in as constants. Comparisons are methods (``x.lt(y)``), ordered, and give
    vectors of ``i1``; ``>>`` is the logical shift.
    """

    __slots__ = ("b", "real", "val")

    def __init__(self, b: Builder, val: Val) -> None:
        self.b = b
        self.val = val
        self.real = scalar_of(val.ty) in ("double", "float")

    @property
    def scalar(self) -> str:
        """The scalar type, as LLVM names it."""
        return scalar_of(self.val.ty)

    @property
    def lanes(self) -> int:
        """How many lanes."""
        return lanes_of(self.val.ty)

    @property
    def format(self) -> Format:
        """The floating-point format of this width."""
        return FORMATS[self.scalar]

    def pick(self, table: Mapping[str, T]) -> T:
        """The entry of a table by scalar type."""
        return table[self.scalar]

    def const(self, value: float | int) -> Vec:
        """A constant of this type."""
        return Vec(self.b, _constant(literal(value, self.scalar), self.val.ty))

    def lift(self, other: Vec | float | int) -> Vec:
        """A number as a constant of this type."""
        return other if isinstance(other, Vec) else self.const(other)

    def _binary(self, opcode: str, other: Vec | float | int) -> Vec:
        return Vec(self.b, self.b.binary(opcode, self.val, self.lift(other).val))

    def __add__(self, other: Vec | float | int) -> Vec:
        return self._binary("fadd" if self.real else "add", other)

    def __sub__(self, other: Vec | float | int) -> Vec:
        return self._binary("fsub" if self.real else "sub", other)

    def __mul__(self, other: Vec | float | int) -> Vec:
        return self._binary("fmul" if self.real else "mul", other)

    def __truediv__(self, other: Vec | float | int) -> Vec:
        return self._binary("fdiv", other)

    def __radd__(self, other: float | int) -> Vec:
        return self.const(other) + self

    def __rsub__(self, other: float | int) -> Vec:
        return self.const(other) - self

    def __rmul__(self, other: float | int) -> Vec:
        return self.const(other) * self

    def __rtruediv__(self, other: float | int) -> Vec:
        return self.const(other) / self

    def __neg__(self) -> Vec:
        return Vec(self.b, self.b.fneg(self.val))

    def __and__(self, other: Vec | int) -> Vec:
        return self._binary("and", other)

    def __or__(self, other: Vec | int) -> Vec:
        return self._binary("or", other)

    def __xor__(self, other: Vec | int) -> Vec:
        return self._binary("xor", other)

    def __lshift__(self, other: Vec | int) -> Vec:
        return self._binary("shl", other)

    def __rshift__(self, other: Vec | int) -> Vec:
        return self._binary("lshr", other)

    def __invert__(self) -> Vec:
        return self ^ (1 if self.scalar == "i1" else -1)

    def _compare(self, predicate: str, other: Vec | float | int) -> Vec:
        compare = self.b.fcmp if self.real else self.b.icmp
        return Vec(self.b, compare(predicate, self.val, self.lift(other).val))

    def lt(self, other: Vec | float | int) -> Vec:
        """self < other."""
        return self._compare("olt" if self.real else "slt", other)

    def le(self, other: Vec | float | int) -> Vec:
        """self <= other."""
        return self._compare("ole" if self.real else "sle", other)

    def gt(self, other: Vec | float | int) -> Vec:
        """self > other."""
        return self._compare("ogt" if self.real else "sgt", other)

    def ge(self, other: Vec | float | int) -> Vec:
        """self >= other."""
        return self._compare("oge" if self.real else "sge", other)

    def eq(self, other: Vec | float | int) -> Vec:
        """self == other."""
        return self._compare("oeq" if self.real else "eq", other)

    def ne(self, other: Vec | float | int) -> Vec:
        """self != other, or (of floats) unordered."""
        return self._compare("une" if self.real else "ne", other)

    def unordered(self, other: Vec) -> Vec:
        """Where either is nan."""
        return self._compare("uno", other)

    def cast(self, opcode: str, scalar: str) -> Vec:
        """A conversion to another scalar type."""
        return Vec(self.b, self.b.cast(opcode, self.val, like(self.val.ty, scalar)))

    def bits(self) -> Vec:
        """The bits of floats as integers."""
        return self.cast("bitcast", self.format.ints)

    def floats(self) -> Vec:
        """The floats with these bits."""
        return self.cast("bitcast", self.format.scalar)

    def unary(self, intrinsic: str) -> Vec:
        """An intrinsic of one operand."""
        return Vec(self.b, self.b.intrinsic(intrinsic, self.val.ty, [self.val]))

    def abs(self) -> Vec:
        """The magnitude."""
        return self.unary("fabs")

    def sqrt(self) -> Vec:
        """The square root, correctly rounded."""
        return self.unary("sqrt")

    def trunc(self) -> Vec:
        """Rounded toward zero to an integer."""
        return self.unary("trunc")

    def copysign(self, sign: Vec) -> Vec:
        """This magnitude with the sign of ``sign``."""
        return Vec(self.b, self.b.intrinsic("copysign", self.val.ty, [self.val, sign.val]))

    def at_most(self, bound: float) -> Vec:
        """min(x, bound), keeping nan."""
        return where(self.gt(bound), bound, self)

    def at_least(self, bound: float) -> Vec:
        """max(x, bound), keeping nan."""
        return where(self.lt(bound), bound, self)


def fma(a: Vec, b: Vec | float, c: Vec | float) -> Vec:
    """a·b + c, rounded once."""
    return Vec(a.b, a.b.fma(a.val, a.lift(b).val, a.lift(c).val))


def madd(a: Vec, b: Vec | float, c: Vec | float) -> Vec:
    """a·b + c, rounded once where that costs no more."""
    return Vec(a.b, a.b.madd(a.val, a.lift(b).val, a.lift(c).val))


def where(mask: Vec, a: Vec | float | int, b: Vec | float | int) -> Vec:
    """``a`` where the mask is set, else ``b``; at least one is a :class:`Vec`."""
    if isinstance(a, Vec):
        b = a.lift(b)
    elif isinstance(b, Vec):
        a = b.lift(a)
    else:
        raise TypeError("where needs a value to take the type from")
    return Vec(a.b, a.b.select(mask.val, a.val, b.val))


def choose(mask: Vec, a: float, b: float, like_: Vec) -> Vec:
    """``where`` of two constants, of the type of ``like_``."""
    return where(mask, like_.const(a), like_.const(b))


def fast_two_sum(a: Vec, b: Vec) -> tuple[Vec, Vec]:
    """The sum and its error, for |a| >= |b| or a = 0 (Dekker 1971)."""
    s = a + b
    return s, (a - s) + b


def two_sum(a: Vec, b: Vec) -> tuple[Vec, Vec]:
    """The sum and its error, whatever the order (Knuth)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Vec, b: Vec) -> tuple[Vec, Vec]:
    """The product and its error."""
    p = a * b
    return p, fma(a, b, -p)


def horner(x: Vec, coefficients: Sequence[float]) -> Vec:
    """c0 + c1·x + c2·x² + ..., one chain of multiply-adds."""
    result = x.const(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = madd(result, x, c)
    return result


def polynomial(x: Vec, coefficients: Sequence[float]) -> Vec:
    """c0 + c1·x + c2·x² + ..., the even and the odd part in two chains side by side.

    Half the latency of Horner's scheme for one multiplication (Estrin's whole tree costs more
    instructions than it gains in a loop).
    """
    if len(coefficients) < 5:
        return horner(x, coefficients)
    square = x * x
    return madd(x, horner(square, coefficients[1::2]), horner(square, coefficients[0::2]))


def round_scaled(x: Vec, factor: float, bias: int) -> tuple[Vec, Vec]:
    """n = round(x·factor), and the float whose low bits hold n + bias."""
    shift = x.format.shifter + bias
    t = madd(x, factor, shift)
    return t - shift, t


def power_of_two(t: Vec) -> Vec:
    """2**n from ``round_scaled(..., bias)`` with the bias of the format; n a normal exponent."""
    return (t.bits() << t.format.mantissa).floats()


def two_powers_of_two(t: Vec) -> tuple[Vec, Vec]:
    """2**n as a product of two, from ``round_scaled`` with twice the bias of the format.

    Multiplying by the one and then the other rounds once, subnormal results and overflow
    included (``llvm.ldexp`` becomes a library call on most targets).
    """
    mantissa = t.format.mantissa
    bits = t.bits()
    first = (bits << (mantissa - 1)) & t.format.exponent_mask
    second = (bits << mantissa) - first
    return first.floats(), second.floats()


def coarse_reciprocal(x: Vec) -> Vec:
    """1/x for positive x to about 5%: enough to weigh the last half ulp of a correction.

    Negating the bits negates the exponent; the 0.1010 centres the error of the mantissa.
    """
    return (2 * x.format.one - round(0.1010 * (1 << x.format.mantissa)) - x.bits()).floats()


def any_lane(mask: Vec) -> Val:
    """An ``i1``: whether any lane of the mask is set."""
    b = mask.b
    if mask.lanes == 1:
        return mask.val
    packed = b.cast("bitcast", mask.val, f"i{mask.lanes}")
    return b.icmp("ne", packed, Val("0", packed.ty))


def phi(before: str, old: Vec, after: str, new: Vec) -> Vec:
    """``old`` coming from block ``before``, ``new`` coming from ``after``."""
    b, ty = old.b, old.val.ty
    incoming = f"[ {old.val.ref}, %{before} ], [ {new.val.ref}, %{after} ]"
    return Vec(b, b.op(ty, f"phi {ty} {incoming}"))


NAN = math.nan
INF = math.inf
