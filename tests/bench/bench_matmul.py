"""Matrix products against NumPy's (OpenBLAS, one thread): a table of times, nothing asserted.

Run ``python tests/bench/bench_matmul.py [float32|float64] [MxKxN ...]``.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from gradc.codegen import blas, jit
from gradc.codegen.llvm import Builder, Module
from gradc.codegen.matmul import Gemm, emit, scratch_bytes, strategy
from gradc.codegen.targets import host

SHAPES = ("4x3x4", "4x4x1", "32x4x32", "64x128x10", "64x64x64", "128x128x128")
LARGE = ("256x256x256", "512x512x64", "256x1024x16", "256x1024x256", "512x512x512")
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)


def kernel(spec: Gemm) -> tuple[str, tuple[str, ...]]:
    """A function that repeats the product, so that the call from Python is not what is timed."""
    module = Module(host())
    module.attributes = host().attributes
    names = ("a", "b", "c", "scratch")
    b = Builder(module, "product", "void", [*(("ptr", x) for x in names), ("i64", "times")])
    with b.loop(b.i64(0), b.params[4]) as loop:
        loop.next = []
        emit(b, spec, *b.params[:4])
    b.ret()
    b.finish()
    return str(module), tuple(module.externals)


def seconds(run: Callable[[int], object], flops: float) -> float:
    """The least CPU time of one of many runs."""
    times = max(1, int(2e-3 / (flops / 3e10 + 2e-8)))
    best = float("inf")
    for _ in range(9):
        start = time.thread_time()
        run(times)
        best = min(best, (time.thread_time() - start) / times)
    return best


def measure(spec: Gemm) -> str:
    """One line of the table."""
    rng = np.random.default_rng(0)
    a, b = (
        rng.standard_normal(shape[::-1] if flip else shape).astype(spec.dtype)
        for shape, flip in (((spec.m, spec.k), spec.ta), ((spec.k, spec.n), spec.tb))
    )
    op_a, op_b = a.T if spec.ta else a, b.T if spec.tb else b
    c = np.empty((spec.m, spec.n), spec.dtype)
    scratch = np.empty(scratch_bytes(spec, host()) + 64, np.uint8)
    scratch = scratch[-scratch.ctypes.data % 64 :]
    started = time.perf_counter()
    text, externals = kernel(spec)
    emitted = time.perf_counter()
    library = jit.load(text, ("product",), {name: blas.address(name) for name in externals})
    compiled = time.perf_counter()
    product = PROTOTYPE(library.address("product"))
    pointers = [x.ctypes.data for x in (a, b, c, scratch)]
    flops = 2.0 * spec.m * spec.n * spec.k
    ours = seconds(lambda times: product(*pointers, times), flops)

    def numpy_times(times: int) -> None:
        for _ in range(times):
            np.matmul(op_a, op_b, out=c)

    theirs = seconds(numpy_times, flops)
    form = f"{'t' if spec.ta else 'n'}{'t' if spec.tb else 'n'}"
    shape = f"{spec.m}x{spec.k}x{spec.n}"
    return (
        f"{shape:12} {spec.dtype.name} {form} {strategy(spec, host()):6} "
        f"{ours * 1e6:10.3f} {flops / ours / 1e9:6.1f} {theirs * 1e6:10.3f} {theirs / ours:6.2f} "
        f"{(emitted - started) * 1e3:6.1f} {(compiled - emitted) * 1e3:6.1f}"
    )


def main(arguments: list[str]) -> None:
    """Print the table."""
    dtypes = [x for x in arguments if x.startswith("float")] or ["float64", "float32"]
    shapes = [x for x in arguments if not x.startswith("float")] or [*SHAPES, *LARGE]
    print("shape mxkxn  dtype   form by          us   GF/s   NumPy us  ratio  emit ms  compile ms")
    kernel(Gemm(np.dtype("f8"), 2, 2, 2, False, False))
    for dtype in dtypes:
        for shape in shapes:
            m, k, n = map(int, shape.split("x"))
            for ta, tb in ((False, False), (True, False), (False, True), (True, True)):
                if not (ta and tb) or m * n * k < 1000:
                    print(measure(Gemm(np.dtype(dtype), m, n, k, ta, tb)), flush=True)


if __name__ == "__main__":
    # BLAS reads its number of threads when it is loaded: start again with one.
    if not ONE_THREAD.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ONE_THREAD})
    main(sys.argv[1:])
