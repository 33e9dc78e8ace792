"""Matrix products of known shape: emitted register-tiled kernels, or a call to BLAS.

The kernel keeps a tile of C in registers and walks k: load a row of B's panel, broadcast an
element of A for each row of the tile, multiply-add. With the shapes known the tile is chosen by a
small cost model, tails are masks, and small products are straight-line code. Where it is faster,
an operand is packed first, the product is a set of dot products along k (a transposed B, few
columns), or the operands change places and tiles are turned before they are stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from gradc.codegen import blas
from gradc.codegen.lanes import Lanes
from gradc.codegen.llvm import Builder, Val
from gradc.codegen.matmul_finish import Epilogue, Place
from gradc.codegen.matmul_form import SLICE, Form, choose
from gradc.codegen.matmul_kernel import Kernel, Span
from gradc.codegen.targets import Target
from gradc.ir.graph import Graph, Node
from gradc.ir.ops.contraction import matmul_dims

__all__ = ["Epilogue", "Gemm", "Place", "emit", "externals", "scratch_bytes", "strategy"]


#: Up to how many times the second-level cache B is for the emitted kernel: measured, it is as fast
#: as BLAS on one thread there, and shares out smaller products; beyond, BLAS is up to a quarter
#: faster.
KERNEL = 4


class Part(NamedTuple):
    """The terms ``low .. low + depth`` of one product of a batch."""

    batch: Val
    low: Val
    depth: int


#: Runs a part of a product of a batch in chunks, and says whether it is the last.
ShareOut = Callable[[Val, Val, int, bool], None]


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


def product(graph: Graph, node: Node) -> Gemm:
    """What a matmul node asks for."""
    a, b = (graph.nodes[i].type for i in node.operands)
    m, n, k = matmul_dims(a, b, node.attrs)
    batch = node.type.size // (m * n) if m * n else 0
    ta, tb = node.attrs["ta"], node.attrs["tb"]
    stride_a, stride_b = (
        0 if graph.nodes[i].op.name == "broadcast" else size  # one matrix for the whole batch
        for i, size in zip(node.operands, (m * k, k * n), strict=True)
    )
    return Gemm(a.dtype, m, n, k, ta, tb, batch, stride_a, stride_b, m * n)


def strategy(spec: Gemm, target: Target) -> Literal["kernel", "blas"]:
    """Whether the product is an emitted kernel or a call to BLAS (float32 and float64 only)."""
    operand = spec.k * spec.n * spec.dtype.itemsize
    # Few rows are bound by memory, where BLAS has nothing to gain by its blocking.
    small = operand <= KERNEL * target.l2 or min(spec.m, spec.n) < 8 or _long(spec, target)
    foreign = spec.dtype.kind != "f" or max(spec.m, spec.n, spec.k) >= 2**31
    if foreign or small or not target.blas:
        return "kernel"
    return "blas"


def _long(spec: Gemm, target: Target) -> bool:
    """Whether many terms add up to a result that stays in the cache, with a slice of B."""
    row = spec.n * spec.dtype.itemsize
    return SLICE * row <= target.l2 // 2 and spec.m * row <= target.l2


def reason(spec: Gemm, target: Target) -> str:
    """Why :func:`strategy` is what it is."""
    operand = spec.k * spec.n * spec.dtype.itemsize
    size = f"B, {operand:,} bytes, {{}} the second-level cache of {target.l2:,}"
    if operand <= KERNEL * target.l2:
        return size.format(f"is no more than {KERNEL} times")
    if min(spec.m, spec.n) < 8:
        return "with so few rows or columns memory is the bound, not arithmetic"
    if spec.dtype.kind != "f":
        return f"BLAS has no product of {spec.dtype}"
    if _long(spec, target):
        return "its result stays in the second-level cache while the sums go in slices"
    if not target.blas:
        return "it is compiled without BLAS"
    if strategy(spec, target) == "kernel":
        return "BLAS counts in 32 bits"
    return size.format(f"is more than {KERNEL} times")


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
    share: ShareOut | None = None,
    batches: tuple[Val, Val] | None = None,
) -> None:
    """Emit the product at the builder's position, for the target of its module.

    ``a``, ``b_`` and ``c`` are pointers; C must not overlap the operands. ``scratch`` points to
    ``scratch_bytes`` bytes. ``onto`` adds the product to C. ``epilogue(b, tile)`` gets
    the finished sums in place of C, which then is written only while sums go in slices. Raises
    ValueError for an epilogue, or ``onto``, where :func:`strategy` is BLAS.

    ``share(batch, low, depth, last)`` emits what runs :func:`emit_chunk` for every chunk, with the
    epilogue if these are the ``last`` terms; ``batches`` are the first product of the batch to emit
    and the one after the last.
    """
    target = _target(b)
    if 0 in (spec.m, spec.n, spec.batch):
        return
    call = strategy(spec, target) == "blas"
    if call and (epilogue is not None or onto):
        raise ValueError(f"BLAS takes no epilogue, and adds to nothing: {spec}")

    def product(index: Val) -> None:
        pa, pb, pc = _at(b, spec, (a, b_, c), index)
        if call:
            shape, transposed = (spec.m, spec.n, spec.k), (spec.ta, spec.tb)
            blas.emit_gemm(b, _element(spec.dtype), shape, transposed, (pa, pb, pc))
            return
        kernel = _kernel(b, spec, scratch, epilogue, index)
        if share is not None:
            kernel = replace(kernel, share=partial(share, index))
        kernel = replace(kernel, onto=onto)
        kernel.emit(*(pb, pa, pc) if kernel.form.swapped else (pa, pb, pc))

    if spec.batch == 1:
        product(b.i64(0))
    else:
        with b.loop(*(batches or (b.i64(0), b.i64(spec.batch)))) as batch:
            product(batch.index)
            batch.next = []


def emit_chunk(
    b: Builder,
    spec: Gemm,
    operands: tuple[Val, Val, Val],
    packed: Val,
    private: Val,
    part: Part,
    span: Span,
    epilogue: Epilogue | None = None,
) -> None:
    """Emit the rows in ``span`` of a part of a product that :func:`emit` shares out.

    ``operands`` are pointers to A, B and C; ``packed`` is the scratch of :func:`emit`, and
    ``private`` as many bytes of this thread's own.
    """
    pa, pb, pc = _at(b, spec, operands, part.batch)
    kernel = _kernel(b, spec, private, epilogue, part.batch)
    if kernel.form.swapped:
        pa, pb = pb, pa
    if kernel.form.pack_b:
        pb = packed
    kernel.chunk(pa, pb, pc, part.low, part.depth, span)


def _target(b: Builder) -> Target:
    target = b.module.target
    if not isinstance(target, Target):
        raise TypeError("a matrix product needs a module with a target")
    return target


def _at(b: Builder, spec: Gemm, operands: tuple[Val, Val, Val], index: Val) -> list[Val]:
    """Pointers to the matrices of one product of the batch."""
    x = Lanes(b, _element(spec.dtype), spec.dtype.itemsize, _target(b))
    strides = (spec.stride_a, spec.stride_b, spec.stride_c)
    return [x.step(p, index, stride) for p, stride in zip(operands, strides, strict=True)]


def _kernel(
    b: Builder, spec: Gemm, scratch: Val, epilogue: Epilogue | None, index: Val
) -> Kernel:
    target = _target(b)
    x = Lanes(b, _element(spec.dtype), spec.dtype.itemsize, target)
    return Kernel(x, form(spec, target), scratch, epilogue, index)


def _element(dtype: np.dtype) -> str:
    """The LLVM type of an element in memory."""
    if dtype.kind == "f" and dtype.itemsize in (4, 8):
        return "double" if dtype.itemsize == 8 else "float"
    if dtype.kind in "iu":
        return f"i{8 * dtype.itemsize}"
    raise TypeError(f"no matrix product of {dtype}")
