"""Training as C functions: the state that it begins with, and steps over a data set."""

from __future__ import annotations

from dataclasses import dataclass

from gradc.codegen.aot.functions import NULL, Opened, emit_program
from gradc.codegen.aot.messages import NOT_FINITE
from gradc.codegen.aot.routine import SLACK, WORKSPACE, Call, Place, Routine
from gradc.codegen.emit import return_if
from gradc.codegen.llvm import Builder, Module, Val


@dataclass(frozen=True)
class Initial(Routine):
    """``name(state)``: make a state of zeros and what is given.

    nbytes: the size of the state, a multiple of 8.
    parts: (offset, bytes), lengths and offsets multiples of 8.
    """

    nbytes: int = 0
    parts: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True)
class Training(Call):
    """``name(state, data..., seed, steps, losses, loss)``: go on training for so many steps.

    The program's inputs are what it carries (of which ``losses`` in the workspace), the data, and
    seed, epoch, batch and steps; its outputs what it carries, the steps that were run, the loss of
    the last. ``step_at`` is where in the state, the first parameter, the number of the steps so far
    stands; ``an_epoch`` are the steps of an epoch, ``ending`` how many epochs can end in one run.
    ``guarded``: a loss that is not finite ends it. ``single``: the function takes one step, and is
    ``name(state, batch..., loss)``; with ``keyed``, ``name(state, batch..., seed, step, loss)``, as
    its random numbers are those of the step, an epoch by itself.
    """

    step_at: int = 0
    an_epoch: int = 1
    ending: int = 1
    guarded: bool = True
    single: bool = False
    keyed: bool = False

    @property
    def workspace(self) -> int:
        """The arena, and the mean losses of epochs."""
        return self.losses_at + 8 * self.ending + SLACK

    @property
    def losses_at(self) -> int:
        """Where in the workspace the losses stand."""
        return -(-self.programs[0].arena // 64) * 64


def emit_initial(module: Module, routine: Initial) -> None:
    """The function that makes a state."""
    opened = Opened(module, routine)
    b, state = opened.b, opened.places[0]
    with b.loop(b.i64(0), b.i64(routine.nbytes // 8)) as loop:
        b.store(b.i64(0), b.gep(state, "i64", loop.index), 8)
    for offset, data in routine.parts:
        source = module.data(f"{routine.name}_{offset}", data)
        at = b.gep(state, "i8", b.i64(offset))
        with b.loop(b.i64(0), b.i64(len(data) // 8)) as loop:
            word = b.load(b.gep(source, "i64", loop.index), "i64", 8)
            b.store(word, b.gep(at, "i64", loop.index), 8)
    opened.close()


def emit_training(module: Module, routine: Training, first: int) -> None:
    """The function that trains: runs of at most as many steps as their losses have room for."""
    kernel = emit_program(module, routine, routine.programs[0])
    opened = Opened(module, routine)
    b = opened.b
    run = _Run(opened, routine, kernel, first)
    if routine.single:
        run.go(opened.given[-2] if routine.keyed else b.i64(0), b.i64(0), b.i64(1))
        run.check()
        opened.close()
        return
    left, room = _cell(b, opened.given[-3]), _cell(b, opened.given[-2])
    step_at = b.gep(opened.places[0], "i8", b.i64(routine.step_at))
    head, body, done = b.label("more"), b.label("run"), b.label("done")
    b.br(head)
    b.place(head)
    some = b.load(left, "i64", 8)
    b.cond_br(b.icmp("sgt", some, b.i64(0)), body, done)

    b.place(body)
    step, an_epoch = b.load(step_at, "i64", 8), b.i64(routine.an_epoch)
    epoch, batch = b.binary("sdiv", step, an_epoch), b.binary("srem", step, an_epoch)
    most = b.sub(b.i64(routine.ending * routine.an_epoch), batch)
    ran = run.go(epoch, batch, b.intrinsic("smin", "i64", [some, most]))
    after = b.add(step, ran)
    b.store(after, step_at, 8)
    b.store(b.sub(some, ran), left, 8)
    ended = b.sub(b.binary("sdiv", after, an_epoch), epoch)
    with b.if_(b.icmp("ne", opened.given[-2], NULL)):
        to = b.load(room, "ptr", 8)
        made = opened.at(Place(WORKSPACE, routine.losses_at))
        with b.loop(b.i64(0), ended) as loop:
            value = b.load(b.gep(made, "double", loop.index), "double", 8)
            b.store(value, b.gep(to, "double", loop.index), 8)
        b.store(b.gep(to, "double", ended), room, 8)
    run.check()
    b.br(head)
    b.place(done)
    opened.close()


class _Run:
    """The runs of a training's program."""

    def __init__(self, opened: Opened, routine: Training, kernel: str, first: int) -> None:
        self.opened = opened
        self.routine = routine
        self.kernel = kernel
        self.first = first
        b = opened.b
        self.counts = [b.alloca("i64", 1, align=8) for _ in range(4)]  # epoch, batch, steps, ran
        if routine.single:
            self.seed = opened.places[-3] if routine.keyed else _cell(b, b.i64(0))
        else:
            self.seed = opened.places[-4]
        self.loss = opened.places[-1]
        self.args = [opened.at(place) for place in routine.args]
        self.outs = [opened.at(place) for place in routine.outs]

    def go(self, epoch: Val, batch: Val, steps: Val) -> Val:
        """Take steps from a place in the epochs on; how many were taken."""
        b, (*counts, ran) = self.opened.b, self.counts
        for value, place in zip((epoch, batch, steps), counts, strict=True):
            b.store(value, place, 8)
        args, outs = [*self.args, self.seed, *counts], [*self.outs, ran, self.loss]
        self.opened.run(self.kernel, args, outs, self.first)
        return b.load(ran, "i64", 8)

    def check(self) -> None:
        """Leave where the last loss is not finite, if it is to be."""
        if not self.routine.guarded:
            return
        b = self.opened.b
        size = b.intrinsic("fabs", "double", [b.load(self.loss, "double", 8)])
        finite = b.fcmp("olt", size, b.const(float("inf"), "double"))
        return_if(b, b.xor(finite, b.const(True, "i1")), b.i64(NOT_FINITE))


def _cell(b: Builder, value: Val) -> Val:
    """Memory for a value that changes."""
    at = b.alloca(value.ty, 1, align=8)
    b.store(value, at, 8)
    return at
