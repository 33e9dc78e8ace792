"""How far training is: a bar of tqdm where that is installed, else a line on standard error."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

#: seconds between two lines
EVERY = 0.25


class Progress:
    """Shows steps of ``total``. Use it as a context, and call :meth:`show` as often as you like."""

    def __init__(self, label: str, done: int, total: int, steps: int) -> None:
        self.label = label
        self.total = total
        self.steps = steps
        self._first = self._done = done
        self._started = self._last = time.monotonic()
        self._bar = self._tqdm()

    def _tqdm(self) -> Any:
        try:
            made = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            return None
        return made(
            total=self.total, initial=self._done, desc=self.label, unit="step", unit_scale=True
        )

    def __enter__(self) -> Progress:
        return self

    def show(self, done: int, loss: float, *, last: bool = False) -> None:
        """Show that so many steps are done, unless something was shown a moment ago."""
        now = time.monotonic()
        if now - self._last < EVERY and not last:
            return
        self._last = now
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4g}", refresh=False)
            self._bar.update(done - self._done)
        else:
            rate = (done - self._first) / max(now - self._started, 1e-9)
            epoch, epochs = min(done // self.steps + 1, self.total // self.steps), self.total
            text = (
                f"{self.label}: epoch {epoch}/{epochs // self.steps}, step {done}/{self.total}, "
                f"loss {loss:.4g}, {rate:.3g} steps/s"
            )
            end = "\n" if last or not sys.stderr.isatty() else ""
            start = "\r" if sys.stderr.isatty() else ""
            sys.stderr.write(f"{start}{text}{end}")
            sys.stderr.flush()
        self._done = done

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
