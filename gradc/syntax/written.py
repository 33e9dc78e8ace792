"""Which variables hold arrays that a function writes into, by what is assigned to them.

A plain array that such a variable is given, and that nothing else holds, as `b.copy()` or `b * 2`
of an array from outside, becomes one of the trace: then traced values can be written into it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import numpy as np

from gradc.syntax.analysis import walk

#: methods of an array that write into it, and NumPy's functions that write into the first argument
WRITING = frozenset(
    ("fill", "put", "sort", "partition", "itemset", "resize", "setfield", "byteswap"))
INTO_FIRST = frozenset(("at", "copyto", "put", "place", "putmask", "fill_diagonal"))
#: the names of these arguments, and of those that others write into
_NAMED = frozenset(("dst", "a", "arr"))
OUT = "out"
#: attributes of an array that are set
SETTING = frozenset(("shape", "strides", "dtype", "flat", "real", "imag"))


def names_written(node: ast.AST, may_be_users: Callable[[ast.expr], bool]) -> frozenset[str]:
    """The variables whose arrays are written into, or handed to a function that may do so.

    may_be_users: whether what an expression names may be a function of the user's.
    """
    found: set[str] = set()
    #: name -> the variables that it may be a view of
    views: dict[str, set[str]] = {}
    for inner in walk(node):
        match inner:
            case ast.Subscript(ctx=ast.Store()) | ast.AugAssign():
                target = inner.target if isinstance(inner, ast.AugAssign) else inner.value
                found |= _roots(target)
            case ast.Call():
                found |= _written_by(inner, may_be_users)
            case ast.Assign(targets=targets, value=value):
                _note(views, targets, _roots(value))
            case ast.For(target=target, iter=value):
                _note(views, [target], {x.id for x in walk(value) if isinstance(x, ast.Name)})
    while True:
        more = {base for name in found & views.keys() for base in views[name]} - found
        if not more:
            return frozenset(found)
        found |= more


def _note(views: dict[str, set[str]], targets: list[ast.expr], bases: set[str]) -> None:
    for target in targets:
        for one in walk(target):
            if isinstance(one, ast.Name):
                views.setdefault(one.id, set()).update(bases)


def _written_by(call: ast.Call, may_be_users: Callable[[ast.expr], bool]) -> set[str]:
    found: set[str] = set()
    function, given = call.func, [*call.args, *(one.value for one in call.keywords)]
    if may_be_users(function):
        found |= {name for one in given for name in _roots(one)}
    if isinstance(function, ast.Attribute) and function.attr in WRITING:
        found |= _roots(function.value)
    return found.union(*map(_roots, written_into(call)))


def written_into(call: ast.Call) -> list[ast.expr]:
    """The arguments that a call writes into, as far as its name tells."""
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    found = [one.value for one in call.keywords if one.arg == OUT]
    if any(isinstance(one, ast.Starred) for one in call.args):
        return found
    if name in INTO_FIRST:
        found += call.args[:1] or [one.value for one in call.keywords if one.arg in _NAMED]
    ufunc = vars(np).get(name)
    if isinstance(ufunc, np.ufunc):
        found += call.args[ufunc.nin :]
    return found


def _roots(node: ast.expr) -> set[str]:
    """The variables that an expression may be an array of, or a view of one of theirs."""
    match node:
        case ast.Name(id=name):
            return {name}
        case ast.Attribute(value=value) | ast.Subscript(value=value) | ast.Starred(value=value):
            return _roots(value)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return {name for part in parts for name in _roots(part)}
        case ast.IfExp(body=body, orelse=orelse):
            return _roots(body) | _roots(orelse)
        case ast.Call(func=ast.Attribute(value=value), args=args):
            return _roots(value) | (_roots(args[0]) if args else set())
    return set()
