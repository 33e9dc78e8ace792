"""Rules as data: ``rule("mul_one", x * 1, x)``.

A pattern is written with Python's operators over variables, numbers and ops. A variable matches
any value (twice the same name: the same value), a number a constant of exactly that value (0 is
not −0.0) in every element, ``Const`` any such constant. Operands of commutative ops match in
either order. The right side is a pattern too, or a function of what was bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.passes.rewriter import NUMBER, Draft, Heads, Rewriter, Rule

Bindings = dict[str, Any]
#: ops whose operands a pattern may meet in either order
SYMMETRIC = frozenset("add mul maximum minimum fmax fmin eq ne bit_and bit_or bit_xor".split())


class Pattern:
    """An expression over values; Python's operators make larger ones."""

    def __add__(self, other: Pattern | float) -> Apply:
        return Apply("add", (self, lift(other)))

    def __radd__(self, other: float) -> Apply:
        return Apply("add", (lift(other), self))

    def __sub__(self, other: Pattern | float) -> Apply:
        return Apply("sub", (self, lift(other)))

    def __rsub__(self, other: float) -> Apply:
        return Apply("sub", (lift(other), self))

    def __mul__(self, other: Pattern | float) -> Apply:
        return Apply("mul", (self, lift(other)))

    def __rmul__(self, other: float) -> Apply:
        return Apply("mul", (lift(other), self))

    def __truediv__(self, other: Pattern | float) -> Apply:
        return Apply("div", (self, lift(other)))

    def __rtruediv__(self, other: float) -> Apply:
        return Apply("div", (lift(other), self))

    def __pow__(self, other: Pattern | float) -> Apply:
        return Apply("pow", (self, lift(other)))

    def __neg__(self) -> Apply:
        return Apply("neg", (self,))


@dataclass(frozen=True)
class Var(Pattern):
    """Any value."""

    name: str


@dataclass(frozen=True)
class Const(Pattern):
    """Any number, the same in every element; bound as a Python number."""

    name: str


@dataclass(frozen=True)
class Number(Pattern):
    """This number, in every element."""

    value: float


@dataclass(frozen=True)
class Apply(Pattern):
    """An op without attributes, of patterns."""

    op: str
    args: tuple[Pattern, ...]


def lift(x: Pattern | float) -> Pattern:
    """A Python number as a pattern."""
    return x if isinstance(x, Pattern) else Number(x)


def op(name: str) -> Callable[..., Apply]:
    """The op of this name as a function of patterns."""
    return lambda *args: Apply(name, tuple(lift(a) for a in args))


def same_number(a: Any, b: Any) -> bool:
    """Equal, and of equal sign at zero. A NaN is like no number."""
    return a is not None and a == b and math.copysign(1, a) == math.copysign(1, b)


def rule(
    name: str,
    pattern: Apply,
    replacement: Pattern | float | Callable[..., Value | None],
    *,
    when: Callable[..., bool] | None = None,
    given: Callable[[Draft], bool] | None = None,
    kinds: str = "biuf",
    relaxed: bool = False,
    accurate: bool = False,
) -> Rule:
    """A rewrite of ``pattern`` to ``replacement``, for operands of these ``kinds`` of dtype.

    ``replacement`` and ``when`` may be functions; they are given what the pattern's names were
    bound to as keywords: values for variables, numbers for constants. A replacement that is None
    leaves the node. ``given`` is a condition on the node.
    """
    variants = [(form, _heads(form)) for form in _orders(pattern)]
    if not callable(replacement) or isinstance(replacement, Pattern):
        target = lift(replacement)

    def apply(draft: Draft) -> Value | None:
        operands = draft.operands
        if operands[-1].dtype.kind not in kinds:
            return None
        for form, heads in variants:
            for operand, head in zip(operands, heads, strict=True):
                if head is not None and head != NUMBER and operand.node.op.name != head:
                    break
            else:
                bound: Bindings = {}
                if all(_match(draft.builder, p, v, bound)
                       for p, v in zip(form.args, operands, strict=True)) and (
                           when is None or when(**bound)) and (given is None or given(draft)):
                    if callable(replacement) and not isinstance(replacement, Pattern):
                        return replacement(**bound)
                    return build(target, bound, draft)
        return None

    every = tuple(dict.fromkeys(heads for _, heads in variants))
    return Rule(name, pattern.op, apply, relaxed, accurate, pattern, kinds, every)


def _heads(form: Apply) -> Heads:
    """What each operand must be, where the pattern says so: a quick test before the match."""
    return tuple(
        a.op if isinstance(a, Apply) else None if isinstance(a, Var) else NUMBER
        for a in form.args
    )


def _orders(pattern: Pattern) -> Iterator[Any]:
    """The pattern with the operands of its commutative ops in every order."""
    if not isinstance(pattern, Apply):
        yield pattern
        return
    seen = []
    for args in itertools.product(*(list(_orders(a)) for a in pattern.args)):
        forms = [args, args[::-1]] if pattern.op in SYMMETRIC else [args]
        for form in forms:
            if form not in seen:
                seen.append(form)
                yield Apply(pattern.op, tuple(form))


def _match(builder: Rewriter, pattern: Pattern, value: Value, bound: Bindings) -> bool:
    if isinstance(pattern, Var):
        return bool(bound.setdefault(pattern.name, value).id == value.id)
    if isinstance(pattern, Number):
        return same_number(builder.numbers[value.id], pattern.value)
    if isinstance(pattern, Const):
        number = builder.numbers[value.id]
        return number is not None and same_number(bound.setdefault(pattern.name, number), number)
    assert isinstance(pattern, Apply)
    node = value.node
    if node.op.name != pattern.op or node.fence:
        return False
    return all(_match(builder, p, builder.value(i), bound)
               for p, i in zip(pattern.args, node.operands, strict=True))


def build(pattern: Pattern, bound: Bindings, draft: Draft) -> Value:
    """Emit a right side. Its numbers take the dtype and shape of the operands of their op."""
    if isinstance(pattern, Var):
        value: Value = bound[pattern.name]
        return value
    if isinstance(pattern, Apply):
        values = [None if isinstance(a, (Number, Const)) else build(a, bound, draft)
                  for a in pattern.args]
        like = next((v for v in reversed(values) if v is not None), None)
        shape = draft.type.shape if like is None else like.shape
        dtype = draft.operands[-1].dtype if like is None else like.dtype
        return draft.builder.add(ops.REGISTRY[pattern.op], [
            full(draft.builder, _number(a, bound), dtype, shape) if v is None else v
            for a, v in zip(pattern.args, values, strict=True)])
    return full(draft.builder, _number(pattern, bound), draft.type.dtype, draft.type.shape)


def _number(pattern: Pattern, bound: Bindings) -> float:
    assert isinstance(pattern, (Number, Const))
    number: float = pattern.value if isinstance(pattern, Number) else bound[pattern.name]
    return number


def full(builder: Rewriter, number: float, dtype: Any, shape: tuple[int, ...]) -> Value:
    """A number in every element."""
    scalar = ops.const(builder, number, dtype)
    return ops.broadcast(scalar, shape=shape) if shape else scalar
