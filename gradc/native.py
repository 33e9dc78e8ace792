"""A specialisation as native code: how its arguments are given, how its result comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from gradc.errors import GradcError, IndexingError
from gradc.ir.graph import Graph
from gradc.lowering import Lowered
from gradc.tree import unflatten

if TYPE_CHECKING:
    from gradc.codegen.callable import Entry
    from gradc.codegen.guards import ArgSpec
    from gradc.codegen.kernel import Failure, Kernel

Array = np.ndarray[Any, Any]
Kind = Literal["array", "float", "int", "bool", "scalar"]

_CONTAINERS = (tuple, list, dict, int, type(None))


class Native:
    """The native code of a lowered call, compiled when it is first asked for.

    ``keys`` are the keys of the call's leaves (:func:`gradc.signature.leaf_key`); ``slow`` takes
    the calls that its entry point does not fit.
    """

    def __init__(
        self,
        graph: Graph,
        lowered: Lowered,
        keys: Sequence[Hashable],
        label: str,
        slow: Callable[..., Any],
    ) -> None:
        self.graph = graph
        self.lowered = lowered
        self.label = label
        self.kinds: list[Kind] = [kind_of(keys[k]) for k in lowered.inputs]
        self._inputs = [
            (k, kind, type_.dtype)
            for k, kind, type_ in zip(lowered.inputs, self.kinds, graph.input_types, strict=True)
        ]
        self._slow = slow
        self._lock = threading.Lock()

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel, whose stages can be read."""
        from gradc.codegen.kernel import Kernel

        return Kernel(self.graph)

    @cached_property
    def _made(self) -> tuple[Entry | None, Callable[..., Any]]:
        from gradc.codegen import cpython

        if not cpython.supported():
            return None, self._call_kernel
        from gradc.codegen.callable import Hooks

        lowered = self.lowered
        rebuild = not _is_plain(lowered.result)
        hooks = Hooks(
            self._slow, self._failed, lambda leaves: unflatten(lowered.out_tree, leaves)
        )
        structure = None if rebuild else lowered.result
        entry = self.kernel.entry(self._arguments(), structure, hooks, rebuild=rebuild)
        return entry, entry.builtin(self.label)

    def _arguments(self) -> list[ArgSpec]:
        from gradc.codegen.guards import ArgSpec

        types = self.graph.input_types
        return [ArgSpec(k, t.dtype, t.shape) for k, t in zip(self.kinds, types, strict=True)]

    @property
    def entry(self) -> Entry | None:
        """The CPython entry point on the leaves, where this interpreter supports one."""
        with self._lock:
            return self._made[0]

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The result for the leaves of a call."""
        with self._lock:
            _, call = self._made
        return call(*[as_kind(leaves[k], kind, dtype) for k, kind, dtype in self._inputs])

    def _call_kernel(self, *arguments: Any) -> Any:
        arrays = [contiguous(x, t.dtype) for x, t in
                  zip(arguments, self.graph.input_types, strict=True)]
        try:
            outputs = self.kernel(arrays)
        except IndexError as error:
            raise IndexingError(str(error)) from None
        return finished(self.lowered, outputs)

    def _failed(self, status: int, arguments: tuple[Any, ...]) -> Any:
        from gradc.codegen.kernel import failure

        raise error_of(failure(status, self.kernel.program))


def error_of(failed: Failure) -> BaseException:
    """The exception for a kernel that failed, with the line of the user's program."""
    error = failed.error()
    node = failed.node
    if isinstance(error, GradcError) or not isinstance(error, IndexError) or node is None:
        return error
    return IndexingError(
        str(error), where=node.locs[-1] if node.locs else None, types=[node.type],
        remedy="check the indices against the shape of the array",
    )


def kind_of(key: Hashable) -> Kind:
    """How native code takes a leaf with this key."""
    if isinstance(key, type):
        return cast(Kind, key.__name__)
    assert isinstance(key, tuple)
    return "array" if key[1] else "scalar"


def as_kind(leaf: Any, kind: Kind, dtype: np.dtype[Any]) -> Any:
    """A leaf exactly as the entry point asks for it."""
    if kind == "array":
        # Identity of the dtype and one flag are quick to ask; what fails may still need no copy.
        fits = type(leaf) is np.ndarray and leaf.dtype is dtype and leaf.flags.carray
        return leaf if fits else contiguous(leaf, dtype)
    return np.asarray(leaf, dtype)[()] if kind == "scalar" else leaf


def contiguous(leaf: Any, dtype: np.dtype[Any]) -> Array:
    """A leaf as an array that native code reads: C-ordered, aligned, in native byte order."""
    array = np.asarray(leaf, dtype, order="C")
    return array if array.flags.aligned else array.copy()


def finished(lowered: Lowered, outputs: Sequence[Array]) -> Any:
    """The result of a call: its structure, with NumPy scalars for the arrays of rank 0."""
    return unflatten(lowered.out_tree, [out if out.ndim else out[()] for out in outputs])


def _is_plain(result: Any) -> bool:
    """Whether a result consists of tuples, lists, dicts and None alone."""
    if type(result) not in _CONTAINERS:
        return False
    if isinstance(result, dict):
        return all(_is_plain(child) for child in result.values())
    return not isinstance(result, (tuple, list)) or all(_is_plain(child) for child in result)
