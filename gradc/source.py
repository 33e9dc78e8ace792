"""Where the user's program is: the innermost frame of no library that a program calls by the way.

Those are gradc, NumPy and Python's own: what a Counter, a heap or a dataclass asks of a traced
value was asked for in the user's line.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from importlib.util import find_spec
from types import FrameType

from gradc.ir.graph import Loc

_PACKAGES = ("gradc", "gradc.ir", "gradc.codegen", "numpy")
_LIBRARIES = tuple(
    os.path.dirname(spec.origin) + os.sep
    for spec in map(find_spec, _PACKAGES)
    if spec is not None and spec.origin is not None
)
_PYTHONS = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
#: folders within those, of packages that were installed
_INSTALLED = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
#: whether code of this file is a library's
_known: dict[str, bool] = {}


def _is_of_a_library(file: str) -> bool:
    # NumPy runs its dispatchers from code compiled under a made-up file name.
    known = file.startswith((*_LIBRARIES, "<__array_function", "<frozen")) or (
        file.startswith(_PYTHONS) and not any(folder in file for folder in _INSTALLED)
    )
    _known[file] = known
    return known


def is_librarys(frame: FrameType) -> bool:
    """Whether a frame is of code that a user's program only calls."""
    file = frame.f_code.co_filename
    library = _known.get(file)
    return (_is_of_a_library(file) if library is None else library) or _is_made(frame)


def user_frame() -> FrameType | None:
    """The user's innermost frame; None when there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:  # every node asks, through a dozen frames
        if not _known.get(frame.f_code.co_filename) and not is_librarys(frame):
            return frame
        frame = frame.f_back
    return None


def user_loc() -> Loc | None:
    """File, line and function of the user's innermost frame; None when there is none."""
    frame = user_frame()
    if frame is None:
        return None
    return Loc(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)


def _is_made(frame: FrameType) -> bool:
    """Whether the code is what a dataclass was given, which has no file: gradc's, or ``==``."""
    if frame.f_code.co_filename != "<string>":
        return False
    if frame.f_code.co_qualname.startswith("__create_fn__."):
        return True
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "gradc"


def raised_at(error: BaseException) -> Loc | None:
    """The user's innermost line that an error went through."""
    found, step = None, error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if not is_librarys(frame):
            found = Loc(frame.f_code.co_filename, step.tb_lineno, frame.f_code.co_name)
        step = step.tb_next
    return found


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
