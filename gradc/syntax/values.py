"""What rewritten code asks of values: whether they are traced, their truth, their choice."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence, ValuesView
from functools import lru_cache
from types import CellType, FunctionType, ModuleType
from typing import Any

import numpy as np

from gradc.context import contexts
from gradc.conversions import ask_static, class_of, describe, guess
from gradc.creation_handlers import own
from gradc.errors import ReadOnlyError, TracerBoolError, TracerIndexError
from gradc.tracer import Tracer, constant
from gradc.tree import flatten, unflatten

#: how many objects are searched for traced values
_MANY = 10_000


@lru_cache(maxsize=1)
def control() -> ModuleType | None:
    """The module that compiles loops and branches, if there is one."""
    try:
        return importlib.import_module("gradc.control")
    except ModuleNotFoundError:
        return None


def is_traced(value: Any) -> bool:
    """Whether a value is known only when the compiled code runs."""
    if type(value) is not Tracer or value.cell.array is not None:
        return False
    return bool(contexts()) and control() is not None


def is_count(value: Any) -> bool:
    """Whether a value can be the bound of a loop: an integer, traced or not."""
    if type(value) is not Tracer:
        return isinstance(value, (int, np.integer))
    return value.dtype.kind in "iu" and not value.shape


def is_array(value: Any) -> bool:
    """Whether a value is an array, traced or not."""
    return isinstance(value, np.ndarray) or type(value) is Tracer


def is_dynamic(value: Any) -> bool:
    """Whether a value is an array of unknown length, as a slice with traced bounds is."""
    return getattr(type(value), "is_dynamic", False)


def predicate(value: Any) -> Any:
    """The truth of a traced value, traced.

    Raises StaticRequest where the value is a bool argument's, which can be known, and
    TracerBoolError for an array of several elements, which has no truth in NumPy either.
    """
    guess(value)
    if value.size != 1:
        bool(value)
    scalar = value.reshape(()) if value.shape else value
    return scalar if scalar.dtype.kind == "b" else scalar != 0


def is_truth(value: Any) -> bool:
    """Whether a value is True, False or traced, not another that has a truth."""
    if type(value) is Tracer:
        return value.dtype.kind == "b" and not value.shape
    return isinstance(value, (bool, np.bool_))


def negated(truth: Any) -> Any:
    """``not truth`` of a traced truth."""
    return np.logical_not(truth)


def as_index(i: Any) -> Any:
    """A traced number as Python's int, which promotes nothing; any other as it is."""
    return i.as_integer() if type(i) is Tracer and not i.weak else i


def as_traced(array: Any) -> Any:
    """An array from outside as one of the trace, so that it can be indexed with traced values.

    Views of it are not to be written into: the array itself would not have that.
    """
    made = constant(array)
    outside = contexts()[0].outside
    name = None if outside is None else outside.name_of(array)
    made.cell.guard = f"a view of {f'`{name}`, ' if name else ''}a plain NumPy array from outside"
    made.cell.rescue = f"copy it first (w = np.array({name or 'w'})) and return the copy"
    return made


def table(array: Any) -> Any:
    """What to index in place of a value: a plain array may be indexed with traced values too."""
    if type(array) is np.ndarray and contexts():
        return _Table(array)
    return _Items(array) if type(array) in (list, tuple, dict) and contexts() else array


def target(array: Any, outside: str = "") -> Any:
    """The same where an element is written.

    outside: the variable of a function or module around that holds the array.
    """
    if outside and isinstance(array, np.ndarray) and contexts():
        raise _refused(array, outside)
    made = table(written(array))
    if type(made) is _Items:
        made.stored = True
    return made


class _Table:
    """A plain array: in NumPy where all is known, read at traced places as one of the trace."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, key: Any) -> Any:
        return as_traced(self.array)[key] if _is_traced_key(key) else self.array[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        if _is_traced_key(key) or holds_traced([value]):
            raise ReadOnlyError(
                "a write of a traced value, or at a traced place, into an array from outside",
                types=[f"{self.array.dtype}{list(self.array.shape)}"],
                remedy="copy it first (w = w.copy()) and return the copy",
            )
        self.array[key] = value


def written(value: Any, instead: str = "") -> Any:
    """What is written into in place. Raises ReadOnlyError for an array from outside.

    instead: what makes a new array.
    """
    stack = contexts()
    if isinstance(value, tuple) and stack:  # out=(a, b)
        return tuple(map(written, value))
    array = value.base if isinstance(value, np.flatiter) else value
    if isinstance(array, np.ndarray) and stack and stack[0].outside is not None:
        name = stack[0].outside.name_of(array)
        if name is not None:
            raise _refused(array, name, instead)
    return value


def _refused(array: Any, name: str, instead: str = "") -> ReadOnlyError:
    """The error of a write into an array from outside."""
    return ReadOnlyError(
        f"a write into {f'`{name}`, ' if name else ''}a plain NumPy array from outside, which "
        "would happen while tracing and not when the compiled code runs",
        types=[f"{array.dtype}{list(array.shape)}"],
        remedy=f"{instead}, a new array" if instead else
        f"copy it first (w = np.array({name or 'w'})) and return the copy",
    )


class _Items:
    """A list, tuple or dict: Python's own, in which no traced value can say where.

    ``stored``: an element is read to be changed in place, as ``+=`` does.
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        self.stored = False

    def __getitem__(self, key: Any) -> Any:
        self._check(key)
        return written(self.items[key]) if self.stored else self.items[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check(key)
        self.items[key] = value

    def _check(self, key: Any) -> None:
        if is_traced(key):
            ask_static(key)
            kind = type(self.items).__name__
            raise TracerIndexError(
                f"an element of a {kind} at a place that is a traced value, known only when the "
                "compiled code runs",
                types=[describe(key)],
                remedy="make an array of the elements, np.array(values)[i], or use gradc.switch",
            )


def _is_traced_key(key: Any) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    ends = [x for part in parts if isinstance(part, slice)
            for x in (part.start, part.stop, part.step)]
    return any(map(is_traced, (*parts, *ends)))


def owned(value: Any) -> Any:
    """A plain array that has just been made, and that nothing else holds, as one of the trace."""
    if type(value) is not np.ndarray or not contexts():
        return value
    alone = all(held <= most for held, most in zip(_held(value), _ALONE, strict=True))
    return own(value) if alone else value


def _held(value: Any) -> tuple[int, int]:
    """How often an array is referred to, and what it is a view of."""
    base = value.base
    if base is None:
        return sys.getrefcount(value), 0
    if type(base) is not np.ndarray:
        return sys.getrefcount(value), sys.maxsize
    return sys.getrefcount(value), sys.getrefcount(base)


def _of_a_new_one(value: Any) -> tuple[int, int]:
    return _held(value)


#: the same of a new view of a new array, in a function such as ``owned``
_ALONE = _of_a_new_one(np.empty(2)[:1])


def where(condition: Any, chosen: Any, other: Any) -> Any:
    """``chosen`` where the condition holds, else ``other``; of numbers."""
    return np.where(condition, chosen, other)


def blank_like(value: Any) -> Any:
    """Zeros like the numbers and arrays of a pytree: for what nobody reads."""
    from gradc.control.carries import is_number
    from gradc.control.undefined import blank

    leaves, tree = flatten(value)
    return unflatten(tree, [blank(leaf) if is_number(leaf) else leaf for leaf in leaves])


def read(value: Any) -> Any:
    """A value that is returned: here is where its variables are read, if any has none."""
    module = control()
    if module is not None and isinstance(value, module.Undefined):
        value.refuse()
    for leaf in flatten(value)[0]:
        if type(leaf) is Tracer:
            leaf.note_read()
    return value


#: what asks for a value that has to be known -> what to write instead
_INSTEAD = {
    "the `if` of a comprehension": "a conditional expression in it, [x if c else 0.0 for x in a], "
    "or np.where(condition, a, 0.0)",
    "a comprehension over a range": "a loop, `for i in range(n): total = total + ...`, or a sum of "
    "np.where(np.arange(len(a)) < n, a, 0.0)",
    "`:=` in a conditional expression, or after an `and` or `or` of one": "bind the name in a "
    "statement of its own, under an `if`",
    "`filter`": "np.where(condition, a, 0.0) in what follows, or a loop with an `if`",
    "`assert`": "assert what is known while tracing, as shapes, or check outside the compiled "
    "function",
}


def known(value: Any, what: str) -> Any:
    """A value that has to be known while tracing.

    Raises StaticRequest where an argument tells it, and TracerBoolError, which names what asks.
    """
    if is_traced(value):
        ask_static(value)
        raise TracerBoolError(
            f"{what} on a traced value, which is known only when the compiled code runs",
            types=[describe(value)],
            remedy=_INSTEAD[what],
        )
    return value


def same(left: Any, right: Any) -> Any:
    """``left is right``, where one may be a traced truth and the other True or False."""
    for one, other in ((left, right), (right, left)):
        if is_traced(one) and isinstance(other, (bool, np.bool_)) and (
            class_of(one, True) is type(other)
        ):
            return one if other else negated(one)
    return left is right


def contained(value: Any, container: Any) -> Any:
    """``value in container``, where numbers among them may be traced."""
    if isinstance(container, ValuesView):
        container = tuple(container)
    if not (is_traced(value) or isinstance(container, (tuple, list, Tracer)) and holds_traced(
            [container])):
        return value in container
    if is_array(container):
        return (container == value).any()
    if isinstance(container, (tuple, list)):
        found: Any = False
        for one in container:
            same = one == value
            if same is True or found is True:
                return True
            found = same if found is False else found | same
        return found
    if isinstance(container, range) and len(container) and is_number(value):
        numbers = container if container.step > 0 else container[::-1]
        first, last, step = numbers[0], numbers[-1], numbers.step
        return (value >= first) & (value <= last) & ((value - first) % step == 0)
    return value in container


def is_number(value: Any) -> bool:
    """Whether a traced value is a single number, not an array."""
    return type(value) is Tracer and value.is_scalar


def turned(before: Any, after: Any, given: Sequence[Any]) -> bool:
    """Whether a number of Python's has become a traced one without meeting any other.

    given: what an iteration begins with that Python would know, were it to run the loop.
    """
    if type(before) not in (bool, int, float) or type(after) is not Tracer or not after.weak:
        return False
    context = contexts()[-1]
    known = {x.value_in(context).id for x in given if type(x) is Tracer}
    todo, seen = [after.value_in(context).id], set[int]()
    while todo:
        node = context.builder.nodes[todo.pop()]
        if node.op.name == "input" and node.id not in known:
            return False
        todo += (i for i in node.operands if i not in seen)
        seen.update(node.operands)
    return True


def holds_traced(roots: list[Any]) -> bool:
    """Whether traced values are among some values, or in what they hold."""
    todo, seen = list(roots), set[int]()
    while todo and len(seen) < _MANY:
        value = todo.pop()
        if is_traced(value):
            return True
        if id(value) in seen or isinstance(value, (np.ndarray, str, int, float, type)):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, (tuple, list, set)):
            todo += value
        elif isinstance(value, FunctionType):
            todo += (c.cell_contents for c in value.__closure__ or () if _is_full(c))
        elif not isinstance(value, ModuleType):
            todo += getattr(value, "__dict__", {}).values()
    return False


def _is_full(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
