"""cumsum and cumprod: one element after the other along the axis, in the dtype, as NumPy does."""

from __future__ import annotations

from collections.abc import Sequence

from gradc.codegen.irregular.memory import counted, lanes_of_type, split, sweep
from gradc.codegen.lanes import Lanes, Part
from gradc.codegen.llvm import Builder, Val
from gradc.ir.types import TensorType

#: Rows or vectors scanned side by side: an addition waits four cycles for the one before it.
ABREAST = 4


def emit(
    b: Builder, op: str, type_: TensorType, axis: int, reverse: bool, x: Val, out: Val
) -> None:
    """Emit a scan; ``x`` and ``out`` may be the same buffer."""
    if type_.size == 0:
        return
    lanes = lanes_of_type(b, type_)
    opcode = ("f" if type_.dtype.kind == "f" else "") + {"cumsum": "add", "cumprod": "mul"}[op]
    outer, n, inner = split(type_.shape, axis)
    first = (n - 1) * inner if reverse else 0
    stride = -inner if reverse else inner
    x, out = lanes.at(x, first), lanes.at(out, first)
    if inner == 1:

        def rows(row: Val, count: int) -> None:
            run = [Part(k * n, 1, 1) for k in range(count)]
            _run(lanes, opcode, n, stride, lanes.step(x, row, n), lanes.step(out, row, n), run)

        whole = outer - outer % ABREAST
        if whole:
            with b.loop(b.i64(0), b.i64(whole), ABREAST) as loop:
                rows(loop.index, ABREAST)
        if outer > whole:
            rows(b.i64(whole), outer - whole)
        return
    with counted(b, outer) as o:
        x, out = lanes.step(x, o, n * inner), lanes.step(out, o, n * inner)

        def columns(offset: Val, pieces: list[Part], _: Sequence[Val]) -> Sequence[Val]:
            ends = lanes.step(x, offset, 1), lanes.step(out, offset, 1)
            _run(lanes, opcode, n, stride, *ends, pieces)
            return ()

        sweep(b, inner, lanes.full, ABREAST, columns)


def _run(
    lanes: Lanes, opcode: str, n: int, stride: int, x: Val, out: Val, run: list[Part]
) -> None:
    """Scan ``n`` steps of ``stride`` elements from ``x`` on, all parts of the run abreast."""
    b = lanes.b

    def load(ptr: Val) -> list[Val]:
        return [lanes.load(lanes.at(ptr, p.offset), p.lanes, p.used) for p in run]

    def store(values: Sequence[Val], ptr: Val) -> None:
        for value, p in zip(values, run, strict=True):
            lanes.store(value, lanes.at(ptr, p.offset), p.used)

    totals = load(x)
    store(totals, out)
    with b.loop(b.i64(1), b.i64(n), carried=totals) as loop:
        terms = load(lanes.step(x, loop.index, stride))
        loop.next = [
            b.binary(opcode, total, term)
            for total, term in zip(loop.carried, terms, strict=True)
        ]
        store(loop.next, lanes.step(out, loop.index, stride))
