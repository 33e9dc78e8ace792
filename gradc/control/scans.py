"""``gradc.scan``: a loop along arrays, as JAX has it, perhaps in blocks of iterations."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from gradc.context import current
from gradc.control.arguments import check_function, count_of, kind_of, shown
from gradc.control.carries import is_number, refuse_dtype
from gradc.control.checkpoints import checkpointed
from gradc.control.containers import unchanged
from gradc.control.functional import own
from gradc.control.loops import Loop
from gradc.control.segments import Checkpoint, check_checkpoint, segments_of
from gradc.control.state import State
from gradc.errors import ArgumentError, ShapeError
from gradc.numpy_api.values import as_tracer
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer
from gradc.tree import TreeDef, flatten, paths, unflatten

#: (carried leaves, rows of xs, how many) -> the carried leaves and the ys after these iterations
Block = Callable[[list[Any], list[Any], int], tuple[list[Any], list[Any]]]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    checkpoint: Checkpoint = None,
) -> tuple[Any, Any]:
    """Go along the leading axis of ``xs``: ``carry, y = f(carry, x)``; the last carry and the ys.

    xs: a pytree of arrays of one leading length, or None with ``length`` given. ys: what ``f``
    returns second, a pytree, stacked along a new leading axis. reverse: from the end; the ys are
    still in the order of the xs. unroll: how many iterations one turn of the loop makes (True:
    all of them). checkpoint: how many segments reverse mode divides the scan into, of which it
    keeps the carries at their beginnings and computes the rest again: a number, "sqrt" for the
    square root of the length, or a size as "64MB" that what is kept, carries and what the
    reverse of a segment needs, must not exceed.

    >>> import numpy as np, gradc
    >>> total, partial = gradc.scan(lambda c, x: (c + x, c * x), 0.0, np.array([1.0, 2.0, 3.0]))
    >>> float(total), partial
    (6.0, array([0., 2., 9.]))

    Raises CarryError where the carry changes its structure, a type or a shape; ShapeError for
    xs of different lengths; OptionError for a checkpoint that cannot be, or counts that are too
    small; ArgumentError for what is no such function, or no count.
    """
    check_function(f, "the function of gradc.scan", ("carry", "x"))
    leaves, tree = flatten(xs)
    for name, leaf in zip(paths(tree, "xs"), leaves, strict=True):
        if not is_number(leaf):
            raise refuse_dtype(name, leaf)
    count = _length(leaves, paths(tree, "xs"), length)
    turns = count_of(unroll if unroll is not True else max(count, 1), "unroll", 1)
    if not isinstance(reverse, (bool, np.bool_)):
        raise ArgumentError(f"reverse is {shown(reverse)}, neither True nor False",
                            types=[kind_of(reverse)], remedy="reverse=True")
    if current() is None:
        check_checkpoint(checkpoint)
        return _scan_in_python(f, own(init), leaves, tree, count, reverse)
    rows = [as_tracer(x) for x in leaves]
    one = _Scan(rewritten(f), init, tree, reverse)
    with unchanged("the function of gradc.scan", f):
        segments = segments_of(checkpoint, count, lambda: one.sizes(rows, count))
        return one.over(rows, count, turns, segments)


class _Scan:
    """A scan that is traced, perhaps as a loop over several iterations and the rest."""

    def __init__(self, f: Callable[..., Any], init: Any, xs_tree: TreeDef, reverse: bool) -> None:
        self.f = f
        self.xs_tree = xs_tree
        self.reverse = reverse
        self.state = State("carry", init)
        self.ys_tree: TreeDef | None = None

    def one(self, moving: list[Any], slices: list[Any]) -> tuple[list[Any], list[Any]]:
        """One iteration: the carried leaves and the leaves of y after it."""
        result = paired(self.f(self.state.filled(moving), unflatten(self.xs_tree, slices)))
        ys, self.ys_tree = flatten(result[1])
        check_ys(self.ys_tree, ys)
        return self.state.taken(result[0]), ys

    def sizes(self, xs: list[Tracer], count: int) -> tuple[int, int]:
        """The bytes of the carries, and of what the reverse of an iteration needs to be kept."""
        return self.untraced(xs, count, self.state.initial, self.one).sizes()

    def over(self, xs: list[Tracer], count: int, turns: int, segments: int) -> tuple[Any, Any]:
        """The scan over ``xs``, ``turns`` iterations in one, in segments."""

        def turned(moving: list[Any], rows: list[Any], n: int) -> tuple[list[Any], list[Any]]:
            if turns == 1 or not n:
                return self.loop(rows, n, moving, self.one)
            return self.blocks(rows, n, turns, moving, self.unrolled)

        def segment(moving: list[Any], rows: list[Any], n: int) -> tuple[list[Any], list[Any]]:
            out: tuple[list[Any], list[Any]] = checkpointed(
                lambda: turned(moving, rows, n), "segment")
            return out

        if segments < 2 or not count:
            last, ys = turned(self.state.initial, xs, count)
        else:
            size = -(-count // segments)
            last, ys = self.blocks(xs, count, size, self.state.initial, segment)
        assert self.ys_tree is not None
        return self.state.filled(last), unflatten(self.ys_tree, ys)

    def loop(
        self, xs: list[Any], count: int, initial: list[Any], one: Callable[..., Any]
    ) -> tuple[list[Any], list[Any]]:
        """One loop of the graph."""
        last, ys = self.untraced(xs, count, initial, one).run()
        return list(last), list(ys)

    def untraced(
        self, xs: list[Any], count: int, initial: list[Any], one: Callable[..., Any]
    ) -> Loop:
        """One loop, not traced yet."""
        state = State("carry", self.state.filled(initial))
        return Loop(
            state.carries(), initial, lambda _i, c, x: one(c, x), xs=xs, length=count,
            reverse=self.reverse,
        )

    def unrolled(self, moving: list[Any], rows: list[Any], n: int) -> tuple[list[Any], list[Any]]:
        """Iterations one after the other."""
        taken: list[list[Any]] = []
        for k in range_of(n, 0) if self.reverse else range_of(0, n):
            moving, ys = self.one(moving, [row[k] for row in rows])
            taken.append(ys)
        return moving, stacked(taken[::-1] if self.reverse else taken)

    def blocks(
        self, xs: list[Any], count: int, size: int, moving: list[Any], block: Block
    ) -> tuple[list[Any], list[Any]]:
        """A loop over blocks of ``size`` iterations, and the rest by themselves."""
        number, rest = divmod(count, size)
        whole = number * size
        # The rest comes last, which is at the beginning of xs when they are gone through backwards.
        first = rest if self.reverse else 0
        parts: list[list[Any]] = []
        if number:
            rows = [x[first : first + whole].reshape((number, size, *x.shape[1:])) for x in xs]
            moving, ys = self.loop(rows, number, moving, lambda c, x: block(c, x, size))
            parts.append([y.reshape((whole, *y.shape[2:])) for y in ys])
        if rest:
            rows = [x[:rest] if self.reverse else x[whole:] for x in xs]
            moving, ys = block(moving, rows, rest)
            parts.append(ys)
        if self.reverse:
            parts.reverse()
        return moving, [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]


def paired(result: Any) -> tuple[Any, Any]:
    """What the function of a scan returned. Raises ArgumentError for no pair."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError(
            f"the function of a scan returns (carry, y), not {shown(result)}",
            types=[kind_of(result)], remedy="return carry, None if there is no y")
    return result


def check_ys(tree: TreeDef, ys: list[Any]) -> None:
    """Raise DTypeError for a leaf of y that cannot be stacked."""
    for name, y in zip(paths(tree, "y"), ys, strict=True):
        if not is_number(y):
            raise refuse_dtype(name, y)


def range_of(lo: int, hi: int) -> builtins.range:
    """From lo up to hi, or from lo - 1 down to hi."""
    return builtins.range(lo, hi) if lo <= hi else builtins.range(lo - 1, hi - 1, -1)


def stacked(elements: list[list[Any]]) -> list[Any]:
    """Lists of leaves, one list for each iteration, as arrays with a new leading axis."""
    return [np.stack([as_tracer(y) for y in column]) for column in zip(*elements, strict=True)]


def _scan_in_python(
    f: Callable[..., Any], carry: Any, leaves: list[Any], tree: TreeDef, count: int, reverse: bool
) -> tuple[Any, Any]:
    rows: list[list[Any]] = []
    ys_tree = flatten(None)[1]
    for k in range_of(count, 0) if reverse else range_of(0, count):
        carry, y = paired(f(carry, unflatten(tree, [leaf[k] for leaf in leaves])))
        row, ys_tree = flatten(y)
        check_ys(ys_tree, row)
        rows.append(row)
    if reverse:
        rows.reverse()
    return carry, unflatten(ys_tree, [np.stack(column) for column in zip(*rows, strict=True)])


def _length(leaves: list[Any], names: list[str], length: int | None) -> int:
    wanted = None if length is None else count_of(length, "length")
    for name, leaf in zip(names, leaves, strict=True):
        shape = np.shape(leaf)
        if not shape:
            raise ShapeError(f"`{name}` has no axis to go along",
                             remedy="pass an array, or None and length=")
        if wanted is not None and shape[0] != wanted:
            raise ShapeError(
                f"`{name}` has {shape[0]} elements along its first axis, not {wanted}",
                types=[str(shape)], remedy="give all of xs, and length=, one length",
            )
        wanted = shape[0]
    if wanted is None:
        raise ArgumentError("a scan needs xs or a length", remedy="gradc.scan(f, init, None, n)")
    return wanted
