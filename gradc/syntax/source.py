"""The syntax tree of a function, from the file that it was read from.

Positions stay those of the file, so that code made from the tree names the user's lines.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

#: what a function's node can be
Definition = ast.FunctionDef | ast.Lambda

_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Unavailable(Exception):
    """The reason why a function cannot be rewritten, as a clause: "its source ..."."""


def definition(function: FunctionType) -> Definition:
    """The node of a function. Raises Unavailable."""
    code = function.__code__
    if code.co_flags & _RESUMED:
        raise Unavailable("it is a generator or a coroutine, which runs as plain Python")
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines or code.co_firstlineno > len(lines):
        raise Unavailable("its source is not available, as of what exec or a shell defines")
    # The lines of the function alone are quick to parse, but a lambda may begin inside a statement.
    for tree in (_parse_block(lines, code.co_firstlineno), _parse("".join(lines), 0)):
        found = [node for node in _candidates(tree, code) if _parameters(node) == _names(code)]
        if len(found) > 1:
            found = [min(found, key=_extent)] if _has_columns(code) else []
        if found:
            return found[0]
    raise Unavailable(
        "several lambdas stand in its line"
        if code.co_name == "<lambda>"
        else "its source has changed since it was imported"
    )


def _parse_block(lines: list[str], first: int) -> ast.AST | None:
    try:
        block = inspect.getblock(lines[first - 1 :])
    except (tokenize.TokenError, SyntaxError):
        return None
    if not block:
        return None
    if block[0][:1].isspace():  # what is indented stands under something
        return _parse("if 1:\n" + "".join(block), first - 2)
    return _parse("".join(block), first - 1)


def _parse(text: str, shift: int) -> ast.AST | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given when the file was imported
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            return None
    return ast.increment_lineno(tree, shift) if shift else tree


def _candidates(tree: ast.AST | None, code: CodeType) -> Iterator[Definition]:
    """The nodes of this kind and name that begin where the code does."""
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            if first == code.co_firstlineno:
                yield node
        elif isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and (
            node.lineno == code.co_firstlineno and _surrounds(node.body, code)
        ):
            yield node


def _columns(code: CodeType) -> Iterator[tuple[int, int]]:
    for line, _, column, end in code.co_positions():
        if line is not None and column is not None and end:
            yield line, column


def _has_columns(code: CodeType) -> bool:
    return next(_columns(code), None) is not None


def _surrounds(body: ast.expr, code: CodeType) -> bool:
    """Whether all instructions come from ``body``; true where nothing is known."""
    first, last = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
    return all(first <= place < last for place in _columns(code))


def _extent(node: Definition) -> tuple[int, int]:
    lines = (node.end_lineno or 0) - node.lineno
    return lines, (node.end_col_offset or 0) - node.col_offset


def arguments(node: Definition) -> list[str]:
    """The names of the parameters, in the order of ``co_varnames``."""
    spec = node.args
    names = [one.arg for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)]
    return names + [one.arg for one in (spec.vararg, spec.kwarg) if one is not None]


def _parameters(node: Definition) -> tuple[str, ...]:
    return tuple(name if not name.startswith("__") else "__" for name in arguments(node))


def _names(code: CodeType) -> tuple[str, ...]:
    rest = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + rest]
    # In a class, names that begin with two underscores bear its name.
    return tuple("__" if "__" in name and name.startswith("_") else name for name in names)


def class_of(qualname: str) -> str | None:
    """The innermost class around a function, whose private names it uses."""
    parts = qualname.split(".")
    for part, after in zip(reversed(parts[:-1]), reversed(parts[1:]), strict=True):
        if part != "<locals>" and after != "<locals>":
            return part
    return None


def children(node: ast.AST) -> Iterable[Any]:
    """The child nodes, those in lists too."""
    return ast.iter_child_nodes(node)
