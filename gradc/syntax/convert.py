"""Which functions are rewritten, and the rewritten ones, kept by their code."""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import inspect
import os
import sys
import sysconfig
import threading
import weakref
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gradc.syntax.unit import Family

_LIBRARIES = frozenset(("numpy", "scipy", "gradc"))


def _ops(*names: str) -> frozenset[int]:
    """The numbers of those instructions that this Python has."""
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_CONSTANTS = _ops("LOAD_CONST", "LOAD_SMALL_INT")
_GROUPS = _ops("BUILD_SLICE", "BUILD_TUPLE")
_SILENT = _ops("CACHE", "EXTENDED_ARG")
_STORES = _ops("STORE_SUBSCR", "STORE_SLICE", "STORE_ATTR")
#: what reads an element -> how many values on the stack say which
_READS = {op: 1 for op in _ops("BINARY_SUBSCR")} | {op: 2 for op in _ops("BINARY_SLICE")}
#: what branches, loops, asks for a truth, catches an exception, assigns a global, makes a class
_ASKS = frozenset((*dis.hasjrel, *dis.hasjabs)) | _ops(
    "UNARY_NOT", "CONTAINS_OP", "IS_OP", "PUSH_EXC_INFO", "STORE_GLOBAL", "DELETE_GLOBAL",
    "LOAD_BUILD_CLASS")
_CALLS = _ops("CALL", "CALL_KW")
_OPERATOR = dis.opmap["BINARY_OP"]
#: the operators from this on work in place
_IN_PLACE = 13
_FOLDERS = tuple(
    sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
#: builtins that ask their arguments for a truth, or for what they are, or call them
CHOOSING = frozenset((
    "all", "any", "bool", "filter", "getattr", "hasattr", "isinstance", "map", "max", "min",
    "sorted", "type",
))  # fmt: skip
#: builtins that arrays of unknown length have an answer to, where they are called in rewritten code
MEASURING = frozenset(("len", "sum"))
#: functions of Python's modules that call what they are given
CALLING = frozenset(("reduce", "accumulate", "starmap"))
#: what arrays, and the modules of NumPy, have: a method of such a name is none of the user's
_KNOWN = frozenset(
    name for holder in (np.ndarray, np, np.linalg, list, dict, str, tuple)
    for name in dir(holder)
)

#: the flags of code that stops on the way and is resumed
RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
GENERATOR = "it is a generator or a coroutine, which runs as plain Python"
REWRITTEN = "it has been rewritten"
STRAIGHT = "nothing in it branches or loops"
OWN = f"{STRAIGHT}, and it writes into arrays of its own"

_lock = threading.RLock()
#: by the id of a code: the code, and its function rewritten, or why it stays as it is
_families: dict[int, tuple[weakref.ref[CodeType], Family | str]] = {}
#: the packages with functions that were given to gradc itself
_asked: set[str] = set()


def is_foreign_module(module: ModuleType) -> bool:
    """Whether a module is no user's: of NumPy, the standard library, another library."""
    file = getattr(module, "__file__", None)
    return file is None or _is_foreign(file, module.__name__)


@functools.lru_cache(maxsize=4096)
def _is_librarys(file: str) -> bool:
    return file.startswith((*_FOLDERS, "<frozen", "<__array_function__"))


def _is_foreign(file: str, module: str) -> bool:
    home = module.partition(".")[0]
    return home in _LIBRARIES or _is_librarys(file) and home not in _asked


def rewritten(function: Any) -> Any:
    """The function to be traced in place of one that was given to gradc: rewritten if need be.

    What cannot be rewritten stays as it is: it can be traced as long as it asks no traced value
    for its truth or its number.
    """
    if isinstance(function, (FunctionType, MethodType)):
        home = (function.__module__ or "").partition(".")[0]
        if home not in _LIBRARIES and home not in sys.stdlib_module_names:
            _asked.add(home)
    return call(function, given=True)


def call(function: Any, *, given: bool = False) -> Any:
    """What to call in place of a function: the function itself, unless it is the user's.

    ``given``: to gradc, so that its arguments are no arrays from outside.
    """
    kind = type(function)
    if kind is FunctionType:
        return _converted(function, given)
    if kind is BuiltinFunctionType or kind is type:
        if any(function.__name__ in names for names in (CHOOSING, CALLING, MEASURING)):
            from gradc.syntax import choosing, kinds

            return choosing.INSTEAD.get(function) or kinds.INSTEAD.get(function, function)
        return function
    if kind is MethodType:
        inner = function.__func__
        new = call(inner, given=given)
        return function if new is inner else MethodType(new, function.__self__)
    if kind is functools.partial:
        new = call(function.func, given=given)
        if new is function.func:
            return function
        return functools.partial(new, *function.args, **function.keywords)
    if kind is staticmethod:
        return call(function.__func__, given=given)
    method = None if isinstance(function, type) else _method(kind)
    if type(method) is FunctionType:
        new = _converted(method, given)
        return function if new is method else MethodType(new, function)
    return function


def _method(kind: type) -> Any:
    """What runs when an instance is called."""
    return next((one.__dict__["__call__"] for one in kind.__mro__ if "__call__" in one.__dict__),
                None)


def _converted(function: FunctionType, given: bool) -> Any:
    found = family(function, given=given)
    return function if isinstance(found, str) else found.function(function)


def family(function: FunctionType, *, given: bool = True) -> Family | str:
    """A function of the user's rewritten, or why it is not, as a clause.

    ``given``: as of :func:`call`; what was left as it was for that may not be so for others.
    """
    code = function.__code__
    known = _families.get(id(code))
    if known is not None and known[0]() is code and (given or known[1] != OWN):
        return known[1]
    if _is_foreign(code.co_filename, function.__module__ or ""):
        return "it is a library's"
    with _lock:
        known = _families.get(id(code))
        if known is None or known[0]() is not code or not given and known[1] == OWN:
            key = id(code)
            known = (weakref.ref(code, functools.partial(_forget, key)), _made(function, given))
            _families[key] = known
            if not isinstance(known[1], str):
                note(known[1].rewritten)
    return known[1]


def note(rewritten: CodeType) -> None:
    """Take code that was made here as rewritten, with what is nested in it."""
    for code in _codes(rewritten):
        key = id(code)
        held = weakref.ref(code, functools.partial(_forget, key))
        _families[key] = (held, REWRITTEN)


def _forget(key: int, _: Any) -> None:
    _families.pop(key, None)


def _codes(code: CodeType) -> list[CodeType]:
    """A code and those nested in it, but for the methods of classes."""
    found = [code]
    for one in found:
        found += [inner for inner in one.co_consts if isinstance(inner, CodeType)
                  and inner.co_flags & inspect.CO_NEWLOCALS]
    return found


def reason(code: CodeType) -> str:
    """Why loops and branches of code are not compiled, as a clause; empty if they should be."""
    if code.co_flags & RESUMED and not code.co_name.startswith("<"):
        return GENERATOR
    known = _families.get(id(code))
    if known is None or known[0]() is not code:
        return "nothing that gradc rewrote called it" + (
            ", but Python itself" if code.co_name.startswith("__") else "")
    found = known[1]
    return found if isinstance(found, str) and found not in (REWRITTEN, STRAIGHT, OWN) else ""


def explained(function: Any) -> tuple[str, str]:
    """The source of a function rewritten, or nothing, and why it stays as it is."""
    from gradc.creation import unwrapped

    reason = "it is no Python function"
    for one in unwrapped(function):
        if isinstance(one, FunctionType):
            found = family(one)
            if not isinstance(found, str):
                return ast.unparse(found.definition), ""
            reason = found
    return "", reason


def _made(function: FunctionType, given: bool) -> Family | str:
    why = _straight(function, given)
    if why:
        return why
    from gradc.syntax.source import Unavailable, definition
    from gradc.syntax.unit import Family

    try:
        return Family(function, definition(function), _lock)
    except Unavailable as reason:
        return str(reason)


def _straight(function: FunctionType, given: bool) -> str:
    """Why code stays as it is: unless it branches, loops, indexes, calls what may be a function of
    the user's, or writes into an array that may be from outside.
    """
    arrays = False
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:
            return ""
        if not _is_plain(held):
            return ""
        arrays |= isinstance(held, np.ndarray)
    codes = _codes(function.__code__)
    for code in codes:
        raw = code.co_code
        if any(op in _ASKS for op in raw[::2]) or _indexes(raw):
            return ""
        if CHOOSING.intersection(code.co_names) and any(
            one.opname == "LOAD_GLOBAL" and one.argval in CHOOSING
            for one in dis.get_instructions(code)
        ):
            return ""
        if any(name not in _KNOWN and name not in function.__globals__ and
               not hasattr(builtins, name) for name in code.co_names):
            return ""
        for name in code.co_names:
            held = function.__globals__.get(name)
            if held is not None and not _is_plain(held):
                return ""
            arrays |= isinstance(held, np.ndarray)
    if not any(map(_writes, codes)):
        return STRAIGHT
    return OWN if given and not arrays else ""


def _indexes(raw: bytes) -> bool:
    """Whether code reads an element at a place that is not written out."""
    known = 0  # so many values on top of the stack are constants
    for op, arg in zip(raw[::2], raw[1::2], strict=True):
        if op in _CONSTANTS:
            known += 1
        elif op in _GROUPS and known >= arg:
            known += 1 - arg
        elif op in _READS:
            if known < _READS[op]:
                return True
            known = 0
        elif op not in _SILENT:
            known = 0
    return False


def _writes(code: CodeType) -> bool:
    """Whether code writes into an array: an element of it, or by an operator such as ``+=``."""
    from gradc.syntax.written import INTO_FIRST, OUT, WRITING

    if not (WRITING | INTO_FIRST).isdisjoint(code.co_names) or any(
        isinstance(const, tuple) and OUT in const for const in code.co_consts
    ):
        return True
    ufuncs = [one for name in code.co_names if isinstance(one := vars(np).get(name), np.ufunc)]
    most = min((one.nin for one in ufuncs), default=256)
    raw = code.co_code
    pairs = zip(raw[::2], raw[1::2], strict=True)
    return any(
        op in _STORES or op == _OPERATOR and arg >= _IN_PLACE or op in _CALLS and arg > most
        for op, arg in pairs)


def _is_plain(held: Any) -> bool:
    """Whether nothing of the user's runs when this is called, or an attribute of it."""
    if isinstance(held, ModuleType):
        return is_foreign_module(held)
    if isinstance(held, (FunctionType, type)):
        code = getattr(held, "__code__", None)
        home = held.__module__ or ""
        return home.partition(".")[0] in _LIBRARIES or (
            code is not None and _is_foreign(code.co_filename, home)
        )
    plain = (np.ndarray, np.generic, np.ufunc, int, float, str, BuiltinFunctionType)
    return isinstance(held, plain)
