"""The memory of reverse mode: what a loop keeps, with and without checkpoints."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

import gradc

WIDTH = 50


def arena(trips: int, checkpoint: Any) -> int:
    """Bytes of working memory of value and gradient of a recurrence."""

    def f(x: Any) -> Any:
        def step(h: Any, _: Any) -> Any:
            return np.sin(h) * 1.01 + 0.1 * h, None

        h, _ = gradc.scan(step, x, None, length=trips, checkpoint=checkpoint)
        return np.sum(h)

    program = gradc.value_and_grad(f).ir(np.ones(WIDTH), stage="loops")
    found = re.search(r"arena (\d+) bytes", program)
    assert found
    return int(found[1])


@pytest.mark.parametrize("trips", [100, 400, 1600])
def test_a_tape_is_the_state_times_the_trips(trips: int) -> None:
    state = WIDTH * 8
    assert trips * state <= arena(trips, None) <= trips * state + 1024


def test_with_checkpoints_memory_grows_as_the_root_of_the_trips() -> None:
    few, many = arena(100, "sqrt"), arena(10_000, "sqrt")
    assert 8 < many / few < 12
    assert many < arena(10_000, None) / 40


def test_checkpoints_change_no_gradient() -> None:
    x = np.linspace(0.1, 1.0, WIDTH)

    def f(x: Any, checkpoint: Any) -> Any:
        h, _ = gradc.scan(lambda h, _: (np.sin(h) * 1.01, None), x, None, length=97,
                          checkpoint=checkpoint)
        return np.sum(h)

    plain = gradc.grad(f)(x, None)
    for checkpoint in ("sqrt", 7, "9kB"):
        np.testing.assert_allclose(gradc.grad(f)(x, checkpoint), plain, rtol=1e-13)


def test_updates_in_place_take_memory_in_proportion_to_the_array() -> None:
    def f(x: Any) -> Any:
        a = np.zeros_like(x)
        for i in gradc.range(1, len(x)):
            a[i] = np.sin(x[i]) * a[i - 1] + x[i]
        return np.sum(a * a)

    sizes = []
    for n in (1000, 10_000):
        program = gradc.value_and_grad(f).ir(np.ones(n), stage="loops")
        found = re.search(r"arena (\d+) bytes", program)
        assert found
        sizes.append(int(found[1]))
        inside = [line for line in program.splitlines() if line.startswith("    for ")]
        assert not inside, "no loop over the array in an iteration"
    assert sizes[1] < 10.5 * sizes[0]


def test_a_tape_that_no_memory_holds_is_refused_by_size_and_line() -> None:
    def f(x: Any) -> Any:
        return gradc.fori_loop(0, 10**12, lambda i, s: np.sin(s), x)

    with pytest.raises(MemoryError, match=r"(?s)MiB.*test_memory\.py.*checkpoint"):
        gradc.grad(f)(1.0)


def gated(trips: int, checkpoint: Any) -> tuple[int, Any]:
    """Bytes of working memory, and the gradient, where an iteration keeps more than it carries."""

    def f(x: Any, w: Any) -> Any:
        def step(h: Any, _: Any) -> Any:
            gate = 1 / (1 + np.exp(-h * w))
            return gate * np.tanh(h + w) + (1 - gate) * np.sin(h), None

        h, _ = gradc.scan(step, x, None, length=trips, checkpoint=checkpoint)
        return np.sum(h * h)

    given = np.linspace(0.1, 1.0, WIDTH), np.linspace(0.5, 1.5, WIDTH)
    function = gradc.value_and_grad(f, argnums=(0, 1))
    found = re.search(r"arena (\d+) bytes", function.ir(*given, stage="loops"))
    assert found
    return int(found[1]), function(*given)[1]


def test_a_size_holds_what_a_segment_keeps_and_not_the_carries_alone() -> None:
    trips, state = 2000, WIDTH * 8
    whole, plain = gated(trips, None)
    assert whole > 4 * trips * state
    for limit in (2_000_000, 400_000, 200_000):
        bytes_, gradient = gated(trips, f"{limit}B")
        assert limit // 3 < bytes_ < limit + 10 * state
        for a, b in zip(gradient, plain, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
    assert gated(trips, f"{whole}B")[0] == whole
    with pytest.raises(gradc.GradcError, match="keeps .* bytes at least"):
        gated(trips, "50kB")


# -- memory that a call takes as it runs ---------------------------------------------------------

STATE = 8 * WIDTH
#: blocks that small tapes share, the tapes' lengths, results
BESIDE = 100_000


def taken(f: Any, *given: Any) -> tuple[int, Any]:
    """Bytes that a call of value and gradient has taken at most, and what it gives."""
    function = gradc.value_and_grad(f)
    result = function(*given)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        function(*given)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return most - before, result


def shrunk(h: Any) -> Any:
    return 0.999 * np.sin(h)


@pytest.mark.parametrize("trips", [100, 4097, 8000])
def test_the_tape_of_a_while_loop_is_at_most_twice_the_state_times_the_trips(trips: int) -> None:
    """It doubles where it is full: just after it has, half of it is empty."""

    def f(x: Any, n: Any) -> Any:
        h = x
        count = 0
        while count < n:
            h = shrunk(h)
            count += 1
        return np.sum(h * h)

    most, _ = taken(f, np.ones(WIDTH), trips)
    assert trips * STATE <= most < 2 * trips * STATE + BESIDE


def test_the_tapes_of_nested_loops_are_the_state_times_all_trips() -> None:
    def f(x: Any, n: Any) -> Any:
        h = x
        for i in gradc.range(n):
            for _ in gradc.range(i):
                h = shrunk(h)
            h = h * h + 0.5
        return np.sum(h)

    n = 150
    most, _ = taken(f, np.ones(WIDTH), n)
    kept = STATE * (n * (n - 1) // 2 + n)
    assert kept <= most < 1.05 * kept + BESIDE


def test_a_while_loop_in_a_loop_keeps_at_most_twice_the_state_times_all_trips() -> None:
    def f(x: Any, n: Any) -> Any:
        h, trips = x, 0
        for i in gradc.range(n):
            k = i % 40
            while k > 0:
                h = shrunk(h)
                k = k - 1
                trips = trips + 1
        return np.sum(h), trips

    function = gradc.compile(lambda x, n: f(x, n))
    n = 200
    trips = int(function(np.ones(WIDTH), n)[1])
    assert trips == sum(i % 40 for i in range(n))
    most, _ = taken(lambda x, n: f(x, n)[0], np.ones(WIDTH), n)
    assert trips * STATE <= most < 2 * trips * STATE + BESIDE


def test_of_the_sides_of_a_branch_the_larger_is_kept_and_not_both() -> None:
    def f(x: Any, n: Any) -> Any:
        h = x
        for i in gradc.range(n):
            if i % 3 == 0:
                h = shrunk(h)
            else:
                t = np.tanh(h)
                h = np.cos(h) * t
        return np.sum(h)

    trips = 2000
    most, _ = taken(f, np.ones(WIDTH), trips)
    assert most < 3 * STATE * trips + BESIDE  # h, cos(h) and tanh(h); of the first side h alone


def test_elements_that_a_branch_in_a_loop_overwrites_are_kept_one_by_one() -> None:
    def f(x: Any, n: Any) -> Any:
        a = x.copy()
        for i in gradc.range(1, n):
            if a[i] > 0.5:
                a[i] = np.sin(a[i]) * a[i - 1]
        return np.sum(a)

    n = 20_000
    most, _ = taken(f, np.linspace(0.1, 1.0, n), n)
    assert most < 8 * 5 * n + BESIDE
