"""What the report says about loops and branches: how often they run what, and the work of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from gradc.codegen.loops import Contract, Irregular, Nest
from gradc.codegen.region.stages import USUAL, Branch, Loop
from gradc.codegen.region.straight import Element, Straight, Update
from gradc.codegen.report import StageReport
from gradc.codegen.statements import MATH_COST, Compute, cost

#: (op, how often it is computed)
Work = tuple[str, int]


def with_insides(report: StageReport, stage: Any) -> StageReport:
    """The report on a loop or branch with what is inside it; that on another stage as it is."""
    if not isinstance(stage, (Loop, Branch)):
        return report
    done = list(_work([stage], 1))
    calls = sum(n for op, n in done if op.startswith("math "))
    return replace(
        report, ops=tuple(op.removeprefix("math ") for op, _ in done), calls=calls,
        arithmetic=sum(n for _, n in done) - calls, blocks=_shape(stage),
    )


def _shape(stage: Any) -> str:
    """How often a loop runs, and which loops are in it."""
    inside = [s for s in stage.inside if isinstance(s, (Loop, Branch))]
    if isinstance(stage, Branch):
        text = f"one of {len(stage.bodies)} regions"
    elif stage.test is not None:
        text = "iterations while its test holds"
    elif stage.count < 0:
        text = "as many iterations as a number says when it runs"
    else:
        text = f"{stage.count:,} iterations"
    return text + "".join(f", of {_shape(s)}" for s in inside)


def _work(stages: Sequence[Any], times: int) -> Iterator[Work]:
    """The ops of stages that run so often; of a loop as many times as iterations it has."""
    for stage in stages:
        match stage:
            case Loop():
                yield from _work(stage.inside, times * (stage.count if stage.count >= 0 else USUAL))
            case Branch():
                yield from _work(stage.inside, times)
            case Straight(statements):
                yield from _statements(statements, times)
            case Nest():
                for phase in stage.phases:
                    rows = times * math.prod(stage.outer)
                    yield from _statements(phase.row, rows)
                    yield from _statements(phase.body, rows * math.prod(stage.inner))
            case Contract():
                yield "matmul", times * stage.flops
            case Irregular():
                yield stage.node.op.name, times * sum(t.size for t in stage.operand_types)


def _statements(statements: Sequence[Any], times: int) -> Iterator[Work]:
    for s in statements:
        match s:
            case Compute():
                name = s.node.op.name
                yield (f"math {name}" if cost(s.node) >= MATH_COST else name), times
            case Element():
                yield "gather", times
            case Update():
                yield "scatter", times
