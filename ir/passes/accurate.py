"""Stable forms for naive ones.

Each rule gives the same value in exact arithmetic, and the true one where the naive form
overflows, divides infinity by infinity or cancels every digit. On a traced graph they are applied
before differentiation, so that the gradient is that of the stable form.

None may lose what the naive form had. What looks through a sum of rounded terms is therefore left
where the sum has other uses that may rely on its rounding, as Kahan's log1p does: with u = 1 + x,
log(u)·x/(u − 1) has every digit, as both functions are of the same wrong u. Sources: Higham,
*Accuracy and Stability of Numerical Algorithms*, 2002, § 1.14; Blanchard, Higham & Higham,
"Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021).
"""

from __future__ import annotations

import math

from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.passes.algebra import ALGEBRA
from gradc.ir.passes.exponentials import (
    MILD,
    Placement,
    exponent,
    guarded,
    is_shifted_sum,
    place,
    placed,
    shifted_sum,
    sum_of_exponentials,
    through_guards,
)
from gradc.ir.passes.patterns import Var, op, rule
from gradc.ir.passes.regions import REGIONS, gathered
from gradc.ir.passes.rewriter import Draft, Rewriter, Rule
from gradc.ir.passes.shifts import SHIFTS
from gradc.ir.passes.structure import STRUCTURE, is_op, local

x, y = Var("x"), Var("y")
exp, expm1, log, log1p = op("exp"), op("expm1"), op("log"), op("log1p")
sigmoid, softplus, tanh = op("sigmoid"), op("softplus"), op("tanh")

#: how many terms of a sum a rule takes
MAX_TERMS = 16


def _unshared(draft: Draft) -> bool:
    """Whether no other value is made from the rounded operand."""
    return not draft.builder.shared(draft.operands[0])


def _no_term(draft: Draft) -> bool:
    """Whether no sum or difference is made from the rounded operand: a quotient may be."""
    return draft.operands[0].id not in draft.builder.terms


# -- sums of exponentials ------------------------------------------------------------------------


@local("log", accurate=True)
def log_sum_exp(draft: Draft) -> Value | None:
    """log Σ w·exp(z) = m + log Σ w·exp(z − m), for mild weights."""
    found = sum_of_exponentials(draft.operands[0])
    if found is None:
        return None
    m, total = shifted_sum(*found)
    return m + ops.log(total)


def _terms(value: Value) -> list[Value]:
    """The summands of nested additions."""
    todo = [value]
    out: list[Value] = []
    while todo and len(out) + len(todo) <= MAX_TERMS:
        term = todo.pop()
        if is_op(term, "add"):
            todo += term.operands[::-1]
        else:
            out.append(term)
    return [] if todo else out


@local("log", accurate=True)
def log_add_exp(draft: Draft) -> Value | None:
    """log(exp(s) + exp(t) + ...), shifted by the largest."""
    (total,) = draft.operands
    if not is_op(total, "add") or not _no_term(draft):
        return None
    exponents = []
    for term in _terms(total):
        number = draft.builder.numbers[term.id]
        z = ops.full_like(term, math.log(number)) if number is not None and number > 0 else (
            exponent(term))
        if z is None:
            return None
        exponents.append(z)
    if not exponents or all(
        is_op(z, "sub") and is_op(through_guards(z.operands[1]), "maximum") for z in exponents
    ):
        return None
    m = exponents[0]
    for z in exponents[1:]:
        m = ops.maximum(m, z)
    m = guarded(m)
    out = ops.exp(exponents[0] - m)
    for z in exponents[1:]:
        out = out + ops.exp(z - m)
    return m + ops.log(out)


@local("div", accurate=True)
def softmax(draft: Draft) -> Value | None:
    """exp(t) / Σ exp(z), both shifted by the maximum of z."""
    numerator, denominator = draft.operands
    total, steps = placed(denominator)
    found = sum_of_exponentials(total)
    if found is None:
        return None
    t = exponent(numerator)
    if t is None:
        return None
    m, small = shifted_sum(*found)
    return ops.exp(t - place(m, steps)) / place(small, steps)


@local("mul", accurate=True)
def softmax_by_reciprocal(draft: Draft) -> Value | None:
    """exp(t) · (1 / Σ exp(z)) is the quotient."""
    for numerator, factor in (draft.operands, draft.operands[::-1]):
        inverse, steps = placed(factor)
        if not is_op(inverse, "div") or draft.builder.numbers[inverse.node.operands[0]] != 1:
            continue
        total, inner = placed(inverse.operands[1])
        if sum_of_exponentials(total) is not None and exponent(numerator) is not None:
            return numerator / place(total, inner + steps)
    return None


@local("mul", accurate=True)
def times_reciprocal(draft: Draft) -> Value | None:
    """y·(1/x) = y/x: one rounding, and no overflow where x is tiny."""
    for y, inverse in (draft.operands, draft.operands[::-1]):
        if is_op(inverse, "div") and not draft.builder.shared(inverse):
            one, x = inverse.operands
            if draft.builder.numbers[one.id] == 1:
                return y / x
    return None


# -- logarithms ----------------------------------------------------------------------------------


# A product of unlike factors is not split: where log(exp(t)·y) is near 0, t and log y cancel, and
# their own roundings, |t| times as large, are left. The quotients below cannot lose so.


@local("log", accurate=True)
def log_of_two(draft: Draft) -> Value | None:
    """log(exp(s)·exp(t)) = s + t and log(exp(s)/exp(t)) = s − t: the true value, rounded once."""
    (value,) = draft.operands
    if not (is_op(value, "mul") or is_op(value, "div")):
        return None
    s, t = (exponent(operand) for operand in value.operands)
    if s is None or t is None:
        return None
    return s + t if is_op(value, "mul") else s - t


@local("log", accurate=True)
def log_of_softmax(draft: Draft) -> Value | None:
    """log(exp(t)/Σ exp(z)) = t − log Σ exp(z) for shifted z.

    The sum of n terms, of which one is 1, has a logarithm between 0 and log n: where it cancels t,
    both are of moderate size.
    """
    (value,) = draft.operands
    if not is_op(value, "div"):
        return None
    numerator, denominator = value.operands
    t = exponent(numerator)
    if t is None or not is_shifted_sum(denominator):
        return None
    return t - ops.log(denominator)


@local("log", accurate=True)
def log_of_scaled_sum(draft: Draft) -> Value | None:
    """The logarithm of a mean of exponentials, or of another positive multiple of a sum.

    The factor is to be mild, or a number of terms: its logarithm is as moderate as the sum's.
    """
    (value,) = draft.operands
    if not (is_op(value, "mul") or is_op(value, "div")):
        return None
    total, factor = value.operands
    number = draft.builder.numbers[factor.id]
    if number is None and is_op(value, "mul"):
        total, factor = factor, total
        number = draft.builder.numbers[factor.id]
    base, steps = placed(total)
    terms = base.operands[0].type.size // max(base.type.size, 1) if is_op(base, "sum") else 1
    if number is None or not 1 <= MILD * terms * number <= (MILD * terms) ** 2:
        return None
    found = sum_of_exponentials(base)
    if found is not None:
        m, small = shifted_sum(*found)
        small = place(small, steps)
        scaled = small * number if is_op(value, "mul") else small / number
        return place(m, steps) + ops.log(scaled)
    if improved_log(base) is None:
        return None
    sign = 1 if is_op(value, "mul") else -1
    return place(ops.log(base), steps) + sign * math.log(number)


_LOGS: tuple[Rule, ...] = (
    rule("log_exp", log(exp(x)), x, accurate=True),
    rule("log_one_plus_exp", log(exp(x) + 1), softplus(x), given=_no_term, accurate=True),
    rule("log_sigmoid", log(sigmoid(x)), -softplus(-x), accurate=True),
    *log_of_two, *log_of_softmax, *log_of_scaled_sum, *log_sum_exp, *log_add_exp,
)


def improved_log(value: Value) -> Value | None:
    """A form of log(value) that is better than the logarithm of the value."""
    builder = value.builder
    assert isinstance(builder, Rewriter)
    draft = Draft(builder, ops.REGISTRY["log"], [value], {}, value.type)
    for rule_ in _LOGS:
        found = rule_.apply(draft)
        if found is not None:
            return found
    return None


@local("log", accurate=True)
def log_placed(draft: Draft) -> Value | None:
    """Take the logarithm before elements are picked or copied, where it has a better form there."""
    (value,) = draft.operands
    base, steps = placed(value)
    if not steps:
        return None
    if is_op(base, "div") and value.type.size <= base.type.size:
        t = exponent(base.operands[0])
        if t is not None and is_shifted_sum(base.operands[1]):
            return place(t, steps) - ops.log(_place_copies(base.operands[1], steps))
    better = improved_log(base)
    return None if better is None else place(better, steps)


def _place_copies(value: Value, steps: Placement) -> Value:
    """``place``, by gathers that skip copies: where the same indices are checked elsewhere."""
    for step, indices in steps:
        value = gathered(value, indices) if indices else place(value, [(step, indices)])
    return value


@local("log", accurate=True)
def log_where(draft: Draft) -> Value | None:
    """log(where(c, p, 1 − p)) is taken of each branch, where one of them has a better form."""
    (value,) = draft.operands
    if not is_op(value, "where"):
        return None
    condition, p, q = value.operands
    if improved_log(p) is None and improved_log(q) is None:
        return None
    return ops.where(condition, ops.log(p), ops.log(q))


@local("sub", "add", accurate=True)
def one_minus_sigmoid(draft: Draft) -> Value | None:
    """1 − σ(x) = σ(−x) and σ(x) − 1 = −σ(−x), wherever their elements have been placed."""
    numbers = draft.builder.numbers
    adds = draft.op.name == "add"
    for k, p in enumerate(draft.operands):
        number = numbers[draft.operands[1 - k].id]
        base, steps = placed(p)
        if number is None or not is_op(base, "sigmoid"):
            continue
        if number == (-1 if adds else 1):
            below = place(ops.sigmoid(-base.operands[0]), steps)
            return below if k == 1 and not adds else -below
    return None


def _other_base(name: str, scale: float) -> Rule:
    def apply(draft: Draft) -> Value | None:
        base, steps = placed(draft.operands[0])
        better = improved_log(base)
        return None if better is None else place(better * scale, steps)

    return Rule(f"{name}_improved", name, apply, accurate=True)


def _variable(x: Value) -> bool:
    return ops.constant_number(x) is None


_PATTERNS: tuple[Rule, ...] = (
    rule("tanh_of_exponentials", (exp(x) - exp(-x)) / (exp(x) + exp(-x)), tanh(x), accurate=True),
    rule("tanh_of_expm1", expm1(x) / (exp(x) + 1), tanh(x * 0.5), accurate=True),
    rule("tanh_of_minus_expm1", (0 - expm1(x)) / (exp(x) + 1), tanh(x * -0.5), accurate=True),
    rule("sigmoid_exp_over", exp(x) / (exp(x) + 1), sigmoid(x), accurate=True),
    rule("sigmoid_one_over", 1 / (exp(x) + 1), sigmoid(-x), accurate=True),
    rule("sigmoid_power", (exp(x) + 1) ** -1, sigmoid(-x), accurate=True),
    rule("sigmoid_over", y / (exp(x) + 1), y * sigmoid(-x), accurate=True),
    rule("sigmoid_of_two", exp(x) / (exp(x) + exp(y)), sigmoid(x - y), accurate=True),
    rule("softplus_log1p", log1p(exp(x)), softplus(x), accurate=True),
    rule("exp_minus_one", exp(x) - 1, expm1(x), accurate=True),
    rule("minus_one_plus_exp", exp(x) + -1, expm1(x), accurate=True),
    # 0 − y where it could be −y: the naive form gives +0 at x = 0.
    rule("one_minus_exp", 1 - exp(x), 0 - expm1(x), accurate=True),
    rule("log_one_plus", log(x + 1), log1p(x), when=_variable, given=_unshared, accurate=True),
    rule("log_one_minus", log(1 - x), log1p(0 - x), when=_variable, given=_unshared,
         accurate=True),
)

ACCURATE: tuple[Rule, ...] = (
    *softmax, *softmax_by_reciprocal, *one_minus_sigmoid, *times_reciprocal,
    *(r for r in _PATTERNS if r.op != "log"),
    *_LOGS, *log_placed, *log_where,
    *(r for r in _PATTERNS if r.op == "log"),
    _other_base("log2", 1 / math.log(2)), _other_base("log10", 1 / math.log(10)),
)

# What is written in one way only lets the rules above meet; none of these changes a gradient.
_NORMAL = ("neg_neg", "same_shape", "broadcast_broadcast", "broadcast_reshape", "reshape_reshape",
           "transpose_identity", "transpose_transpose", "convert_same", "slice_whole",
           "gather_constant", "gather_of_copies")
STABLE: tuple[Rule, ...] = (
    *(r for r in (*STRUCTURE, *REGIONS, *ALGEBRA) if r.name in _NORMAL),
    *SHIFTS, *ACCURATE,
)
