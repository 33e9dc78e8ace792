"""Whether the lines of a file are still those that a function was compiled from.

A file may have been edited since it was imported; what stands there now would be another program.
So a node is compiled again, and what comes of it has to be the function's code.
"""

from __future__ import annotations
import __future__

import ast
import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

#: the flags of a code that say how its file was compiled
FUTURES = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)


def is_code_of(
    code: CodeType, node: ast.FunctionDef | ast.Lambda, lines: Sequence[str],
    namespace: Mapping[str, Any],
) -> bool:
    """Whether a code is that of a node, found in the lines of its file.

    namespace: the globals of the function. Where an import hook or pytest compiled the file, the
    code need only have the names and constants of the node, besides those that were added.
    """
    made = _alone(code, node, namespace)
    if code in made:
        return True
    if any(name.startswith("@") for one in nested(code) for name in one.co_names):
        return True  # pytest has rewritten its assertions: nobody else has such names
    if code in _of_file("".join(lines), code.co_flags & FUTURES):
        return True
    if type(namespace.get("__loader__")) is SourceFileLoader:
        return False
    return any(
        one.co_name == code.co_name and one.co_firstlineno == code.co_firstlineno
        and _marks(one) <= _marks(code)
        for one in made
    )


def class_of(qualname: str) -> str | None:
    """The innermost class around a function, whose private names it uses."""
    around = _around(qualname)
    return next((name for name, is_class in reversed(around) if is_class), None)


def nested(code: CodeType) -> list[CodeType]:
    """A code and those nested in it."""
    found = [code]
    for one in found:
        found += [inner for inner in one.co_consts if isinstance(inner, CodeType)]
    return found


def _around(qualname: str) -> list[tuple[str, bool]]:
    """The classes and functions around a function, outermost first; whether they are classes."""
    parts = qualname.split(".")
    return [
        (part, after != "<locals>" and not part.startswith("<"))
        for part, after in zip(parts[:-1], parts[1:], strict=True)
        if part != "<locals>"
    ]


def _alone(
    code: CodeType, node: ast.FunctionDef | ast.Lambda, namespace: Mapping[str, Any]
) -> list[CodeType]:
    """What a node is compiled to, in functions and classes like those around it.

    That is quicker than the whole file, and the same unless names were imported that are no
    modules: a call of a method of an imported name is compiled in its own way.
    """
    names = {name for one in nested(code) for name in (*one.co_names, *one.co_varnames)}
    modules = sorted(name for name in names if isinstance(namespace.get(name), ModuleType))
    body: ast.stmt = ast.copy_location(ast.Expr(node), node) if isinstance(
        node, ast.Lambda) else node
    for name, is_class in reversed(_around(code.co_qualname)):
        if is_class:
            body = ast.ClassDef(name=name, bases=[], keywords=[], body=[body], decorator_list=[])
        else:
            free = ast.arguments(
                posonlyargs=[], args=[ast.arg(one) for one in code.co_freevars], kwonlyargs=[],
                kw_defaults=[], defaults=[],
            )
            body = ast.FunctionDef(
                name="around", args=free, body=[body], decorator_list=[], returns=None,
                type_comment=None,
            )
        _place(body, node)
    imports: list[ast.stmt] = [ast.Import([ast.alias(name)]) for name in modules]
    for one in imports:
        _place(one, node)
    return _compiled(ast.Module([*imports, body], []), code.co_flags & FUTURES)


def _place(made: Any, at: Any) -> None:
    """Put a statement of ours at the place of a node."""
    for one in (made, *getattr(getattr(made, "args", None), "args", ()), *getattr(
            made, "names", ())):
        ast.copy_location(one, at)


@functools.lru_cache(maxsize=16)
def _of_file(text: str, flags: int) -> frozenset[CodeType]:
    return frozenset(_compiled(text, flags))


def _compiled(source: str | ast.Module, flags: int) -> list[CodeType]:
    """The codes of a program; none if it is no Python by itself, as a notebook's cell may be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given when the file was imported
        try:
            return nested(compile(source, "", "exec", flags=flags, dont_inherit=True))
        except (SyntaxError, ValueError):
            return []


def _marks(code: CodeType) -> frozenset[tuple[Any, ...]]:
    """The names and constants of a code and those nested in it."""

    def all_of(codes: Iterable[CodeType]) -> Iterator[tuple[Any, ...]]:
        for one in codes:
            yield from (("name", name) for name in (*one.co_names, *one.co_freevars))
            yield from (("variable", name) for name in (*one.co_varnames, *one.co_cellvars))
            yield from (
                (type(const), repr(const)) for const in one.co_consts
                if not isinstance(const, CodeType)
            )

    return frozenset(all_of(nested(code)))
