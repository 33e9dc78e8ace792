"""The C functions of a library as LLVM: what they check, and how they run their programs."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.aot.messages import NULL_POINTER
from gradc.codegen.aot.objects import exported
from gradc.codegen.aot.routine import SLACK, WORKSPACE, Call, Param, Place, Routine
from gradc.codegen.emit import emit_kernel, return_if
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.loops import LoopProgram
from gradc.codegen.scalars import memory_type
from gradc.codegen.targets import Target

NULL = Val("null", "ptr")

class Opened:
    """A C function that has begun: its pointers are checked, its workspace is aligned.

    Numbers that it is given lie in memory too.
    """

    def __init__(self, module: Module, routine: Routine) -> None:
        assert isinstance(module.target, Target)
        params = [(_c_type(p), f"p{k}") for k, p in enumerate(routine.params)]
        self.b = b = Builder(
            module, routine.name, "i64", [*params, ("ptr", "workspace")],
            linkage=exported(module.target),
        )
        *given, space = b.params
        pairs = list(zip(given, routine.params, strict=True))
        wanted = [value for value, p in pairs if _must_be(p)]
        wanted += [space] if routine.workspace else []
        for pointer in wanted:
            return_if(b, b.icmp("eq", pointer, NULL), b.i64(NULL_POINTER))
        if routine.workspace:
            above = b.cast("ptrtoint", b.gep(space, "i8", b.i64(SLACK - 1)), "i64")
            space = b.cast("inttoptr", b.and_(above, b.i64(-SLACK)), "ptr")
        self.given = given
        self.space = space
        self.places = [self.stored(v, p) if p.kind == "value" else v for v, p in pairs]

    def stored(self, value: Val, p: Param) -> Val:
        """The address of a number."""
        place = self.b.alloca(value.ty, 1, align=8)
        self.b.store(value, place, p.type.dtype.itemsize)
        return place

    def at(self, place: Place) -> Val:
        """An address."""
        base = self.space if place.param == WORKSPACE else self.places[place.param]
        return self.b.gep(base, "i8", self.b.i64(place.offset))

    def run(self, kernel: str, args: Sequence[Val], outs: Sequence[Val], first: int) -> None:
        """Run a program on addresses; leave with its status if that is not 0.

        ``first`` is the number of the program's first node among those of the messages.
        """
        b, tables = self.b, []
        for some in (args, outs):
            table = b.alloca("ptr", max(1, len(some)), align=8)
            for k, pointer in enumerate(some):
                b.store(pointer, b.gep(table, "ptr", b.i64(k)), 8)
            tables.append(table)
        status = b.call("i64", kernel, [*tables, self.space])
        assert status is not None
        return_if(b, b.icmp("ne", status, b.i64(0)), b.add(status, b.i64(first << 8)))

    def close(self) -> None:
        """Return 0."""
        self.b.ret(self.b.i64(0))
        self.b.finish()


def emit_program(module: Module, routine: Routine, program: LoopProgram) -> str:
    """Add the program of a routine to the module; its name."""
    name = f"{routine.name}_kernel"
    emit_kernel(module, program, name, f"{routine.name}_")
    return name


def emit_call(module: Module, routine: Call, first: int) -> None:
    """The function of a call."""
    kernel = emit_program(module, routine, routine.programs[0])
    opened = Opened(module, routine)
    args, outs = ([opened.at(p) for p in some] for some in (routine.args, routine.outs))
    opened.run(kernel, args, outs, first)
    opened.close()


def _c_type(p: Param) -> str:
    return memory_type(p.type.dtype) if p.kind == "value" else "ptr"


def _must_be(p: Param) -> bool:
    """Whether a parameter is a pointer that is read or written through."""
    return p.kind != "value" and p.type.nbytes > 0 and not p.optional
