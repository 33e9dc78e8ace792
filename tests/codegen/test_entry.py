"""Native entry points: what they accept, what they return, and that they count references."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from gradc.codegen import cpython
from gradc.codegen.entry import (
    EntrySpec,
    ResultSpec,
    emit_entry,
)
from gradc.codegen.guards import ArgSpec
from gradc.codegen.llvm import Module
from gradc.codegen.structure import Record
from gradc.codegen.targets import host
from tests.codegen.entries import (
    DTYPES,
    KEY,
    VALUE_AND_ARRAY,
    VECTOR,
    Key,
    check_flat,
    compiled,
    copy,
    f8,
    nothing,
    square_entry,
)

pytestmark = pytest.mark.skipif(not cpython.supported(), reason="no native entry points here")

# -- results -----------------------------------------------------------------------------------


def test_value_and_array() -> None:
    f = square_entry().builtin("loss", "Sum of squares.")
    x = np.arange(4.0)
    value, gradient = f(x)
    assert type(value) is np.float64 and value == 14
    assert type(gradient) is np.ndarray and gradient.dtype is f8
    np.testing.assert_array_equal(gradient, 2 * x)
    assert gradient.flags.owndata and gradient.flags.writeable and gradient.flags.carray
    assert (f.__name__, f.__doc__) == ("loss", "Sum of squares.")
    check_flat(lambda: f(x), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_as_array_and_scalar(dtype: np.dtype[Any]) -> None:
    leaves = ((dtype, ()), (dtype, (1, 1)))
    args = (ArgSpec("array", dtype, (1,)), ArgSpec("scalar", dtype))
    spec = EntrySpec(args, ResultSpec(leaves, (0, 1)))
    f = compiled(spec, copy(8 * dtype.itemsize, 2)).builtin("f")
    one = np.ones(1, dtype)
    value, array = f(one, dtype.type(1))
    assert type(value) is dtype.type and value == 1
    assert array.dtype is np.dtype(dtype.name) and array.shape == (1, 1) and array[0, 0] == 1
    assert value.dtype is np.dtype(dtype.name)
    check_flat(lambda: f(one, dtype.type(1)), one, np.dtype(dtype.name), dtype.type, calls=1000)


Pair = namedtuple("Pair", "x y")


@dataclasses.dataclass
class Fields:
    """Two fields."""

    x: Any
    y: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    """Two fields in slots, not to be set."""

    x: Any
    y: Any


@pytest.mark.parametrize(
    "structure",
    [
        0,
        1,
        None,
        (),
        [],
        {},
        (1,),
        [0, 1],
        (0, 0, 1, 1, None),
        {"a": 0, KEY: (1, [1, {"b": None}])},
        {"a": 1, "b": 1},
        [(0, {"w": 1, ("k", 2): [0, 1]}), None, {"x": {"y": ([], 0)}}],
        Record(Pair, (), (0, 1)),
        Record(Pair, (), (Record(Pair, (), (1, None)), {"a": Record(Pair, (), (0, 0))})),
        Record(Fields, ("x", "y"), (1, 0)),
        {"a": Record(Fields, ("x", "y"), ([Record(Frozen, ("x", "y"), ([0], 1))], None)), "b": 0},
    ],
    ids=repr,
)
def test_structures(structure: Any) -> None:
    f = square_entry(structure).builtin("f")
    x = np.arange(4.0)
    leaves = (np.float64(14), 2 * x)

    def expected(s: Any) -> Any:
        if isinstance(s, Record):
            return s.kind(*map(expected, s.children))
        if isinstance(s, dict):
            return {k: expected(v) for k, v in s.items()}
        if isinstance(s, (tuple, list)):
            return type(s)(expected(v) for v in s)
        return None if s is None else leaves[s]

    assert repr(f(x)) == repr(expected(structure))
    check_flat(lambda: f(x), x, KEY, Pair, Fields, Frozen)


def test_leaf_twice_is_one_object() -> None:
    a, b = square_entry([1, (1,)]).builtin("f")(np.arange(4.0))
    assert a is b[0]
    assert sys.getrefcount(a) == 3  # a, the tuple's, the call's own


def test_rebuild_gets_the_leaves() -> None:
    Point = namedtuple("Point", "value gradient")
    f = square_entry(None, rebuild=lambda leaves: Point(*leaves)).builtin("f")
    x = np.arange(4.0)
    point = f(x)
    assert type(point) is Point and point.value == 14 and point.gradient[3] == 6
    check_flat(lambda: f(x), x, Point)


def test_no_arguments_no_results() -> None:
    f = compiled(EntrySpec((), ResultSpec((), None)), nothing).builtin("f")
    assert f() is None
    assert f(1) == ("slow", (1,), {})


# -- the text ----------------------------------------------------------------------------------


def test_text_is_the_same_for_other_objects() -> None:
    def text(key: object) -> str:
        results = ResultSpec(VALUE_AND_ARRAY, {key: (0, 1)})
        module = Module(host())
        emit_entry(module, EntrySpec((VECTOR,), results, 10_000, True))
        return str(module)

    first = text("a")
    assert first == text(Key())
    assert not any(str(address) in first for address in cpython.addresses().values())


def test_unsupported_where_a_probe_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_dtypes_hold", "_arrays_hold", "_scalars_hold", "_containers_hold"):
        with monkeypatch.context() as patch:
            patch.setattr(cpython, name, lambda at: False)
            assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(cpython, "_numpy_functions", dict)
        assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(sys.implementation, "name", "pypy")
        assert cpython.layout.__wrapped__() is None
    with monkeypatch.context() as patch:
        patch.setattr(cpython, "_NUMPY_ABI", 0x01000009)
        assert cpython._numpy_functions.__wrapped__() == {}
    assert cpython.layout.__wrapped__() == cpython.layout()


def test_probes_notice_a_wrong_offset() -> None:
    layout = cpython.layout()
    assert layout is not None
    probes = {
        cpython._dtypes_hold: ("byteorder", "type_num"),
        cpython._arrays_hold: ("data", "ndim", "descr", "flags"),
        cpython._scalars_hold: ("scalar",),
        cpython._containers_hold: ("tuple_items", "list_items"),
    }
    for probe, names in probes.items():
        assert probe(layout)
        for name in names:
            wrong = {**layout._asdict(), name: getattr(layout, name) + 1}
            assert not probe(cpython.Layout(**wrong))


def test_addresses_are_of_what_they_say() -> None:
    at = cpython.addresses()
    assert at["type ndarray"] == id(np.ndarray) and at["None"] == id(None)
    assert at["dtype float64"] == id(f8) and at["type d"] == id(np.float64)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_ssize_t)(at["PyTuple_New"])
    assert new(0) == ()
