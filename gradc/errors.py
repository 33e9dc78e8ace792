"""Every failure of gradc that a user can cause.

Each error says what happened, where in the user's program, with which types, and one way out. Each
is also the builtin exception that Python or NumPy would raise, so ``except TypeError`` still works.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from gradc.context import contexts
from gradc.ir.graph import Loc
from gradc.source import raised_at, user_loc


class GradcError(Exception):
    """The base of gradc's errors.

    what: what happened. where: the user's line (found if not given). types: the values involved, as
    text. remedy: one way out.

    An error that plain NumPy would not have raised is *final*: the trace under way fails, though
    the user's program may catch it, for what it does then is not what it would do on arrays.
    """

    final = False

    def __init__(
        self, what: str, *, where: Loc | None = None, types: Iterable[Any] = (), remedy: str = ""
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where or user_loc()
        self.types = tuple(str(t) for t in types)
        self.remedy = remedy
        if self.final:
            for context in contexts():
                context.failure = context.failure or self

    def __str__(self) -> str:
        lines = [self.what]
        if self.where is not None:
            name = f", in {self.where.function}" if self.where.function else ""
            lines.append(f"  at {self.where.file}:{self.where.line}{name}")
        if self.types:
            lines.append(f"  with {', '.join(self.types)}")
        if self.remedy:
            lines.append(f"  Try: {self.remedy}")
        return "\n".join(lines)


class TracerError(GradcError, TypeError):
    """Python asked a traced value for a number that is known only when the compiled code runs."""

    final = True


class TracerBoolError(TracerError, ValueError):
    """The truth of a traced value was asked for: ``if``, ``while``, ``and``, ``or``, ``not``."""


class TracerIndexError(TracerError, IndexError):
    """A traced value was used where only a constant index can stand."""


class LeakedTracerError(TracerError):
    """A traced value was used after its trace had ended."""


class UnsupportedError(GradcError, NotImplementedError, TypeError):
    """A NumPy function, method or option that gradc does not trace."""

    final = True


class DTypeError(GradcError, TypeError):
    """A dtype that the operation, or gradc, does not have."""


class CastingError(GradcError, TypeError):
    """A write would cast a value in a way that NumPy, or the gradient, does not allow."""


class ShapeError(GradcError, ValueError):
    """Shapes that do not fit."""


class IndexingError(GradcError, IndexError):
    """An index that is out of bounds or of the wrong kind."""


class AxisError(GradcError, np.exceptions.AxisError):
    """An axis that the array does not have."""


class ReadOnlyError(GradcError, ValueError):
    """A write that the function's result would lose: to an argument or to an array from outside."""

    final = True


class CarryError(GradcError, TypeError):
    """What a loop hands from one iteration to the next changes its type, shape or structure."""

    final = True


class BranchError(GradcError, TypeError):
    """The branches of a condition give results of different types, shapes or structures."""

    final = True


class LoopError(GradcError, TypeError):
    """A loop or branch, or one of its arguments, that cannot be what it is meant to be."""

    final = True


class UnrolledLoopWarning(UserWarning):
    """A long loop could not be one of the graph: its iterations stand there one after another."""


class TripsError(GradcError, RuntimeError):
    """A loop ran more often than its ``max_trips`` allow."""


class TapeError(GradcError, MemoryError):
    """There is no memory for what a loop keeps for its gradient."""


class UndefinedError(GradcError, UnboundLocalError):
    """A variable was used that a loop or branch may have left without a value."""

    final = True


class RandomError(GradcError, TypeError):
    """Random numbers were drawn while tracing: they would be frozen into the compiled code."""

    final = True


class OutputError(GradcError, TypeError):
    """The traced function returned something that is no number or array."""


class ArgumentError(GradcError, TypeError):
    """An argument that gradc cannot take: of a type, a dtype or a structure it does not know."""


class OptionError(GradcError, ValueError):
    """An option, such as a learning rate or a batch size, outside its range."""


class NonFiniteError(GradcError, FloatingPointError):
    """Training met a NaN or an infinity: in a loss, in a gradient, or in new parameters.

    step, epoch, batch: where, each counted from 0. rows: the samples of that batch. result: what
    training had made before that step, a :class:`gradc.TrainResult`.
    """

    def __init__(
        self, what: str, *, step: int, epoch: int, batch: int, rows: Any, **details: Any
    ) -> None:
        super().__init__(what, **details)
        self.step = step
        self.epoch = epoch
        self.batch = batch
        self.rows = rows
        self.result: Any = None


class CheckpointError(GradcError, ValueError):
    """A checkpoint that cannot be read, or is not one of this training."""


class LinkError(GradcError, RuntimeError):
    """A shared library could not be linked: there is no linker for the target, or it failed."""


class NotDifferentiableError(GradcError, TypeError):
    """A gradient was asked for in an argument, or of a result, that has none."""


class NotScalarError(GradcError, TypeError):
    """A gradient was asked for of a result that is no scalar."""


#: what Python says of objects that it does not know, with no text of a tracer, as in messages
_STRANGE = re.compile(r"\bTracer\b(?!<)|is not JSON serializable")

#: the remedy for a variable without a value
UNASSIGNED = "assign it before the loop or branch, or in every branch"


def from_numpy(error: Exception, types: Iterable[Any] = (), remedy: str = "") -> GradcError:
    """The gradc error for one that NumPy or the IR raised on shapes and dtypes."""
    text = str(error)
    if isinstance(error, np.exceptions.AxisError):
        return AxisError(text, types=types, remedy=remedy)
    if isinstance(error, IndexError):
        return IndexingError(text, types=types, remedy=remedy)
    if isinstance(error, TypeError):
        return DTypeError(text, types=types, remedy=remedy)
    return ShapeError(text, types=types, remedy=remedy)


def of_python(error: Exception) -> GradcError | None:
    """The gradc error for one that Python raised as it knows no traced values; None for others."""
    text = str(error)
    if isinstance(error, GradcError) or not isinstance(error, TypeError):
        return None
    if not _STRANGE.search(text):
        return None
    method = re.match(r"__\w+__", text)
    remedy = "the functions of NumPy, or do it outside the compiled function"
    if method is not None:
        remedy = f"a method of another name than {method.group()}, or what it does in its place"
    return TracerError(
        "a traced value came to what takes only Python's own numbers, or NumPy's arrays: "
        f"{text.replace('Tracer', 'traced value')}",
        where=raised_at(error), remedy=remedy,
    )


def of_a_run(
    error: Exception, where: Loc | None = None, types: Iterable[Any] = ()
) -> Exception:
    """The gradc error for one that the compiled code, or the interpreter, ended with.

    An index was out of bounds, the parameters of random numbers were none, a loop ran too often,
    there was no memory for what it keeps, a variable was read that nothing had assigned, or lengths
    were different that are to be equal.
    """
    from gradc.ir.ops.effects import Mismatch

    if isinstance(error, GradcError):
        return error
    if isinstance(error, IndexError):
        remedy = "check the indices against the shape of the array" if where else ""
        return IndexingError(str(error), where=where, types=types, remedy=remedy)
    if isinstance(error, UnboundLocalError):
        return UndefinedError(str(error), where=where, remedy=UNASSIGNED)
    if isinstance(error, Mismatch):
        remedy = "slices with the same bounds on both sides"
        return ShapeError(str(error), where=where, remedy=remedy)
    if isinstance(error, MemoryError):
        remedy = "keep less with gradc.checkpoint, or run the loop fewer times"
        where = where or next(iter(getattr(error, "locs", ())), None)
        return TapeError(str(error), where=where, remedy=remedy)
    if isinstance(error, RuntimeError):
        remedy = "a larger max_trips, or a test that ends the loop sooner"
        return TripsError(str(error), where=where, remedy=remedy)
    return OptionError(str(error), where=where, types=types)
