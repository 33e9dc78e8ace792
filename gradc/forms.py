"""The form of a call as native code checks it, from a call that has been served in Python."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from gradc.ir.types import F64
from gradc.leaves import Opaque, children
from gradc.lowering import Function, LeafTypes
from gradc.native import Kind
from gradc.signature import Call, Place
from gradc.trace import Static
from gradc.tree import TreeDef

if TYPE_CHECKING:
    from gradc.codegen.form import Constant, Form, Pattern

#: the most leaves of a call that native code takes apart: the code grows with them
MANY = 256

#: what never changes, however it is compared
_FIXED = (np.dtype, enum.Enum, BuiltinFunctionType, MethodType)

_BY_VALUE = (bool, int, float, str, bytes, type(None))


class _Unfit(Exception):
    """Something that only Python can check."""


class _Given:
    """Stands for an argument of a call while it is bound to the parameters."""

    def __init__(self, place: int) -> None:
        self.place = place


def form_of(
    function: Function,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    call: Call,
    types: LeafTypes,
    inputs: Sequence[Any],
) -> Form | None:
    """The form of a call that was read as ``call``; None where native code cannot check it.

    Every call that fits the form is one of the same specialisation: ``types`` are those of its
    leaves, ``inputs`` the leaves that its graph's inputs are.
    """
    from gradc.codegen.form import Argument, Form

    if len(call.leaves) > MANY:
        return None
    values = [*args, *kwargs.values()]
    places = map(_Given, range(len(values)))
    bound, named = function.parameters.bind(
        [next(places) for _ in args], dict(zip(kwargs, places, strict=True))
    )
    floats = function.parameters.places(function.floats, bound, named)
    reader = _Reader(call, types, inputs)
    trees = [*call.tree.children[0].children, *call.tree.children[1].children]
    sources: list[tuple[Place, Any]] = [*enumerate(bound), *named.items()]
    found = []
    try:
        for (place, source), tree in zip(sources, trees, strict=True):
            given = source.place if isinstance(source, _Given) else None
            value = source if given is None else values[given]
            pattern = reader.pattern(value, tree, place in floats)
            found.append(Argument(given, pattern, value if given is None else None))
    except _Unfit:
        return None
    return Form(len(args), tuple(kwargs), tuple(found))


class _Reader:
    """Makes the patterns of a call's arguments, in the order of its leaves."""

    def __init__(self, call: Call, types: LeafTypes, inputs: Sequence[Any]) -> None:
        self.leaves = zip(call.leaves, types, range(len(call.leaves)), strict=True)
        self.inputs: dict[int, list[int]] = {}
        for k, leaf in enumerate(inputs):
            self.inputs.setdefault(leaf, []).append(k)

    def pattern(self, value: Any, tree: TreeDef, floats: bool) -> Pattern:
        """The pattern of an argument as it was given; ``tree`` is its structure as it was read."""
        from gradc.codegen.form import Constant, Node

        kind = tree.kind
        if kind is None:
            return self.leaf(value, floats)
        if type(value) is not kind:
            raise _Unfit
        if kind is type(None):
            return Constant(kind, None)
        keys: tuple[Any, ...] = tree.keys
        if issubclass(kind, dict):
            if kind is not dict:
                raise _Unfit
            keys = tuple(map(constant, tree.keys))
        elif issubclass(kind, (tuple, list)):
            keys = ()
        inner = zip(children(value), tree.children, strict=True)
        return Node(kind, keys, tuple(self.pattern(child, sub, floats) for child, sub in inner))

    def leaf(self, value: Any, floats: bool) -> Pattern:
        """The pattern of a leaf as it was given."""
        from gradc.codegen.form import Leaf
        from gradc.codegen.guards import ArgSpec

        read, type_, k = next(self.leaves)
        if isinstance(read, Opaque):
            return opaque(value)
        if isinstance(type_, Static):
            return constant(value)
        kind = type(value)
        if floats and kind in (int, float) and type(read) is float:
            spec = ArgSpec("number", F64)
        elif kind in (int, float, bool):
            spec = ArgSpec(cast(Kind, kind.__name__), type_.dtype)
        elif kind is np.ndarray:
            spec = ArgSpec("array", type_.dtype, type_.shape)
        elif isinstance(value, np.generic) and kind is value.dtype.type:
            spec = ArgSpec("scalar", type_.dtype)
        else:
            raise _Unfit
        return Leaf(spec, tuple(self.inputs.get(k, ())))


def constant(value: Any) -> Constant:
    """The pattern of a static value.

    What is not compared by value is by identity: only where it never changes, or where identity is
    what its equality means.
    """
    from gradc.codegen.cpython import CHARS
    from gradc.codegen.form import Constant

    kind = type(value)
    number = isinstance(value, np.generic) and value.dtype.char in CHARS
    by_identity: bool = kind.__eq__ is vars(object)["__eq__"] and kind.__hash__ is not None
    if kind in _BY_VALUE or number or by_identity or isinstance(value, _FIXED):
        return Constant(kind, value)
    raise _Unfit


def opaque(value: Any) -> Pattern:
    """The pattern of an argument that is static as a whole."""
    from gradc.codegen.form import Node

    if type(value) is tuple:
        return Node(tuple, (), tuple(map(opaque, value)))
    return constant(value)
