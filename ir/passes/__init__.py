"""Passes: functions from a graph to a smaller or sounder graph of the same meaning."""

from gradc.ir.passes.dce import dce
from gradc.ir.passes.pipeline import (
    PIPELINE,
    RULES,
    STABLE_PIPELINE,
    Pass,
    PassRecord,
    cse,
    optimize,
    run,
    simplify,
    stabilize,
)
from gradc.ir.passes.rewriter import Draft, Rewriter, Rule

__all__ = [
    "PIPELINE", "RULES", "STABLE_PIPELINE", "Draft", "Pass", "PassRecord", "Rewriter", "Rule",
    "cse", "dce", "optimize", "run", "simplify", "stabilize",
]
