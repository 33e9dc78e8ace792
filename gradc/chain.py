"""The entry points of a function: native code that takes its calls as they are made."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradc.forms import form_of

if TYPE_CHECKING:
    from gradc.codegen.callable import Entry
    from gradc.codegen.form import Form
    from gradc.dispatch import Specialization
    from gradc.lowering import Function
    from gradc.signature import Call

#: the most entry points that a call may have to try
MANY = 16


class Chain:
    """Entry points, each for a form of call to a specialisation, safe to use from many threads.

    Each hands what it does not fit to the next, the last one to Python.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self._lock = threading.Lock()
        self._entries: dict[tuple[Specialization, Form], Entry] = {}
        self._seen: set[tuple[Specialization, Form]] = set()

    @property
    def first(self) -> Entry | None:
        """The entry point that calls begin with."""
        return next(iter(self._entries.values()), None)

    def clear(self) -> None:
        """Forget all entry points; calls under way keep their own."""
        with self._lock:
            self._entries = {}
            self._seen = set()

    def add(
        self, found: Specialization, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> bool:
        """Have calls of this form go straight to the native code of ``found``.

        An entry point that has to be compiled is worth it only for a form that returns: it is
        made at the second call. False while that is to come.
        """
        if len(self._entries) == MANY:
            return True
        types, inputs = found.signature.types, found.lowered.inputs
        form = form_of(self.function, args, kwargs, call, types, inputs)
        if form is None or (found, form) in self._entries:
            return True
        entry = found.native.entry_of(form)
        if entry is None:
            with self._lock:
                if (found, form) not in self._seen:
                    self._seen.add((found, form))
                    return False
            entry = found.native.front(form)
        with self._lock:
            chain = list(self._entries.values())
            if entry is not None and (found, form) not in self._entries and len(chain) < MANY:
                if chain:
                    chain[-1].link(entry)
                self._entries[found, form] = entry
        return True
