"""A training loop for one combination of types: its steps, its native code, its interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.errors import OptionError
from gradc.fingerprint import key
from gradc.ir import interp
from gradc.ir.graph import Graph
from gradc.native import error_of, object_code_of, stored
from gradc.step import LoopSpec, StepTypes, make_step, names_of

if TYPE_CHECKING:
    from gradc.codegen.code import Code
    from gradc.codegen.training import TrainingProgram
    from gradc.codegen.training_call import TrainingKernel

Array = np.ndarray[Any, Any]
Callback = Callable[[int, float], object]


class Loop:
    """The loop of a trainer for one combination of types. Its stages are made when first used."""

    def __init__(self, types: StepTypes, spec: LoopSpec) -> None:
        samples = types.data[0].shape[0]
        self.types = types
        self.samples = samples
        self.size = samples if spec.batch_size is None else min(spec.batch_size, samples)
        self.shuffled = spec.shuffle and self.size < samples
        if self.shuffled and samples > 1 << 32:
            raise OptionError(
                f"{samples} samples are more than shuffling reaches (2**32)",
                remedy="shuffle=False",
            )
        self.names = names_of(spec.parameters, types)
        self.step = make_step(spec, types, self.size)
        left = samples % self.size
        self.rest = make_step(spec, types, left) if left else None
        self._lock = threading.Lock()

    @cached_property
    def program(self) -> TrainingProgram:
        """The loop program."""
        from gradc.codegen.program import schedule
        from gradc.codegen.training import TrainingProgram

        return TrainingProgram(
            name=self.step.traced.name,
            step=schedule(self.step.optimized),
            rest=schedule(self.rest.optimized) if self.rest else None,
            carried=(*self.names.params, *self.names.state),
            data=self.names.data,
            parameters=len(self.names.params),
            samples=self.samples,
            batch=self.size,
            shuffled=self.shuffled,
        )

    @cached_property
    def kernel(self) -> TrainingKernel:
        """The native code."""
        from gradc.codegen.training_call import TrainingKernel

        return TrainingKernel(lambda: self.program, self._stored, object_code_of)

    def _stored(self, make: Callable[[], Code]) -> Code:
        graphs = [step.adjoint for step in (self.step, self.rest) if step is not None]
        shape = (len(self.names.params), self.samples, self.size, self.shuffled)
        return stored(key(graphs, "training", shape), make)

    def native(
        self,
        carried: Sequence[Array],
        data: Sequence[Array],
        epochs: int,
        seed: int,
        callback: Callback | None,
    ) -> tuple[list[Array], Array]:
        """Train in native code."""
        from gradc.codegen.training_call import TrainingFailure

        with self._lock:
            kernel = self.kernel
            kernel.load()
        try:
            return kernel(carried, data, epochs, seed, callback)
        except TrainingFailure as error:
            raise error_of(error.failure) from None

    def interpreted(
        self,
        carried: Sequence[Array],
        data: Sequence[Array],
        epochs: int,
        seed: int,
        callback: Callback | None,
    ) -> tuple[list[Array], Array]:
        """Train in NumPy, node by node."""
        from gradc.codegen.shuffle import order

        values, losses = list(carried), np.zeros(epochs)
        for epoch in range(epochs):
            samples = order(self.samples, seed, epoch) if self.shuffled else np.arange(self.samples)
            total = 0.0
            for start in range(0, self.samples, self.size):
                chosen = samples[start : start + self.size]
                graph = self._graph(len(chosen))
                *values, loss = interp.run(graph, [*values, *(array[chosen] for array in data)])
                total += len(chosen) * float(loss)
            losses[epoch] = total / self.samples
            if callback is not None and callback(epoch, float(losses[epoch])):
                return values, losses[: epoch + 1].copy()
        return values, losses

    def _graph(self, size: int) -> Graph:
        step = self.step if size == self.size or self.rest is None else self.rest
        return step.optimized
