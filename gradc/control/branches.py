"""Branches: ``cond`` and ``switch`` as JAX has them, and the tracing of branches in general."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from gradc.cells import Cell
from gradc.context import current
from gradc.control.aliases import is_doubtful, lend, retire
from gradc.control.arguments import check_function, kind_of, known_int, known_truth, shown
from gradc.control.carries import described, is_number, line_of
from gradc.control.containers import unchanged
from gradc.control.loops import truth_of
from gradc.control.regions import Ends, Region, close, is_scalar, output, whole, written_back
from gradc.control.state import same_static, structure_of
from gradc.control.undefined import Missing, Undefined, bare, blank, in_line, missing
from gradc.errors import ArgumentError, BranchError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import I64, TensorType, promote
from gradc.numpy_api.values import as_tracer, convert
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer, fresh
from gradc.tree import LEAF, TreeDef, flatten, paths, unflatten


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any],
         *operands: Any) -> Any:
    """``true_fun(*operands)`` if ``pred``, else ``false_fun(*operands)``; only one of them runs.

    Both return a pytree of one structure, with the same shapes and dtypes (a Python number takes
    the dtype of the other side). Of a ``pred`` that is known, only its branch is traced.

    >>> import gradc
    >>> f = gradc.compile(lambda x: gradc.cond(x > 0, lambda y: y, lambda y: -y, x))
    >>> g = lambda x: gradc.cond(x > 0, lambda: x, lambda: -x)
    >>> g(-3.0)
    3.0

    Raises BranchError where structures, shapes or dtypes differ; ArgumentError for a ``pred`` that
    is no truth, and for what is no function of the operands.
    """
    for function in (true_fun, false_fun):
        _check_branch(function, operands)
    if not isinstance(pred, Tracer) or pred.is_constant:
        holds = known_truth(pred, "the condition of gradc.cond")
        return _called(true_fun if holds else false_fun, operands)
    index = convert(fresh(truth_of(pred)), I64)
    return _results(index, [false_fun, true_fun], operands, ["else", "then"])


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``, the index clamped to those that there are.

    >>> import gradc
    >>> gradc.switch(5, [lambda x: x, lambda x: 2 * x], 3.0)
    6.0

    Raises BranchError and ArgumentError as :func:`cond` does; ArgumentError where there is no
    branch, and for an index that is no integer.
    """
    if not isinstance(branches, Sequence) or not branches:
        raise ArgumentError(
            f"gradc.switch needs a sequence of branches, at least one, not {shown(branches)}",
            types=[kind_of(branches)], remedy="pass a list of functions")
    functions = list(branches)
    for function in functions:
        _check_branch(function, operands)
    known = known_int(index, "the index of gradc.switch")
    if known is not None:
        return _called(functions[min(max(known, 0), len(functions) - 1)], operands)
    if len(functions) == 1:
        return _called(functions[0], operands)
    names = [f"branch {k}" for k in range(len(functions))]
    return _results(convert(index, I64), functions, operands, names)


def _check_branch(function: Any, operands: Sequence[Any]) -> None:
    """Raise ArgumentError for what is no function of the operands."""
    if not callable(function):
        raise ArgumentError(f"a branch is a function, not {shown(function)}",
                            types=[kind_of(function)], remedy="wrap it: lambda: value")
    check_function(function, "a branch", [f"operand{k}" for k in range(len(operands))])


def _results(
    index: Tracer, functions: Sequence[Callable[..., Any]], operands: Any, names: list[str]
) -> Any:
    branches = Branches(index.value, names)
    for function in functions:
        with unchanged("a branch", function):
            branches.trace(partial(_single, function, operands))
    (result,) = branches.merge(("result",))
    return result


def _single(function: Callable[..., Any], operands: Any) -> tuple[Any]:
    return (_called(function, operands),)


def _called(function: Callable[..., Any], operands: Any) -> Any:
    """What a branch gives; in a trace, with its own loops and branches compiled too."""
    return (function if current() is None else rewritten(function))(*operands)


@dataclass
class _Traced:
    """A branch: its region and what it gave, a tuple of pytrees."""

    name: str
    region: Region
    given: tuple[Any, ...]


class Branches:
    """Branches under way: trace them all, then merge what they give."""

    def __init__(self, index: Value, names: Sequence[str], *, shares: bool = False) -> None:
        self.index = index
        self.names = list(names)
        #: whether what all branches leave as it was stays the same array
        self.shares = shares
        self.traced: list[_Traced] = []

    def trace(self, function: Callable[[], tuple[Any, ...]]) -> None:
        """Trace the next branch."""
        name = self.names[len(self.traced)]
        region = Region(name.replace(" ", "_"), certain=False)
        with region.active():
            given = function()
        self.traced.append(_Traced(name, region, given))

    def merge(self, names: Sequence[str]) -> tuple[Any, ...]:
        """What the branches give, by ``names``, as values of the trace under way.

        Raises BranchError.
        """
        merged = [
            self._variable(name, [one.given[k] for one in self.traced])
            for k, name in enumerate(names)
        ]
        cells = self._cells()
        leaves = [m for variable in merged for m in (*variable.leaves, variable.holds)]
        traced = [m for m in leaves if isinstance(m, _Merged)]
        parts: list[Ends] = []
        for k, one in enumerate(self.traced):
            with one.region.active():
                outputs = [
                    output(bare(m.of[k]) if m.checked else m.of[k], m.type) for m in traced
                ]
                outputs += [whole(cell).value for cell in cells]
            parts.append((one.region, [], outputs))
        graphs, captures = close(parts)
        results: list[Value] = []
        if traced or cells or any(graph.effects for graph in graphs):
            results = ops.branch(self.index, graphs, captures)
        for m, value in zip(traced, results, strict=False):
            m.result = fresh(value, weak=m.type.weak, is_scalar=m.scalar)
        written_back(cells, results[len(traced) :])
        for one in self.traced:
            for cell, name in one.region.retired:
                retire(cell, name)
        if self.shares:
            for m in traced:
                assert m.result is not None
                lend(m.result, m.of, m.name)
        return tuple(variable.rebuilt(name) for name, variable in zip(names, merged, strict=True))

    def _cells(self) -> list[Cell]:
        """The cells that a branch wrote; every branch is made to give their values."""
        cells: dict[int, Cell] = {}
        for one in self.traced:
            for cell in one.region.cells:
                cells.setdefault(id(cell), cell)
        for one in self.traced:
            own = {id(cell) for cell in one.region.cells}
            with one.region.active():
                for cell in cells.values():
                    if id(cell) not in own:
                        one.region.adopt(cell)
        return list(cells.values())

    def _variable(self, name: str, given: Sequence[Any]) -> _Variable:
        doubtful = any(map(is_doubtful, given))
        if doubtful or any(isinstance(value, Undefined) for value in given):
            if all(value is given[0] for value in given):
                return _Variable([given[0]], LEAF)
            like = None if doubtful else self._like(name, given)
            if like is None:
                return _Variable([Undefined(f"`{name}` has a value in some branches only")], LEAF)
        else:
            like = given[0]
        flat = [flatten(like if isinstance(value, Undefined) else value) for value in given]
        tree = flat[0][1]
        for k, (_, other) in enumerate(flat):
            if other != tree:
                raise self._different(name, 0, k, structure_of(tree), structure_of(other))
        holds = None
        if self._checks(name):
            holds = self._holds(name, given, [leaves for leaves, _ in flat])
        columns = zip(paths(tree, name), *(leaves for leaves, _ in flat), strict=True)
        leaves = [self._leaf(path, leaves, holds is not None) for path, *leaves in columns]
        return _Variable(leaves, tree, holds)

    def _checks(self, name: str) -> bool:
        """Whether the compiled code may find out if it has a value: of variables of the user."""
        return self.shares and name.isidentifier()

    def _like(self, name: str, given: Sequence[Any]) -> Any:
        """Zeros like the values of some branches, for those that have none; None if it cannot."""
        for value in given:
            leaves, tree = flatten(value)
            if not isinstance(value, Undefined) and leaves and all(map(is_number, leaves)):
                return unflatten(tree, map(blank, leaves)) if self._checks(name) else None
        return None

    def _holds(self, name: str, given: Sequence[Any], flat: Sequence[list[Any]]) -> Any:
        """Whether a variable has a value, where it may have none: None where it has."""
        found: list[Any] = []
        for one, value, leaves in zip(self.traced, given, flat, strict=True):
            with one.region.active():
                check = missing(name, leaves)
            found.append(not isinstance(value, Undefined) if check is None else check.holds)
        return None if all(holds is True for holds in found) else self._leaf(name, found)

    def _leaf(self, name: str, leaves: list[Any], checked: bool = False) -> Any:
        first = leaves[0]
        if not all(map(is_number, leaves)):
            for k, leaf in enumerate(leaves):
                if not same_static(first, leaf):
                    raise self._different(name, 0, k, _shown(first), _shown(leaf), leaf)
            return first
        if self.shares and all(_is_same(first, leaf, self.traced) for leaf in leaves):
            return first
        type_, scalar = as_tracer(first).type, is_scalar(first)
        for k, leaf in enumerate(leaves):
            other = as_tracer(leaf).type
            dtype = promote(type_, other)
            strong = [t.dtype for t in (type_, other) if not t.weak]
            # Of statements the dtype is that of np.where, of functions that of all branches.
            differ = not self.shares and any(dtype != d for d in strong)
            if type_.shape != other.shape or differ:
                raise self._different(name, 0, k, described(type_), described(other), leaf)
            type_ = TensorType(dtype, type_.shape, type_.weak and other.weak)
            scalar = scalar and is_scalar(leaf)
        return _Merged(name, leaves, type_, scalar, checked)

    def _different(
        self, name: str, i: int, k: int, was: str, now: str, leaf: Any = None
    ) -> BranchError:
        remedy = (f"give `{name}` one structure, dtype and shape in all branches "
                  "(np.zeros, astype, np.broadcast_to)")
        if getattr(leaf, "is_dynamic", False):
            remedy = "np.where; or do in the branch what is to be done with the slice"
        return BranchError(
            f"`{name}` is {was} in the branch `{self.names[i]}` and {now} in "
            f"`{self.names[k]}`",
            where=line_of(leaf), types=[was, now], remedy=remedy,
        )


@dataclass
class _Merged:
    """A leaf that differs from branch to branch. ``checked``: whether it has a value is, later."""

    name: str
    of: list[Any]
    type: TensorType
    scalar: bool
    checked: bool
    result: Tracer | None = None


@dataclass
class _Variable:
    leaves: list[Any]
    tree: TreeDef
    holds: Any = None

    def rebuilt(self, name: str) -> Any:
        if self.holds is not None:
            why = f"the branch{in_line()} that was taken does not assign it"
            made = [leaf.result for leaf in self.leaves if isinstance(leaf, _Merged)]
            Missing(_result(self.holds), name, why).mark(made)
        return unflatten(self.tree, map(_result, self.leaves))


def _result(leaf: Any) -> Any:
    return leaf.result if isinstance(leaf, _Merged) else leaf


def _is_same(first: Any, leaf: Any, traced: Sequence[_Traced]) -> bool:
    """Whether two leaves are one number, or one view of storage outside the branches."""
    if isinstance(first, Tracer) and isinstance(leaf, Tracer):
        own = any(first.cell.trace is one.region for one in traced)
        same = first.cell is leaf.cell and first.path == leaf.path and first.shape == leaf.shape
        return same and not own
    if isinstance(first, Tracer) or isinstance(leaf, Tracer):
        return False
    return first is leaf or (
        type(first) in (bool, int, float) and type(first) is type(leaf)
        and repr(first) == repr(leaf)
    )


def _shown(leaf: Any) -> str:
    return described(as_tracer(leaf).type) if is_number(leaf) else repr(leaf)

