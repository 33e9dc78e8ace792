"""Functions with derivatives of their own: ``custom_vjp`` and ``custom_jvp``, as JAX has them."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradc.context import current
from gradc.control.carries import described, is_number
from gradc.control.regions import Closed, Region, captured, graph_of, here, is_scalar
from gradc.control.state import structure_of
from gradc.errors import ArgumentError, NotDifferentiableError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.ir.types import TensorType
from gradc.leaves import children
from gradc.numpy_api.values import as_tracer, is_traced, shape_of, to_value
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer, constant, fresh
from gradc.tree import TreeDef, flatten, paths, unflatten

#: how deep a rule may call the function that it is of and still find the rule there: the orders of
#: derivatives that are the rule's own
_ORDERS = 2


class _Custom:
    """What both kinds share: how a call is read, and how its parts are traced."""

    def __init__(
        self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()
    ) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.nondiff_argnums = tuple(nondiff_argnums)
        self._active = threading.local()

    @property
    def name(self) -> str:
        """What errors call the function."""
        return getattr(self.fun, "__name__", "function")

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's value; in a derivative, the rule's."""
        if current() is None:
            return self.fun(*args, **kwargs)
        if getattr(self._active, "depth", 0) >= _ORDERS:
            return rewritten(self.fun)(*args, **kwargs)
        bound = inspect.signature(self.fun).bind(*args, **kwargs)
        bound.apply_defaults()
        if bound.kwargs:
            raise ArgumentError(
                f"{self.name} has a derivative of its own, and takes arguments by position: "
                f"{', '.join(bound.kwargs)}", remedy="make them positional parameters")
        call = _Call(self, bound.args)
        return self._call(call) if call.moving else rewritten(self.fun)(*bound.args)

    def _call(self, call: _Call) -> Any:
        raise NotImplementedError

    @contextmanager
    def rule(self) -> Iterator[None]:
        """While a rule of the function is traced, which may call the function."""
        self._active.depth = getattr(self._active, "depth", 0) + 1
        try:
            yield
        finally:
            self._active.depth -= 1


class custom_vjp(_Custom):  # noqa: N801  (JAX's name; it decorates functions)
    """A function whose reverse derivative is given: ``f = custom_vjp(fun); f.defvjp(fwd, bwd)``.

    ``fwd(*args)`` returns the value and what ``bwd`` needs, a pytree; ``bwd(that, cotangent)``
    returns a tuple with the cotangent of each argument, None where there is none. Arguments in
    ``nondiff_argnums`` come first in ``bwd``, and have no cotangent. Forward mode does not know
    the function's tangent and refuses.

    >>> import numpy as np, gradc
    >>> @gradc.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, ct: (np.clip(ct, -1.0, 1.0),))
    >>> float(gradc.grad(lambda x: 5.0 * clipped(x))(2.0))
    1.0

    Raises ArgumentError where what ``fwd`` or ``bwd`` return does not fit.
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Give the function its reverse derivative."""
        self.fwd, self.bwd = fwd, bwd

    def _call(self, call: _Call) -> Any:
        if self.fwd is None or self.bwd is None:
            raise ArgumentError(f"{self.name} has no derivative yet",
                                remedy=f"{self.name}.defvjp(fwd, bwd)")
        body = Closed(self.name)
        with body.active():
            results = _Results(self.name, rewritten(self.fun)(*call.inputs(body)))
        forward = Closed(f"{self.name}_fwd")
        with forward.active(), self.rule():
            pair = rewritten(self.fwd)(*call.inputs(forward))
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ArgumentError(
                    f"the forward rule of {self.name} returns its value and what the backward "
                    "rule needs", remedy="return value, residuals")
            outputs = results.matched(pair[0], f"the forward rule of {self.name} returns")
            kept, kept_tree = flatten(pair[1])
            held = [k for k, leaf in enumerate(kept) if is_traced(leaf)]
            residuals = [kept[k].value for k in held]
        backward = Closed(f"{self.name}_bwd")
        with backward.active(), self.rule():
            for k, leaf in enumerate(kept):
                if k in held:
                    type_ = leaf.type
                    kept[k] = backward.input(f"kept{k}", type_, scalar=is_scalar(leaf))
                elif isinstance(leaf, Tracer):
                    kept[k] = constant(leaf.array().copy())
            cotangent = results.cotangents(backward)
            given = rewritten(self.bwd)(*call.nondiff, unflatten(kept_tree, kept), cotangent)
            pulled = call.cotangents(given)
        captures, (ids, forward_ids, backward_ids) = captured([body, forward, backward])
        call.refuse_floats(captures)
        count = len(call.moving)
        own = backward.builder.inputs
        middle, rest = own[: len(held)], [i for i in own if i not in backward_ids]
        graph = graph_of(body, [*body.builder.inputs[:count], *ids], results.values)
        fwd = graph_of(
            forward, [*forward.builder.inputs[:count], *forward_ids],
            [*outputs, *residuals, *(forward.builder.value(k) for k in forward_ids)],
        )
        bwd = graph_of(backward, [*middle, *backward_ids, *rest[len(held) :]], pulled)
        operands = [*call.operands(), *captures]
        return results.rebuilt(
            ops.call(here().builder, graph, operands, "custom_vjp", fwd, bwd)
        )


class custom_jvp(_Custom):  # noqa: N801  (JAX's name; it decorates functions)
    """A function whose forward derivative is given: ``f = custom_jvp(fun); f.defjvp(rule)``.

    ``rule(primals, tangents)`` returns the value and its tangent, which must be linear in the
    tangents: reverse mode transposes it. Arguments in ``nondiff_argnums`` come first, and are
    neither in primals nor tangents.

    >>> import numpy as np, gradc
    >>> @gradc.custom_jvp
    ... def log1pexp(x):
    ...     return np.log1p(np.exp(x))
    >>> @log1pexp.defjvp
    ... def _(primals, tangents):
    ...     (x,), (dx,) = primals, tangents
    ...     return log1pexp(x), dx / (1 + np.exp(-x))
    >>> float(gradc.grad(log1pexp)(0.0))
    0.5

    Raises ArgumentError where what the rule returns does not fit.
    """

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        super().__init__(fun, nondiff_argnums)
        self.jvp: Callable[..., Any] | None = None

    def defjvp(self, jvp: Callable[..., Any]) -> Callable[..., Any]:
        """Give the function its forward derivative; returns the rule, so that it decorates."""
        self.jvp = jvp
        return jvp

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """One rule for each argument: ``rule(tangent, value, *primals)``; None where it is zero."""

        def jvp(*given: Any) -> tuple[Any, Any]:
            *nondiff, primals, tangents = given
            args = list(primals)
            for place, value in sorted(zip(self.nondiff_argnums, nondiff, strict=True)):
                args.insert(place, value)
            value = self(*args)
            terms = [
                rule(t, value, *primals) for rule, t in zip(rules, tangents, strict=True)
                if rule is not None and t is not None
            ]
            return value, sum(terms[1:], terms[0]) if terms else None

        self.jvp = jvp

    def _call(self, call: _Call) -> Any:
        if self.jvp is None:
            raise ArgumentError(f"{self.name} has no derivative yet",
                                remedy=f"{self.name}.defjvp(rule)")
        body = Closed(self.name)
        with body.active():
            results = _Results(self.name, rewritten(self.fun)(*call.inputs(body)))
        region = Closed(f"{self.name}_jvp")
        with region.active(), self.rule():
            args = call.inputs(region)
            primals, tangents = call.differentiable(args), call.tangents(region)
            pair = rewritten(self.jvp)(*call.nondiff, primals, tangents)
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ArgumentError(f"the rule of {self.name} returns its value and its tangent",
                                    remedy="return value, tangent")
            outputs = results.matched(pair[0], f"the rule of {self.name} returns")
            outputs += results.tangents(pair[1])
        captures, (ids, region_ids) = captured([body, region])
        call.refuse_floats(captures)
        count = len(call.moving)
        own = [i for i in region.builder.inputs if i not in region_ids]
        graph = graph_of(body, [*body.builder.inputs[:count], *ids], results.values)
        fwd = graph_of(region, [*own[:count], *region_ids, *own[count:]], outputs)
        operands = [*call.operands(), *captures]
        return results.rebuilt(ops.call(here().builder, graph, operands, "custom_jvp", fwd))


class _Call:
    """The arguments of a call: what of them is traced, and what stays as it is."""

    def __init__(self, of: _Custom, args: Sequence[Any]) -> None:
        self.of = of
        self.args = tuple(args)
        chosen = {k % len(args) for k in of.nondiff_argnums} if args else set()
        self.places = [k for k in range(len(args)) if k not in chosen]
        self.nondiff = [args[k] for k in range(len(args)) if k in chosen]
        parts = [flatten(args[k]) for k in self.places]
        self.trees = [tree for _, tree in parts]
        self.leaves = [leaf for leaves, _ in parts for leaf in leaves]
        parameters = [*inspect.signature(of.fun).parameters]
        names = [parameters[k] if k < len(parameters) else f"arg{k}" for k in self.places]
        self.names = [
            path for name, tree in zip(names, self.trees, strict=True) for path in paths(tree, name)
        ]
        #: the positions of the leaves that are traced
        self.moving = [k for k, leaf in enumerate(self.leaves) if is_traced(leaf)]

    def operands(self) -> list[Value]:
        """The traced leaves in the trace under way."""
        return [self.leaves[k].value for k in self.moving]

    def inputs(self, region: Region) -> list[Any]:
        """The arguments with inputs of a region for the leaves that are traced."""
        leaves = list(self.leaves)
        for k in self.moving:
            leaf = leaves[k]
            t = region.input(self.names[k], leaf.type, scalar=leaf.is_scalar)
            t.cell.guard = f"`{self.names[k]}`, an argument of {self.of.name}"
            t.cell.rescue = "copy it first, and return the copy"
            leaves[k] = t
        args, rest = list(self.args), iter(leaves)
        for place, tree in zip(self.places, self.trees, strict=True):
            args[place] = unflatten(tree, [next(rest) for _ in range(tree.num_leaves)])
        return args

    def differentiable(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Those that are no ``nondiff_argnums``."""
        return tuple(args[k] for k in self.places)

    def tangents(self, region: Region) -> tuple[Any, ...]:
        """Inputs for the tangents of the arguments: zeros of what is known, None of integers."""
        leaves: list[Any] = []
        for k, leaf in enumerate(self.leaves):
            if not is_number(leaf) or not as_tracer(leaf).type.differentiable:
                leaves.append(None)
            elif k in self.moving:
                leaves.append(region.input(
                    f"d_{self.names[k]}", leaf.type._replace(weak=False), scalar=leaf.is_scalar))
            else:
                leaves.append(np.zeros(shape_of(leaf), as_tracer(leaf).dtype)[()])
        rest = iter(leaves)
        return tuple(
            unflatten(tree, [next(rest) for _ in range(tree.num_leaves)]) for tree in self.trees
        )

    def cotangents(self, given: Any) -> list[Value]:
        """Those of the traced floating leaves, of what a backward rule gave."""
        what = f"the backward rule of {self.of.name}"
        if not isinstance(given, tuple) or len(given) != len(self.places):
            raise ArgumentError(
                f"{what} returns a tuple of {len(self.places)} cotangents, one for each argument",
                types=[structure_of(flatten(given)[1])], remedy="return a tuple; None for none")
        found = [
            leaf for tree, value in zip(self.trees, given, strict=True)
            for leaf in _spread(tree, value, what)
        ]
        out = []
        for k in self.moving:
            type_ = self.leaves[k].type
            if type_.differentiable:
                out.append(_fitted(found[k], type_, f"{what}: the cotangent of `{self.names[k]}`"))
        return out

    def refuse_floats(self, captures: Sequence[Value]) -> None:
        """A traced float from around a function with its own rule has no derivative there."""
        for value in captures:
            if value.type.differentiable:
                node = value.node
                name = f"`{node.attrs['name']}`" if node.op.name == "input" else "one"
                raise NotDifferentiableError(
                    f"{self.of.name}, which has a derivative of its own, uses a traced value from "
                    f"around it, {name}: there is no rule for its derivative in that",
                    types=[str(value.type)], remedy=f"pass it to {self.of.name} as an argument",
                )


class _Results:
    """What a function returned while it was traced, and how what the rule returns fits it."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.leaves, self.tree = flatten(value)
        self.names = paths(self.tree, "value")
        self.moving = [k for k, leaf in enumerate(self.leaves) if is_number(leaf)]
        tracers = [as_tracer(self.leaves[k]) for k in self.moving]
        self.types = [t.type for t in tracers]
        self.values = [t.value for t in tracers]
        self.scalars = [t.is_scalar for t in tracers]

    def matched(self, value: Any, what: str) -> list[Value]:
        """The values of another result of this structure. Raises ArgumentError."""
        leaves, tree = flatten(value)
        if tree != self.tree:
            raise ArgumentError(
                f"{what} {structure_of(tree)} where {self.name} returns {structure_of(self.tree)}",
                remedy="return the function's own value first")
        pairs = zip(self.moving, self.types, strict=True)
        return [_fitted(leaves[k], type_, f"{what} `{self.names[k]}`") for k, type_ in pairs]

    def cotangents(self, region: Region) -> Any:
        """Inputs for the cotangents of floating results; None for the others."""
        leaves: list[Any] = [None] * len(self.leaves)
        for k, type_, scalar in zip(self.moving, self.types, self.scalars, strict=True):
            if type_.differentiable:
                strong = type_._replace(weak=False)
                leaves[k] = region.input(f"ct_{self.names[k]}", strong, scalar=scalar)
        return unflatten(self.tree, leaves)

    def tangents(self, given: Any) -> list[Value]:
        """The tangents of floating results that a rule gave."""
        what = f"the rule of {self.name}"
        found = _spread(self.tree, given, what)
        return [
            _fitted(found[k], type_, f"{what}: the tangent of `{self.names[k]}`")
            for k, type_ in zip(self.moving, self.types, strict=True) if type_.differentiable
        ]

    def rebuilt(self, results: Sequence[Value]) -> Any:
        """The result with these values."""
        leaves = list(self.leaves)
        rows = zip(self.moving, self.types, self.scalars, results, strict=True)
        for k, type_, scalar, value in rows:
            leaves[k] = fresh(value, weak=type_.weak, is_scalar=scalar)
        return unflatten(self.tree, leaves)


def _spread(tree: TreeDef, value: Any, what: str) -> list[Any]:
    """The leaves of a pytree of this structure, in which None may stand for any part."""
    if value is None:
        return [None] * tree.num_leaves
    if tree.kind is None:
        return [value]
    _, other = flatten(value)
    if (tree.kind, tree.keys, len(tree.children)) != (other.kind, other.keys, len(other.children)):
        raise ArgumentError(
            f"{what} gives {structure_of(other)} for {structure_of(tree)}",
            remedy="give it the structure of what it belongs to, or None")
    pairs = zip(tree.children, children(value), strict=True)
    return [leaf for child, part in pairs for leaf in _spread(child, part, what)]


def _fitted(leaf: Any, type_: TensorType, what: str) -> Value:
    """A leaf as a value of a type; None is zero. Raises ArgumentError for another shape."""
    if leaf is None:
        return to_value(np.zeros(type_.shape, type_.dtype), type_.dtype)
    if not is_number(leaf):
        raise ArgumentError(f"{what} is {leaf!r}, no number or array", remedy="return an array")
    given = as_tracer(leaf)
    if given.shape != type_.shape:
        raise ArgumentError(
            f"{what} has the shape {given.shape}, not {type_.shape}",
            types=[described(given.type), described(type_)], remedy="sum it, or broadcast it",
        )
    return to_value(given, type_.dtype)
