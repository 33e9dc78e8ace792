"""Reading and writing by index, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradc
from gradc.errors import CastingError, GradcError, IndexingError
from tests.tracer.helpers import check, interpreted, traced

A = np.arange(60.0).reshape(3, 4, 5)
I = np.array([[0, 2], [1, -1]])  # noqa: E741
J = np.array([1, 0])
MASK = A[:, :, 0] % 10 == 0

INDICES: dict[str, Any] = {
    "int": 1,
    "negative int": -1,
    "ints": (0, 2),
    "one element": (2, 3, -4),
    "numpy int": (np.int32(1), np.array(2)),
    "slice": slice(1, 3),
    "slices": (slice(None), slice(1, None, 2), slice(None, None, -1)),
    "negative steps": (slice(None, None, -2), slice(3, 0, -1)),
    "empty slice": (slice(2, 1), 0),
    "out of range slice": slice(1, 99),
    "ellipsis": (..., 1),
    "ellipsis alone": ...,
    "ellipsis of nothing": (0, 1, 2, ...),
    "new axis": (None, slice(None), None, 1),
    "new axes and ints": (0, None, ..., None),
    "empty tuple": (),
    "list": [0, 2],
    "array": I,
    "bool list": [True, False, True],
    "two arrays": (J, J),
    "two arrays that broadcast": (I, J),
    "arrays apart": (J, slice(None), J),
    "array last": (..., I),
    "array in the middle": (slice(1, None), I),
    "array and int": (0, slice(None), J),
    "int and array": (slice(None), 1, J),
    "int, array": (1, J),
    "array and new axis": (J, None, slice(1, 3)),
    "array, new axis, array": (J, None, J),
    "arrays after a step": (slice(None, None, -1), I, slice(0, 4, 3)),
    "empty list": [],
    "empty array": np.zeros((0, 2), int),
    "unsigned": np.array([2, 0], np.uint8),
    "mask": MASK,
    "mask and slice": (MASK, slice(1, 3)),
    "mask in the middle": (slice(None), np.array([True, False, True, False])),
    "mask and array": (np.array([True, False, True]), J),
    "mask of everything": A > 30,
    "ix_": np.ix_([0, 2], [1, 3]),
}


@pytest.mark.parametrize("name", INDICES)
def test_read(name: str) -> None:
    index = INDICES[name]
    check(lambda a: a[index], A)
    check(lambda a: (a + 0.0)[index], A.astype(np.float32))


@pytest.mark.parametrize("name", INDICES)
def test_read_of_a_constant_array(name: str) -> None:
    index = INDICES[name]
    check(lambda x: np.array(A)[index] + x, 1.0)


@pytest.mark.parametrize("name", INDICES)
def test_write(name: str) -> None:
    index = INDICES[name]

    def f(a: Any, x: Any) -> Any:
        whole, row, held = a.copy(), np.zeros((3, 4, 5)), np.array(A)
        whole[index] = 7
        row[index] = x
        held[index] += x * 2
        held[index] *= a[index]
        return whole, row, held

    check(f, A, 2.5)


@pytest.mark.parametrize("name", INDICES)
def test_write_an_array(name: str) -> None:
    index = INDICES[name]

    def f(a: Any) -> Any:
        out = np.zeros((3, 4, 5))
        out[index] = np.sqrt(a[index]) + 1
        return out

    check(f, A)


def test_leading_axes_of_length_one_may_be_dropped() -> None:
    def f(a: Any) -> Any:
        out = np.zeros((3, 4))
        out[0] = a[None, None, 0, :, 0]
        out[1:] = a[0, :, :1].T
        return out

    check(f, A)


class TestTracedIndices:
    def test_read(self) -> None:
        check(lambda a, i: (a[i], a[:, i], a[i, i], a[..., i], a[0, i], a[i, 1:3], a[i, :, 2]),
              A, np.array([0, 2, -1]))

    def test_scalar(self) -> None:
        def f(a: Any, i: Any) -> Any:
            k = i.sum()
            return a[k], a[0, k], a[k, :, 1], a[:, k], a[k, k, k], a[k, ..., None]

        check(f, A, np.array([1, 0]))

    def test_write(self) -> None:
        def f(a: Any, i: Any) -> Any:
            out = np.zeros((3, 4, 5))
            out[i] = a[i] * 2
            out[:, i] += 1
            out[0, i[0], 1:] = a[0, 0, 1:]
            return out

        check(f, A, np.array([2, 0, -1]))

    def test_argmax_row_by_row(self) -> None:
        check(lambda x: x[np.arange(3), x.argmax(1)], np.sin(A[:, :, 0]))

    def test_into_an_array_from_outside(self) -> None:
        check(lambda i: (np.take(A, i, axis=1), np.take(A, i), np.array(A)[i], A[i], A[1:, i]),
              np.array([2, 0]))
        given = gradc.compile(lambda i: A[i], rewrite=False)
        with pytest.raises(TypeError, match="plain NumPy array") as info:
            given(np.array([2, 0]))
        assert "np.array(a)" in str(info.value)

    def test_an_int_of_an_array_stays_traced(self) -> None:
        result, _ = traced(lambda a, i: a[i], A, np.array([1, 2]))
        assert "gather" in {n.op.name for n in result.graph.nodes}


class TestMasks:
    def test_traced_mask_writes(self) -> None:
        def f(a: Any) -> Any:
            out = a.copy()
            out[out > 30] = 0
            out[a[:, 0, 0] > 30] = 1.0
            out[out[:, :, 0] == 1] = a[0, 0]
            return out

        check(f, A)

    def test_traced_mask_on_a_view(self) -> None:
        def f(a: Any) -> Any:
            out = a.copy()
            row = out[1]
            row[row > 25] = -1.0
            return out, row

        check(f, A)

    def test_constant_mask(self) -> None:
        def f(a: Any) -> Any:
            out = np.ones((3, 4))
            out[MASK] = a[MASK][:, 0]
            out[~MASK] *= 2
            return out

        check(f, A)

    def test_reading_with_a_traced_mask(self) -> None:
        check(lambda a: a[a > 0].sum(), A)
        with pytest.raises(IndexError, match="traced boolean mask") as info:
            interpreted(lambda a: a[a[:, 0, 0] > 0, 1].sum(), A)
        assert "a[:, 1][mask]" in str(info.value)

    def test_writing_an_array_under_a_traced_mask(self) -> None:
        def f(a: Any) -> Any:
            out = a.copy()
            out[a > 0] = np.arange(3.0)[:, None, None, None]
            return out

        with pytest.raises(ValueError, match="how many of them"):
            interpreted(f, A)

    def test_mask_of_another_shape(self) -> None:
        with pytest.raises(IndexingError, match="did not match"):
            interpreted(lambda a: a[np.array([True, False])], A)
        with pytest.raises(IndexingError, match="did not match"):
            def f(a: Any) -> Any:
                b = a.copy()
                b[np.array([True, False])] = 1
                return b

            interpreted(f, A)


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (3, "index 3 is out of bounds for axis 0 with size 3"),
        ((0, -5), "index -5 is out of bounds for axis 1 with size 4"),
        ([0, 7], "index 7 is out of bounds for axis 0 with size 3"),
        ((0, 0, 0, 0), "too many indices"),
        (1.5, "only integers, slices"),
        ("a", "only integers, slices"),
        ((..., ...), "single ellipsis"),
        (([0, 1], [0, 1, 2]), "shape mismatch"),
    ],
)  # fmt: skip
def test_errors(index: Any, text: str) -> None:
    for function in (lambda a: a[index], lambda a: a.copy().__setitem__(index, 1.0)):
        with pytest.raises(IndexError, match=text) as info:
            interpreted(function, A)
        assert isinstance(info.value, GradcError)
        assert "Try: " in str(info.value)


def test_shape_of_the_written_value() -> None:
    def f(a: Any) -> Any:
        out = np.zeros(3)
        out[:2] = a[:3, 0, 0]
        return out

    with pytest.raises(ValueError, match=r"could not broadcast input array from shape \(3,\)"):
        interpreted(f, A)


def test_a_float_into_an_integer_array() -> None:
    def f(x: Any) -> Any:
        out = np.zeros(3, dtype=int)
        out[0] = x
        return out

    with pytest.raises(CastingError, match="lose its gradient") as info:
        interpreted(f, 2.5)
    assert "make the array float (dtype=float64)" in str(info.value)


def test_an_index_out_of_bounds_at_run_time() -> None:
    with pytest.raises(IndexError):
        interpreted(lambda a, i: a[i], A, np.array([5]))


def test_random_indices() -> None:
    """Pairs of basic and advanced parts drawn at random."""
    rng = np.random.default_rng(3)
    parts: list[Any] = [0, -1, slice(None), slice(1, None), slice(None, None, -1), None, ...,
                        [1, 0], np.array([[0, 1], [1, 0]]), np.array([True, False, True])]
    tried = 0
    while tried < 150:
        index = tuple(parts[k] for k in rng.integers(0, len(parts), rng.integers(1, 5)))
        if sum(i is Ellipsis for i in index) > 1:
            continue
        array = np.arange(81.0).reshape(3, 3, 3, 3)
        try:
            array[index]
        except IndexError:
            continue
        tried += 1

        def f(a: Any, x: Any, index: Any = index) -> Any:
            out = a * 1.0
            out[index] += x
            out[index] = a[index] * out[index]
            return a[index], out

        check(lambda a, x, f=f: f(a, x), array, 1.5)
