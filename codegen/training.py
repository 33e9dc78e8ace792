"""A training loop as data: epochs, shuffling, mini-batches, step, update.

A step is a kernel from parameters, optimizer state and a batch to new parameters, new state and the
loss. What it carries lies twice in memory: a step reads the one set and writes the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gradc.codegen.loops import LoopProgram
from gradc.ir.types import TensorType


@dataclass(frozen=True)
class TrainingProgram:
    """All that training does, in order.

    step: the program of a full batch. Its inputs are what is carried (parameters, then optimizer
        state), then a batch of each data array; its outputs are what is carried, anew, and the
        loss.
    rest: the program of the last batch of an epoch, where it is smaller.
    carried, data: names of these inputs.
    parameters: how many of the carried are parameters.
    samples, batch: how many there are, and how many go into a step.
    shuffled: whether an epoch takes them in random order, row by row into batches of their own.
    """

    name: str
    step: LoopProgram
    rest: LoopProgram | None
    carried: tuple[str, ...]
    data: tuple[str, ...]
    parameters: int
    samples: int
    batch: int
    shuffled: bool

    @property
    def carried_types(self) -> tuple[TensorType, ...]:
        """The types of parameters and state."""
        return self.step.inputs[: len(self.carried)]

    @property
    def batch_types(self) -> tuple[TensorType, ...]:
        """The types of a full batch of each data array."""
        return self.step.inputs[len(self.carried) :]

    @property
    def batches(self) -> int:
        """Full batches in an epoch."""
        return self.samples // self.batch

    @property
    def left(self) -> int:
        """Samples in the batch that ``rest`` is for; 0 without one."""
        return self.samples % self.batch

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.batches + bool(self.left)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, *, brief: bool = False) -> Iterator[str]:
        """The loop as a reader wants it: every statement of an epoch, the stages of each step.

        ``brief`` leaves out the stages of the last batch, which do the same to fewer samples.
        """
        size = f"{self.batch} samples" + (f", the last of {self.left}" if self.left else "")
        steps = f"{self.steps} steps" if self.steps > 1 else "1 step"
        yield f"training {self.name}: {self.samples} samples, {steps} an epoch of {size}"
        kinds = ["parameter"] * self.parameters
        kinds += ["state"] * (len(self.carried) - self.parameters)
        for name, kind, type_ in zip(self.carried, kinds, self.carried_types, strict=True):
            yield f"  {name}: {type_} {kind}, in two copies"
        for name, type_ in zip(self.data, self.batch_types, strict=True):
            yield f"  {name}: {TensorType(type_.dtype, (self.samples, *type_.shape[1:]))} data"
        yield "for epoch < epochs:"
        if self.shuffled:
            yield f"  order = shuffle({self.samples})   # Philox4x64-10, key (seed, epoch)"
        yield "  total = 0"
        if self.steps == 1:
            yield from self._step_lines(self.step, self.batch, "0", "  ")
        else:
            yield f"  for k < {self.batches}:"
            yield from self._step_lines(self.step, self.batch, f"{self.batch}*k", "    ")
        if self.rest is not None:
            yield f"  # the last {self.left} samples"
            start = str(self.batches * self.batch)
            yield from self._step_lines(self.rest, self.left, start, "  ", brief=brief)
        yield f"  losses[epoch] = total / {self.samples}"
        yield "  report(epoch, losses[epoch])"

    def _step_lines(
        self, program: LoopProgram, size: int, start: str, indent: str, *, brief: bool = False
    ) -> Iterator[str]:
        stop = str(int(start) + size) if start.isdigit() else f"{start} + {size}"
        for name, type_ in zip(self.data, self.batch_types, strict=True):
            if self.steps > 1:
                rows = f"order[{start} : {stop}]" if self.shuffled else f"{start} : {stop}"
                how = "gathered" if self.shuffled else "in place"
                nbytes = type_.nbytes // self.batch
                yield f"{indent}batch {name} = {name}[{rows}]   # {how}, {nbytes} bytes a row"
        if brief:
            yield f"{indent}... the stages of a step, for {size} samples"
        else:
            yield from self._stage_lines(program, indent)
        yield f"{indent}total += {size} * loss"
        yield f"{indent}swap the two copies of {', '.join(self.carried)}"

    def _stage_lines(self, program: LoopProgram, indent: str) -> Iterator[str]:
        batch = "batch " if self.steps > 1 else ""
        inputs = [*self.carried, *(f"{batch}{name}" for name in self.data)]
        outputs = [*(f"new {name}" for name in self.carried), "loss"]
        for buffer in program.buffers:
            if buffer.kind == "input":
                yield f"{indent}{buffer.name} is {inputs[buffer.index]}"
            elif buffer.kind == "output":
                yield f"{indent}{buffer.name} is {outputs[buffer.index]}"
        for number, stage in enumerate(program.stages):
            yield f"{indent}stage {number}: {type(stage).__name__.lower()}"
            yield from (f"{indent}  {line}" for line in stage.lines())


@dataclass(frozen=True)
class Workspace:
    """Byte offsets into the memory of a run, each a multiple of 64.

    ``tables`` are the kernels' arguments and results, for each of the two directions; the arena of
    the kernels is at 0.
    """

    tables: int
    loss: int
    order: int
    batches: tuple[int, ...]
    nbytes: int


def workspace(program: TrainingProgram) -> Workspace:
    """The memory that a run of the program needs besides data and what is carried."""
    arena = max(program.step.arena, program.rest.arena if program.rest else 0)
    at = 0

    def take(nbytes: int) -> int:
        nonlocal at
        start, at = at, at + -(-nbytes // 64) * 64
        return start

    take(arena)
    return Workspace(
        tables=take(2 * table_bytes(program)),
        loss=take(8),
        order=take(4 * program.samples if program.shuffled else 0),
        batches=tuple(take(t.nbytes if program.shuffled else 0) for t in program.batch_types),
        nbytes=at,
    )


def table_bytes(program: TrainingProgram) -> int:
    """The tables of one direction: arguments, then results."""
    return 8 * (2 * len(program.carried) + len(program.data) + 1)
