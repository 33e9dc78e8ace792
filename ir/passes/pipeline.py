"""The pipeline: which passes run, in which order, verified and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gradc.ir.graph import Graph
from gradc.ir.passes.accurate import ACCURATE, STABLE
from gradc.ir.passes.algebra import ALGEBRA
from gradc.ir.passes.calls import inline_calls, on_regions
from gradc.ir.passes.contractions import CONTRACTIONS
from gradc.ir.passes.control import Control
from gradc.ir.passes.dce import dce
from gradc.ir.passes.promote import promote
from gradc.ir.passes.regions import REGIONS
from gradc.ir.passes.rewriter import Rewriter, Rule
from gradc.ir.passes.share import share_exponentials
from gradc.ir.passes.structure import LIFT, STRUCTURE
from gradc.ir.verify import verify

Pass = Callable[[Graph], Graph]

#: every rule, in the order in which they are tried
RULES: tuple[Rule, ...] = (*LIFT, *STRUCTURE, *REGIONS, *CONTRACTIONS, *ALGEBRA, *ACCURATE)
_EXACT = tuple(r for r in RULES if not r.relaxed)


@dataclass(frozen=True)
class PassRecord:
    """What one pass did: nodes before and after, seconds it and its verification took, rules that
    fired.
    """

    name: str
    before: int
    after: int
    seconds: float
    verify_seconds: float
    fired: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {n}" for name, n in sorted(self.fired.items()))
        times = f"{self.seconds * 1e3:8.2f} ms + {self.verify_seconds * 1e3:.2f} verify"
        return f"{self.name:<10} {self.before:>6} -> {self.after:<6} {times}  {counts}".rstrip()


class RulePass:
    """A pass that rebuilds a graph under some rules: it conses, folds and rewrites in one walk."""

    def __init__(self, name: str, rules: Sequence[Rule], *, keep_weak: bool = False) -> None:
        self.__name__ = name
        self.rules = tuple(rules)
        self.keep_weak = keep_weak

    def __call__(self, graph: Graph) -> Graph:
        """Rewrite a graph."""
        return self.counted(graph)[0]

    def counted(self, graph: Graph) -> tuple[Graph, Mapping[str, int]]:
        """Rewrite a graph; say also how often each rule applied."""
        rewriter = Rewriter(graph.name, self.rules, keep_weak=self.keep_weak)
        return rewriter.rewrite(graph), rewriter.fired

    def __repr__(self) -> str:
        return self.__name__


cse = RulePass("cse", ())
simplify = RulePass("simplify", _EXACT)
simplify_relaxed = RulePass("relax", RULES)
stable = RulePass("stabilize", STABLE, keep_weak=True)



def _pipeline(rules: Pass) -> tuple[Pass, ...]:
    """The passes over a graph and, for control flow, over its regions."""
    passes: tuple[Pass, ...] = ()

    def inner(region: Graph) -> Graph:
        return run(region, passes, check=False)

    passes = (inline_calls, dce, rules, Control(inner, cse), dce, share_exponentials, dce)
    return passes


def stable_regions(graph: Graph) -> Graph:
    """Stable forms in the regions of control flow."""
    return on_regions(graph, lambda region: run(region, STABLE_PIPELINE, check=False))


PIPELINE: tuple[Pass, ...] = (promote, *_pipeline(simplify))
RELAXED_PIPELINE: tuple[Pass, ...] = (promote, *_pipeline(simplify_relaxed))
STABLE_PIPELINE: tuple[Pass, ...] = (stable_regions, stable, dce)
#: before differentiation
PRIMAL_PIPELINE: tuple[Pass, ...] = (*STABLE_PIPELINE, promote)


def run(
    graph: Graph,
    passes: Sequence[Pass],
    *,
    check: bool = True,
    records: list[PassRecord] | None = None,
) -> Graph:
    """Apply passes in order. ``check`` verifies after each; ``records`` is given what each did.

    Raises VerificationError naming the pass after which the graph is not sound.
    """
    for pass_ in passes:
        start = time.perf_counter()
        fired: Mapping[str, int] = {}
        if isinstance(pass_, RulePass):
            result, fired = pass_.counted(graph)
        else:
            result = pass_(graph)
        middle = time.perf_counter()
        name = getattr(pass_, "__name__", repr(pass_))
        if check and result is not graph:
            verify(result, after=name)
        if records is not None:
            end = time.perf_counter()
            records.append(PassRecord(name, len(graph), len(result), middle - start, end - middle,
                                      dict(fired)))
        graph = result
    return graph


def optimize(
    graph: Graph,
    *,
    relaxed: bool = False,
    check: bool = True,
    records: list[PassRecord] | None = None,
) -> Graph:
    """The smaller graph with the same meaning, for code generation.

    Inputs and outputs keep their order and types (a weak type may become a strong one). ``relaxed``
    allows rules that reassociate or lose a signed zero.
    """
    return run(graph, RELAXED_PIPELINE if relaxed else PIPELINE, check=check, records=records)


def stabilize(
    graph: Graph, *, check: bool = True, records: list[PassRecord] | None = None
) -> Graph:
    """Stable forms for naive ones: sigmoid, softplus, log-sum-exp, softmax, cross-entropy, ...

    It is run on the traced graph before differentiation, so that gradients are stable too. Elements
    that loops read and write in place are carried in numbers, so that little of them is kept.
    """
    return run(graph, PRIMAL_PIPELINE, check=check, records=records)
