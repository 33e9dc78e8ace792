"""The conditions under which cotangents count (:mod:`gradc.ir.ops.cotangent`), each once."""

from __future__ import annotations

from typing import Any

from gradc.ir.graph import Builder, Node, Value
from gradc.ir.types import Shape

#: ids of conditions (of a :class:`Conditions`) that all hold
Mask = frozenset[int]
ALWAYS: Mask = frozenset()
_NEVER = (ALWAYS,)
#: ops taken apart when a condition is looked at; anything else is opaque
_STRUCTURE = ("logical_not", "bit_and", "bit_or", "broadcast", "reshape")
#: ops whose result holds what the first operand does; the further ones, zeros too
_PLACES = ("reshape", "broadcast", "transpose", "slice")
_MOVES = (*_PLACES, "embed", "update_slice")


class Conditions(Builder):
    """The conditions that one reverse sweep knows, each once, apart from the graph it extends.

    They go to the graph (:meth:`emit`) when a ``where`` needs them, which for most is never.
    """

    def __init__(self, graph: Builder) -> None:
        super().__init__("conditions")
        self.graph = graph
        self.guards: set[int] = set()
        self._once: dict[tuple[Any, ...], Value] = {}
        self._here: dict[int, Value] = {}
        self._there: dict[int, Value] = {}
        self._all: dict[Mask, Value] = {}
        self._cleared: dict[int, tuple[Mask, Value]] = {}
        self._negative: dict[int, tuple[Mask, Value]] = {}

    def _insert(self, node: Node) -> Value:
        simpler = self._simpler(node)
        if simpler is not None:
            return simpler
        key = node.key()
        if key not in self._once:
            self._once[key] = super()._insert(node)
        return self._once[key]

    def _simpler(self, node: Node) -> Value | None:
        """Negations last, so that they swap branches; one placing of elements instead of two."""
        if node.op.name not in _PLACES:
            return None
        operand = self.value(node.operands[0])
        inner = operand.operands[0] if operand.node.operands else operand
        if operand.node.op.name == "logical_not":
            return self.negate(self.add(node.op, [inner], **node.attrs).id)
        if operand.node.op.name == "broadcast" and inner.type.size == 1:
            return self.spread(self.shaped(inner, ()), node.type.shape)
        if operand.node.op.name == node.op.name == "reshape":
            return self.shaped(inner, node.type.shape)
        return None

    def look(self, value: Value) -> Value:
        """A value of the graph, as it is known here."""
        stack = [value.node]
        while stack:
            node = stack[-1]
            parts = node.operands if node.op.name in _STRUCTURE else ()
            missing = [self.graph.nodes[i] for i in parts if i not in self._here]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node.id not in self._here:
                made = self.input(str(node.id), node.type) if not parts else self.add(
                    node.op, [self._here[i] for i in parts], **node.attrs)
                self._here[node.id] = made
                self._there.setdefault(made.id, self.graph.value(node.id))
        return self._here[value.id]

    def emit(self, condition: Value) -> Value:
        """A condition as a value of the graph."""
        stack = [condition.node]
        while stack:
            node = stack[-1]
            missing = [self.nodes[i] for i in node.operands if i not in self._there]
            if missing and node.id not in self._there:
                stack += missing
                continue
            stack.pop()
            if node.id not in self._there:
                operands = [self._there[i] for i in node.operands]
                self._there[node.id] = self.graph.add(node.op, operands, **node.attrs)
        return self._there[condition.id]

    def negate(self, id_: int) -> Value:
        """The opposite of a condition."""
        from gradc.ir import ops

        condition = self.value(id_)
        if condition.node.op is ops.logical_not:
            return condition.operands[0]
        return ops.logical_not(condition)

    def all_of(self, mask: Mask) -> Value:
        """The conjunction of conditions (at least one), the oldest first."""
        from gradc.ir import ops

        rest, newest = mask, []
        while len(rest) > 1 and rest not in self._all:
            newest.append(max(rest))
            rest -= {newest[-1]}
        out = self._all[rest] if rest in self._all else self.value(min(rest))
        for id_ in reversed(newest):
            rest |= {id_}
            out = self._all[rest] = ops.bit_and(out, self.value(id_))
        return out

    def choose(self, mask: Mask, value: Value, other: Value) -> Value:
        """``where(mask, value, other)``, in the graph."""
        from gradc.ir import ops

        condition = self.all_of(mask)
        if condition.node.op is ops.logical_not and condition.id not in self._there:
            return ops.where(self.emit(condition.operands[0]), other, value)
        return ops.where(self.emit(condition), value, other)

    def clear(self, value: Value, mask: Mask) -> Value:
        """A value of the graph, zero wherever the mask does not hold."""
        from gradc.ir import ops

        if not mask:
            return value
        operand = value.operands[0].id if value.node.op is ops.neg else None
        if self._cleared.get(value.id, _NEVER)[0] != mask:
            # A difference leaves both g and −g: one of them is cleared, the other its negative.
            if operand is not None and self._cleared.get(operand, _NEVER)[0] == mask:
                zeroed = -self._cleared[operand][1]
            elif self._negative.get(value.id, _NEVER)[0] == mask:
                zeroed = -self._negative[value.id][1]
            else:
                zeroed = self.choose(mask, value, ops.full_like(value, 0))
            self._cleared[value.id] = mask, zeroed
            if operand is not None:
                self._negative[operand] = mask, zeroed
        return self._cleared[value.id][1]

    def narrowed(self, condition: Value, shape: Shape) -> Value | None:
        """The condition whose broadcast from ``shape`` this one is; None if it is none."""
        from gradc.ir import ops

        rank = len(condition.shape)
        if condition.node.op is ops.logical_not:
            one = self.narrowed(condition.operands[0], shape)
            return one and self.negate(one.id)
        if condition.node.op is ops.broadcast:
            condition = condition.operands[0]
        own = (1,) * (rank - len(condition.shape)) + condition.shape
        aligned = (1,) * (rank - len(shape)) + shape
        if any(d != 1 and kept == 1 for d, kept in zip(own, aligned, strict=True)):
            return None
        return self.spread(self.shaped(condition, own[rank - len(shape) :]), shape)

    def uniform(self, condition: Value) -> Value | None:
        """A scalar without which the condition holds nowhere, however it has been moved."""
        while True:
            one = self.narrowed(condition, (1,) * len(condition.shape))
            if one is not None:
                return self.shaped(one, ())
            if condition.node.op.name not in _MOVES:
                return None
            condition = condition.operands[0]

    def shaped(self, condition: Value, shape: Shape) -> Value:
        """Reshape, if it is not of that shape."""
        from gradc.ir import ops

        return condition if condition.shape == shape else ops.reshape(condition, shape=shape)

    def spread(self, condition: Value, shape: Shape) -> Value:
        """Broadcast, if it is not of that shape."""
        from gradc.ir import ops

        return condition if condition.shape == shape else ops.broadcast(condition, shape=shape)
