"""Attributes of a Tracer that only a value has which is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradc.context import contexts
from gradc.conversions import ask_static

if TYPE_CHECKING:
    from gradc.tracer import Tracer

#: what may be asked of a constant in a trace: nothing that shares its memory
_HARMLESS = frozenset(("flags", "strides", "tobytes", "ctypes"))


def of_a_known_value(t: Any, name: str) -> tuple[Any] | None:
    """The attribute of an array or a Python number, if the value is known; else None.

    After its trace a constant is an array like any other.
    """
    tracer: Tracer = t
    if name.startswith("__"):
        return None
    if not tracer.is_constant:
        if not tracer.shape and hasattr(bool, name):
            ask_static(tracer)
        return None
    if name in _HARMLESS or not contexts():
        return (getattr(tracer.array(), name),)
    return None
