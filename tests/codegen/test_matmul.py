"""Matrix products: emitted kernels and BLAS calls against NumPy, in every form, at every edge."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import mmap
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from gradc.codegen import blas, jit
from gradc.codegen.lanes import Lanes
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.llvm_types import lanes_of
from gradc.codegen.matmul import Epilogue, Gemm, Place, emit, externals, scratch_bytes, strategy
from gradc.codegen.targets import NAMED, Target, host

EXTENTS = (0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100)
DTYPES = ("f8", "f4", "i8", "i4", "u1")
FORMS = tuple(itertools.product((False, True), repeat=2))
PROTOTYPE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
#: A target of narrow registers and little cache runs here too: only the emitted text differs.
NARROW = dataclasses.replace(host(), width=16, fma=False, l2=1 << 12)
AVX2_LIKE = dataclasses.replace(host(), width=32, l2=1 << 16)


def gemm(
    dtype: str, m: int, k: int, n: int, ta: bool = False, tb: bool = False, batch: int = 1
) -> Gemm:
    """A contiguous batch of products."""
    strides = (m * k, k * n, m * n) if batch > 1 else (0, 0, 0)
    return Gemm(np.dtype(dtype), m, n, k, ta, tb, batch, *strides)


def module(specs: Sequence[Gemm], target: Target) -> Module:
    """One function for each product: ``product0``, ``product1``, ..."""
    out = Module(target)
    out.attributes = target.attributes
    for i, spec in enumerate(specs):
        b = Builder(out, f"product{i}", "void", [("ptr", x) for x in ("a", "b", "c", "scratch")])
        emit(b, spec, *b.params)
        b.ret()
        b.finish()
    return out


def load(text: Module, count: int) -> tuple[jit.Library, list[object]]:
    """The compiled functions of a module (the library keeps them alive)."""
    addresses = {name: blas.address(name) for name in text.externals}
    names = tuple(f"product{i}" for i in range(count))
    library = jit.load(str(text), names, addresses)
    return library, [PROTOTYPE(library.address(name)) for name in names]


def operands(spec: Gemm, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random op(A) and op(B), before they are stored transposed."""
    rng = np.random.default_rng(seed)
    shapes = ((spec.batch, spec.m, spec.k), (spec.batch, spec.k, spec.n))
    if spec.dtype.kind == "f":
        a, b = (rng.standard_normal(shape).astype(spec.dtype) for shape in shapes)
    else:
        info = np.iinfo(spec.dtype)
        a, b = (rng.integers(info.min, info.max, s, spec.dtype, endpoint=True) for s in shapes)
    return (a, b) if spec.batch > 1 else (a[:1], b[:1])


def stored(x: np.ndarray, transposed: bool) -> np.ndarray:
    """A batch of matrices as it lies in memory."""
    return np.ascontiguousarray(x.swapaxes(1, 2) if transposed else x)


def scratch(spec: Gemm, target: Target) -> np.ndarray:
    """A workspace of exactly the size asked for, 64-byte aligned, full of NaN bits."""
    size = scratch_bytes(spec, target)
    room = np.full(size + 64, 0xFF, np.uint8)
    return room[-room.ctypes.data % 64 :]


def run(function: object, spec: Gemm, a: np.ndarray, b: np.ndarray, target: Target) -> np.ndarray:
    """The product, in an array with guards around it that must survive."""
    size = spec.batch * spec.m * spec.n * spec.dtype.itemsize
    room = np.full(size + 256, 0xA5, np.uint8)
    workspace = scratch(spec, target)
    tail = workspace[scratch_bytes(spec, target) :].copy()
    a, b = stored(a, spec.ta), stored(b, spec.tb)
    function(a.ctypes.data, b.ctypes.data, room.ctypes.data + 128, workspace.ctypes.data)
    assert (room[:128] == 0xA5).all(), spec
    assert (room[128 + size :] == 0xA5).all(), spec
    assert np.array_equal(workspace[scratch_bytes(spec, target) :], tail), spec
    return room[128 : 128 + size].view(spec.dtype).reshape(spec.batch, spec.m, spec.n)


def check(spec: Gemm, got: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    """Integers exactly; floats within the bound of a blocked sum of k terms."""
    if spec.dtype.kind != "f":
        assert np.array_equal(got, a @ b), spec
        return
    wide = np.longdouble
    exact = a.astype(wide) @ b.astype(wide)
    terms = min(spec.k, 512) + spec.k // 256 + 2
    bound = terms * float(np.finfo(spec.dtype).eps) * (abs(a).astype(wide) @ abs(b).astype(wide))
    assert (abs(got - exact) <= bound).all(), spec


def sample(dtype: str, count: int) -> list[Gemm]:
    """Small shapes in every form, and random ones over all extents."""
    rng = np.random.default_rng(np.frombuffer(dtype.encode().ljust(4), np.uint32)[0])
    specs = [
        gemm(dtype, *shape, ta, tb)
        for shape in ((4, 3, 4), (4, 4, 1), (1, 9, 7), (3, 2, 31), (33, 17, 9), (5, 0, 4))
        for ta, tb in FORMS
    ]
    for _ in range(count):
        m, k, n = (int(x) for x in rng.choice(EXTENTS, 3))
        ta, tb = (bool(x) for x in rng.integers(0, 2, 2))
        specs.append(gemm(dtype, m, k, n, ta, tb, int(rng.choice((1, 1, 1, 3)))))
    return specs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", [host(), AVX2_LIKE, NARROW], ids=["host", "avx2", "narrow"])
def test_products_match_numpy(dtype: str, target: Target) -> None:
    specs = sample(dtype, 100 if target is host() else 25)
    library, functions = load(module(specs, target), len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        check(spec, run(function, spec, a, b, target), a, b)
    del library


def test_every_tiny_shape() -> None:
    shapes = itertools.product((0, 1, 2, 3, 5), (0, 1, 2, 3), (0, 1, 2, 3, 5))
    specs = [gemm("f8", *shape, ta, tb) for shape in shapes for ta, tb in FORMS]
    library, functions = load(module(specs, host()), len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        check(spec, run(function, spec, a, b, host()), a, b)
    del library


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("shape", [(6, 5000, 9), (40, 3000, 40), (1, 4099, 5), (1, 5000, 1)])
def test_long_sums_are_as_accurate_as_blas(dtype: str, shape: tuple[int, int, int]) -> None:
    specs = [gemm(dtype, *shape, ta, tb) for ta, tb in FORMS]
    library, functions = load(module(specs, host()), len(specs))
    eps = float(np.finfo(dtype).eps)
    for spec, function in zip(specs, functions, strict=True):
        a, b = (x + x.dtype.type(0.5) for x in operands(spec))
        exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
        scale = abs(a) @ abs(b)
        worst = (abs(run(function, spec, a, b, host()) - exact) / scale).max()
        theirs = (abs(a @ b - exact) / scale).max()
        assert worst <= 2 * theirs + 2 * eps, (spec, worst, theirs)
    del library


def test_rows_are_blocked_and_operands_packed_for_the_cache() -> None:
    small = dataclasses.replace(host(), l2=1 << 15)
    specs = [gemm("i4", 77, 40, 150, ta, tb) for ta, tb in FORMS]
    specs += [gemm("i8", 131, 70, 203, ta, tb) for ta, tb in FORMS]
    library, functions = load(module(specs, small), len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        assert np.array_equal(run(function, spec, a, b, small), a @ b)
    del library


@pytest.mark.parametrize("k", [400, 401])
def test_long_sums_are_cut_into_slices(k: int) -> None:
    """Slices of equal and unequal depth, with an operand packed or both, and in turned tiles."""
    small = dataclasses.replace(host(), l2=1 << 17)
    shapes = ((77, k, 39), (30, k, 39), (131, k, 20), (203, k, 37), (12, k, 150))
    specs = [gemm(d, *s, ta, tb) for d in ("i4", "f4") for s in shapes for ta, tb in FORMS]
    specs = [spec for spec in specs if strategy(spec, small) == "kernel"]
    assert len(specs) >= 32
    library, functions = load(module(specs, small), len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        check(spec, run(function, spec, a, b, small), a, b)
    del library


@pytest.mark.parametrize("stride", ["a", "b"])
def test_a_batch_can_share_an_operand(stride: str) -> None:
    spec = dataclasses.replace(gemm("f8", 5, 6, 7, batch=4), **{f"stride_{stride}": 0})
    library, functions = load(module([spec], host()), 1)
    a, b = operands(spec)
    shared = (a[:1], b) if stride == "a" else (a, b[:1])
    check(spec, run(functions[0], spec, *shared, host()), *shared)
    del library


def test_special_values_propagate() -> None:
    spec = gemm("f8", 3, 5, 9)
    library, functions = load(module([spec], host()), 1)
    a, b = operands(spec)
    a[0, 0, 0], a[0, 1, 1], b[0, 0, 3] = np.inf, np.nan, 0.0
    got = run(functions[0], spec, a, b, host())
    with np.errstate(invalid="ignore"):
        expected = a @ b
    assert np.array_equal(np.isnan(got), np.isnan(expected))
    assert np.array_equal(np.isinf(got), np.isinf(expected))
    del library


PRODUCTS = {
    "x86-64-v2": "mulpd", "x86-64-v3": "vfmadd", "x86-64-v4": "zmm", "x86-64-windows": "vfmadd",
    "aarch64-linux": "fmla", "arm64-macos": "fmla", "wasm32": "f64x2.mul",
}


@pytest.mark.parametrize("name", NAMED)
def test_every_target_has_assembly(name: str) -> None:
    target = NAMED[name]
    shapes = ((4, 3, 4), (9, 17, 13), (40, 30, 1), (2, 100, 33))
    specs = [gemm(d, *s, ta, tb) for d in ("f8", "f4", "u1") for s in shapes for ta, tb in FORMS]
    text = jit.assembly(str(module(specs, target)), target)
    assert text.count("product") >= len(specs)
    assert PRODUCTS[name] in text


def test_strategy_takes_blas_for_large_floats_only() -> None:
    large = gemm("f8", 1200, 1200, 1200)
    assert strategy(large, host()) == "blas"
    assert externals(large, host()) == ("dgemm",)
    assert externals(gemm("f4", 1700, 1700, 1700), host()) == ("sgemm",)
    assert scratch_bytes(large, host()) == 0
    assert strategy(gemm("i8", 1200, 1200, 1200), host()) == "kernel"
    assert strategy(gemm("f8", 64, 64, 64), host()) == "kernel"
    assert externals(gemm("f8", 64, 64, 64), host()) == ()


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_blas_is_called_in_every_form(dtype: str) -> None:
    tiny = dataclasses.replace(host(), l2=16)  # everything else would be a kernel
    specs = [gemm(dtype, 19, 11, 13, ta, tb, batch) for ta, tb in FORMS for batch in (1, 3)]
    assert {strategy(spec, tiny) for spec in specs} == {"blas"}
    library, functions = load(module(specs, tiny), len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        check(spec, run(function, spec, a, b, tiny), a, b)
    del library


def test_an_unknown_routine_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="no routine 'nogemm'"):
        blas.address("nogemm")


def test_an_unsupported_dtype_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no matrix product of complex128"):
        module([gemm("c16", 2, 2, 2)], host())


@pytest.mark.parametrize(
    "shape",
    [(4, 3, 5), (30, 20, 19), (64, 40, 3), (3, 50, 9), (7, 5, 1), (1, 8, 1), (70, 400, 39)],
)
def test_an_epilogue_sees_each_element_once(shape: tuple[int, int, int]) -> None:
    """C + 1000·batch + 10·row + 0.01·col, built from the places alone, in every form."""
    m, k, n = shape
    specs = [gemm("f8", m, k, n, ta, tb, 2) for ta, tb in FORMS]
    target = dataclasses.replace(host(), l2=1 << 17)
    out = Module(target)
    out.attributes = target.attributes
    for i, spec in enumerate(specs):
        b = Builder(out, f"product{i}", "void", [("ptr", x) for x in ("a", "b", "c", "scratch")])
        emit(b, spec, *b.params, epilogue=numbered(spec, b.params[2]))
        b.ret()
        b.finish()
    library, functions = load(out, len(specs))
    number = (
        1000.0 * np.arange(2)[:, None, None]
        + 10.0 * np.arange(m)[:, None]
        + 0.01 * np.arange(n)[None, :]
    )
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        got = run(function, spec, a, b, target)
        np.testing.assert_allclose(got, a @ b + number, rtol=1e-12, atol=1e-11)
    del library


def numbered(spec: Gemm, c: Val) -> Epilogue:
    """An epilogue that adds to each element a number made of its place, and stores it in C."""

    def apply(b: Builder, tile: Sequence[tuple[Val, Place]]) -> None:
        x = Lanes(b, "double", 8, host())
        for acc, place in tile:
            lanes = lanes_of(acc.ty)
            assert 1 <= place.used <= lanes
            parts = [b.cast("sitofp", v, "double") for v in (place.batch, place.row, place.col)]
            weights = (1000.0, 10.0, 0.01)
            scaled = [
                b.fmul(v, b.const(f, "double")) for v, f in zip(parts, weights, strict=True)
            ]
            base = b.fadd(b.fadd(scaled[0], scaled[1]), scaled[2])
            step = 10.0 if spec.n == 1 else 0.01
            steps = [b.const(step * lane, "double") for lane in range(lanes)]
            number = b.splat(base, lanes)
            for lane, value in enumerate(steps):
                number = b.fadd(base, value) if lanes == 1 else b.insert(
                    number, b.fadd(base, value), lane
                )
            at = x.step(x.step(c, place.batch, spec.stride_c), place.row, spec.n)
            x.store(b.fadd(acc, number), x.step(at, place.col, 1), place.used)

    return apply


@pytest.mark.parametrize("shape", [(4, 3, 5), (64, 40, 3), (3, 50, 9), (7, 5, 1), (70, 400, 39)])
def test_a_product_is_added_to_what_is_there(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    specs = [gemm("f8", m, k, n, ta, tb, 2) for ta, tb in FORMS]
    target = dataclasses.replace(host(), l2=1 << 17)
    out = Module(target)
    out.attributes = target.attributes
    for i, spec in enumerate(specs):
        b = Builder(out, f"product{i}", "void", [("ptr", x) for x in ("a", "b", "c", "scratch")])
        emit(b, spec, *b.params)
        emit(b, spec, *b.params, onto=True)
        b.ret()
        b.finish()
    library, functions = load(out, len(specs))
    for spec, function in zip(specs, functions, strict=True):
        a, b = operands(spec)
        got = run(function, spec, a, b, target)
        np.testing.assert_allclose(got, 2 * (a @ b), rtol=1e-12, atol=1e-11)
    del library


def test_blas_takes_no_epilogue() -> None:
    b = Builder(Module(host()), "f", "void", [("ptr", x) for x in ("a", "b", "c", "scratch")])
    with pytest.raises(ValueError, match="no epilogue"):
        emit(b, gemm("f8", 1200, 1200, 1200), *b.params, epilogue=lambda b, tile: None)


@pytest.mark.skipif(sys.platform == "win32", reason="pages are protected with mprotect")
def test_kernels_read_and_write_only_their_arrays() -> None:
    """In a process of its own: a stray access is a segmentation fault."""
    child = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr


def fenced(data: np.ndarray, at_end: bool) -> tuple[np.ndarray, mmap.mmap]:
    """A copy of an array that ends (or begins) where memory may not be touched."""
    page = mmap.PAGESIZE
    inner = -(-max(data.nbytes, 1) // page) * page
    room = mmap.mmap(-1, inner + 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(room))
    libc = ctypes.CDLL(None, use_errno=True)
    for edge in (base, base + page + inner):
        if libc.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(page), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = page + (inner - data.nbytes if at_end else 0)
    copy = np.frombuffer(room, data.dtype, data.size, offset).reshape(data.shape)
    copy[...] = data
    return copy, room


def main() -> None:
    """Run kernels with every array against a forbidden page, before and behind."""
    for target in (host(), AVX2_LIKE, NARROW):
        specs = [spec for d in ("f8", "f4", "u1") for spec in sample(d, 12)]
        library, functions = load(module(specs, target), len(specs))
        for spec, function in zip(specs, functions, strict=True):
            a, b = operands(spec)
            for at_end in (False, True):
                print(spec, at_end, flush=True)
                arrays = (
                    stored(a, spec.ta),
                    stored(b, spec.tb),
                    np.empty((spec.batch, spec.m, spec.n), spec.dtype),
                    np.empty(-(-scratch_bytes(spec, target) // 64) * 64, np.uint8),
                )
                kept = [fenced(x, at_end) for x in arrays]
                function(*(x.ctypes.data for x, _ in kept))
                check(spec, kept[2][0], a, b)
        del library


if __name__ == "__main__":
    main()
