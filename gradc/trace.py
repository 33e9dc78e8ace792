"""Tracing: a Python function and argument types in, a graph out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradc.numpy_api  # noqa: F401  (registers the functions)
from gradc.captured import Captured
from gradc.cells import Cell
from gradc.context import Context, StaticRequest, contexts, current
from gradc.creation import unwrapped, wrappers
from gradc.errors import (
    GradcError,
    LeakedTracerError,
    OutputError,
    ReadOnlyError,
    ShapeError,
    of_python,
)
from gradc.ir.graph import PRIMAL, Graph, Loc, Value
from gradc.ir.ops import Op
from gradc.ir.types import TensorType
from gradc.numpy_api.values import as_tracer, to_value
from gradc.randomness import Watch
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer, fresh
from gradc.tree import TreeDef, flatten, paths, unflatten


@dataclass(frozen=True, slots=True)
class Static:
    """An argument leaf that the function is given as it is: a str, a callable, a static int."""

    value: Any


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced function: its graph, the structure of its result, and what it took from outside.

    The graph's inputs are the traced leaves in order, then one for each of ``captures``: Tracers of
    an enclosing trace that the function used.
    """

    graph: Graph
    out_tree: TreeDef
    captures: tuple[Any, ...] = ()


class NeedsStatic(BaseException):
    """The function needs the value of the int or bool argument at position ``leaf`` while tracing.

    The caller traces again with that leaf :class:`Static`. error: how the trace failed that took it
    as known at run time only, if one did.
    """

    def __init__(self, leaf: int, error: Exception | None = None) -> None:
        super().__init__(leaf)
        self.leaf = leaf
        self.error = error


def trace(
    function: Callable[..., Any],
    in_tree: TreeDef,
    leaves: Sequence[TensorType | Static],
    names: Sequence[str],
    *,
    name: str,
    rewrite: bool = True,
    askable: bool = True,
    owned: bool = False,
) -> Traced:
    """Run ``function`` once on Tracers and return the graph of what it did.

    ``in_tree`` is the structure of ``(args, kwargs)``, ``leaves`` its leaves, ``names`` their
    names; with ``rewrite``, loops and branches on traced values are compiled
    (:mod:`gradc.syntax`). Raises NeedsStatic if integers are ``askable``, which else stay traced,
    and what :mod:`gradc.errors` has. Arguments that the function writes into are refused, unless
    they are ``owned``: then nobody else would have seen it.
    """
    context = Context(name)
    with context.builder.marked(PRIMAL, _definition(function)):
        given = [_argument(context, leaf, path, k if askable else None, owned)
                 for k, (leaf, path) in enumerate(zip(leaves, names, strict=True))]
    args, kwargs = unflatten(in_tree, given)
    context.outside = Captured(function, (args, kwargs))
    watch = Watch(function, (args, kwargs))
    with wrappers(function), _active(context):
        result = (rewritten(function) if rewrite else function)(*args, **kwargs)
        where = next(iter(_definition(function)), None)
        watch.check(where)
        if not owned:
            _check_containers((args, kwargs), unflatten(in_tree, given), in_tree, names, where)
        out_leaves, out_tree = flatten(result)
        places = paths(out_tree, "result")
        values = [_output(leaf, place) for leaf, place in zip(out_leaves, places, strict=True)]
    return Traced(context.builder.build(values), out_tree, context.captures)


def _definition(function: Any) -> tuple[Loc, ...]:
    """The line where a function is defined, seen through partials, methods and decorators."""
    for step in unwrapped(function):
        code = getattr(step, "__code__", None)
        if code is not None:
            return (Loc(code.co_filename, code.co_firstlineno, code.co_name),)
    return ()


@contextmanager
def _active(context: Context) -> Iterator[None]:
    """Put a trace on this thread's stack; turn its requests for statics into NeedsStatic."""
    stack = contexts()
    failures = [(outer, outer.failure) for outer in stack]
    stack.append(context)
    try:
        yield
        _raise_remembered(context)
    except StaticRequest as request:
        if request.context is context:
            raise NeedsStatic(request.leaf) from None
        raise
    except Exception as error:
        # A request or an error of ours may have been caught, or replaced, as by NumPy with
        # "setting an array element with a sequence": what came of it is no result.
        if context.request is not None:
            _raise_remembered(context)
        for leaf in context.guessed:
            for outer, failure in failures:
                outer.failure = failure
            raise NeedsStatic(leaf, context.failure or error) from None
        if not isinstance(error, GradcError):
            _raise_remembered(context)
        if isinstance(error, TypeError) and not isinstance(error, GradcError) and len(stack) == 1:
            # Where only Python's own int will do (a deque's length), no request could be made.
            for leaf in context.leaf_of.values():
                raise NeedsStatic(leaf) from None
        ours = of_python(error)
        if ours is not None:
            raise ours from error
        raise
    finally:
        stack.remove(context)


def _raise_remembered(context: Context) -> None:
    if context.request is not None:
        raise NeedsStatic(context.request.leaf) from None
    if context.failure is not None:
        raise context.failure from None


def _argument(
    context: Context, leaf: TensorType | Static, name: str, position: int | None, owned: bool
) -> Any:
    """An argument, which may turn static if it is a number and has a position."""
    if isinstance(leaf, Static):
        return leaf.value
    value = context.builder.input(name, leaf)
    if position is not None and not leaf.shape and leaf.dtype.kind in "biu":
        context.leaf_of[value.id] = position
    guard = f"the argument {name}, which the caller would not see"
    rescue = f"copy it first ({name} = {name}.copy()) and return the copy"
    cell = Cell(context, value, guard="" if owned else guard, rescue=rescue)
    return Tracer(cell, leaf.shape, leaf.dtype, weak=leaf.weak, is_scalar=not leaf.shape)


def _check_containers(
    arguments: Any, before: Any, tree: TreeDef, names: Sequence[str], where: Loc | None
) -> None:
    """Raise ReadOnlyError if a list, dict or dataclass among the arguments was changed.

    ``before`` is what they were: equal containers of the same leaves.
    """
    todo = [(arguments, before, tree, 0)]
    while todo:
        now, was, node, first = todo.pop()
        if now is was:
            continue
        same = type(now) is type(was) and node.kind is not None
        if same and isinstance(now, dict):
            same = list(now) == list(was)
        parts, parts_before = (_parts(x) for x in (now, was)) if same else ([], [])
        if not same or len(parts) != len(parts_before):
            name = names[first] if node.num_leaves else ""
            raise ReadOnlyError(
                f"the argument {name or '(an empty list or dict)'} was changed, or what holds it: "
                "an element was added, removed or replaced, which would happen only while "
                "tracing; the caller would not see it",
                where=where,
                remedy="copy the list, dict or dataclass first, and return what is new",
            )
        for triple in zip(parts, parts_before, node.children, strict=True):
            todo.append((*triple, first))
            first += triple[2].num_leaves


def _parts(container: Any) -> list[Any]:
    """The children of a container, in the order of its tree."""
    if isinstance(container, dict):
        return list(container.values())
    if isinstance(container, (tuple, list)):
        return list(container)
    return [getattr(container, field.name) for field in dataclasses.fields(container)]


def _output(leaf: Any, place: str) -> Value:
    if isinstance(leaf, Tracer):
        return leaf.value
    if isinstance(leaf, (bool, int, float, np.number, np.bool_, np.ndarray)):
        try:
            return as_tracer(leaf).value
        except OverflowError as error:
            raise OutputError(
                f"{place} is {leaf}: no 64 bits hold it",
                types=["int"], remedy="return it as a float",
            ) from error
        except GradcError:
            pass
    from gradc.control.undefined import Undefined

    if isinstance(leaf, Undefined):
        leaf.refuse()
    if getattr(leaf, "is_dynamic", False):
        made = leaf.lengths[0].value.value.node.locs
        raise leaf.refusal(
            f"the function's {place}",
            "out = np.zeros(len(a)); out[: x.shape[0]] = x, and the length beside it",
            made[0] if made else None,
        )
    kind = f"array of {leaf.dtype}" if isinstance(leaf, np.ndarray) else type(leaf).__name__
    raise OutputError(
        f"{place} is a {kind}: a compiled function returns arrays and numbers, in tuples, lists, "
        "dicts, namedtuples and dataclasses",
        types=[kind],
        remedy="leave it out of the result, or return it from a function around this one",
    )


def operand(x: Any) -> Value:
    """A Tracer, array or number as a node of the current trace, of its own dtype and shape.

    Tracers of enclosing traces are captured. Raises LeakedTracerError, DTypeError.
    """
    return as_tracer(x).value


def emit(op: Op, *operands: Any, **attrs: Any) -> Tracer:
    """Append an op to the current trace; operands have the dtypes and shapes that it asks for."""
    return fresh(op(*(operand(x) for x in operands), **attrs))


def inline(graph: Graph, operands: Sequence[Any]) -> list[Tracer]:
    """Append a closed graph to the current trace; return its outputs as Tracers.

    Operands (Tracers, arrays, numbers) are cast to the types of the graph's inputs. Raises
    ShapeError where a shape differs.
    """
    context = current()
    if context is None:
        raise LeakedTracerError("a graph was to be inlined outside a trace",
                                remedy="call the compiled function itself")
    values = []
    for x, type_ in zip(operands, graph.input_types, strict=True):
        t = as_tracer(x)
        if t.shape != type_.shape:
            raise ShapeError(f"an operand of shape {t.shape} where {type_} is needed",
                             remedy="call the function with the shapes it was traced for")
        values.append(to_value(t, type_.dtype))
    outputs = context.builder.splice(graph, values)
    return [fresh(v, weak=v.type.weak) for v in outputs]


def is_tracing() -> bool:
    """Whether a trace is under way in this thread."""
    return bool(contexts())
