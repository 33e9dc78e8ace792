"""Derivatives of functions, as functions that can be lowered in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gradc.errors import ArgumentError, NotDifferentiableError, NotScalarError, OutputError
from gradc.ir import autodiff
from gradc.ir.graph import Graph
from gradc.ir.region_forward import NoTangent
from gradc.leaves import children, describe
from gradc.lowering import Function, LeafTypes, Lowered, derivative
from gradc.signature import Argnums, Parameters, as_tuple
from gradc.trace import Static
from gradc.tree import flatten, unflatten


class Gradient:
    """The gradient of a scalar function by reverse mode, with or without its value."""

    def __init__(
        self, of: Function, argnums: Argnums = 0, has_aux: bool = False, value: bool = False
    ) -> None:
        of.parameters.check(argnums, "argnums")
        self.of = of
        self.argnums = argnums
        self.has_aux = has_aux
        self.value = value
        self.python = of.python
        self.label = f"{of.label}.{'value_and_grad' if value else 'grad'}"
        self.parameters = of.parameters
        self.static = of.static
        self.arrays = of.arrays
        chosen = as_tuple(argnums, "argnums")
        self.floats: Argnums = (*as_tuple(of.floats, "argnums"), *chosen)

    def clear(self) -> None:
        """Forget what was traced."""
        self.of.clear()

    def lower(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: LeafTypes,
        names: Sequence[str],
    ) -> Lowered:
        """Value first, then auxiliary results, then gradients, as JAX orders them."""
        chosen = self._chosen(args, kwargs, types)
        inner = self.of.lower(args, kwargs, types, names)
        value, aux = self._results(inner)
        wrt = positions(inner, chosen, types, names, self.label)
        inputs = tuple(k for _, k in wrt)
        first = inner.out_tree.num_leaves
        found = {leaf: first + k for k, (leaf, _) in enumerate(wrt)}
        gradients = [gradient_like(given, found) for given in chosen]
        result: Any = tuple(gradients) if not isinstance(self.argnums, (int, str)) else gradients[0]
        if self.value:
            result = ((value, aux), result) if self.has_aux else (value, result)
        elif self.has_aux:
            result = (result, aux)
        return derivative(
            inner,
            lambda graph: autodiff.value_and_grad(graph, inputs, value),
            ("value_and_grad", inputs, value),
            result,
            inner.inputs,
        )

    def _chosen(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], types: LeafTypes
    ) -> list[Any]:
        """The differentiated arguments, as structures of leaf positions."""
        chosen = []
        for one in as_tuple(self.argnums, "argnums"):
            places = self.parameters.places(one, args, kwargs)
            if not places:
                many = isinstance(one, str) and one == self.parameters.open_keywords
                raise ArgumentError(
                    f"{self.label} differentiates in argument {one!r}, which this call has not",
                    remedy=f"`**{one}` is many arguments: choose them by their own names"
                    if many
                    else "pass it, or choose another by argnums=",
                )
            place = places[0]
            given = args[place] if isinstance(place, int) else kwargs[place]
            if isinstance(given, int):
                type_ = types[given]
                if isinstance(type_, Static):
                    raise NotDifferentiableError(
                        f"{self.label} differentiates in argument "
                        f"`{self.parameters.argument_name(place)}`, which is "
                        f"{describe(type_)}: static, no number",
                        remedy="choose another by argnums=, by position or by name",
                    )
            chosen.append(given)
        return chosen

    def _results(self, inner: Lowered) -> tuple[int, Any]:
        """The position of the value among the outputs, and the structure of the rest."""
        result = inner.result
        if not self.has_aux:
            return scalar(self.of.label, inner, result), None
        if type(result) is not tuple or len(result) != 2:
            raise OutputError(
                f"has_aux=True, but {self.of.label} returned "
                + ("one array or number" if isinstance(result, int) else str(inner.out_tree)),
                remedy="return (value, aux): the scalar first, then what goes with it",
            )
        return scalar(self.of.label, inner, result[0]), result[1]


def scalar(
    label: str,
    inner: Lowered,
    result: Any,
    *,
    alone: str = "return the scalar alone; with has_aux=True return (value, aux)",
    reduced: str = "reduce it (np.sum, np.mean), or use gradc.vjp or gradc.jvp",
) -> int:
    """The position of a result that must be one floating scalar.

    ``alone`` and ``reduced`` are the remedies for several results, and for one that is none.
    """
    if not isinstance(result, int):
        raise NotScalarError(
            f"the gradient of {label} needs one scalar result, not {flatten(result)[1]}",
            remedy=alone,
        )
    node = inner.graph.nodes[inner.graph.outputs[result]]
    where = node.locs[-1] if node.locs else None
    if node.type.shape:
        raise NotScalarError(
            f"the gradient of {label} needs a scalar result, not one of shape {node.type.shape}",
            where=where, types=[node.type],
            remedy=reduced,
        )
    if not node.type.differentiable:
        raise NotDifferentiableError(
            f"the gradient of {label} needs a floating result, not {node.type.dtype}",
            where=where, types=[node.type], remedy="return a floating number",
        )
    return result


def positions(
    inner: Lowered,
    chosen: Any,
    types: LeafTypes,
    names: Sequence[str],
    label: str,
    strict: bool = True,
) -> list[tuple[int, int]]:
    """(leaf, input of the graph) of every leaf to differentiate in; static leaves are passed over.

    Raises NotDifferentiableError for integers and bools, which are passed over if not ``strict``.
    """
    input_of = {leaf: k for k, leaf in enumerate(inner.inputs) if isinstance(leaf, int)}
    found: dict[int, int] = {}
    for leaf in flatten(chosen)[0]:
        type_ = types[leaf]
        if isinstance(type_, Static) or not (strict or type_.differentiable):
            continue
        if not type_.differentiable:
            raise NotDifferentiableError(
                f"{label} differentiates in argument `{names[leaf]}`, which is "
                f"{type_.dtype}: it has no gradient",
                types=[f"{names[leaf]}: {type_}"],
                remedy=f"pass {names[leaf]}.astype(np.float64)"
                if type_.shape
                else f"pass float({names[leaf]}), or choose another argument by argnums=",
            )
        found[leaf] = input_of[leaf]
    return list(found.items())


def gradient_like(given: Any, found: Mapping[int, Any]) -> Any:
    """The structure of an argument with what was found for its leaves, None for the static ones."""
    leaves, tree = flatten(given)
    return unflatten(tree, [found.get(leaf) for leaf in leaves])


def jvp_signature(
    primals: tuple[object, ...], tangents: tuple[object, ...]
) -> tuple[object, object]:
    """Results and their tangents."""
    raise NotImplementedError


def vjp_signature(primals: tuple[object, ...], cotangents: object) -> tuple[object, ...]:
    """Cotangents of the primals."""
    raise NotImplementedError


class _Directional:
    """What forward and reverse mode share: both take primals and directions, all floating."""

    def __init__(self, of: Function, python: Callable[..., Any], mode: str) -> None:
        self.of = of
        self.python = python
        self.label = f"{of.label}.{mode}"
        self.parameters = Parameters(python, self.label)
        self.static: Argnums = ()
        self.arrays: Argnums = ()
        self.floats: Argnums = (0, 1)

    def clear(self) -> None:
        """Forget what was traced."""
        self.of.clear()


class Forward(_Directional):
    """``(primals, tangents) -> (results, their tangents)``, by forward mode."""

    def __init__(self, of: Function) -> None:
        super().__init__(of, jvp_signature, "jvp")

    def lower(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: LeafTypes,
        names: Sequence[str],
    ) -> Lowered:
        """Results and tangents, of one pass."""
        primals, tangents = args
        inner = self.of.lower(primals, {}, types, names)
        wrt = positions(inner, primals, types, names, self.label, strict=False)
        tangent_of = matching(primals, tangents, types, names, "tangent", self.label)
        inputs = tuple(k for _, k in wrt)
        count = len(inner.graph.outputs)
        floating = [k for k, t in enumerate(inner.graph.output_types) if t.differentiable]
        moved = {k: count + n for n, k in enumerate(floating)}
        result = (inner.result, gradient_like(inner.result, moved))
        moves = [tangent_of[leaf] for leaf, _ in wrt]
        return derivative(
            inner,
            lambda graph: _forward(graph, inputs),
            ("jvp", inputs),
            result,
            (*inner.inputs, *moves),
        )


def _forward(graph: Graph, inputs: Sequence[int]) -> Graph:
    """The graph with its tangents. Raises NotDifferentiableError where one is not known."""
    try:
        return autodiff.jvp(graph, inputs)
    except NoTangent as error:
        raise NotDifferentiableError(
            str(error), where=error.locs[-1] if error.locs else None,
            types=[str(graph.nodes[i].type) for i in graph.inputs],
            remedy="give it a custom_jvp, which serves both, or use gradc.vjp") from None


class Reverse(_Directional):
    """``(primals, cotangents) -> cotangents of the primals``, by reverse mode."""

    def __init__(self, of: Function, has_aux: bool = False) -> None:
        super().__init__(of, vjp_signature, "vjp")
        self.has_aux = has_aux

    def lower(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        types: LeafTypes,
        names: Sequence[str],
    ) -> Lowered:
        """A tuple with the cotangent of each primal."""
        primals, cotangents = args
        inner = self.of.lower(primals, {}, types, names)
        wrt = positions(inner, primals, types, names, self.label, strict=False)
        result = inner.result[0] if self.has_aux else inner.result
        outputs = flatten(result)[0]
        kinds = inner.graph.output_types
        results = [f"result{k}" for k in range(len(kinds))]
        given = matching(result, cotangents, kinds, results, "cotangent", self.label, types)
        floating = tuple(k for k in outputs if kinds[k].differentiable)
        inputs = tuple(k for _, k in wrt)
        found = {leaf: len(kinds) + n for n, (leaf, _) in enumerate(wrt)}
        return derivative(
            inner,
            lambda graph: autodiff.vjp(graph, inputs, floating),
            ("vjp", inputs, floating),
            tuple(gradient_like(primal, found) for primal in primals),
            (*inner.inputs, *(given[k] for k in floating)),
        )


def matching(
    primals: Any,
    moved: Any,
    types: LeafTypes,
    names: Sequence[str],
    word: str,
    label: str,
    moved_types: LeafTypes | None = None,
) -> dict[int, int]:
    """For each primal leaf the leaf that is its tangent or cotangent, of equal dtype and shape.

    A None stands for the tangent of what has none: an integer, a static leaf.
    """
    found: dict[int, int] = {}
    todo = [(primals, moved)]
    while todo:
        primal, other = todo.pop()
        if isinstance(primal, int):
            type_ = types[primal]
            if isinstance(type_, Static) or not type_.differentiable:
                continue
            if not isinstance(other, int):
                raise ArgumentError(
                    f"{label}: the {word} of `{names[primal]}` is missing",
                    types=[f"{names[primal]}: {type_}"],
                    remedy=f"give each {word} the structure of what it belongs to",
                )
            given = (moved_types or types)[other]
            wanted = (type_.dtype, type_.shape)
            if isinstance(given, Static) or (given.dtype, given.shape) != wanted:
                raise ArgumentError(
                    f"{label}: the {word} of `{names[primal]}` must be {type_.dtype} of shape "
                    f"{type_.shape}",
                    types=[f"{names[primal]}: {type_}", f"{word}: {describe(given)}"],
                    remedy=f"give the {word} that dtype and shape",
                )
            found[primal] = other
            continue
        leaves, tree = flatten(primal)
        if not leaves:
            continue
        _, other_tree = flatten(other)
        if (tree.kind, tree.keys, len(tree.children)) != (
            other_tree.kind, other_tree.keys, len(other_tree.children)
        ):
            raise ArgumentError(
                f"{label}: a {word} has the structure {other_tree}, not {tree}",
                remedy=f"give each {word} the structure of what it belongs to",
            )
        todo += zip(children(primal), children(other), strict=True)
    return found

