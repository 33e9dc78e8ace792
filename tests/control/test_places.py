"""Reading and writing at places that are known only when the code runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.control import UNDEFINED, counted
from gradc.errors import TracerIndexError
from tests.control.helpers import count, run, same, text

A = np.arange(35.0).reshape(5, 7) ** 1.5
CUBE = np.sin(np.arange(60.0)).reshape(3, 4, 5)

INDICES = [
    "i", "-i", "i, 1", "1, i", "i, i + 1", "i, 1:-1", "i, ::-2", ":, i", "1:-1, i", "::-1, -i",
    "..., i", "i, ...", "i, None", "None, i, None, 2:", "i:i + 2", "i + 1:i + 1",
    "i, 2 * i:2 + i * 2", "0, i - 0:i + 5:2", "1, i:i + 3", "i, i:i + 3", "i:i + 2, 1:3",
    "i:i + 2, i:i + 3", "[2, 0], i", "i, [2, 0]", "[2, 0], i:i + 2",
]
VIEWS = [
    *(f"a[{index}]" for index in INDICES if "[" not in index),
    "a[:, i:i + 3][1:]", "a[i][i]", "a[i][1:][i]", "a[1:][i]", "a.T[i]", "a[:, 1][i]",
    "a[i].reshape(7, 1)", "a.T[i, 1:][::-1]", "a[1:, 2:][i, i:i + 2]",
]
READS: dict[str, Callable[[Any, Any], Any]] = {
    name: eval(f"lambda a, i: {name}")
    for name in [*VIEWS, *(f"a[{index}]" for index in INDICES if "[" in index)]
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("i", [0, 1, 2])
def test_read(name: str, i: int) -> None:
    # From an array, the index is an integer of NumPy's.
    np.testing.assert_array_equal(
        run(lambda a, k: READS[name](a, k[0]), A, np.array([i])), READS[name](A, i)
    )


@pytest.mark.parametrize("name", READS)
def test_read_in_a_loop(name: str) -> None:
    read = READS[name]

    def f(a: Any) -> Any:
        return gradc.fori_loop(0, 3, lambda i, s: s + read(a * s, i), 1.0)

    if np.ndim(read(A, 0)):
        def f(a: Any) -> Any:
            return gradc.fori_loop(0, 3, lambda i, s: s * 0.5 + read(a, i), 0.0)

    same(f, A)


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_read_is_a_view(name: str) -> None:
    read = READS[name]

    def f(a: Any) -> Any:
        a = a.copy()

        def body(i: Any, s: Any) -> Any:
            v = read(a, i)
            if np.ndim(v):
                v *= 0.5
                v[...] += i
            a[0, 0] += s
            return s + np.sum(v)

        s = gradc.fori_loop(0, 3, body, 0.0)
        return a, s

    same(f, A)


@pytest.mark.parametrize("index", INDICES)
def test_write_in_a_loop(index: str) -> None:
    code = compile(f"a[{index}] = a[{index}] * 0.5 + i; a[{index}] += 1", "<test>", "exec")

    def f(a: Any) -> Any:
        a = a.copy()

        def body(i: Any, s: Any) -> Any:
            exec(code, {"a": a, "i": i})
            np.add.at(a, (0, i), s)
            return s + a[i, i]

        s = gradc.fori_loop(0, 3, body, 0.0)
        return a, s

    same(f, A)


def test_three_axes() -> None:
    def f(a: Any) -> Any:
        a = a.copy()

        def body(i: Any, s: Any) -> Any:
            a[i, 1:-1, i + 1] += a[0, i, 1] * a[1:, i, 2].sum()
            a[:, i, :] *= 0.5
            a[i, i + 1] += a[i, :, i].sum()
            a[1, i : i + 2, 1:3] = a[i, i : i + 2, 2:4]
            return s + a[..., i].sum()

        return a, gradc.fori_loop(0, 3, body, 0.0)

    same(f, CUBE)


def test_row_updates_touch_rows_alone() -> None:
    def f(a: Any) -> Any:
        a = a.copy()

        def body(i: Any, s: Any) -> Any:
            a[i + 1, 1:-1] += a[i, 2:]
            a[i, 3] = a[i + 1, 0]
            return s

        return a, gradc.fori_loop(0, 3, body, 0.0)

    whole = [line for line in text(f, A).splitlines() if ": f64[5,7]" in line]
    assert sum("scatter_set" in line for line in whole) == 2
    assert not any("slice" in line or "where" in line for line in whole)


def test_an_index_out_of_bounds_raises_at_run_time() -> None:
    for read in (lambda a, k: a[k[0]], lambda a, k: a[:, k[0]], lambda a, k: a[k[0], 1:]):
        assert run(read, A, np.array([-1])) is not None
        for k in (7, -8):
            with pytest.raises(IndexError):
                run(read, A, np.array([k]))
    for k in (-1, 4, 9):
        with pytest.raises(IndexError):
            run(lambda a, k: a[k[0] : k[0] + 2], A, np.array([k]))


def test_a_window_of_unknown_length() -> None:
    def f(index: Callable[[Any], Any]) -> None:
        run(lambda a, k: a[index(k[0])], A, np.array([1, 2]))

    for index in (
        lambda i: slice(None, i), lambda i: slice(i, None), lambda i: slice(0, i),
        lambda i: slice(i, 2 * i), lambda i: slice(i + 3, i, -1),
    ):
        with pytest.raises(TracerIndexError, match="only when the compiled code runs"):
            f(index)  # as a result
    with pytest.raises(TracerIndexError, match="a traced step"):
        f(lambda i: slice(0, 3, i))
    f(lambda i: slice(2 * i - 1, i + i + 1))
    f(lambda i: slice(i % 3, i % 3 + 2))
    f(lambda i: slice(-(i * i) + 2, 3 - i * i))


def test_a_slice_by_an_argument_is_static() -> None:
    assert run(lambda a, n: a[:n], A, 2).shape == (2, 7)
    assert run(lambda a, n: a[n:], A, 2).shape == (3, 7)


def test_windows_across_nested_loops() -> None:
    def f(a: Any) -> Any:
        a = a.copy()

        def outer(i: Any, s: Any) -> Any:
            below = i + 2

            def inner(j: Any, s: Any) -> Any:
                block = a[i:below, j : j + 3]
                block += s
                return s + a[i, j] * 0.125

            return gradc.fori_loop(0, 4, inner, s)

        return a, gradc.fori_loop(0, 3, outer, 0.5)

    same(f, A)


def test_constants_are_read_at_traced_places() -> None:
    def f(a: Any) -> Any:
        table = np.array([1.0, 0.5, 0.25])
        return gradc.fori_loop(0, 3, lambda i, s: s + table[i] * a[i] + table[i:i + 1][0], a[0])

    same(f, A)


def test_a_row_that_is_read_late_has_what_was_written_meanwhile() -> None:
    def f(a: Any) -> Any:
        a = a.copy()

        def body(i: Any, state: Any) -> Any:
            (s, _) = state
            row = a[i]
            a[i, 0] = 100.0 + i
            a[i + 1] = row
            return s + row[0], row

        s, _ = counted(4, body, (0.0, UNDEFINED), ("s", "row"), forced=True)
        return a, s

    def by_python(a: Any) -> Any:
        a, s = a.copy(), 0.0
        for i in range(4):
            row = a[i]
            a[i, 0] = 100.0 + i
            a[i + 1] = row
            s += row[0]
        return a, s

    got, wanted = run(f, A), by_python(A)
    np.testing.assert_array_equal(got[0], wanted[0])
    assert got[1] == wanted[1]


def stencil(a: Any) -> Any:
    a = a.copy()

    def body(i: Any, s: Any) -> Any:
        a[:, i + 1] = np.sin(a[:, i]) * a[i : i + 1, 2]
        a[i, 1:-1] *= a[i + 1, 2:] + s
        a[2, i] = a[i, i] * s
        return s + a[i, i] ** 2

    s = gradc.fori_loop(0, 3, body, 0.5)
    return np.sum(a * a) + s


def test_gradients() -> None:
    gradc.check_grads(stencil, (np.cos(A),), order=2)


def test_distinct_places_are_not_searched_for_the_last_write() -> None:
    graph = gradc.grad(stencil).ir(A, stage="adjoint")
    assert " eq " not in graph

    def repeated(a: Any, k: Any) -> Any:
        b = np.zeros(5)
        b[k] = a[0, :2]
        return b.sum()

    assert " eq " in gradc.grad(repeated).ir(A, np.array([1, 1]), stage="adjoint")
    np.testing.assert_array_equal(gradc.grad(repeated)(A, np.array([1, 1]))[0, :3], [0, 1, 0])


def test_a_loop_of_writes_is_one_loop() -> None:
    assert count(stencil, "loop", A) == 1


@pytest.mark.parametrize("n", [0, 3, 4, 9])
def test_an_element_is_read_where_what_reads_it_runs(n: int) -> None:
    X = np.array([0.5, -1.25, 2.0, 1.0])

    def branch(x: np.ndarray, n: int) -> Any:
        x = x.copy()
        if n < 4:
            x[n] *= 2
        return np.sum(x * x) + (x[n] if n < 4 else 1.0)

    def cond(x: np.ndarray, n: int) -> Any:
        return gradc.cond(n < 4, lambda: 2.0 * x[n], lambda: 0.5 * x[0])

    def loop(x: np.ndarray, n: int) -> Any:
        x = x.copy()
        for i in gradc.range(n):
            if i < 4:
                x[i] *= x[i]
        return np.sum(x)

    def left(x: np.ndarray, n: int) -> Any:
        x, i = x.copy(), 0
        while True:
            if i >= min(n, 4):
                break
            x[i] *= 2
            i += 1 + (x[0] > 0)
        return np.sum(x)

    def while_(x: np.ndarray, n: int) -> Any:
        s, i = 0.0, n
        while i < 4:
            s += x[n] * x[i]
            i += 1
        return s + x[0]

    for f in (branch, loop, left, while_):
        value, slope = gradc.compile(f).value_and_grad(X, n)
        np.testing.assert_allclose(value, f(X, n), rtol=1e-14)
        differences = [
            (f(X + step, n) - f(X - step, n)) / 2e-6 for step in 1e-6 * np.eye(4)]
        np.testing.assert_allclose(slope, differences, atol=1e-8)
    assert gradc.compile(cond)(X, n) == (2.0 * X[n] if n < 4 else 0.5 * X[0])
