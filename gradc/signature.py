"""What a call is made of: arguments bound to parameters, leaves told apart, the key of the call.

The key decides which specialisation serves a call: the structure of the arguments, and for each
leaf its dtype and shape, or its value where it is static.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir.types import SHORT, TensorType, type_of
from gradc.trace import Static
from gradc.tree import LEAF, TreeDef, flatten, paths, unflatten

#: parameters chosen by position or name, as ``argnums`` and ``static_argnums`` take them
Argnums = int | str | Sequence[int | str]
#: where an argument stands in a bound call: its position, or its name when keyword-only
Place = int | str

_STATIC = "static"
_INT64 = range(-(2**63), 2**63)


class Opaque:
    """Makes one leaf of a static argument, whatever its structure."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


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
        self.open_keywords = any(p.kind is p.VAR_KEYWORD for p in params)
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

    def check(self, argnums: Argnums, option: str) -> None:
        """Raise ValueError or TypeError for argnums that can name no parameter."""
        if self.signature is None:
            return
        many = self.rest is not None
        for one in as_tuple(argnums, option):
            if isinstance(one, str):
                known = one in self.positional or one in self.keyword_only or self.open_keywords
            else:
                known = many or -len(self.positional) <= one < len(self.positional)
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


# -- leaves --------------------------------------------------------------------------------------


def leaf_key(leaf: Any) -> Hashable:
    """What the specialisation depends on in a leaf: its type, or the value of a static one."""
    kind = type(leaf)
    if kind is np.ndarray:
        dtype = leaf.dtype
        return (dtype if dtype.isnative else dtype.newbyteorder("="), leaf.shape)
    if kind is float or kind is bool or (kind is int and leaf in _INT64):
        return cast(Hashable, kind)
    if isinstance(leaf, np.generic) and not isinstance(leaf, (str, bytes)):
        return (leaf.dtype, ())
    return static_key(leaf)


def static_value(leaf: Any) -> Any:
    """What the function is given for a leaf that is static."""
    if isinstance(leaf, Opaque):
        return leaf.value
    return leaf[()] if isinstance(leaf, np.ndarray) and not leaf.shape else leaf


def static_key(leaf: Any) -> Hashable:
    """The value itself, with its type (1 is not True); floats by their digits (0.0 is not −0.0)."""
    value = static_value(leaf)
    if isinstance(value, (float, complex)):
        return (_STATIC, type(value), repr(value))
    return (_STATIC, type(value), value)


def leaf_type(leaf: Any, path: str) -> TensorType | Static:
    """How a leaf is traced. Raises ArgumentError, naming ``path``, for what gradc cannot take."""
    if isinstance(leaf, Opaque):
        _check_hash(leaf.value, path)
        return Static(leaf.value)
    kind = type(leaf)
    if kind in (float, bool) or (kind is int and leaf in _INT64):
        return type_of(leaf)
    if isinstance(leaf, (str, bytes)):
        return Static(leaf)
    if isinstance(leaf, (np.ndarray, np.generic)):
        if kind is not np.ndarray and not isinstance(leaf, (np.generic, np.memmap)):
            raise ArgumentError(
                f"argument `{path}` is a {kind.__module__}.{kind.__qualname__}, whose operators "
                "and masks are its own",
                remedy=f"pass a plain array: np.asarray({path})",
            )
        return _array_type(leaf, path)
    if isinstance(leaf, complex):
        raise ArgumentError(
            f"argument `{path}` is complex", remedy="pass its real and imaginary parts"
        )
    if hasattr(leaf, "__array__") or hasattr(leaf, "__dlpack__"):
        raise ArgumentError(
            f"argument `{path}` is a {kind.__module__}.{kind.__qualname__}, not a NumPy array",
            remedy=f"np.asarray({path})",
        )
    _check_static(leaf, path)
    return Static(leaf)


def _array_type(leaf: Any, path: str) -> TensorType:
    dtype = leaf.dtype.newbyteorder("=")
    if dtype in SHORT:
        return TensorType(dtype, leaf.shape)
    remedy = {
        "O": f"np.array({path}, dtype=float), or a tuple of arrays where the lengths differ",
        "c": f"pass {path}.real and {path}.imag",
        "f": f"{path}.astype(np.float64)",
    }.get(dtype.kind, "pass numbers, or take the argument from the enclosing scope")
    raise ArgumentError(f"argument `{path}` has dtype {leaf.dtype}", remedy=remedy)


def _check_static(leaf: Any, path: str) -> None:
    """A static leaf must be hashable, and must not hold arrays that could change unseen."""
    _check_hash(leaf, path)
    kind = type(leaf)
    if callable(leaf) or not hasattr(leaf, "__dict__"):
        return
    for name, value in vars(leaf).items():
        if isinstance(value, np.ndarray):
            raise ArgumentError(
                f"argument `{path}` is a {kind.__qualname__}, and its array `{path}.{name}` would "
                "be frozen into the compiled code",
                remedy=f"make {kind.__qualname__} a dataclass, whose fields are traced, or pass "
                f"{path}.{name} itself",
            )


def _check_hash(leaf: Any, path: str) -> None:
    try:
        hash(leaf)
    except TypeError as error:
        raise ArgumentError(
            f"argument `{path}` is no array or number, and as a static value it must be hashable: "
            f"{error}",
            remedy="pass a tuple, list, dict or dataclass of arrays, or something hashable",
        ) from None


def describe(type_: TensorType | Static) -> str:
    """A leaf's type for messages: ``f64[3]``, ``float``, ``'mean'``."""
    if isinstance(type_, Static):
        name = getattr(type_.value, "__name__", None)
        text = name if callable(type_.value) and name else repr(type_.value)
        return text if len(text) <= 40 else text[:37] + "..."
    if type_.weak:
        return {"i": "int", "f": "float"}[type_.dtype.kind]
    return str(type_)


# -- differentiated arguments --------------------------------------------------------------------


def as_differentiable(value: Any) -> Any:
    """An argument as it is differentiated: ints are floats, lists of numbers are float64 arrays."""
    if type(value) is int:
        return float(value)
    return _map_lists(value, np.float64, float)


def numbers_as_arrays(value: Any) -> Any:
    """An argument whose lists of Python numbers are arrays, as NumPy would read them."""
    return _map_lists(value, None, lambda number: number)


def _map_lists(value: Any, dtype: Any, on_int: Callable[[int], Any]) -> Any:
    """``value`` with each list of nothing but Python numbers an array, and ints converted."""
    kind = type(value)
    if kind is np.ndarray or kind is float:
        return value
    if kind is int:
        return on_int(value)
    if kind is list:
        numbers = list(_numbers(value))
        if numbers and all(type(x) in (int, float) for x in numbers):
            try:
                return np.array(value, dtype)
            except ValueError:  # rows of different lengths: a pytree
                pass
    _, tree = flatten(value)
    if tree.kind is None or tree.kind is type(None):
        return value
    one_level = TreeDef(tree.kind, tree.keys, (LEAF,) * len(tree.children))
    return unflatten(one_level, [_map_lists(child, dtype, on_int) for child in children(value)])


def children(container: Any) -> list[Any]:
    """The parts of a pytree one level down."""
    if isinstance(container, dict):
        return list(container.values())
    if isinstance(container, (tuple, list)):
        return list(container)
    return [getattr(container, name) for name in flatten(container)[1].keys]


def _numbers(value: list[Any]) -> Iterator[Any]:
    for item in value:
        if type(item) is list:
            yield from _numbers(item)
        else:
            yield item


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
    leaves, tree = flatten((tuple(bound), named))
    if any(type(leaf) is int or type(leaf) is float for leaf in leaves):
        _change(parameters, floats, bound, named, as_differentiable)
        _change(parameters, arrays, bound, named, numbers_as_arrays)
        leaves, tree = flatten((tuple(bound), named))
    return Call(tree, leaves, tuple(map(leaf_key, leaves)))


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
