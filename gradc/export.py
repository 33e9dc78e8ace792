"""Compiled functions as C functions: libraries, objects and headers that need no Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.derivative import Forward, Gradient, Reverse
from gradc.errors import (
    ArgumentError,
    LinkError,
    NotDifferentiableError,
    NotScalarError,
    OptionError,
    OutputError,
)
from gradc.ir.types import LONG, TensorType, parse_type
from gradc.lowering import Lowered, identifier, lower
from gradc.signature import leaf_names, leaf_types
from gradc.trace import Static
from gradc.tree import TreeDef, flatten, paths, unflatten

if TYPE_CHECKING:
    from gradc.codegen.aot.routine import Routine
    from gradc.codegen.targets import Target
    from gradc.compile import Compiled


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    name: that which its functions begin with.
    files: the file of each format.
    functions: the C prototypes.
    constants: the header's macros: sizes of workspaces, and of a training its state and places.
    """

    name: str
    files: dict[str, Path]
    functions: tuple[str, ...]
    constants: dict[str, int]

    def __str__(self) -> str:
        sizes = [f"{path}: {path.stat().st_size:,} bytes" for path in self.files.values()]
        return "\n".join([*self.functions, *sizes])


def export(
    compiled: Compiled[..., Any],
    path: str | Path,
    types: Sequence[Any],
    formats: Sequence[str],
    target: str | None,
    name: str | None,
    blas: str | None,
    lead: tuple[Any, ...] = (),
) -> Exported:
    """Write the functions of a compiled function; see :meth:`gradc.Compiled.export`.

    ``lead`` are arguments before those of ``types``, as they are.
    """
    path = Path(path)
    name = checked_name(path.name if name is None else name)
    machine = machine_of(target, blas)
    parts = _parts(compiled, types, lead)
    routines = [_routine(one, typed, f"{name}_{kind}", machine) for kind, one, typed in parts]
    return write(name, routines, path, formats, machine)


def write(
    name: str,
    routines: Sequence[Routine],
    path: Path,
    formats: Sequence[str],
    machine: Target,
    macros: Sequence[tuple[str, int, str]] = (),
    notes: Sequence[str] = (),
) -> Exported:
    """Write a library of routines in formats. Raises ArgumentError, OptionError, LinkError."""
    from gradc import __version__
    from gradc.codegen.aot import files, linking
    from gradc.codegen.aot.header import declaration
    from gradc.codegen.aot.module import emit_library, undefined
    from gradc.codegen.aot.routine import Library

    wanted = (formats,) if isinstance(formats, str) else tuple(formats)
    for format in wanted:
        if format not in files.FORMATS:
            known = ", ".join(f"{k!r} ({what})" for k, what in files.FORMATS.items())
            raise OptionError(f"there is no format {format!r}", remedy=f"one of {known}")
    module = emit_library(name, routines, machine)
    library = Library(
        name, tuple(routines), machine, __version__, undefined=undefined(module),
        macros=tuple(macros), notes=(*notes, *_notes(routines)),
    )
    try:
        written = files.write(library, module, path, wanted)
    except linking.NoLinker as error:
        raise LinkError(
            str(error), remedy="pip install 'gradc[export]', which links for every target"
        ) from None
    except OSError as error:
        raise ArgumentError(
            f"{str(path)!r} cannot be written: {error.strerror or error}",
            remedy="a path in a folder that can be written to, and has room",
        ) from None
    constants = {f"{r.name.upper()}_WORKSPACE": r.workspace for r in routines}
    constants |= {macro: value for macro, value, _ in macros}
    return Exported(name, written, tuple(map(declaration, routines)), constants)


def _notes(routines: Sequence[Routine]) -> tuple[str, ...]:
    from gradc.codegen.kernel import needs

    if any(needs(program)[1] for routine in routines for program in routine.programs):
        return ("What the functions print in Python (gradc.debug_print) is left out here.",)
    return ()


# -- options -------------------------------------------------------------------------------------


def checked_name(name: str) -> str:
    """A name that C functions can begin with. Raises OptionError for another."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise OptionError(
            f"C functions cannot begin with {name!r}",
            remedy=f"name={identifier(name) if name.isascii() else 'model'!r}",
        )
    return name


def machine_of(target: str | None, blas: str | None) -> Target:
    """The machine to export for. Raises OptionError for an unknown one."""
    from dataclasses import replace

    from gradc.codegen.targets import NAMED, host

    if blas not in (None, "link"):
        raise OptionError(
            f"blas={blas!r}", remedy='None (products by code of our own) or "link" (by a BLAS)'
        )
    if target in (None, "host"):
        return replace(host(), blas=blas == "link")
    if target not in NAMED:
        raise OptionError(
            f"there is no target {target!r}", remedy=f"one of host, {', '.join(NAMED)}"
        )
    return replace(NAMED[target], blas=blas == "link")


# -- functions -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Typed:
    """A function lowered for types: the tree and the names of its call's leaves."""

    lowered: Lowered
    tree: TreeDef
    types: list[TensorType | Static]
    names: tuple[str, ...]

    def results(self, compiled: Compiled[..., Any]) -> list[str]:
        """What the leaves of the result are called."""
        return _result_labels(compiled, self)


def _parts(
    compiled: Compiled[..., Any], types: Sequence[Any], lead: tuple[Any, ...]
) -> list[tuple[str, Compiled[..., Any], Typed]]:
    """The functions to export, with the ends of their names; a gradient where there is one."""
    lowered = lowered_for(compiled, types, lead)
    if compiled.origin is not None:
        return [(compiled.origin[1], compiled, lowered)]
    parts = [("value", compiled, lowered)]
    try:
        gradient: Compiled[..., Any] = compiled.value_and_grad
    except ArgumentError:  # it has no such argument
        return parts
    try:
        parts.append(("value_and_grad", gradient, lowered_for(gradient, types, lead)))
    except (NotScalarError, NotDifferentiableError, OutputError):
        return parts
    return parts


def lowered_for(
    compiled: Compiled[..., Any],
    types: Sequence[Any],
    lead: tuple[Any, ...] = (),
    keywords: Mapping[str, Any] | None = None,
) -> Typed:
    """Lower a call with arguments of types, which are arrays, numbers, or text as "f64[3,4]".

    ``lead`` are arguments before those, as they are, and so are ``keywords``.
    """
    function, parameters = compiled.function, compiled.function.parameters
    static = parameters.places(function.static, (*lead, *types), {})
    call, other = (
        compiled.dispatcher.read(
            [x if n in static or n < len(lead) else _examples(x, k)
             for n, x in enumerate((*lead, *types))],
            keywords or {},
        )
        for k in (1, 0)
    )
    names = leaf_names(parameters, call.tree)
    found = leaf_types(parameters, call.tree, call.leaves, names)
    given = call.leaves

    def demand(leaf: int) -> Any:
        if type(given[leaf]) in (int, bool) and given[leaf] == other.leaves[leaf]:
            return given[leaf]  # a number, not an example of a type
        raise ArgumentError(
            f"{function.label} needs the value of argument `{names[leaf]}` to be traced",
            remedy="give the number itself in place of its type: it is then fixed",
        )

    lowered = lower(function, call.tree, found, names, demand)
    return Typed(lowered, call.tree, found, names)


def _examples(types: Any, number: int) -> Any:
    """An argument of types."""
    leaves, tree = flatten(types)
    return unflatten(tree, [_example(leaf, number) for leaf in leaves])


def _example(leaf: Any, number: int) -> Any:
    """A value of the type that a leaf names, or the leaf itself; what is no array is ``number``."""
    if not isinstance(leaf, str):
        return leaf
    type_ = type_of_text(leaf)
    if type_.weak:
        return {"f": float, "i": int, "b": bool}[type_.dtype.kind](number)
    zero = np.zeros((), type_.dtype)
    return np.broadcast_to(zero, type_.shape) if type_.shape else zero[()]


def type_of_text(text: str) -> TensorType:
    """The type that text such as "f64[784]", "i32[]" or "f64" names.

    Without brackets it is a number: of "f64", "i64" and "bool" a Python float, int and bool, which
    take the dtype of what they meet. Raises ArgumentError.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(\[\s*(\d+\s*(,\s*\d+\s*)*,?)?\s*\])?\s*", text)
    if match is None or match[1] not in LONG:
        raise ArgumentError(
            f"{text!r} is no type",
            remedy=f'"f64[784]", "f32[3,4]", "i64[]", "f64"; the dtypes are {", ".join(LONG)}',
        )
    if match[2] is None:
        return TensorType(LONG[match[1]], (), weak=match[1] in ("f64", "i64", "bool"))
    return parse_type(f"{match[1]}[{re.sub(r'[^0-9,]', '', match[2]).rstrip(',')}]")


def _routine(
    compiled: Compiled[..., Any], typed: Typed, name: str, machine: Target
) -> Routine:
    from gradc.codegen.aot.routine import call_of
    from gradc.codegen.program import schedule
    from gradc.ir.passes import optimize

    program = schedule(optimize(typed.lowered.graph), machine)
    labels = [typed.names[k] for k in typed.lowered.inputs]
    results = typed.results(compiled)
    inputs, outputs = c_names(labels, results)
    # Of numbers as they are given to the export: without brackets, and the mark of weak types.
    given = ", ".join(
        f"{label}: {str(type_).removesuffix('[]~')}"
        for label, type_ in zip(labels, program.inputs, strict=True)
    )
    summary = f"{compiled.function.label}({given})"
    return call_of(
        name, program, list(zip(inputs, labels, strict=True)),
        list(zip(outputs, results, strict=True)), summary,
    )


# -- names ---------------------------------------------------------------------------------------


def _result_labels(compiled: Compiled[..., Any], typed: Typed) -> list[str]:
    """What the leaves of a result are called: value, grad_ and the argument, out, tangent."""
    function, tree = compiled.function, typed.lowered.out_tree
    if isinstance(function, Forward):
        first, second = tree.children
        return [*paths(first, "out"), *paths(second, "tangent")]
    if isinstance(function, Reverse):
        return [f"grad_{path}" for path in paths(tree, "primals")]
    if not isinstance(function, Gradient):
        return paths(tree, "out")
    if not function.value:
        gradient, *aux = tree.children if function.has_aux else (tree,)
        return [*_gradient_labels(function, gradient, typed), *_all_paths(aux, "aux")]
    first, gradient = tree.children
    value, *aux = first.children if function.has_aux else (first,)
    labels = [*paths(value, "value"), *_all_paths(aux, "aux")]
    return [*labels, *_gradient_labels(function, gradient, typed)]


def _all_paths(trees: Sequence[TreeDef], name: str) -> list[str]:
    return [path for tree in trees for path in paths(tree, name)]


def _gradient_labels(function: Gradient, tree: TreeDef, typed: Typed) -> list[str]:
    args, kwargs = unflatten(typed.tree, range(len(typed.types)))
    places = function.parameters.places(function.argnums, args, kwargs)
    names = [f"grad_{function.parameters.argument_name(place)}" for place in places]
    alone = isinstance(function.argnums, (int, str))
    trees = (tree,) if alone else tree.children
    return [path for name, one in zip(names, trees, strict=True) for path in paths(one, name)]


#: words that are no names in C or C++, and what is taken
_TAKEN = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    const_cast constexpr continue decltype default delete do double dynamic_cast else enum
    explicit export extern false float for friend goto if inline int int8_t int16_t int32_t
    int64_t linux long mutable namespace new noexcept not not_eq nullptr operator or or_eq
    private protected public register reinterpret_cast requires restrict return short signed
    sizeof static static_assert static_cast struct switch template this thread_local throw true
    try typedef typeid typename typeof uint8_t uint16_t uint32_t uint64_t union unix unsigned
    using virtual void volatile wchar_t while workspace xor xor_eq""".split()
)


def c_names(*groups: Sequence[str]) -> list[list[str]]:
    """A C name for each label of some groups, no two the same: ``params['W1']`` is params_W1."""
    used = set(_TAKEN)
    found: list[list[str]] = []
    for group in groups:
        found.append([])
        for label in group:
            name = re.sub(r"[^A-Za-z0-9]+", "_", label).strip("_") or "x"
            name = f"x{name}" if name[0].isdigit() else name
            unique, number = name, 2
            while unique in used:
                unique, number = f"{name}_{number}", number + 1
            used.add(unique)
            found[-1].append(unique)
    return found
