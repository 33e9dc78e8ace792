"""What rewritten code calls: it looks at the values, and runs plain Python where none is traced.

A :class:`Frame <gradc.syntax.loops.Frame>` is made for each call of a rewritten function, and holds
the cells of its variables. What a block did is its *outcome*: None when it reached its end, else an
:class:`Outcome`, whose code is a number, traced once it depends on traced values.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType
from typing import TYPE_CHECKING, Any

from gradc.context import contexts
from gradc.errors import GradcError, LoopError
from gradc.ir.graph import Loc
from gradc.raising import Guard
from gradc.syntax import kinds, sequences, values
from gradc.syntax.analysis import loads
from gradc.syntax.convert import call
from gradc.syntax.effects import Watched
from gradc.syntax.rewrite import has_raise
from gradc.syntax.values import is_traced, predicate

if TYPE_CHECKING:
    from gradc.syntax.places import Form, Site
    from gradc.syntax.unit import Unit

#: the codes of outcomes: at its end, at ``continue``, at ``break``, at ``return``
NEXT, CONTINUE, BREAK, RETURN = range(4)
#: branches of branches: beyond this many it is a recursion without an end
DEEPEST = 50

_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "is": values.same,
    "is not": lambda a, b: Expressions.negate(values.same(a, b)),
    "in": values.contained, "not in": lambda a, b: Expressions.negate(values.contained(a, b)),
}


class Outcome:
    """How a block was left, and the value that it returns if it returns."""

    __slots__ = ("code", "value")

    def __init__(self, code: Any, value: Any) -> None:
        self.code = code
        self.value = value

    @property
    def is_traced(self) -> bool:
        """Whether only the compiled code knows."""
        return not isinstance(self.code, int)


class Expressions:
    """What rewritten expressions call."""

    call = staticmethod(call)

    @staticmethod
    def sequence(function: Any) -> Any:
        """What to call in place of what makes the iterable of a ``for``."""
        return sequences.INSTEAD.get(function) or call(function)

    table = staticmethod(values.table)
    target = staticmethod(values.target)
    owned = staticmethod(values.owned)
    written = staticmethod(values.written)
    read = staticmethod(values.read)
    having = staticmethod(kinds.having)
    guarding = Guard

    @staticmethod
    def truth(value: Any) -> Any:
        """The truth of a test: True, False, or traced."""
        if is_traced(value):
            return predicate(value)
        return bool(value)

    @classmethod
    def either(cls, test: Any, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        """``then() if test else otherwise()``."""
        known = cls.truth(test)
        if known is True:
            return then()
        if known is False:
            return otherwise()
        return choose(known, then, otherwise, "the conditional expression")

    @classmethod
    def both(cls, value: Any, *others: Callable[[], Any], harmless: bool = False) -> Any:
        """``value and others[0]() and ...``."""
        if not others:
            return value
        known = cls.truth(value)
        if known is False:
            return value

        def rest() -> Any:
            return cls.both(others[0](), *others[1:], harmless=harmless)

        if known is True:
            return rest()
        if harmless and known is value and values.is_truth(after := rest()):
            return value & after
        return choose(known, rest, lambda: value, "and")

    @classmethod
    def first(cls, value: Any, *others: Callable[[], Any], harmless: bool = False) -> Any:
        """``value or others[0]() or ...``."""
        if not others:
            return value
        known = cls.truth(value)
        if known is True:
            return value

        def rest() -> Any:
            return cls.first(others[0](), *others[1:], harmless=harmless)

        if known is False:
            return rest()
        if harmless and known is value and values.is_truth(after := rest()):
            return value | after
        return choose(known, lambda: value, rest, "or")

    @classmethod
    def all(cls, value: Any, *others: Callable[[], Any], harmless: bool = False) -> Any:
        """The truth of ``value and others[0]() and ...``."""
        return cls.both(cls.truth(value), *map(cls._test, others), harmless=harmless)

    @classmethod
    def any(cls, value: Any, *others: Callable[[], Any], harmless: bool = False) -> Any:
        """The truth of ``value or others[0]() or ...``."""
        return cls.first(cls.truth(value), *map(cls._test, others), harmless=harmless)

    @classmethod
    def _test(cls, other: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: cls.truth(other())

    @classmethod
    def negate(cls, value: Any) -> Any:
        """``not value``."""
        known = cls.truth(value)
        return not known if isinstance(known, bool) else values.negated(known)

    @classmethod
    def compare(cls, left: Any, *pairs: Any, harmless: bool = False) -> Any:
        """A chain of comparisons: ``left < right < a() < b()``."""
        op, right, *rest = pairs
        value = _COMPARISONS[op](left, right)
        if not rest:
            return value

        def others() -> Any:
            following, operand, *more = rest
            return cls.compare(right, following, operand(), *more, harmless=harmless)

        return cls.both(value, others, harmless=harmless)

    @staticmethod
    def known(value: Any, what: str) -> Any:
        """A value that has to be known while tracing. Raises TracerBoolError, by what asks."""
        return values.known(value, what)


def choose(pred: Any, then: Callable[[], Any], otherwise: Callable[[], Any], what: str) -> Any:
    """The value of one of two functions, of which the compiled code runs one."""
    control = values.control()
    assert control is not None
    check_depth()
    held, namespace = around(then, otherwise)
    for name, one in held.items():
        if hasattr(type(one), "__next__"):
            raise advancing(f"{what} on a traced value", name, None)
    watched = Watched(held.items(), namespace)
    try:
        (value,) = control.branched(
            pred, lambda state: (values.owned(then()),), lambda state: (values.owned(otherwise()),),
            (control.UNDEFINED,), (what,), forced=True)
    finally:
        changed = watched.changed()
    if changed is not None:
        raise changing(f"{what} on a traced value", changed, None)
    return value


def around(*functions: Callable[[], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables around functions, and those that they name, and the globals of the user's."""
    found: dict[str, Any] = {}
    namespace: dict[str, Any] = {}
    todo: list[Any] = list(functions)
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if not isinstance(one, FunctionType) or id(one) in seen:
            continue
        seen.add(id(one))
        cells = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
        held = {name: cell.cell_contents for name, cell in cells if not is_empty(cell)}
        if one.__globals__ is globals():  # one of these here, around lambdas of the user's
            for value in held.values():
                todo += value if isinstance(value, tuple) else [value]
            continue
        namespace = namespace or one.__globals__
        todo += held.values()
        names = (name for name in one.__code__.co_names if name in one.__globals__)
        held |= {name: one.__globals__[name] for name in names}
        found |= {name: value for name, value in held.items() if not name.startswith("gradc__")}
    return found, namespace


def changing(what: str, changed: str, where: Loc | None) -> LoopError:
    """The error of code that is traced once and changes what is Python's."""
    return LoopError(
        f"{what} changes {changed}: that would happen once, while tracing",
        where=where,
        remedy="assign to a variable, or to elements of an array made with np.zeros",
    )


def advancing(what: str, name: str, where: Loc | None) -> LoopError:
    """The error of code that is traced once and may take something from an iterator."""
    return LoopError(
        f"{what} may advance the iterator `{name}`: that would happen once, while tracing",
        where=where,
        remedy=f"make a list of it, or an array to be indexed: {name} = list({name})",
    )


def check_depth() -> None:
    """Raise LoopError for a recursion that no known value ends."""
    if len(contexts()) > DEEPEST:
        raise LoopError(
            f"branches on traced values stand {DEEPEST} deep in each other: a recursion that ends "
            "on a traced value cannot be compiled, for both ways are",
            remedy="write it as a loop",
        )


class Variables(Expressions):
    """The variables of a call of a rewritten function, and the forms tied to them."""

    def __init__(self, unit: Unit, cells: dict[str, CellType], namespace: dict[str, Any]) -> None:
        self.unit = unit
        self.cells = cells
        self.namespace = namespace
        self._functions: dict[Form, FunctionType] = {}

    def get(self, name: str) -> Any:
        """What a variable holds, UNDEFINED before it is assigned."""
        control = values.control()
        assert control is not None
        try:
            return self.cells[self.unit.family.mangled(name)].cell_contents
        except ValueError:
            return control.UNDEFINED

    def put(self, held: Iterable[tuple[str, Any]]) -> None:
        """Assign variables, or delete them."""
        control = values.control()
        assert control is not None
        for name, value in held:
            cell = self.cells[self.unit.family.mangled(name)]
            if value is not control.UNDEFINED:
                cell.cell_contents = value
            else:
                with_nothing(cell)

    def run(self, form: Form, *args: Any) -> Any:
        """Run a form on the variables: its outcome, or its value."""
        if form not in self._functions:
            code = self.unit.compiled(form)
            own = {"gradc__": self, "gradc__of": self.unit.family.maker()}
            closure = tuple(
                CellType(own[name]) if name in own else self.cells[name]
                for name in code.co_freevars
            )
            self._functions[form] = FunctionType(code, self.namespace, code.co_name, None, closure)
        return self._functions[form](*args)

    def where(self, site: Site) -> Loc:
        """The line of a statement."""
        code = self.unit.family.code
        return Loc(code.co_filename, site.node.lineno, code.co_name)

    @contextmanager
    def watched(self, site: Site, what: str) -> Iterator[None]:
        """Refuse what a block that is traced once must not do."""
        self._refuse_iterators(site, what)
        watched = Watched(self._held().items(), self.namespace)
        try:
            yield
        except GradcError:
            watched.changed()
            raise
        except Exception as error:
            watched.changed()
            if not any(has_raise(block) for block in (site.node.body, site.node.orelse)):
                raise
            raise LoopError(
                f"{what} raises {type(error).__name__}({str(error)!r}): compiled code cannot, and "
                "both ways of a branch are traced",
                where=self.where(site),
                remedy="check the arguments outside the compiled function, or return np.nan",
            ) from error
        changed = watched.changed()
        if changed is not None:
            raise changing(what, changed, self.where(site))

    def _held(self) -> dict[str, Any]:
        """What the variables hold, and the globals that the function names."""
        held = {name: self.namespace[name] for name in self.unit.used if name in self.namespace}
        cells = self.cells.items()
        return held | {name: cell.cell_contents for name, cell in cells if not is_empty(cell)}

    def _refuse_iterators(self, site: Site, what: str) -> None:
        """Raise LoopError where a block would take something from an iterator, once for all."""
        held = self._held()
        for name in sorted(loads([site.node]) & held.keys()):
            if hasattr(type(held[name]), "__next__"):
                raise advancing(what, name, self.where(site))

    def refuse_deleted(self, site: Site, before: dict[str, Any], names: Iterable[str]) -> None:
        """Raise LoopError where a variable that is carried has been deleted."""
        control = values.control()
        assert control is not None
        for name in names:
            if before[name] is not control.UNDEFINED and self.get(name) is control.UNDEFINED:
                raise LoopError(
                    f"`del {name}` in a loop or branch on traced values",
                    where=self.where(site),
                    remedy="leave it out: memory is reused without it",
                )


def is_empty(cell: CellType) -> bool:
    """Whether the variable of a cell is not assigned."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def with_nothing(cell: CellType) -> None:
    """Empty a cell."""
    if not is_empty(cell):
        del cell.cell_contents
