"""Matrix products of known shape: emitted register-tiled kernels, or a call to BLAS.

The kernel keeps a tile of C in registers and walks k: load a row of B's panel, broadcast an
element of A for each row of the tile, multiply-add. With the shapes known the tile is chosen by a
small cost model, tails are masks, and small products are straight-line code. Where it is faster,
an operand is packed first, the product is a set of dot products along k (a transposed B, few
columns), or the operands change places and tiles are turned before they are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gradc.codegen import blas
from gradc.codegen.lanes import Lanes
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.matmul_finish import Epilogue, Place
from gradc.codegen.matmul_form import Form, choose
from gradc.codegen.matmul_kernel import Kernel
from gradc.codegen.targets import Target

__all__ = ["Epilogue", "Gemm", "Place", "emit", "externals", "scratch_bytes", "strategy"]


@dataclass(frozen=True)
class Gemm:
    """``C[i] = op(A[i]) @ op(B[i])`` for ``i in range(batch)``; op transposes if its flag is set.

    op(A) is ``[m, k]``, op(B) ``[k, n]``, C ``[m, n]``; each is stored row-major and contiguous,
    aligned to its item size, so A is stored ``[k, m]`` when ``ta``. Strides are the elements
    from one matrix of the batch to the next; 0 shares one matrix. Extents may be zero.
    """

    dtype: np.dtype
    m: int
    n: int
    k: int
    ta: bool = False
    tb: bool = False
    batch: int = 1
    stride_a: int = 0
    stride_b: int = 0
    stride_c: int = 0


def strategy(spec: Gemm, target: Target) -> Literal["kernel", "blas"]:
    """Whether the product is an emitted kernel or a call to BLAS (float32 and float64 only)."""
    operand = spec.k * spec.n * spec.dtype.itemsize
    # Few rows are bound by memory, where BLAS has nothing to gain by its blocking.
    small = operand <= target.l2 or min(spec.m, spec.n) < 8
    if spec.dtype.kind != "f" or small or max(spec.m, spec.n, spec.k) >= 2**31:
        return "kernel"
    return "blas"


def reason(spec: Gemm, target: Target) -> str:
    """Why :func:`strategy` is what it is."""
    operand = spec.k * spec.n * spec.dtype.itemsize
    size = f"B, {operand:,} bytes, {{}} the second-level cache of {target.l2:,}"
    if operand <= target.l2:
        return size.format("fits in")
    if min(spec.m, spec.n) < 8:
        return "with so few rows or columns memory is the bound, not arithmetic"
    if spec.dtype.kind != "f":
        return f"BLAS has no product of {spec.dtype}"
    if strategy(spec, target) == "kernel":
        return "BLAS counts in 32 bits"
    return size.format("is larger than")


def form(spec: Gemm, target: Target) -> Form:
    """The form of the emitted kernel."""
    return choose(spec.m, spec.n, spec.k, spec.ta, spec.tb, spec.dtype.itemsize, target)


def scratch_bytes(spec: Gemm, target: Target) -> int:
    """The workspace, in bytes, that :func:`emit` needs for packed operands; 0 if none."""
    if strategy(spec, target) == "blas" or 0 in (spec.m, spec.n):
        return 0
    return form(spec, target).packed_bytes


def externals(spec: Gemm, target: Target) -> tuple[str, ...]:
    """The BLAS routines that :func:`emit` calls, by the names of :func:`blas.address`."""
    return (blas.GEMM[_element(spec.dtype)],) if strategy(spec, target) == "blas" else ()


def emit(
    b: Builder,
    spec: Gemm,
    a: Val,
    b_: Val,
    c: Val,
    scratch: Val,
    epilogue: Epilogue | None = None,
    onto: bool = False,
) -> None:
    """Emit the product at the builder's position, for the target of its module.

    ``a``, ``b_`` and ``c`` are pointers; C must not overlap the operands. ``scratch`` points to
    ``scratch_bytes`` bytes. ``onto`` adds the product to C. ``epilogue(b, tile)`` gets
    the finished sums in place of C, which then is written only while sums go in slices. Raises
    ValueError for an epilogue, or ``onto``, where :func:`strategy` is BLAS.
    """
    target = b.module.target
    if not isinstance(target, Target):
        raise TypeError("a matrix product needs a module with a target")
    if 0 in (spec.m, spec.n, spec.batch):
        return
    call = strategy(spec, target) == "blas"
    if call and (epilogue is not None or onto):
        raise ValueError(f"BLAS takes no epilogue, and adds to nothing: {spec}")

    def product(index: Val) -> None:
        x = Lanes(b, _element(spec.dtype), spec.dtype.itemsize, target)
        pa, pb, pc = (
            x.step(p, index, stride)
            for p, stride in ((a, spec.stride_a), (b_, spec.stride_b), (c, spec.stride_c))
        )
        if call:
            shape, transposed = (spec.m, spec.n, spec.k), (spec.ta, spec.tb)
            blas.emit_gemm(b, x.elem, shape, transposed, (pa, pb, pc))
            return
        chosen = form(spec, target)
        if chosen.swapped:
            pa, pb = pb, pa
        Kernel(x, chosen, scratch, epilogue, index, onto).emit(pa, pb, pc)

    if spec.batch == 1:
        product(b.i64(0))
    else:
        with b.loop(b.i64(0), b.i64(spec.batch)) as batch:
            product(batch.index)
            batch.next = []


def _element(dtype: np.dtype) -> str:
    """The LLVM type of an element in memory."""
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return "double" if dtype.itemsize == 8 else "float"
    if dtype.kind in "iu":
        return f"i{8 * dtype.itemsize}"
    raise TypeError(f"no matrix product of {dtype}")
