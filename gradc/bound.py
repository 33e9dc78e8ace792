"""Compiled methods: what ``instance.method`` is when the class has a compiled function.

The attributes of the instance are arguments like any other, so that a method sees them as they are
at each call and is compiled anew only when their types change.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Container, Hashable
from typing import TYPE_CHECKING, Any, cast

from gradc.context import current
from gradc.errors import ArgumentError, ReadOnlyError
from gradc.leaves import Withheld
from gradc.lowering import Plain
from gradc.portable import Portable
from gradc.signature import Argnums, as_tuple
from gradc.syntax.convert import rewritten
from gradc.tree import flatten

if TYPE_CHECKING:
    from gradc.codegen.report import Report
    from gradc.compile import Compiled


_ABSENT = object()


def attributes(instance: Any, without: Container[str] = ()) -> dict[str, Any]:
    """The attributes of an instance, those in slots too, ``without`` some that cannot be read."""
    slots = _all_slots(cast(Hashable, type(instance)))
    held: dict[str, Any] = getattr(instance, "__dict__", {})
    if not slots:
        return held.copy()
    return {name: getattr(instance, name) for name in slots
            if name not in without and hasattr(instance, name)} | held


@functools.lru_cache(maxsize=256)
def _all_slots(kind: Any) -> list[str]:
    return [name for one in kind.__mro__ for name in _slots(one)]


def _slots(kind: type) -> list[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    private = f"_{kind.__name__.lstrip('_')}"
    return [
        private + name if name.startswith("__") and not name.endswith("__") else name
        for name in names
        if name not in ("__dict__", "__weakref__")
    ]


def _withheld(value: Any) -> Withheld | None:
    """What in an attribute gradc cannot take, if there is such."""
    return next((leaf for leaf in flatten(value)[0] if isinstance(leaf, Withheld)), None)


def _without(owner: type, withheld: dict[str, Withheld]) -> type:
    """The class of an instance with attributes that must not be used: to touch one is an error."""
    if not withheld:
        return owner

    def refusing(reason: Withheld) -> property:
        def refuse(*_: Any) -> None:
            raise ArgumentError(reason.what, remedy=reason.remedy)

        return property(refuse, refuse)

    refused = {name: refusing(reason) for name, reason in withheld.items()}
    named = {"__module__": owner.__module__, "__qualname__": owner.__qualname__}
    try:
        kind: type = type(owner)(owner.__name__, (owner,), {**named, **refused})
    except Exception as error:  # a class that lets no other be made of it
        reason = next(iter(withheld.values()))
        raise ArgumentError(reason.what, remedy=reason.remedy) from error
    return kind


class Opened:
    """A method as a function of its instance's attributes and its other arguments."""

    __name__: str
    __qualname__: str

    def __init__(self, method: Callable[..., Any], owner: type, rewrite: bool = True) -> None:
        functools.update_wrapper(self, method, updated=())
        self.method = method
        self.owner = owner
        self.rewrite = rewrite
        # Set here, since a signature found through __wrapped__ is that of the method anyway.
        self.__signature__ = inspect.signature(method)

    def __call__(self, state: dict[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run the method on an instance that has these attributes."""
        withheld = {name: found for name, value in state.items() if (found := _withheld(value))}
        state = {name: value for name, value in state.items() if name not in withheld}
        owner = _without(self.owner, withheld)
        try:
            instance: Any = object.__new__(owner)
        except TypeError:
            raise ArgumentError(
                f"{self.__qualname__} is a method of {self.owner.__qualname__}, a kind of "
                f"{self.owner.__mro__[-2].__name__}: such an instance cannot be traced",
                remedy="make it a function of what the instance holds",
            ) from None
        for name, value in state.items():
            object.__setattr__(instance, name, value)
        method = rewritten(self.method) if self.rewrite else self.method
        result = method(instance, *args, **kwargs)
        after = attributes(instance, withheld)
        for name in {**state, **after}:
            cached = isinstance(getattr(self.owner, name, None), functools.cached_property)
            if not cached and state.get(name, _ABSENT) is not after.get(name, _ABSENT):
                raise ReadOnlyError(
                    f"{self.__qualname__} sets `self.{name}`: it would happen only while tracing",
                    remedy="return the new value, and set the attribute where the method is called",
                )
        return result


def open_method(compiled: Compiled[..., Any], owner: type) -> Compiled[..., Any]:
    """The compiled method as a function of attributes, for the instances of a class."""
    from gradc.compile import Compiled

    plain = compiled.function
    assert isinstance(plain, Plain)
    argnums = compiled.argnums
    if argnums == 0:  # the default: an instance is nothing to differentiate in
        argnums = 1 if len(plain.parameters.positional) > 1 or plain.parameters.rest else ()
    elif 0 in as_tuple(argnums, "argnums"):
        raise ArgumentError(
            f"argnums={argnums!r} of method {plain.label} names the instance itself (0)",
            remedy="count from 1, or give the parameters' names",
        )
    static = tuple(one for one in as_tuple(plain.static, "static_argnums") if one != 0)
    opened = Plain(Opened(plain.python, owner, plain.rewrite), static, argnums)
    opened.parameters.state = plain.parameters.positional[0]
    return Compiled(opened, argnums, compiled.has_aux)


class Bound(Portable):
    """A compiled method of an instance.

    Its ``argnums`` count the instance, as its signature does; where they were not given, it is
    differentiated in the first argument after the instance.
    """

    __name__: str

    def __init__(self, opened: Compiled[..., Any], instance: Any) -> None:
        vars(self).update(opened.presented)
        self.__self__ = instance
        self._opened = opened

    @property
    def __signature__(self) -> inspect.Signature:
        whole = inspect.signature(self._opened)
        return whole.replace(parameters=list(whole.parameters.values())[1:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method."""
        function = self._opened.function
        if current() is not None and isinstance(function, Plain):
            assert isinstance(function.python, Opened)
            method = function.python.method
            if function.python.rewrite:
                method = rewritten(method)
            return method(self.__self__, *args, **kwargs)
        return self._opened(attributes(self.__self__), *args, **kwargs)

    @property
    def value_and_grad(self) -> Bound:
        """As :attr:`Compiled.value_and_grad <gradc.compile.Compiled.value_and_grad>`."""
        return Bound(self._opened.value_and_grad, self.__self__)

    @property
    def grad(self) -> Bound:
        """As :attr:`Compiled.grad <gradc.compile.Compiled.grad>`."""
        return Bound(self._opened.grad, self.__self__)

    def explain(self, *args: Any, **options: Any) -> Report:
        """As :meth:`Compiled.explain <gradc.compile.Compiled.explain>`."""
        return self._opened.explain(attributes(self.__self__), *args, **options)

    def ir(self, *args: Any, **options: Any) -> str:
        """As :meth:`Compiled.ir <gradc.compile.Compiled.ir>`."""
        return self._opened.ir(attributes(self.__self__), *args, **options)

    def llvm(self, *args: Any, **options: Any) -> str:
        """As :meth:`Compiled.llvm <gradc.compile.Compiled.llvm>`."""
        return self._opened.llvm(attributes(self.__self__), *args, **options)

    def asm(self, *args: Any, **options: Any) -> str:
        """As :meth:`Compiled.asm <gradc.compile.Compiled.asm>`."""
        return self._opened.asm(attributes(self.__self__), *args, **options)

    def _callee(self) -> tuple[Compiled[..., Any], tuple[Any, ...]]:
        return self._opened, (attributes(self.__self__),)

    def clear_cache(self) -> None:
        """Forget all specialisations, those for other instances of the class too."""
        self._opened.clear_cache()

    def derived(self, kind: str, argnums: Argnums = 0, has_aux: bool = False) -> Bound:
        """As :meth:`Compiled.derived <gradc.compile.Compiled.derived>`, not counting it."""
        counted = tuple(
            one + 1 if isinstance(one, int) and one >= 0 else one
            for one in as_tuple(argnums, "argnums")
        )
        alone = counted[0] if isinstance(argnums, (int, str)) else counted
        return Bound(self._opened.derived(kind, alone, has_aux), self.__self__)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, self.__name__)

    def __repr__(self) -> str:
        return f"<compiled method {self._opened.function.label} of {self.__self__!r}>"
