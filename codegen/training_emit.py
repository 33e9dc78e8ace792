"""A training program as one native function, the loop and its steps.

It holds nothing of Python; who watches it does so through two function pointers.
"""

from __future__ import annotations

import math

from gradc.codegen.emit import CALLBACK_FAILED, INTERRUPTED, emit_kernel, return_if
from gradc.codegen.lanes import Lanes, parts
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.scalars import register_type
from gradc.codegen.shuffle import emit_shuffle
from gradc.codegen.targets import Target, host
from gradc.codegen.training import TrainingProgram, table_bytes, workspace
from gradc.ir.types import TensorType

#: a bit of the status of ``fit``: it was the step of the last, smaller batch that failed
IN_REST = 1 << 62

#: flops between two looks at whether the user interrupts: well under a second
_PATIENCE = 1 << 20


def emit_training(program: TrainingProgram, target: Target | None = None) -> Module:
    """The module of a training program, with the function ::

        i64 @fit(ptr carried, ptr data, ptr work, i64 epochs, i64 seed, ptr losses, ptr done,
                 ptr report, ptr poll, ptr context)

    ``carried`` are the addresses of both copies of what is carried, the first of which holds the
    start; ``data`` those of the data arrays, C-contiguous; ``work`` is a :class:`Workspace`,
    aligned to 64; ``losses`` takes a double an epoch, ``done`` (i64) how many epochs are finished.
    After an odd number of steps the result is in the second copy.

    ``i32 report(ptr context, i64 epoch, double loss)``, if not null, is called after every epoch: a
    positive answer ends the training, a negative one is a failure. ``i32 poll(ptr context)``, if
    not null, is called from time to time, and interrupts by any answer but 0. The result is 0 or
    the status of a kernel, with IN_REST where it came from ``rest``; INTERRUPTED; or
    CALLBACK_FAILED.
    """
    target = target or host()
    module = Module(target)
    module.attributes = target.attributes
    emit_kernel(module, program.step, "step", "step_")
    if program.rest is not None:
        emit_kernel(module, program.rest, "rest", "rest_")
    if program.shuffled:
        emit_shuffle(module, program.samples)
        for type_ in program.batch_types:
            _emit_rows(module, target, type_)
    _Fit(module, program).emit()
    return module


class _Fit:
    """The function ``fit``. ``side`` is the copy of the carried values that is up to date."""

    def __init__(self, module: Module, program: TrainingProgram) -> None:
        names = "carried data work epochs seed losses done report poll context".split()
        types = {"epochs": "i64", "seed": "i64"}
        self.b = Builder(module, "fit", "i64", [(types.get(n, "ptr"), n) for n in names])
        for name, value in zip(names, self.b.params, strict=True):
            setattr(self, name, value)
        self.program = program
        self.place = workspace(program)
        self.patience = max(1, _PATIENCE // max(1, program.step.flops))

    carried: Val
    data: Val
    work: Val
    epochs: Val
    seed: Val
    losses: Val
    done: Val
    report: Val
    poll: Val
    context: Val

    def emit(self) -> None:
        b, program = self.b, self.program
        self._fill_tables()
        b.store(b.i64(0), self.done, 8)
        patience = b.i64(self.patience)
        with b.loop(b.i64(0), self.epochs, carried=[b.i64(0), patience]) as epochs:
            side, left = epochs.carried
            if program.shuffled:
                order = self._at(self.place.order)
                b.call("void", "shuffle", [order, self.seed, epochs.index])
            loss = b.const(0.0, "double")
            if program.steps == 1:
                side, left, loss = self._step("step", b.i64(0), side, left)
            else:
                with b.loop(b.i64(0), b.i64(program.batches), carried=[side, left, loss]) as loop:
                    side, left, total = loop.carried
                    start = b.mul(loop.index, b.i64(program.batch))
                    side, left, loss = self._step("step", start, side, left)
                    total = self._weighted(total, loss, program.batch)
                    loop.next = [side, left, total]
                side, left, total = loop.results
                if program.rest is not None:
                    start = b.i64(program.batches * program.batch)
                    side, left, loss = self._step("rest", start, side, left)
                    total = self._weighted(total, loss, program.left)
                loss = b.fdiv(total, b.const(float(program.samples), "double"))
            b.store(loss, b.gep(self.losses, "double", epochs.index), 8)
            b.store(b.add(epochs.index, b.i64(1)), self.done, 8)
            self._tell(epochs.index, loss)
            epochs.next = [side, left]
        b.ret(b.i64(0))
        b.finish()

    def _weighted(self, total: Val, loss: Val, size: int) -> Val:
        return self.b.fadd(total, self.b.fmul(loss, self.b.const(float(size), "double")))

    # -- memory --------------------------------------------------------------------------------

    def _at(self, offset: int) -> Val:
        return self.b.gep(self.work, "i8", self.b.i64(offset))

    def _pointer(self, table: Val, index: int) -> Val:
        return self.b.load(self.b.gep(table, "ptr", self.b.i64(index)), "ptr", 8)

    def _fill_tables(self) -> None:
        b, count = self.b, len(self.program.carried)
        for side in (0, 1):
            table = self._at(self.place.tables + side * table_bytes(self.program))
            row = [self._pointer(self.carried, side * count + k) for k in range(count)]
            for k, offset in enumerate(self.place.batches):
                buffer = self._at(offset) if self.program.shuffled else self._pointer(self.data, k)
                row.append(buffer)
            row += [self._pointer(self.carried, (1 - side) * count + k) for k in range(count)]
            row.append(self._at(self.place.loss))
            for k, pointer in enumerate(row):
                b.store(pointer, b.gep(table, "ptr", b.i64(k)), 8)

    def _batch(self, args: Val, start: Val, size: int) -> None:
        """Have the arguments' batches be the samples from ``start`` on."""
        b, program = self.b, self.program
        if program.steps == 1:
            return
        for k, (type_, offset) in enumerate(
            zip(program.batch_types, self.place.batches, strict=True)
        ):
            source = self._pointer(self.data, k)
            if program.shuffled:
                order = b.gep(self._at(self.place.order), "i32", start)
                operands = [order, source, self._at(offset), b.i64(size)]
                b.call("void", _rows_name(type_), operands)
            else:
                at = b.mul(start, b.i64(type_.nbytes // program.batch))
                slot = b.gep(args, "ptr", b.i64(len(program.carried) + k))
                b.store(b.gep(source, "i8", at), slot, 8)

    # -- statements ----------------------------------------------------------------------------

    def _step(self, name: str, start: Val, side: Val, left: Val) -> tuple[Val, Val, Val]:
        """One step; the side and the patience after it, and its loss as double."""
        b, program = self.b, self.program
        kernel, size = program.step, program.batch
        if name == "rest":
            assert program.rest is not None
            kernel, size = program.rest, program.left
        tables = self._at(self.place.tables)
        args = b.gep(tables, "i8", b.mul(side, b.i64(table_bytes(program))))
        outs = b.gep(args, "ptr", b.i64(len(kernel.inputs)))
        self._batch(args, start, size)
        status = b.call("i64", name, [args, outs, self.work])
        assert status is not None
        where = b.i64(IN_REST if name == "rest" else 0)
        return_if(b, b.icmp("ne", status, b.i64(0)), b.or_(status, where))
        left = self._look(left)
        dtype = kernel.outputs[-1].dtype
        loss = b.load(self._at(self.place.loss), register_type(dtype), dtype.itemsize)
        if loss.ty != "double":
            loss = b.cast("fpext", loss, "double")
        return b.xor(side, b.i64(1)), left, loss

    def _look(self, left: Val) -> Val:
        """Poll once the patience is over."""
        b = self.b
        left = b.sub(left, b.i64(1))
        due = b.icmp("eq", left, b.i64(0))
        with b.if_(b.and_(due, self._given(self.poll))):
            answer = b.call_pointer("i32", self.poll, [self.context])
            assert answer is not None
            return_if(b, b.icmp("ne", answer, b.const(0, "i32")), b.i64(INTERRUPTED))
        return b.select(due, b.i64(self.patience), left)

    def _tell(self, epoch: Val, loss: Val) -> None:
        b = self.b
        with b.if_(self._given(self.report)):
            answer = b.call_pointer("i32", self.report, [self.context, epoch, loss])
            assert answer is not None
            none = b.const(0, "i32")
            return_if(b, b.icmp("slt", answer, none), b.i64(CALLBACK_FAILED))
            return_if(b, b.icmp("ne", answer, none), b.i64(0))

    def _given(self, function: Val) -> Val:
        return self.b.icmp("ne", function, Val("null", "ptr"))


# -- rows ----------------------------------------------------------------------------------------


def _rows_name(type_: TensorType) -> str:
    return f"rows_{math.prod(type_.shape[1:])}_i{8 * type_.dtype.itemsize}"


def _emit_rows(module: Module, target: Target, type_: TensorType) -> None:
    """``void @rows_<elements>_<element>(ptr order, ptr source, ptr out, i64 count)``: a batch.

    Row k of the result is row ``order[k]`` of the source.
    """
    size = type_.dtype.itemsize
    elements = math.prod(type_.shape[1:])
    params = [("ptr", "order"), ("ptr", "source"), ("ptr", "out"), ("i64", "count")]
    b = Builder(module, _rows_name(type_), "void", params, linkage="private")
    order, source, out, count = b.params
    x = Lanes(b, f"i{8 * size}", size, target)
    with b.loop(b.i64(0), count) as loop:
        row = b.cast("zext", b.load(b.gep(order, "i32", loop.index), "i32", 4), "i64")
        _copy(x, x.step(source, row, elements), x.step(out, loop.index, elements), elements)
    b.ret()
    b.finish()


def _copy(x: Lanes, source: Val, out: Val, elements: int) -> None:
    """Copy a row, in vectors; long rows in a loop of eight of them."""
    block = 8 * x.full
    start = elements // block * block if elements > 2 * block else 0
    if start:
        with x.b.loop(x.b.i64(0), x.b.i64(start), block) as loop:
            _copy(x, x.step(source, loop.index, 1), x.step(out, loop.index, 1), block)
    some = [(p, x.at(source, start + p.offset)) for p in parts(elements - start, x.full)]
    values = [x.load(at, p.lanes, p.used) for p, at in some]
    for (p, _), value in zip(some, values, strict=True):
        x.store(value, x.at(out, start + p.offset), p.used)
