"""A training loop for one combination of types: its graph, its native code, its interpreter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.collector import AT_REST
from gradc.config import settings
from gradc.errors import OptionError, of_a_run
from gradc.fingerprint import key
from gradc.ir import interp
from gradc.ir.graph import Graph
from gradc.native import ENDS, error_of, object_code_of, stored
from gradc.training.epochs import Plan, carried, training
from gradc.training.memory import Memory
from gradc.training.step import LoopSpec, Step, StepTypes, make_step, names_of

if TYPE_CHECKING:
    from gradc.codegen.addressed import Addressed
    from gradc.codegen.code import Code

Array = np.ndarray[Any, Any]

#: bytes of the samples of a block: what a disk reads at once
BLOCK = 1 << 18
#: the values that a run of steps computes before it is known how long a step takes
MANY = 1_000_000
#: the values from which on a step may take so long that interrupts must not wait for its end
LONG = 10_000_000


class Steps:
    """Steps in a memory, on arrays of data: ``(epoch, batch, steps)`` -> what was done.

    That is how many steps were run, and the loss of the last one.
    """

    def __init__(self, run: Callable[[int, int, int], None]) -> None:
        self._run = run
        self.ran = np.zeros((), np.int64)
        self.loss = np.zeros(())

    def __call__(self, epoch: int, batch: int, steps: int) -> tuple[int, float]:
        """Take steps, from a place in the epochs on."""
        self._run(epoch, batch, steps)
        return int(self.ran), float(self.loss)


class Loop:
    """The loop of a trainer for one combination of types. Its stages are made when first used."""

    def __init__(self, types: StepTypes, spec: LoopSpec) -> None:
        samples = types.data[0].shape[0]
        size = samples if spec.batch_size is None else min(spec.batch_size, samples)
        shuffled = spec.shuffle is not False and size < samples
        if shuffled and samples > 1 << 32:
            raise OptionError(
                f"{samples} samples are more than shuffling reaches (2**32)",
                remedy="shuffle=False",
            )
        self.types = types
        self.spec = spec
        row = max(t.nbytes // samples for t in types.data)
        block = -(-BLOCK // max(row, 1)) if shuffled and spec.shuffle == "blocks" else 0
        self.plan = Plan(samples, size, shuffled, spec.on_nonfinite, block)
        self.names = names_of(spec.parameters, types)
        self.what = carried(self.plan, types, self.names)
        with AT_REST:
            self.step = make_step(spec, types, size)
            left = self.plan.left
            self.rest = make_step(spec, types, left, self.step.update) if left else None
        self.seconds: float | None = None  # what a step took when it was last measured
        self._lock = threading.Lock()

    @cached_property
    def work(self) -> int:
        """A rough count of what a step computes: its values, and the products in them.

        What a loop computes shows when it runs: such a step counts as a long one, and is measured.
        """
        nodes = self.step.adjoint.nodes
        if any(node.op.family == "control" for node in nodes):
            return LONG
        total = 1
        for node in nodes:
            deep = nodes[node.operands[0]].type.shape[-1] if node.op.name == "matmul" else 1
            total += deep * node.type.size
        return total

    def step_of(self, batch: int) -> Step:
        """The step that is taken on a batch of an epoch."""
        return self.step if self.rest is None or batch < self.plan.full else self.rest

    @cached_property
    def graph(self) -> Graph:
        """The graph of a run, as it is before the passes."""
        return training(self.plan, self.types, self.names, self.step, self.rest)

    @cached_property
    def optimized(self) -> Graph:
        """The graph after all passes."""
        from gradc.ir.passes import optimize

        return optimize(self.graph)

    @cached_property
    def code(self) -> Addressed:
        """The native code."""
        from gradc.codegen.addressed import Addressed

        donated = {k: k for k in range(len(self.what.names))}
        return Addressed(lambda: self.optimized, donated, self._stored, object_code_of)

    def _stored(self, make: Callable[[], Code]) -> Code:
        return stored(key([self.graph], "training"), make)

    def compile(self) -> None:
        """Have the native code."""
        with self._lock:
            self.code.load()

    def steps(self, memory: Memory, data: Sequence[Array], seed: int) -> Steps:
        """What takes steps in a memory, on arrays of data."""
        parts = self.plan.parts(data)
        made = self._native if settings().jit else self._interpreted
        return made(memory, parts, np.array(seed, np.uint64))

    def _native(self, memory: Memory, parts: Sequence[Array], seed: Array) -> Steps:
        self.compile()
        carried = list(memory.arrays.values())
        epoch, batch, steps = (np.zeros((), np.int64) for _ in range(3))

        def run(epoch_: int, batch_: int, steps_: int) -> None:
            epoch[()], batch[()], steps[()] = epoch_, batch_, steps_
            if status := call():
                raise error_of(self.code.failure(status)) from None

        made = Steps(run)
        call = self.code.bound(
            [*carried, *parts, seed, epoch, batch, steps], [*carried, made.ran, made.loss]
        )
        return made

    def _interpreted(self, memory: Memory, parts: Sequence[Array], seed: Array) -> Steps:
        results = list(memory.arrays.values())

        def run(epoch: int, batch: int, steps: int) -> None:
            given = [*results, *parts, seed, epoch, batch, steps]
            try:
                values = interp.run(self.optimized, given)
            except ENDS as error:
                raise of_a_run(error) from None
            for array, value in zip([*results, made.ran, made.loss], values, strict=True):
                array[...] = value

        made = Steps(run)
        return made
