"""Printing from inside compiled code."""

from __future__ import annotations

from string import Formatter
from typing import Any

import numpy as np

from gradc.context import current
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.tracer import Tracer


def debug_print(format: str, *args: Any, **kwargs: Any) -> None:
    """Print a line each time the compiled code runs, in the order of the program.

    ``format`` is filled as by ``str.format``, with arrays where traced values stand. Outside a
    trace it prints at once.

    >>> import gradc
    >>> @gradc.compile
    ... def f(x):
    ...     gradc.debug_print("x = {:.1f}", x)
    ...     return x * x
    >>> y = f(3.0)
    x = 3.0

    Raises IndexError and KeyError for a field that is not among the arguments.
    """
    context = current()
    if context is None:
        print(format.format(*args, **kwargs), flush=True)
        return
    text, values = _traced_format(format, args, kwargs)
    context.builder.add(ops.debug_print, values, format=text)


def _traced_format(
    format: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, list[Value]]:
    """The format with one field for each traced value, what is known already filled in."""
    formatter = Formatter()
    text: list[str] = []
    values: list[Value] = []
    automatic = 0
    for literal, name, spec, conversion in formatter.parse(format):
        text.append(_escaped(literal))
        if name is None:
            continue
        if not name or name[0] in ".[":
            name, automatic = f"{automatic}{name}", automatic + 1
        field, _ = formatter.get_field(name, args, kwargs)
        spec = formatter.vformat(spec or "", args, kwargs)
        if isinstance(field, Tracer) and not field.is_constant:
            values.append(field.value)
            convert = f"!{conversion}" if conversion else ""
            text.append("{" + convert + (f":{spec}" if spec else "") + "}")
        else:
            known = np.asarray(field.array()) if isinstance(field, Tracer) else field
            shown = formatter.convert_field(known, conversion)
            text.append(_escaped(formatter.format_field(shown, spec)))
    return "".join(text), values


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
