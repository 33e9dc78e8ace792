"""The trace under way: its builder, what it captured, and which arguments may turn static.

Traces nest, one stack to a thread. The innermost receives every node; a Tracer of an enclosing one
becomes an input of it, a capture.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from gradc.ir.graph import Builder, Value
from gradc.source import user_locs

if TYPE_CHECKING:
    from gradc.captured import Captured
    from gradc.cells import Cell
    from gradc.dynamic.array import DynamicArray
    from gradc.ir.forms import Form
    from gradc.tracer import Tracer


class StaticRequest(BaseException):
    """The value of argument ``leaf`` of ``context`` is needed while tracing.

    No Exception, so that a user's ``except Exception`` does not swallow it; what does swallow it,
    such as a bare ``except``, is seen when the trace ends.
    """

    def __init__(self, context: Context, leaf: int) -> None:
        super().__init__(leaf)
        self.context = context
        self.leaf = leaf


class Context:
    """One trace: where its nodes go and where its inputs came from."""

    #: whether it is the body of a loop or branch, which may write what the enclosing trace owns
    is_region = False
    #: whether it runs where the enclosing trace does: not so a branch, or the body of a `while`
    certain = True
    #: of the body of a loop that runs so often: a value of the enclosing trace
    trips: Value | None = None

    def __init__(self, name: str) -> None:
        self.builder = Builder(name)
        self.builder.locate = user_locs
        #: id of an input -> position of the int or bool argument that it is
        self.leaf_of: dict[int, int] = {}
        #: id of an input -> the Tracer of an enclosing trace that it is
        self.source_of: dict[int, Tracer] = {}
        #: cells of enclosing traces that a loop in here has made void, and by which name
        self.retired: list[tuple[Cell, str]] = []
        #: the first request and the first error of this trace: user code may have caught them
        self.request: StaticRequest | None = None
        self.failure: Exception | None = None
        #: the int arguments on which a loop or branch depends that is compiled though their values
        #: could be known: if the trace fails, it is begun anew with these
        self.guessed: dict[int, None] = {}
        #: masks, by what computes them -> where they hold
        self.places: dict[Hashable, DynamicArray] = {}
        #: id of an integer -> what is known of it, where that has been asked for
        self.forms: dict[int, Form] = {}
        #: the arrays that the function finds outside
        self.outside: Captured | None = None
        self._inputs: dict[tuple[int, int], Value] = {}

    @property
    def captures(self) -> tuple[Tracer, ...]:
        """The Tracers of enclosing traces that were used, in the order of their inputs."""
        return tuple(self.source_of.values())

    def capture(self, outer: Tracer) -> Value:
        """The input that stands for a Tracer of an enclosing trace, as it is now."""
        snapshot = outer.snapshot()
        cell = snapshot.cell
        assert cell.trace is not None and cell.value is not None
        key = (id(cell.trace), cell.value.id)
        if key not in self._inputs:
            type_ = outer.type
            value = self.builder.input(f"captured{len(self.source_of)}", type_)
            self._inputs[key] = value
            self.source_of[value.id] = snapshot
        return self._inputs[key]

    def adopt(self, cell: Cell) -> None:
        """Take over the cell of the enclosing trace, to be written here: only regions do."""
        raise NotImplementedError

    def arguments(self, value: Value) -> list[tuple[Context, Value]]:
        """The int and bool arguments that ``value`` depends on; none if on anything else."""
        found: list[tuple[Context, Value]] = []
        seen, todo = {value.id}, [value.id]
        while todo:
            node = self.builder.nodes[todo.pop()]
            if node.id in self.leaf_of:
                found.append((self, self.builder.value(node.id)))
            elif node.id in self.source_of:
                cell = self.source_of[node.id].cell
                assert cell.trace is not None and cell.value is not None
                outer = cell.trace.arguments(cell.value)
                if not outer:
                    return []
                found += outer
            elif node.op.name == "input":
                return []
            for operand in node.operands:
                if operand not in seen:
                    seen.add(operand)
                    todo.append(operand)
        return sorted(found, key=lambda one: one[1].id)

    def ask_static(self, value: Value) -> None:
        """Raise StaticRequest if ``value`` depends on int and bool arguments alone; else return."""
        for context, argument in self.arguments(value):
            context.request_static(context.leaf_of[argument.id])

    def request_static(self, leaf: int) -> NoReturn:
        """Raise StaticRequest for an argument of this trace."""
        request = StaticRequest(self, leaf)
        self.request = self.request or request
        raise request


class _Stack(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Context] = []


_stack = _Stack()


def contexts() -> list[Context]:
    """The traces under way in this thread, outermost first."""
    return _stack.contexts


def current() -> Context | None:
    """The innermost trace of this thread, or None."""
    stack = _stack.contexts
    return stack[-1] if stack else None


def adopt(cell: Cell) -> bool:
    """Let the innermost trace write a cell of an enclosing one; False where it may not.

    It may if all traces between are the bodies of loops and branches, whose results hold what was
    written.
    """
    stack = _stack.contexts
    if cell.trace not in stack:
        return False
    inner = stack[stack.index(cell.trace) + 1 :]
    if not all(context.is_region for context in inner):
        return False
    for context in inner:
        context.adopt(cell)
    return True


@contextmanager
def outside(trace: Context | None, owners: Sequence[Context | None]) -> Iterator[bool]:
    """Trace into an enclosing trace, around the loops and branches under way; whether that can be.

    Not if another trace is between, or one of these holds what is to be read, by ``owners``.
    """
    stack = _stack.contexts
    inner = stack[stack.index(trace) + 1 :] if trace in stack else stack
    found = inner is not stack and all(c.is_region and c not in owners for c in inner)
    if found:
        del stack[len(stack) - len(inner) :]
    try:
        yield found
    finally:
        if found:
            stack += inner
