"""Wrappers on what NumPy's hooks do not see, in place only while a thread traces.

Array creation (``np.zeros``, ``np.array([x, y])``), ``np.random``, ``random`` and ``math`` are
looked up in their modules when they are called, so answering there reaches user code in any shape:
methods, partials, helpers in other modules. Names bound with ``from numpy import zeros`` are found
in the modules that hold them. For threads that do not trace, and for calls from NumPy's own code, a
wrapper is the original; compiled extensions see the originals alone.
"""

from __future__ import annotations

import functools
import math
import random
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np

from gradc import creation_handlers as handlers
from gradc.context import contexts
from gradc.lookups import Lookups, is_extension, is_users
from gradc.tracer import Tracer

#: packages whose modules keep what they imported; those that gradc needs are many, and no user's
_UNTOUCHED = sys.stdlib_module_names | {"numpy", "scipy", "gradc", "networkx", "llvmlite"}

Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def _traces_user_code() -> bool:
    """Whether this thread traces and the call comes from user code."""
    return bool(contexts()) and is_users(sys._getframe(2))


def _wrapper(original: Any, handler: Handler) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not _traces_user_code():
            return original(*args, **kwargs)
        return handler(original, args, kwargs)

    functools.update_wrapper(wrapper, original)
    wrapper.wrapped_by_gradc = original  # type: ignore[attr-defined]
    return wrapper


class _Concatenator:
    """np.r_ or np.c_."""

    def __init__(self, original: Any, columns: bool) -> None:
        self._original = original
        self._columns = columns

    def __getitem__(self, key: Any) -> Any:
        if not _traces_user_code():
            return self._original[key]
        return handlers.concatenator(self._original, self._columns, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _in_numpy() -> Iterator[tuple[Any, Any]]:
    for table, handler in handlers.TABLES:
        for name in table:
            if name in np.__dict__:
                yield np.__dict__[name], _wrapper(np.__dict__[name], handler)
    yield np.linalg.norm, _wrapper(np.linalg.norm, handlers.of_a_list)
    yield np.nditer, _wrapper(np.nditer, handlers.iteration)
    yield np.isscalar, _wrapper(np.isscalar, handlers.is_scalar)
    yield np.errstate, _wrapper(np.errstate, handlers.error_state)
    yield np.seterr, _wrapper(np.seterr, handlers.error_state)
    yield np.r_, _Concatenator(np.r_, columns=False)
    yield np.c_, _Concatenator(np.c_, columns=True)


def _in_random() -> Iterator[tuple[Any, Any]]:
    for module in (np.random, random):
        for name in module.__all__:
            original = module.__dict__[name]
            if callable(original) and not isinstance(original, type):
                yield original, _wrapper(original, handlers.random)


def _in_math() -> Iterator[tuple[Any, Any]]:
    for name, original in list(math.__dict__.items()):
        if callable(original) and not name.startswith("_"):
            yield original, _wrapper(original, handlers.mathematics)


def _in_special() -> Iterator[tuple[Any, Any]]:
    module = sys.modules["scipy.special"]
    for name in module.__all__:
        original = module.__dict__[name]
        if isinstance(original, FunctionType):
            yield original, _wrapper(original, handlers.special)


def _user_modules() -> Iterator[dict[str, Any]]:
    """The namespaces of the loaded modules that may hold names of NumPy's."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in _UNTOUCHED:
            yield getattr(module, "__dict__", {})


def _release(names: Iterable[str]) -> None:
    """Give the modules that were imported while tracing the arrays that they made."""
    for name in names:
        namespace = getattr(sys.modules.get(name), "__dict__", {})
        for key, value in list(namespace.items()):
            if isinstance(value, Tracer) and value.is_constant:
                namespace[key] = value.array()


class _Installation:
    """The wrappers, made once; how many traces need them; what to put back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.traces = 0
        #: namespace, name, original, wrapper
        self.replaced: list[tuple[dict[str, Any], str, Any, Any]] = []
        #: original, wrapper
        self.wrappers: list[tuple[Any, Any]] = []
        #: whether those of ``scipy.special`` are among them
        self.special = False
        #: id of an original -> its wrapper
        self.by_original: dict[int, Any] = {}
        #: id of a wrapper -> its original
        self.by_wrapper: dict[int, Any] = {}
        #: id of a module's namespace -> its size and the names in it that hold originals
        self.scanned: dict[int, tuple[int, tuple[str, ...]]] = {}
        #: the modules that had been imported before
        self.modules: set[str] = set()
        modules = (np, np.linalg, np.random, math, random)
        self.lookups = Lookups(modules, self.by_original, contexts)

    def make(self) -> None:
        for source in (_in_numpy, _in_random, _in_math):
            self.wrappers += source()
        self.index()

    def make_special(self) -> None:
        """Wrap functions of SciPy's, once it has been imported."""
        self.wrappers += _in_special()
        self.lookups.add(sys.modules["scipy.special"])
        self.scanned.clear()
        self.special = True
        self.index()

    def index(self) -> None:
        self.by_original.update((id(original), wrapper) for original, wrapper in self.wrappers)
        self.by_wrapper.update((id(wrapper), original) for original, wrapper in self.wrappers)

    def enter(self, namespaces: list[dict[str, Any]]) -> None:
        with self.lock:
            if not self.wrappers:
                self.make()
            if self.traces == 0:
                # Another thread may be about to import it: its list of names comes last.
                if not self.special and hasattr(sys.modules.get("scipy.special"), "__all__"):
                    self.make_special()
                self.lookups.enter()
                self.modules = set(sys.modules)
            self.traces += 1
            for namespace in _user_modules():
                self.rebind(namespace, self.names_in_module(namespace))
            for namespace in namespaces:
                self.rebind(namespace, self.names_in(namespace))

    def replace(self, namespace: dict[str, Any], name: str, original: Any, wrapper: Any) -> None:
        namespace[name] = wrapper
        self.replaced.append((namespace, name, original, wrapper))

    def names_in(self, namespace: dict[str, Any]) -> tuple[str, ...]:
        """The names that are bound to an original, or at this moment to its wrapper."""
        held = list(namespace.items())
        return tuple(
            name
            for name, value in held
            if id(value) in self.by_original or id(value) in self.by_wrapper
        )

    def names_in_module(self, namespace: dict[str, Any]) -> tuple[str, ...]:
        """The same, looked up anew only when the module has grown."""
        size, names = self.scanned.get(id(namespace), (-1, ()))
        if size != len(namespace):
            names = () if is_extension(namespace) else self.names_in(namespace)
            self.scanned[id(namespace)] = (len(namespace), names)
        return names

    def rebind(self, namespace: dict[str, Any], names: tuple[str, ...]) -> None:
        """Replace names that were bound to an original by ``from numpy import ...``."""
        for name in names:
            wrapper = self.by_original.get(id(namespace.get(name)))
            if wrapper is not None:
                self.replace(namespace, name, namespace[name], wrapper)

    def leave(self) -> None:
        with self.lock:
            self.traces -= 1
            if self.traces == 0:
                self.lookups.leave()
                for namespace, name, original, wrapper in self.replaced:
                    if namespace.get(name) is wrapper:
                        namespace[name] = original
                self.replaced.clear()
                _release(name for name in list(sys.modules) if name not in self.modules)
                # A module that was imported meanwhile took its names from the wrapped ones.
                for namespace in _user_modules():
                    for name in self.names_in_module(namespace):
                        if id(namespace.get(name)) in self.by_wrapper:
                            namespace[name] = self.by_wrapper[id(namespace[name])]


_installation = _Installation()


def unwrapped(function: Any) -> Iterator[Any]:
    """A function, and what it stands for: through decorators, partials, methods and callables."""
    while function is not None:
        yield function
        names = ("__wrapped__", "func", "__func__")
        inner = (getattr(function, name) for name in names if hasattr(function, name))
        call = type(function).__call__ if callable(function) else None
        function = next(inner, call if hasattr(call, "__code__") else None)


@contextmanager
def wrappers(function: Any) -> Iterator[None]:
    """Keep the wrappers in place while ``function`` is traced in this thread."""
    _installation.enter([f.__globals__ for f in unwrapped(function) if hasattr(f, "__globals__")])
    try:
        yield
    finally:
        _installation.leave()
