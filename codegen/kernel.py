"""A graph as native code: compile, load, call with arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from gradc.codegen import callbacks, jit
from gradc.codegen.code import Code, Externals, PrintSite, shared
from gradc.codegen.emit import CALLBACK_FAILED, CONSTANT, emit
from gradc.codegen.entry import EntrySpec, ResultSpec, emit_entry
from gradc.codegen.guards import ArgSpec
from gradc.codegen.link import Library
from gradc.codegen.llvm import Module
from gradc.codegen.loops import LoopProgram, Print
from gradc.codegen.machine import memory_bytes
from gradc.codegen.program import schedule
from gradc.codegen.region import tape
from gradc.codegen.region.emit_loop import LIMIT
from gradc.codegen.region.stages import all_stages
from gradc.codegen.region.straight import MISMATCH, UNASSIGNED
from gradc.codegen.structure import Structure
from gradc.codegen.targets import Target, host
from gradc.ir.graph import Graph, Loc, Node
from gradc.ir.ops.control import NoTapeMemory, TooManyTrips
from gradc.ir.ops.effects import Mismatch, Unassigned
from gradc.ir.ops.random import WRONG, ParameterError
from gradc.ir.types import UNKNOWN

#: flops of a call, about ten microseconds, from which other threads may run beside it
RELEASE_GIL = 100_000


def needs(program: LoopProgram, prefix: str = "") -> tuple[dict[str, bytes], list[PrintSite]]:
    """The constants and prints of a program that stand outside its module.

    ``prefix`` is that of :func:`emit_kernel <gradc.codegen.emit.emit_kernel>`.
    """
    constants = {
        prefix + buffer.name: buffer.data
        for buffer in program.buffers
        if buffer.kind == "constant" and buffer.nbytes > CONSTANT
    }
    prints = [
        PrintSite(
            f"{prefix}print{stage.number}", stage.node.attrs["format"],
            [str(t) for t in stage.operand_types],
        )
        for stage in all_stages(program.stages)
        if isinstance(stage, Print)
    ]
    return constants, prints


class Kernel:
    """The compiled form of a graph.

    ``kernel(arrays)`` takes C-contiguous arrays of the graph's input types and returns fresh
    arrays. The stages (``program``, ``module``) are made on first use and can be read without
    loading. One with ``donated`` outputs (:func:`gradc.codegen.program.schedule`) is not called so.
    """

    def __init__(
        self,
        graph: Graph,
        target: Target | None = None,
        donated: Mapping[int, int] | None = None,
    ) -> None:
        self.graph = graph
        self.target = target or host()
        self.donated = donated

    @cached_property
    def program(self) -> LoopProgram:
        """The loop program. Raises NoTapeMemory if it asks for more than the machine has."""
        made = schedule(self.graph, self.target, self.donated)
        if made.arena > memory_bytes():
            raise NoTapeMemory(made.arena >> 20, "a call needs", _largest(self.graph))
        return made

    @cached_property
    def module(self) -> Module:
        """The LLVM module."""
        return emit(self.program, self.target)

    @cached_property
    def externals(self) -> Externals:
        """What the module's table is filled with."""
        return Externals(*needs(self.program))

    @cached_property
    def _loaded(self) -> tuple[Library, Any]:
        module = self.module
        others = {name: self.externals.address(name) for name in module.externals}
        library = jit.load(str(module), ("kernel",), others)
        call = ctypes.CFUNCTYPE(
            ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
        )(library.address("kernel"))
        return library, call

    def code(
        self,
        args: Sequence[ArgSpec],
        structure: Structure,
        source: Graph,
        *,
        rebuild: bool = False,
    ) -> Code:
        """Compile the kernel with a CPython entry point for its inputs, one argument each.

        ``structure`` says how the outputs (leaves by number) make the result; constants are looked
        for in ``source``, the graph that it will be loaded with. Only where
        ``cpython.supported()``.
        """
        leaves = tuple((t.dtype, t.shape) for t in self.graph.output_types)
        results = ResultSpec(leaves, structure, rebuild)
        release = self.program.flops > RELEASE_GIL
        spec = EntrySpec(tuple(args), results, self.program.arena, release)
        module = emit(self.program, self.target)
        emit_entry(module, spec)
        constants, prints = needs(self.program)
        object_code = jit.compile(str(module))
        return Code(object_code, tuple(module.externals), shared(constants, source), prints, {})

    def __call__(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """Run on arrays.

        Raises IndexError for an index out of bounds, ParameterError for impossible random numbers.
        """
        _, call = self._loaded
        given = []
        for array, type_ in zip(arrays, self.graph.input_types, strict=True):
            array = np.require(array, type_.dtype, ["C", "A"])
            if array.shape != type_.shape:
                raise ValueError(f"an input has shape {array.shape}, not {type_.shape}")
            given.append(array)
        results = [np.empty(t.shape, t.dtype) for t in self.graph.output_types]
        space = np.empty(self.program.arena + 64, np.uint8)
        start = space.ctypes.data + -space.ctypes.data % 64
        status = call(_table(given), _table(results), start)
        if status:
            raise failure(status, self.program).error()
        return results


def _largest(graph: Graph) -> tuple[Loc, ...]:
    """The lines of the loop that keeps the most."""

    def kept(node: Node) -> int:
        return sum(t.nbytes for t in node.type.items if UNKNOWN not in t.shape)

    loops = [node for node in graph.nodes if node.op.name == "loop"]
    return max(loops, key=kept).locs if loops else ()


def _table(arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))


class Failure(NamedTuple):
    """What a nonzero status says: the code, and the node with its source lines.

    Where there was no memory for what a loop keeps, also the mebibytes that it asked for.
    """

    code: int
    node: Node | None
    asked: int = 0

    def error(self) -> BaseException:
        """The exception of a failed kernel, without the user's line."""
        held = callbacks.take_error() if self.code == CALLBACK_FAILED else None
        if held is not None:
            return held
        if self.code == LIMIT:
            assert self.node is not None
            return TooManyTrips(self.node.attrs["limit"])
        if self.code == UNASSIGNED:
            assert self.node is not None
            return Unassigned(**self.node.attrs)
        if self.code == MISMATCH:
            return Mismatch()
        if self.code == tape.NO_MEMORY:
            return NoTapeMemory(self.asked + 1)
        if self.node is not None and self.node.op.name in WRONG:
            return ParameterError(WRONG[self.node.op.name])
        return IndexError("an index is out of bounds")


def failure(status: int, program: LoopProgram) -> Failure:
    """Read a kernel's status."""
    number = status >> 8 & (1 << tape.SIZE - 8) - 1
    node = program.checked[number] if number < len(program.checked) else None
    asked = status >> tape.SIZE & (1 << tape.SIZE_BITS) - 1
    return Failure(status & 255, node, asked)
