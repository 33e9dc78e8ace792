"""The memory of reverse mode: what a loop keeps, with and without checkpoints."""

from __future__ import annotations

import re
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
