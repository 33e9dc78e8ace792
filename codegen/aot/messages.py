"""What a status means, as text in the library: ``const char *name_message(int64_t status)``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from gradc.codegen.aot.objects import exported
from gradc.codegen.kernel import Failure
from gradc.codegen.llvm import Builder, Module
from gradc.codegen.loops import LoopProgram
from gradc.codegen.region.emit_loop import LIMIT
from gradc.codegen.region.straight import CODES as REQUIRED
from gradc.codegen.region.straight import MISMATCH, UNASSIGNED
from gradc.codegen.region.tape import NO_MEMORY
from gradc.codegen.targets import Target
from gradc.ir.graph import Node

#: statuses that the C functions add to those of kernels
NULL_POINTER, NOT_FINITE = 32, 33

#: code -> the end of its name in the header, and what it means; those of nodes say where besides
CODES = {
    0: ("OK", "no error"),
    1: ("ERROR_VALUE", "an index is out of bounds, or parameters of random numbers are impossible"),
    LIMIT: ("ERROR_TRIPS", "a while loop ran more often than its max_trips"),
    NO_MEMORY: ("ERROR_MEMORY", "there is no memory for what a loop keeps for its gradient"),
    UNASSIGNED: ("ERROR_UNASSIGNED", "a variable was read that nothing had assigned"),
    MISMATCH: ("ERROR_MISMATCH", "arrays meet whose lengths, known only when run, are different"),
    NULL_POINTER: ("ERROR_NULL", "a pointer is null"),
    NOT_FINITE: ("ERROR_NOT_FINITE", "a loss in training is not finite"),
}


#: what an op ends with where it fails, if not with 1
_OF_OPS = {"loop": LIMIT, **REQUIRED}


def of_nodes(program: LoopProgram) -> list[str]:
    """The message of each node that may fail, with the user's line."""
    return [_of_node(node) for node in program.checked]


def _of_node(node: Node) -> str:
    code = _OF_OPS.get(node.op.name, 1)
    text = str(Failure(code, node).error())
    if not node.locs:
        return text
    loc = node.locs[-1]
    where = f" in {loc.function}" if loc.function else ""
    return f"{text}, at {PurePath(loc.file).name}:{loc.line}{where}"


def emit(module: Module, name: str, nodes: Sequence[str]) -> None:
    """The function ``name``; ``nodes`` are the messages of the nodes that may fail."""
    assert isinstance(module.target, Target)
    unknown = "an unknown status"
    texts = [CODES.get(k, ("", unknown))[1] for k in range(max(CODES) + 1)]
    fixed = len(texts)
    texts += [unknown, *nodes]
    blob = b""
    starts: list[int] = []
    for text in texts:
        same = texts.index(text)
        starts.append(starts[same] if same < len(starts) else len(blob))
        if starts[-1] == len(blob):
            blob += text.encode() + b"\0"
    strings = module.data(f"{name}_texts", blob, 1)
    numbers = ", ".join(f"i32 {start}" for start in starts)
    table = module.constant(f"{name}_starts", f"[{len(starts)} x i32]", f"[{numbers}]", 4)

    b = Builder(module, name, "ptr", [("i64", "status")], linkage=exported(module.target))
    (status,) = b.params
    code = b.and_(status, b.i64(255))
    node = b.and_(b.binary("lshr", status, b.i64(8)), b.i64((1 << 24) - 1))
    index = b.intrinsic("umin", "i64", [code, b.i64(fixed)])
    if nodes:
        of_node = b.icmp("eq", code, b.i64(1))
        for other in _OF_OPS.values():
            of_node = b.or_(of_node, b.icmp("eq", code, b.i64(other)))
        known = b.and_(of_node, b.icmp("ult", node, b.i64(len(nodes))))
        index = b.select(known, b.add(node, b.i64(fixed + 1)), index)
    start = b.load(b.gep(table, "i32", index), "i32", 4)
    b.ret(b.gep(strings, "i8", b.cast("zext", start, "i64")))
    b.finish()


