"""What Python asks an array for: its truth, its number, its hash, its text, its class.

A constant answers. An argument that is an int or a bool asks for a restart with its value known;
anything else raises.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gradc.context import contexts
from gradc.errors import GradcError, TracerBoolError, TracerError, TracerIndexError
from gradc.ir.types import SHORT
from gradc.lookups import is_users

if TYPE_CHECKING:
    from gradc.tracer import Tracer

Array = np.ndarray[Any, Any]

MAKE_INSIDE = (
    "make the array inside the traced function with np.zeros, np.array, ... (called as np.zeros), "
    "and turn an array from outside into one with np.array(a)"
)
_STAY_TRACED = (
    "X @ w or np.dot(X, w) in place of X.dot(w) with X from outside; x.astype(np.float32) in place "
    "of np.float32(x) or float(x); np.exp(np.array([a, b])) in place of np.exp([a, b]); for a "
    f"write, {MAKE_INSIDE}"
)


def describe(tracer: Tracer) -> str:
    """``x: f64[3]``, the name only where the value is an input."""
    text = str(tracer.type) if tracer.dtype in SHORT else f"{tracer.dtype}{list(tracer.shape)}"
    value = tracer.cell.value
    if value is not None and value.node.op.name == "input" and not tracer.path:
        return f"{value.node.attrs['name']}: {text}"
    return text


def ask_static(t: Tracer) -> None:
    """Ask for a restart with an int or bool argument static, if that is what this is."""
    trace = t.cell.trace
    if not t.shape and t.dtype.kind in "biu" and not t.is_constant and trace in contexts():
        assert trace is not None
        trace.ask_static(t.value_in(trace))


def guess(t: Tracer) -> None:
    """Take a test or a bound as known at run time only, though int arguments may tell it.

    If the trace fails it is begun anew with their values. What bools alone tell has two values at
    most: those are asked for at once.
    """
    trace = t.cell.trace
    if t.shape or t.dtype.kind not in "biu" or t.is_constant or trace not in contexts():
        return
    assert trace is not None
    found = trace.arguments(t.value_in(trace))
    if found and all(argument.dtype.kind == "b" for _, argument in found):
        ask_static(t)
    for context, argument in found:
        if argument.dtype.kind != "b":
            context.guessed.setdefault(context.leaf_of[argument.id])


def number(t: Tracer, error: Callable[..., GradcError], asked: str, remedy: str) -> Array:
    """The array, if it is known while tracing. Raises StaticRequest, and ``error``."""
    if t.is_constant:
        return t.array()
    ask_static(t)
    asked, instead = _named(asked)
    raise error(
        f"{asked} while tracing: it is known only when the compiled code runs",
        types=[describe(t)],
        remedy=instead or remedy,
    )


def _named(asked: str) -> tuple[str, str]:
    """What was asked for, with the construct that asked in place of those in parentheses.

    And what to write instead; empty if that is nothing more.
    """
    from gradc.asked import asker

    name, instead = asker()
    return (f"{asked.partition(' (')[0]} by {name}" if name else asked), instead


def class_of(t: Tracer, may_ask: bool) -> type:
    """What NumPy would have here: an array, a scalar, or one of Python's numbers."""
    if not t.is_scalar:
        return np.ndarray
    if t.weak:
        return {"b": bool, "i": int, "f": float}[t.dtype.kind]
    if t.dtype.kind == "b" and may_ask:
        ask_static(t)  # whether a bool is Python's or NumPy's shows only then
    return t.dtype.type


def _not_rewritten() -> str:
    """Why the code that asks is not one whose branches are compiled; empty if it is."""
    from gradc.syntax.convert import reason

    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not is_users(frame):
        frame = frame.f_back
    if frame is None or not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return ""
    return reason(frame.f_code)


def _text(t: Tracer, spec: str = "", *, may_ask: bool = True) -> str:
    """What stands for the value where its text is only shown (:mod:`gradc.texts`).

    Raises StaticRequest where an argument tells it, unless it ``may_ask`` for what is not shown
    alone, and TracerError.
    """
    text = f"Tracer<{describe(t)}>"
    if not contexts():
        return text
    from gradc.texts import is_shown

    shown = is_shown()
    if may_ask or not shown:
        ask_static(t)
    if shown and not spec:
        return text
    asked, _ = _named(
        f"{f'the format {spec!r}' if spec else 'the text'} of a traced value was asked for (str, "
        "repr, format, an f-string)")
    raise TracerError(
        f"{asked} while tracing: it is known only when the compiled code runs",
        types=[describe(t)],
        remedy=f"gradc.debug_print({'{:' + spec + '}' if spec else '{}'!r}, x), which prints it "
        "whenever the code runs, or format the result outside the compiled function; a plain "
        "print(x), or a message, shows the tracer",
    )


class Conversions:
    """The conversions of an array."""

    __slots__ = ()

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """For isinstance in user code: of what NumPy would have here."""
        frame = sys._getframe(1)
        if not is_users(frame):
            return type(self)
        home = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        return class_of(cast("Tracer", self), home not in sys.stdlib_module_names)

    def __array__(self: Any, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.is_constant:
            if not contexts():
                return np.asarray(self.array(), dtype=dtype, copy=copy)
            return np.array(self.array(), dtype=dtype)
        ask_static(self)
        asked, instead = _named("a traced array was to be turned into a plain NumPy array")
        raise TracerError(asked, types=[describe(self)], remedy=instead or _STAY_TRACED)

    def __bool__(self: Any) -> bool:
        if self.is_constant:
            return bool(self.array())
        remedy = "np.where(condition, a, b) in place of a branch, np.logical_and for `and`"
        if why := _not_rewritten():
            remedy += f"; this code's own branches and loops stay Python's: {why}"
        asked = "the truth of a traced value was asked for (if, while, and, or, not)"
        return bool(number(self, TracerBoolError, asked, remedy))

    def __index__(self: Any) -> int:
        remedy = "take the number from a shape, or pass it as an argument of its own, an int"
        asked = "a traced value was used as an integer (a range, a shape, a list index)"
        return number(self, TracerIndexError, asked, remedy).__index__()

    def __int__(self: Any) -> int:
        remedy = "x.astype(int) keeps it an array"
        return int(number(self, TracerError, "int() of a traced value was asked for", remedy))

    def __float__(self: Any) -> float:
        asked = (
            "float() of a traced value was asked for (or np.float64(), or a write into a plain "
            "NumPy array)"
        )
        return float(number(self, TracerError, asked, f"leave out float(); {_STAY_TRACED}"))

    def __complex__(self: Any) -> complex:
        raise TracerError("complex numbers are not supported", types=[describe(self)],
                          remedy="keep real and imaginary parts in two arrays")

    def item(self: Any, *args: int) -> Any:
        """The number, if it is known while tracing."""
        remedy = "leave out .item(): a 0-d array works like a number here"
        asked = "item() of a traced value was asked for"
        return number(self, TracerError, asked, remedy).item(*args)

    def tolist(self: Any) -> Any:
        """Nested lists of numbers, if they are known while tracing."""
        remedy = "list(x) gives the elements along the first axis as traced values"
        asked = "tolist() of a traced value was asked for"
        return number(self, TracerError, asked, remedy).tolist()

    def __hash__(self: Any) -> int:
        if not self.is_scalar:
            raise TypeError("unhashable type: 'numpy.ndarray'")
        remedy = "a key that is known while tracing; in place of functools.cache, nothing"
        asked = "the hash of a traced value was asked for (a key, a set, a cached function)"
        return hash(number(self, TracerError, asked, remedy).item())

    def __repr__(self: Any) -> str:
        return repr(self.array()[()]) if self.is_constant else _text(self, may_ask=False)

    def __str__(self: Any) -> str:
        return str(self.array()) if self.is_constant else _text(self)

    def __format__(self: Any, spec: str) -> str:
        return format(self.array()[()], spec) if self.is_constant else _text(self, spec)

    def __reduce__(self: Any) -> Any:
        if self.is_constant:
            return self.array().__reduce__()
        raise TracerError("a traced value cannot be pickled", types=[describe(self)],
                          remedy="return it from the traced function")
