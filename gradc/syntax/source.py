"""The syntax tree of a function, from the file that it was read from.

Positions stay those of the file, so that code made from the tree names the user's lines.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import tokenize
import warnings
from collections.abc import Iterator
from types import CodeType, FunctionType

from gradc.syntax.convert import GENERATOR, RESUMED
from gradc.syntax.unchanged import is_code_of

#: what a function's node can be
Definition = ast.FunctionDef | ast.Lambda

_CHANGED = (
    "its source has changed since it was imported; import it anew, by importlib.reload or in a new "
    "process"
)


class Unavailable(Exception):
    """The reason why a function cannot be rewritten, as a clause: "its source ..."."""


def definition(function: FunctionType) -> Definition:
    """The node of a function. Raises Unavailable."""
    code = function.__code__
    if code.co_flags & RESUMED:
        raise Unavailable(GENERATOR)
    if os.path.exists(code.co_filename):
        linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise Unavailable("its source is not available, as of what exec or a shell defines")
    if code.co_firstlineno > len(lines):
        raise Unavailable(_CHANGED)
    several = False
    for tree in _trees(lines, code.co_firstlineno):
        found = [node for node in _candidates(tree, code) if _parameters(node) == _names(code)]
        if len(found) > 1:
            several = True
            found = [min(found, key=_extent)] if _has_columns(code) else []
        if found:
            if not is_code_of(code, found[0], lines, function.__globals__):
                raise Unavailable(_CHANGED)
            return found[0]
    raise Unavailable("several lambdas stand in its line" if several else _CHANGED)


def _trees(lines: list[str], first: int) -> Iterator[ast.AST]:
    """What may hold the function that begins in a line, the quickest to be had first."""
    for choose in (_indented, inspect.getblock, None):
        block, before = lines, 0
        if choose is not None:
            try:
                block, before = choose(lines[first - 1 :]), first - 1
            except (tokenize.TokenError, SyntaxError):
                continue
        head = "\n" * before
        if block and block[0][:1].isspace():  # what is indented stands under something
            head = head[1:] + "if 1:\n"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they were given when the file was imported
            try:
                tree = ast.parse(head + "".join(block))
            except (SyntaxError, ValueError):
                continue
        yield tree


def _indented(lines: list[str]) -> list[str]:
    """The first line, its decorators and what is indented under it; a guess, but a quick one."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    in_head = lines[0].lstrip().startswith("@")
    for k, line in enumerate(lines[1:], 1):
        text = line.lstrip()
        if len(line) - len(text) > margin or not text or text[0] in "#)]}":
            continue
        if not in_head:
            return lines[:k]
        in_head = text.startswith("@")
    return lines


def _candidates(tree: ast.AST, code: CodeType) -> Iterator[Definition]:
    """The nodes of this kind and name that begin where the code does."""
    line, todo = code.co_firstlineno, [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and _first(node) == line:
            yield node
            continue
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and (
            node.lineno == line and _surrounds(node.body, code)
        ):
            yield node
        todo += (
            inner for inner in ast.iter_child_nodes(node)
            if _first(inner) <= line <= getattr(inner, "end_lineno", line)
        )


def _first(node: ast.AST) -> int:
    """The line where a node begins; 0 of one without a place."""
    decorators = getattr(node, "decorator_list", ())
    return min((one.lineno for one in decorators), default=getattr(node, "lineno", 0))


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
