"""Settings of the whole process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Settings:
    """``jit``: compile to native code; without it the interpreter runs each node by itself."""

    jit: bool = True


_settings = Settings(jit=os.environ.get("GRADC_DISABLE_JIT", "0") in ("", "0"))
_listeners: list[Callable[[], None]] = []


def settings() -> Settings:
    """The settings now in force."""
    return _settings


def on_change(listener: Callable[[], None]) -> None:
    """Have ``listener`` called after every change of a setting."""
    _listeners.append(listener)


def _install(new: Settings) -> None:
    global _settings
    _settings = new
    for listener in _listeners:
        listener()


class Restore:
    """What :func:`config` returns: as a context manager it puts the settings back at the end."""

    def __init__(self, before: Settings) -> None:
        self._before = before

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _install(self._before)


def config(*, jit: bool | None = None) -> Restore:
    """Change settings for the whole process, or for a block.

    ``jit=False`` runs compiled functions node by node in NumPy, where a debugger and a profiler see
    every step; the environment variable ``GRADC_DISABLE_JIT=1`` does it from the start.
    What is left out stays as it is.

    >>> import gradc
    >>> square = gradc.compile(lambda x: x * x)
    >>> with gradc.config(jit=False):
    ...     float(square(3.0))
    9.0
    """
    before = _settings
    _install(before if jit is None else replace(before, jit=jit))
    return Restore(before)


def set_num_threads(count: int) -> None:
    """Let compiled functions use up to ``count`` threads, the caller's among them, from now on.

    Only long work is shared out, and its results do not depend on the number, to the last bit. The
    default is ``GRADC_NUM_THREADS`` from the environment, else one for each core that the process
    may run on. Products of very large matrices are BLAS's, which counts its threads itself
    (``OPENBLAS_NUM_THREADS``). Raises ValueError unless ``count`` is from 1 to 256.

    >>> import gradc
    >>> gradc.set_num_threads(2)
    >>> gradc.get_num_threads()
    2
    """
    from gradc.codegen import threads

    threads.set_num_threads(count)


def get_num_threads() -> int:
    """How many threads compiled functions may use, the caller's among them.

    Raises ValueError if ``GRADC_NUM_THREADS`` asks for what cannot be.
    """
    from gradc.codegen import threads

    return threads.num_threads()
