"""Compiled functions for other engines: at a raw address, with the signature that they call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.errors import ArgumentError, OptionError
from gradc.export import lowered_for
from gradc.ir.types import F64

if TYPE_CHECKING:
    from gradc.codegen.loops import LoopProgram
    from gradc.compile import Compiled

ABIS = ("scipy", "numba", "nutpie")


class Address:
    """A native function of this process. Its code stays as long as this object, or ``function``.

    ``int(address)`` is where it is, ``signature`` what it is in C.
    """

    def __init__(
        self, address: int, abi: str, signature: str, prototype: Any, keep: object
    ) -> None:
        self.address = address
        self.abi = abi
        self.signature = signature
        self._prototype = prototype
        self._keep = keep

    def __int__(self) -> int:
        return self.address

    def __index__(self) -> int:
        return self.address

    def __repr__(self) -> str:
        return f"<{self.abi} function at {self.address:#x}: {self.signature}>"

    @cached_property
    def function(self) -> Any:
        """The function as ctypes has it, which Numba calls in compiled code."""
        made = self._prototype(self.address)
        made.address = self  # whoever holds the one keeps the other
        return made

    @cached_property
    def callable(self) -> Any:
        """The function as ``scipy.LowLevelCallable``. Raises ArgumentError if it is for others."""
        if self.abi != "scipy":
            raise ArgumentError(
                f"SciPy calls no function of the kind {self.signature}", remedy='abi="scipy"'
            )
        from scipy import LowLevelCallable

        return LowLevelCallable(self.function)


def address(
    compiled: Compiled[..., Any],
    types: Sequence[Any],
    abi: str,
    data: bool,
    lead: tuple[Any, ...] = (),
) -> Address:
    """The native function; see :meth:`gradc.Compiled.address`."""
    from gradc.codegen.aot.foreign import PROTOTYPES, load

    if abi not in ABIS:
        raise OptionError(f"there is no abi {abi!r}", remedy=f"one of {', '.join(ABIS)}")
    if abi == "nutpie":
        program, signature = _nutpie(compiled, types, lead)
    else:
        program = _program(compiled, types, lead)
        signature = "numba" if abi == "numba" else _scipy(compiled, program, data)
    at, keep = load(program, signature)  # type: ignore[arg-type]  # one of its signatures
    if signature == "numba":
        prototype, text = _of_types(program)
    else:
        prototype, text = PROTOTYPES[signature]
    return Address(at, abi, text, prototype, keep)


def _program(
    compiled: Compiled[..., Any], types: Sequence[Any], lead: tuple[Any, ...]
) -> LoopProgram:
    from gradc.codegen.program import schedule
    from gradc.ir.passes import optimize

    return schedule(optimize(lowered_for(compiled, types, lead).lowered.graph))


def _is_number(program: LoopProgram) -> bool:
    """Whether the result is one float64."""
    (first, *others) = program.outputs
    return not others and first.dtype == F64 and not first.shape


def _scipy(compiled: Compiled[..., Any], program: LoopProgram, data: bool) -> str:
    numbers = all(t.dtype == F64 and not t.shape for t in program.inputs)
    alone = len(program.inputs) == 1 and program.inputs[0].dtype == F64
    vector = alone and len(program.inputs[0].shape) == 1
    if not program.inputs or not (numbers or vector) or not _is_number(program):
        raise ArgumentError(
            f"{compiled.function.label} is no integrand: SciPy calls functions of numbers, or of "
            "one array f64[n], that return a float64",
            types=[*map(str, program.inputs), f"-> {', '.join(map(str, program.outputs))}"],
        )
    kind = "scalar" if numbers and alone else "vector"
    return f"{kind}_data" if data else kind


def _nutpie(
    compiled: Compiled[..., Any], types: Sequence[Any], lead: tuple[Any, ...]
) -> tuple[LoopProgram, str]:
    value = _program(compiled, types, lead)
    given = value.inputs
    if len(given) == 1 and given[0].dtype == F64 and len(given[0].shape) == 1:
        if _is_number(value):
            gradient = compiled.derived("value_and_grad", len(lead))
            return _program(gradient, types, lead), "density"
        outs = value.outputs
        if len(outs) == 1 and outs[0].dtype == F64:
            return value, "expansion"
    raise ArgumentError(
        f"{compiled.function.label} is no density: nutpie calls functions of one array f64[n] that "
        "return a float64, or, to expand a draw, an array of float64",
        types=[*map(str, given), f"-> {', '.join(map(str, value.outputs))}"],
    )


def _of_types(program: LoopProgram) -> tuple[Any, str]:
    """The prototype of numbers by value and arrays by pointer, and its text."""
    import ctypes

    from gradc.codegen.aot.header import c_type

    kinds: list[Any] = []
    names = []
    for k, type_ in enumerate((*program.inputs, *program.outputs)):
        kind = np.ctypeslib.as_ctypes_type(type_.dtype)
        by_value = k < len(program.inputs) and not type_.shape
        kinds.append(kind if by_value else ctypes.POINTER(kind))
        const = "const " * (k < len(program.inputs) and not by_value)
        names.append(f"{const}{c_type(type_.dtype)}{'' if by_value else ' *'}")
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds), f"int64_t ({', '.join(names)})"
