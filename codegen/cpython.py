"""CPython and NumPy as native code sees them: struct offsets and the addresses of the C API.

Offsets are those of the public headers (``object.h``, ``ndarraytypes.h`` of NumPy 2), counted
from the size of an object header. Nothing is taken on trust: :func:`layout` compares every one of
them with what probe objects hold in memory, and gives None where one does not fit. Callers then
stay in Python.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import struct
import sys
from typing import Any, NamedTuple

import numpy as np

#: Type characters of the dtypes gradc compiles; several may be the same machine type (l and q).
CHARS = "?bBhHiIlLqQfd"

#: C-contiguous and aligned: ``NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED``.
PLAIN = 0x101

#: The character of a dtype of the other byte order, as a number.
SWAPPED = ord(">" if sys.byteorder == "little" else "<")

#: Python's own containers.
CONTAINERS = (tuple, list, dict)

# Slots of NumPy's ``_ARRAY_API``, fixed within an ABI version.
_NUMPY_ABI = 0x02000000
_NUMPY_SLOTS = {"PyArray_Scalar": 60, "PyArray_NewFromDescr": 94}
_NUMPY_TYPE_SLOT = 2

_PYTHON_FUNCTIONS = (
    "PyDict_New",
    "PyDict_Next",
    "PyDict_SetItem",
    "PyErr_Clear",
    "PyErr_NoMemory",
    "PyErr_Occurred",
    "PyEval_RestoreThread",
    "PyEval_SaveThread",
    "PyList_New",
    "PyLong_AsLongLongAndOverflow",
    "PyLong_FromLongLong",
    "PyMem_RawFree",
    "PyMem_RawMalloc",
    "PyObject_GenericSetAttr",
    "PyObject_GetAttr",
    "PyObject_Vectorcall",
    "PyTuple_New",
    "PyType_GenericAlloc",
    "PyUnicode_Compare",
    "Py_DecRef",
    "Py_IncRef",
)


class Layout(NamedTuple):
    """Byte offsets into objects: ``ob_type``; the fields of an ndarray, of its dtype, of a scalar.

    ``size`` is where a tuple, a list and a dict have their length, ``tuple_items`` where a tuple's
    items begin, ``list_items`` where a list has the address of its items.
    """

    type: int
    data: int
    ndim: int
    dims: int
    descr: int
    flags: int
    byteorder: int
    type_num: int
    scalar: int
    size: int
    tuple_items: int
    list_items: int


@functools.cache
def layout() -> Layout | None:
    """The offsets of this interpreter and this NumPy, or None where they cannot be relied on.

    None on anything but a 64-bit CPython with a GIL, on another NumPy ABI than that of
    NumPy 2, and where a probe object disagrees.
    """
    if sys.implementation.name != "cpython" or struct.calcsize("P") != 8:
        return None
    if "free-threading build" in sys.version:
        return None
    header = object.__basicsize__
    found = Layout(
        type=header - 8,
        data=header,
        ndim=header + 8,
        dims=header + 16,
        descr=header + 40,
        flags=header + 48,
        byteorder=header + 10,
        type_num=header + 12,
        scalar=header,
        size=header,
        tuple_items=tuple.__basicsize__,
        list_items=header + 8,
    )
    probes = (_dtypes_hold, _arrays_hold, _scalars_hold, _containers_hold)
    return found if all(probe(found) for probe in probes) and _numpy_functions() else None


def supported() -> bool:
    """Whether native entry points can be made for this interpreter and this NumPy."""
    return layout() is not None


def numbers(dtype: np.dtype[Any]) -> list[int]:
    """NumPy's type numbers of a machine type: long and long long may be the same one.

    >>> np.dtype("f8").num in numbers(np.dtype("f8"))
    True
    """
    return [np.dtype(c).num for c in CHARS if np.dtype(c) == dtype]


def scalar_types(dtype: np.dtype[Any]) -> list[str]:
    """Names, as in :func:`addresses`, of the NumPy scalar types of a machine type."""
    return [f"type {c}" for c in CHARS if np.dtype(c) == dtype]


@functools.cache
def addresses() -> dict[str, int]:
    """Addresses of C-API functions, type objects, dtypes and constants that live for ever.

    Functions go by their own names; ``type ndarray``, ``type float``, ``type int``, ``type d``
    (NumPy's scalar of that type character), ``dtype float64``, ``object.__new__``, ``None``,
    ``True`` and ``False`` are objects. Only where :func:`supported`.
    """
    found = {name: python_function(name) for name in _PYTHON_FUNCTIONS}
    found |= _numpy_functions()
    found |= {f"type {t.__name__}": id(t) for t in (np.ndarray, float, int, str, *CONTAINERS)}
    found["object.__new__"] = id(object.__new__)
    found |= {str(constant): id(constant) for constant in (None, True, False)}
    for char in CHARS:
        # By way of the name, so that it is the dtype object NumPy itself hands out.
        dtype = np.dtype(np.dtype(char).name)
        found |= {f"type {char}": id(np.dtype(char).type), f"dtype {dtype.name}": id(dtype)}
    return found


def python_function(name: str) -> int:
    """The address of a function of Python's C API."""
    address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
    assert address is not None
    return address


@functools.cache
def _numpy_functions() -> dict[str, int]:
    """Addresses out of NumPy's ``_ARRAY_API`` table; empty if it is not the one we know."""
    try:
        capsule = importlib.import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return {}
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    table = (ctypes.c_void_p * (max(_NUMPY_SLOTS.values()) + 1)).from_address(
        pointer(capsule, None)
    )
    version = ctypes.CFUNCTYPE(ctypes.c_uint)(table[0] or 0)
    if version() != _NUMPY_ABI or table[_NUMPY_TYPE_SLOT] != id(np.ndarray):
        return {}
    return {name: table[slot] or 0 for name, slot in _NUMPY_SLOTS.items()}


# -- probes ------------------------------------------------------------------------------------


def _pointer(address: int) -> int:
    return ctypes.c_void_p.from_address(address).value or 0


def _int(address: int) -> int:
    return ctypes.c_int.from_address(address).value


def _dtypes_hold(at: Layout) -> bool:
    for char in CHARS:
        for dtype in (np.dtype(char), np.dtype(char).newbyteorder()):
            order = ctypes.string_at(id(dtype) + at.byteorder, 1).decode("latin-1")
            number = _int(id(dtype) + at.type_num)
            if (order, number) != (dtype.byteorder, dtype.num):
                return False
    return True


def _arrays_hold(at: Layout) -> bool:
    """Compare the fields of arrays of several ranks, orders and flags with what NumPy reports."""
    base = np.zeros((3, 5, 7), np.float32)
    probes = (base, base.T, base[1:, ::2], base[0, 1], np.array(1), np.ones((2, 0), ">i8"))
    for a in probes:
        here = id(a)
        fields = (
            _pointer(here + at.type) == id(np.ndarray),
            _pointer(here + at.data) == a.ctypes.data,
            _int(here + at.ndim) == a.ndim,
            _pointer(here + at.descr) == id(a.dtype),
            _int(here + at.flags) == a.flags.num,
        )
        # The neighbours are what they should be, so this one is a pointer that may be followed.
        if not all(fields):
            return False
        dims = (ctypes.c_ssize_t * a.ndim).from_address(_pointer(here + at.dims) or here)
        if tuple(dims) != a.shape:
            return False
    return True


def _scalars_hold(at: Layout) -> bool:
    """The value of a Python float and of a NumPy scalar lies right behind the header."""
    probe = 1.25
    if ctypes.c_double.from_address(id(probe) + at.scalar).value != probe:
        return False
    for char in CHARS:
        value = np.ones((), char)
        scalar = value[()]
        if _pointer(id(scalar) + at.type) != id(np.dtype(char).type):
            return False
        if ctypes.string_at(id(scalar) + at.scalar, value.itemsize) != value.tobytes():
            return False
    return True


def _containers_hold(at: Layout) -> bool:
    a, b = object(), object()
    pair, items, table = (a, b), [a, b], {1: a, 2: b}
    if any(_pointer(id(container) + at.size) != 2 for container in (pair, items, table)):
        return False
    found = [_pointer(id(pair) + at.tuple_items + 8 * k) for k in (0, 1)]
    if found != [id(a), id(b)]:
        return False
    # The length stands before the address of the items: anything else is not followed.
    at_items = _pointer(id(items) + at.list_items)
    if at.list_items != at.size + 8 or not at_items:
        return False
    return [_pointer(at_items + 8 * k) for k in (0, 1)] == [id(a), id(b)]
