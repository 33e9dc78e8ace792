"""Which arguments an entry point takes, and which it leaves to others."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from gradc.codegen import cpython
from gradc.codegen.entry import (
    EntrySpec,
    ResultSpec,
)
from gradc.codegen.guards import ArgSpec
from tests.codegen.entries import (
    DTYPES,
    KEY,
    check_flat,
    compiled,
    copy,
    f4,
    f8,
    i8,
    nothing,
    square_entry,
)

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

# -- guards ------------------------------------------------------------------------------------


class Sub(np.ndarray[Any, Any]):
    """A subclass of ndarray."""


class Float(float):
    """A subclass of float."""


class Int(int):
    """A subclass of int."""


def unaligned(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    n = 8 * int(np.prod(shape))
    return np.zeros(n + 1, np.uint8)[1:].view(f8).reshape(shape)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 3)).view(Sub),
        np.ma.zeros((2, 3)),
        np.zeros((2, 3), order="F"),
        np.zeros((2, 6))[:, ::2],
        np.zeros((2, 3))[::-1],
        np.zeros((2, 3), ">f8" if sys.byteorder == "little" else "<f8"),
        unaligned((2, 3)),
        np.zeros((2, 3), f4),
        np.zeros((2, 3), i8),
        np.zeros((2, 3), "M8[s]"),
        np.zeros((2, 3), "f8,f8"),
        np.zeros((2, 3), object),
        np.zeros(6),
        np.zeros((1, 2, 3)),
        np.zeros(()),
        np.zeros((3, 2)),
        np.zeros((2, 4)),
        np.zeros((2, 0)),
        np.float64(0),
        0.0,
        None,
        [[0.0] * 3] * 2,
    ],
    ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', x)}-{getattr(x, 'shape', '')}",
)
def test_other_arrays_miss(x: Any) -> None:
    spec = EntrySpec((ArgSpec("array", f8, (2, 3)),), ResultSpec((), None))
    f = compiled(spec, nothing).builtin("f")
    tag, args, kwargs = f(x)
    assert tag == "slow" and args[0] is x and kwargs == {}
    check_flat(lambda: f(x), x, calls=1000)


def test_calls_of_another_form_miss() -> None:
    f = square_entry().builtin("f")
    x = np.zeros(4)
    assert f() == ("slow", (), {})
    assert f(x, 1)[1][1] == 1
    assert f(x=x) == ("slow", (), {"x": x})
    _, args, kwargs = f(x, flag=KEY)
    assert args[0] is x and kwargs == {"flag": KEY}
    check_flat(lambda: f(x, flag=KEY), x, KEY)
    check_flat(lambda: f(x, x), x)


@pytest.mark.parametrize(
    "x",
    [
        pickle.loads(pickle.dumps(np.arange(4.0))),
        np.arange(8.0)[4:],
        np.frombuffer(np.arange(4.0).tobytes()),
        np.asfortranarray(np.arange(4.0)),
        np.arange(4.0).astype(">f8").astype("<f8") if sys.byteorder == "little" else np.arange(4.0),
    ],
    ids=["unpickled", "slice", "read-only", "fortran", "swapped-back"],
)
def test_the_same_array_by_other_ways_hits(x: Any) -> None:
    assert square_entry(0).builtin("f")(x) == np.dot(x, x)


def test_dtype_object_may_be_another_one() -> None:
    x = pickle.loads(pickle.dumps(np.arange(4.0)))
    assert x.dtype is not f8
    f = square_entry().builtin("f")
    assert f(x)[0] == 14
    check_flat(lambda: f(x), x, x.dtype)


@pytest.mark.parametrize("char", ["l", "q", "i"])
def test_types_of_one_width_are_one(char: str) -> None:
    dtype = np.dtype(char)
    same = np.dtype(f"i{dtype.itemsize}")
    args = (ArgSpec("array", dtype), ArgSpec("scalar", dtype))
    spec = EntrySpec(args, ResultSpec(((dtype, ()), (dtype, ())), (0, 1)))
    f = compiled(spec, copy(8 * dtype.itemsize, 2)).builtin("f")
    for other in {c for c in "ilq" if np.dtype(c) == dtype}:
        a, b = f(np.array(7, other), np.dtype(other).type(8))
        assert (a, b) == (7, 8) and a.dtype is b.dtype is np.dtype(same.name)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5, 2), (1,) * 32], ids=str)
def test_empty_and_odd_shapes(shape: tuple[int, ...]) -> None:
    spec = EntrySpec((ArgSpec("array", f8, shape),), ResultSpec(((f8, shape),), 0))
    f = compiled(spec, nothing).builtin("f")
    x = np.zeros(shape)
    assert f(x).shape == shape and f(x).dtype is f8
    check_flat(lambda: f(x), x, calls=1000)


# -- scalars -----------------------------------------------------------------------------------


def scalar_call(kind: Any, dtype: np.dtype[Any]) -> Any:
    spec = EntrySpec((ArgSpec(kind, dtype),), ResultSpec(((dtype, ()),), 0))
    return compiled(spec, copy(8 * dtype.itemsize)).builtin("f")


@pytest.mark.parametrize("dtype", [f8, f4])
def test_float(dtype: np.dtype[Any]) -> None:
    f = scalar_call("float", dtype)
    for x in (0.1, -0.0, float("inf"), 1e300, 5e-324):
        with np.errstate(over="ignore"):
            assert f(x).tobytes() == dtype.type(x).tobytes()
    assert np.isnan(f(float("nan")))
    for other in (1, True, np.float64(1), np.float32(1), Float(1), np.array(1.0), "1"):
        assert f(other)[1][0] is other
    x = 0.1
    check_flat(lambda: f(x), x)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind in "iuf"], ids=str)
def test_int(dtype: np.dtype[Any]) -> None:
    f = scalar_call("int", dtype)
    ends = [
        2**k + d for k in (7, 8, 15, 16, 24, 30, 31, 32, 53, 60, 62, 63, 64) for d in (-1, 0, 1)
    ]
    for x in [0, 1, -1, 5, *ends, *(-e for e in ends), 10**30, -(10**30)]:
        info = np.iinfo(np.int64 if dtype.kind == "f" else dtype)
        got = f(x)
        if max(info.min, -(2**63)) <= x <= min(info.max, 2**63 - 1):
            assert type(got) is dtype.type and got == dtype.type(x), x
        else:
            assert got[1][0] is x
    for other in (1.0, True, np.int64(1), Int(1), np.array(1), None):
        assert f(other)[1][0] is other
    big = 2**62
    check_flat(lambda: f(big), big, int, calls=1000)
    check_flat(lambda: f(10**30), calls=1000)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bool(dtype: np.dtype[Any]) -> None:
    f = scalar_call("bool", dtype)
    assert f(True) == 1 and f(False) == 0
    assert type(f(True)) is dtype.type
    for other in (1, 0, np.True_, None, 1.0):
        assert f(other)[1][0] is other
    check_flat(lambda: f(True), calls=1000)


@pytest.mark.parametrize("dtype", [f8, f4])
def test_numpy_scalar_is_exact(dtype: np.dtype[Any]) -> None:
    f = scalar_call("scalar", dtype)
    assert f(dtype.type(0.1)) == dtype.type(0.1)
    others = (0.1, 1, np.int64(1), np.float16(1), np.longdouble(1), np.array(1, dtype), np.True_)
    for other in (*others, np.float32(1) if dtype == f8 else np.float64(1)):
        assert f(other)[1][0] is other
