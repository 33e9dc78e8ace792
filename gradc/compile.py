"""``gradc.compile``: a Python function in, a compiled one out."""

from __future__ import annotations

import functools
import operator
import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

from gradc import inspect, pickling
from gradc.bound import Bound, open_method
from gradc.chain import Chain
from gradc.config import on_change, settings
from gradc.context import current
from gradc.derivative import Forward, Gradient, Reverse
from gradc.dispatch import Dispatcher, Specialization
from gradc.errors import ArgumentError
from gradc.lowering import Function, Plain, inline
from gradc.portable import Portable
from gradc.quickkey import remembered
from gradc.signature import Argnums, as_tuple
from gradc.syntax.convert import rewritten

if TYPE_CHECKING:
    from gradc.codegen.report import Report

#: the functions that have entry points
_linked: WeakSet[Compiled[..., Any]] = WeakSet()

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class _once(functools.cached_property[T]):
    """A cached property whose type is what it returns, though that is a descriptor itself."""


class Compiled(Portable, Generic[P, R]):
    """A function that runs as native code, specialised for the types of its arguments.

    Made by :func:`compile`, :func:`grad <gradc.grad>` and :func:`value_and_grad
    <gradc.value_and_grad>`. It is called like the function that it was made of, which is
    ``__wrapped__``, and has its name, documentation and signature. Called on traced values, it is
    traced through.
    """

    __wrapped__: Callable[P, R]
    __name__: str
    __qualname__: str

    def __new__(cls, *args: Any, **kwargs: Any) -> Compiled[P, R]:
        """Make a class for each function: calling an instance finds ``__call__`` in the class."""
        return super().__new__(type(cls.__name__, (cls,), {"__module__": cls.__module__}))

    def __init__(
        self,
        function: Function,
        argnums: Argnums = 0,
        has_aux: bool = False,
        origin: tuple[Any, ...] | None = None,
    ) -> None:
        python = function.python
        functools.update_wrapper(self, python, updated=())
        if not hasattr(python, "__name__"):  # a partial, a callable object
            self.__name__ = self.__qualname__ = type(python).__name__
        self.function = function
        self.argnums = argnums
        self.has_aux = has_aux
        #: of a derivative: the function, and the arguments of ``derived`` that made it of that
        self.origin = origin
        self.dispatcher = Dispatcher(function, self._slow)
        self._chain = Chain(function)
        self._derived: dict[tuple[Any, ...], Compiled[..., Any]] = {}
        self._lock = threading.Lock()
        self._methods: dict[type, Compiled[..., Any]] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function: natively, or by tracing it where a trace is under way."""
        return cast(R, self._slow(*args, **kwargs))

    def _slow(self, *args: Any, **kwargs: Any) -> Any:
        """Serve a call in Python: bind it, find its specialisation, convert its arguments."""
        if current() is not None:
            return self._traced_through(args, kwargs)
        quick = None if kwargs else remembered(args)
        if quick is not None:
            known = self.dispatcher.quick.get(quick[0])
            if known is not None:
                return known(quick[1])
        call = self.dispatcher.read(args, kwargs)
        found = self.dispatcher.find(call)
        settled = True
        if settings().jit:
            settled = self._chain.add(found, call, args, kwargs)
            self._install()
        if settled and quick is not None and _are_same(quick[1], call.leaves):
            self.dispatcher.remember(quick[0], found)
        return found(call.leaves)

    def _install(self) -> None:
        """Make the first entry point the ``__call__`` of this function's own class."""
        with self._lock:
            own, entry = type(self), self._chain.first
            if entry is not None and settings().jit:
                if "__call__" not in vars(own):
                    type.__setattr__(own, "__call__", entry.builtin(self.__name__))
                    _linked.add(self)
            elif "__call__" in vars(own):
                type.__delattr__(own, "__call__")

    def _traced_through(self, args: Any, kwargs: Any) -> Any:
        if isinstance(self.function, Plain):
            python = self.function.python
            return (rewritten(python) if self.function.rewrite else python)(*args, **kwargs)
        return inline(self.function, args, kwargs)

    @_once
    def value_and_grad(self) -> Compiled[..., Any]:
        """The function that returns ``(value, gradient)``, computed in one go.

        With ``has_aux`` it returns ``((value, aux), gradient)``. Gradients have the structure,
        shapes and dtypes of the arguments chosen by ``argnums``; a tuple of argnums gives a tuple
        of them.

        >>> import gradc
        >>> square = gradc.compile(lambda x: x * x)
        >>> value, slope = square.value_and_grad(3.0)
        >>> float(value), float(slope)
        (9.0, 6.0)

        Raises NotScalarError for a result that is no scalar, NotDifferentiableError for an
        argument of integers.
        """
        return self.derived("value_and_grad", self.argnums, self.has_aux)

    @_once
    def grad(self) -> Compiled[..., Any]:
        """The function that returns the gradient alone, or with ``has_aux`` ``(gradient, aux)``.

        >>> import gradc
        >>> square = gradc.compile(lambda x: x * x)
        >>> float(square.grad(3.0))
        6.0
        """
        return self.derived("grad", self.argnums, self.has_aux)

    @_once
    def presented(self) -> dict[str, Any]:
        """The name, documentation and so on of the function, which its bound methods have too."""
        holder = SimpleNamespace()
        functools.update_wrapper(cast(Any, holder), self.__wrapped__, updated=())
        return vars(holder)

    def derived(
        self, kind: str, argnums: Argnums = 0, has_aux: bool = False
    ) -> Compiled[..., Any]:
        """The compiled derivative of a kind: grad, value_and_grad, jvp or vjp; made once."""
        chosen = argnums if isinstance(argnums, (int, str)) else as_tuple(argnums, "argnums")
        key = (kind, chosen, has_aux)
        with self._lock:
            if key not in self._derived:
                function = _derivative(self.function, kind, chosen, has_aux)
                self._derived[key] = Compiled(function, origin=(self, *key))
            return self._derived[key]

    def all_derived(self) -> dict[tuple[Any, ...], Compiled[..., Any]]:
        """The derivatives made so far, by the arguments of :meth:`derived`."""
        with self._lock:
            return dict(self._derived)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Compiled[P, R]: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Bound: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """The method of an instance, or the function itself when taken from the class."""
        if instance is None or isinstance(self.__wrapped__, staticmethod):
            return self
        kind = type(instance)
        is_class = isinstance(instance, type)  # under classmethod
        if not is_class and (opened := self._methods.get(kind)) is not None:
            return Bound(opened, instance)
        with self._lock:
            if is_class:
                if instance not in self._methods:
                    method = self.__wrapped__.__get__(instance)
                    self._methods[instance] = Compiled(
                        Plain(method, self.function.static, self.argnums, _rewrites(self)),
                        self.argnums,
                        self.has_aux,
                    )
                return self._methods[instance]
            if kind not in self._methods:
                self._methods[kind] = open_method(self, kind)
            return Bound(self._methods[kind], instance)

    def __repr__(self) -> str:
        return f"<compiled {self.function.label}>"

    # -- looking inside ------------------------------------------------------------------------

    def specialization(self, *args: P.args, **kwargs: P.kwargs) -> Specialization:
        """The specialisation that serves this call; compiled if it is the first of its kind."""
        return self.dispatcher.find(self.dispatcher.read(args, kwargs))

    def ir(
        self, *args: Any, stage: str | None = None, grad: bool | None = None, **kwargs: Any
    ) -> str:
        """The function for these arguments, as text.

        stage: "traced", "adjoint", "optimized", "loops", "llvm" or "asm"; all graphs if not
            given.
        grad: show the function of the value and the gradient (by default where there is one), or
            that of the value alone.

        >>> import gradc
        >>> square = gradc.compile(lambda x: x * x)
        >>> print(square.ir(3.0, stage="traced", grad=False).splitlines()[0])
        graph lambda(x: f64[]~) -> (%0)

        Raises ArgumentError for an unknown stage.
        """
        return inspect.show(self, args, kwargs, stage, grad)

    def explain(self, *args: Any, grad: bool | None = None, **kwargs: Any) -> Report:
        """What the native code for these arguments costs, and why it is cut as it is.

        Each loop nest and library call with its flops, the bytes it reads and writes, what was
        fused into it, and why that was not fused with what comes before. The report is data, and
        prints itself; ``grad`` is that of :meth:`ir`.

        >>> import numpy as np, gradc
        >>> squares = gradc.compile(lambda x: np.sum(x * x))
        >>> report = squares.explain(np.ones(100), grad=False)
        >>> report.flops, report.read, report.written
        (200, 800, 8)
        """
        return inspect.explain(self, args, kwargs, grad)

    def source(self) -> str:
        """The Python source that is traced: the function as it was rewritten.

        Its loops and branches are hooks, which run plain Python unless they meet a traced value.
        Raises ArgumentError, with the reason, where the function is traced as it stands.
        """
        return inspect.source(self.__wrapped__, _rewrites(self))

    def llvm(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The LLVM IR: ``ir(..., stage="llvm")``."""
        return inspect.show(self, args, kwargs, "llvm", None)

    def asm(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The assembly: ``ir(..., stage="asm")``."""
        return inspect.show(self, args, kwargs, "asm", None)

    def _callee(self) -> tuple[Compiled[..., Any], tuple[Any, ...]]:
        return self, ()

    def __copy__(self) -> Compiled[P, R]:
        return self

    def __deepcopy__(self, memo: object) -> Compiled[P, R]:
        return self  # as functions are copied

    def __reduce__(self) -> str | tuple[Any, ...]:
        return pickling.reduce(self)

    def clear_cache(self) -> None:
        """Forget what was traced and compiled: of the function, and of all derived from it.

        At the next call it is traced anew, with what it takes from outside as that is then.
        """
        if self.origin is not None:
            self.origin[0].clear_cache()
        else:
            self._clear()

    def _clear(self) -> None:
        self.function.clear()
        self.dispatcher.clear()
        self._chain.clear()
        self._install()
        with self._lock:
            derived = [*self._derived.values(), *self._methods.values()]
        for one in derived:
            one._clear()


def _are_same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _rewrites(compiled: Compiled[..., Any]) -> bool:
    return isinstance(compiled.function, Plain) and compiled.function.rewrite


def _install_all() -> None:
    for compiled in list(_linked):
        compiled._install()


on_change(_install_all)


def _derivative(function: Function, kind: str, argnums: Argnums, has_aux: bool) -> Function:
    if kind == "jvp":
        return Forward(function)
    if kind == "vjp":
        return Reverse(function, has_aux)
    return Gradient(function, argnums, has_aux, value=kind == "value_and_grad")


@overload
def compile(
    function: Callable[P, R],
    *,
    argnums: Argnums = 0,
    has_aux: bool = False,
    static_argnums: Argnums = (),
    rewrite: bool = True,
) -> Compiled[P, R]: ...


@overload
def compile(
    function: None = None,
    *,
    argnums: Argnums = 0,
    has_aux: bool = False,
    static_argnums: Argnums = (),
    rewrite: bool = True,
) -> Callable[[Callable[P, R]], Compiled[P, R]]: ...


def compile(
    function: Callable[..., Any] | None = None,
    *,
    argnums: Argnums = 0,
    has_aux: bool = False,
    static_argnums: Argnums = (),
    rewrite: bool = True,
) -> Any:
    """Compile a function of arrays, numbers and pytrees of them to native code.

    It is traced at its first call, once for each combination of dtypes, shapes and static values;
    its value and its derivatives come from one trace. What it takes from outside its arguments
    (globals, closures, attributes of classes, of callable objects and of static arguments, what a
    partial holds) is read when it is traced, and frozen: pass as an argument what changes, or call
    ``clear_cache()``. Attributes of a method's own instance are arguments.

    argnums: the arguments that ``.grad`` and ``.value_and_grad`` differentiate in, by position or
        name; lists of Python numbers given for them are arrays.
    has_aux: the function returns ``(value, aux)``, and ``aux`` is not differentiated.
    static_argnums: arguments that the function is to see as they are; it is compiled anew
        for each value. Strings, None and functions always are.
    rewrite: compile loops and branches on traced values; ``source()`` shows what the function is
        rewritten to for that. Without it the function is traced as it stands, and they are errors.

    >>> import numpy as np, gradc
    >>> @gradc.compile
    ... def loss(w, x):
    ...     return np.sum((x @ w) ** 2)
    >>> w, x = np.array([1.0, 2.0]), np.eye(2)
    >>> float(loss(w, x))
    5.0
    >>> loss.grad(w, x)
    array([2., 4.])
    """
    if function is None:
        return functools.partial(
            compile, argnums=argnums, has_aux=has_aux, static_argnums=static_argnums,
            rewrite=rewrite,
        )
    if not callable(function):
        raise ArgumentError(
            f"gradc.compile takes a function, not {function!r}",
            remedy="write @classmethod above @gradc.compile"
            if isinstance(function, classmethod)
            else "write options by name: @gradc.compile(argnums=(0, 1))",
        )
    target: Function
    if isinstance(function, Compiled) and not isinstance(function.function, Plain):
        target = function.function
    else:
        python = function.__wrapped__ if isinstance(function, Compiled) else function
        target = Plain(python, static_argnums, argnums, rewrite)
    if argnums != 0:  # the default is no mistake in a function without parameters
        target.parameters.check(argnums, "argnums")
    return Compiled(target, argnums, has_aux)
