"""A specialisation as native code: how its arguments are given, how its result comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from gradc.collector import AT_REST
from gradc.errors import of_a_run
from gradc.fingerprint import key
from gradc.ir.graph import Graph
from gradc.ir.ops.control import NoTapeMemory, TooManyTrips
from gradc.ir.ops.effects import Mismatch, Unassigned
from gradc.ir.ops.random import ParameterError
from gradc.ir.types import TensorType
from gradc.lowering import Lowered
from gradc.tree import TreeDef, unflatten

if TYPE_CHECKING:
    from gradc.codegen.callable import Entry
    from gradc.codegen.code import Code
    from gradc.codegen.form import Form
    from gradc.codegen.guards import ArgSpec
    from gradc.codegen.kernel import Failure, Kernel

Array = np.ndarray[Any, Any]
Kind = Literal["array", "float", "int", "bool", "scalar"]

#: ``Py_TPFLAGS_HEAPTYPE``: a class made by Python code
_HEAP = 1 << 9


class Native:
    """The native code of a lowered call, compiled or taken from the cache when first asked for.

    ``graph`` makes the graph to compile; ``types`` are those of its inputs; ``keys`` are the keys
    of the call's leaves (:func:`gradc.signature.leaf_key`); ``slow`` takes the calls that the entry
    point does not fit.
    """

    def __init__(
        self,
        graph: Callable[[], Graph],
        lowered: Lowered,
        types: Sequence[TensorType],
        keys: Sequence[Hashable],
        label: str,
        slow: Callable[..., Any],
    ) -> None:
        self._graph = graph
        self.lowered = lowered
        self.types = types
        self.label = label
        self.kinds: list[Kind] = [kind_of(keys[k]) for k in lowered.inputs]
        self._inputs = [
            (k, kind, type_.dtype)
            for k, kind, type_ in zip(lowered.inputs, self.kinds, types, strict=True)
        ]
        self._slow = slow
        self._lock = threading.Lock()

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel, whose stages can be read."""
        from gradc.codegen.kernel import Kernel

        return Kernel(self._graph())

    @cached_property
    def _made(self) -> tuple[Entry | None, Callable[..., Any]]:
        from gradc.codegen import cpython

        if not cpython.supported():
            return None, self._call_kernel
        from gradc.codegen.callable import Hooks, link_entry
        from gradc.codegen.code import Externals
        from gradc.codegen.structure import dict_keys

        lowered = self.lowered
        hooks = Hooks(
            self._slow, self._failed, lambda leaves: unflatten(lowered.out_tree, leaves)
        )
        try:
            structure, rebuild = structure_of(lowered.out_tree, count()), False
        except TypeError:
            structure, rebuild = None, True
        code = self._code(structure, rebuild)
        others = Externals(code.constants, code.prints, lowered.source, object_code_of)
        keys = tuple(dict_keys(structure))
        entry = link_entry(code.object_code, code.names, keys, hooks, others)
        return entry, entry.builtin(self.label)

    def _code(self, structure: Any, rebuild: bool) -> Code:
        from gradc.codegen.structure import outline

        source = self.lowered.source
        arguments = list(zip(self.kinds, map(str, self.types), strict=True))
        asked = (self.lowered.steps, arguments, outline(structure), rebuild)
        return stored(
            key((source,), "entry", *asked),
            lambda: self._compiled(structure, rebuild),
        )

    def _compiled(self, structure: Any, rebuild: bool) -> Code:
        source = self.lowered.source
        try:
            return self.kernel.code(self._specs(), structure, source, rebuild=rebuild)
        except NoTapeMemory as error:
            raise of_a_run(error) from None

    @property
    def entry(self) -> Entry | None:
        """The CPython entry point on the leaves, where this interpreter supports one."""
        with self._lock:
            return self._made[0]

    def entry_of(self, form: Form) -> Entry | None:
        """The entry point, if it is for this form of call."""
        from gradc.codegen.form import flat

        return self.entry if form == flat(self._specs()) else None

    def front(self, form: Form) -> Entry | None:
        """An entry point for another form of call, compiled now or taken from the cache."""
        entry = self.entry
        if entry is None:
            return None
        from gradc.codegen.callable import load_front

        return load_front(form, entry, self._slow, object_code_of)

    def _specs(self) -> tuple[ArgSpec, ...]:
        from gradc.codegen.guards import ArgSpec

        pairs = zip(self.kinds, self.types, strict=True)
        return tuple(ArgSpec(kind, type_.dtype, type_.shape) for kind, type_ in pairs)

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """The result for the leaves of a call."""
        with self._lock:
            _, call = self._made
        return call(*[as_kind(leaves[k], kind, dtype) for k, kind, dtype in self._inputs])

    def _call_kernel(self, *arguments: Any) -> Any:
        arrays = [contiguous(x, t.dtype) for x, t in zip(arguments, self.types, strict=True)]
        try:
            outputs = self.kernel(arrays)
        except ENDS as error:
            raise of_a_run(error) from None
        return finished(self.lowered, outputs)

    def _failed(self, status: int, arguments: tuple[Any, ...]) -> Any:
        from gradc.codegen.kernel import failure

        raise error_of(failure(status, self.kernel.program))


def stored(name: str | None, make: Callable[[], Code]) -> Code:
    """The code with this key: another process's, if it left that, or made now."""
    from gradc.codegen import cache
    from gradc.codegen.code import unpack

    packed = cache.read(name) if name else None
    if packed is not None:
        return unpack(packed)
    with AT_REST:
        code = make()
    if name:
        cache.write(name, code.pack())
    return code


def object_code_of(text: str) -> bytes:
    """The object code of a module that needs nothing besides."""
    from gradc.codegen.code import Code

    def make() -> Code:
        from gradc.codegen import jit

        return Code(jit.compile(text), (), {}, (), {})

    return stored(key((), "text", text), make).object_code


#: the failures of native code
ENDS = (IndexError, ParameterError, TooManyTrips, NoTapeMemory, Unassigned, Mismatch)


def error_of(failed: Failure) -> BaseException:
    """The exception for a kernel that failed, with the line of the user's program."""
    error = failed.error()
    node = failed.node
    if isinstance(error, ENDS) and node is not None:
        return of_a_run(error, node.locs[-1] if node.locs else None, [node.type])
    return error


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


def structure_of(tree: TreeDef, positions: Iterator[int]) -> Any:
    """A result's structure as native code builds it; raises TypeError where only Python can."""
    from gradc.codegen.structure import Record

    kind = tree.kind
    if kind is None:
        return next(positions)
    if kind is type(None):
        return None
    children = [structure_of(child, positions) for child in tree.children]
    if kind is tuple or kind is list:
        return kind(children)
    if kind is dict:
        return dict(zip(tree.keys, children, strict=True))
    if issubclass(kind, dict) or not kind.__flags__ & _HEAP:
        raise TypeError(f"native code makes no {kind.__name__}")
    if not issubclass(kind, tuple):
        object.__new__(kind)  # fails for a kind of something that has to be set up
    return Record(kind, () if issubclass(kind, tuple) else tree.keys, tuple(children))
