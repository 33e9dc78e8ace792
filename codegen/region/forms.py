"""What is known of a region's integers before it runs: their linear forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradc.codegen.region.stages import Body, Branch, Given, Loop, Number, Register, Scalar
from gradc.codegen.region.straight import Address, Straight
from gradc.codegen.statements import Buffer, Compute, Literal
from gradc.ir.forms import RULES, ZERO, Form, Symbol, index_of, symbol
from gradc.ir.types import I64


class Forms(dict[int, Form]):
    """The forms of a region's scalars, by number."""

    def __missing__(self, key: int) -> Form:
        self[key] = symbol()
        return self[key]

    def taken(self, given: Sequence[Given]) -> Forms:
        """Those that a region inside begins with."""
        return Forms({g.value: form for g in given if (form := self.of(g.scalar)) is not None})

    def of(self, scalar: Scalar | None) -> Form | None:
        """The form of an integer scalar."""
        match scalar:
            case Register(value):
                return self[value]
            case Number(number, dtype) if dtype.kind == "i":
                return Form(int(number))
            case Buffer():
                return symbol()
        return None

    def learn(self, statement: Any) -> None:
        """Take note of an integer that a statement computes."""
        match statement:
            case Literal(value, number, dtype) if dtype == I64:
                self[value] = Form(int(number))
            case Compute(value, node, operands) if node.type.dtype == I64:
                rule = RULES.get(node.op.name)
                found = rule(*(self[i] for i in operands)) if rule else None
                if found is not None:
                    self[value] = found

    def address(self, address: Address) -> Form:
        """The element that an address is, in its buffer."""
        total = ZERO
        for index, stride in zip(address.indices, address.strides, strict=True):
            total = total.plus(self[index], stride)
        return total


# -- stages with the forms of their scalars ------------------------------------------------------


@dataclass(frozen=True)
class Inside:
    """A loop's body: the forms of its scalars, its index, and the symbols that do not change."""

    forms: Forms
    index: Symbol
    steady: frozenset[Symbol]


def _index(loop: Loop, outer: Forms) -> Symbol:
    """The index of a loop."""
    if loop.test is not None:
        return index_of(Form(loop.limit) if loop.limit > 0 else None)
    return index_of(Form(loop.count) if loop.trips is None else outer.of(loop.trips))


def rewritten(
    stages: Sequence[Any],
    forms: Forms,
    *,
    straight: Callable[[Straight, Forms], Straight] = lambda stage, _: stage,
    loop: Callable[[Loop, Inside], Loop] = lambda stage, _: stage,
) -> list[Any]:
    """Stages with straight code and loops rewritten, those inside first."""

    def body(region: Body, forms: Forms) -> Body:
        made = rewritten(region.stages, forms, straight=straight, loop=loop)
        return replace(region, stages=tuple(made))

    out = []
    for stage in stages:
        match stage:
            case Straight(statements):
                for statement in statements:
                    forms.learn(statement)
                stage = straight(stage, forms)
            case Loop():
                taken = forms.taken(stage.body.given)
                index = _index(stage, forms)
                steady = frozenset(s for form in taken.values() for s in form.terms)
                taken[stage.index] = Form(0, {index: 1})
                stage = replace(stage, body=body(stage.body, taken))
                stage = loop(stage, Inside(taken, index, steady | {index}))
            case Branch():
                bodies = tuple(body(b, forms.taken(b.given)) for b in stage.bodies)
                stage = replace(stage, bodies=bodies)
        out.append(stage)
    return out
