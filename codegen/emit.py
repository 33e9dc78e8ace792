"""From a loop program to one LLVM module with ``@kernel(args, outs, ws) -> status``."""

from __future__ import annotations

from collections.abc import Iterable

from gradc.codegen import callbacks, irregular, matmul
from gradc.codegen.chunks import statements
from gradc.codegen.llvm import Builder, Module, Val
from gradc.codegen.loops import (
    MATH_COST,
    Buffer,
    Chunks,
    Compute,
    Contract,
    Gather,
    Irregular,
    LoopProgram,
    Nest,
    Print,
    Stage,
    cost,
)
from gradc.codegen.nests import NestEmitter
from gradc.codegen.scalars import memory_type
from gradc.codegen.targets import Target, host
from gradc.codegen.tiles import TileEpilogue

#: status codes of a kernel, in the low byte; the node that failed is above it
OUT_OF_BOUNDS, INTERRUPTED, CALLBACK_FAILED = 1, 2, 3

#: statements of a function: code generation is superlinear in the size of functions
FUNCTION = 1500

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
    if _math_calls(program) > INLINE_MATH:
        module.outline = True
    parts = _parts(program)
    if len(parts) == 1:
        _Function(module, name, prefix).emit(enumerate(program.stages))
        return
    names = []
    for k, part in enumerate(parts):
        names.append(f"{name}_{k}")
        _Function(module, names[-1], prefix).emit(part)
    params = [("ptr", "args"), ("ptr", "outs"), ("ptr", "ws")]
    b = Builder(module, name, "i64", params)
    for part_name in names:
        status = b.call("i64", part_name, b.params)
        assert status is not None
        return_if(b, b.icmp("ne", status, b.i64(0)), status)
    b.ret(b.i64(0))
    b.finish()


def _math_calls(program: LoopProgram) -> int:
    return sum(
        cost(statement.node) >= MATH_COST
        for stage in program.stages
        if isinstance(stage, Nest)
        for phase in stage.phases
        for statement in (*phase.row, *phase.body)
        if isinstance(statement, Compute)
    )


def _parts(program: LoopProgram) -> list[list[tuple[int, Stage]]]:
    parts: list[list[tuple[int, Stage]]] = [[]]
    size = 0
    for k, stage in enumerate(program.stages):
        weight = 50
        if isinstance(stage, Nest):
            weight = sum(len(p.row) + 2 * len(p.body) for p in stage.phases)
        if size + weight > FUNCTION and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append((k, stage))
        size += weight
    return parts


def return_if(b: Builder, failed: Val, status: Val) -> None:
    """Leave the function with ``status`` where ``failed``, an i1."""
    stop, on = b.label("fail"), b.label("ok")
    b.cond_br(failed, stop, on)
    b.place(stop)
    b.ret(status)
    b.place(on)


class _Function:
    """One function of a program: its pointers, its stages."""

    def __init__(self, module: Module, name: str, prefix: str) -> None:
        params = [("ptr", "args"), ("ptr", "outs"), ("ptr", "ws")]
        self.b = Builder(module, name, "i64", params)
        self.tables = self.b.params
        self.private: Val | None = None
        self.module = module
        self.prefix = prefix
        self.target = module.target
        assert isinstance(self.target, Target)
        self.pointers: dict[str, Val] = {}

    def emit(self, stages: Iterable[tuple[int, Stage]]) -> None:
        """Emit numbered stages and close the function."""
        for number, stage in stages:
            self._stage(number, stage)
        self.b.ret(self.b.i64(0))
        self.b.finish()

    def pointer(self, buffer: Buffer) -> Val:
        """The address of a buffer, loaded once, in the entry block."""
        if buffer.name not in self.pointers:
            self.pointers[buffer.name] = self._address(buffer)
        return self.pointers[buffer.name]

    def _address(self, buffer: Buffer) -> Val:
        args, outs, space = self.tables
        if buffer.kind == "constant" and buffer.nbytes <= CONSTANT:
            element, name = memory_type(buffer.dtype), self.prefix + buffer.name
            text = "".join(f"\\{byte:02X}" for byte in buffer.data)
            if not buffer.data:
                return self.module.constant(name, f"[0 x {element}]", "[]")
            return self.module.constant(name, f"[{len(buffer.data)} x i8]", f'c"{text}"')
        lines, self.b.lines = self.b.lines, []
        if buffer.kind == "constant":
            value = self.b.external(self.prefix + buffer.name)
        elif buffer.kind == "arena":
            value = self.b.gep(space, "i8", self.b.i64(buffer.offset))
        elif buffer.kind == "private":
            assert self.private is not None
            value = self.b.gep(self.private, "i8", self.b.i64(buffer.offset))
        else:
            table = args if buffer.kind == "input" else outs
            at = self.b.gep(table, "ptr", self.b.i64(buffer.index))
            value = self.b.load(at, "ptr", 8)
        self.b.entry.extend(self.b.lines)
        self.b.lines = lines
        return value

    def _share(self, name: str, nest: Nest, chunks: Chunks) -> None:
        """Have the pool run the chunks of a nest, a function of its own."""
        _Chunk(self.module, name, self.prefix).emit_chunk(nest)
        b = self.b
        context = b.alloca("ptr", 3, align=8)
        for k, table in enumerate(self.tables):
            b.store(table, b.gep(context, "ptr", b.i64(k)), 8)
        space = self.pointer(chunks.space) if chunks.space else Val("null", "ptr")
        count = b.i64(nest.outer[0])
        operands = [Val(f"@{name}", "ptr"), context, count, space, b.i64(chunks.nbytes)]
        status = b.call_pointer("i64", b.external("parallel"), operands)
        assert status is not None
        if any(isinstance(s, Gather) for s in statements(nest)):
            return_if(b, b.icmp("ne", status, b.i64(0)), status)

    def fail(self, failed: Val, node: int) -> None:
        """Leave with an index error of a node where ``failed``."""
        return_if(self.b, failed, self.b.i64(OUT_OF_BOUNDS | node << 8))

    def _stage(self, number: int, stage: Stage) -> None:
        b = self.b
        assert isinstance(self.target, Target)
        match stage:
            case Nest(chunks=Chunks() as chunks):
                self._share(f"{b.name}_chunk{number}", stage, chunks)
            case Nest():
                NestEmitter(b, self.target, stage, self.pointer, self.fail).emit()
            case Contract():
                self._contract(stage)
            case Irregular(node, types, operands, out, scratch, in_place):
                space = self.pointer(scratch) if scratch else Val("null", "ptr")
                failed = irregular.emit(
                    b, node.op.name, node.attrs, types, [self.pointer(x) for x in operands],
                    self.pointer(out), space, in_place,
                )
                if failed is not None:
                    self.fail(failed, node.id)
            case Print(node, types, operands):
                status = callbacks.emit_print(
                    b, f"{self.prefix}print{number}", types, [self.pointer(x) for x in operands]
                )
                bad = b.icmp("ne", status, b.const(0, status.ty))
                return_if(b, bad, b.i64(CALLBACK_FAILED | node.id << 8))

    def _contract(self, stage: Contract) -> None:
        assert isinstance(self.target, Target)
        a, second, out, space = (
            self.pointer(x) if x else Val("null", "ptr")
            for x in (stage.a, stage.b, stage.out, stage.scratch)
        )
        if stage.epilogue is None:
            matmul.emit(self.b, stage.spec, a, second, out, space)
            return
        epilogue = TileEpilogue(self.b, self.target, stage, self.pointer)
        epilogue.begin()
        matmul.emit(self.b, stage.spec, a, second, out, space, epilogue)
        epilogue.end()


class _Chunk(_Function):
    """``i64 name(ptr context, ptr private, i64 chunk)``: one chunk of a nest."""

    def __init__(self, module: Module, name: str, prefix: str) -> None:
        super().__init__(module, name, prefix)
        params = [("ptr", "context"), ("ptr", "private"), ("i64", "chunk")]
        self.b = Builder(module, name, "i64", params, linkage="internal")
        context, self.private, self.chunk = self.b.params
        at = [self.b.gep(context, "ptr", self.b.i64(k)) for k in range(3)]
        self.tables = [self.b.load(place, "ptr", 8) for place in at]
        self.b.entry, self.b.lines = self.b.lines, []

    def emit_chunk(self, nest: Nest) -> None:
        """Emit the chunk and close the function."""
        assert isinstance(self.target, Target)
        NestEmitter(self.b, self.target, nest, self.pointer, self.fail, self.chunk).emit()
        self.b.ret(self.b.i64(0))
        self.b.finish()
