"""Rewritten functions in which nothing is traced do exactly what the originals do."""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import traceback

import numpy as np
import pytest

from gradc.syntax.convert import call, family

TOP = [1]


def nested_loops(n):
    out = []
    for i in range(n):
        for j in range(i, n):
            if (i + j) % 3 == 0:
                continue
            if j > 5:
                break
            out.append((i, j))
        else:
            out.append(i)
    while n:
        n -= 1
        if n == 2:
            break
    else:
        out.append("ended")
    return out, n, i


def returns_from_inside(n):
    for i in range(n):
        for j in range(n):
            try:
                if i * j == 6:
                    return i, j
            finally:
                TOP[0] += 1
    return None


def tries(n):
    log = []
    for k in range(n):
        try:
            if k == 1:
                continue
            if k == 2:
                raise KeyError(k)
            log.append(10 / (k - 3))
        except KeyError as error:
            log.append(repr(error))
        except ZeroDivisionError:
            log.append("zero")
            if n > 5:
                break
        else:
            log.append("fine")
        finally:
            log.append(k)
    return log


def withs(n):
    log = []

    @contextlib.contextmanager
    def noted(name):
        log.append(f"+{name}")
        yield name
        log.append(f"-{name}")

    for k in range(n):
        with noted(k) as a, noted("b"):
            if a == 1:
                continue
            if a == 3:
                return log
    return log


def comprehensions(n):
    squares = [i * j for i in range(n) if i % 2 for j in range(i) if not j]
    table = {i: (i if i > 2 else -i) for i in range(n)}
    return squares, table, {i for i in range(n) if 0 < i < 4}, sum(i for i in range(n)), max(
        [i and n for i in range(1, n)], default=7)


def closures(n):
    total = 0

    def add(x, /, y=2, *rest, z=3, **more):
        nonlocal total
        if x > 1:
            total += x * y + z
        return total

    values = [add(i) for i in range(n)]
    add(5, 6, z=7)
    return total, values, [f() for f in [lambda k=k: k if k else n for k in range(3)]]


def targets(n):
    a, *b, (c, d) = [n, 1, 2, 3, (4, 5)]
    first, *_ = out = [0] * 4
    holder = type("Holder", (), {})()
    holder.x = {"k": [1, 2, 3]}
    for out[n % 4], holder.y in [(7, 8), (9, 10)]:
        holder.x["k"][1] += out[n % 4]
        a += holder.y
    for i, (j, *k) in enumerate(zip("abc", [1, 2, 3], [4, 5, 6], strict=True)):
        a += i * len(j * k[0])
    return a, b, c, d, first, out, holder.x, holder.y, j, k


def walruses(n):
    out = []
    while (m := n // 2) > 0 and (half := m + 1):
        out.append((m, half))
        n = m
    if (last := len(out)) > 1 or (never := 3):
        out.append(last)
        never = 2
    return out, [y for x in range(4) if (y := x * x) > 1], y, never


def deletes(n):
    a = b = n
    if n > 2:
        del a
    for k in range(2):
        del b
        b = k
    try:
        return a, b
    except UnboundLocalError as error:
        return type(error).__name__, b


def matches(n):
    out = []
    for item in [n, (1, n), {"a": n}, "x", [1, 2, 3]]:
        match item:
            case int(k) if k > 3:
                out.append(("int", k))
            case (1, k):
                out.append(("pair", k))
                continue
            case {"a": k, **rest}:
                out.append((k, rest))
            case [first, *others]:
                out += first, others
                break
            case _:
                out.append("else")
    return out, k


def classes(n):
    class Counter:
        count = n if n else -1
        values = [i for i in range(3)]

        def __init__(self):
            self.__hidden = 0

        def more(self):
            for _ in range(n):
                self.__hidden += 1 if self.__hidden < 3 else 2
            return self.__hidden

    counter = Counter()
    return counter.more(), Counter.count, Counter.values, sorted(vars(counter))


def globals_(n):
    global SEEN
    SEEN = 0
    for k in range(n):
        if k % 2:
            SEEN += k
    return SEEN


def generators(n):
    def up_to(m):
        for i in range(m):
            if i == 3:
                return
            got = yield i
            if got:
                yield -got

    gen = up_to(n)
    return list(up_to(n)), next(gen), next(gen, None), [*(i for i in up_to(2))]


def chains(n):
    log = []

    def say(x):
        log.append(x)
        return x

    return (say(1) < say(n) < say(3), say(0) and say(2), say(0) or say(n) or say(9), not say(n),
            say(1) < say(2) == say(2) != say(n), 2 in [1, 2] in [[1, 2]], n is not None is not True,
            say(5) if say(n) else say(6), log)


def iterables(n):
    out = []
    for i, x in enumerate(reversed(range(n)), start=2):
        out.append((i, x))
    for a, b in zip(range(n), range(10, 10 + n), strict=False):
        out.append((a, b))
    for letter in "ab" * n:
        out.append(letter)
    for key, value in {"a": n}.items():
        out.append((key, value))
    for row in np.arange(6).reshape(3, 2):
        out.append(row.tolist())
    rest = iter(range(n))
    for x in rest:
        if x == 2:
            break
    return out, list(rest)


def names_of_ours(n):
    test, item = n, n
    for _ in range(1):
        if n:
            test += item
    return test, sorted(k for k in locals() if not k.startswith("gradc__"))


FUNCTIONS = [
    nested_loops, returns_from_inside, tries, withs, comprehensions, closures, targets, walruses,
    deletes, matches, classes, globals_, generators, chains, iterables, names_of_ours,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_same(function):
    new = call(function)
    assert new is not function
    for n in range(1, 9):
        assert new(n) == function(n)


class Base:
    def value(self, n):
        return 10 * n


class Derived(Base):
    __secret = 3

    def __init__(self, k=1):
        self.k = k

    def value(self, n):
        """Says."""
        if n > 2:
            return super().value(n) + self.__secret
        return [super(Derived, self).value(i) for i in range(n)] + [__class__.__name__]

    @classmethod
    def made(cls, n):
        return cls(n) if n else None

    def __call__(self, n, *, deep=0):
        return self.value(n) if n % 2 else self.made(n).k


def test_methods():
    one = Derived(4)
    for n in range(1, 6):
        assert call(one.value)(n) == one.value(n)
        assert call(one)(n, deep=1) == one(n, deep=1)
        assert type(call(Derived.made)(n)) is type(Derived.made(n))
        assert call(functools.partial(one, n))() == one(n)


def test_the_function_is_presented_as_the_original():
    cell = [0]

    def function(a, b=3, *, c: int = 5, **rest) -> float:
        """What it does."""
        nonlocal cell
        cell = cell + [1]
        return a if a > b else c

    function.mark = "x"
    new = call(function)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "mark",
                 "__kwdefaults__", "__globals__"):
        assert getattr(new, name) == getattr(function, name)
    assert new.__globals__ is function.__globals__
    assert new.__code__.co_firstlineno == function.__code__.co_firstlineno
    assert new.__code__.co_filename == __file__
    assert new(1) == 5 and cell == [0, 1]  # the very same cells
    assert call(new) is new


def test_lines_of_errors_are_the_users():
    def fails(n):
        for k in range(n):
            if k == 2:
                x = (1 /
                     (k - 2))
        return x

    def lines(function):
        try:
            function(3)
        except ZeroDivisionError:
            frames = traceback.extract_tb(sys.exc_info()[2])
            return [(f.filename, f.lineno, f.name) for f in frames if f.filename == __file__][1:]

    assert lines(fails) == lines(call(fails)) != []


def test_what_stays_as_it_is():
    def straight(x, w):
        y = x @ w
        return np.sum(y * y, axis=0)

    namespace: dict = {}
    exec("def made(x):\n    return 1 if x else 2\n", namespace)

    def steps():
        if TOP:
            yield 1

    for function in (straight, namespace["made"], steps, abs, np.sin, np.sum, copy.copy, int):
        assert call(function) is function
    assert "source is not available" in family(namespace["made"])


def test_several_lambdas_in_a_line():
    pair = (lambda x: 1 if x else 2, lambda x: 3 if x else 4); assert pair  # noqa: E702
    assert [call(f)(0) for f in pair] == [2, 4]
    inner = (lambda k: (lambda x: k if x else -k))(5)
    assert (call(inner)(1), call(inner)(0)) == (5, -5)
