"""Work shared out among threads: right, the same for any number of them, and safe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.codegen.chunks import statements
from gradc.codegen.kernel import Kernel
from gradc.codegen.loops import Contract, Nest
from gradc.codegen.program import schedule
from gradc.codegen.statements import Accumulate
from gradc.ir import ops
from gradc.ir.graph import Builder
from gradc.ir.types import F32, TensorType

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = gradc.get_num_threads()
    yield
    gradc.set_num_threads(before)


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.standard_normal(shape)


def chain(x: Any) -> Any:
    return np.sum(np.sin(x) * np.exp(-x * x) + np.log1p(x * x))


def log_sum_exp(x: Any) -> Any:
    top = np.max(x)
    return top + np.log(np.sum(np.exp(x - top)))


def cross_entropy(x: Any) -> Any:
    z = x - np.max(x, axis=1, keepdims=True)
    return -np.mean((z - np.log(np.sum(np.exp(z), axis=1, keepdims=True)))[:, 3])


def logistic(w: Any, x: Any, y: Any) -> Any:
    z = x @ w
    return np.mean(np.logaddexp(0, z) - y * z)


def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    mean = np.mean(x, axis=1, keepdims=True)
    centered = x - mean
    spread = np.sqrt(np.mean(centered * centered, axis=1, keepdims=True) + 1e-5)
    return np.sum((centered / spread * scale + shift) ** 3)


def middle(x: Any) -> Any:
    """A reduction over the middle axis, which each chunk has for itself."""
    return np.sum(np.sum(np.sin(x), axis=1) ** 2)


def strided(x: Any) -> Any:
    return np.sum(np.exp(x[:, ::3, 1:]) * x[:, 1::3, :-1])


def looked_up(table: Any, index: Any) -> Any:
    return np.sum(np.tanh(table[index]) ** 2)


def pairs(centres: Any, x: Any) -> Any:
    apart = x[:, None, :] - centres
    return np.sum(np.min(np.sum(apart * apart, axis=2), axis=1))


def sharpness(x: Any) -> Any:
    """Short rows that keep values between sweeps, several rows at a time."""
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    return np.sum((e / np.sum(e, axis=1, keepdims=True)) ** 2)


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "chain": (chain, (normal(100_003),)),
    "chain of whole chunks": (chain, (normal(1 << 16),)),
    "chain in float32": (chain, (normal(300_001).astype(np.float32),)),
    "two inner loops": (strided, (normal(61, 90, 40),)),
    "log_sum_exp": (log_sum_exp, (normal(90_001),)),
    "cross_entropy": (cross_entropy, (normal(211, 200),)),
    "logistic": (logistic, (normal(50), normal(9001, 50), (normal(9001) > 0) * 1.0)),
    "long columns": (lambda x: np.sum(np.sum(np.exp(x), axis=0) ** 2), (normal(30_011, 3),)),
    "layer_norm": (layer_norm, (normal(333, 257), normal(257), normal(257))),
    "middle": (middle, (normal(64, 50, 33),)),
    "integers": (lambda x, k: np.sum(x * np.sum(k * k % 7)), (normal(7), np.arange(400_001))),
    "short rows": (sharpness, (normal(12_000, 7),)),
    "pairs": (pairs, (normal(40, 6), normal(4000, 6))),
    "gather": (looked_up, (normal(90, 8), RNG.integers(0, 90, (200, 30)))),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_bits_for_any_number_of_threads(name: str) -> None:
    function, arguments = CASES[name]
    compiled = gradc.compile(function)
    results = []
    for count in (1, 2, 5):
        gradc.set_num_threads(count)
        for _ in range(3):
            value, gradient = compiled.value_and_grad(*arguments)
            results.append((value.tobytes(), gradient.tobytes()))
    assert len(set(results)) == 1
    rtol = 1e-12 if arguments[0].dtype == np.float64 else 1e-5
    np.testing.assert_allclose(value, function(*arguments), rtol=rtol)
    with gradc.config(jit=False):
        expected = gradc.grad(function)(*arguments)
    np.testing.assert_allclose(gradient, expected, rtol=1e3 * rtol, atol=rtol)


PRODUCTS = [
    (512, 512, 512), (1024, 64, 257), (1024, 256, 16), (3000, 300, 10), (300, 1073, 10),
    (5, 700, 900), (900, 700, 5), (256, 784, 250), (37, 1300, 411), (700, 1030, 15), (130, 2, 9000),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m, k, n", PRODUCTS)
def test_products_are_cut(m: int, k: int, n: int, dtype: type) -> None:
    for flip_a in (False, True):
        for flip_b in (False, True):
            a = normal(*((k, m) if flip_a else (m, k))).astype(dtype)
            b = normal(*((n, k) if flip_b else (k, n))).astype(dtype)

            @gradc.compile
            def product(a: Any, b: Any, fa: bool = flip_a, fb: bool = flip_b) -> Any:
                return (a.T if fa else a) @ (b.T if fb else b)

            results = []
            for count in (1, 2, 5):
                gradc.set_num_threads(count)
                results.append(product(a, b))
            assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
            left, right = (x.astype(np.float64) for x in (a, b))
            exact = (left.T if flip_a else left) @ (right.T if flip_b else right)
            bound = np.finfo(dtype).eps * np.sqrt(k) * 4
            np.testing.assert_allclose(results[0], exact, rtol=0, atol=bound * np.max(abs(exact)))
    assert " parallel in " in product.ir(a, b, stage="loops")


@pytest.mark.parametrize("shape", [(8, 64, 64, 64), (9, 130, 70, 33), (4, 256, 64, 250)])
def test_batches_of_products_are_cut(shape: tuple[int, int, int, int]) -> None:
    batch, m, k, n = shape
    a, b = normal(batch, m, k), normal(batch, k, n)
    product = gradc.compile(lambda a, b: a @ b)
    results = []
    for count in (1, 2, 5):
        gradc.set_num_threads(count)
        results.append(product(a, b))
    assert results[0].tobytes() == results[1].tobytes() == results[2].tobytes()
    np.testing.assert_allclose(results[0], a @ b, rtol=1e-12, atol=1e-12)
    assert " parallel in " in product.ir(a, b, stage="loops")


@pytest.mark.parametrize("name", CASES)
def test_long_nests_are_cut(name: str) -> None:
    function, arguments = CASES[name]
    dump = gradc.compile(function).ir(*arguments, stage="loops")
    assert " parallel:" in dump


def test_what_compensates_a_part_is_as_long_as_the_part() -> None:
    b = Builder("logistic")
    x = b.input("x", TensorType(F32, (20_000, 100)))
    w = b.input("w", TensorType(F32, (20_000,)))
    spread = ops.broadcast(ops.reshape(w, shape=(20_000, 1)), shape=(20_000, 100))
    program = schedule(b.build([ops.sum_(ops.exp(x) * spread, axes=(0,))]))
    sums = [
        (s, stage.outer[0])
        for stage in program.stages
        if isinstance(stage, Nest) and stage.chunks
        for s in statements(stage)
        if isinstance(s, Accumulate) and s.totals
    ]
    assert sums
    for s, chunks in sums:
        assert s.totals is not None
        assert all(total.size == s.buffer.size // chunks for total in s.totals)


def test_a_product_in_registers_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chunks would each do all of it, and sums of columns count it once for each."""
    monkeypatch.setattr("gradc.codegen.chunks.LONG_PRODUCT", 1)
    monkeypatch.setattr("gradc.codegen.chunks.CHUNK_OF_PRODUCT", 1)
    b = Builder("product")
    x, w = (b.input(name, TensorType(F32, (n, 2))) for name, n in (("x", 7), ("w", 33)))
    sums = ops.sum_(ops.abs_(ops.matmul(x, w, ta=False, tb=True)), axes=(0,))
    graph = b.build([sums])
    (stage,) = schedule(graph).stages
    assert isinstance(stage, Contract) and stage.epilogue and not stage.shares
    arrays = [normal(7, 2).astype(np.float32), normal(33, 2).astype(np.float32)]
    want = np.sum(np.abs(arrays[0] @ arrays[1].T), axis=0)
    np.testing.assert_allclose(Kernel(graph)(arrays)[0], want, rtol=1e-5)


def test_short_nests_are_not_cut() -> None:
    assert " parallel:" not in gradc.compile(chain).ir(normal(1000), stage="loops")


def test_the_first_index_out_of_bounds_is_told() -> None:
    index = RNG.integers(0, 90, (200, 30))
    index[150, 2] = index[199, 3] = 90
    with pytest.raises(IndexError, match="out of bounds"):
        gradc.compile(looked_up)(normal(90, 8), index)


def test_many_python_threads_compile_and_call() -> None:
    gradc.set_num_threads(3)
    arguments = normal(40_000)
    shared = gradc.compile(chain)
    expected = shared.value_and_grad(arguments)[1]
    faults: list[object] = []

    def work(number: int) -> None:
        try:
            own = gradc.compile(lambda x: chain(x) * number)
            for _ in range(10):
                for _ in range(10):
                    _, gradient = shared.value_and_grad(arguments)
                    if not np.array_equal(gradient, expected):
                        faults.append(number)
                _, gradient = own.value_and_grad(arguments)
                np.testing.assert_allclose(gradient, expected * number, rtol=1e-12, atol=1e-12)
                gradc.set_num_threads(1 + number % 4)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_idle_threads_sleep() -> None:
    gradc.set_num_threads(4)
    gradc.compile(chain).value_and_grad(normal(100_000))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.05


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_has_threads_of_its_own() -> None:
    program = """
import os, numpy as np, gradc
gradc.set_num_threads(3)
f = gradc.compile(lambda x: np.sum(np.sin(x) * np.exp(x)))
x = np.linspace(0, 1, 100_000)
expected = f.value_and_grad(x)[1]
child = os.fork()
for _ in range(20):
    assert np.array_equal(f.value_and_grad(x)[1], expected)
if child == 0:
    from gradc.codegen.threads import started
    os._exit(0 if started() == 2 else 3)
assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_a_process_ends_while_another_thread_works() -> None:
    program = """
import threading, time, numpy as np, gradc
gradc.set_num_threads(3)
f = gradc.compile(lambda x: np.sum(np.sin(x) * np.exp(x)))
x = np.linspace(0, 1, 300_000)
def forever():
    while True:
        f.value_and_grad(x)
threading.Thread(target=forever, daemon=True).start()
time.sleep(1)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def _ask(value: str) -> subprocess.CompletedProcess[str]:
    program = "import gradc; print(gradc.get_num_threads())"
    environment = os.environ | {"GRADC_NUM_THREADS": value}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, timeout=60, capture_output=True, text=True
    )


def test_the_environment_says_how_many() -> None:
    assert _ask("3").stdout == "3\n"
    assert "from 1 to 256, not 'two'" in _ask("two").stderr
    assert "from 1 to 256, not 0" in _ask("0").stderr


@pytest.mark.parametrize("count", [0, -1, 257, 2.0, "2", True])
def test_a_number_that_cannot_be(count: Any) -> None:
    with pytest.raises(ValueError, match="from 1 to 256"):
        gradc.set_num_threads(count)
