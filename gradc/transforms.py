"""Transforms of functions, with the names and the order of arguments and results of JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from gradc.bound import Bound
from gradc.compile import Compiled, compile
from gradc.context import current
from gradc.errors import ArgumentError
from gradc.ir import ops
from gradc.signature import Argnums
from gradc.surroundings import surroundings
from gradc.tracer import Tracer, fresh
from gradc.tree import flatten, unflatten


@functools.lru_cache(maxsize=128)
def _compiled_once(
    function: Callable[..., Any], outside: tuple[Hashable, ...]
) -> Compiled[..., Any]:
    """The same compiled function for the same function, so that its specialisations are kept."""
    return compile(function)


def compiled(function: Callable[..., Any]) -> Compiled[..., Any] | Bound:
    """A function compiled, unless it is already; a method is compiled for its class."""
    if isinstance(function, (Compiled, Bound)):
        return function
    if not callable(function):
        raise ArgumentError(f"a function is needed, not {function!r}")
    if isinstance(function, MethodType) and isinstance(function.__func__, FunctionType):
        plain = function.__func__
        method: Compiled[..., Any] | Bound = _compiled_once(plain, surroundings(plain)).__get__(
            function.__self__
        )
        return method
    try:
        hash(function)
    except TypeError:
        return compile(function)
    return _compiled_once(function, surroundings(function))


def grad(
    function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Compiled[..., Any] | Bound:
    """The gradient of a scalar function, as a compiled function of the same arguments.

    It returns the gradient in the argument ``argnums`` (a position or a parameter's name), with the
    structure, shapes and dtypes of that argument; for a tuple of argnums a tuple of gradients. With
    ``has_aux`` the function returns ``(value, aux)``, and the gradient ``(gradient, aux)``.

    >>> import gradc
    >>> float(gradc.grad(lambda x: x**3)(2.0))
    12.0
    >>> float(gradc.grad(gradc.grad(lambda x: x**3))(2.0))
    12.0

    Raises NotScalarError for a result that is no scalar, NotDifferentiableError for an argument
    of integers (a Python int is taken as a float64).
    """
    return compiled(function).derived("grad", argnums, has_aux)


def value_and_grad(
    function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Compiled[..., Any] | Bound:
    """As :func:`grad`, with the value: ``(value, gradient)``.

    With ``has_aux`` it returns ``((value, aux), gradient)``.

    >>> import gradc
    >>> value, slope = gradc.value_and_grad(lambda x: x**3)(2.0)
    >>> float(value), float(slope)
    (8.0, 12.0)
    """
    return compiled(function).derived("value_and_grad", argnums, has_aux)


def jvp(
    function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Results of ``function(*primals)`` and their derivative in the direction ``tangents``.

    Forward mode. Tangents have the structure, shapes and dtypes of the primals; None is that of
    an integer. Integer results have the tangent None.

    >>> import gradc
    >>> value, slope = gradc.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    >>> float(value), float(slope)
    (6.0, 3.0)

    Raises ArgumentError for tangents that do not fit.
    """
    for name, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, (tuple, list)):
            raise ArgumentError(
                f"jvp takes a tuple of {name}, one for each argument, not {given!r}",
                remedy="gradc.jvp(f, (x,), (dx,))",
            )
    out: tuple[Any, Any] = compiled(function).derived("jvp")(tuple(primals), tuple(tangents))
    return out


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Results of ``function(*primals)`` and the function that pulls cotangents back.

    Reverse mode. ``pull(cotangents)``, of the structure of the results, returns a tuple with one
    cotangent for each primal. With ``has_aux`` the function returns ``(results, aux)``, and ``vjp``
    returns ``(results, pull, aux)``.

    >>> import numpy as np, gradc
    >>> y, pull = gradc.vjp(np.sin, np.array([0.0, np.pi]))
    >>> pull(np.ones(2))
    (array([ 1., -1.]),)
    """
    target = compiled(function)
    kept = _copied(primals)
    out = target(*kept)
    reverse = target.derived("vjp", 0, has_aux)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        result: tuple[Any, ...] = reverse(kept, cotangents)
        return result

    if not has_aux:
        return out, pull
    value, aux = out
    return value, pull, aux


def _copied(primals: Any) -> Any:
    """The arguments as they are now, whatever becomes of the caller's arrays."""
    leaves, tree = flatten(primals)
    return unflatten(
        tree, [x.copy() if isinstance(x, (np.ndarray, Tracer)) else x for x in leaves]
    )


def stop_gradient(x: Any) -> Any:
    """``x`` itself, a constant to differentiation. Takes arrays, numbers and pytrees.

    >>> import gradc
    >>> float(gradc.grad(lambda x: x * gradc.stop_gradient(x))(3.0))
    3.0
    """
    if current() is None:
        return x
    leaves, tree = flatten(x)
    return unflatten(tree, [_stopped(leaf) for leaf in leaves])


def _stopped(leaf: Any) -> Any:
    if not isinstance(leaf, Tracer) or leaf.is_constant or not leaf.type.differentiable:
        return leaf
    stopped = ops.stop_gradient(leaf.value)
    return fresh(stopped, weak=leaf.weak, is_scalar=leaf.is_scalar)
