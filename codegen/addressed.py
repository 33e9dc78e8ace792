"""A graph as native code that is called with addresses, and works in memory that it is given."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.codegen.code import Code, Externals
from gradc.codegen.link import link

if TYPE_CHECKING:
    from gradc.codegen.kernel import Failure, Kernel
    from gradc.ir.graph import Graph

Array = np.ndarray[Any, Any]
Make = Callable[[], Code]


class Addressed:
    """The compiled form of a graph, without an entry point for Python.

    ``graph`` makes the graph when it is needed; ``donated`` are the outputs that lie where inputs
    did (:func:`gradc.codegen.program.schedule`); ``stored`` gives the code that another process
    left, or what it is told to make; ``compile`` makes object code of a text.
    """

    def __init__(
        self,
        graph: Callable[[], Graph],
        donated: Mapping[int, int],
        stored: Callable[[Make], Code] = lambda make: make(),
        compile: Callable[[str], bytes] | None = None,
    ) -> None:
        self._graph = graph
        self._donated = donated
        self._stored = stored
        self._compile_text = compile

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel, whose program and module can be read."""
        from gradc.codegen.kernel import Kernel

        return Kernel(self._graph(), donated=self._donated)

    def _compiled(self) -> Code:
        from gradc.codegen import jit
        from gradc.codegen.kernel import needs

        program, module = self.kernel.program, self.kernel.module
        constants, prints = needs(program)
        numbers = {"workspace": program.arena}
        return Code(
            jit.compile(str(module)), tuple(module.externals), dict(constants), prints, numbers
        )

    @cached_property
    def _loaded(self) -> tuple[int, object, Any]:
        code = self._stored(self._compiled)
        externals = Externals(code.constants, code.prints, compile=self._compile_text)
        table = {name: externals.address(name) for name in code.names}
        library = link(code.object_code, ("kernel",), table)
        call = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 3)(library.address("kernel"))
        return code.numbers["workspace"], (library, externals), call

    def load(self) -> None:
        """Generate the machine code, if that has not been done."""
        _ = self._loaded

    def bound(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Callable[[], int]:
        """The call on these arrays: without the GIL, with workspace of its own; gives a status.

        All are C-contiguous, of the graph's types; an output whose input was donated is the same
        memory. They are read and written at each call, where they are now.
        """
        nbytes, _, call = self._loaded
        work = aligned(nbytes)
        at = work.ctypes.data
        arguments, results = (
            (ctypes.c_void_p * max(1, len(row)))(*(a.ctypes.data for a in row))
            for row in (inputs, outputs)
        )

        def run(keep: object = (inputs, outputs, work, self._loaded)) -> int:
            return int(call(arguments, results, at))

        return run

    def failure(self, status: int) -> Failure:
        """What a status that is not 0 says."""
        from gradc.codegen.kernel import failure

        return failure(status, self.kernel.program)


def aligned(nbytes: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Zeroed memory that begins at a multiple of 64 bytes, so that no vector crosses a line."""
    space = np.zeros(nbytes + 64, np.uint8)
    start = -space.ctypes.data % 64
    return space[start : start + nbytes]
