"""The specialisations of one function: found by the key of a call, made where there is none."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from gradc import quickkey
from gradc.collector import AT_REST
from gradc.config import settings
from gradc.errors import of_a_run
from gradc.ir import interp
from gradc.ir.graph import Graph
from gradc.ir.types import TensorType
from gradc.leaves import static_value
from gradc.lowering import Function, Lowered, lower
from gradc.native import ENDS, Native, contiguous, finished
from gradc.signature import Call, Signature, leaf_names, leaf_types, read
from gradc.source import user_loc
from gradc.trace import Static

logger = logging.getLogger("gradc")

#: specialisations beyond which a function warns
MANY = 32


class SpecializationWarning(UserWarning):
    """A function was compiled for so many signatures that compiling may cost more than it saves."""


class Specialization:
    """A function compiled for one signature. ``keys`` are those of the leaves of its calls."""

    def __init__(
        self,
        signature: Signature,
        lowered: Lowered,
        keys: Sequence[Hashable],
        label: str,
        slow: Callable[..., Any],
    ) -> None:
        self.signature = signature
        self.lowered = lowered
        self.keys = keys
        self.label = label
        self._slow = slow

    @property
    def types(self) -> list[TensorType]:
        """The types of the inputs."""
        return [self.signature.types[k] for k in self.lowered.inputs]

    @cached_property
    def optimized(self) -> Graph:
        """The graph after all passes."""
        from gradc.ir.passes import optimize

        return optimize(self.lowered.graph)

    @cached_property
    def native(self) -> Native:
        """Its native code, compiled at its first call."""
        return Native(
            lambda: self.optimized, self.lowered, self.types, self.keys, self.label, self._slow
        )

    def __call__(self, leaves: Sequence[Any]) -> Any:
        """Run on the leaves of a call of this signature; the results are new arrays."""
        return self.native(leaves) if settings().jit else self.interpret(leaves)

    def interpret(self, leaves: Sequence[Any]) -> Any:
        """Run node by node in NumPy."""
        inputs = [
            contiguous(leaves[k], type_.dtype)
            for k, type_ in zip(self.lowered.inputs, self.types, strict=True)
        ]
        try:
            outputs = interp.run(self.optimized, inputs)
        except ENDS as error:
            raise of_a_run(error) from None
        return finished(self.lowered, [np.array(out) for out in outputs])


class Dispatcher:
    """All specialisations of a function, safe to use from many threads."""

    def __init__(self, function: Function, slow: Callable[..., Any]) -> None:
        self.function = function
        self.slow = slow
        self._lock = threading.RLock()
        self.clear()

    def clear(self) -> None:
        """Forget every specialisation."""
        with self._lock:
            self.cache: dict[Hashable, Specialization] = {}
            # key -> the leaf that must be guarded by value to decide further
            self.demands: dict[Hashable, int] = {}
            self._latest: Signature | None = None
            self._varied: dict[str, None] = {}
            #: what served calls before, by the key of :mod:`gradc.quickkey`
            self.quick: dict[Hashable, Specialization] = {}

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Bind a call of the function and take it apart."""
        f = self.function
        return read(
            f.parameters, args, kwargs, static=f.static, arrays=f.arrays, floats=f.floats
        )

    def find(self, call: Call) -> Specialization:
        """The specialisation for a call, compiled now if it is the first of its signature."""
        key, _ = self._key(call)
        found = self.cache.get(key)
        if found is not None:
            return found
        with self._lock:
            key, static = self._key(call)
            if key not in self.cache:
                self._add(call, key, static)
                key, _ = self._key(call)
            return self.cache[key]

    def remember(self, key: Hashable, found: Specialization) -> None:
        """Serve calls with this key of :mod:`gradc.quickkey` by this specialisation from now on."""
        with self._lock:
            if len(self.quick) < quickkey.MANY and found in self.cache.values():
                self.quick[key] = found

    def _key(self, call: Call) -> tuple[Hashable, frozenset[int]]:
        """The key of a call, and its leaves that are guarded by value beyond the static ones."""
        key, static = call.key(), frozenset[int]()
        while (leaf := self.demands.get(key)) is not None:
            static |= {leaf}
            key = call.key(static)
        return key, static

    def _add(self, call: Call, key: Hashable, static: frozenset[int]) -> None:
        parameters = self.function.parameters
        names = leaf_names(parameters, call.tree)
        types = leaf_types(parameters, call.tree, call.leaves, names)
        for k in static:
            types[k] = Static(static_value(call.leaves[k]))
        demanded: list[int] = []

        def demand(leaf: int) -> Any:
            demanded.append(leaf)
            return static_value(call.leaves[leaf])

        try:
            with AT_REST:
                lowered = lower(self.function, call.tree, types, names, demand)
        except Exception as error:
            for note in self._notes(Signature(call.tree, tuple(types), names)):
                error.add_note(note)
            raise
        for leaf in demanded:
            self.demands[key] = leaf
            static |= {leaf}
            key = call.key(static)
        signature = Signature(call.tree, tuple(types), names)
        self.add(key, signature, lowered)
        self._report(signature)

    def _notes(self, signature: Signature) -> list[str]:
        """What may have led to an error: arguments that are no numbers or arrays, or that were."""
        parameters, before = self.function.parameters, self._latest
        usual = before.arguments(parameters) if before else {}
        notes = []
        for name, (number, kind) in signature.arguments(parameters).items():
            was = usual.get(name)
            if not number and was is not None and was[0]:
                notes.append(f"Argument `{name}` is {kind} here; before, it was {was[1]}.")
            elif not number and before is None and not parameters.has_default(name):
                notes.append(f"Argument `{name}` is {kind}: no number or array, so not traced.")
        return notes

    def add(self, key: Hashable, signature: Signature, lowered: Lowered) -> None:
        """Keep a lowered call under its key."""
        assert isinstance(key, tuple)
        self.cache[key] = Specialization(
            signature, lowered, key[1], self.function.label, self.slow
        )

    def _report(self, signature: Signature) -> None:
        """Log what is new in a signature; warn when there are too many."""
        label, before = self.function.label, self._latest
        self._latest = signature
        if before is None:
            logger.debug("%s compiles for %s", label, signature)
            return
        changes = signature.changes(before)
        if not changes:
            changes = {"the arguments": f"from {before.tree} to {signature.tree}"}
        self._varied.update(dict.fromkeys(changes))
        text = "; ".join(f"{name} {how}" for name, how in changes.items())
        logger.info("%s specialises anew: %s", label, text)
        if len(self.cache) == MANY + 1:
            self._warn()

    def _warn(self) -> None:
        loc = user_loc()
        names = list(self._varied)
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        warnings.warn_explicit(
            f"{self.function.label} has been compiled for more than {MANY} signatures; what "
            f"changed from call to call: {listed}. Pad arrays to a few shapes, pass numbers as "
            "arrays rather than as Python values that the function branches on, or call "
            "clear_cache() now and then",
            SpecializationWarning,
            loc.file if loc else "<unknown>",
            loc.line if loc else 0,
        )
