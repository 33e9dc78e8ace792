"""Cotangents that know where they may be anything.

Behind ``where(c, f(x), 0)`` the cotangent of f(x) is zero wherever c is false; but the partials of
f may be infinite there, or NaN, and a product with zero keeps a NaN. So reverse mode carries a
value *under a mask*: conditions that all hold where the cotangent counts. Products are formed
without the zeros, the same mask on both sides of a sum stays, and the zeros are put in once, by
:attr:`Cotangent.cleared`, where a rule mixes elements or a gradient is done. This is the
double-``where`` idiom, carried out by the compiler.

A mask may always be too weak (hold where the cotangent is zero all the same): what follows is
right, only less is kept out. Conditions come in two strengths. *Guards* are those of ``where``:
someone wrote them to keep something out, so they last through sums and broadcasts. Those of
partials (:class:`Masked`; which operand is the maximum) last while elements stay apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gradc.ir.graph import Value
from gradc.ir.ops.conditions import ALWAYS, Conditions, Mask

Values = Sequence["Value | None"]
#: a linear map: a value to one for each operand
Linear = Callable[[Value], Values]
#: a condition and the position of an operand -> the condition for that operand's elements
Narrow = Callable[[Value, int], "Value | None"]
#: conditions that a mask holds apart
_MANY = 16


@dataclass(frozen=True)
class Masked:
    """``where(condition, value, 0)`` as a partial: the mask is applied after the product.

    The branch that was not taken may hold an infinity or a NaN, which a product with zero would
    keep.
    """

    condition: Value
    value: Value | float = 1.0


@dataclass(frozen=True, eq=False)
class Cotangent:
    """A cotangent under a mask.

    ``mask``: the cotangent is zero where these conditions do not all hold. ``pending``: those of
    them that ``value`` does not obey yet; where they do not hold it may be anything.
    """

    value: Value
    known: Conditions
    mask: Mask = ALWAYS
    pending: Mask = ALWAYS

    @property
    def cleared(self) -> Value:
        """The value, its zeros put in."""
        return self.known.clear(self.value, self.pending)

    def under(self, condition: Value, *, holds: bool = True, guard: bool) -> Cotangent | None:
        """This where the condition holds (or does not), zero elsewhere; None for zero."""
        id_ = self.known.look(condition).id
        if not holds:
            id_ = self.known.negate(id_).id
        if guard:
            self.known.guards.add(id_)
        if id_ in self.mask:
            return self
        if self.known.negate(id_).id in self.mask:
            return None
        bounded = self if len(self.mask) < _MANY else self._as_one()
        return replace(self, mask=bounded.mask | {id_}, pending=bounded.pending | {id_})

    def _as_one(self) -> Cotangent:
        """The same under one condition: sets that grew with the depth would be quadratic."""
        one = frozenset({self.known.all_of(self.mask).id})
        if self._guards:
            self.known.guards.update(one)
        return replace(self, mask=one, pending=one if self.pending else ALWAYS)

    def times(self, partial: Value | float | Masked) -> Cotangent | None:
        """The product with a partial, elementwise; None for zero."""
        if isinstance(partial, Masked):
            inner = self.times(partial.value)
            return inner and inner.under(partial.condition, guard=False)
        if isinstance(partial, Value):
            # Where the cotangent is zero the partial may be infinite.
            return replace(self, value=self.value * partial, pending=self.mask)
        if partial == 0:
            return None
        if partial == 1:
            return self
        return replace(self, value=-self.value if partial == -1 else self.value * partial)

    def plus(self, other: Cotangent) -> Cotangent:
        """The sum: what the masks share stays, the rest is applied first."""
        from gradc.ir import ops

        known, shared = self.known, self.mask & other.mask
        pending = (self.pending | other.pending) & shared
        mine, others = self.mask - shared, other.mask - shared
        opposite = len(mine) == len(others) == 1 and known.negate(min(mine)).id in others
        if opposite and mine <= self.pending and others <= other.pending:
            value = known.choose(mine, self.value, other.value)
        else:
            value = (known.clear(self.value, self.pending - shared)
                     + known.clear(other.value, other.pending - shared))
        if mine and others and not opposite:
            either = ops.bit_or(known.all_of(mine), known.all_of(others)).id
            if not known.guards.isdisjoint(mine | others):
                known.guards.add(either)
            shared |= {either}
        return Cotangent(value, known, shared, pending)

    # -- linear maps, each to one cotangent for each operand of the op that is transposed

    def moved(self, linear: Linear) -> list[Cotangent | None]:
        """Apply a map that puts each element in one place or none, to the conditions too."""
        return self._carried(linear, self.mask, lambda condition, like: linear(condition))

    def copied(self, linear: Linear) -> list[Cotangent | None]:
        """Apply a map that copies elements, to the guards too."""
        return self._carried(linear, self._guards, lambda condition, like: linear(condition))

    def summed(self, linear: Linear) -> list[Cotangent | None]:
        """Apply the sum that undoes a broadcast: a guard lasts if it holds for any of the terms."""
        from gradc.ir import ops

        known, guards = self.known, self._guards
        values = linear(self.cleared)
        assert values[0] is not None
        shape = values[0].shape
        varying = frozenset(i for i in guards if not known.narrowed(known.value(i), shape))
        if len(varying) > 1:
            both = known.all_of(varying).id
            known.guards.add(both)
            guards = guards - varying | {both}

        def carry(condition: Value, like: Values) -> Values:
            one = known.narrowed(condition, shape)
            if one is None:
                lead = len(condition.shape) - len(shape)
                axes = (*range(lead), *(lead + k for k, d in enumerate(shape) if d == 1))
                one = known.shaped(ops.any_(condition, axes=axes), shape)
            return [one]

        return self._carried(lambda _: values, guards, carry)

    def mixed(self, linear: Linear, narrow: Narrow | None = None) -> list[Cotangent | None]:
        """Apply any map: a guard lasts if it is one for all that is added to an element.

        ``narrow(condition, k)`` is that of operand k, or None; by default, a guard that is one for
        all elements is found.
        """

        def carry(condition: Value, like: Values) -> Values:
            if narrow is not None:
                return [v and narrow(condition, k) for k, v in enumerate(like)]
            one = self.known.uniform(condition)
            return [one and v and self.known.spread(one, v.shape) for v in like]

        return self._carried(linear, self._guards, carry)

    def weighted(self, linear: Linear, narrow: Narrow | None = None) -> list[Cotangent | None]:
        """As :meth:`mixed`, a map with weights, which may be infinite behind a guard."""
        return [part and replace(part, pending=part.mask) for part in self.mixed(linear, narrow)]

    @property
    def _guards(self) -> Mask:
        return self.mask & self.known.guards

    def _carried(
        self, linear: Linear, lasting: Mask, carry: Callable[[Value, Values], Values]
    ) -> list[Cotangent | None]:
        values = linear(self.cleared)
        masks: list[set[int]] = [set() for _ in values]
        for id_ in sorted(lasting):
            for mask, condition in zip(masks, carry(self.known.value(id_), values), strict=True):
                if condition is not None:
                    mask.add(condition.id)
                    if id_ in self.known.guards:
                        self.known.guards.add(condition.id)
        return [
            None if value is None else Cotangent(value, self.known, frozenset(mask))
            for value, mask in zip(values, masks, strict=True)
        ]
