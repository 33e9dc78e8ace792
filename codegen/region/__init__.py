"""Native code for control flow: loops and branches whose bodies are programs of their own.

A region is lowered as a graph is, but for its scalars: they live in SSA registers, in straight
code between the stages that work on memory. What a region needs of memory is planned with it and
lies in the arena of the program around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradc.codegen.loops import Stage
    from gradc.codegen.program import Lowering
    from gradc.codegen.targets import Target
    from gradc.ir.graph import Node


def stages_of(outer: Lowering, node: Node, index: int) -> list[Stage]:
    """The stage of a loop or branch, step ``index`` of a lowering, after copies that it needs."""
    from gradc.codegen.region.branch import BranchControl
    from gradc.codegen.region.loop import LoopControl

    kind = LoopControl if node.op.name == "loop" else BranchControl
    return kind(outer, node, index).stages()


def refined(stages: Sequence[Stage], target: Target) -> list[Stage]:
    """Stages with regions that check no more than they must, use registers, and go in vectors."""
    from gradc.codegen.region.bounds import proved
    from gradc.codegen.region.forward import forwarded
    from gradc.codegen.region.vectorise import vectorised

    return vectorised(forwarded(proved(stages)), target)
