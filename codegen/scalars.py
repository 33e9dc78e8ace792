"""The vocabulary of :mod:`gradc.ir.scalar` in LLVM: one element, or a vector of them, at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradc.codegen import vecmath
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.llvm_types import intrinsic_suffix, lanes_of, scalar_of, vector
from gradc.ir.graph import Node
from gradc.ir.types import BOOL


class Lane(NamedTuple):
    """A register value and the dtype it stands for (LLVM integers have no sign)."""

    val: Val
    dtype: np.dtype[Any]


def memory_type(dtype: np.dtype[Any]) -> str:
    """The LLVM type of an element in memory."""
    if dtype.kind == "f":
        return "double" if dtype.itemsize == 8 else "float"
    return f"i{dtype.itemsize * 8}"


def register_type(dtype: np.dtype[Any]) -> str:
    """The LLVM type of an element in a register: bool is one bit there."""
    return "i1" if dtype == BOOL else memory_type(dtype)


_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


class VectorScalar:
    """Emits lowerings at a builder's position, ``lanes`` elements at a time."""

    def __init__(self, builder: Builder, lanes: int) -> None:
        self.b = builder
        self.lanes = lanes
        self._pairs: dict[tuple[object, Val], tuple[Val, Val]] = {}

    def type(self, dtype: np.dtype[Any]) -> str:
        return vector(register_type(dtype), self.lanes)

    def number(self, value: Any, dtype: np.dtype[Any]) -> Lane:
        """A constant in every lane."""
        return Lane(self.b.const(value, self.type(dtype)), dtype)

    def apply(self, node: Node, operands: list[Lane]) -> Lane:
        """The value of an elementwise node on operands."""
        if node.op.name == "convert":
            return self.convert(operands[0], node.attrs["dtype"])
        lower = node.op.lower
        out = lower(self, *operands) if lower else getattr(self, node.op.name)(*operands)
        assert isinstance(out, Lane)
        return out

    # -- the vocabulary ------------------------------------------------------------------------

    def dtype(self, x: Lane) -> np.dtype[Any]:
        return x.dtype

    def const(self, value: float, like: Lane) -> Lane:
        return self.number(value, like.dtype)

    def _binary(self, float_: str, integer: str, x: Lane, y: Lane) -> Lane:
        return Lane(
            self.b.binary(float_ if x.dtype.kind == "f" else integer, x.val, y.val), x.dtype
        )

    def add(self, x: Lane, y: Lane) -> Lane:
        return self._binary("fadd", "add", x, y)

    def sub(self, x: Lane, y: Lane) -> Lane:
        return self._binary("fsub", "sub", x, y)

    def mul(self, x: Lane, y: Lane) -> Lane:
        return self._binary("fmul", "mul", x, y)

    def div(self, x: Lane, y: Lane) -> Lane:
        return self._divide("div", x, y)

    def rem(self, x: Lane, y: Lane) -> Lane:
        return self._divide("rem", x, y)

    def _divide(self, what: str, x: Lane, y: Lane) -> Lane:
        """Guarded: a zero divisor and the one overflowing quotient would kill the process."""
        if x.dtype.kind == "f":
            return Lane(self.b.fdiv(x.val, y.val), x.dtype)
        b, zero = self.b, self.const(0, y)
        by_zero = b.icmp("eq", y.val, zero.val)
        divisor = b.select(by_zero, self.const(1, y).val, y.val)
        if x.dtype.kind == "u":
            out = b.binary(f"u{what}", x.val, divisor)
            return Lane(b.select(by_zero, zero.val, out), x.dtype)
        minus = b.icmp("eq", divisor, self.const(-1, y).val)
        out = b.binary(f"s{what}", x.val, b.select(minus, self.const(1, y).val, divisor))
        turned = b.sub(zero.val, x.val) if what == "div" else zero.val
        out = b.select(minus, turned, out)
        return Lane(b.select(by_zero, zero.val, out), x.dtype)

    def neg(self, x: Lane) -> Lane:
        if x.dtype.kind == "f":
            return Lane(self.b.fneg(x.val), x.dtype)
        return Lane(self.b.sub(self.const(0, x).val, x.val), x.dtype)

    def abs(self, x: Lane) -> Lane:
        if x.dtype.kind == "f":
            return self._unary("fabs", x)
        return self.select(self.lt(x, self.const(0, x)), self.neg(x), x)

    def _unary(self, intrinsic: str, x: Lane) -> Lane:
        return Lane(self.b.intrinsic(intrinsic, x.val.ty, [x.val]), x.dtype)

    def sqrt(self, x: Lane) -> Lane:
        return Lane(vecmath.emit(self.b, "sqrt", [x.val]), x.dtype)

    def floor(self, x: Lane) -> Lane:
        return self._unary("floor", x)

    def ceil(self, x: Lane) -> Lane:
        return self._unary("ceil", x)

    def rint(self, x: Lane) -> Lane:
        return self._unary("roundeven", x)

    def trunc(self, x: Lane) -> Lane:
        return self._unary("trunc", x)

    def copysign(self, x: Lane, y: Lane) -> Lane:
        return Lane(self.b.intrinsic("copysign", x.val.ty, [x.val, y.val]), x.dtype)

    def math(self, name: str, *x: Lane) -> Lane:
        operands = [v.val for v in x]
        if self.b.module.outline:
            return Lane(_called(self.b, name, operands), x[0].dtype)
        if name in vecmath.PAIRS:
            pair, which = vecmath.PAIRS[name]
            if (pair, operands[0]) not in self._pairs:
                self._pairs[pair, operands[0]] = vecmath.emit_pair(self.b, name, operands[0])
            return Lane(self._pairs[pair, operands[0]][which], x[0].dtype)
        return Lane(vecmath.emit(self.b, name, operands), x[0].dtype)

    def _compare(self, what: str, x: Lane, y: Lane) -> Lane:
        if x.dtype.kind == "f":
            return Lane(self.b.fcmp(_FLOAT_COMPARE[what], x.val, y.val), BOOL)
        sign = "" if what in ("eq", "ne") else "s" if x.dtype.kind == "i" else "u"
        return Lane(self.b.icmp(sign + what, x.val, y.val), BOOL)

    def eq(self, x: Lane, y: Lane) -> Lane:
        return self._compare("eq", x, y)

    def ne(self, x: Lane, y: Lane) -> Lane:
        return self._compare("ne", x, y)

    def lt(self, x: Lane, y: Lane) -> Lane:
        return self._compare("lt", x, y)

    def le(self, x: Lane, y: Lane) -> Lane:
        return self._compare("le", x, y)

    def gt(self, x: Lane, y: Lane) -> Lane:
        return self._compare("gt", x, y)

    def ge(self, x: Lane, y: Lane) -> Lane:
        return self._compare("ge", x, y)

    def select(self, condition: Lane, x: Lane, y: Lane) -> Lane:
        return Lane(self.b.select(condition.val, x.val, y.val), x.dtype)

    def and_(self, x: Lane, y: Lane) -> Lane:
        return Lane(self.b.and_(x.val, y.val), x.dtype)

    def or_(self, x: Lane, y: Lane) -> Lane:
        return Lane(self.b.or_(x.val, y.val), x.dtype)

    def xor(self, x: Lane, y: Lane) -> Lane:
        return Lane(self.b.xor(x.val, y.val), x.dtype)

    def not_(self, x: Lane) -> Lane:
        ones = self.b.const(1 if x.dtype == BOOL else -1, x.val.ty)
        return Lane(self.b.xor(x.val, ones), x.dtype)

    def _shift(self, opcode: str, x: Lane, y: Lane, beyond: Lane) -> Lane:
        bits = x.dtype.itemsize * 8
        inside = self.b.icmp("ult", y.val, self.const(bits, y).val)
        by = self.b.select(inside, y.val, self.const(0, y).val)
        out = self.b.binary(opcode, x.val, by)
        return Lane(self.b.select(inside, out, beyond.val), x.dtype)

    def shift_left(self, x: Lane, y: Lane) -> Lane:
        return self._shift("shl", x, y, self.const(0, x))

    def shift_right(self, x: Lane, y: Lane) -> Lane:
        if x.dtype.kind == "u":
            return self._shift("lshr", x, y, self.const(0, x))
        sign = Lane(
            self.b.binary("ashr", x.val, self.const(x.dtype.itemsize * 8 - 1, x).val), x.dtype
        )
        return self._shift("ashr", x, y, sign)

    def convert(self, x: Lane, dtype: np.dtype[Any]) -> Lane:
        """NumPy's casts; float to integer out of range gives what x86 gives, its smallest."""
        b, to = self.b, self.type(dtype)
        source, target = x.dtype, dtype
        if source == target:
            return x
        if target == BOOL:
            return self.ne(x, self.const(0, x))
        if target.kind == "f":
            if source.kind == "f":
                opcode = "fpext" if target.itemsize > source.itemsize else "fptrunc"
            else:
                opcode = "sitofp" if source.kind == "i" else "uitofp"
            return Lane(b.cast(opcode, x.val, to), target)
        if source.kind == "f":
            return self._to_integer(x, target)
        wider = target.itemsize > source.itemsize or source == BOOL
        if target.itemsize == source.itemsize and source != BOOL:
            return Lane(x.val, target)
        opcode = ("sext" if source.kind == "i" else "zext") if wider else "trunc"
        return Lane(b.cast(opcode, x.val, to), target)

    def _to_integer(self, x: Lane, target: np.dtype[Any]) -> Lane:
        """As x86 compilers do: through a signed 32- or 64-bit integer, its smallest if that fails.

        The result wraps to the target's width.
        """
        b = self.b
        narrow = target.itemsize < 4 or target == np.dtype(np.int32)
        wide, bound = np.dtype(np.int32 if narrow else np.int64), 2.0 ** (31 if narrow else 63)
        fraction = narrow and x.dtype.itemsize == 8  # what lies above -2^31 - 1 truncates to -2^31
        low = self.gt(x, self.const(-bound - 1, x)) if fraction else self.ge(
            x, self.const(-bound, x)
        )
        inside = self.and_(low, self.lt(x, self.const(bound, x)))
        safe = self.select(inside, x, self.const(0, x))
        signed = b.cast("fptosi", safe.val, self.type(wide))
        out = b.select(inside.val, signed, self.number(-int(bound), wide).val)
        if target == np.dtype(np.uint64):
            upper = self.lt(x, self.const(2.0**64, x))
            large = self.and_(self.ge(x, self.const(2.0**63, x)), upper)
            safe = self.select(large, x, self.const(0, x))
            out = b.select(large.val, b.cast("fptoui", safe.val, self.type(wide)), out)
        if target.itemsize < wide.itemsize:
            out = b.cast("trunc", out, self.type(target))
        return Lane(out, target)


def _called(b: Builder, name: str, operands: list[Val]) -> Val:
    """A call of a math function that stands once in the module."""
    ty = operands[0].ty
    function = f"{name}_{intrinsic_suffix(ty)}"
    if function not in b.module.functions:
        params = [(ty, f"x{k}") for k in range(len(operands))]
        inner = Builder(b.module, function, ty, params, linkage="internal")
        inner.ret(vecmath.emit(inner, name, inner.params))
        inner.finish()
    out = b.call(ty, function, operands)
    assert out is not None
    return out


def broadcast(b: Builder, lane: Lane, lanes: int) -> Lane:
    """A row's scalar in every lane."""
    if lanes == 1 or lanes_of(lane.val.ty) == lanes:
        return lane
    if not lane.val.ref.startswith("%"):
        text = f"{scalar_of(lane.val.ty)} {lane.val.ref}"
        ty = vector(lane.val.ty, lanes)
        return Lane(Val("<" + ", ".join([text] * lanes) + ">", ty), lane.dtype)
    return Lane(b.splat(lane.val, lanes), lane.dtype)
