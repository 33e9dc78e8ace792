"""Checking derivatives against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradc.errors import ArgumentError
from gradc.transforms import compiled, jvp, vjp
from gradc.tree import flatten, unflatten

Array = np.ndarray[Any, Any]

#: by the size of the least precise dtype involved: tolerance, and the step of the differences,
#: about the cube root of the precision
_TOLERANCE = {4: 2e-2, 8: 1e-6}
_STEP = {4: 5e-3, 8: 6e-6}

_KINK = (
    "\nThe differences depend on the side or the step: there may be a kink or a jump at these "
    "arguments (abs, maximum or sqrt at 0, floor), where they say nothing. Try other arguments, or "
    "a lower order."
)


class GradientCheckError(AssertionError):
    """A derivative differs from the central difference.

    mode: "fwd" or "rev". order: of the derivative. numeric, analytic: the two numbers or arrays.
    hint: what may be the reason, if it is not the derivative.
    """

    def __init__(
        self, mode: str, order: int, numeric: Any, analytic: Any, what: str, hint: str = ""
    ) -> None:
        super().__init__(
            f"{what} of order {order} in mode {mode!r} differs from central differences:\n"
            f"  numeric  {numeric}\n  analytic {analytic}{hint}"
        )
        self.mode = mode
        self.order = order
        self.numeric = numeric
        self.analytic = analytic
        self.hint = hint.strip()


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int = 2,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Compare the derivatives of ``f`` at ``args`` with central differences in random directions.

    ``f`` takes arrays, numbers and pytrees of them and returns such. ``args`` is the tuple or list
    of its arguments; anything else is its only argument. ``modes``: "fwd" compares
    ``jvp``, "rev" ``vjp``; up to ``order`` the derivatives themselves are checked in the same way.
    Tolerances and step (``eps``) depend on the dtype if not given. The directions are the same at
    every call.

    Method: central differences and random projections, as in ``check_grads`` of autograd and JAX.

    >>> import numpy as np, gradc
    >>> gradc.check_grads(lambda x: np.sin(x) * x, (np.array([0.3, 2.0]),))

    Raises GradientCheckError, an AssertionError with mode, order and both numbers.
    """
    unknown = [mode for mode in modes if mode not in ("fwd", "rev")]
    if unknown or order < 1:
        raise ArgumentError(
            f"check_grads knows the modes 'fwd' and 'rev' and orders from 1, not {unknown or order}"
        )
    given = args if type(args) in (tuple, list) else (args,)
    args = tuple(_as_float(arg) for arg in given)
    size = min([leaf.dtype.itemsize for leaf in _floating(args)], default=8)
    checker = _Checker(
        modes,
        _TOLERANCE[size] if atol is None else atol,
        _TOLERANCE[size] if rtol is None else rtol,
        _STEP[size] if eps is None else eps,
    )
    checker.check(f, args, 1, order)


class _Checker:
    def __init__(self, modes: Sequence[str], atol: float, rtol: float, eps: float) -> None:
        self.modes = modes
        self.atol = atol
        self.rtol = rtol
        self.eps = eps
        self.rng = np.random.default_rng(0)

    def check(self, f: Callable[..., Any], args: tuple[Any, ...], order: int, last: int) -> None:
        direction = self.direction(args)
        out = f(*args)
        numeric = self.difference(f, args, direction, self.eps)

        def hint() -> str:
            return "" if self.is_smooth(f, args, direction) else _KINK

        forward = compiled(f).derived("jvp")
        if "fwd" in self.modes:
            _, analytic = jvp(f, args, direction)
            self.compare("fwd", order, numeric, _floating(analytic), "the jvp", hint)
        if "rev" in self.modes:
            cotangent = self.direction(out)
            _, pull = vjp(f, *args)
            pulled = _inner(_floating(pull(cotangent)), _floating(direction))
            pushed = _inner(numeric, _floating(cotangent))
            self.compare("rev", order, [np.asarray(pushed)], [np.asarray(pulled)], "the vjp", hint)
        if order == last:
            return
        if "fwd" in self.modes:
            def pushed_forward(*primals: Any) -> Any:
                return forward(primals, direction)[1]

            self.check(pushed_forward, args, order + 1, last)
        if "rev" in self.modes:
            weights = self.direction(out)
            reverse = compiled(f).derived("vjp")

            def pulled_back(*primals: Any) -> Any:
                return reverse(primals, weights)

            self.check(pulled_back, args, order + 1, last)

    def direction(self, like: Any) -> Any:
        """A random tangent of a pytree: None for the leaves that have none."""
        leaves, tree = flatten(like)
        return unflatten(tree, [self._random(leaf) for leaf in leaves])

    def _random(self, leaf: Any) -> Any:
        if not _is_floating(leaf):
            return None
        array = np.asarray(leaf)
        moved = self.rng.standard_normal(array.shape).astype(array.dtype)
        return moved if array.ndim else moved[()]

    def difference(
        self, f: Callable[..., Any], args: tuple[Any, ...], direction: Any, eps: float
    ) -> list[Array]:
        """(f(x + εv) − f(x − εv)) / 2ε, the floating leaves."""
        above = _as_double(f(*_moved(args, direction, eps)))
        below = _as_double(f(*_moved(args, direction, -eps)))
        return [(a - b) / (2 * eps) for a, b in zip(above, below, strict=True)]

    def is_smooth(self, f: Callable[..., Any], args: tuple[Any, ...], direction: Any) -> bool:
        """Whether differences to both sides are about equal, and those of twice the step too."""
        sides = [
            self.difference(f, _moved(args, direction, shift), direction, self.eps / 2)
            for shift in (self.eps / 2, -self.eps / 2)
        ]
        wider = self.difference(f, args, direction, 2 * self.eps)
        return all(
            np.allclose(a, c, 1e-2, 1e-2) and np.allclose(b, c, 1e-2, 1e-2)
            for a, b, c in zip(*sides, wider, strict=True)
        )

    def compare(
        self,
        mode: str,
        order: int,
        numeric: list[Array],
        analytic: list[Array],
        what: str,
        hint: Callable[[], str],
    ) -> None:
        for a, b in zip(numeric, analytic, strict=True):
            if a.shape != b.shape or not np.allclose(b, a, self.rtol, self.atol, equal_nan=True):
                raise GradientCheckError(mode, order, a, b, what, hint())


def _as_float(arg: Any) -> Any:
    leaves, tree = flatten(arg)
    return unflatten(tree, [float(x) if type(x) is int else x for x in leaves])


def _is_floating(leaf: Any) -> bool:
    if type(leaf) is float:
        return True
    return isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind == "f"


def _floating(value: Any) -> list[Array]:
    return [np.asarray(leaf) for leaf in flatten(value)[0] if _is_floating(leaf)]


def _as_double(value: Any) -> list[Array]:
    return [np.asarray(leaf, np.float64) for leaf in _floating(value)]


def _inner(a: list[Array], b: list[Array]) -> float:
    return float(
        sum(np.vdot(np.asarray(x, np.float64), np.asarray(y, np.float64))
            for x, y in zip(a, b, strict=True))
    )


def _moved(args: tuple[Any, ...], direction: Any, step: float) -> Any:
    """args + step · direction."""
    leaves, tree = flatten(args)
    # The direction has None in place of the leaves that do not move.
    moves = iter(flatten(direction)[0])
    moved = []
    for leaf in leaves:
        if _is_floating(leaf):
            array = np.asarray(leaf)
            new = (array + step * next(moves)).astype(array.dtype)
            moved.append(new if isinstance(leaf, np.ndarray) else type(leaf)(new))
        else:
            moved.append(leaf)
    return unflatten(tree, moved)
