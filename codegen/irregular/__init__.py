"""Loop templates of the ops that do not fuse as affine loop nests.

Each works on C-contiguous buffers of static shape and is emitted at the builder's position:
straight code, loops of scalars or of vectors, calls to nothing outside the module. Meaning, to
the bit: the op's ``numpy`` function in :mod:`gradc.ir.ops`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradc.codegen.irregular import extremum, random, scan, scatter, sort
from gradc.codegen.llvm import Builder, Val
from gradc.ir.types import TensorType

#: The ops emitted here.
OPS = random.OPS | {
    "argmax", "argmin", "cumsum", "cumprod", "scatter_add", "scatter_set", "argsort"
}

#: Those that can fail when they run.
CHECKED = random.CHECKED | {"scatter_add", "scatter_set"}

#: Those whose result may overwrite operand 0.
IN_PLACE = frozenset({"cumsum", "cumprod", "scatter_add", "scatter_set"})


def scratch_bytes(op: str, attrs: Mapping[str, Any], operand_types: Sequence[TensorType]) -> int:
    """The bytes of scratch, 64-byte aligned, that :func:`emit` asks for."""
    if op == "argsort":
        return sort.scratch_bytes(operand_types[0], attrs["axis"])
    if op in random.OPS:
        return random.scratch_bytes(op, attrs, operand_types)
    return 0


def emit(
    b: Builder,
    op: str,
    attrs: Mapping[str, Any],
    operand_types: Sequence[TensorType],
    operands: Sequence[Val],
    out: Val,
    scratch: Val,
    in_place: bool = False,
) -> Val | None:
    """Emit ``out = op(*operands)``; operands, ``out`` and ``scratch`` are ptr.

    Buffers need be aligned to their itemsize only and must not overlap; but with ``in_place``
    (ops of :data:`IN_PLACE`) operand 0 and ``out`` are the same buffer. Ops of :data:`CHECKED`
    return an i1, whether they failed: the scatters where an index was out of bounds (such an
    update is skipped), random numbers where their parameters are none. No byte outside is touched.
    The others return None.
    """
    if in_place and op not in IN_PLACE:
        raise ValueError(f"{op} cannot overwrite its operand")
    match op:
        case "argmax" | "argmin":
            extremum.emit(b, op == "argmax", operand_types[0], attrs["axis"], operands[0], out)
        case "cumsum" | "cumprod":
            scan.emit(
                b, op, operand_types[0], attrs["axis"], attrs["reverse"], operands[0], out
            )
        case "scatter_add" | "scatter_set":
            return scatter.emit(b, op == "scatter_add", operand_types, operands, out, in_place)
        case "argsort":
            sort.emit(b, operand_types[0], attrs["axis"], operands[0], out, scratch)
        case _ if op in random.OPS:
            return random.emit(b, op, attrs, operand_types, operands, out, scratch)
        case _:
            raise ValueError(f"{op} has no template")
    return None
