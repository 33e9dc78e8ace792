"""Numbers that hide their values as traced ones do, and control flow that runs them.

With these in place rewritten code takes every way that it takes for traced values, yet computes
numbers, which can be compared with what Python computes.
"""

from __future__ import annotations

import operator
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

import gradc.syntax.loops
import gradc.syntax.sequences
import gradc.syntax.values as values


class Undefined:
    def __repr__(self):
        return "UNDEFINED"


UNDEFINED = Undefined()


class Hidden:
    """A number whose value Python must not ask for."""

    def __init__(self, value):
        self.value = reveal(value)

    def __bool__(self):
        raise TypeError("the truth of a hidden number")

    __index__ = __iter__ = __hash__ = __bool__

    def __repr__(self):
        return f"Hidden({self.value})"


def reveal(value):
    if isinstance(value, Hidden):
        return value.value
    if isinstance(value, (tuple, list)):
        return type(value)(map(reveal, value))
    if isinstance(value, dict):
        return {key: reveal(one) for key, one in value.items()}
    return value


def _lift(name):
    plain = getattr(operator, name, None)

    def method(self, *others):
        try:
            return Hidden(plain(self.value, *map(reveal, others)))
        except (ZeroDivisionError, OverflowError):
            return Hidden(0)  # what compiled code computes where it is not wanted

    def reflected(self, other):
        return method(Hidden(other), self)

    return method, reflected


for _name in "add sub mul truediv floordiv mod".split():
    _method, _reflected = _lift(_name)
    setattr(Hidden, f"__{_name}__", _method)
    setattr(Hidden, f"__r{_name}__", _reflected)
for _name in "lt le gt ge eq ne neg abs".split():
    setattr(Hidden, f"__{_name}__", _lift(_name)[0])
Hidden.__and__ = Hidden.__rand__ = lambda a, b: Hidden(bool(a.value) and bool(reveal(b)))
Hidden.__or__ = Hidden.__ror__ = lambda a, b: Hidden(bool(a.value) or bool(reveal(b)))


#: how many ways deep we are that are not taken
_dead = [0]


@contextmanager
def _not_taken(which):
    _dead[0] += which
    try:
        yield
    finally:
        _dead[0] -= which


def _hide(value):
    if isinstance(value, (bool, int, float)):
        return Hidden(value)
    if isinstance(value, tuple):
        return tuple(map(_hide, value))
    return value


def _one_of(first, then, otherwise):
    if isinstance(then, tuple) and isinstance(otherwise, tuple) and len(then) == len(otherwise):
        return tuple(_one_of(first, a, b) for a, b in zip(then, otherwise, strict=True))
    then, otherwise = _hide(then), _hide(otherwise)
    if isinstance(then, (Hidden, Undefined)) and isinstance(otherwise, (Hidden, Undefined)):
        return then if first else otherwise
    if then is UNDEFINED or otherwise is UNDEFINED:
        return then if otherwise is UNDEFINED else otherwise
    if then is not otherwise and then != otherwise:
        raise TypeError(f"{then!r} on one side, {otherwise!r} on the other")
    return then


def branched(pred, then, otherwise, state, names, *, forced=False):
    assert isinstance(pred, Hidden) and len(state) == len(names)
    first = bool(pred.value)
    with _not_taken(not first):
        one = then(state)
    with _not_taken(first):
        other = otherwise(state)
    return _one_of(first, tuple(one), tuple(other))


def repeated(test, body, state, names, *, max_trips=None, forced=False):
    assert len(state) == len(names)
    state = _hide(tuple(state))
    while True:
        going = test(state)
        taken = reveal(going) and not _dead[0]
        with _not_taken(not taken):
            after = body(state)  # traced in any case
        if not taken:
            return state
        state = _hide(tuple(after))


def counted(trips, body, state, names, *, forced=False, widens=True):
    assert len(state) == len(names)
    state = _hide(tuple(state))
    number = 0 if _dead[0] else reveal(trips)
    with _not_taken(1):
        body(Hidden(0), state)
    for i in range(number):
        state = _hide(tuple(body(Hidden(i), state)))
    return state


class Range:
    def __init__(self, *bounds):
        self.start, self.stop = bounds if len(bounds) == 2 else (0, bounds[0])
        self.step = 1

    @property
    def trips(self):
        return Hidden(max(0, reveal(self.stop) - reveal(self.start)))


CONTROL = SimpleNamespace(
    branched=branched, repeated=repeated, counted=counted, UNDEFINED=UNDEFINED,
    Undefined=Undefined, Range=Range)

_INSTEAD = {
    "is_traced": lambda value: isinstance(value, Hidden),
    "predicate": lambda value: Hidden(bool(value.value)),
    "as_index": lambda value: value,
    "is_count": lambda value: isinstance(reveal(value), int),
    "is_truth": lambda value: isinstance(reveal(value), bool),
    "where": lambda c, a, b: _one_of(bool(c.value), _hide(a), _hide(b)),
    "negated": lambda value: Hidden(not value.value),
    "blank_like": lambda value: value,
    "control": lambda: CONTROL,
}


@pytest.fixture
def hidden(monkeypatch):
    """Take hidden numbers for traced ones."""
    for name, instead in _INSTEAD.items():
        original = getattr(values, name)
        for module in [m for key, m in sys.modules.items() if key.startswith("gradc.syntax")]:
            if getattr(module, name, None) is original:
                monkeypatch.setattr(module, name, instead)
    monkeypatch.setattr(gradc.syntax.loops, "contexts", lambda: [SimpleNamespace(
        failure=None, request=None, guessed={})])
    monkeypatch.setattr(gradc.syntax.loops, "guess", lambda value: None)
