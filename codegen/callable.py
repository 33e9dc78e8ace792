"""From a loaded module with an entry point to a Python callable."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Hashable, Iterable, Sequence
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gradc.codegen import cpython
from gradc.codegen.link import Library, link
from gradc.codegen.structure import dict_keys

if TYPE_CHECKING:
    from gradc.codegen.code import Externals
    from gradc.codegen.entry import EntrySpec
    from gradc.codegen.form import Form
    from gradc.codegen.llvm import Module

_METH_FASTCALL, _METH_KEYWORDS = 0x0080, 0x0002


def _python(name: str, result: Any, *params: Any) -> Any:
    """A function of Python's C API, called with the GIL and with its exceptions raised."""
    return ctypes.PYFUNCTYPE(result, *params)((name, ctypes.pythonapi))


_free = _python("PyMem_RawFree", None, ctypes.c_void_p)
_new_builtin = _python(
    "PyCFunction_NewEx", ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p
)


class Hooks(NamedTuple):
    """The Python callables of an entry point. What they return or raise is what its caller gets.

    ``slow(*args, **kwargs)`` takes every call that no specialisation fits;
    ``failed(status, args)`` a kernel's nonzero status, with the tuple of arguments;
    ``rebuild(leaves)`` makes the result where ``ResultSpec.rebuild`` asks for it.
    """

    slow: Callable[..., object]
    failed: Callable[[int, tuple[Any, ...]], object]
    rebuild: Callable[[tuple[Any, ...]], object] | None = None


def exports(name: str = "entry") -> tuple[str, ...]:
    """The symbols of an entry point that :class:`Entry` needs."""
    return name, f"{name}_next", f"{name}_run", f"{name}_workspace"


def externals(keys: Sequence[Hashable], hooks: Hooks) -> dict[str, int]:
    """Addresses by name of all that an entry whose result has these dict keys may refer to.

    The objects are kept alive by the :class:`Entry` of the same keys and hooks.
    """
    own: dict[str, object] = {"slow": hooks.slow, "failed": hooks.failed, "rebuild": hooks.rebuild}
    own |= {f"key {k}": key for k, key in enumerate(keys)}
    return cpython.addresses() | {name: id(thing) for name, thing in own.items()}


def load_entry(module: Module, spec: EntrySpec, hooks: Hooks, name: str = "entry") -> Entry:
    """Compile a module with an entry for this machine and load it."""
    from gradc.codegen import jit

    keys = tuple(dict_keys(spec.results.structure))
    return link_entry(jit.compile(str(module)), module.externals, keys, hooks, name=name)


def link_entry(
    object_code: bytes,
    names: Iterable[str],
    keys: Sequence[Hashable],
    hooks: Hooks,
    others: Externals | None = None,
    name: str = "entry",
) -> Entry:
    """Load object code with an entry.

    ``names`` are the names of its externals, by slot; ``keys`` those of the dicts in its result;
    ``others`` has what is neither Python's nor the entry's own.
    """
    table = externals(keys, hooks)
    if others is not None:
        table |= {wanted: others.address(wanted) for wanted in names if wanted not in table}
    library = link(object_code, exports(name), {wanted: table[wanted] for wanted in names})
    return Entry(library, (hooks, keys, others), name)


def load_front(
    form: Form,
    behind: Entry,
    slow: Callable[..., object],
    compile: Callable[[str], bytes],
) -> Entry:
    """Load the front of an entry for another form of call; ``compile`` makes code of text."""
    from gradc.codegen.front import emit_front
    from gradc.codegen.llvm import Module

    # It has no vectors: the machine, which LLVM would have to be loaded for, is all the same to it.
    module = Module()
    module.attributes = "nounwind"
    objects = emit_front(module, form, "front")
    table = cpython.addresses() | {"run": behind.run, "slow": id(slow)}
    table |= {f"object {k}": id(thing) for k, thing in enumerate(objects)}
    externals = {wanted: table[wanted] for wanted in module.externals}
    library = link(compile(str(module)), ("front", "front_next"), externals)
    return Entry(library, (slow, objects, behind), "front", behind)


class _Code:
    """A loaded library and the workspace that its entry has laid by."""

    def __init__(self, library: Library, name: str) -> None:
        self.library = library
        self.workspace = library.address(f"{name}_workspace")

    def __del__(self) -> None:
        _free(ctypes.c_void_p.from_address(self.workspace).value)


def _hidden(thing: object) -> object:
    """What owns a reference to ``thing`` without showing it to the cycle collector.

    The collector runs the finalisers of everything in a dead cycle before it frees any of it: a
    finaliser that calls the compiled function must not find its code unloaded by the library's.
    NumPy's arrays take no part in the collection, and are freed with the last that holds them.
    """
    holder = np.empty((), object)
    holder[()] = thing
    return holder


class Entry:
    """A loaded entry point; it owns all that its code refers to.

    The code may run as long as the entry, one that it was linked from, or a callable made
    of it is referenced. ``address`` is that of the native function; ``run`` that of what its
    front calls, which is the front's own or that of the entry ``behind`` it.
    """

    def __init__(
        self,
        library: Library,
        alive: object,
        name: str = "entry",
        behind: Entry | None = None,
    ) -> None:
        self.alive = alive
        self.address = library.address(name)
        if behind is None:
            self.run = library.address(f"{name}_run")
            self._code = _hidden(_Code(library, name))
        else:
            self.run = behind.run
            self._code = _hidden((library, behind._code))
        self._next = ctypes.c_void_p.from_address(library.address(f"{name}_next"))
        self._slow = self._next.value
        self._linked: list[Entry] = []

    def link(self, following: Entry | None) -> None:
        """Where to go when a guard misses: to another entry, or (None) to ``hooks.slow``.

        An entry once linked stays alive with this one: a thread may still be in its kernel.
        """
        if following is not None and following not in self._linked:
            self._linked.append(following)
        self._next.value = following.address if following else self._slow

    def builtin(self, name: str, doc: str | None = None) -> BuiltinFunctionType:
        """A Python built-in function that calls this entry, and keeps it alive.

        The method definition is in ``bytes`` objects of a tuple: neither has anything that the
        cycle collector could clear before the function itself goes.
        """
        texts = [name.encode(), (doc or "").encode()]
        name_at, doc_at = map(_data_of, texts)
        flags = _METH_FASTCALL | _METH_KEYWORDS
        definition = struct.pack("PPiP", name_at, self.address, flags, doc_at if doc else 0)
        keep = (self, self._code, definition, *texts)
        made: BuiltinFunctionType = _new_builtin(_data_of(definition), keep, None)
        return made


def _data_of(text: bytes) -> int:
    return ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0
