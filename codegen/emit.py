"""From a loop program to one LLVM module with ``@kernel(args, outs, ws) -> status``."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.codegen import callbacks, irregular, matmul
from gradc.codegen.blockloop import emit_blocks
from gradc.codegen.buffers import with_buffers
from gradc.codegen.chunks import statements
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.loops import (
    Contract,
    Irregular,
    LoopProgram,
    Nest,
    Print,
    RowBlocks,
    Shares,
    Stage,
)
from gradc.codegen.nests import NestEmitter
from gradc.codegen.parts import math_calls, parts_of
from gradc.codegen.region import tape
from gradc.codegen.region.emit import Region
from gradc.codegen.region.stages import Branch, Loop
from gradc.codegen.region.straight import Straight
from gradc.codegen.scalars import memory_type
from gradc.codegen.statements import Buffer, Gather
from gradc.codegen.targets import Target, host
from gradc.codegen.tiles import TileEpilogue

#: status codes of a kernel, in the low byte; the node that failed is above it
OUT_OF_BOUNDS, INTERRUPTED, CALLBACK_FAILED = 1, 2, 3

_TABLES = [("ptr", "args"), ("ptr", "outs"), ("ptr", "ws")]

#: bytes of a constant that stand in the module; larger ones are live objects of the process
CONSTANT = 1 << 16

#: a program of more calls of vector math than this calls them: in place each is some thirty
#: instructions, and compile time would grow with the graph
INLINE_MATH = 40


def emit(program: LoopProgram, target: Target | None = None) -> Module:
    """The module of a program. Exports ``kernel``; prints are externals named ``print<k>``."""
    target = target or host()
    module = Module(target)
    module.attributes = target.attributes
    emit_kernel(module, program, "kernel")
    return module


def emit_kernel(module: Module, program: LoopProgram, name: str, prefix: str = "") -> None:
    """Add a program to a module as function ``name``; long ones as a chain of functions.

    ``prefix`` begins the names of its constants and prints, where a module has several programs.
    """
    if math_calls(program) > INLINE_MATH:
        module.outline = True
    if program.tapes is None:
        _emit_parts(module, program, name, prefix)
        return
    _emit_parts(module, program, f"{name}_run", prefix)
    b = Builder(module, name, "i64", _TABLES)
    state = b.gep(b.params[2], "i8", b.i64(program.tapes.offset))
    tape.begin(b, state)
    status = b.call("i64", f"{name}_run", b.params)
    tape.release(b, state)
    b.ret(status)
    b.finish()


def _emit_parts(module: Module, program: LoopProgram, name: str, prefix: str) -> None:
    parts = parts_of(program)
    if len(parts) == 1:
        Function(module, name, prefix).emit(enumerate(program.stages))
        return
    names = []
    for k, part in enumerate(parts):
        names.append(f"{name}_{k}")
        Function(module, names[-1], prefix).emit(part)
    b = Builder(module, name, "i64", _TABLES)
    for part_name in names:
        status = b.call("i64", part_name, b.params)
        assert status is not None
        return_if(b, b.icmp("ne", status, b.i64(0)), status)
    b.ret(b.i64(0))
    b.finish()


def return_if(b: Builder, failed: Val, status: Val) -> None:
    """Leave the function with ``status`` where ``failed``, an i1."""
    stop, on = b.label("fail"), b.label("ok")
    b.cond_br(failed, stop, on)
    b.place(stop)
    b.ret(status)
    b.place(on)


class Function:
    """One function of a program: its pointers, its stages."""

    def __init__(self, module: Module, name: str, prefix: str) -> None:
        self.b = Builder(module, name, "i64", _TABLES)
        self.tables = self.b.params
        self.private: Val | None = None
        self.chunk = self.b.i64(0)
        self.module = module
        self.prefix = prefix
        self.target = module.target
        assert isinstance(self.target, Target)
        self.pointers: dict[str, Val] = {}
        self._stages = 0

    @property
    def machine(self) -> Target:
        """The machine that the module is for."""
        assert isinstance(self.target, Target)
        return self.target

    def next_number(self) -> str:
        """A number for a stage inside another."""
        self._stages += 1
        return f"inner{self._stages}"

    def emit(self, stages: Iterable[tuple[int, Stage]]) -> None:
        """Emit numbered stages and close the function."""
        for number, stage in stages:
            self.stage(number, stage)
        self.b.ret(self.b.i64(0))
        self.b.finish()

    def pointer(self, buffer: Buffer) -> Val:
        """The address of a buffer, loaded once, in the entry block."""
        if buffer.name not in self.pointers:
            self.pointers[buffer.name] = self._address(buffer)
        return self.pointers[buffer.name]

    def _address(self, buffer: Buffer) -> Val:
        if buffer.kind == "constant" and buffer.nbytes <= CONSTANT:
            element, name = memory_type(buffer.dtype), self.prefix + buffer.name
            if not buffer.data:
                return self.module.constant(name, f"[0 x {element}]", "[]")
            return self.module.data(name, buffer.data)
        with self.b.on_entry():
            return self._place(buffer)

    def _place(self, buffer: Buffer) -> Val:
        args, outs, space = self.tables
        b = self.b
        match buffer.kind:
            case "constant":
                return b.external(self.prefix + buffer.name)
            case "arena":
                return b.gep(space, "i8", b.i64(buffer.offset))
            case "part":
                parts = b.gep(space, "i8", b.i64(buffer.offset))
                return b.gep(parts, "i8", b.mul(self.chunk, b.i64(buffer.nbytes)))
            case "private":
                assert self.private is not None
                return b.gep(self.private, "i8", b.i64(buffer.offset))
        table = args if buffer.kind == "input" else outs
        return b.load(b.gep(table, "ptr", b.i64(buffer.index)), "ptr", 8)

    def _share(
        self, name: str, count: int, space: Buffer | None, nbytes: int, stage: Stage, *more: Val
    ) -> Val:
        """Have the pool run the chunks of a stage, a function; its status.

        ``space`` is this thread's ``nbytes`` of private memory; ``more`` are i64 that the function
        gets besides the chunk's number.
        """
        b = self.b
        more = (*more, *(self.pointers[slot] for slot in slots_of(stage)))
        context = b.alloca("i64", 3 + len(more), align=8)
        for k, value in enumerate((*self.tables, *more)):
            b.store(value, b.gep(context, "i64", b.i64(k)), 8)
        own = self.pointer(space) if space else Val("null", "ptr")
        operands = [Val(f"@{name}", "ptr"), context, b.i64(count), own, b.i64(nbytes)]
        status = b.call_pointer("i64", b.external("parallel"), operands)
        assert status is not None
        return status

    def _nest(self, number: int | str, nest: Nest) -> None:
        assert isinstance(self.target, Target)
        if nest.chunks is None:
            NestEmitter(self.b, self.target, nest, self.pointer, self.fail).emit()
            return
        name = f"{self.b.name}_chunk{number}"
        _Chunk(self.module, name, self.prefix, nest).nest(nest)
        chunks = nest.chunks
        status = self._share(name, nest.outer[0], chunks.space, chunks.nbytes, nest)
        if any(isinstance(s, Gather) for s in statements(nest)):
            return_if(self.b, self.b.icmp("ne", status, self.b.i64(0)), status)

    def _operands(self, stage: Contract) -> tuple[Val, Val, Val]:
        a, b, c = (
            self.pointer(x) if x else Val("null", "ptr") for x in (stage.a, stage.b, stage.out)
        )
        return a, b, c

    def _space(self, stage: Contract) -> Val:
        return self.pointer(stage.scratch) if stage.scratch else Val("null", "ptr")

    def _epilogue(self, stage: Contract) -> TileEpilogue | None:
        assert isinstance(self.target, Target)
        if stage.epilogue is None:
            return None
        return TileEpilogue(self.b, self.target, stage, self.pointer)

    def _product(self, stage: Contract, space: Val, span: tuple[Val, Val] | None = None) -> None:
        """A product, or of its batch what is in the span."""
        epilogue = self._epilogue(stage)
        if epilogue is not None:
            epilogue.begin()
        matmul.emit(
            self.b, stage.spec, *self._operands(stage), space, epilogue, batches=span,
            onto=stage.onto,
        )
        if epilogue is not None:
            epilogue.end()

    def _contract(self, number: int | str, stage: Contract) -> None:
        """A product, or what shares it out."""
        shares, name = stage.shares, f"{self.b.name}_chunk{number}"
        if shares is None:
            self._product(stage, self._space(stage))
            return
        if shares.along == "batch":
            _Chunk(self.module, name, self.prefix, stage).batches(stage, shares)
            self._share(name, shares.count, stage.scratch, shares.nbytes, stage)
            return

        def share(batch: Val, low: Val, depth: int, last: bool) -> None:
            part = f"{name}_{depth}" + last * "_last"
            if part not in self.module.functions:
                chunk = _Chunk(self.module, part, self.prefix, stage, more=2)
                chunk.rows(stage, shares, depth, last)
            self._share(part, shares.count, stage.scratch, shares.nbytes, stage, batch, low)

        matmul.emit(
            self.b, stage.spec, *self._operands(stage), self._space(stage),
            None if stage.epilogue is None else _not_here, share=share,
        )

    def _row_blocks(self, number: int | str, stage: RowBlocks) -> None:
        """Blocks of rows, their chunks shared out; a single chunk is run right here."""
        name = f"{self.b.name}_blocks{number}"
        _Chunk(self.module, name, self.prefix, stage).blocks(stage)
        self._share(name, stage.chunks, stage.space, stage.nbytes, stage)

    def fail(self, failed: Val, node: int) -> None:
        """Leave with an index error of a node where ``failed``."""
        self.stop(failed, OUT_OF_BOUNDS, node)

    def stop(self, failed: Val, code: int, node: int) -> None:
        """Leave with a status code and a node's number where ``failed``."""
        return_if(self.b, failed, self.b.i64(code | node << 8))

    def stage(self, number: int | str, stage: Stage) -> None:
        """Emit one stage."""
        b = self.b
        assert isinstance(self.target, Target)
        match stage:
            case Nest():
                self._nest(number, stage)
            case Contract():
                self._contract(number, stage)
            case RowBlocks():
                self._row_blocks(number, stage)
            case Irregular(node, types, operands, out, scratch, in_place, checked):
                space = self.pointer(scratch) if scratch else Val("null", "ptr")
                failed = irregular.emit(
                    b, node.op.name, node.attrs, types, [self.pointer(x) for x in operands],
                    self.pointer(out), space, in_place,
                )
                if failed is not None:
                    self.fail(failed, checked)
            case Print(_, types, operands, checked):
                status = callbacks.emit_print(
                    b, f"{self.prefix}print{checked}", types, [self.pointer(x) for x in operands]
                )
                bad = b.icmp("ne", status, b.const(0, status.ty))
                self.stop(bad, CALLBACK_FAILED, checked)
            case Straight() | Loop() | Branch():
                Region(self).stage(stage)


class _Chunk(Function):
    """``i64 name(ptr context, ptr private, i64 chunk)``: one chunk of a stage.

    The context has the tables, ``more`` numbers, and the addresses of the stage's slots.
    """

    def __init__(
        self, module: Module, name: str, prefix: str, stage: Stage, more: int = 0
    ) -> None:
        super().__init__(module, name, prefix)
        params = [("ptr", "context"), ("ptr", "private"), ("i64", "chunk")]
        self.b = Builder(module, name, "i64", params, linkage="internal")
        self.context, self.private, self.chunk = self.b.params
        self.tables = [self._given(k, "ptr") for k in range(3)]
        for k, slot in enumerate(slots_of(stage), 3 + more):
            self.pointers[slot] = self._given(k, "ptr")
        self.b.entry, self.b.lines = self.b.lines, []

    def _given(self, index: int, ty: str) -> Val:
        return self.b.load(self.b.gep(self.context, "i64", self.b.i64(index)), ty, 8)

    def _close(self) -> None:
        self.b.ret(self.b.i64(0))
        self.b.finish()

    def _span(self, each: int, extent: int) -> tuple[Val, Val]:
        b = self.b
        low = b.mul(self.chunk, b.i64(each))
        return low, b.intrinsic("smin", "i64", [b.add(low, b.i64(each)), b.i64(extent)])

    def nest(self, nest: Nest) -> None:
        """A chunk of a nest."""
        assert isinstance(self.target, Target)
        NestEmitter(self.b, self.target, nest, self.pointer, self.fail, self.chunk).emit()
        self._close()

    def batches(self, stage: Contract, shares: Shares) -> None:
        """Some products of a batch."""
        assert self.private is not None
        self._product(stage, self.private, self._span(shares.each, stage.spec.batch))
        self._close()

    def rows(self, stage: Contract, shares: Shares, depth: int, last: bool) -> None:
        """Some rows of a part of a product; of the last part, with the epilogue."""
        assert isinstance(self.target, Target) and self.private is not None
        spec, epilogue = stage.spec, self._epilogue(stage) if last else None
        part = matmul.Part(self._given(3, "i64"), self._given(4, "i64"), depth)
        span = self._span(shares.each, matmul.form(spec, self.target).tiles[0])
        if epilogue is not None:
            epilogue.begin()
        matmul.emit_chunk(
            self.b, spec, self._operands(stage), self._space(stage), self.private, part, span,
            epilogue,
        )
        if epilogue is not None:
            epilogue.end()
        self._close()

    def blocks(self, stage: RowBlocks) -> None:
        """Blocks of rows, one after the other."""
        emit_blocks(self, stage)
        self._close()


def slots_of(stage: Stage) -> list[str]:
    """The buffers of a stage whose addresses change, by name."""
    found: dict[str, None] = {}

    def see(buffer: Buffer) -> Buffer:
        if buffer.kind == "slot":
            found[buffer.name] = None
        return buffer

    with_buffers(stage, see)
    return list(found)


def _not_here(*given: object) -> None:
    """The epilogue of a product whose chunks have it."""
    raise AssertionError("a product that is shared out has no tiles of its own")
