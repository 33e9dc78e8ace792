"""Guards as functions of their own, in LLVM IR: a front of many leaves calls them over and over.

Each is emitted once into a module, and its name returned. They are half as fast as guards in place
and a tenth as long, and code is compiled while a user waits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradc.codegen.guards import NULL, ObjectBuilder
from gradc.codegen.llvm import Module, Val

_TRUE, _FALSE = Val("true", "i1"), Val("false", "i1")


def array_check(module: Module, dtype: np.dtype[Any]) -> str:
    """``i1 name(item, i64 rank, dims)``: whether it is a plain array of this shape."""
    name = f"is_{dtype.name}"
    if name not in module.functions:
        params = [("ptr", "item"), ("i64", "rank"), ("ptr", "wanted")]
        b = ObjectBuilder(module, name, "i1", params, linkage="internal")
        item, rank, wanted = b.params
        b.guard_array(item, dtype, b.cast("trunc", rank, "i32"))
        dims = b.field(item, b.at.dims, "ptr")
        with b.loop(b.i64(0), rank, carried=[b.i64(0)]) as loop:
            n = b.load(b.gep(dims, "i64", loop.index), "i64", 8)
            other = b.xor(n, b.load(b.gep(wanted, "i64", loop.index), "i64", 8))
            loop.next = [b.or_(loop.carried[0], other)]
        b.ret(b.icmp("eq", loop.results[0], b.i64(0)))
        _finish(b)
    return name


def string_check(module: Module) -> str:
    """``i1 name(item, wanted)``: whether it is a string equal to this one."""
    name = "is_string"
    if name not in module.functions:
        params = [("ptr", "item"), ("ptr", "wanted")]
        b = ObjectBuilder(module, name, "i1", params, linkage="internal")
        item, wanted = b.params
        # Nearly always the very same, as names and literals in code are.
        with b.if_(b.icmp("eq", item, wanted)):
            b.ret(_TRUE)
            b.place(b.label("never"))
        b.guard_type(item, "type str")
        order = b.api("i32", "PyUnicode_Compare", item, wanted)
        b.ret(b.icmp("eq", order, Val("0", "i32")))
        _finish(b)
    return name


def value_check(module: Module) -> str:
    """``ptr name(dict, position, wanted)``: the value that follows the position in a dict.

    Null if there is none, or its key is another string than this one.
    """
    name = "next_value"
    if name not in module.functions:
        params = [("ptr", "item"), ("ptr", "position"), ("ptr", "wanted")]
        b = ObjectBuilder(module, name, "ptr", params, linkage="internal")
        item, position, wanted = b.params
        key, value = b.alloca("ptr", align=8), b.alloca("ptr", align=8)
        more = b.api("i32", "PyDict_Next", item, position, key, value)
        b.guard(b.icmp("ne", more, Val("0", "i32")))
        same = b.call("i1", string_check(module), [b.load(key, "ptr", 8), wanted])
        assert same is not None
        b.guard(same)
        b.ret(b.load(value, "ptr", 8))
        _finish(b, NULL)
    return name


def _finish(b: ObjectBuilder, missed: Val = _FALSE) -> None:
    b.place("miss")
    b.ret(missed)
    b.finish()
