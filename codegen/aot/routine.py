"""What an exported library has: C functions as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gradc.codegen.loops import LoopProgram
from gradc.codegen.targets import Target
from gradc.ir.types import TensorType

#: bytes added to a workspace, so that an aligned address is inside wherever it begins
SLACK = 64


@dataclass(frozen=True)
class Param:
    """A parameter of a C function.

    kind: "value" (a number), "in", "out" or "inout" (a pointer to an array).
    label: what the Python function calls it.
    note: what else a reader of the header should know.
    optional: the pointer may be null.
    opaque: in C it points to void.
    """

    name: str
    type: TensorType
    kind: Literal["value", "in", "out", "inout"]
    label: str = ""
    note: str = ""
    optional: bool = False
    opaque: bool = False


#: in place of a parameter's number: the workspace
WORKSPACE = -1


class Place(NamedTuple):
    """Where an array that a program reads or writes lies: in a parameter, from a byte on."""

    param: int
    offset: int = 0


@dataclass(frozen=True)
class Routine:
    """A C function.

    name: its full C name.
    summary: what it computes, in one line; notes: what else there is to say.
    """

    name: str
    params: tuple[Param, ...]
    summary: str
    notes: tuple[str, ...] = ()

    @property
    def workspace(self) -> int:
        """The bytes of workspace that a call is given; 0 if it needs none."""
        return 0

    @property
    def programs(self) -> tuple[LoopProgram, ...]:
        """The programs that it runs."""
        return ()


@dataclass(frozen=True)
class Call(Routine):
    """A function that runs one program once.

    args, outs: where the program's inputs and outputs lie.
    """

    program: LoopProgram | None = None
    args: tuple[Place, ...] = ()
    outs: tuple[Place, ...] = ()

    @property
    def workspace(self) -> int:
        """The program's arena."""
        arena = self.programs[0].arena
        return arena + SLACK if arena else 0

    @property
    def programs(self) -> tuple[LoopProgram, ...]:
        """The one program."""
        assert self.program is not None
        return (self.program,)


@dataclass(frozen=True)
class Library:
    """Routines that stand in one library, and what its header says of all of them.

    macros: (name, value, note) of constants for its users.
    undefined: the symbols that it leaves to a linker.
    """

    name: str
    routines: tuple[Routine, ...]
    target: Target
    version: str
    macros: tuple[tuple[str, int, str], ...] = ()
    notes: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()


def call_of(
    name: str,
    program: LoopProgram,
    inputs: list[tuple[str, str]],
    outputs: list[tuple[str, str]],
    summary: str,
) -> Call:
    """A function of arrays, one parameter each; scalars are taken by value.

    ``inputs`` and ``outputs`` are C names and labels.
    """
    params = [
        Param(c, type_, "in" if type_.shape else "value", label)
        for (c, label), type_ in zip(inputs, program.inputs, strict=True)
    ]
    params += [
        Param(c, type_, "out", label)
        for (c, label), type_ in zip(outputs, program.outputs, strict=True)
    ]
    places = [Place(k) for k in range(len(params))]
    count = len(inputs)
    return Call(
        name, tuple(params), summary, (), program, tuple(places[:count]), tuple(places[count:])
    )
