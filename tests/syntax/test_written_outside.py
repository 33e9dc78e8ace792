"""Plain arrays from outside are never written into, under whatever name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import ReadOnlyError

B = np.linspace(0.5, 2.0, 6)
GRID = B.reshape(2, 3).copy()
TABLE = np.array([3, 1, 2, 0, 5, 4])


def itself(y: Any) -> Any:
    x = B
    x[1] = y  # !
    return x


def at_a_place(y: Any) -> Any:
    x = B
    x[np.argmax(np.array([y, 1.0]))] = 2.0  # !
    return x


def a_view(y: Any) -> Any:
    x = B[1:]
    x[0] = y  # !
    return x


def as_an_array(y: Any) -> Any:
    x = np.asarray(GRID).reshape(6)
    x[2:4] = [y, y]  # !
    return x


def the_global(y: Any) -> Any:
    for k in range(6):
        B[k] = y  # !
    return y


def by_its_name(y: Any) -> Any:
    B[0] = 3.0  # !
    return y


def by_its_name_in_a_helper(y: Any) -> Any:
    def write() -> None:
        B[1:] += 3.0  # !

    write()
    return y


def augmented(y: Any) -> Any:
    x = B
    x += y  # !
    return x


def known_itself(y: Any) -> Any:
    x = B
    x[0] = 5.0  # !
    return y * x


def known_augmented(y: Any) -> Any:
    x = B
    x += 1.0  # !
    return y * x


def known_elements(y: Any) -> Any:
    x = B
    x[1:] *= 2.0  # !
    return y * x


def known_transposed(y: Any) -> Any:
    x = GRID.T
    x[0] = 1.0  # !
    return y * x


def known_view(y: Any) -> Any:
    v = B[1:]
    v[0] = 2.0  # !
    return y * v


def known_view_of_a_view(y: Any) -> Any:
    for row in GRID.reshape(3, 2)[::-1]:
        row[0] = 2.0  # !
    return y


def known_flat(y: Any) -> Any:
    GRID.flat[2] = 1.0  # !
    return y


def sorted_in_place(y: Any) -> Any:
    TABLE.sort()  # !
    return y * TABLE


def filled(y: Any) -> Any:
    x = B[2:]
    x.fill(0.0)  # !
    return y * x


def put(y: Any) -> Any:
    np.put(B, [0], 3.0)  # !
    return y


def added_at(y: Any) -> Any:
    np.add.at(B, [0, 0], 3.0)  # !
    return y


def copied_to(y: Any) -> Any:
    np.copyto(B[:2], 1.0)  # !
    return y


def copied_to_by_name(y: Any) -> Any:
    np.copyto(src=1.0, dst=GRID)  # !
    return y


def out_of_ufunc(y: Any) -> Any:
    np.multiply(B, 2.0, out=(B,))  # !
    return y


def third_of_ufunc(y: Any) -> Any:
    x = B
    np.multiply(x, 2.0, x)  # !
    return y


def out_of_sum(y: Any) -> Any:
    np.cumsum(B, out=B)  # !
    return y


def resized(y: Any) -> Any:
    B.resize(2, refcheck=False)  # !
    return y


def shaped(y: Any) -> Any:
    x = B
    x.shape = (2, 3)  # !
    return y


class Model:
    weights = [B, GRID]
    scale = np.ones(3)

    def __call__(self, y: Any) -> Any:
        self.scale *= 2.0  # !
        return y

    @classmethod
    def of_a_list(cls, y: Any) -> Any:
        for one in cls.weights:
            one[0] = 0.0  # !
        return y


MODEL = Model()


def of_an_object(y: Any) -> Any:
    MODEL.weights[1][0, 0] = 0.0  # !
    return y


def write(out: Any) -> None:
    np.copyto(out, 0.0)


def in_a_container(y: Any) -> Any:
    held = {"b": B}
    held["b"] += 1.0  # !
    return y * held["b"]


def by_a_helper(y: Any) -> Any:
    def inner(out: Any) -> None:
        out[0] = 0.0  # !

    if np.all(B > 0):
        inner(B)
    return y


def in_a_branch(y: Any) -> Any:
    x = B
    if y > 0:
        x[0] = 0.0  # !
    return x * y


PROGRAMS_OUTSIDE: list[Callable[[Any], Any]] = [
    itself, at_a_place, a_view, as_an_array, the_global, augmented, by_its_name,
    by_its_name_in_a_helper, known_itself, known_augmented, known_elements, known_transposed,
    known_view, known_view_of_a_view, known_flat, sorted_in_place, filled, put, added_at, copied_to,
    copied_to_by_name, out_of_ufunc, third_of_ufunc, out_of_sum, resized, shaped, of_an_object,
    in_a_container, by_a_helper, in_a_branch,
]  # fmt: skip


def test_helpers_that_write_into_what_they_are_given() -> None:
    before = B.copy()

    def outside(y: Any) -> Any:
        write(B)
        return y

    def own(y: Any) -> Any:
        x = B * 2
        write(x)
        return x * y

    write(np.ones(2))
    with pytest.raises(ReadOnlyError, match="`B`") as info:
        gradc.compile(outside)(1.5)
    assert info.value.where is not None
    assert info.value.where.line == write.__code__.co_firstlineno + 1
    np.testing.assert_array_equal(B, before)
    np.testing.assert_array_equal(gradc.compile(own)(1.5), own(1.5))
    with pytest.raises(ReadOnlyError, match="`self.scale`"):
        gradc.compile(MODEL)(1.5)
    with pytest.raises(ReadOnlyError, match=r"`cls\.weights\[0\]`"):
        gradc.compile(Model.of_a_list)(1.5)
    np.testing.assert_array_equal(MODEL.scale, np.ones(3))
    np.testing.assert_array_equal(B, before)
    assert gradc.compile(lambda y: B is Model.weights[0])(1.5)


def known_copies(y: Any) -> Any:
    x = B.copy()
    x[0] = 5.0
    x += 1.0
    v = x[1:]
    v[0] = 2.0
    g = (GRID * 2).T
    g[0] = 1.0
    z = np.zeros(6)
    z[::2] = 3.0
    z.flat[1] = 4.0
    np.add.at(z, [0, 0], 1.0)
    np.copyto(z[4:], 1.0)
    order = TABLE.copy()
    order.sort()
    w = np.array([1.0, 2.0])
    w.fill(3.0)
    np.multiply(w, 2.0, w)
    rows = [GRID[k] * 2 for k in range(2)]
    rows[1][0] = 7.0
    rows[0] += 1.0
    return y * np.sum(x) + np.sum(g[0] * g[1]) + np.sum(z) + order[2] + w[0] + rows[0] + rows[1]


def test_arrays_made_inside_may_be_written_into() -> None:
    before = B.copy(), GRID.copy(), TABLE.copy()
    np.testing.assert_allclose(gradc.compile(known_copies)(1.5), known_copies(1.5), rtol=1e-14)
    for array, held in zip((B, GRID, TABLE), before, strict=True):
        np.testing.assert_array_equal(array, held)


@pytest.mark.parametrize("program", PROGRAMS_OUTSIDE)
def test_arrays_from_outside_are_never_changed(program: Callable[[Any], Any]) -> None:
    before = B.copy(), GRID.copy(), TABLE.copy()
    with pytest.raises(ReadOnlyError) as info:
        gradc.compile(program)(1.5)
    code = program.__code__
    lines = Path(__file__).read_text().splitlines()[code.co_firstlineno - 1 :]
    marked = next(k for k, line in enumerate(lines) if line.endswith("# !"))
    assert info.value.where is not None
    assert (info.value.where.file, info.value.where.line) == (
        __file__, code.co_firstlineno + marked)
    assert "copy" in info.value.remedy or "a new array" in info.value.remedy
    for array, held in zip((B, GRID, TABLE), before, strict=True):
        np.testing.assert_array_equal(array, held)
