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
from gradc.control.arguments import check_function, kind_of, shown
from gradc.control.carries import is_number
from gradc.control.regions import Closed, Region, captured, graph_of, here, is_scalar
from gradc.control.results import Results, fitted, spread
from gradc.control.state import structure_of
from gradc.errors import ArgumentError, NotDifferentiableError, OptionError
from gradc.ir import ops
from gradc.ir.graph import Value
from gradc.numpy_api.values import as_tracer, is_traced, shape_of
from gradc.syntax.convert import rewritten
from gradc.tracer import Tracer, constant
from gradc.tree import flatten, paths, unflatten

#: how deep a rule may call the function that it is of and still find the rule there: the orders of
#: derivatives that are the rule's own
_ORDERS = 2


class _Custom:
    """What both kinds share: how a call is read, and how its parts are traced."""

    def __init__(
        self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()
    ) -> None:
        if not callable(fun):
            raise ArgumentError(f"a function is given a derivative, not {shown(fun)}",
                                types=[kind_of(fun)], remedy="decorate a function")
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
        signature = inspect.signature(self.fun)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{self.name} was called with other arguments: {error}",
                                types=[f"{self.name}{signature}"],
                                remedy="call it with what it takes") from None
        bound.apply_defaults()
        if bound.kwargs:
            raise ArgumentError(
                f"{self.name} has a derivative of its own, and takes arguments by position: "
                f"{', '.join(bound.kwargs)}", remedy="make them positional parameters")
        call = _Call(self, bound.args)
        return self._call(call) if call.moving else rewritten(self.fun)(*bound.args)

    def _call(self, call: _Call) -> Any:
        raise NotImplementedError

    def _check_rule(self, rule: Any, what: str, takes: Sequence[str] | None = None) -> None:
        """Raise ArgumentError for a rule that is no function, or not of these arguments."""
        if takes is not None or not callable(rule):
            given = takes or [*inspect.signature(self.fun).parameters]
            check_function(rule, what, given)

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
        for rule, what in ((fwd, "forward"), (bwd, "backward")):
            self._check_rule(rule, f"the {what} rule of {self.name}")
        self.fwd, self.bwd = fwd, bwd

    def _call(self, call: _Call) -> Any:
        if self.fwd is None or self.bwd is None:
            raise ArgumentError(f"{self.name} has no derivative yet",
                                remedy=f"{self.name}.defvjp(fwd, bwd)")
        nondiff = [f"arg{k}" for k in range(len(call.nondiff))]
        arguments = [f"arg{k}" for k in range(len(call.args))]
        self._check_rule(self.fwd, f"the forward rule of {self.name}", arguments)
        self._check_rule(
            self.bwd, f"the backward rule of {self.name}", [*nondiff, "residuals", "cotangent"])
        body = Closed(self.name)
        with body.active():
            results = Results(self.name, rewritten(self.fun)(*call.inputs(body)))
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
        self._check_rule(jvp, f"the rule of {self.name}")
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
        nondiff = [f"arg{k}" for k in range(len(call.nondiff))]
        self._check_rule(
            self.jvp, f"the rule of {self.name}", [*nondiff, "primals", "tangents"])
        body = Closed(self.name)
        with body.active():
            results = Results(self.name, rewritten(self.fun)(*call.inputs(body)))
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
        for k in of.nondiff_argnums:
            if not -len(args) <= k < len(args):
                raise OptionError(f"nondiff_argnums names argument {k} of {of.name}, which has "
                                  f"{len(args)}", remedy="the positions of arguments, from 0")
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
            for leaf in spread(tree, value, what)
        ]
        out = []
        for k in self.moving:
            type_ = self.leaves[k].type
            if type_.differentiable:
                out.append(fitted(found[k], type_, f"{what}: the cotangent of `{self.names[k]}`"))
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
