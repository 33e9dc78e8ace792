"""Which construct of the user's program a frame stands at, as a node of the syntax tree.

Only what is refused, or shown, is looked up: an instruction has the place of the node that it comes
from, and the tree of its file has the node at that place.
"""

from __future__ import annotations

import ast
import dis
import functools
import itertools
import linecache
import warnings
from collections.abc import Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

#: a node, and what each node of its file stands in
Parents = dict[ast.AST, ast.AST]
#: what has a place and may ask: an expression, the pattern of a case, or a statement
_ASKING = (ast.expr, ast.pattern, ast.stmt)


def standing(frame: FrameType) -> tuple[ast.AST, Parents] | None:
    """The node that a frame stands at, with the parents of those in its file.

    None where the source is not available. The outermost expression of several at one place is
    given: a text with fields, not one of its fields.
    """
    place = _place(frame.f_code, frame.f_lasti)
    lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
    if place is None or not lines:
        return None
    parents = _parents("".join(lines))
    found, least = None, None
    for node in parents:
        span = _span(node)
        if span is None or not (span[0] <= place[0] and place[1] <= span[1]):
            continue
        if least is None or _within(span, least) or isinstance(found, ast.stmt):
            found, least = node, span
    if found is None:
        return None
    if dis.opname[frame.f_code.co_code[frame.f_lasti]].startswith("FORMAT"):
        # Python makes an f-string of "%s %s" % (a, b), and gives a field the place of its value.
        group = parents[found]
        whole = parents.get(group)
        if isinstance(group, ast.Tuple) and isinstance(whole, ast.BinOp):
            found = whole
    return found, parents


def enclosing(node: ast.AST, parents: Parents, kinds: Any) -> ast.AST | None:
    """The innermost node of some kinds around one."""
    around = parents.get(node)
    while around is not None and not isinstance(around, kinds):
        around = parents.get(around)
    return around


def named(expression: ast.expr, frame: FrameType) -> Any:
    """What a name, or an attribute of a module or class, stands for in a frame; None if unsure."""
    match expression:
        case ast.Name(id=name):
            for names in (frame.f_locals, frame.f_globals, frame.f_builtins):
                if name in names:
                    return names[name]
        case ast.Attribute(value=value, attr=name):
            holder = named(value, frame)
            if isinstance(holder, (ModuleType, type)):
                return getattr(holder, name, None)
    return None


def _place(code: CodeType, last: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Where an instruction begins and ends in its file."""
    at = next(itertools.islice(code.co_positions(), last // 2, None), None)
    if at is None or None in at:
        return None
    line, end_line, column, end_column = at
    return (line or 0, column or 0), (end_line or 0, end_column or 0)


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]] | None:
    if not isinstance(node, _ASKING) or node.end_lineno is None:
        return None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset or 0)


def _within(one: Any, other: Any) -> bool:
    """Whether a span is smaller than another that has a place in common with it."""
    return bool(one[0] >= other[0] and one[1] <= other[1] and one != other)


@functools.lru_cache(maxsize=8)
def _parents(text: str) -> Parents:
    """What each node of a file stands in, those further out first; nothing if it is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were given when the file was imported
        try:
            return dict(_pairs(ast.parse(text)))
        except (SyntaxError, ValueError):
            return {}


def _pairs(tree: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for node in ast.walk(tree):
        for inner in ast.iter_child_nodes(node):
            if not isinstance(inner, (ast.expr_context, ast.operator, ast.cmpop)):
                yield inner, node
