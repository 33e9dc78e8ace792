"""The module of an exported library: kernels, a C function for each, what they need at run time.

What a module otherwise takes from the process (:meth:`Builder.external
<gradc.codegen.llvm.Builder.external>`) is in it here: large constants as read-only data, the pool
of threads as a loop, the allocator as that of C. Nothing is left undefined but BLAS, where it is to
be linked, and ``malloc``, ``realloc`` and ``free``, in programs with loops whose trip count no one
knows before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradc.codegen.aot import messages
from gradc.codegen.aot.functions import emit_call
from gradc.codegen.aot.routine import Call, Routine
from gradc.codegen.aot.training import Initial, Training, emit_initial, emit_training
from gradc.codegen.aot.wide import emit_wide
from gradc.codegen.blas import GEMM
from gradc.codegen.kernel import needs
from gradc.codegen.llvm import Builder, Module
from gradc.codegen.targets import Target


def emit_library(name: str, routines: Sequence[Routine], target: Target) -> Module:
    """The module of a library ``name``: its routines, and ``name_message``."""
    module = Module(target)
    module.attributes = target.attributes
    module.linkage = "internal"
    constants: dict[str, bytes] = {}
    prints: set[str] = set()
    texts: list[str] = []
    for routine in routines:
        for program in routine.programs:
            more, sites = needs(program, f"{routine.name}_")
            constants |= more
            prints |= {site.name for site in sites}
        _emit(module, routine, len(texts))
        for program in routine.programs:
            texts += messages.of_nodes(program)
    messages.emit(module, f"{name}_message", texts)
    emit_wide(module)
    module.symbols = [_symbol(module, x, constants, prints) for x in module.externals]
    return module


def _emit(module: Module, routine: Routine, first: int) -> None:
    match routine:
        case Initial():
            emit_initial(module, routine)
        case Training():
            emit_training(module, routine, first)
        case Call():
            emit_call(module, routine, first)


def text_of(module: Module) -> str:
    """The module as text that says for which machine it is."""
    target = module.target
    assert isinstance(target, Target)
    return f'target triple = "{target.triple}"\n{module}'


def undefined(module: Module) -> tuple[str, ...]:
    """The symbols that a module leaves to a linker."""
    return tuple(name for name in module.declarations if not name.startswith("llvm."))


# -- what kernels take from outside --------------------------------------------------------------


def _symbol(
    module: Module, name: str, constants: Mapping[str, bytes], prints: set[str]
) -> str:
    """The symbol of what a kernel calls or reads outside itself, which is put into the module."""
    if name in constants:
        # The value and its gradient often read the same array.
        same = next(other for other, data in constants.items() if data == constants[name])
        module.data(same, constants[same])
        return same
    if name in prints:
        return _silence(module)
    if name == "parallel":
        _emit_parallel(module)
        return "parallel"
    if name in _ALLOCATOR:
        return _emit_allocator(module, name)
    assert name in GEMM.values(), name
    module.declare(f"{name}_", "void", ["ptr"] * 13)
    return f"{name}_"


def _silence(module: Module) -> str:
    """``i32 @no_print(ptr data)``: what is called in place of a print."""
    if "no_print" not in module.functions:
        b = Builder(module, "no_print", "i32", [("ptr", "data")])
        b.ret(b.const(0, "i32"))
        b.finish()
    return "no_print"


def _emit_parallel(module: Module) -> None:
    """The ``parallel`` of :mod:`gradc.codegen.pool` without threads: chunk by chunk."""
    names = ("function", "context", "chunks", "scratch", "bytes")
    types = ("ptr", "ptr", "i64", "ptr", "i64")
    b = Builder(module, "parallel", "i64", list(zip(types, names, strict=True)))
    function, context, chunks, scratch, _ = b.params
    with b.loop(b.i64(0), chunks, carried=[b.i64(-1)]) as loop:
        status = b.call_pointer("i64", function, [context, scratch, loop.index])
        assert status is not None
        status = b.select(b.icmp("eq", status, b.i64(0)), b.i64(-1), status)
        loop.next = [b.intrinsic("umin", "i64", [loop.carried[0], status])]
    least = loop.results[0]
    b.ret(b.select(b.icmp("eq", least, b.i64(-1)), b.i64(0), least))
    b.finish()


#: Python's allocator -> that of C, its parameters (``n`` for a size), its result
_ALLOCATOR = {
    "PyMem_RawMalloc": ("malloc", "n", "ptr"),
    "PyMem_RawRealloc": ("realloc", "pn", "ptr"),
    "PyMem_RawFree": ("free", "p", "void"),
}


def _emit_allocator(module: Module, name: str) -> str:
    """A function of i64 sizes that calls C's, whose sizes are as wide as pointers; its name."""
    assert isinstance(module.target, Target)
    size = "i32" if module.target.triple.startswith("wasm32") else "i64"
    function, kinds, result = _ALLOCATOR[name]
    params = [("i64" if k == "n" else "ptr", f"p{i}") for i, k in enumerate(kinds)]
    b = Builder(module, f"{function}_64", result, params)
    given = [
        b.cast("trunc", v, size) if v.ty == "i64" and size == "i32" else v for v in b.params
    ]
    module.declare(function, result, [v.ty for v in given])
    b.ret(b.call(result, function, given))
    b.finish()
    return f"{function}_64"
