"""Trainers as C functions: a state, steps on batches and over data sets, functions of it."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradc.errors import ArgumentError, OptionError
from gradc.export import (
    Exported,
    c_names,
    checked_name,
    lowered_for,
    machine_of,
    type_of_text,
    write,
)
from gradc.ir.types import F64, I64, TensorType
from gradc.training.epochs import LOSSES, NUMBERS
from gradc.training.keys import without_key
from gradc.training.loop import Loop
from gradc.tree import unflatten

if TYPE_CHECKING:
    from gradc.codegen.aot.routine import Param, Place, Routine
    from gradc.codegen.targets import Target

Array = np.ndarray[Any, Any]

#: bytes that every array of a state begins at a multiple of
LINE = 64
_BYTES = np.dtype(np.uint8)
#: what a state has besides what a run carries
_STEP = "for.step"


def stand_in(given: Any) -> Any:
    """A data array of the type that text names, or what is given."""
    if isinstance(given, str) and not given.endswith(".npy"):
        type_ = type_of_text(given)
        return np.zeros(type_.shape, type_.dtype)
    return given


def export(
    loop: Loop,
    own: Sequence[Array],
    path: str | Path,
    formats: Sequence[str],
    functions: Mapping[str, Any],
    target: str | None,
    name: str | None,
    blas: str | None,
) -> Exported:
    """Write a training; see :meth:`gradc.Trainer.export`. ``own``: its parameters and state."""
    if not isinstance(functions, Mapping):
        raise ArgumentError(
            f"functions must be functions by name, not {type(functions).__name__}",
            remedy='functions={"classify": f}',
        )
    path = Path(path)
    name = checked_name(path.name if name is None else name)
    made = _Library(name, loop, machine_of(target, blas))
    routines = [made.initial(own), made.step(), made.training()]
    taken = {"INIT", "STEP", "TRAIN", "MESSAGE"}
    for label, given in functions.items():
        if label.upper() in taken:  # names of macros are all in capitals
            raise OptionError(f"{name}_{label} is taken", remedy="call the function otherwise")
        if keyword.iskeyword(label) or label.startswith("_"):
            raise OptionError(
                f"no function of a Python module can be exported as {label!r}",
                remedy="call the function otherwise",
            )
        taken.add(label.upper())
        routines.append(made.function(checked_name(label), given))
    return write(name, routines, path, formats, made.machine, made.macros(), made.notes())


@dataclass(frozen=True)
class _Slot:
    """An array of a state."""

    label: str
    name: str
    type: TensorType
    offset: int


class _Library:
    """The functions of a training; their arrays lie in one state."""

    def __init__(self, name: str, loop: Loop, machine: Target) -> None:
        self.name = name
        self.loop = loop
        self.machine = machine
        what = loop.what
        kept = [(n, t) for n, t in zip(what.names, what.types, strict=True) if n != "for.losses"]
        kept.append((_STEP, TensorType(I64)))
        names, at = c_names([label.removeprefix("for.") for label, _ in kept])[0], 0
        self.slots: dict[str, _Slot] = {}
        for (label, type_), c_name in zip(kept, names, strict=True):
            self.slots[label] = _Slot(label, c_name, type_, at)
            at += -(-type_.nbytes // LINE) * LINE
        self.nbytes = at

    # -- what all functions share --------------------------------------------------------------

    def _state(self, kind: Any) -> Param:
        from gradc.codegen.aot.routine import Param

        made = "what this makes" if kind == "out" else f"made by {self.name}_init"
        return Param("state", TensorType(_BYTES, (self.nbytes,)), kind, note=made, opaque=True)

    def _place(self, label: str) -> Place:
        from gradc.codegen.aot.routine import Place

        return Place(0, self.slots[label].offset)

    @property
    def _own(self) -> list[str]:
        return list(self.loop.what.names[: self.loop.what.own])

    def macros(self) -> list[tuple[str, int, str]]:
        """The size of the state, the steps of an epoch, and where arrays stand in the state."""
        upper, plan = self.name.upper(), self.loop.plan
        found = [
            (f"{upper}_STATE_BYTES", self.nbytes, "the size of a state"),
            (f"{upper}_STEPS_OF_EPOCH", plan.steps, f"{plan.samples} samples"),
            (f"{upper}_BATCH", plan.batch, "samples of a step"),
        ]
        for label in [*self._own, _STEP]:
            slot = self.slots[label]
            what = "steps taken so far" if label == _STEP else label
            macro = f"{upper}_AT_{slot.name.upper()}"
            found.append((macro, slot.offset, f"{slot.type} {what}"))
        return found

    def notes(self) -> list[str]:
        """What the header says of all functions."""
        upper = self.name.upper()
        return [
            f"A state is {upper}_STATE_BYTES bytes, aligned to 8, better to {LINE}: parameters, "
            f"the optimizer's state and where training is, each from {upper}_AT_... on. It may be "
            "copied, written to a file, and taken up again.",
        ]

    # -- functions -----------------------------------------------------------------------------

    def initial(self, own: Sequence[Array]) -> Routine:
        """The function that makes the state that training begins with."""
        from gradc.codegen.aot.training import Initial

        parts = []
        for label, array in zip(self._own, own, strict=True):
            data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
            if any(data):
                parts.append((self.slots[label].offset, data + b"\0" * (-len(data) % 8)))
        return Initial(
            f"{self.name}_init", (self._state("out"),),
            "Make a state: the parameters that were given at the export, before the first step.",
            (), self.nbytes, tuple(parts),
        )

    def step(self) -> Routine:
        """The function that takes one step on a batch: an epoch of a single batch."""
        from gradc.codegen.aot.routine import Param

        loop = self.loop
        types = replace(loop.types, data=tuple(loop.types.batch_types(loop.plan.batch)))
        alone = Loop(types, replace(loop.spec, batch_size=None))
        more = []
        if loop.spec.keyed:  # as in an epoch of this batch alone
            more = [
                Param("seed", NUMBERS["for.seed"], "value", note="decides the random numbers"),
                Param("step", TensorType(I64), "value", note="another has others"),
            ]
        params = self._data(alone, ["state", "loss", *(p.name for p in more)])
        loss = Param("loss", TensorType(F64), "out", note="before the update")
        return self._training(
            alone, "step", (self._state("inout"), *params, *more, loss),
            f"One step on a batch: loss, gradient and update of {loop.step.traced.name}.",
            "The number of steps in the state, and its place in an epoch, stay as they are.",
        )

    def training(self) -> Routine:
        """The function that takes steps over a data set."""
        from gradc.codegen.aot.routine import Param

        plan, upper = self.loop.plan, self.name.upper()
        data = self._data(self.loop, ["state", "seed", "steps", "losses", "loss"])
        numbers = " and the random numbers" if self.loop.spec.keyed else ""
        seeded = f"the order of the samples{numbers}"
        params = (
            self._state("inout"), *data,
            Param("seed", NUMBERS["for.seed"], "value", note=f"decides {seeded}"),
            Param("steps", TensorType(I64), "value", note="how many to take"),
            Param(
                "losses", TensorType(F64), "out", optional=True,
                note="the mean loss of each epoch that ends, in turn; may be NULL",
            ),
            Param("loss", TensorType(F64), "out", note="that of the last step, before its update"),
        )
        order = "in a new order in each epoch" if plan.shuffled else "in their order"
        return self._training(
            self.loop, "train", params,
            f"Go on training for some steps, on {plan.samples} samples, {order}.",
            f"The state knows how many steps were taken: {upper}_STEPS_OF_EPOCH are an epoch. "
            "Calls with the same data and seed go on where the last one ended.",
        )

    def _data(self, loop: Loop, taken: Sequence[str]) -> list[Param]:
        """The parameters for data arrays."""
        from gradc.codegen.aot.routine import Param

        labels, types = loop.names.data, loop.types.data
        names = c_names(taken, labels)[1]
        return [Param(n, t, "in", b) for n, t, b in zip(names, types, labels, strict=True)]

    def _training(
        self, loop: Loop, end: str, params: tuple[Param, ...], summary: str, note: str
    ) -> Routine:
        from gradc.codegen.aot.routine import WORKSPACE, Place
        from gradc.codegen.aot.training import Training
        from gradc.codegen.program import schedule

        carried, guarded = loop.what.names, loop.plan.on_nonfinite == "raise"
        program = schedule(loop.optimized, self.machine, {k: k for k in range(len(carried))})
        losses_at = -(-program.arena // 64) * 64
        places = tuple(
            Place(WORKSPACE, losses_at) if label == "for.losses" else self._place(label)
            for label in carried
        )
        notes = [note]
        if guarded:
            notes.append("A loss that is not finite ends it with an error; the state is then lost.")
        return Training(
            f"{self.name}_{end}", params, summary, tuple(notes), program,
            (*places, *_parts(loop)), places, step_at=self.slots[_STEP].offset,
            an_epoch=loop.plan.steps, ending=LOSSES, guarded=guarded, single=end == "step",
            keyed=loop.spec.keyed,
        )

    def function(self, label: str, given: Any) -> Routine:
        """A function of the parameters and of more, whose types are given or those of the data."""
        from gradc.codegen.aot.routine import Call, Param, Place
        from gradc.codegen.program import schedule
        from gradc.compile import Compiled, compile
        from gradc.ir.passes import optimize

        function, *types = given if isinstance(given, tuple) else (given,)
        if not callable(function):
            raise ArgumentError(
                f"functions[{label!r}] is {given!r}, no function",
                remedy='{"classify": f}, or {"classify": (f, "f64[784]")}',
            )
        if not isinstance(given, tuple):
            batch = self.loop.types.batch_types(self.loop.plan.batch)
            types = [str(t) for t in batch[: _arguments(function) - 1]]
        compiled = function if isinstance(function, Compiled) else compile(function)
        params = [np.zeros(t.shape, t.dtype) for t in self.loop.types.param_types]
        tree = self.loop.types.params
        typed = lowered_for(
            compiled, (unflatten(tree, params), *types), keywords=without_key(function)
        )
        program = schedule(optimize(typed.lowered.graph), self.machine)
        count = len(params)
        rest = [k for k in typed.lowered.inputs if k >= count]
        labels, results = [typed.names[k] for k in rest], typed.results(compiled)
        _, inputs, outputs = c_names(["state"], labels, results)
        kinds = {k: t for k, t in zip(typed.lowered.inputs, program.inputs, strict=True)}
        more = [
            Param(n, kinds[k], "in" if kinds[k].shape else "value", b)
            for n, k, b in zip(inputs, rest, labels, strict=True)
        ]
        outs = [
            Param(n, t, "out", b)
            for n, t, b in zip(outputs, program.outputs, results, strict=True)
        ]
        place = {k: n + 1 for n, k in enumerate(rest)}
        args = [
            Place(place[k]) if k >= count else self._place(self._own[k])
            for k in typed.lowered.inputs
        ]
        first = 1 + len(more)
        return Call(
            f"{self.name}_{label}", (self._state("in"), *more, *outs),
            f"{compiled.function.label} with the parameters of a state.", (),
            program, tuple(args), tuple(Place(first + k) for k in range(len(outs))),
        )


def _parts(loop: Loop) -> list[Place]:
    """Where what a loop takes as data lies in the arrays: that of ``Plan.parts``."""
    from gradc.codegen.aot.routine import Place

    plan, types = loop.plan, loop.types.data
    parts = [Place(k + 1) for k in range(len(types))]
    if len(plan.data_types(types)) > len(types):
        rows = plan.full * plan.batch
        parts += [Place(k + 1, rows * (t.nbytes // t.shape[0])) for k, t in enumerate(types)]
    return parts


def _arguments(function: Any) -> int:
    """How many arguments a function takes by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds for p in inspect.signature(function).parameters.values())
