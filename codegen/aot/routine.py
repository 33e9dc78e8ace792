"""What an exported library has: C functions as data."""

from __future__ import annotations

from dataclasses import dataclass, field
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
    """

    name: str
    type: TensorType
    kind: Literal["value", "in", "out", "inout"]
    label: str = ""
    note: str = ""


class Place(NamedTuple):
    """Where an array that a program reads or writes lies: in a parameter, from a byte on."""

    param: int
    offset: int = 0


@dataclass(frozen=True)
class Routine:
    """A C function that runs one program.

    name: its full C name.
    args, outs: where the program's inputs and outputs lie; None for an output that is dropped.
    summary: what it computes, in one line.
    """

    name: str
    program: LoopProgram
    params: tuple[Param, ...]
    args: tuple[Place, ...]
    outs: tuple[Place, ...]
    summary: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def workspace(self) -> int:
        """The bytes of workspace that a call is given; 0 if it needs none."""
        return self.program.arena + SLACK if self.program.arena else 0


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


def routine(
    name: str,
    program: LoopProgram,
    inputs: list[tuple[str, str]],
    outputs: list[tuple[str, str]],
    summary: str,
) -> Routine:
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
    return Routine(
        name, program, tuple(params), tuple(places[:count]), tuple(places[count:]), summary
    )
