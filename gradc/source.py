"""Where the user's program is: the innermost frame that is neither gradc's nor NumPy's."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import CodeType

from gradc.ir.graph import Loc

_PACKAGES = ("gradc", "gradc.ir", "gradc.codegen", "numpy")
_LIBRARIES = tuple(
    os.path.dirname(spec.origin) + os.sep
    for spec in map(find_spec, _PACKAGES)
    if spec is not None and spec.origin is not None
)
_known: dict[CodeType, bool] = {}


def _is_users(code: CodeType) -> bool:
    known = _known.get(code)
    if known is None:
        file = code.co_filename
        # NumPy runs its dispatchers from code compiled under a made-up file name.
        library = file.startswith(_LIBRARIES) or file.startswith("<__array_function")
        known = _known[code] = not library
    return known


def user_loc() -> Loc | None:
    """File, line and function of the user's innermost frame; None when there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        if _is_users(frame.f_code):
            return Loc(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None


def user_locs() -> tuple[Loc, ...]:
    """The same as a tuple, as nodes carry it."""
    loc = user_loc()
    return () if loc is None else (loc,)
