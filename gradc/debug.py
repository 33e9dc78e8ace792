"""Printing from inside compiled code."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any

import numpy as np

from gradc.context import current
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.tracer import Tracer
from gradc.tree import flatten, unflatten

_HOLE = re.compile("\0([0-9]+)\0")


def debug_print(format: str, *args: Any, **kwargs: Any) -> None:
    """Print a line each time the compiled code runs, in the order of the program.

    ``format`` is filled as by ``str.format``, with arrays where traced values stand, in tuples,
    lists, dicts and dataclasses too. Outside a trace it prints at once.

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
            holes: list[Value] = []
            shown = formatter.convert_field(_known(field, holes), conversion)
            parts = _HOLE.split(formatter.format_field(shown, spec))
            for part, hole in zip(parts[::2], [*parts[1::2], None], strict=True):
                text.append(_escaped(part))
                if hole is not None:
                    values.append(holes[int(hole)])
                    text.append("{!r}")
    return "".join(text), values


class _Hole:
    """Stands for a traced value in a structure until the compiled code runs."""

    def __init__(self, position: int) -> None:
        self.position = position

    def __repr__(self) -> str:
        return f"\0{self.position}\0"


def _known(field: Any, holes: list[Value]) -> Any:
    """A field with arrays for constants and holes for traced values."""
    leaves, tree = flatten(field)
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, Tracer):
            if leaf.is_constant:
                leaves[k] = np.asarray(leaf.array())
            else:
                leaves[k] = _Hole(len(holes))
                holes.append(leaf.value)
    return unflatten(tree, leaves) if any(isinstance(x, (_Hole, np.ndarray)) for x in leaves) else (
        field
    )


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
