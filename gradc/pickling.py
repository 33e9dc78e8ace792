"""Pickling compiled functions: by name where they have one, else as source and graphs.

Native code and addresses are never pickled; another process compiles for itself.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradc.dispatch import Dispatcher
from gradc.errors import ArgumentError
from gradc.ir.text import dump, parse
from gradc.lowering import Lowered, Plain
from gradc.signature import Signature
from gradc.tree import TreeDef

if TYPE_CHECKING:
    from gradc.compile import Compiled


class Absent:
    """What stands for a function that was left behind: its name, signature and source."""

    def __init__(self, name: str, doc: str | None, signature: inspect.Signature, source: str):
        self.__name__ = self.__qualname__ = name
        self.__doc__ = doc
        self.__signature__ = signature
        self.source = source

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: there is nothing to trace."""
        raise ArgumentError(
            f"{self.__name__} was unpickled without its function, and has no graph for these types",
            remedy="call it with these types before it is pickled, or define it at the top of a "
            "module, where it is pickled by name",
        )


@dataclass(frozen=True)
class _Graph:
    """A lowered call as text."""

    text: str
    out_tree: TreeDef
    inputs: tuple[int, ...]
    of: _Graph | None


#: the key of a specialisation, its signature and its graph
_Entry = tuple[Hashable, Signature, _Graph]
#: the specialisations of a function and the decisions that lead to them
_State = tuple[list[_Entry], dict[Hashable, int]]


def reduce(compiled: Compiled[..., Any]) -> str | tuple[Any, ...]:
    """What ``pickle`` is told of a compiled function.

    Raises ArgumentError for one that has neither a name nor any specialisation.
    """
    if compiled.origin is not None:
        return _derive, compiled.origin
    python = compiled.__wrapped__
    if _named(compiled):
        return compiled.__qualname__
    function = compiled.function
    options = (compiled.argnums, compiled.has_aux)
    if isinstance(function, Plain) and not isinstance(python, Absent) and _picklable(python):
        return _compile, (python, *options, function.static, function.rewrite)
    states = {path: _state(one.dispatcher) for path, one in _family(compiled)}
    own = _state(compiled.dispatcher)
    if not own[0] and not any(entries for entries, _ in states.values()):
        raise ArgumentError(
            f"{compiled.__name__} has no name to be imported by, and no graph to pickle instead",
            remedy="define it at the top of a module, or call it once before it is pickled",
        )
    absent = python if isinstance(python, Absent) else _absent(compiled)
    return _restore, (absent, *options, function.static, own, states)


def _family(
    compiled: Compiled[..., Any], path: tuple[Any, ...] = ()
) -> list[tuple[tuple[Any, ...], Compiled[..., Any]]]:
    """The derivatives of a function, and theirs, with the arguments that lead to each."""
    out = []
    for key, one in compiled.all_derived().items():
        out.append(((*path, key), one))
        out.extend(_family(one, (*path, key)))
    return out


def _named(compiled: Compiled[..., Any]) -> bool:
    try:
        found: Any = importlib.import_module(compiled.__module__)
        for name in compiled.__qualname__.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError):
        return False
    return found is compiled


def _picklable(thing: Any) -> bool:
    try:
        pickle.dumps(thing)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _absent(compiled: Compiled[..., Any]) -> Absent:
    python = compiled.__wrapped__
    try:
        source = inspect.getsource(python)
    except (OSError, TypeError):
        source = ""
    return Absent(compiled.__name__, compiled.__doc__, inspect.signature(python), source)


def _state(dispatcher: Dispatcher) -> _State:
    """The specialisations that can be pickled: those without a static value that cannot."""
    entries = [
        (key, one.signature, _as_text(one.lowered)) for key, one in dispatcher.cache.items()
    ]
    kept = [entry for entry in entries if _picklable(entry)]
    return kept, {key: leaf for key, leaf in dispatcher.demands.items() if _picklable(key)}


def _as_text(lowered: Lowered) -> _Graph:
    of = None if lowered.of is None else _as_text(lowered.of)
    return _Graph(dump(lowered.graph), lowered.out_tree, lowered.inputs, of)


def _from_text(graph: _Graph) -> Lowered:
    of = None if graph.of is None else _from_text(graph.of)
    return Lowered(parse(graph.text), graph.out_tree, graph.inputs, of)


def _fill(dispatcher: Dispatcher, state: _State) -> None:
    entries, demands = state
    dispatcher.demands.update(demands)
    for key, signature, graph in entries:
        lowered = _from_text(graph)
        dispatcher.add(key, signature, lowered)
        if isinstance(dispatcher.function, Plain):
            dispatcher.function.keep(signature.tree, signature.types, lowered)


def _compile(
    python: Callable[..., Any], argnums: Any, has_aux: bool, static: Any, rewrite: bool = True
) -> Any:
    from gradc.compile import compile

    return compile(python, argnums=argnums, has_aux=has_aux, static_argnums=static, rewrite=rewrite)


def _restore(
    absent: Absent, argnums: Any, has_aux: bool, static: Any, own: _State, states: dict[Any, _State]
) -> Any:
    compiled = _compile(absent, argnums, has_aux, static)
    _fill(compiled.dispatcher, own)
    for path, state in states.items():
        one = compiled
        for key in path:
            one = one.derived(*key)
        _fill(one.dispatcher, state)
    return compiled


def _derive(parent: Compiled[..., Any], kind: str, argnums: Any, has_aux: bool) -> Any:
    return parent.derived(kind, argnums, has_aux)
