"""Python objects in LLVM IR: C-API calls, fields, and the guards on a call's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from gradc.codegen import cpython
from gradc.codegen.llvm import Builder, Module, Val

NULL = Val("null", "ptr")

_LIKELY = '!prof !{!"branch_weights", i32 2000, i32 1}'


class ArgSpec(NamedTuple):
    """What one argument must be.

    ``array``: exactly an ndarray, of this dtype (native byte order) and shape, C-contiguous and
    aligned. ``float``, ``int``, ``bool``: exactly of that Python type; the kernel reads it as
    ``dtype``, and an int that ``dtype`` (or int64) does not hold is a miss. ``number``: a Python
    float or an int64, read as float64. ``scalar``: exactly the NumPy scalar of ``dtype``.
    """

    kind: Literal["array", "float", "int", "number", "bool", "scalar"]
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()


class ObjectBuilder(Builder):
    """A builder that also calls the C API, reads fields of objects and guards arguments.

    A guard that does not hold goes to the block ``miss``, which the user of the builder places.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        result: str,
        params: Sequence[tuple[str, str]],
        *,
        linkage: str = "",
    ) -> None:
        super().__init__(module, name, result, params, linkage=linkage)
        layout = cpython.layout()
        assert layout is not None, "native entry points need a supported interpreter and NumPy"
        self.at = layout

    def api(self, ty: str, function: str, *operands: Val) -> Val:
        """Call a C-API function that returns something."""
        result = self.call_pointer(ty, self.external(function), operands)
        assert result is not None
        return result

    def incref(self, v: Val) -> None:
        """Take a reference."""
        self.call_pointer("void", self.external("Py_IncRef"), [v])

    def decref(self, v: Val) -> None:
        """Drop a reference."""
        self.call_pointer("void", self.external("Py_DecRef"), [v])

    def field(self, v: Val, offset: int, ty: str) -> Val:
        """What an object holds at a byte offset."""
        align = {"i8": 1, "i32": 4}.get(ty, 8)
        return self.load(self.gep(v, "i8", self.i64(offset)), ty, align)

    def branch(self, holds: Val, otherwise: str) -> None:
        """Go on if ``holds``, as it nearly always does; to the block ``otherwise`` if not."""
        go = self.label("go")
        self.line(f"br {holds}, label %{go}, label %{otherwise}, {_LIKELY}")
        self.place(go)

    # -- guards --------------------------------------------------------------------------------

    def guard(self, *conditions: Val) -> None:
        """Go on only if all hold."""
        holds, *more = conditions
        for condition in more:
            holds = self.and_(holds, condition)
        self.branch(holds, "miss")

    def is_any(self, v: Val, options: Sequence[Val]) -> Val:
        """Whether ``v`` equals one of the options."""
        found, *more = [self.icmp("eq", v, option) for option in options]
        for other in more:
            found = self.or_(found, other)
        return found

    def guard_type(self, item: Val, *types: str) -> None:
        """Go on only if the object's type is exactly one of these."""
        kind = self.field(item, self.at.type, "ptr")
        self.guard(self.is_any(kind, [self.external(name) for name in types]))

    def argument(self, item: Val, arg: ArgSpec) -> Val:
        """Guard an argument and return the address of its data."""
        return self._array(item, arg) if arg.kind == "array" else self._number(item, arg)

    def _array(self, item: Val, arg: ArgSpec) -> Val:
        self.guard_array(item, arg.dtype, Val(str(len(arg.shape)), "i32"))
        if arg.shape:
            dims = self.field(item, self.at.dims, "ptr")
            found = [self.field(dims, 8 * axis, "i64") for axis in range(len(arg.shape))]
            self.guard(
                *(self.icmp("eq", d, self.i64(n)) for d, n in zip(found, arg.shape, strict=True))
            )
        return self.field(item, self.at.data, "ptr")

    def guard_array(self, item: Val, dtype: np.dtype[Any], rank: Val) -> None:
        """Go on only if this is a plain array of this dtype and rank.

        Type number and byte order are compared, not the dtype object: that of an unpickled array
        is another one.
        """
        at = self.at
        self.guard_type(item, "type ndarray")
        descr = self.field(item, at.descr, "ptr")
        numbers = [Val(str(n), "i32") for n in cpython.numbers(dtype)]
        plain = Val(str(cpython.PLAIN), "i32")
        self.guard(
            self.is_any(self.field(descr, at.type_num, "i32"), numbers),
            self.icmp("ne", self.field(descr, at.byteorder, "i8"), Val(str(cpython.SWAPPED), "i8")),
            self.icmp("eq", self.and_(self.field(item, at.flags, "i32"), plain), plain),
            self.icmp("eq", self.field(item, at.ndim, "i32"), rank),
        )

    def _number(self, item: Val, arg: ArgSpec) -> Val:
        """The value lies in the object itself, or is converted onto the stack."""
        inside = self.gep(item, "i8", self.i64(self.at.scalar))
        if arg.kind == "scalar":
            self.guard_type(item, *cpython.scalar_types(arg.dtype))
            return inside
        if arg.kind == "number":
            return self._float_or_int(item, inside)
        if arg.kind == "float":
            self.guard_type(item, "type float")
            if arg.dtype == np.float64:
                return inside
            value = self.load(inside, "double", 8)
        elif arg.kind == "int":
            value = self.integer(item)
        else:
            value = self.icmp("eq", item, self.external("True"))
            self.guard(self.or_(value, self.icmp("eq", item, self.external("False"))))
        stack = self.alloca("i64", align=8)
        self.store(self._convert(value, arg.dtype), stack, 8)
        return stack

    def integer(self, item: Val) -> Val:
        """Guard an int that int64 holds and return its value."""
        self.guard_type(item, "type int")
        overflow = self.alloca("i32", align=4)
        value = self.api("i64", "PyLong_AsLongLongAndOverflow", item, overflow)
        self.guard(self.icmp("eq", self.load(overflow, "i32", 4), Val("0", "i32")))
        return value

    def _float_or_int(self, item: Val, inside: Val) -> Val:
        """The address of a float64: that of the float's own value, or of the int converted."""
        is_float, is_int, done = self.label("float"), self.label("int"), self.label("number")
        kind = self.field(item, self.at.type, "ptr")
        self.cond_br(self.icmp("eq", kind, self.external("type float")), is_float, is_int)
        self.place(is_float)
        self.br(done)
        self.place(is_int)
        stack = self.alloca("double", align=8)
        self.store(self.cast("sitofp", self.integer(item), "double"), stack, 8)
        converted = self.block
        self.br(done)
        self.place(done)
        choices = f"[ {inside.ref}, %{is_float} ], [ {stack.ref}, %{converted} ]"
        return self.op("ptr", f"phi ptr {choices}")

    def _convert(self, value: Val, dtype: np.dtype[Any]) -> Val:
        """An i1, i64 or double as ``dtype`` has it in memory; an int out of its range misses."""
        bits = 8 * dtype.itemsize
        if dtype.kind == "f":
            if value.ty != "double":
                value = self.cast("uitofp" if value.ty == "i1" else "sitofp", value, "double")
            # An int comes to float32 by way of float64, as it does in NumPy.
            return value if bits == 64 else self.cast("fptrunc", value, "float")
        if value.ty == "i1":
            return self.cast("zext", value, f"i{bits}")
        assert value.ty == "i64" and dtype.kind in "iu", (value, dtype)
        if bits == 64:
            if dtype.kind == "u":
                self.guard(self.icmp("sge", value, self.i64(0)))
            return value
        narrow = self.cast("trunc", value, f"i{bits}")
        back = self.cast("sext" if dtype.kind == "i" else "zext", narrow, "i64")
        self.guard(self.icmp("eq", back, value))
        return narrow
