"""Functions and training loops whose code is in the cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc


def files(place: Path) -> list[Path]:
    return sorted(place.iterdir())


def square(x: Any) -> Any:
    return np.sum(x * x)


def cube(x: Any) -> Any:
    return np.sum(x * x * x)


def test_the_same_function_is_compiled_once(place: Path, compiles: list[str]) -> None:
    x = np.arange(5.0)
    cold = gradc.value_and_grad(square)(x)
    count = len(compiles)
    assert count and files(place)
    warm = gradc.compile(square).value_and_grad(x)
    assert len(compiles) == count
    assert float(cold[0]) == float(warm[0]) == 30.0
    assert np.array_equal(cold[1], warm[1])


def test_what_differs_is_compiled_anew(place: Path, compiles: list[str]) -> None:
    x = np.arange(5.0)

    def shifted(by: float) -> Callable[..., Any]:
        return lambda x: np.copysign(x, by)

    results = []
    for f, given in [
        (gradc.compile(square), x), (gradc.compile(square).grad, x),
        (gradc.compile(square).value_and_grad, x),
        (gradc.compile(cube).grad, x), (gradc.grad(gradc.grad(lambda x: np.sin(x))), 1.0),
        (gradc.grad(lambda x: np.sin(x)), 1.0), (gradc.compile(square), x.astype(np.float32)),
        (gradc.compile(square), x[:4]), (gradc.compile(square), x.reshape(5, 1)),
        (gradc.compile(shifted(0.0)), x), (gradc.compile(shifted(-0.0)), x),
        (gradc.compile(lambda x: (x, [x])), x), (gradc.compile(lambda x: [x, (x,)]), x),
        (gradc.compile(lambda x: {"a": x}), x), (gradc.compile(lambda x: x * x), 2.0),
        (gradc.compile(lambda x: x * x), 2), (gradc.compile(lambda x: x * x), np.float64(2.0)),
    ]:
        before = len(compiles)
        results.append(f(given))
        assert len(compiles) > before, len(results)
    assert results[9].tolist() == x.tolist() and results[10].tolist() == (-x).tolist()
    assert type(results[11]) is tuple and type(results[12]) is list


def test_keys_of_dicts_are_not_in_the_code(place: Path, compiles: list[str]) -> None:
    first = gradc.compile(lambda x: {"a": x, "b": [x + 1]})(np.ones(2))
    count = len(compiles)
    second = gradc.compile(lambda x: {"c": x, ("d", 1): [x + 1]})(np.ones(2))
    assert len(compiles) == count
    assert list(first) == ["a", "b"]
    assert list(second) == ["c", ("d", 1)]


def test_large_constants_are_those_of_this_process(place: Path, compiles: list[str]) -> None:
    table = np.random.default_rng(0).normal(size=(100, 200))

    def f(x: Any) -> Any:
        return np.sum(table @ x)

    x = np.ones(200)
    value = float(gradc.compile(f)(x))
    count = len(compiles)
    assert float(gradc.compile(f)(x)) == value
    assert len(compiles) == count
    assert sum(path.stat().st_size for path in files(place)) < table.nbytes
    table[0, 0] += 1
    assert float(gradc.compile(f)(x)) != value


def test_prints_of_cached_code(
    place: Path, compiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def f(x: Any) -> Any:
        gradc.debug_print("x is {}", x)
        return x + 1.0

    gradc.compile(f)(np.arange(2.0))
    count = len(compiles)
    gradc.compile(f)(np.arange(2.0))
    assert len(compiles) == count
    out, _ = capsys.readouterr()
    assert out.splitlines() == ["x is [0. 1.]"] * 2


def test_cached_code_fails_at_the_users_line(place: Path, compiles: list[str]) -> None:
    def f(x: Any, i: Any) -> Any:
        shifted = i + 1
        return np.sum(x[shifted])

    messages = []
    for _ in range(2):
        with pytest.raises(IndexError) as caught:
            gradc.grad(f)(np.ones(3), np.array([1, 5]))
        messages.append(str(caught.value))
        count = len(compiles)
    assert len(compiles) == count == 1
    assert messages[0] == messages[1]
    assert f"test_cache_of_functions.py:{f.__code__.co_firstlineno + 2}" in messages[1]


def test_stages_of_cached_code_can_be_read(place: Path) -> None:
    x = np.arange(5.0)
    first, second = gradc.compile(square), gradc.compile(square)
    for f in (first, second):
        f(x)
    for stage in ("traced", "optimized", "loops", "llvm"):
        assert first.ir(x, stage=stage) == second.ir(x, stage=stage)


def test_damaged_code_is_compiled_anew(place: Path, compiles: list[str]) -> None:
    gradc.compile(square)(np.ones(3))
    count = len(compiles)
    for path in files(place):
        path.write_bytes(path.read_bytes()[:-100])
    assert float(gradc.compile(square)(np.ones(3))) == 3.0
    assert len(compiles) == 2 * count
    assert float(gradc.compile(square)(np.ones(3))) == 3.0
    assert len(compiles) == 2 * count


def test_without_a_cache_nothing_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADC_CACHE", "0")
    gradc.compile(square)(np.ones(3))
    assert not place.exists()


PROGRAM = """
import sys, numpy as np, gradc

def loss(p, x):
    return np.sum(np.tanh(x @ p["w"] + p["b"]) ** 2)

rng = np.random.default_rng(0)
p = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
value, grad = gradc.value_and_grad(loss)(p, rng.normal(size=(8, 4)))
print(float(value).hex(), *(x.tobytes().hex() for x in grad.values()))
print("gradc.codegen.emit" in sys.modules, "gradc.ir.passes" in sys.modules, file=sys.stderr)
"""


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def test_processes_that_race(place: Path) -> None:
    """Two compile the same at once; a third finds their code and compiles nothing."""
    outputs, errors = [], []
    for count in (2, 1):
        for process in [started() for _ in range(count)]:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            outputs.append(out)
            errors.append(err)
    assert outputs[0] and len(set(outputs)) == 1
    assert errors[-1].split() == ["False", "False"]
    assert all(path.suffix == ".gradc" for path in files(place))


def test_training_loops_are_compiled_once(place: Path, compiles: list[str]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(10, 3)), rng.normal(size=10)

    def error(w: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ w - y) ** 2)

    def fit(batch: int, shuffle: bool = True, rate: float = 0.1) -> tuple[list[float], list[float]]:
        trainer = gradc.train(
            error, optimizer=gradc.optim.sgd(rate), batch_size=batch, shuffle=shuffle
        )
        result = trainer.fit(np.zeros(3), (x, y), epochs=3, seed=0)
        return result.losses.tolist(), result.params.tolist()

    cold = fit(4)
    assert len(compiles) == 1
    assert fit(4) == cold
    assert len(compiles) == 1
    results = [cold, fit(5), fit(4, shuffle=False), fit(4, rate=0.2)]
    assert len(compiles) == len(results)
    assert len({str(result) for result in results}) == len(results)


def test_a_cached_training_loop_fails_at_the_users_line(place: Path, compiles: list[str]) -> None:
    def error(w: Any, i: Any) -> Any:
        return np.sum(w[i] ** 2)

    messages = []
    for _ in range(2):
        trainer = gradc.train(error, optimizer=gradc.optim.sgd(0.1), batch_size=2, shuffle=False)
        with pytest.raises(IndexError) as caught:
            trainer.fit(np.ones(3), (np.array([0, 1, 2, 7]),), epochs=1, seed=0)
        messages.append(str(caught.value))
    assert len(compiles) == 1
    assert messages[0] == messages[1]
    assert f"test_cache_of_functions.py:{error.__code__.co_firstlineno + 1}" in messages[1]
