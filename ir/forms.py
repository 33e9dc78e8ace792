"""Linear forms of integers that are known only when they are run, and bounds of them.

A form is linear in symbols, which stand for what is not known: a loop's index, a number that was
read. A symbol has bounds that are forms of older symbols, as ``j`` in ``for j in range(i)`` is at
most ``i - 1``; a form's own bound follows by putting them in, the youngest symbol first, as
Fourier and Motzkin eliminate variables.

Machine integers wrap: they are the forms modulo 2⁶⁴. So a form that is within an axis is the index,
whatever wrapped on the way; what a comparison says of a form holds if that cannot have wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

#: magnitudes up to which a form has certainly not wrapped
_SAFE = 1 << 62


@dataclass(frozen=True, eq=False)
class Symbol:
    """An integer of which no more is known than that it is within bounds, each of them a form.

    ``positive`` is the form that it is, if it is positive. All are over symbols of less ``rank``.
    """

    low: tuple[Form, ...] = ()
    high: tuple[Form, ...] = ()
    positive: Form | None = None
    rank: int = field(init=False)

    def __post_init__(self) -> None:
        above = (*self.low, *self.high, *([self.positive] if self.positive else []))
        ranks = [symbol.rank for form in above for symbol in form.terms]
        object.__setattr__(self, "rank", 1 + max(ranks, default=0))


@dataclass(frozen=True)
class Form:
    """``constant + Σ coefficient·symbol`` over the integers."""

    constant: int
    terms: Mapping[Symbol, int] = field(default_factory=dict)

    def plus(self, other: Form, times: int = 1) -> Form:
        """The sum with a multiple of another form."""
        terms = dict(self.terms)
        for symbol, c in other.terms.items():
            terms[symbol] = terms.get(symbol, 0) + times * c
        left = {symbol: c for symbol, c in terms.items() if c}
        return Form(self.constant + times * other.constant, left)

    def most(self) -> int | None:
        """What it is not above; None if no such number is known."""
        if not self.terms:
            return self.constant
        symbol = max(self.terms, key=lambda s: s.rank)
        c = self.terms[symbol]
        rest = self.plus(Form(0, {symbol: 1}), -c)
        bounds = symbol.high if c > 0 else symbol.low
        found = [m for bound in bounds if (m := rest.plus(bound, c).most()) is not None]
        return min(found, default=None)

    def least(self) -> int | None:
        """What it is not below; None if no such number is known."""
        most = Form(0).plus(self, -1).most()
        return None if most is None else -most

    def is_zero(self) -> bool | None:
        """Whether it is zero; None if that is not known."""
        if not self.terms:
            return self.constant == 0
        low, high = self.least(), self.most()
        apart = (low is not None and low > 0) or (high is not None and high < 0)
        return False if apart else None

    def exact(self) -> bool:
        """Whether the machine's integer is surely the form itself."""
        if self.constant == 0 and list(self.terms.values()) == [1]:
            return True
        low, high = self.least(), self.most()
        return low is not None and high is not None and low > -_SAFE and high < _SAFE


ZERO = Form(0)


def symbol(*, low: Sequence[Form] = (), high: Sequence[Form] = ()) -> Form:
    """A new symbol."""
    return Form(0, {Symbol(tuple(low), tuple(high)): 1})


def index_of(count: Form | None) -> Symbol:
    """The index of a loop that runs so often, if that is known, with its bounds in an iteration."""
    last: Form | None = None
    if count is not None:
        trips = _positive(count)
        last = trips.plus(Form(1), -1) if trips.exact() else None
    return Symbol((ZERO,), () if last is None else (last,))


def _positive(form: Form) -> Form:
    """What a form is if it is positive."""
    if form.constant == 0 and list(form.terms.values()) == [1]:
        (one,) = form.terms
        return one.positive or form
    return form


# -- arithmetic ----------------------------------------------------------------------------------


def _product(x: Form, y: Form) -> Form | None:
    if x.terms and y.terms:
        return None
    factor, form = (y, x) if x.terms else (x, y)
    return ZERO.plus(form, factor.constant)


def _maximum(x: Form, y: Form) -> Form | None:
    if not (x.exact() and y.exact()):
        low = tuple(form for form in (x, y) if not form.terms)
        return Form(0, {Symbol(low): 1})
    for one, other in ((x, y), (y, x)):
        least = one.plus(other, -1).least()
        if least is not None and least >= 0:
            return one
    positive = x if y == ZERO else y if x == ZERO else None
    return Form(0, {Symbol((x, y), (), positive): 1})


def _minimum(x: Form, y: Form) -> Form | None:
    if not (x.exact() and y.exact()):
        return None
    for one, other in ((x, y), (y, x)):
        most = one.plus(other, -1).most()
        if most is not None and most <= 0:
            return one
    return symbol(high=(x, y))


def _remainder(x: Form, y: Form) -> Form | None:
    if y.terms or y.constant <= 0:
        return None
    return symbol(low=(ZERO,), high=(Form(y.constant - 1),))


#: the forms of what ops on integers give, None where that is not linear
RULES: dict[str, Callable[..., Form | None]] = {
    "add": lambda x, y: x.plus(y),
    "sub": lambda x, y: x.plus(y, -1),
    "neg": lambda x: ZERO.plus(x, -1),
    "mul": _product,
    "maximum": _maximum,
    "minimum": _minimum,
    "mod": _remainder,
    "copy": lambda x: x,
    "reshape": lambda x: x,
}
