"""The declaration of an op, and the families that supply what their members share.

An op is one declaration: type rule, NumPy meaning, derivative, lowering and samples for the tests
stand together. The family turns the one derivative rule into both modes:

=========== ======================================= =========================
family      the rule                                serves
=========== ======================================= =========================
elementwise the partial in each operand             forward and reverse
linear      its transpose                           forward (itself), reverse
bilinear    the transpose in each operand           both
other       both written out                        both
=========== ======================================= =========================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradc.ir.graph import Value
from gradc.ir.ops.conditions import Conditions
from gradc.ir.ops.cotangent import Cotangent, Linear, Masked
from gradc.ir.types import BOOL, TensorType

Attrs = Mapping[str, Any]
Infer = Callable[[Sequence[TensorType], Attrs], TensorType]
#: (operands, result, attrs, tangents or None) -> tangent of the result, None for zero
Jvp = Callable[[Sequence[Value], Value, Attrs, Sequence["Value | None"]], "Value | None"]
#: (operands, result, attrs, cotangent, needed) -> cotangent of each operand, None for zero; those
#: not needed may be None too
Vjp = Callable[
    [Sequence[Value], Value, Attrs, Cotangent, Sequence[bool]], Sequence["Cotangent | None"]
]
#: a partial derivative: (operands..., result) -> a value, a number, or a masked value
Partial = Callable[..., "Value | float | Masked"]


@dataclass(frozen=True)
class Sample:
    """Operands for the tests of an op: shapes, attributes, and the range values are drawn from.

    ``dtypes`` fixes operands that are not of the dtype under test (a condition, an index).
    """

    shapes: tuple[tuple[int, ...], ...]
    attrs: Attrs = field(default_factory=dict)
    domain: tuple[tuple[float, float], ...] = ()
    dtypes: tuple[str | None, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One operation of the IR.

    name: its name in dumps.
    family: elementwise, linear, bilinear, reduction, index, source, effect, control or random.
    kinds: the kinds of dtype it takes (NumPy's letters among "biuf").
    infer: operand types and attributes to result type; raises TypeError or ValueError.
    numpy: its meaning, on arrays, with the attributes as keywords.
    jvp, vjp: derivatives (None: the op has none, its result is locally constant).
    lower: elementwise only: the scalar expression, over :class:`gradc.ir.scalar.Scalar`;
        None when the op is a scalar primitive of the same name.
    samples: operands for the tests.
    effect: kept for what it does.
    """

    name: str
    family: str
    infer: Infer
    numpy: Callable[..., Any]
    kinds: str = "biuf"
    jvp: Jvp | None = None
    vjp: Vjp | None = None
    lower: Callable[..., Any] | None = None
    samples: tuple[Sample, ...] = ()
    effect: bool = False

    def __post_init__(self) -> None:
        if self.name in REGISTRY:
            raise ValueError(f"op {self.name} is declared twice")
        REGISTRY[self.name] = self

    def __call__(self, *operands: Value, **attrs: Any) -> Value:
        """Append the op to the operands' graph."""
        return operands[0].builder.add(self, operands, **attrs)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


#: every op, by name
REGISTRY: dict[str, Op] = {}


def add_cotangents(a: Value | None, b: Value | None) -> Value | None:
    """Sum where either may be zero."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def constant_number(value: Value) -> float | None:
    """The number a value has in every element, seen through broadcasts; None if it is not one."""
    node = value.node
    while node.op.name in ("broadcast", "reshape"):
        node = value.builder.nodes[node.operands[0]]
    if node.op.name != "const" or node.attrs["value"].size != 1:
        return None
    number: float = node.attrs["value"].item()
    return number


# -- elementwise ---------------------------------------------------------------------------------


def _times(tangent: Value, partial: Value | float | Masked) -> Value | None:
    """tangent · partial, masks applied after the product."""
    from gradc.ir import ops

    if isinstance(partial, Masked):
        inner = _times(tangent, partial.value)
        return inner and ops.where(partial.condition, inner, ops.full_like(inner, 0))
    if isinstance(partial, Value):
        node = tangent.node
        if node.op.name == "where" and constant_number(tangent.operands[2]) == 0:
            condition, taken, zero = tangent.operands
            return ops.where(condition, taken * partial, zero)
        return tangent * partial
    if partial == 0:
        return None
    if partial == 1:
        return tangent
    return -tangent if partial == -1 else tangent * partial


def _elementwise_jvp(partials: Sequence[Partial | None]) -> Jvp:
    def jvp(
        operands: Sequence[Value], result: Value, _: Attrs, tangents: Sequence[Value | None]
    ) -> Value | None:
        total: Value | None = None
        for partial, tangent in zip(partials, tangents, strict=True):
            if partial is not None and tangent is not None:
                total = add_cotangents(total, _times(tangent, partial(*operands, result)))
        return total

    return jvp


def _elementwise_vjp(partials: Sequence[Partial | None]) -> Vjp:
    def vjp(
        operands: Sequence[Value],
        result: Value,
        _: Attrs,
        cotangent: Cotangent,
        needed: Sequence[bool],
    ) -> list[Cotangent | None]:
        return [
            cotangent.times(partial(*operands, result)) if partial and need else None
            for partial, need in zip(partials, needed, strict=True)
        ]

    return vjp


def elementwise(
    name: str,
    numpy: Callable[..., Any],
    partials: Sequence[Partial | None] = (),
    *,
    kinds: str = "f",
    result: str = "same",
    lower: Callable[..., Any] | None = None,
    arity: int = 0,
    domain: Sequence[tuple[float, float]] = (),
) -> Op:
    """Declare an elementwise op.

    ``partials`` has one entry for each operand: a function of the operands and the result, or None
    where the op is locally constant. ``result`` is "same" or "bool". ``domain`` is where the
    tests draw each operand from.
    """
    arity = arity or len(partials)

    def infer(types: Sequence[TensorType], attrs: Attrs) -> TensorType:
        first = types[0]
        if len(types) != arity:
            raise TypeError(f"{name} takes {arity} operands, not {len(types)}")
        weak = first.weak
        for t in types:
            if t is not first:
                if (t.dtype, t.shape) != (first.dtype, first.shape):
                    raise TypeError(f"{name}: operands differ: {', '.join(map(str, types))}")
                weak = weak and t.weak
        if first.dtype.kind not in kinds:
            raise TypeError(f"{name} is not defined for {first.dtype}")
        if result == "bool":
            return TensorType(BOOL, first.shape)
        return first if weak == first.weak else TensorType(first.dtype, first.shape, weak)

    differentiable = any(p is not None for p in partials)
    shapes: tuple[tuple[int, ...], ...] = ((), (1,), (5,), (2, 3), (17,), (0,), (3, 0), (4, 33))
    return Op(
        name=name,
        family="elementwise",
        infer=infer,
        numpy=numpy,
        kinds=kinds,
        jvp=_elementwise_jvp(partials) if differentiable else None,
        vjp=_elementwise_vjp(partials) if differentiable else None,
        lower=lower,
        samples=tuple(Sample((s,) * arity, domain=tuple(domain)) for s in shapes),
    )


# -- linear and bilinear -------------------------------------------------------------------------

#: (cotangent, operand types, attrs) -> the cotangent of one operand
Transpose = Callable[[Value, Sequence[TensorType], Attrs], Value]


def linear(
    name: str,
    infer: Infer,
    numpy: Callable[..., Any],
    transpose: Callable[[Value, Sequence[Value], Attrs], Sequence[Value | None]],
    *,
    kinds: str = "biuf",
    operands: int | None = 1,
    under: Callable[[Cotangent, Linear], list[Cotangent | None]] = Cotangent.mixed,
    samples: tuple[Sample, ...] = (),
) -> Op:
    """Declare an op linear in its first ``operands`` operands (None: all), jointly.

    ``transpose(cotangent, operands, attrs)`` gives the cotangent of each linear operand, and
    ``under`` says what that does to a mask. The tangent is the op itself on the tangents, zeros
    where an operand has none.
    """

    def jvp(
        values: Sequence[Value], result: Value, attrs: Attrs, tangents: Sequence[Value | None]
    ) -> Value:
        from gradc.ir import ops

        count = len(values) if operands is None else operands
        moved = [
            (t if t is not None else ops.full_like(v, 0)) if k < count else v
            for k, (v, t) in enumerate(zip(values, tangents, strict=True))
        ]
        return REGISTRY[name](*moved, **attrs)

    def vjp(
        values: Sequence[Value],
        result: Value,
        attrs: Attrs,
        cotangent: Cotangent,
        needed: Sequence[bool],
    ) -> list[Cotangent | None]:
        out = under(cotangent, lambda ct: transpose(ct, values, attrs))
        return out + [None] * (len(values) - len(out))

    return Op(
        name=name, family="linear", infer=infer, numpy=numpy, kinds=kinds, jvp=jvp, vjp=vjp,
        samples=samples,
    )


def bilinear(
    name: str,
    infer: Infer,
    numpy: Callable[..., Any],
    transposes: tuple[
        Callable[[Value, Value, Attrs], Value], Callable[[Value, Value, Attrs], Value]
    ],
    narrow: Callable[[Conditions, Value, int, Sequence[Value], Attrs], Value | None],
    *,
    kinds: str = "biuf",
    samples: tuple[Sample, ...] = (),
) -> Op:
    """Declare an op linear in each of two operands.

    ``transposes[k](cotangent, other operand, attrs)`` is the cotangent of operand k, and
    ``narrow(known, condition, k, operands, attrs)`` the condition for its elements, if it is one
    for all of the result that an element enters.
    """

    def jvp(
        values: Sequence[Value], result: Value, attrs: Attrs, tangents: Sequence[Value | None]
    ) -> Value | None:
        (a, b), (da, db) = values, tangents
        op = REGISTRY[name]
        left = None if da is None else op(da, b, **attrs)
        right = None if db is None else op(a, db, **attrs)
        return add_cotangents(left, right)

    def vjp(
        values: Sequence[Value],
        result: Value,
        attrs: Attrs,
        cotangent: Cotangent,
        needed: Sequence[bool],
    ) -> list[Cotangent | None]:
        others = (values[1], values[0])
        return cotangent.weighted(
            lambda ct: [
                transpose(ct, other, attrs) if need else None
                for transpose, other, need in zip(transposes, others, needed, strict=True)
            ],
            lambda condition, k: narrow(cotangent.known, condition, k, values, attrs),
        )

    return Op(
        name=name, family="bilinear", infer=infer, numpy=numpy, kinds=kinds, jvp=jvp, vjp=vjp,
        samples=samples,
    )
