"""Compiled functions at addresses of this process, with the signatures that other engines call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gradc.codegen import jit
from gradc.codegen.code import Externals
from gradc.codegen.emit import emit_kernel
from gradc.codegen.kernel import needs
from gradc.codegen.link import link
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.loops import LoopProgram
from gradc.codegen.region.emit_loop import LIMIT
from gradc.codegen.region.tape import NO_MEMORY
from gradc.codegen.scalars import memory_type
from gradc.codegen.targets import host

#: bytes of workspace that a function takes from the stack; more comes from the allocator
STACK = 1 << 14

Signature = Literal[
    "numba", "scalar", "scalar_data", "vector", "vector_data", "density", "expansion"
]
_NULL = Val("null", "ptr")


def load(program: LoopProgram, signature: Signature) -> tuple[int, object]:
    """The address of a function of a signature, and what keeps the code there.

    "numba": ``int64_t f(inputs, outputs)``, numbers by value, arrays and outputs by pointer.
    "scalar", "scalar_data": ``double f(double)``, ``double f(double, void *)``.
    "vector", "vector_data": ``double f(int n, double *x)``, also with ``void *``; x is the one
    input, or as many numbers as there are inputs.
    "density": ``int f(size_t n, const double *x, double *gradient, double *value, void *)``.
    "expansion": ``int f(size_t n, size_t m, const double *x, double *out, void *)``.
    """
    module = Module(host())
    module.attributes = host().attributes
    emit_kernel(module, program, "kernel")
    _EMIT[signature](module, program)
    constants, prints = needs(program)
    externals = Externals(constants, prints)
    table = {name: externals.address(name) for name in module.externals}
    library = link(jit.compile(str(module)), ("call",), table)
    return library.address("call"), (library, externals)


class _Call:
    """A function that has begun; ``run`` goes on where the kernel has done its work."""

    def __init__(
        self, module: Module, program: LoopProgram, result: str, types: Sequence[str]
    ) -> None:
        params = [(ty, f"p{k}") for k, ty in enumerate(types)]
        self.b = Builder(module, "call", result, params)
        self.program = program

    def run(
        self, args: Sequence[Val], outs: Sequence[Val], failed: Callable[[Val], Val]
    ) -> None:
        """Run the kernel on addresses; return ``failed(status)`` where that is not 0."""
        b, arena = self.b, self.program.arena
        tables = []
        for some in (args, outs):
            table = b.alloca("ptr", max(1, len(some)), align=8)
            for k, pointer in enumerate(some):
                b.store(pointer, b.gep(table, "ptr", b.i64(k)), 8)
            tables.append(table)
        if arena <= STACK:
            status = b.call("i64", "kernel", [*tables, b.alloca("i8", max(1, arena), align=64)])
        else:
            room = b.call_pointer("ptr", b.external("PyMem_RawMalloc"), [b.i64(arena + 64)])
            assert room is not None
            with b.if_(b.icmp("eq", room, _NULL)):
                b.ret(failed(b.i64(NO_MEMORY)))
                b.place(b.label("never"))
            above = b.cast("ptrtoint", b.gep(room, "i8", b.i64(63)), "i64")
            space = b.cast("inttoptr", b.and_(above, b.i64(-64)), "ptr")
            status = b.call("i64", "kernel", [*tables, space])
            b.call_pointer("void", b.external("PyMem_RawFree"), [room])
        assert status is not None
        with b.if_(b.icmp("ne", status, b.i64(0))):
            b.ret(failed(status))
            b.place(b.label("never"))

    def close(self, value: Val) -> None:
        self.b.ret(value)
        self.b.finish()

    def number(self, ty: str, value: Val | None = None) -> Val:
        """Memory for a number."""
        at = self.b.alloca(ty, 1, align=8)
        if value is not None:
            self.b.store(value, at, 8 if ty in ("double", "i64") else 1)
        return at


def _numba(module: Module, program: LoopProgram) -> None:
    kinds = [memory_type(t.dtype) if not t.shape else "ptr" for t in program.inputs]
    call = _Call(module, program, "i64", [*kinds, *("ptr" for _ in program.outputs)])
    given = call.b.params
    args = [v if v.ty == "ptr" else call.number(v.ty, v) for v in given[: len(kinds)]]
    call.run(args, given[len(kinds) :], lambda status: status)
    call.close(call.b.i64(0))


def _scalar(module: Module, program: LoopProgram, data: bool = False) -> None:
    call = _Call(module, program, "double", ["double", *(["ptr"] if data else [])])
    _integrand(call, [call.number("double", call.b.params[0])])


def _vector(module: Module, program: LoopProgram, data: bool = False) -> None:
    call = _Call(module, program, "double", ["i32", "ptr", *(["ptr"] if data else [])])
    b, (count, x, *_) = call.b, call.b.params
    many = len(program.inputs) > 1 or not program.inputs[0].shape
    wanted = len(program.inputs) if many else program.inputs[0].size
    with b.if_(b.icmp("ne", count, b.const(wanted, "i32"))):
        b.ret(b.const(float("nan"), "double"))
        b.place(b.label("never"))
    args = [b.gep(x, "double", b.i64(k)) for k in range(wanted)] if many else [x]
    _integrand(call, args)


def _integrand(call: _Call, args: Sequence[Val]) -> None:
    nan = call.b.const(float("nan"), "double")
    out = call.number("double")
    call.run(args, [out], lambda status: nan)
    call.close(call.b.load(out, "double", 8))


def _density(module: Module, program: LoopProgram) -> None:
    call = _Call(module, program, "i32", ["i64", "ptr", "ptr", "ptr", "ptr"])
    count, x, gradient, value, _ = call.b.params
    _count(call, count, program.inputs[0].size)
    call.run([x], [value, gradient], lambda status: _sampled(call.b, status))
    call.close(call.b.const(0, "i32"))


def _expansion(module: Module, program: LoopProgram) -> None:
    call = _Call(module, program, "i32", ["i64", "i64", "ptr", "ptr", "ptr"])
    count, many, x, out, _ = call.b.params
    _count(call, count, program.inputs[0].size)
    _count(call, many, program.outputs[0].size)
    call.run([x], [out], lambda status: _sampled(call.b, status))
    call.close(call.b.const(0, "i32"))


def _count(call: _Call, given: Val, wanted: int) -> None:
    b = call.b
    with b.if_(b.icmp("ne", given, b.i64(wanted))):
        b.ret(b.const(-1, "i32"))
        b.place(b.label("never"))


def _sampled(b: Builder, status: Val) -> Val:
    """What a sampler is told: a positive number lets it try another point, a negative one not."""
    code = b.cast("trunc", b.and_(status, b.i64(255)), "i32")
    lasting = b.icmp("ne", code, b.const(LIMIT, "i32"))
    return b.select(lasting, b.sub(b.const(0, "i32"), code), code)


_EMIT: dict[str, Callable[[Module, LoopProgram], None]] = {
    "numba": _numba,
    "scalar": _scalar,
    "scalar_data": lambda module, program: _scalar(module, program, data=True),
    "vector": _vector,
    "vector_data": lambda module, program: _vector(module, program, data=True),
    "density": _density,
    "expansion": _expansion,
}

_POINTER, _DOUBLE = ctypes.c_void_p, ctypes.c_double
_DOUBLES = ctypes.POINTER(ctypes.c_double)

#: signature -> its ctypes prototype (of "numba", by the program's types) and its C text
PROTOTYPES: dict[str, tuple[Any, str]] = {
    "scalar": (ctypes.CFUNCTYPE(_DOUBLE, _DOUBLE), "double (double)"),
    "scalar_data": (
        ctypes.CFUNCTYPE(_DOUBLE, _DOUBLE, _POINTER), "double (double, void *)"
    ),
    "vector": (
        ctypes.CFUNCTYPE(_DOUBLE, ctypes.c_int, _DOUBLES), "double (int, double *)"
    ),
    "vector_data": (
        ctypes.CFUNCTYPE(_DOUBLE, ctypes.c_int, _DOUBLES, _POINTER),
        "double (int, double *, void *)",
    ),
    "density": (
        ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, _DOUBLES, _DOUBLES, _DOUBLES, _POINTER),
        "int (size_t n, const double *x, double *gradient, double *value, void *)",
    ),
    "expansion": (
        ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_size_t, ctypes.c_size_t, _DOUBLES, _DOUBLES, _POINTER
        ),
        "int (size_t n, size_t m, const double *x, double *out, void *)",
    ),
}
