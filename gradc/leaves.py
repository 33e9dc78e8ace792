"""Leaves of arguments: what a specialisation depends on, how they are traced, differentiated."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import numpy as np

from gradc.errors import ArgumentError
from gradc.ir.types import SHORT, TensorType, type_of
from gradc.trace import Static
from gradc.tracer import Tracer
from gradc.tree import LEAF, TreeDef, exact, flatten, unflatten

_STATIC = "static"
#: in place of the value in the key of what cannot be hashed
_UNHASHABLE = "unhashable"
_INT64 = range(-(2**63), 2**63)


class Opaque:
    """Makes one leaf of a static argument, whatever its structure."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Withheld:
    """Stands for an attribute of a method's instance that gradc cannot take: why, and a remedy."""

    __slots__ = ("remedy", "what")

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Withheld) and self.what == other.what  # which names it

    def __hash__(self) -> int:
        return hash(self.what)

    def __repr__(self) -> str:
        return "withheld"


def leaf_key(leaf: Any) -> Hashable:
    """What the specialisation depends on in a leaf: its type, or the value of a static one."""
    kind = type(leaf)
    if kind is np.ndarray or kind is np.memmap:
        dtype = leaf.dtype
        return (dtype if dtype.isnative else dtype.newbyteorder("="), leaf.shape)
    if kind is float or kind is bool or (kind is int and leaf in _INT64):
        return cast(Hashable, kind)
    if isinstance(leaf, np.generic) and not isinstance(leaf, (str, bytes)):
        return (leaf.dtype, ())
    if isinstance(leaf, Tracer):  # its hash is an error
        return (_STATIC, _UNHASHABLE)
    return static_key(leaf)


def static_value(leaf: Any) -> Any:
    """What the function is given for a leaf that is static."""
    if isinstance(leaf, Opaque):
        return leaf.value
    return leaf[()] if isinstance(leaf, np.ndarray) and not leaf.shape else leaf


def static_key(leaf: Any) -> Hashable:
    """The value, told apart from all that are merely equal to it (:func:`gradc.tree.exact`)."""
    try:
        key = (_STATIC, exact(static_value(leaf)))
        hash(key)
    except (TypeError, RecursionError):
        return (_STATIC, _UNHASHABLE)
    return key


def leaf_type(leaf: Any, path: str) -> TensorType | Static:
    """How a leaf is traced. Raises ArgumentError, naming ``path``, for what gradc cannot take."""
    if isinstance(leaf, Opaque):
        _check_hash(leaf.value, path)
        return Static(leaf.value)
    kind = type(leaf)
    if kind in (float, bool) or (kind is int and leaf in _INT64):
        return type_of(leaf)
    if isinstance(leaf, (str, bytes, type, ModuleType)):
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
        hash(exact(leaf))
    except (TypeError, RecursionError) as error:
        kind = type(leaf)
        base = next((b for b in (dict, list, tuple) if issubclass(kind, b) and kind is not b), None)
        what, remedy = "no array or number", "pass a tuple, list, dict or dataclass of arrays"
        if base is not None:
            what = f"a {kind.__name__}, no plain {base.__name__}"
            remedy = f"{base.__name__}({path})"
        elif isinstance(leaf, SimpleNamespace):
            remedy = f"vars({path}), a dict"
        raise ArgumentError(
            f"argument `{path}` is {what}, and as a static value it must be hashable: {error}",
            remedy=f"{remedy}, or something hashable",
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
