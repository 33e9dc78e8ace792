"""The front of an entry point: it takes the arguments of a call apart, in LLVM IR.

A front is made for one :class:`Form <gradc.codegen.form.Form>` of call to one specialisation.
Where all arguments are as the form says, it hands the addresses of their data to the
specialisation's ``run`` function (:mod:`gradc.codegen.entry`). Any other call goes on to the next
entry point by a tail call, last to a Python callable.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence

import numpy as np

from gradc.codegen import cpython
from gradc.codegen.checks import array_check, string_check, value_check
from gradc.codegen.form import Constant, Form, Leaf, Node, Pattern, leaves
from gradc.codegen.guards import NULL, ArgSpec, ObjectBuilder
from gradc.codegen.llvm import Module, Val

_PARAMS = [("ptr", "self"), ("ptr", "args"), ("i64", "nargs"), ("ptr", "kwnames")]

#: the most leaves whose guards are emitted in place
INLINE = 4

_INT64 = range(-(2**63), 2**63)


def emit_front(
    module: Module, form: Form, name: str = "entry", run: str | None = None
) -> list[object]:
    """Add ``PyObject* name(self, args, nargs, kwnames)`` to a module.

    Also added: the global ``name_next``, the entry to go on to when a guard misses; at first
    ``name_slow``, which calls the Python callable. ``run`` is a function of the module, or None
    for the external of that name. Returns the objects that the code refers to as the externals
    ``object 0``, ``object 1`` ... Requires :func:`gradc.codegen.cpython.supported`.
    """
    module.globals[f"{name}_next"] = f"@{name}_next = dso_local global ptr @{name}_slow, align 8"
    _emit_slow(module, name)
    return _Front(module, name, form).emit(run)


def _emit_slow(module: Module, name: str) -> None:
    """The end of the chain: the Python callable, with the very same arguments."""
    b = ObjectBuilder(module, f"{name}_slow", "ptr", _PARAMS, linkage="internal")
    _, args, nargs, kwnames = b.params
    vectorcall = b.external("PyObject_Vectorcall")
    slow = b.external("slow")
    operands = ", ".join(map(str, (slow, args, nargs, kwnames)))
    b.ret(b.op("ptr", f"tail call ptr {vectorcall.ref}({operands})"))
    b.finish()


class _Front:
    """Emits one front.

    The caller holds the arguments, but what is inside containers may be taken out of them: by
    another thread while the kernel runs without the GIL, by Python code that reading an attribute
    or the kernel runs. So the children of a container are taken with a reference each, all of them
    before anything is done with one; ``held`` are the places of these references on the stack,
    null at first.
    """

    def __init__(self, module: Module, name: str, form: Form) -> None:
        self.b = ObjectBuilder(module, name, "ptr", _PARAMS)
        self.module = module
        self.name = name
        self.form = form
        self.objects: list[object] = []
        self.many = len(leaves([argument.pattern for argument in form.arguments])) > INLINE
        self.places = sum(_held(argument.pattern) for argument in form.arguments)
        self.held = self.b.alloca("ptr", self.places, align=8) if self.places else NULL
        self.taken = 0

    def emit(self, run: str | None) -> list[object]:
        b, form = self.b, self.form
        _, args, nargs, kwnames = b.params
        if self.places:
            with b.loop(b.i64(0), b.i64(self.places)) as loop:
                b.store(NULL, b.gep(self.held, "ptr", loop.index), 8)
        b.guard(b.icmp("eq", nargs, b.i64(form.positional)))
        self.names(kwnames, form.keywords)
        self.inputs = b.alloca("ptr", max(1, form.inputs), align=8)
        for argument in form.arguments:
            if argument.place is None:
                item = self.object(argument.default)
            else:
                item = b.load(b.gep(args, "ptr", b.i64(argument.place)), "ptr", 8)
            self.match(item, argument.pattern)
        operands = [self.inputs, args, nargs]
        if run is None:
            result = b.api("ptr", "run", *operands)
        else:
            called = b.call("ptr", run, operands)
            assert called is not None
            result = called
        self.release()
        b.ret(result)
        self.emit_miss()
        b.finish()
        return self.objects

    def object(self, thing: object) -> Val:
        """The address of a live object."""
        self.objects.append(thing)
        return self.b.external(f"object {len(self.objects) - 1}")

    # -- references ----------------------------------------------------------------------------

    def hold(self, new: Val) -> None:
        """Keep a reference until the end of the call."""
        self.b.store(new, self.b.gep(self.held, "ptr", self.b.i64(self.taken)), 8)
        self.taken += 1

    def release(self) -> None:
        b = self.b
        if self.places:
            with b.loop(b.i64(0), b.i64(self.places)) as loop:
                b.decref(b.load(b.gep(self.held, "ptr", loop.index), "ptr", 8))

    def emit_miss(self) -> None:
        b = self.b
        b.place("miss")
        self.release()
        following = b.load(Val(f"@{self.name}_next", "ptr"), "ptr", 8)
        operands = ", ".join(map(str, b.params))
        b.ret(b.op("ptr", f"musttail call ptr {following.ref}({operands})"))

    # -- guards --------------------------------------------------------------------------------

    def names(self, kwnames: Val, keywords: Sequence[str]) -> None:
        """Guard the names of the keyword arguments: a tuple of strings, or null."""
        b = self.b
        if not keywords:
            b.guard(b.icmp("eq", kwnames, NULL))
            return
        b.guard(b.icmp("ne", kwnames, NULL))
        b.guard(b.icmp("eq", b.field(kwnames, b.at.size, "i64"), b.i64(len(keywords))))
        for k, keyword in enumerate(keywords):
            self.string(b.field(kwnames, b.at.tuple_items + 8 * k, "ptr"), keyword)

    def match(self, item: Val, pattern: Pattern) -> None:
        """Guard an object, and store the addresses of its leaves' data."""
        b = self.b
        if isinstance(pattern, Leaf):
            outlined = self.many and pattern.arg.kind == "array"
            address = (self.array if outlined else b.argument)(item, pattern.arg)
            for k in pattern.inputs:
                b.store(address, b.gep(self.inputs, "ptr", b.i64(k)), 8)
        elif isinstance(pattern, Constant):
            self.constant(item, pattern)
        else:
            b.guard(b.icmp("eq", b.field(item, b.at.type, "ptr"), self.kind(pattern.kind)))
            for child, inner in zip(self.children(item, pattern), pattern.children, strict=True):
                self.match(child, inner)

    def array(self, item: Val, arg: ArgSpec) -> Val:
        """As ``b.argument``, by a call."""
        b, shape = self.b, arg.shape
        dims = NULL
        if shape:
            text = "[" + ", ".join(f"i64 {n}" for n in shape) + "]"
            name = f"{self.name}_" + "x".join(map(str, shape))
            dims = self.module.constant(name, f"[{len(shape)} x i64]", text, align=8)
        self.call_guard(array_check(self.module, arg.dtype), item, b.i64(len(shape)), dims)
        return b.field(item, b.at.data, "ptr")

    def call_guard(self, function: str, *operands: Val) -> None:
        """Go on only if a function of the module says so."""
        holds = self.b.call("i1", function, operands)
        assert holds is not None
        self.b.guard(holds)

    def kind(self, kind: type) -> Val:
        """The address of a type."""
        known = f"type {kind.__name__}"
        return self.b.external(known) if kind in cpython.CONTAINERS else self.object(kind)

    def children(self, item: Val, node: Node) -> list[Val]:
        """The children of a container, each with a reference that is held.

        Their number is guarded, and the keys of a dict.
        """
        b = self.b
        count = len(node.children)
        if not issubclass(node.kind, (tuple, list, dict)):
            return [self.attribute(item, str(key)) for key in node.keys]
        b.guard(b.icmp("eq", b.field(item, b.at.size, "i64"), b.i64(count)))
        if node.kind is dict:
            found = self.values(item, node)
        elif node.kind is list:
            items = b.field(item, b.at.list_items, "ptr")
            found = [b.field(items, 8 * k, "ptr") for k in range(count)]
        else:
            found = [b.field(item, b.at.tuple_items + 8 * k, "ptr") for k in range(count)]
        for child in found:
            b.incref(child)
            self.hold(child)
        return found

    def values(self, item: Val, node: Node) -> list[Val]:
        """The values of a dict whose size is right; its keys and their order are guarded."""
        b = self.b
        position = b.alloca("i64", align=8)
        b.store(b.i64(0), position, 8)
        found = []
        for wanted in node.keys:
            assert isinstance(wanted, Constant)
            if wanted.kind is str:
                key = self.object(wanted.value)
                value = b.call("ptr", value_check(self.module), [item, position, key])
                assert value is not None
                b.guard(b.icmp("ne", value, NULL))
                found.append(value)
            else:
                places = b.alloca("ptr", align=8), b.alloca("ptr", align=8)
                more = b.api("i32", "PyDict_Next", item, position, *places)
                b.guard(b.icmp("ne", more, Val("0", "i32")))
                self.constant(b.load(places[0], "ptr", 8), wanted)
                found.append(b.load(places[1], "ptr", 8))
        return found

    def attribute(self, item: Val, name: str) -> Val:
        """An attribute of an object; there may be none, or reading it may fail."""
        b = self.b
        value = b.api("ptr", "PyObject_GetAttr", item, self.object(name))
        absent, present = b.label("absent"), b.label("present")
        b.cond_br(b.icmp("eq", value, NULL), absent, present)
        b.place(absent)
        b.call_pointer("void", b.external("PyErr_Clear"), [])
        b.br("miss")
        b.place(present)
        self.hold(value)
        return value

    def constant(self, item: Val, constant: Constant) -> None:
        """Guard a static object; no Python code runs."""
        b, kind, value = self.b, constant.kind, constant.value
        if isinstance(value, str) and kind is str:
            self.string(item, value)
        elif isinstance(value, int) and kind is int and value in _INT64:
            b.guard(b.icmp("eq", b.integer(item), b.i64(value)))
        elif isinstance(value, float) and kind is float:
            b.guard_type(item, "type float")
            bits = struct.unpack("=q", struct.pack("=d", value))[0]
            b.guard(b.icmp("eq", b.field(item, b.at.scalar, "i64"), b.i64(bits)))
        elif isinstance(value, np.generic):
            b.guard(b.icmp("eq", b.field(item, b.at.type, "ptr"), self.object(kind)))
            bits = int.from_bytes(value.tobytes(), sys.byteorder, signed=True)
            ty = f"i{8 * value.nbytes}"
            held = b.load(b.gep(item, "i8", b.i64(b.at.scalar)), ty, value.nbytes)
            b.guard(b.icmp("eq", held, Val(str(bits), ty)))
        elif value is None or kind is bool:
            b.guard(b.icmp("eq", item, b.external(str(value))))
        else:
            b.guard(b.icmp("eq", item, self.object(value)))

    def string(self, item: Val, value: str) -> None:
        """Guard a string."""
        self.call_guard(string_check(self.module), item, self.object(value))


def _held(pattern: Pattern) -> int:
    """How many references matching a pattern takes."""
    if not isinstance(pattern, Node):
        return 0
    return len(pattern.children) + sum(map(_held, pattern.children))
