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


def _array(given, name, dtype, shape):
    """A C-ordered array, as it is or copied; of another dtype or shape it is refused."""
    array = _np.asarray(given)
    if array.dtype != dtype:
        raise TypeError(f"{{name}} is an array of {{dtype}}, not of {{array.dtype}}")
    if array.shape != shape:
        raise ValueError(f"{{name}} has the shape {{shape}}, not {{array.shape}}")
    return _np.require(array, dtype, ["C", "A"])


def _function(symbol, inputs, outputs, workspace):
    """A call: inputs are (name, dtype, shape), the outputs too; those of shape None are numbers."""
    native = getattr(_library, symbol)
    numbers = [_np.ctypeslib.as_ctypes_type(d) if s is None else None for _, d, s in inputs]
    native.argtypes = [n or _ctypes.c_void_p for n in numbers]
    native.argtypes += [_ctypes.c_void_p] * (len(outputs) + 1)
    native.restype = _ctypes.c_int64
    result = _collections.namedtuple(symbol, [name for name, _, _ in outputs])

    def call(*given):
        values = [
            x if number else _array(x, *of)
            for x, number, of in zip(given, numbers, inputs, strict=True)
        ]
        results = [_np.empty(shape, dtype) for _, dtype, shape in outputs]
        space = _np.empty(workspace, _np.uint8)
        pointers = [x if number else x.ctypes.data for x, number in zip(values, numbers)]
        pointers += [x.ctypes.data for x in results]
        status = native(*pointers, space.ctypes.data if workspace else None)
        if status:
            raise _ERRORS.get(status & 255, RuntimeError)(_message(status).decode())
        results = [x if x.shape else x[()] for x in results]
        return results[0] if len(results) == 1 else result(*results)

    return call
'''

#: the exceptions of codes
_ERRORS = {1: "IndexError", 4: "RuntimeError", 5: "MemoryError", 7: "UnboundLocalError"}


def loader(library: Library, file: str) -> str:
    """The text of the module that loads ``file``, the name of the library beside it."""
    codes = ", ".join(f"{k}: {v}" for k, v in _ERRORS.items() if k in messages.CODES)
    head = _HEAD.format(
        about=f"The functions of {library.name}.", version=library.version, name=library.name,
        triple=library.target.triple, file=file, errors=f"{{{codes}}}",
    )
    functions = (line for routine in library.routines for line in _lines(library, routine))
    return head + "\n".join(functions) + "\n"


def _lines(library: Library, routine: Routine) -> Iterator[str]:
    inputs = [p for p in routine.params if p.kind in ("value", "in")]
    outputs = [p for p in routine.params if p.kind == "out"]
    name = routine.name.removeprefix(f"{library.name}_")
    yield from ["", "", f"_{name} = _function("]
    yield f'    "{routine.name}",'
    for some in (inputs, outputs):
        yield "    ["
        yield from (f"        {_described(p)}," for p in some)
        yield "    ],"
    yield from [f"    {routine.workspace},", ")", "", ""]
    yield f"def {name}({', '.join(p.name for p in inputs)}):"
    yield f'    """{_escaped(routine.summary)}'
    yield ""
    yield from (f"    {p.name}: {_words(p)}" for p in inputs)
    yield f"    Returns {', '.join(f'{p.name}: {_words(p)}' for p in outputs) or 'nothing'}."
    yield '    """'
    yield f"    return _{name}({', '.join(p.name for p in inputs)})"


def _described(p: Param) -> str:
    shape = None if p.kind == "value" else p.type.shape
    return repr((p.name, p.type.dtype.name, shape))


def _words(p: Param) -> str:
    label = f", {_escaped(p.label)}" if p.label and p.label != p.name else ""
    return f"{p.type.dtype.name}{list(p.type.shape) if p.type.shape else ''}{label}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")
