"""The Python module that loads an exported library with NumPy and ctypes alone."""

from __future__ import annotations

from collections.abc import Iterator

from gradc.codegen.aot import messages
from gradc.codegen.aot.routine import Library, Param, Routine

_HEAD = '''"""{about}

Written by gradc {version} for {triple}. Needs NumPy, and {file} in the same folder.
Functions take numbers, and arrays of just the dtypes and shapes that they name, and return new
arrays; several results are a named tuple. They may be called from several threads at once.
"""

import collections as _collections
import ctypes as _ctypes
import pathlib as _pathlib

import numpy as _np

_library = _ctypes.CDLL(str(_pathlib.Path(__file__).with_name("{file}")))
_message = _library.{name}_message
_message.argtypes, _message.restype = [_ctypes.c_int64], _ctypes.c_char_p
_ERRORS = {errors}


def _array(given, name, dtype, shape, kind):
    """A C-ordered array, as it is or copied; of another dtype or shape it is refused."""
    array = _np.asarray(given)
    if array.dtype != dtype:
        raise TypeError(f"{{name}} is an array of {{dtype}}, not of {{array.dtype}}")
    if kind != "optional" and array.shape != shape:
        raise ValueError(f"{{name}} has the shape {{shape}}, not {{array.shape}}")
    if kind != "in" and not (array is given and array.flags.carray):
        raise ValueError(f"{{name}} is written: it must be a C-ordered, aligned, writable array")
    return _np.require(array, dtype, ["C", "A"])


def _function(symbol, params, workspace):
    """A call. Of each parameter: its name, dtype and shape, and how it is used.

    "value" is a number, "in" an array, "inout" one that is written, "optional" one that is and may
    be None, "out" a result.
    """
    native = getattr(_library, symbol)
    native.argtypes = [
        _np.ctypeslib.as_ctypes_type(dtype) if kind == "value" else _ctypes.c_void_p
        for _, dtype, _, kind in params
    ] + [_ctypes.c_void_p]
    native.restype = _ctypes.c_int64
    names = [name for name, _, _, kind in params if kind == "out"]
    result = _collections.namedtuple(symbol, names)

    def call(*given):
        given, values, results = iter(given), [], []
        for name, dtype, shape, kind in params:
            value = _np.empty(shape, dtype) if kind == "out" else next(given)
            if kind == "out":
                results.append(value)
            elif kind != "value" and value is not None:
                value = _array(value, name, dtype, shape, kind)
            values.append(value)
        space = _np.empty(workspace, _np.uint8)
        numbers = [x.ctypes.data if isinstance(x, _np.ndarray) else x for x in values]
        status = native(*numbers, space.ctypes.data if workspace else None)
        if status:
            raise _ERRORS.get(status & 255, RuntimeError)(_message(status).decode())
        results = [x if x.shape else x[()] for x in results]
        return results[0] if len(results) == 1 else result(*results) if results else None

    return call
'''

#: the exceptions of codes
_ERRORS = {
    1: "IndexError", 4: "RuntimeError", 5: "MemoryError", 7: "UnboundLocalError", 8: "ValueError",
    messages.NOT_FINITE: "FloatingPointError",
}


def loader(library: Library, file: str) -> str:
    """The text of the module that loads ``file``, the name of the library beside it."""
    codes = ", ".join(f"{k}: {v}" for k, v in _ERRORS.items() if k in messages.CODES)
    head = _HEAD.format(
        about=f"The functions of {library.name}.", version=library.version, name=library.name,
        triple=library.target.triple, file=file, errors=f"{{{codes}}}",
    )
    if library.macros:
        head += "\n\n" + "".join(f"{macro} = {value}\n" for macro, value, _ in library.macros)
    functions = (line for routine in library.routines for line in _lines(library, routine))
    return head + "\n".join(functions) + "\n"


def _lines(library: Library, routine: Routine) -> Iterator[str]:
    kinds = [_kind(p) for p in routine.params]
    pairs = list(zip(routine.params, kinds, strict=True))
    # What may be left out comes last, in the call from Python.
    given = [p for p, kind in pairs if kind not in ("out", "optional")]
    optional = [p for p, kind in pairs if kind == "optional"]
    outputs = [p for p, kind in pairs if kind == "out"]
    name = routine.name.removeprefix(f"{library.name}_")
    yield from ["", "", f"_{name} = _function(", f'    "{routine.name}",', "    ["]
    for p, kind in pairs:
        yield f"        {(p.name, p.type.dtype.name, p.type.shape, kind)!r},"
    yield from ["    ],", f"    {routine.workspace},", ")", "", ""]
    names = [*(p.name for p in given), *(f"{p.name}=None" for p in optional)]
    yield f"def {name}({', '.join(names)}):"
    yield f'    """{_escaped(routine.summary)}'
    yield ""
    yield from (f"    {p.name}: {_words(p)}" for p in (*given, *optional))
    yield f"    Returns {', '.join(f'{p.name}: {_words(p)}' for p in outputs) or 'nothing'}."
    yield '    """'
    yield f"    return _{name}({', '.join(p.name for p, kind in pairs if kind != 'out')})"


def _kind(p: Param) -> str:
    return "optional" if p.optional else p.kind


def _words(p: Param) -> str:
    label = f", {_escaped(p.label)}" if p.label and p.label != p.name else ""
    note = f", {_escaped(p.note)}" if p.note else ""
    return f"{p.type.dtype.name}{list(p.type.shape) if p.type.shape else ''}{label}{note}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")
