"""What a call is made of: arguments bound to parameters, leaves told apart, the key of the call.

The key decides which specialisation serves a call: the structure of the arguments, and for each
leaf its dtype and shape, or its value where it is static.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradc.context import current
from gradc.errors import ArgumentError
from gradc.ir.types import TensorType
from gradc.leaves import (
    Opaque,
    Withheld,
    as_differentiable,
    describe,
    leaf_key,
    leaf_type,
    numbers_as_arrays,
    static_key,
)
from gradc.trace import Static
from gradc.tracer import Tracer
from gradc.tree import DEEPEST, TreeDef, flatten, paths

#: parameters chosen by position or name, as ``argnums`` and ``static_argnums`` take them
Argnums = int | str | Sequence[int | str]
#: where an argument stands in a bound call: its position, or its name when keyword-only
Place = int | str

# -- parameters ----------------------------------------------------------------------------------


class Parameters:
    """The parameters of a function: calls are bound to them, argnums resolved among them."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.name = name
        self.signature: inspect.Signature | None
        try:
            self.signature = inspect.signature(function)
        except (TypeError, ValueError):  # some builtins have none
            self.signature = None
        params = list(self.signature.parameters.values()) if self.signature else []
        self.positional = [
            p.name for p in params if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.keyword_only = [p.name for p in params if p.kind is p.KEYWORD_ONLY]
        self.rest = next((p.name for p in params if p.kind is p.VAR_POSITIONAL), None)
        self.open_keywords = next((p.name for p in params if p.kind is p.VAR_KEYWORD), None)
        #: the first parameter, where it is a method's instance given as a dict of attributes
        self.state: str | None = None
        # NumPy's functions tell a default from the same value given.
        home = getattr(getattr(function, "func", function), "__module__", None) or "numpy"
        self._fill = home.partition(".")[0] != "numpy"
        self._simple = len(self.positional) == len(params) and self.signature is not None

    def bind(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Arguments in the order of the parameters, defaults filled in.

        Keywords remain for keyword-only parameters and ``**kwargs``. Raises ArgumentError as Python
        raises TypeError.
        """
        if self.signature is None or (
            self._simple and not kwargs and len(args) == len(self.positional)
        ):
            return list(args), dict(kwargs)
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(
                f"{self.name}(): {error}", remedy=f"call it as {self.name}{self.signature}"
            ) from None
        if self._fill:
            bound.apply_defaults()
        return list(bound.args), dict(bound.kwargs)

    def argument_name(self, place: Place) -> str:
        """What the user calls the argument at a place."""
        if isinstance(place, str):
            return place
        if place < len(self.positional):
            return self.positional[place]
        return f"{self.rest or 'args'}[{place - len(self.positional)}]"

    def has_default(self, name: str) -> bool:
        """Whether a parameter has a default, so that it may be something else than usual."""
        known = self.signature.parameters if self.signature else {}
        return name in known and known[name].default is not inspect.Parameter.empty

    def check(self, argnums: Argnums, option: str) -> None:
        """Raise ValueError or TypeError for argnums that can name no parameter."""
        if self.signature is None:
            return
        many = self.rest is not None
        for one in as_tuple(argnums, option):
            if isinstance(one, str):
                named = one in self.positional or one in self.keyword_only
                known = named or self.open_keywords is not None
            else:
                known = many or -len(self.positional) <= one < len(self.positional)
            if not known and one == self.rest:
                raise ArgumentError(
                    f"{option}={one!r}: `*{one}` of {self.name}{self.signature} is many arguments",
                    remedy=f"choose them by position: {len(self.positional)} is the first",
                )
            if not known:
                raise ArgumentError(
                    f"{option}={one!r} names no parameter of {self.name}{self.signature}",
                    remedy=f"one of {', '.join((*self.positional, *self.keyword_only)) or 'none'}",
                )

    def places(
        self, argnums: Argnums, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> list[Place]:
        """Where the chosen arguments stand in a bound call; those that are absent are left out."""
        found: list[Place] = []
        for one in as_tuple(argnums, "argnums"):
            place: Place = one
            if isinstance(one, str) and one in self.positional:
                place = self.positional.index(one)
            if isinstance(place, int):
                place = place + len(args) if place < 0 else place
                if 0 <= place < len(args):
                    found.append(place)
            elif place in kwargs:
                found.append(place)
        return found


def as_tuple(argnums: Argnums, option: str) -> tuple[int | str, ...]:
    """Argnums as a tuple. Raises ArgumentError when they are none."""
    many = (argnums,) if isinstance(argnums, (int, str)) else argnums
    if isinstance(many, Sequence) and all(
        isinstance(one, (int, str)) and not isinstance(one, bool) for one in many
    ):
        return tuple(many)
    raise ArgumentError(
        f"{option} must be an int, a parameter's name, or a tuple of these, not {argnums!r}"
    )


# -- calls ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A call read: the structure of ``(args, kwargs)``, its leaves, and their keys."""

    tree: TreeDef
    leaves: list[Any]
    keys: tuple[Hashable, ...]

    def key(self, static: frozenset[int] = frozenset()) -> Hashable:
        """The key of the specialisation when the leaves ``static`` are guarded by value."""
        if not static:
            return (self.tree, self.keys)
        keys = [static_key(x) if k in static else key
                for k, (x, key) in enumerate(zip(self.leaves, self.keys, strict=True))]
        return (self.tree, tuple(keys))


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of a call, with the names of its leaves: what a specialisation was made for."""

    tree: TreeDef
    types: tuple[TensorType | Static, ...]
    names: tuple[str, ...]

    def __str__(self) -> str:
        pairs = zip(self.names, self.types, strict=True)
        return ", ".join(f"{name}: {describe(type_)}" for name, type_ in pairs)

    def arguments(self, parameters: Parameters) -> dict[str, tuple[bool, str]]:
        """What each argument is, and whether it holds numbers: it is not None, or like a str."""
        kinds = iter(self.types)
        positional, named = self.tree.children
        places: list[Place] = [*range(len(positional.children)), *named.keys]
        found = {}
        for place, child in zip(places, positional.children + named.children, strict=True):
            types = [next(kinds) for _ in range(child.num_leaves)]
            lone = child.kind is None
            number = not _is_odd(types[0]) if lone else child.kind is not type(None)
            text = describe(types[0]) if lone else f"the structure {child}"
            found[parameters.argument_name(place)] = (number, text if types else str(child))
        return found

    def changes(self, before: Signature) -> dict[str, str]:
        """Which leaves differ, and how: ``{"x": "from f64[3] to f64[4]"}``."""
        old = dict(zip(before.names, before.types, strict=True))
        new = dict(zip(self.names, self.types, strict=True))
        out = {}
        for name in [*new, *(name for name in old if name not in new)]:
            was, now = (describe(t[name]) if name in t else "absent" for t in (old, new))
            if was != now:
                out[name] = f"from {was} to {now}"
        return out


def _is_odd(type_: TensorType | Static) -> bool:
    return isinstance(type_, Static) and not isinstance(type_.value, (int, float, np.generic))


def read(
    parameters: Parameters,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    static: Argnums = (),
    arrays: Argnums = (),
    floats: Argnums = (),
) -> Call:
    """Bind a call and take its arguments apart.

    ``static`` arguments are leaves as a whole; in ``arrays`` lists of numbers become arrays; in
    ``floats``, the differentiated ones, ints become floats too.
    """
    bound, named = parameters.bind(args, kwargs)
    if static != ():
        _change(parameters, static, bound, named, Opaque)
    try:
        leaves, tree = flatten((tuple(bound), named))
    except ArgumentError:
        raise _too_deep(parameters, bound, named) from None
    if any(type(leaf) is int or type(leaf) is float for leaf in leaves):
        _change(parameters, floats, bound, named, as_differentiable)
        _change(parameters, arrays, bound, named, numbers_as_arrays)
        leaves, tree = flatten((tuple(bound), named))
    if any(type(leaf) is Tracer for leaf in leaves) and current() is None:
        # A constant that outlived its trace, in a cache, is an array like any other.
        leaves = [x.array() if isinstance(x, Tracer) and x.is_constant else x for x in leaves]
    return Call(tree, leaves, tuple(map(leaf_key, leaves)))


def _too_deep(
    parameters: Parameters, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> ArgumentError:
    """The error for a call whose arguments cannot be taken apart, naming the first of those."""
    given: list[tuple[Place, Any]] = [*enumerate(args), *kwargs.items()]
    for place, value in given:
        try:
            flatten(((value,),))  # as deep as among the arguments
        except ArgumentError as error:
            name = parameters.argument_name(place)
            return ArgumentError(
                f"argument `{name}` is nested more than {DEEPEST - 2} deep, or contains itself",
                remedy=error.remedy,
            )
    return ArgumentError(f"the arguments of {parameters.name} are nested too deeply")


def _change(
    parameters: Parameters,
    chosen: Argnums,
    args: list[Any],
    kwargs: dict[str, Any],
    change: Callable[[Any], Any],
) -> None:
    """Replace the chosen arguments of a bound call."""
    for place in parameters.places(chosen, args, kwargs):
        if isinstance(place, int):
            args[place] = change(args[place])
        else:
            kwargs[place] = change(kwargs[place])


def leaf_names(parameters: Parameters, tree: TreeDef) -> tuple[str, ...]:
    """The name of each leaf of a call, from the parameter on: ``params['W1']``."""
    positional, named = tree.children
    names = []
    for place, child in enumerate(positional.children):
        name = parameters.argument_name(place)
        found = paths(child, name)
        if place == 0 and parameters.state is not None:
            found = [re.sub(r"^(\w+)\['(\w+)'\]", r"\1.\2", path) for path in found]
        names += found
    for name, child in zip(named.keys, named.children, strict=True):
        names += paths(child, name)
    return tuple(names)


def leaf_types(
    parameters: Parameters,
    tree: TreeDef,
    leaves: Sequence[Any],
    names: Sequence[str],
    type_of: Callable[[Any, str], TensorType | Static] = leaf_type,
) -> list[TensorType | Static]:
    """How the leaves of a call are traced, each as ``type_of`` has it.

    What gradc cannot take is withheld where it belongs to a method's instance, since the method
    may not use it. Raises ArgumentError for any other.
    """
    optional = tree.children[0].children[0].num_leaves if parameters.state is not None else 0
    types: list[TensorType | Static] = []
    for k, (leaf, name) in enumerate(zip(leaves, names, strict=True)):
        try:
            types.append(type_of(leaf, name))
        except ArgumentError as error:
            if k >= optional:
                raise
            types.append(Static(Withheld(error.what, error.remedy)))
    return types
