"""Where the user's program is: the innermost frame that is neither gradc's nor NumPy's."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import FrameType

from gradc.ir.graph import Loc

_PACKAGES = ("gradc", "gradc.ir", "gradc.codegen", "numpy")
_LIBRARIES = tuple(
    os.path.dirname(spec.origin) + os.sep
    for spec in map(find_spec, _PACKAGES)
    if spec is not None and spec.origin is not None
)
#: whether code of this file is a library's
_known: dict[str, bool] = {}


def _is_librarys(file: str) -> bool:
    # NumPy runs its dispatchers from code compiled under a made-up file name.
    known = _known[file] = file.startswith(_LIBRARIES) or file.startswith("<__array_function")
    return known


def user_loc() -> Loc | None:
    """File, line and function of the user's innermost frame; None when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        library = _known.get(file)
        if not (_is_librarys(file) if library is None else library) and not _is_made(frame):
            return Loc(file, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return None


def _is_made(frame: FrameType) -> bool:
    """Whether the code is what a dataclass of gradc's was given: it has no file."""
    name = frame.f_globals.get("__name__")
    made = frame.f_code.co_filename == "<string>" and isinstance(name, str)
    return made and str(name).partition(".")[0] == "gradc"


def user_locs() -> tuple[Loc, ...]:
    """The same as a tuple, as nodes carry it."""
    loc = user_loc()
    return () if loc is None else (loc,)


def is_running(loc: Loc) -> bool:
    """Whether the function of a line has not returned yet."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if (code.co_filename, code.co_name) == (loc.file, loc.function):
            return True
        frame = frame.f_back
    return False
