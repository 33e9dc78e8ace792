"""When a traced value may give a text: where the text is only shown.

What it shows is the tracer, for the number is known only when the compiled code runs. Printed,
logged, warned of, or the message of an exception or an assertion, that helps to find an error. A
text that is kept, measured, compared or parsed would be another than Python's: it is refused.

The rule follows the text through the syntax tree, from where it is made: through formatting,
joining and collecting, through variables that are read for nothing else, and to the caller where a
function returns it. It is shown if it ends in what shows it, and refused otherwise, also where the
source is not available, but for what `print` is given itself.
"""

from __future__ import annotations

import ast
import dis
import sys
import warnings
from pprint import pp, pprint
from types import FrameType
from typing import Any

from gradc.construct import Parents, enclosing, named, standing
from gradc.source import is_librarys

#: modules that ask for texts to show them: those that log, and debuggers
_SHOWING = frozenset((
    "logging", "warnings", "traceback", "pdb", "bdb", "cmd", "code", "IPython", "ipdb", "pydevd",
    "_pydevd_bundle", "debugpy", "_pytest", "loguru", "rich", "icecream",
))  # fmt: skip
_LOGS = frozenset((
    "debug", "info", "warning", "warn", "error", "critical", "exception", "fatal", "log",
))  # fmt: skip
#: functions that show what they are given
_SHOWS = (print, pprint, pp, warnings.warn)
#: functions and methods whose result is a text of what they are given, or holds it
_PASSES = (str, repr, ascii, format, list, tuple, dict, map, enumerate, zip, reversed)
_METHODS = frozenset((
    "__str__", "__repr__", "__format__", "format", "join", "ljust", "rjust", "center", "strip",
    "lstrip", "rstrip", "replace", "upper", "lower", "title", "capitalize", "expandtabs",
))  # fmt: skip
_TEXTS = frozenset(("__str__", "__repr__", "__format__"))
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.Module)


def is_shown() -> bool:
    """Whether the text that a traced value is asked for just now is only shown."""
    asks = sys._getframe(3)  # what has called the tracer's own method
    return _home(asks) == "gradc" or _asked_from(asks)


def _asked_from(frame: FrameType | None) -> bool:
    """The same of the text that a frame asks for, or what it calls."""
    while frame is not None:
        if _home(frame) in _SHOWING:
            return True
        if not is_librarys(frame):
            return _Texts(frame).of_frame()
        frame = frame.f_back
    return True


def _home(frame: FrameType) -> str:
    """The package of the code that a frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


class _Texts:
    """The texts that a frame of the user's makes."""

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.parents: Parents = {}
        self._followed: set[tuple[ast.AST, str]] = set()

    def of_frame(self) -> bool:
        """Whether the text that is asked for where the frame stands is only shown."""
        if self.frame.f_code.co_name in _TEXTS:
            return self._of_caller()
        found = standing(self.frame)
        if found is None:
            return _is_print(self.frame)
        node, self.parents = found
        if isinstance(node, ast.JoinedStr) and any(map(_has_a_field_in_its_spec, node.values)):
            return False
        if isinstance(node, ast.Call):
            return self._of_call(node, node)
        return isinstance(node, (ast.JoinedStr, ast.FormattedValue, ast.BinOp)) and self.of(node)

    def _of_caller(self) -> bool:
        """The same where the frame was called; where it makes the text of an object, once more."""
        name, back = self.frame.f_code.co_name, self.frame.f_back
        if name in _TEXTS or back is None:
            return _asked_from(back)
        outer = _Texts(back)
        found = standing(back)
        if found is None:
            return False
        call, outer.parents = found
        if not isinstance(call, ast.Call):
            return False
        called = getattr(call.func, "attr", getattr(call.func, "id", ""))
        return outer.of(call) if called == name else outer._of_call(call, call)

    def of(self, node: ast.AST) -> bool:
        """Whether the text that an expression gives is only shown."""
        parent = self.parents.get(node)
        match parent:
            case ast.Expr() | ast.Raise():
                return True
            case ast.Assert():
                return node is parent.msg
            case ast.FormattedValue():
                return node is parent.value and self.of(parent)
            case ast.IfExp():
                return node is not parent.test and self.of(parent)
            case ast.BinOp(op=ast.Add() | ast.Mod() | ast.Mult()):
                return self.of(parent)
            case ast.Subscript():
                return node is parent.value and self.of(parent)
            case ast.Attribute(attr=name):
                call = self.parents.get(parent)
                return name in _METHODS and isinstance(call, ast.Call) and self.of(call)
            case ast.keyword():
                call = self.parents[parent]
                return isinstance(call, ast.Call) and self._of_call(call, parent)
            case ast.Call():
                return self._of_call(parent, node)
            case ast.GeneratorExp() | ast.ListComp():
                return node is parent.elt and self.of(parent)
            case ast.JoinedStr() | ast.Starred() | ast.Tuple() | ast.List() | ast.Dict():
                return self.of(parent)
            case ast.Assign(targets=[ast.Name(id=name)]):
                return self._of_variable(parent, name)
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
                return self._of_variable(parent, name)
            case ast.Return() | ast.Lambda():
                return self._of_caller()
        return False

    def _of_call(self, call: ast.Call, given: ast.AST) -> bool:
        """Whether a call shows the text of what it is given, or its result is shown alone."""
        function = named(call.func, self.frame)
        if getattr(function, "__module__", "") == "gradc.debug":
            return True
        if isinstance(call.func, ast.Attribute):
            name = call.func.attr
            if name in _LOGS:
                return True
            if name in ("write", "writelines"):
                return _is_screen(call.func.value)
            if name in _METHODS and function is None:
                return self.of(call)
        if isinstance(function, type) and issubclass(function, BaseException):
            return True
        if any(function is one for one in _SHOWS):
            files = [one.value for one in call.keywords if one.arg in ("file", "stream")]
            return all(map(_is_screen, files))
        return any(function is one for one in _PASSES) and self.of(call)

    def _of_variable(self, assigned: ast.AST, name: str) -> bool:
        """Whether all that reads a variable of a function shows its text alone."""
        scope = enclosing(assigned, self.parents, _SCOPES)
        if scope is None or isinstance(scope, (ast.ClassDef, ast.Module)):
            return False
        if (scope, name) in self._followed:
            return True
        self._followed.add((scope, name))
        for inner in ast.walk(scope):
            if isinstance(inner, (ast.Global, ast.Nonlocal)) and name in inner.names:
                return False
            if isinstance(inner, ast.Name) and inner.id == name and (
                isinstance(inner.ctx, ast.Load) and not self.of(inner)
            ):
                return False
        return True


def _has_a_field_in_its_spec(value: ast.expr) -> bool:
    spec = value.format_spec if isinstance(value, ast.FormattedValue) else None
    return spec is not None and any(isinstance(x, ast.FormattedValue) for x in ast.walk(spec))


def _is_screen(file: ast.expr) -> bool:
    """Whether what is written to a file is shown: those of sys are, others can be read again."""
    return isinstance(file, ast.Attribute) and file.attr in ("stdout", "stderr")


def _is_print(frame: FrameType) -> bool:
    """Whether code without a source stands at a call of ``print``."""
    before = [one for one in dis.get_instructions(frame.f_code) if one.offset <= frame.f_lasti]
    call: Any = before.pop() if before else None
    if call is None or call.opname != "CALL" or any("JUMP" in one.opname for one in before):
        return False
    height = 0
    for one in reversed(before):
        if one.opname == "PRECALL":
            continue
        height -= dis.stack_effect(one.opcode, one.arg)
        if height <= -(call.arg + 1):
            return one.opname in ("LOAD_GLOBAL", "LOAD_NAME") and one.argval == "print"
    return False
