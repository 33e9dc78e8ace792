"""BLAS by address: the routines of SciPy's ``cython_blas``, called through the module's table.

SciPy exports its BLAS as capsules on every platform, so no compiler, header or library search is
needed. It is imported only when a program that calls BLAS is loaded.
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence

from gradc.codegen.llvm import Builder, Val

#: The matrix product of each element type.
GEMM = {"double": "dgemm", "float": "sgemm"}


@functools.cache
def address(name: str) -> int:
    """The address of a BLAS routine by its Fortran name, such as ``"dgemm"``.

    Raises ImportError if this SciPy has no such routine, or declares its integers as another
    type than the C ``int`` that the emitted calls pass.
    """
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__.get(name)
    if capsule is None:
        raise ImportError(f"scipy.linalg.cython_blas has no routine {name!r}")
    api = ctypes.pythonapi
    get_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(
        ("PyCapsule_GetName", api)
    )
    get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", api)
    )
    signature: bytes = get_name(capsule)
    foreign = _foreign_types(signature.decode())
    if foreign:
        raise ImportError(f"{name} of this SciPy takes {foreign}, not int: {signature.decode()}")
    pointer: int = get_pointer(capsule, signature)
    return pointer


def _foreign_types(signature: str) -> list[str]:
    """The pointees of a capsule's signature that are neither char, int, nor its element type."""
    pointees = {p.strip() for p in re.findall(r"([\w ]+?) \*", signature.partition("(")[2])}
    return sorted(p for p in pointees if not re.fullmatch(r"char|int|float|double|.*_[sd]", p))


def emit_gemm(
    b: Builder,
    elem: str,
    shape: tuple[int, int, int],
    transposed: tuple[bool, bool],
    operands: Sequence[Val],
) -> None:
    """Emit the call for ``C = op(A) @ op(B)``, row-major, of ``shape = (m, n, k)``.

    ``operands`` are pointers to A, B and C. A row-major matrix is its column-major transpose, so
    this asks for ``Cᵀ = op(B)ᵀ @ op(A)ᵀ``: the operands change places and the flags stay.
    """
    m, n, k = shape
    ta, tb = transposed
    a, b_, c = operands
    ld = (k if tb else n, m if ta else k, n)  # row lengths of B, A and C as they are stored
    numbers = "_".join(map(str, (m, n, k, *ld)))
    ints = b.module.constant(
        f"gemm_{numbers}",
        "[6 x i32]",
        "[" + ", ".join(f"i32 {max(v, 1)}" for v in (n, m, k, *ld)) + "]",
    )
    flags = b.module.constant("gemm_flags", "[2 x i8]", 'c"NT"', 1)
    reals = b.module.constant(
        f"gemm_{elem}", f"[2 x {elem}]", f"[{b.const(1.0, elem)}, {b.const(0.0, elem)}]"
    )
    size = [b.gep(ints, "i32", b.i64(i)) for i in range(6)]
    alpha, beta = reals, b.gep(reals, elem, b.i64(1))
    trans = [b.gep(flags, "i8", b.i64(int(t))) for t in (tb, ta)]
    b.call_pointer(
        "void",
        b.external(GEMM[elem]),
        [*trans, size[0], size[1], size[2], alpha, b_, size[3], a, size[4], beta, c, size[5]],
    )
