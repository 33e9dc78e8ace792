"""How much code a program is, and how it is cut into functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradc.codegen.loops import LoopProgram, Nest, RowBlocks, Stage
from gradc.codegen.region.stages import all_stages
from gradc.codegen.region.straight import Straight
from gradc.codegen.statements import MATH_COST, Compute, cost

#: statements of a function: code generation is superlinear in the size of functions
FUNCTION = 1500


def math_calls(program: LoopProgram) -> int:
    """How many calls of vector math stand in a program."""
    parts = (
        part
        for stage in all_stages(program.stages)
        for part in (stage.stages if isinstance(stage, RowBlocks) else [stage])
    )
    return sum(
        isinstance(statement, Compute) and cost(statement.node) >= MATH_COST
        for part in parts for statement in _statements(part)
    )


def _statements(stage: Stage) -> Iterator[Any]:
    if isinstance(stage, Straight):
        yield from stage.statements
    for phase in stage.phases if isinstance(stage, Nest) else ():
        yield from phase.row
        yield from phase.body


def parts_of(program: LoopProgram) -> list[list[tuple[int, Stage]]]:
    """The stages of each function, with their numbers."""
    parts: list[list[tuple[int, Stage]]] = [[]]
    size = 0
    for k, stage in enumerate(program.stages):
        weight = sum(map(_weight, all_stages([stage])))
        if size + weight > FUNCTION and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append((k, stage))
        size += weight
    return parts


def _weight(stage: Stage) -> int:
    """How much code a stage is, without those inside it."""
    if isinstance(stage, Nest):
        return sum(len(p.row) + 2 * len(p.body) for p in stage.phases)
    return len(stage.statements) if isinstance(stage, Straight) else 50
