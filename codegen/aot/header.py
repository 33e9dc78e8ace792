"""The C header of a library: all that a caller needs to know."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from gradc.codegen.aot import messages
from gradc.codegen.aot.routine import Library, Param, Routine

_WIDTH = 96


def c_type(dtype: np.dtype[np.generic]) -> str:
    """The C type of an element."""
    if dtype.kind == "f":
        return "double" if dtype.itemsize == 8 else "float"
    if dtype.kind == "b":
        return "uint8_t"
    return f"{'u' * (dtype.kind == 'u')}int{8 * dtype.itemsize}_t"


def declaration(routine: Routine) -> str:
    """The prototype of a function."""
    lines = [f"int64_t {routine.name}("]
    for param in [*map(_parameter, routine.params), "void *workspace"]:
        if len(lines[-1]) + len(param) + 3 > _WIDTH:
            lines[-1] = lines[-1].rstrip()
            lines.append("    ")
        lines[-1] += f"{param}, "
    return "\n".join(lines)[:-2] + ");"


def _parameter(p: Param) -> str:
    name = "void" if p.opaque else c_type(p.type.dtype)
    if p.kind == "value":
        return f"{name} {p.name}"
    return f"{'const ' * (p.kind == 'in')}{name} *{p.name}"


def header(library: Library) -> str:
    """The header of a library."""
    return "\n".join(_lines(library)) + "\n"


def _lines(library: Library) -> Iterator[str]:
    name = library.name
    guard, upper = f"{name.upper()}_H", name.upper()
    yield from _comment([f"{name}.h: written by gradc {library.version}.", "", *_about(library)])
    yield from ["", f"#ifndef {guard}", f"#define {guard}", "", "#include <stdint.h>", ""]
    yield from ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    yield from _comment([
        "What a function returns: 0, or a positive number whose low 8 bits say what went wrong; "
        f"the bits above say where, for {name}_message. Results are then undefined.", "",
        *(f"  {upper}_{end}: {text}" for end, text in messages.CODES.values()),
    ])
    codes = [f"{upper}_{end} = {code}" for code, (end, _) in messages.CODES.items()]
    yield from ["enum {", ",\n".join(f"    {code}" for code in codes), "};"]
    yield from [f"#define {upper}_CODE(status) ((int)((status) & 255))", ""]
    yield from _comment(["What a status means, in English; the text is never freed."])
    yield from [f"const char *{name}_message(int64_t status);", ""]
    for macro, value, note in library.macros:
        yield f"#define {macro} {value}" + (f" /* {note} */" if note else "")
    if library.macros:
        yield ""
    for routine in library.routines:
        yield from _function(routine)
    yield from ["#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {guard} */"]


def _about(library: Library) -> Iterator[str]:
    target = library.target
    cpu = target.cpu if target.cpu != "generic" else f"any {target.triple.partition('-')[0]}"
    yield f"Machine: {target.triple}; {_needs(library)}"
    yield f"CPU: {cpu}, or one that has all its instructions."
    yield ""
    yield (
        "Arrays are contiguous, in C order (the last index runs fastest), aligned as their "
        "elements are; from addresses that are multiples of 64 bytes they are read fastest. Arrays "
        "that are written must not overlap any other. Booleans are bytes, 0 or 1."
    )
    yield ""
    yield (
        "`workspace` is memory of at least the size that stands by each function, of any alignment "
        "and content; where that size is 0 it may be NULL."
    )
    yield ""
    yield (
        "Functions keep no state: they may run in several threads at once, each with a workspace "
        "and results of its own. They do not start threads."
    )
    if library.notes:
        yield ""
    yield from library.notes


def _needs(library: Library) -> str:
    undefined = library.undefined
    if not undefined:
        return "needs no other library."
    blas = [name for name in undefined if name.endswith("_")]
    others = [name for name in undefined if name not in blas]
    parts = []
    if others:
        parts.append(f"{', '.join(others)} of the C library")
    if blas:
        parts.append(f"{', '.join(blas)} of a BLAS with 32-bit integers (-lblas, -lopenblas, ...)")
    return f"needs {' and '.join(parts)}."


def _function(routine: Routine) -> Iterator[str]:
    lines = [routine.summary, *([""] if routine.params else [])]
    width = max((len(p.name) for p in routine.params), default=0)
    for p in routine.params:
        lines.append(f"  {p.name:{width}}  {_described(p)}")
    for note in routine.notes:
        lines += ["", note]
    yield from _comment(lines)
    size = f"{routine.name.upper()}_WORKSPACE"
    yield f"#define {size} {routine.workspace} /* bytes */"
    yield declaration(routine)
    yield ""


def _described(p: Param) -> str:
    label = f", {p.label}" if p.label and p.label != p.name else ""
    note = f", {p.note}" if p.note else ""
    if p.kind == "value":
        return f"a number{label}{note}"
    way = {"in": "read", "out": "written", "inout": "read and written"}[p.kind]
    if p.optional:
        return f"{way}{note}"
    shape = ", ".join(map(str, p.type.shape))
    form = f"shape ({shape})" if p.type.shape else "one number"
    if p.opaque:
        return f"{way}, {p.type.nbytes} bytes{note}"
    return f"{way}, {form}, {p.type.nbytes} bytes{label}{note}"


def _comment(lines: Sequence[str]) -> Iterator[str]:
    wrapped: list[str] = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 4) if line.startswith(" ") else ""
        safe = line.replace("*/", "* /").replace("/*", "/ *")
        wrapped += textwrap.wrap(safe, _WIDTH - 3, subsequent_indent=indent) or [""]
    if len(wrapped) == 1:
        yield f"/* {wrapped[0]} */"
        return
    yield f"/* {wrapped[0]}"
    yield from (f" * {line}".rstrip() for line in wrapped[1:])
    yield " */"

