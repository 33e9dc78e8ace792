"""What the command line names: functions of modules and files, and types."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gradc.errors import ArgumentError
from gradc.ir.types import LONG

if TYPE_CHECKING:
    from gradc.compile import Compiled

#: a type, with or without quotes
_TYPE = re.compile(rf"""["']?\b({'|'.join(LONG)})\b(\s*\[[\d\s,]*\])?["']?""")


def function_of(text: str) -> Compiled[..., Any]:
    """The function that ``module:function`` or ``file.py:function`` names, compiled.

    Attributes may follow: ``module:Class.method``, ``module:loss.grad``. Raises ArgumentError.
    """
    from gradc.compile import Compiled, compile

    place, _, name = text.rpartition(":")
    if not place or not name:
        raise ArgumentError(
            f"{text!r} names no function", remedy="module:function, or file.py:function"
        )
    module = _module(place)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            have = [k for k, v in vars(module).items() if isinstance(v, Compiled)]
            have = have or [k for k, v in vars(module).items() if _is_own(v, module)]
            raise ArgumentError(
                f"{place} has no {name!r}",
                remedy=f"one of {', '.join(have)}" if have else "it has no functions at all",
            )
        found = getattr(found, part)
    if not callable(found):
        raise ArgumentError(f"{text} is {found!r}, no function")
    function: Compiled[..., Any] = found if isinstance(found, Compiled) else compile(found)
    return function


def _is_own(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        if spec is None or spec.loader is None or not Path(place).exists():
            raise ArgumentError(f"there is no file {place}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        raise ArgumentError(
            f"there is no module {place!r}",
            remedy=f"give its file: {place.replace('.', '/')}.py:function",
        ) from None


def types_of(text: str) -> tuple[Any, ...]:
    """The types in ``f64[784], {"w": f64[10]}, 3``. Raises ArgumentError."""
    quoted = _TYPE.sub(lambda m: repr(m.group(1) + (m.group(2) or "")), text.strip())
    if not quoted:
        return ()
    try:
        found = ast.literal_eval(f"({quoted.rstrip(',')},)")
    except (ValueError, SyntaxError):
        raise ArgumentError(
            f"{text!r} are no types",
            remedy=f"f64[784], f32[3,4], f64, (f64[2], i64[]); the dtypes are {', '.join(LONG)}",
        ) from None
    assert isinstance(found, tuple)
    return found
