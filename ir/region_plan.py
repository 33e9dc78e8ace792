"""What the reverse of a node of control flow needs to know, and gives.

The forward part of a region also returns the *residuals* that the backward part reads, one element
an iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradc.ir import ops
from gradc.ir.graph import Node, Value, frozen
from gradc.ir.tapes import is_tape, zeros_like
from gradc.ir.types import TensorType, tuple_type

#: the running cotangent of an operand, by its position; what is returned is given up
Running = Callable[[int], "Value | None"]
#: arrays that a loop carries, by number
States = Mapping[int, Value]
#: the cotangents of operands, and arrays as they were before the loop
Pulled = tuple[list["Value | None"], States]


@dataclass(frozen=True)
class Use:
    """What is known of a node of control flow before its reverse.

    operands: which are active. results: which have a cotangent. begun: the operands to whose
    cotangent something else contributes before. lasting: those that are there in the reverse part
    without being kept for it. undo: the results whose writes are to be undone.
    """

    operands: Sequence[bool]
    results: Sequence[bool]
    begun: Sequence[bool]
    lasting: Sequence[bool]
    undo: Collection[int] = ()


class Plan:
    """How a node of control flow is run forward, its residuals returned, and backward."""

    def replaced(self, node: Node) -> Node:
        """The node that also returns the residuals, after its other results."""
        raise NotImplementedError

    def pull(
        self, value: Value, cotangents: Mapping[int, Value], running: Running, states: States
    ) -> Pulled:
        """The cotangent of each operand, from those of results by number.

        Also what carries were, by number, of which ``states`` says what they became.
        """
        raise NotImplementedError


def seeds(value: Value, cotangents: Mapping[int, Value], which: Sequence[int]) -> list[Value]:
    """Cotangents of results, zeros where there is none."""
    return [
        cotangents[k] if k in cotangents else zeros_like(ops.item_(value, index=k)) for k in which
    ]


def remade(node: Node, more: Sequence[TensorType], **attrs: Any) -> Node:
    """A node with other attributes and more results."""
    types = tuple_type([*node.type.items, *more])
    return node._replace(attrs=frozen({**node.attrs, **attrs}), type=types)


def small(type_: TensorType, trips: int) -> bool:
    """Whether a value takes no more memory than an element of it in each of so many iterations."""
    return not is_tape(type_) and type_.size <= max(trips, 1)
